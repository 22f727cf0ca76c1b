-- Grants on the tables, which `ptolemy-webhooks inbox migrate` created. Run it again after each upgrade, as
-- an administrator or as ptolemy_migrate:
--
--   psql -v ON_ERROR_STOP=1 -d ptolemy -f docs/deploy/grants.sql

-- The record of versions is written by migrations alone.
REVOKE INSERT, UPDATE, DELETE ON ptolemy_inbox_migrations FROM ptolemy_receiver;

-- All but `body` and `last_error`, which show what the events contain.
GRANT SELECT (id, dedup_key, state, source, event_type, event_id, resource, resource_id,
              received_at, run_at, written_at, queue, postponed, crash_group, attempts, started_at, lease_token,
              lease_worker, renewed_at, lease_until, waits_for, released_at, finished_at, malformed)
    ON ptolemy_inbox TO ptolemy_read;
GRANT SELECT ON ptolemy_inbox_settings, ptolemy_inbox_catch_up, ptolemy_inbox_catch_up_event,
                ptolemy_inbox_migrations TO ptolemy_read;
