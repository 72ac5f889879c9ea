-- Tokens of programs: a scheduler that plans visits, an HR system that says who has left. The token itself is shown once; the row has the
-- hash of its 256 random bits.
CREATE TABLE service_token (
    token_id        uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organization,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    secret_hash     bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    -- Names of permissions; what the role matrix does not give to programs is not given by being here.
    permissions     text[] NOT NULL CHECK (cardinality(permissions) BETWEEN 1 AND 100),
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL CHECK (expires_at > created_at),
    -- To the hour, roughly: a row is not written at every request.
    last_used_at    timestamptz,
    revoked_at      timestamptz,
    UNIQUE (org_id, token_id)
);
CREATE INDEX service_token_by_org ON service_token (org_id, created_at);

ALTER TABLE service_token ENABLE ROW LEVEL SECURITY;
ALTER TABLE service_token FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON service_token TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org());
GRANT SELECT, INSERT ON service_token TO anteroom_server;
GRANT UPDATE (last_used_at, revoked_at) ON service_token TO anteroom_server;
