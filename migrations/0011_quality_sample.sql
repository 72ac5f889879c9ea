-- How the network and the picture were for each person, one row every few seconds. Measurements, not clinical facts: they are
-- kept for a limited time (setting `quality_kept`) and may be missing where the database was slow.
CREATE TABLE quality_sample (
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    participant_id  uuid NOT NULL,
    at              timestamptz NOT NULL,
    bars            smallint NOT NULL CHECK (bars BETWEEN 0 AND 4),
    rtt_ms          integer CHECK (rtt_ms >= 0),
    loss_up         smallint NOT NULL CHECK (loss_up BETWEEN 0 AND 1000),      -- thousandths, after repair
    loss_down       smallint NOT NULL CHECK (loss_down BETWEEN 0 AND 1000),
    jitter_ms       integer NOT NULL CHECK (jitter_ms >= 0),
    kbits_up        integer NOT NULL CHECK (kbits_up >= 0),
    kbits_down      integer NOT NULL CHECK (kbits_down >= 0),
    target_kbits    integer CHECK (target_kbits >= 0),
    -- As the person's browser counts them since its connection began.
    freezes         integer CHECK (freezes >= 0),
    frames_decoded  bigint CHECK (frames_decoded >= 0),
    PRIMARY KEY (org_id, visit_id, participant_id, at),
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id),
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE INDEX quality_sample_by_age ON quality_sample (at);

ALTER TABLE quality_sample ENABLE ROW LEVEL SECURITY;
ALTER TABLE quality_sample FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON quality_sample TO anteroom_server
    USING (org_id = current_org()) WITH CHECK (org_id = current_org());

-- The chore that forgets old samples works for every organisation at once. It sees and removes nothing younger than it says.
CREATE POLICY sweep_seen ON quality_sample FOR SELECT TO anteroom_server
    USING (at < NULLIF(current_setting('app.sweep_quality_before', true), '')::timestamptz);
CREATE POLICY sweep_gone ON quality_sample FOR DELETE TO anteroom_server
    USING (at < NULLIF(current_setting('app.sweep_quality_before', true), '')::timestamptz);

-- Measurements are written once and never changed.
GRANT SELECT, INSERT, DELETE ON quality_sample TO anteroom_server;
