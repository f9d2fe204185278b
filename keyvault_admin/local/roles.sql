-- The database roles of Keyvault Admin, and who may enter this database.
-- Run by a superuser, connected to the application's database, as often as you like. It sets no password.
--
-- keyvault_owner     owns everything; nobody logs in as it
-- keyvault_migrator  logs in to migrate, and becomes the owner by SET ROLE, never by inheritance
-- keyvault_app       the group that ordinary table grants go to
-- keyvault_web, _worker, _beat, _signer, _command   one login for each kind of process

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['keyvault_owner', 'keyvault_app'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
        EXECUTE format('ALTER ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role_name);
    END LOOP;
    FOREACH role_name IN ARRAY ARRAY['keyvault_migrator', 'keyvault_web', 'keyvault_worker', 'keyvault_beat',
                                     'keyvault_signer', 'keyvault_command'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role_name);
    END LOOP;
END
$$;

GRANT keyvault_owner TO keyvault_migrator WITH INHERIT FALSE, SET TRUE;
GRANT keyvault_app TO keyvault_web, keyvault_worker, keyvault_beat, keyvault_signer, keyvault_command
    WITH INHERIT TRUE, SET FALSE;

-- A request that hangs must not hold a lock for long; a person's command may run as long as it needs.
ALTER ROLE keyvault_web SET statement_timeout = '5s';
ALTER ROLE keyvault_worker SET statement_timeout = '60s';
ALTER ROLE keyvault_beat SET statement_timeout = '60s';
ALTER ROLE keyvault_signer SET statement_timeout = '60s';
ALTER ROLE keyvault_web SET lock_timeout = '2s';
ALTER ROLE keyvault_worker SET lock_timeout = '2s';
ALTER ROLE keyvault_beat SET lock_timeout = '2s';
ALTER ROLE keyvault_signer SET lock_timeout = '2s';
ALTER ROLE keyvault_command SET lock_timeout = '2s';
ALTER ROLE keyvault_web SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE keyvault_worker SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE keyvault_beat SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE keyvault_signer SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE keyvault_command SET idle_in_transaction_session_timeout = '30s';

-- This database: the owner owns it, our logins may connect, nobody else may do anything, nobody makes temporary tables.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I OWNER TO keyvault_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO keyvault_migrator, keyvault_web, keyvault_worker, keyvault_beat, '
                   'keyvault_signer, keyvault_command', current_database());
END
$$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO keyvault_app, keyvault_migrator;
