-- The chore asks which organisations have a visit that is not over; what is due it finds and does in their own transactions.
CREATE POLICY sweep ON visit FOR SELECT TO anteroom_server
    USING (kind = 'VISIT' AND status IN ('SCHEDULED', 'WAITING', 'IN_PROGRESS') AND current_setting('app.sweep', true) = 'visits');
CREATE INDEX visit_open ON visit (org_id, scheduled_start_at) WHERE kind = 'VISIT' AND status IN ('SCHEDULED', 'WAITING', 'IN_PROGRESS');
CREATE INDEX waiting_entry_open ON waiting_entry (org_id, entered_at) WHERE status = 'WAITING';

-- That a token's time passed unused is written into the audit chain once. Its state stays the clock's.
ALTER TABLE join_token ADD COLUMN expiry_noted_at timestamptz;
CREATE INDEX join_token_to_expire ON join_token (expires_at) WHERE status = 'ACTIVE' AND expiry_noted_at IS NULL;
CREATE POLICY sweep ON join_token FOR SELECT TO anteroom_server
    USING (status = 'ACTIVE' AND expiry_noted_at IS NULL AND current_setting('app.sweep', true) = 'visits');
