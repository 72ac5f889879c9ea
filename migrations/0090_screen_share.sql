-- That a screen was shared in a visit: by whom, from when to when. At most one at a time.
CREATE TABLE screen_share (
    share_id        uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organization,
    visit_id        uuid NOT NULL,
    participant_id  uuid NOT NULL,
    -- As the browser reports it.
    source_kind     text CHECK (source_kind IN ('monitor', 'window', 'tab')),
    started_at      timestamptz NOT NULL,
    stopped_at      timestamptz,
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id),
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE UNIQUE INDEX screen_share_one_active ON screen_share (visit_id) WHERE stopped_at IS NULL;
ALTER TABLE screen_share ENABLE ROW LEVEL SECURITY;
ALTER TABLE screen_share FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON screen_share TO anteroom_server
    USING (org_id = current_org()) WITH CHECK (org_id = current_org());
GRANT SELECT, INSERT, UPDATE (stopped_at) ON screen_share TO anteroom_server;

-- A share ends with its visit, whoever ended that.
CREATE FUNCTION end_screen_shares() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE screen_share SET stopped_at = NEW.status_updated_at WHERE visit_id = NEW.visit_id AND stopped_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER visit_over_ends_shares AFTER UPDATE OF status ON visit FOR EACH ROW
    WHEN (NEW.status IN ('COMPLETED', 'NO_SHOW', 'CANCELLED', 'TECHNICAL') AND OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION end_screen_shares();
