-- Where people say they are at the beginning of a visit. Rows are only added; the newest of a person counts. The address is sealed.
CREATE TABLE location_attestation (
    attestation_id  uuid PRIMARY KEY,
    seq             bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    participant_id  uuid NOT NULL,
    attested_at     timestamptz NOT NULL,
    state_code      text NOT NULL CHECK (state_code ~ '^[A-Z]{2}$'),
    kind            text NOT NULL CHECK (kind IN ('HOME', 'TEMPORARY_LODGING', 'VEHICLE', 'WORKPLACE', 'OTHER_NON_FACILITY',
        'FACILITY', 'CLINIC', 'HOSPITAL', 'SCHOOL')),
    method          text NOT NULL CHECK (method IN ('SELF', 'GEO', 'CLINICIAN')),
    sealed_address  bytea CHECK (octet_length(sealed_address) BETWEEN 29 AND 4000),
    attested_by     text NOT NULL,
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id),
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE INDEX location_newest ON location_attestation (org_id, participant_id, seq DESC);
CREATE INDEX location_of_visit ON location_attestation (org_id, visit_id);

-- Whom to call when something happens to the patient in a visit; sealed. The newest row counts.
CREATE TABLE emergency_contact (
    contact_id      uuid PRIMARY KEY,
    seq             bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    sealed_contact  bytea NOT NULL CHECK (octet_length(sealed_contact) BETWEEN 29 AND 4000),
    recorded_at     timestamptz NOT NULL,
    recorded_by     text NOT NULL,
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id)
);
CREATE INDEX emergency_contact_newest ON emergency_contact (org_id, visit_id, seq DESC);

-- In which states a clinician may practise.
CREATE TABLE clinician_licence (
    licence_id      uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organization,
    clinician_id    text NOT NULL CHECK (length(clinician_id) BETWEEN 1 AND 200),
    state_code      text NOT NULL CHECK (state_code ~ '^[A-Z]{2}$'),
    number          text NOT NULL CHECK (length(number) BETWEEN 1 AND 50),
    valid_from      date NOT NULL,
    valid_to        date NOT NULL,
    status          text NOT NULL CHECK (status IN ('ACTIVE', 'SUSPENDED', 'WITHDRAWN')),
    created_at      timestamptz NOT NULL,
    created_by      text NOT NULL,
    updated_at      timestamptz NOT NULL,
    updated_by      text NOT NULL,
    CHECK (valid_to >= valid_from),
    UNIQUE (org_id, clinician_id, state_code, number),
    UNIQUE (org_id, licence_id)
);

-- What a licence check found, at the planning of a visit and at its begin. Rows are only added.
CREATE TABLE licence_check (
    check_id        uuid PRIMARY KEY,
    seq             bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    clinician_id    text NOT NULL,
    state_code      text CHECK (state_code ~ '^[A-Z]{2}$'),
    result          text NOT NULL CHECK (result IN ('PASS', 'FAIL', 'OVERRIDE')),
    reason          text NOT NULL CHECK (length(reason) BETWEEN 1 AND 50),
    licence_id      uuid,
    checked_at      timestamptz NOT NULL,
    checked_by      text NOT NULL,
    CHECK ((result = 'PASS') = (licence_id IS NOT NULL)),
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id),
    FOREIGN KEY (org_id, licence_id) REFERENCES clinician_licence (org_id, licence_id)
);
CREATE INDEX licence_check_newest ON licence_check (org_id, visit_id, seq DESC);

-- Place of service and modifiers, as somebody confirmed them. Rows are only added; the newest of a visit counts.
CREATE TABLE visit_billing (
    billing_id      uuid PRIMARY KEY,
    seq             bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    place_of_service text CHECK (place_of_service ~ '^[0-9]{2}$'),
    modifiers       text[] NOT NULL CHECK (cardinality(modifiers) <= 4),
    payer_profile   text NOT NULL CHECK (length(payer_profile) BETWEEN 1 AND 50),
    facts           jsonb NOT NULL,
    rule_ids        text[] NOT NULL,
    table_version   text NOT NULL,
    confidence      text NOT NULL CHECK (confidence IN ('HIGH', 'LOW', 'NONE')),
    -- Set against the table's rules, and why.
    override_reason text CHECK (length(override_reason) BETWEEN 1 AND 50),
    set_at          timestamptz NOT NULL,
    set_by          text NOT NULL,
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id)
);
CREATE INDEX visit_billing_newest ON visit_billing (org_id, visit_id, seq DESC);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['location_attestation', 'emergency_contact', 'clinician_licence', 'licence_check', 'visit_billing']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

GRANT SELECT, INSERT ON location_attestation, emergency_contact, licence_check, visit_billing TO anteroom_server;
GRANT SELECT, INSERT, UPDATE ON clinician_licence TO anteroom_server;

-- What a recording stands on: a hash of the consents that were read, so that they can be held against it later, and what the law of the
-- states of everybody present asked for.
ALTER TABLE recording
    ADD COLUMN consent_snapshot_sha256 bytea CHECK (octet_length(consent_snapshot_sha256) = 32),
    ADD COLUMN consent_law jsonb;
