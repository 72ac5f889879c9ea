-- What a visit's commands need: who changed it last, how it was called off, when it was reopened and last attended, and a slot that no
-- other visit of the same clinician shares. `btree_gist` is a trusted extension: the owner of the database may create it.
CREATE EXTENSION IF NOT EXISTS btree_gist;

ALTER TABLE visit
    ADD COLUMN last_modified_by text,
    ADD COLUMN cancelled_by text,
    -- A code, not a sentence: what a person writes about an appointment can be clinical.
    ADD COLUMN cancel_reason text CHECK (cancel_reason IN ('PATIENT_REQUEST', 'CLINICIAN_UNAVAILABLE', 'RESCHEDULED', 'BOOKED_IN_ERROR', 'OTHER')),
    ADD COLUMN reopened_at timestamptz,
    -- When somebody was last connected, as the node that holds its room said.
    ADD COLUMN attended_at timestamptz,
    ADD COLUMN provider text NOT NULL DEFAULT 'NATIVE' CHECK (provider IN ('NATIVE')),
    ADD COLUMN demo boolean NOT NULL DEFAULT false,
    -- Takes no part in the rule against double booking: visits that were planned before there was one, and reopened ones, which go on
    -- although the next visit of the clinician may have begun.
    ADD COLUMN is_slot_shared boolean NOT NULL DEFAULT true;
ALTER TABLE visit ALTER COLUMN is_slot_shared SET DEFAULT false;

-- A span of whole minutes is the same in every time zone, so this is as immutable as an index needs it.
CREATE FUNCTION visit_slot(starts timestamptz, minutes integer) RETURNS tstzrange LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT tstzrange(starts, starts + make_interval(mins => minutes)) $$;

ALTER TABLE visit ADD CONSTRAINT visit_not_double_booked EXCLUDE USING gist (
    org_id WITH =, clinician_id WITH =, visit_slot(scheduled_start_at, duration_min) WITH &&
) WHERE (kind = 'VISIT' AND NOT demo AND NOT is_slot_shared AND status IN ('SCHEDULED', 'WAITING', 'IN_PROGRESS'));

CREATE TABLE technical_issue (
    issue_id        uuid PRIMARY KEY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    participant_id  uuid,
    reported_by     text NOT NULL,
    category        text NOT NULL CHECK (category IN ('AUDIO', 'VIDEO', 'CONNECTION', 'DEVICE', 'BROWSER', 'SCREEN_SHARE', 'OTHER')),
    severity        text NOT NULL DEFAULT 'MEDIUM' CHECK (severity IN ('LOW', 'MEDIUM', 'HIGH')),
    reported_at     timestamptz NOT NULL,
    UNIQUE (org_id, issue_id),
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id),
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE INDEX technical_issue_by_visit ON technical_issue (org_id, visit_id, reported_at);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['technical_issue']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;
GRANT SELECT, INSERT ON technical_issue TO anteroom_server;
