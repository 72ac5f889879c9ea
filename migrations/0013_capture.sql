-- Captures that are delivered to buckets, in the form that applications of the Chime API expect.

-- Whether a plain meeting, which has no consent of its own, may be captured on its application's word.
ALTER TABLE organization ADD COLUMN meetings_need_consent boolean NOT NULL DEFAULT false;
GRANT UPDATE (meetings_need_consent) ON organization TO anteroom_server;

-- Buckets that an organisation's captures may go to.
CREATE TABLE organization_bucket (
    org_id      uuid NOT NULL REFERENCES organization,
    bucket      text NOT NULL CHECK (bucket ~ '^[a-z0-9.-]{3,63}$'),
    allowed_at  timestamptz NOT NULL,
    revoked_at  timestamptz,
    PRIMARY KEY (org_id, bucket)
);

-- What the API calls a media pipeline: a capture of one meeting, or the joining of what a capture delivered.
CREATE TABLE chime_pipeline (
    pipeline_id     uuid PRIMARY KEY,
    seq             bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    org_id          uuid NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('CAPTURE', 'CONCATENATION')),
    -- Of a capture.
    meeting_id      uuid,
    -- Of a concatenation.
    source_id       uuid,
    status          text NOT NULL
        CHECK (status IN ('NotStarted', 'Initializing', 'InProgress', 'Paused', 'Stopping', 'Stopped', 'Failed')),
    -- Of the request that made it: part of its ARN.
    region          text NOT NULL CHECK (length(region) BETWEEN 1 AND 64),
    request_token   text CHECK (length(request_token) BETWEEN 2 AND 64),
    request_hash    bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    -- As it was asked for, to be shown.
    request         jsonb NOT NULL,
    -- wire::delivery::Order of a capture; of a concatenation wire::delivery::Join, without what is joined.
    wanted          jsonb NOT NULL,
    tags            jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL,
    created_by      text NOT NULL,
    updated_at      timestamptz NOT NULL,
    -- Why it stops, once it is to stop.
    stop_reason     text CHECK (stop_reason IN ('DELETED', 'MEETING_ENDED', 'CONSENT_LOST')),
    UNIQUE (org_id, pipeline_id),
    CHECK ((kind = 'CAPTURE') = (meeting_id IS NOT NULL) AND (kind = 'CONCATENATION') = (source_id IS NOT NULL)),
    FOREIGN KEY (org_id, meeting_id) REFERENCES chime_meeting (org_id, meeting_id),
    FOREIGN KEY (org_id, source_id) REFERENCES chime_pipeline (org_id, pipeline_id)
);
-- One capture of a meeting at a time.
CREATE UNIQUE INDEX chime_pipeline_one_capture ON chime_pipeline (meeting_id)
    WHERE kind = 'CAPTURE' AND status NOT IN ('Stopped', 'Failed');
-- A token is bound to its pipeline while that lives.
CREATE UNIQUE INDEX chime_pipeline_one_for_token ON chime_pipeline (org_id, kind, request_token)
    WHERE status NOT IN ('Stopped', 'Failed');
CREATE INDEX chime_pipeline_by_org ON chime_pipeline (org_id, seq);
CREATE INDEX chime_pipeline_open ON chime_pipeline (seq) WHERE status NOT IN ('Stopped', 'Failed');

-- A Recording may serve an order; the recorder delivers from its journal, which it keeps until that is done.
ALTER TABLE recording_job
    ADD COLUMN order_id         uuid,
    ADD COLUMN delivery_order   jsonb,     -- wire::delivery::Order
    ADD COLUMN delivery_state   text CHECK (delivery_state IN ('DUE', 'DONE', 'FAILED')),
    ADD COLUMN delivered        jsonb,     -- wire::delivery::Delivered, set with DONE
    ADD CONSTRAINT recording_job_delivers_what_is_ordered
        CHECK ((order_id IS NULL) = (delivery_order IS NULL) AND (order_id IS NULL) = (delivery_state IS NULL));
CREATE INDEX recording_job_by_order ON recording_job (order_id) WHERE order_id IS NOT NULL;
CREATE TRIGGER recording_job_delivered AFTER UPDATE OF delivery_state ON recording_job
    FOR EACH ROW EXECUTE FUNCTION recording_job_notify();

-- Joins what was delivered; any recorder can.
CREATE TABLE join_job (
    order_id      uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    state         text NOT NULL DEFAULT 'QUEUED' CHECK (state IN ('QUEUED', 'CLAIMED', 'DONE', 'FAILED')),
    wanted        jsonb NOT NULL,          -- wire::delivery::Join
    epoch         integer NOT NULL DEFAULT 0,
    lease_until   timestamptz,
    attempts      integer NOT NULL DEFAULT 0,
    error         text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (org_id, order_id) REFERENCES chime_pipeline (org_id, pipeline_id)
);
CREATE INDEX join_job_open ON join_job (created_at) WHERE state IN ('QUEUED', 'CLAIMED');
CREATE FUNCTION join_job_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('recording_job', NEW.order_id::text);
    RETURN NEW;
END $$;
CREATE TRIGGER join_job_changed AFTER INSERT OR UPDATE OF state ON join_job
    FOR EACH ROW EXECUTE FUNCTION join_job_notify();

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['organization_bucket', 'chime_pipeline', 'join_job']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

-- Who looks for pipelines that have something to do asks before it knows the organisations; what is done about them happens in their
-- organisation's own transaction.
CREATE POLICY sweep ON chime_pipeline FOR SELECT TO anteroom_server
    USING (status NOT IN ('Stopped', 'Failed') AND current_setting('app.sweep', true) = 'pipelines');

-- The recorder works for every organisation, on jobs alone.
CREATE POLICY every_job ON join_job TO anteroom_recorder USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE ON organization_bucket, chime_pipeline TO anteroom_server;
GRANT SELECT, INSERT ON join_job TO anteroom_server;
GRANT SELECT, UPDATE ON join_job TO anteroom_recorder;
