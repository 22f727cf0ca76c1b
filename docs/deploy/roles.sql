-- A database of its own for the inbox, and three roles. Run it once, as an administrator:
--
--   psql -v ON_ERROR_STOP=1 -f docs/deploy/roles.sql
--
-- Passwords are set afterwards, with \password in psql, which sends no password in plain text.

-- Owns the tables: creates them, and changes them at an upgrade.
CREATE ROLE ptolemy_migrate LOGIN;
-- At a managed host the administrator is not a superuser, and may give the database to a role only as
-- a member of it. It needs CREATEROLE and CREATEDB.
GRANT ptolemy_migrate TO CURRENT_USER;
-- Accepts, handles, and removes old rows. Three receivers while versions change, with 10 connections
-- each and up to three more while they start or look for a fault; the rest is for the tool.
CREATE ROLE ptolemy_receiver LOGIN CONNECTION LIMIT 50;
-- Reads counts and times, and neither bodies nor errors.
CREATE ROLE ptolemy_read LOGIN CONNECTION LIMIT 10;

CREATE DATABASE ptolemy OWNER ptolemy_migrate ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE ptolemy FROM PUBLIC;
GRANT CONNECT ON DATABASE ptolemy TO ptolemy_receiver, ptolemy_read;

\connect ptolemy
-- Before PostgreSQL 15 every role may create tables here.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CREATE ON SCHEMA public TO ptolemy_migrate;
-- Also for the tables of later versions.
ALTER DEFAULT PRIVILEGES FOR ROLE ptolemy_migrate IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO ptolemy_receiver;

-- Lets the receiver's warning name the session that keeps the table from being vacuumed. If the host
-- does not allow this grant, remove the line: the warning then names no session.
GRANT pg_read_all_stats TO ptolemy_receiver;
-- A graph that is slow, or a forgotten session, ends by itself.
ALTER ROLE ptolemy_read IN DATABASE ptolemy SET statement_timeout = '10s';
ALTER ROLE ptolemy_read IN DATABASE ptolemy SET idle_in_transaction_session_timeout = '60s';
