-- A recording that must be kept although its time is over: for a court, an inquiry, or because the patient asks.
ALTER TABLE recording
    ADD COLUMN held_at     timestamptz,
    ADD COLUMN held_by     text,
    ADD COLUMN hold_reason text,
    ADD CONSTRAINT recording_hold_is_whole
        CHECK ((held_at IS NULL) = (held_by IS NULL) AND (held_at IS NULL) = (hold_reason IS NULL));

-- Whoever deletes, by whatever way: not before the time is over, and not while it is held.
CREATE FUNCTION recording_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.held_at IS NOT NULL OR OLD.retain_until > now() THEN
        RAISE EXCEPTION 'the recording is kept' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER recording_kept_when_marked BEFORE UPDATE OF status ON recording
    FOR EACH ROW WHEN (NEW.status = 'DELETED' AND OLD.status <> 'DELETED') EXECUTE FUNCTION recording_is_kept();
CREATE TRIGGER recording_kept_when_deleted BEFORE DELETE ON recording
    FOR EACH ROW EXECUTE FUNCTION recording_is_kept();
