-- Consents of every type, of patients as well as of places in visits. Rows are only ever added: a change is a new row behind the old one.
-- What the code of the release before this reads (rows of a visit, type RECORDING) keeps its meaning: consents that it would misread, which
-- are those for training and quality and those that are still asked for, belong to a patient and to no visit.

-- A version of a text holds in all its languages. Some texts are for one state, some recording texts for another purpose than care.
ALTER TABLE consent_text
    ADD COLUMN state_code text CHECK (state_code ~ '^[A-Z]{2}$'),
    ADD COLUMN purpose text CHECK (purpose IN ('TRAINING', 'QUALITY_ASSURANCE')),
    ADD COLUMN created_by text,
    ADD CONSTRAINT consent_text_state CHECK ((type = 'STATE_SPECIFIC') = (state_code IS NOT NULL)),
    ADD CONSTRAINT consent_text_purpose CHECK (purpose IS NULL OR type = 'RECORDING'),
    DROP CONSTRAINT consent_text_org_id_type_version_locale_key;
CREATE UNIQUE INDEX consent_text_one_version
    ON consent_text (org_id, type, coalesce(state_code, ''), coalesce(purpose, ''), version, locale);

ALTER TABLE consent
    ALTER COLUMN visit_id DROP NOT NULL,
    ALTER COLUMN participant_id DROP NOT NULL,
    -- Whose consent it is, in the host system; none where somebody else of a visit speaks for themselves.
    ADD COLUMN patient_id text CHECK (length(patient_id) BETWEEN 1 AND 200),
    ADD COLUMN state_code text CHECK (state_code ~ '^[A-Z]{2}$'),
    ADD COLUMN recording_purpose text CHECK (recording_purpose IN ('CLINICAL', 'TRAINING', 'QUALITY_ASSURANCE')),
    ADD COLUMN sealed_signer_name bytea CHECK (octet_length(sealed_signer_name) BETWEEN 29 AND 1000),
    ADD COLUMN signer_relation text CHECK (signer_relation IN ('SELF', 'PARENT', 'GUARDIAN')),
    -- Who heard it, for a word of mouth.
    ADD COLUMN attested_by text CHECK (length(attested_by) BETWEEN 1 AND 200),
    ADD COLUMN signature_ref text CHECK (length(signature_ref) BETWEEN 1 AND 200),
    ADD COLUMN patient_rights_acknowledged boolean,
    ADD COLUMN emergency_protocols_understood boolean,
    ADD COLUMN privacy_risks_acknowledged boolean,
    ADD COLUMN has_reliable_internet boolean,
    ADD COLUMN has_private_location boolean,
    ADD COLUMN device_type text CHECK (device_type IN ('Desktop', 'Tablet', 'Mobile')),
    ADD COLUMN renewal_required boolean NOT NULL DEFAULT false,
    ADD COLUMN revoke_reason text CHECK (length(revoke_reason) BETWEEN 1 AND 50),
    -- Who wrote the row; none where the person themselves did in a visit.
    ADD COLUMN recorded_by text CHECK (length(recorded_by) BETWEEN 1 AND 200),
    -- When the row was written, where that is another time than that of the decision.
    ADD COLUMN recorded_at timestamptz,
    -- A network, never an address: /24 or /48.
    ADD COLUMN ip_network text CHECK (length(ip_network) BETWEEN 4 AND 50),
    ADD COLUMN user_agent_sha256 bytea CHECK (octet_length(user_agent_sha256) = 32),
    DROP CONSTRAINT consent_status_check,
    ADD CONSTRAINT consent_status_check CHECK (status IN ('PENDING', 'SIGNED', 'DECLINED', 'REVOKED')),
    ADD CONSTRAINT consent_place CHECK ((visit_id IS NULL) = (participant_id IS NULL)),
    ADD CONSTRAINT consent_somebody CHECK (patient_id IS NOT NULL OR participant_id IS NOT NULL),
    ADD CONSTRAINT consent_state CHECK (type = 'STATE_SPECIFIC' OR state_code IS NULL),
    ADD CONSTRAINT consent_asked CHECK (status <> 'PENDING' OR visit_id IS NULL),
    ADD CONSTRAINT consent_other_purpose CHECK (visit_id IS NULL OR recording_purpose IS NULL OR recording_purpose = 'CLINICAL'),
    ADD CONSTRAINT consent_heard CHECK (method <> 'VERBAL' OR attested_by IS NOT NULL);
CREATE INDEX consent_of_patient ON consent (org_id, patient_id, type, seq DESC) WHERE patient_id IS NOT NULL;
CREATE INDEX consent_of_visit ON consent (org_id, visit_id) WHERE visit_id IS NOT NULL;
CREATE INDEX consent_follows ON consent (supersedes) WHERE supersedes IS NOT NULL;
CREATE INDEX consent_ends ON consent (expires_at) WHERE expires_at IS NOT NULL;

-- Consents whose end was noticed. That a consent is over is read from its date; this says that it was written down.
CREATE TABLE consent_expired (
    consent_id      uuid PRIMARY KEY REFERENCES consent,
    org_id          uuid NOT NULL REFERENCES organization,
    noticed_at      timestamptz NOT NULL
);

-- Patients for whom a parent or guardian signs, through the end of a year. No date of birth is kept. The newest row of a patient counts; a
-- row without a year lifts the ones before it.
CREATE TABLE patient_minor (
    minor_id        uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organization,
    seq             bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    patient_id      text NOT NULL CHECK (length(patient_id) BETWEEN 1 AND 200),
    majority_year   integer CHECK (majority_year BETWEEN 1900 AND 2200),
    set_by          text NOT NULL,
    set_at          timestamptz NOT NULL
);
CREATE INDEX patient_minor_newest ON patient_minor (org_id, patient_id, seq DESC);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['consent_expired', 'patient_minor']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

-- Who notices ends asks for them before it knows the organisations; it sees consents that have an end, and which of them were noticed.
CREATE POLICY sweep ON consent FOR SELECT TO anteroom_server
    USING (expires_at IS NOT NULL AND current_setting('app.sweep', true) = 'consents');
CREATE POLICY sweep ON consent_expired FOR SELECT TO anteroom_server
    USING (current_setting('app.sweep', true) = 'consents');

GRANT SELECT, INSERT ON consent_expired, patient_minor TO anteroom_server;

-- What an organisation asks of a patient before the clinician may let them in. Nothing, until it decides so.
ALTER TABLE organization
    ADD COLUMN required_consents text[] NOT NULL DEFAULT '{}'
        CHECK (required_consents <@ ARRAY['GENERAL_TELEHEALTH', 'HIPAA', 'STATE_SPECIFIC']),
    ADD COLUMN require_location boolean NOT NULL DEFAULT false,
    ADD COLUMN enforce_licences boolean NOT NULL DEFAULT false;
GRANT UPDATE (required_consents, require_location, enforce_licences) ON organization TO anteroom_server;
