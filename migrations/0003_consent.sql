-- The versioned texts that people sign.
CREATE TABLE consent_text (
    text_id     uuid PRIMARY KEY,
    org_id      uuid NOT NULL REFERENCES organization,
    type        text NOT NULL CHECK (type IN ('GENERAL_TELEHEALTH', 'HIPAA', 'RECORDING', 'STATE_SPECIFIC')),
    version     integer NOT NULL CHECK (version > 0),
    locale      text NOT NULL DEFAULT 'en-US',
    body        text NOT NULL CHECK (length(body) BETWEEN 1 AND 20000),
    sha256      bytea NOT NULL CHECK (octet_length(sha256) = 32),
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, type, version, locale),
    UNIQUE (org_id, text_id)
);

-- Append-only: an answer is never changed, a later answer follows it. The newest row of (participant, type) counts.
CREATE TABLE consent (
    consent_id      uuid PRIMARY KEY,
    seq             bigint GENERATED ALWAYS AS IDENTITY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    participant_id  uuid NOT NULL,
    type            text NOT NULL CHECK (type IN ('GENERAL_TELEHEALTH', 'HIPAA', 'RECORDING', 'STATE_SPECIFIC')),
    text_id         uuid NOT NULL,
    version         integer NOT NULL,
    text_sha256     bytea NOT NULL CHECK (octet_length(text_sha256) = 32),
    status          text NOT NULL CHECK (status IN ('SIGNED', 'DECLINED', 'REVOKED')),
    method          text NOT NULL DEFAULT 'ELECTRONIC' CHECK (method IN ('ELECTRONIC', 'PAPER', 'VERBAL')),
    decided_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz,
    supersedes      uuid REFERENCES consent,
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id),
    FOREIGN KEY (org_id, text_id) REFERENCES consent_text (org_id, text_id)
);
CREATE INDEX consent_newest ON consent (org_id, participant_id, type, seq DESC);
