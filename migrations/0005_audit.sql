-- Who did what to which record. Ids only, no clinical words. Each row carries the hash of the one before it in its organisation.
CREATE TABLE audit_event (
    event_id        uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organization,
    seq             bigint NOT NULL CHECK (seq > 0),
    at              timestamptz NOT NULL,
    event_type      text NOT NULL CHECK (length(event_type) BETWEEN 3 AND 60),
    actor_type      text NOT NULL CHECK (actor_type IN ('STAFF', 'SERVICE', 'PARTICIPANT', 'SYSTEM', 'ANONYMOUS')),
    actor_id        text NOT NULL,
    role            text,
    visit_id        uuid,
    subject         text,
    success         boolean NOT NULL,
    reason_code     text,
    request_id      text,
    metadata        jsonb NOT NULL DEFAULT '{}',
    schema_version  smallint NOT NULL DEFAULT 1,
    prev_hash       bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
    hash            bytea NOT NULL CHECK (octet_length(hash) = 32),
    UNIQUE (org_id, seq)
);
CREATE INDEX audit_event_by_visit ON audit_event (org_id, visit_id, seq);

-- Locked by each writer for the length of its transaction, so that the chain has one order.
CREATE TABLE audit_head (
    org_id  uuid PRIMARY KEY REFERENCES organization,
    seq     bigint NOT NULL,
    hash    bytea NOT NULL CHECK (octet_length(hash) = 32)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% rows are append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER consent_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON consent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
