-- What a practice wants of its messages. A sensitive one never names a clinician, and names itself by its alias alone.
ALTER TABLE organization
    ADD COLUMN notice_alias text CHECK (length(notice_alias) BETWEEN 1 AND 60),
    ADD COLUMN is_sensitive boolean NOT NULL DEFAULT false,
    ADD COLUMN notice_clinician_name boolean NOT NULL DEFAULT true;

GRANT UPDATE (notice_alias, is_sensitive, notice_clinician_name) ON organization TO anteroom_server;

-- How somebody of a visit is reached, and what they have been told of it. Number and address are sealed by the server's key; the hashes
-- are keyed, so that a copy of the table does not answer whose number this is.
CREATE TABLE contact (
    participant_id  uuid PRIMARY KEY,
    org_id          uuid NOT NULL,
    visit_id        uuid NOT NULL,
    sealed          bytea NOT NULL CHECK (octet_length(sealed) BETWEEN 32 AND 4096),
    phone_hash      bytea CHECK (octet_length(phone_hash) = 32),
    email_hash      bytea CHECK (octet_length(email_hash) = 32),
    -- Names the page that sends the link to the contact on file; opens nothing.
    handle_hash     bytea NOT NULL UNIQUE CHECK (octet_length(handle_hash) = 32),
    sms_consent     boolean NOT NULL,
    email_consent   boolean NOT NULL,
    -- Whether messages may say when the visit is.
    time_consent    boolean NOT NULL,
    time_zone       text NOT NULL CHECK (length(time_zone) BETWEEN 1 AND 64),
    locale          text NOT NULL CHECK (length(locale) BETWEEN 2 AND 16),
    -- The start time that the person was told first or last, was reminded of, and has a link for.
    told_start      timestamptz,
    reminded_start  timestamptz,
    linked_start    timestamptz,
    is_told_over    boolean NOT NULL DEFAULT false,
    -- SEQUENCE of the calendar entry that was sent last.
    sequence        integer NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    -- When to look at this row again; NULL: when the visit changes, or never.
    look_at         timestamptz,
    updated_at      timestamptz NOT NULL,
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id),
    FOREIGN KEY (org_id, visit_id) REFERENCES visit (org_id, visit_id)
);
CREATE INDEX contact_by_visit ON contact (org_id, visit_id);
CREATE INDEX contact_to_look_at ON contact (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX contact_by_phone ON contact (phone_hash) WHERE phone_hash IS NOT NULL;
CREATE INDEX contact_by_email ON contact (email_hash) WHERE email_hash IS NOT NULL;

-- The code of a link that has to be sent, sealed, and gone with the link's time. One row per token: whatever carries the link, a
-- fallback too, carries this one.
CREATE TABLE notice_link (
    token_id        uuid PRIMARY KEY REFERENCES join_token,
    org_id          uuid NOT NULL,
    participant_id  uuid NOT NULL,
    sealed_code     bytea NOT NULL CHECK (octet_length(sealed_code) BETWEEN 32 AND 256),
    expires_at      timestamptz NOT NULL,
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE INDEX notice_link_by_participant ON notice_link (org_id, participant_id);
CREATE INDEX notice_link_by_age ON notice_link (expires_at);

-- One message to one person over one channel: the queue and its record. No text is kept: the template's name and the rows it speaks of
-- are enough to write it when it is sent.
CREATE TABLE notice (
    notice_id           uuid PRIMARY KEY,
    org_id              uuid NOT NULL,
    visit_id            uuid NOT NULL,
    participant_id      uuid NOT NULL,
    recipient_role      text NOT NULL,
    channel             text NOT NULL CHECK (channel IN ('SMS', 'EMAIL')),
    template            text NOT NULL CHECK (template IN ('INITIAL', 'REMINDER', 'LINK', 'RESCHEDULED', 'CANCELLED')),
    -- Planned ones count towards the cap; the others were asked for.
    is_resend           boolean NOT NULL DEFAULT false,
    token_id            uuid REFERENCES join_token,
    sequence            integer,
    -- The start time that it speaks of.
    visit_start         timestamptz NOT NULL,
    status              text NOT NULL DEFAULT 'QUEUED' CHECK (status IN ('QUEUED', 'SENT', 'DELIVERED', 'FAILED', 'OPTED_OUT')),
    reason              text CHECK (length(reason) BETWEEN 1 AND 60),
    attempt             integer NOT NULL DEFAULT 0,
    fallback_of         uuid REFERENCES notice,
    destination_hash    bytea NOT NULL CHECK (octet_length(destination_hash) = 32),
    masked_destination  text NOT NULL CHECK (length(masked_destination) BETWEEN 1 AND 300),
    provider            text CHECK (length(provider) BETWEEN 1 AND 20),
    provider_message_id text CHECK (length(provider_message_id) BETWEEN 1 AND 200),
    created_at          timestamptz NOT NULL,
    -- Not before this time. An attempt under way holds the row by moving it on.
    due_at              timestamptz NOT NULL,
    sent_at             timestamptz,
    settled_at          timestamptz,
    UNIQUE (org_id, notice_id),
    UNIQUE (provider, provider_message_id),
    FOREIGN KEY (org_id, participant_id) REFERENCES participant (org_id, participant_id)
);
CREATE INDEX notice_due ON notice (due_at) WHERE status = 'QUEUED';
CREATE INDEX notice_by_visit ON notice (org_id, visit_id, created_at);
CREATE INDEX notice_by_destination ON notice (org_id, destination_hash, created_at);
-- A message has one fallback, whoever finds out first that it failed.
CREATE UNIQUE INDEX notice_one_fallback ON notice (fallback_of) WHERE fallback_of IS NOT NULL;

-- Who does not want messages over a channel any more.
CREATE TABLE notice_opt_out (
    org_id              uuid NOT NULL REFERENCES organization,
    channel             text NOT NULL CHECK (channel IN ('SMS', 'EMAIL')),
    destination_hash    bytea NOT NULL CHECK (octet_length(destination_hash) = 32),
    at                  timestamptz NOT NULL,
    PRIMARY KEY (org_id, channel, destination_hash)
);

-- What providers have told, each event once.
CREATE TABLE notice_event (
    org_id      uuid NOT NULL REFERENCES organization,
    provider    text NOT NULL CHECK (length(provider) BETWEEN 1 AND 20),
    event_id    text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 200),
    at          timestamptz NOT NULL,
    PRIMARY KEY (org_id, provider, event_id)
);
CREATE INDEX notice_event_by_age ON notice_event (at);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['contact', 'notice_link', 'notice', 'notice_opt_out', 'notice_event']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_organization ON %I TO anteroom_server USING (org_id = current_org()) WITH CHECK (org_id = current_org())', t);
    END LOOP;
END $$;

-- Who looks after the queue asks what is due before it knows the organisations; what it does happens in their own transactions.
CREATE POLICY sweep ON notice FOR SELECT TO anteroom_server
    USING (status = 'QUEUED' AND current_setting('app.sweep', true) = 'notices');
CREATE POLICY sweep ON contact FOR SELECT TO anteroom_server
    USING (look_at IS NOT NULL AND current_setting('app.sweep', true) = 'notices');

-- A provider's news names a message by the provider's id, and an answer to a message comes from a number: that very row is shown.
CREATE POLICY by_provider_message ON notice FOR SELECT TO anteroom_server
    USING (provider_message_id = NULLIF(current_setting('app.provider_message', true), ''));
CREATE POLICY by_destination ON contact FOR SELECT TO anteroom_server
    USING (phone_hash = decode(NULLIF(current_setting('app.destination_hash', true), ''), 'hex')
        OR email_hash = decode(NULLIF(current_setting('app.destination_hash', true), ''), 'hex'));
CREATE POLICY by_handle ON contact FOR SELECT TO anteroom_server
    USING (handle_hash = decode(NULLIF(current_setting('app.notice_handle_hash', true), ''), 'hex'));

-- Codes of links whose time is over, and old news, are forgotten for every organisation at once, and nothing younger than it says.
CREATE POLICY sweep_seen ON notice_link FOR SELECT TO anteroom_server
    USING (expires_at < NULLIF(current_setting('app.sweep_notices_before', true), '')::timestamptz);
CREATE POLICY sweep_gone ON notice_link FOR DELETE TO anteroom_server
    USING (expires_at < NULLIF(current_setting('app.sweep_notices_before', true), '')::timestamptz);
CREATE POLICY sweep_seen ON notice_event FOR SELECT TO anteroom_server
    USING (at < NULLIF(current_setting('app.sweep_notices_before', true), '')::timestamptz);
CREATE POLICY sweep_gone ON notice_event FOR DELETE TO anteroom_server
    USING (at < NULLIF(current_setting('app.sweep_notices_before', true), '')::timestamptz);

GRANT SELECT, INSERT, UPDATE ON contact, notice TO anteroom_server;
GRANT SELECT, INSERT, DELETE ON notice_link, notice_opt_out, notice_event TO anteroom_server;

-- Whoever moves a visit, or ends it, need not know that somebody has to be told.
CREATE FUNCTION look_at_contacts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE contact SET look_at = '2000-01-01Z' WHERE org_id = NEW.org_id AND visit_id = NEW.visit_id;
    RETURN NULL;
END $$;

CREATE TRIGGER visit_to_be_told AFTER UPDATE OF status, scheduled_start_at, duration_min ON visit FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.scheduled_start_at IS DISTINCT FROM NEW.scheduled_start_at
        OR OLD.duration_min IS DISTINCT FROM NEW.duration_min)
    EXECUTE FUNCTION look_at_contacts();
