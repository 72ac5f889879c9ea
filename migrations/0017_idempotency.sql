-- Requests that were told apart by an `Idempotency-Key`. The key is kept as a keyed hash together with who used it, and the answer is
-- sealed by the server's key: it can hold a link.
CREATE TABLE idempotency_key (
    org_id          uuid NOT NULL REFERENCES organization,
    key_hash        bytea NOT NULL CHECK (octet_length(key_hash) = 32),
    request_hash    bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    -- None while the request is under way.
    status          smallint CHECK (status BETWEEN 200 AND 299),
    sealed_answer   bytea CHECK (octet_length(sealed_answer) <= 262144),
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (org_id, key_hash),
    CHECK ((status IS NULL) = (sealed_answer IS NULL))
);
CREATE INDEX idempotency_key_by_age ON idempotency_key (expires_at);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['idempotency_key']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

-- The chore that forgets them works for every organisation at once, and sees and removes nothing younger than it says.
CREATE POLICY sweep_seen ON idempotency_key FOR SELECT TO anteroom_server
    USING (expires_at < NULLIF(current_setting('app.sweep_keys_before', true), '')::timestamptz);
CREATE POLICY sweep_gone ON idempotency_key FOR DELETE TO anteroom_server
    USING (expires_at < NULLIF(current_setting('app.sweep_keys_before', true), '')::timestamptz);
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_key TO anteroom_server;
