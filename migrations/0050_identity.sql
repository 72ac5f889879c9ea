-- People who have signed in. The cookie names the row and holds a secret of 256 random bits; the row has its hash.
CREATE TABLE staff_session (
    session_id      uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organization,
    sub             text NOT NULL CHECK (length(sub) BETWEEN 1 AND 200),
    role            text NOT NULL CHECK (role IN ('clinician', 'patient', 'scheduler', 'admin', 'auditor')),
    display_name    text CHECK (length(display_name) BETWEEN 1 AND 200),
    secret_hash     bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    issued_at       timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    idle_expires_at timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    has_mfa         boolean NOT NULL,
    -- When the person last showed who they are; none where the sign-in service does not say.
    auth_at         timestamptz,
    -- The token that the session came from, where it was one of ours: revoking that ends the session.
    token_id        text CHECK (length(token_id) BETWEEN 1 AND 200),
    -- Keyed hashes of the provider's names for the session and the person: what a logout token speaks of.
    provider_sid    bytea CHECK (octet_length(provider_sid) = 32),
    provider_sub    bytea CHECK (octet_length(provider_sub) = 32),
    -- Sealed: the hint with which the provider ends its own session.
    sealed_id_token bytea CHECK (octet_length(sealed_id_token) <= 16384),
    revoked_at      timestamptz,
    revoke_reason   text,
    CHECK ((revoked_at IS NULL) = (revoke_reason IS NULL)),
    UNIQUE (org_id, session_id)
);
CREATE INDEX staff_session_of_sub ON staff_session (org_id, sub) WHERE revoked_at IS NULL;
CREATE INDEX staff_session_of_sid ON staff_session (provider_sid) WHERE provider_sid IS NOT NULL;
CREATE INDEX staff_session_of_person ON staff_session (provider_sub) WHERE provider_sub IS NOT NULL;

-- What no longer holds although its signature does: all tokens of a person that are older, or one token.
CREATE TABLE revocation (
    org_id          uuid NOT NULL REFERENCES organization,
    kind            text NOT NULL CHECK (kind IN ('SUB', 'TOKEN')),
    key             text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    at              timestamptz NOT NULL,
    PRIMARY KEY (org_id, kind, key)
);

-- A visit that somebody may read for an hour although it is not theirs.
CREATE TABLE break_glass (
    grant_id        uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organization,
    sub             text NOT NULL CHECK (length(sub) BETWEEN 1 AND 200),
    visit_id        uuid NOT NULL,
    -- Why, in the person's own words, sealed by the server's key: they may hold what nobody else should read.
    sealed_reason   bytea NOT NULL CHECK (octet_length(sealed_reason) BETWEEN 30 AND 4096),
    granted_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL CHECK (expires_at > granted_at),
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id)
);
CREATE INDEX break_glass_of_sub ON break_glass (org_id, sub, expires_at);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['staff_session', 'revocation', 'break_glass']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

-- A logout token names a session or a person of the provider, not an organisation: the rows with this very hash can be seen, to learn
-- whose they are. What follows happens in their organisation's own transaction.
CREATE POLICY by_provider ON staff_session FOR SELECT TO anteroom_server
    USING (decode(NULLIF(current_setting('app.provider_key', true), ''), 'hex') IN (provider_sid, provider_sub));

GRANT SELECT, INSERT, UPDATE ON staff_session, revocation TO anteroom_server;
GRANT SELECT, INSERT ON break_glass TO anteroom_server;

-- Whether staff need a second factor. None: what the profile says, which is yes in production.
ALTER TABLE organization ADD COLUMN require_mfa boolean;
