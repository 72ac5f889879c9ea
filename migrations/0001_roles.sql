-- Roles that own nothing. The server and the recorder act as these, whatever login they come in by (SET ROLE after connect).
-- A cluster may already hold them: roles are shared by all its databases.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'anteroom_server') THEN
        CREATE ROLE anteroom_server NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'anteroom_recorder') THEN
        CREATE ROLE anteroom_recorder NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
EXCEPTION WHEN unique_violation OR duplicate_object THEN
    -- Two databases of one cluster migrated at the same moment; the other one made them.
    NULL;
END $$;

GRANT USAGE ON SCHEMA public TO anteroom_server, anteroom_recorder;

-- The organisation of this transaction; NULL when none was set. After a transaction the setting reads back as '', hence NULLIF.
CREATE FUNCTION current_org() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.org', true), '')::uuid $$;
