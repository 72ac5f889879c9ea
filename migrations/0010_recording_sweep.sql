-- When the recorder is done with a job, signaling completes the Recording, also of a Room that is long gone and after a restart.
-- It asks in its own name, before it knows the organisation: these policies show, to a transaction that says so, which
-- recordings and jobs there are. What is done about them happens in their organisation's own transaction.
CREATE POLICY sweep ON recording FOR SELECT TO anteroom_server USING (current_setting('app.sweep', true) = 'recordings');
CREATE POLICY sweep ON recording_job FOR SELECT TO anteroom_server USING (current_setting('app.sweep', true) = 'recordings');

-- Few are unfinished at any time; the sweep reads these alone.
CREATE INDEX recording_unfinished ON recording (recording_id)
    WHERE status IN ('REQUESTED', 'RECORDING', 'STOPPING', 'PROCESSING', 'FAILED');
