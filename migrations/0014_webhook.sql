-- Webhooks: where an organisation is told of what happens, and what waits to be told. The secret is sealed by the server's key: every
-- delivery is signed with the secret itself.
CREATE TABLE webhook_target (
    target_id       uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organization,
    url             text NOT NULL CHECK (length(url) BETWEEN 8 AND 2048),
    sealed_secret   bytea NOT NULL CHECK (octet_length(sealed_secret) BETWEEN 32 AND 256),
    created_at      timestamptz NOT NULL,
    removed_at      timestamptz,
    UNIQUE (org_id, target_id)
);
CREATE INDEX webhook_target_by_org ON webhook_target (org_id, created_at);

-- The queue. One event for one target is one row, whatever happens; its id is the same at every attempt, so that a receiver can tell a
-- repetition. The body is kept as the bytes that are sent.
CREATE TABLE webhook_delivery (
    target_id       uuid NOT NULL,
    event_id        uuid NOT NULL,
    org_id          uuid NOT NULL,
    seq             bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    body            text NOT NULL CHECK (octet_length(body) BETWEEN 2 AND 65536),
    created_at      timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    -- Not before this time. An attempt under way holds the row by moving it on.
    due_at          timestamptz NOT NULL,
    -- What the receiver answered last; none when it could not be reached.
    last_status     smallint,
    settled_at      timestamptz,
    outcome         text CHECK (outcome IN ('DELIVERED', 'GIVEN_UP')),
    PRIMARY KEY (target_id, event_id),
    CHECK ((settled_at IS NULL) = (outcome IS NULL)),
    FOREIGN KEY (org_id, target_id) REFERENCES webhook_target (org_id, target_id)
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (due_at) WHERE settled_at IS NULL;
CREATE INDEX webhook_delivery_of_target ON webhook_delivery (target_id, seq) WHERE settled_at IS NULL;
CREATE INDEX webhook_delivery_by_age ON webhook_delivery (settled_at) WHERE settled_at IS NOT NULL;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['webhook_target', 'webhook_delivery']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

-- Who delivers asks what is due before it knows the organisations; what it does happens in their organisation's own transaction.
CREATE POLICY sweep ON webhook_delivery FOR SELECT TO anteroom_server
    USING (settled_at IS NULL AND current_setting('app.sweep', true) = 'webhooks');

-- The chore that forgets what was settled long ago works for every organisation at once, and sees and removes nothing younger than it says.
CREATE POLICY sweep_seen ON webhook_delivery FOR SELECT TO anteroom_server
    USING (settled_at < NULLIF(current_setting('app.sweep_webhooks_before', true), '')::timestamptz);
CREATE POLICY sweep_gone ON webhook_delivery FOR DELETE TO anteroom_server
    USING (settled_at < NULLIF(current_setting('app.sweep_webhooks_before', true), '')::timestamptz);

GRANT SELECT, INSERT, UPDATE ON webhook_target TO anteroom_server;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_delivery TO anteroom_server;

-- A meeting of the Chime face that is a visit's room ends with the visit, whoever ended that. Who looks after meetings cannot see visits
-- before it knows their organisation, so the meeting itself says that its visit is over.
ALTER TABLE chime_meeting ADD COLUMN is_visit_over boolean NOT NULL DEFAULT false;

CREATE FUNCTION note_visit_over() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE chime_meeting SET is_visit_over = true
        WHERE org_id = NEW.org_id AND visit_id = NEW.visit_id AND ended_at IS NULL AND NOT is_visit_over;
    RETURN NULL;
END $$;

CREATE TRIGGER visit_over AFTER UPDATE OF status ON visit FOR EACH ROW
    WHEN (NEW.status IN ('COMPLETED', 'NO_SHOW', 'CANCELLED', 'TECHNICAL') AND OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION note_visit_over();
