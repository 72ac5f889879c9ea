-- Every table is closed unless a policy opens it, for its owner too. The server sees the organisation of its transaction.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['organization', 'visit', 'participant', 'join_token', 'visit_session', 'waiting_entry', 'consent_text',
        'consent', 'recording', 'recording_job', 'playback_grant', 'audit_event', 'audit_head']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

-- A short code names its organisation only through its hash: the row that matches the hash given in this transaction can be read.
CREATE POLICY by_short_code ON join_token FOR SELECT TO anteroom_server
    USING (short_code_hash = decode(NULLIF(current_setting('app.short_code_hash', true), ''), 'hex'));

-- The recorder works for every organisation, on jobs alone.
CREATE POLICY every_job ON recording_job TO anteroom_recorder USING (true) WITH CHECK (true);

GRANT SELECT, INSERT ON organization, consent_text TO anteroom_server;
GRANT SELECT, INSERT ON consent, audit_event TO anteroom_server;
GRANT SELECT, INSERT, UPDATE ON visit, participant, join_token, visit_session, waiting_entry, recording, recording_job, audit_head
    TO anteroom_server;
GRANT SELECT, INSERT, DELETE ON playback_grant TO anteroom_server;
GRANT SELECT, UPDATE ON recording_job TO anteroom_recorder;
