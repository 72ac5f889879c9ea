-- A link is claimed by a browser's key and spent when that key has proved itself over the WebSocket. A claim that is not confirmed lapses.
ALTER TABLE join_token
    ADD COLUMN purpose text NOT NULL DEFAULT 'JOIN' CHECK (purpose IN ('JOIN', 'HANDOVER', 'DEVICE_TEST')),
    -- The claim: by which key (RFC 7638 thumbprint), until when, and the session that it will become.
    ADD COLUMN lease_key text CHECK (length(lease_key) = 43),
    ADD COLUMN lease_until timestamptz,
    ADD COLUMN lease_session uuid,
    ADD COLUMN lease_secret_hash bytea CHECK (octet_length(lease_secret_hash) = 32),
    -- The key that spent it; none where a system without a key was let in.
    ADD COLUMN redeemed_key text CHECK (length(redeemed_key) = 43),
    -- From where: the first 24 or 48 bits of the address, and a keyed hash of what the browser calls itself.
    ADD COLUMN redemption_net text CHECK (length(redemption_net) <= 50),
    ADD COLUMN redemption_ua bytea CHECK (octet_length(redemption_ua) = 32);
CREATE UNIQUE INDEX join_token_by_lease ON join_token (lease_session) WHERE lease_session IS NOT NULL;

ALTER TABLE visit_session
    -- Whoever shows the session's secret shows a proof by this key as well; none for a system without a key.
    ADD COLUMN binding_key text CHECK (length(binding_key) = 43),
    -- Without a sign of life the session ends before its time.
    ADD COLUMN last_seen_at timestamptz,
    -- From where it was seen last.
    ADD COLUMN net text CHECK (length(net) <= 50),
    ADD COLUMN ua bytea CHECK (octet_length(ua) = 32);

ALTER TABLE organization
    -- A change of network or browser ends a session, also one whose key is proved.
    ADD COLUMN strict_binding boolean NOT NULL DEFAULT false,
    -- What starts a visit without a browser's key: nothing; a signed token, which no message carries; or short codes too.
    ADD COLUMN keyless_start text NOT NULL DEFAULT 'SIGNED_TOKEN' CHECK (keyless_start IN ('NEVER', 'SIGNED_TOKEN', 'ANY'));
