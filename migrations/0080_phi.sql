-- Data keys of the fields that hold clinical words, addresses and contacts. An organisation has one for each span of time; it lies here
-- wrapped by a key that the database never sees.
CREATE TABLE phi_data_key (
    key_id      uuid PRIMARY KEY,
    org_id      uuid NOT NULL REFERENCES organization,
    kek_id      text NOT NULL CHECK (length(kek_id) BETWEEN 1 AND 300),
    wrapped     bytea NOT NULL CHECK (octet_length(wrapped) BETWEEN 32 AND 1024),
    made_at     timestamptz NOT NULL,
    wrapped_at  timestamptz NOT NULL
);
CREATE INDEX phi_data_key_by_org ON phi_data_key (org_id, made_at DESC, key_id DESC);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['phi_data_key']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

-- After a rotation the chore asks which data keys an older key still wraps, before it knows their organisations; what it does to them
-- happens in their organisation's own transaction.
CREATE POLICY sweep ON phi_data_key FOR SELECT TO anteroom_server USING (current_setting('app.sweep', true) = 'data_keys');
CREATE POLICY sweep_keys ON recording_job FOR SELECT TO anteroom_server
    USING (dek_wrapped IS NOT NULL AND current_setting('app.sweep', true) = 'data_keys');

-- A data key is never removed by the program: what it sealed would be lost.
GRANT SELECT, INSERT ON phi_data_key TO anteroom_server;
GRANT UPDATE (kek_id, wrapped, wrapped_at) ON phi_data_key TO anteroom_server;
