-- From where a change came: the network, never the address; a keyed hash of the browser's name; and the trace that the request is part of.
-- Rows of schema version 2 have these under their hash, rows of version 1 leave them empty.
ALTER TABLE audit_event
    ADD COLUMN ip_truncated text CHECK (length(ip_truncated) <= 49),
    ADD COLUMN ua_hash bytea CHECK (octet_length(ua_hash) = 16),
    ADD COLUMN trace_id text CHECK (length(trace_id) = 32);
ALTER TABLE audit_event ALTER COLUMN schema_version SET DEFAULT 2;

-- What is asked of the chain besides a visit's history: whose acts, what kind of acts, which failed, and when.
CREATE INDEX audit_event_by_actor ON audit_event (org_id, actor_id, seq);
CREATE INDEX audit_event_by_type ON audit_event (org_id, event_type, seq);
CREATE INDEX audit_event_by_time ON audit_event (org_id, at, seq);

-- The sixteen kinds of event that every practice looks at first. It shows what its reader may see, and nothing more.
CREATE VIEW audit_core WITH (security_invoker = true) AS
    SELECT * FROM audit_event WHERE event_type IN (
        'VISIT_CREATED',
        'VISIT_VIEWED',
        'VISIT_STARTED',
        'VISIT_ENDED',
        'VISIT_CANCELLED',
        'TOKEN_ISSUED',
        'TOKEN_VALIDATED',
        'TOKEN_REDEEMED',
        'TOKEN_EXPIRED',
        'TOKEN_REVOKED',
        'LINK_RESENT',
        'NOTIFICATION_SENT',
        'PARTICIPANT_JOINED',
        'PARTICIPANT_LEFT',
        'RECORDING_STARTED',
        'RECORDING_STOPPED');
GRANT SELECT ON audit_core TO anteroom_server;
