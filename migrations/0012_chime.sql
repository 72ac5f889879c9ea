-- The Chime face. A plain meeting is a visit of kind MEETING: it has no patient, no clinician and no waiting room, and the native API
-- does not see it. It begins when it is made.
ALTER TABLE visit
    ADD COLUMN kind text NOT NULL DEFAULT 'VISIT' CHECK (kind IN ('VISIT', 'MEETING')),
    ALTER COLUMN patient_id DROP NOT NULL,
    ALTER COLUMN clinician_id DROP NOT NULL,
    ADD CONSTRAINT visit_has_its_people CHECK (kind = 'MEETING' OR (patient_id IS NOT NULL AND clinician_id IS NOT NULL)),
    DROP CONSTRAINT visit_duration_min_check,
    ADD CONSTRAINT visit_duration_min_check CHECK (duration_min BETWEEN 5 AND CASE kind WHEN 'MEETING' THEN 1440 ELSE 480 END);

-- Access keys of applications. The secret is sealed by the server's key: a signature is checked with the secret itself.
CREATE TABLE chime_key (
    access_key_id   text PRIMARY KEY CHECK (access_key_id ~ '^[A-Z0-9]{16,32}$'),
    org_id          uuid NOT NULL REFERENCES organization,
    sealed_secret   bytea NOT NULL CHECK (octet_length(sealed_secret) BETWEEN 32 AND 256),
    created_at      timestamptz NOT NULL,
    revoked_at      timestamptz
);
CREATE INDEX chime_key_by_org ON chime_key (org_id, created_at);

CREATE TABLE chime_meeting (
    meeting_id          uuid PRIMARY KEY,
    org_id              uuid NOT NULL,
    visit_id            uuid NOT NULL,
    request_token       text NOT NULL CHECK (length(request_token) BETWEEN 2 AND 64),
    request_hash        bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    external_meeting_id text NOT NULL CHECK (length(external_meeting_id) BETWEEN 2 AND 64),
    media_region        text NOT NULL CHECK (length(media_region) BETWEEN 2 AND 64),
    -- Of the request that made it: part of its ARN.
    region              text NOT NULL CHECK (length(region) BETWEEN 1 AND 64),
    host_id             text,
    features            jsonb,
    tenant_ids          text[] NOT NULL DEFAULT '{}',
    network_type        text CHECK (network_type IN ('Ipv4Only', 'DualStack')),
    notifications       jsonb,
    tags                jsonb NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL,
    -- When somebody was last connected to its room; its creation until then.
    attended_at         timestamptz NOT NULL,
    ended_at            timestamptz,
    end_reason          text CHECK (end_reason IN ('DELETED', 'SILENT', 'TOO_LONG', 'VISIT_OVER')),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
    UNIQUE (org_id, meeting_id),
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id)
);
-- A token is bound to its meeting while that lives.
CREATE UNIQUE INDEX chime_meeting_one_for_token ON chime_meeting (org_id, request_token) WHERE ended_at IS NULL;
CREATE INDEX chime_meeting_by_visit ON chime_meeting (org_id, visit_id);
CREATE INDEX chime_meeting_open ON chime_meeting (attended_at) WHERE ended_at IS NULL;

-- The join token is not here: it is made from the attendee's id and a key of the server whenever it is asked for.
CREATE TABLE chime_attendee (
    attendee_id         uuid PRIMARY KEY,
    seq                 bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    org_id              uuid NOT NULL,
    meeting_id          uuid NOT NULL,
    participant_id      uuid NOT NULL,
    external_user_id    text NOT NULL CHECK (length(external_user_id) BETWEEN 2 AND 64),
    capabilities        jsonb NOT NULL,
    created_at          timestamptz NOT NULL,
    deleted_at          timestamptz,
    UNIQUE (meeting_id, seq),
    FOREIGN KEY (org_id, meeting_id) REFERENCES chime_meeting (org_id, meeting_id),
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE UNIQUE INDEX chime_attendee_one_for_user ON chime_attendee (meeting_id, external_user_id) WHERE deleted_at IS NULL;
CREATE INDEX chime_attendee_by_participant ON chime_attendee (org_id, participant_id);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['chime_key', 'chime_meeting', 'chime_attendee']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

-- A signed request names its organisation only through its access key: the row with this very id can be read.
CREATE POLICY by_access_key ON chime_key FOR SELECT TO anteroom_server
    USING (access_key_id = NULLIF(current_setting('app.access_key_id', true), ''));

-- Meetings end by themselves. Who looks for those that are due asks before it knows the organisations; what is done about them happens
-- in their organisation's own transaction.
CREATE POLICY sweep ON chime_meeting FOR SELECT TO anteroom_server
    USING (ended_at IS NULL AND current_setting('app.sweep', true) = 'meetings');

GRANT SELECT, INSERT, UPDATE ON chime_key, chime_meeting, chime_attendee TO anteroom_server;
