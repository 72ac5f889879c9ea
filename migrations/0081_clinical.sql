-- Clinical words of a visit, sealed by a data key of phi_data_key: version, key id, nonce, ciphertext, tag. The program alone can say
-- whether they open; the lengths are those of 2,000 and 20,000 characters with what a seal adds.
ALTER TABLE visit
    ADD COLUMN chief_complaint_enc bytea CHECK (octet_length(chief_complaint_enc) BETWEEN 45 AND 8192),
    ADD COLUMN clinical_notes_enc bytea CHECK (octet_length(clinical_notes_enc) BETWEEN 45 AND 81920);

-- What somebody answered before the door; the last answers count.
CREATE TABLE questionnaire (
    participant_id  uuid PRIMARY KEY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    answers_enc     bytea NOT NULL CHECK (octet_length(answers_enc) BETWEEN 45 AND 20480),
    submitted_at    timestamptz NOT NULL,
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id),
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE INDEX questionnaire_by_visit ON questionnaire (org_id, visit_id);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['questionnaire']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE ON questionnaire TO anteroom_server;
