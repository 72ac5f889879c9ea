CREATE TABLE recording (
    recording_id      uuid PRIMARY KEY,
    org_id            uuid NOT NULL,
    visit_id          uuid NOT NULL,
    status            text NOT NULL DEFAULT 'REQUESTED'
        CHECK (status IN ('REQUESTED', 'RECORDING', 'STOPPING', 'PROCESSING', 'STORED', 'FAILED', 'DELETED')),
    requested_at      timestamptz NOT NULL DEFAULT now(),
    started_at        timestamptz,
    stopped_at        timestamptz,
    stored_at         timestamptz,
    stop_reason       text,
    duration_ms       bigint,
    size_bytes        bigint,
    -- Who had agreed to which text when capture began: [{participantId, consentId, version, textSha256}].
    consent_snapshot  jsonb NOT NULL,
    started_by        text NOT NULL,
    stopped_by        text,
    retain_until      timestamptz NOT NULL,
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id),
    UNIQUE (org_id, recording_id)
);
CREATE INDEX recording_by_visit ON recording (org_id, visit_id);
-- One capture at a time in a visit.
CREATE UNIQUE INDEX recording_one_running ON recording (visit_id) WHERE status IN ('REQUESTED', 'RECORDING', 'STOPPING');

-- The recorder's side of a Recording: claimed with `FOR UPDATE SKIP LOCKED`, resumed from any step.
CREATE TABLE recording_job (
    recording_id  uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    room_id       uuid NOT NULL,
    state         text NOT NULL DEFAULT 'QUEUED'
        CHECK (state IN ('QUEUED', 'CLAIMED', 'CAPTURING', 'SEALING', 'UPLOADING', 'STORED', 'FAILED')),
    tap_token     text,                 -- cleared when dialed
    worker        text,
    epoch         integer NOT NULL DEFAULT 0,   -- grows with each claim: a new writer has new subkeys
    lease_until   timestamptz,
    attempts      integer NOT NULL DEFAULT 0,
    dek_wrapped   bytea,                -- the recording's data key under the key named kek_id
    kek_id        text,
    manifest      jsonb,                -- wire::manifest::Manifest, set with STORED
    error         text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (org_id, recording_id) REFERENCES recording (org_id, recording_id)
);

-- Tells the recorder that there is work and signaling that a job moved on. The payload is the recording's id, nothing else.
CREATE FUNCTION recording_job_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('recording_job', NEW.recording_id::text);
    RETURN NEW;
END $$;
CREATE TRIGGER recording_job_changed AFTER INSERT OR UPDATE OF state ON recording_job
    FOR EACH ROW EXECUTE FUNCTION recording_job_notify();

-- A short-lived right to read one artefact; the secret is in the URL, only its hash is here.
CREATE TABLE playback_grant (
    grant_id      uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    recording_id  uuid NOT NULL,
    artefact      text NOT NULL,
    secret_hash   bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    granted_to    text NOT NULL,
    expires_at    timestamptz NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (org_id, recording_id) REFERENCES recording (org_id, recording_id)
);
