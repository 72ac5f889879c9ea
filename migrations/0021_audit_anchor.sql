-- Anchors: signed statements of what stood in the chain. Each lies outside the database, where it counts; this table remembers them, so
-- that a removed one is missed.
CREATE TABLE audit_anchor (
    org_id      uuid NOT NULL REFERENCES organization,
    from_seq    bigint NOT NULL CHECK (from_seq > 0),
    to_seq      bigint NOT NULL CHECK (to_seq >= from_seq),
    root_hash   bytea NOT NULL CHECK (octet_length(root_hash) = 32),
    -- SHA-256 of what was signed; the next anchor names it.
    digest      bytea NOT NULL CHECK (octet_length(digest) = 32),
    at          timestamptz NOT NULL,
    kid         text NOT NULL CHECK (length(kid) BETWEEN 1 AND 200),
    signature   bytea NOT NULL CHECK (octet_length(signature) = 64),
    anchored_to text NOT NULL CHECK (length(anchored_to) BETWEEN 1 AND 400),
    PRIMARY KEY (org_id, to_seq),
    -- Two servers that anchor at the same moment: one of them comes second.
    UNIQUE (org_id, from_seq)
);
CREATE TRIGGER audit_anchor_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_anchor
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE audit_anchor ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_anchor FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON audit_anchor TO anteroom_server
    USING (org_id = current_org()) WITH CHECK (org_id = current_org());
GRANT SELECT, INSERT ON audit_anchor TO anteroom_server;

-- Who anchors or verifies asks which chains there are before it knows the organisations.
CREATE POLICY sweep ON audit_head FOR SELECT TO anteroom_server USING (current_setting('app.sweep', true) = 'audit');
