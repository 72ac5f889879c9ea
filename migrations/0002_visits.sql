CREATE TABLE organization (
    org_id      uuid PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    phone       text NOT NULL CHECK (length(phone) BETWEEN 3 AND 40),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE visit (
    visit_id                uuid PRIMARY KEY,
    org_id                  uuid NOT NULL REFERENCES organization,
    external_appointment_id text CHECK (length(external_appointment_id) BETWEEN 1 AND 200),
    patient_id              text NOT NULL CHECK (length(patient_id) BETWEEN 1 AND 200),
    clinician_id            text NOT NULL CHECK (length(clinician_id) BETWEEN 1 AND 200),
    status                  text NOT NULL DEFAULT 'SCHEDULED'
        CHECK (status IN ('SCHEDULED', 'WAITING', 'IN_PROGRESS', 'COMPLETED', 'NO_SHOW', 'CANCELLED', 'TECHNICAL')),
    status_updated_at       timestamptz NOT NULL DEFAULT now(),
    visit_type              text CHECK (length(visit_type) BETWEEN 1 AND 100),
    channel                 text NOT NULL DEFAULT 'BOTH' CHECK (channel IN ('SMS', 'EMAIL', 'BOTH')),
    scheduled_start_at      timestamptz NOT NULL,
    duration_min            integer NOT NULL CHECK (duration_min BETWEEN 5 AND 480),
    started_at              timestamptz,
    ended_at                timestamptz,
    end_reason              text CHECK (end_reason IN ('NORMAL', 'NO_SHOW', 'CANCELLED', 'TECHNICAL', 'TIMEOUT', 'ADMIN')),
    ended_by                text,
    recording_policy        text NOT NULL DEFAULT 'NEVER' CHECK (recording_policy IN ('NEVER', 'OPT_IN')),
    created_at              timestamptz NOT NULL DEFAULT now(),
    created_by              text NOT NULL,
    updated_at              timestamptz NOT NULL DEFAULT now(),
    row_version             integer NOT NULL DEFAULT 1,
    UNIQUE (org_id, external_appointment_id),
    UNIQUE (org_id, visit_id)
);
CREATE INDEX visit_by_day ON visit (org_id, scheduled_start_at, visit_id);

CREATE TABLE participant (
    participant_id  uuid PRIMARY KEY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    role            text NOT NULL
        CHECK (role IN ('PATIENT', 'CLINICIAN', 'GUEST', 'INTERPRETER', 'CAREGIVER', 'SUPERVISOR', 'OBSERVER')),
    identity_ref    text NOT NULL CHECK (length(identity_ref) BETWEEN 1 AND 200),
    display_name    text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 100),
    joined_at       timestamptz,
    left_at         timestamptz,
    removed_at      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (visit_id, role, identity_ref),
    UNIQUE (org_id, participant_id),
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id)
);

-- The one-time token behind a join link. The token and the short code themselves are never stored.
CREATE TABLE join_token (
    token_id         uuid PRIMARY KEY,
    org_id           uuid NOT NULL,
    visit_id         uuid NOT NULL,
    participant_id   uuid NOT NULL,
    role             text NOT NULL,
    short_code_hash  bytea NOT NULL UNIQUE CHECK (octet_length(short_code_hash) = 32),
    nonce_hash       bytea NOT NULL CHECK (octet_length(nonce_hash) = 32),
    status           text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'REDEEMED', 'REVOKED')),
    usage_count      integer NOT NULL DEFAULT 0 CHECK (usage_count IN (0, 1)),
    not_before       timestamptz NOT NULL,
    issued_at        timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    redeemed_at      timestamptz,
    issued_by        text NOT NULL,
    replaced_by      uuid REFERENCES join_token,
    revoked_at       timestamptz,
    revoke_reason    text,
    CHECK (expires_at > not_before),
    CHECK ((status = 'REDEEMED') = (usage_count = 1)),
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id),
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE INDEX join_token_by_participant ON join_token (org_id, participant_id);

-- The session that a redeemed token or a staff login gives a browser. One live session per participant.
CREATE TABLE visit_session (
    session_id      uuid PRIMARY KEY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    participant_id  uuid NOT NULL,
    token_id        uuid REFERENCES join_token,
    secret_hash     bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    issued_at       timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    revoke_reason   text,
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE UNIQUE INDEX visit_session_one_live ON visit_session (participant_id) WHERE revoked_at IS NULL;

CREATE TABLE waiting_entry (
    entry_id        uuid PRIMARY KEY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    participant_id  uuid NOT NULL,
    status          text NOT NULL DEFAULT 'WAITING' CHECK (status IN ('WAITING', 'ADMITTED', 'DENIED', 'LEFT', 'TIMED_OUT')),
    entered_at      timestamptz NOT NULL DEFAULT now(),
    admitted_at     timestamptz,
    admitted_by     text,
    left_at         timestamptz,
    denied_by       text,
    deny_reason     text,
    camera_ok       boolean,
    mic_ok          boolean,
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE UNIQUE INDEX waiting_entry_one_open ON waiting_entry (participant_id) WHERE status = 'WAITING';
CREATE INDEX waiting_entry_by_visit ON waiting_entry (org_id, visit_id);
