-- The begin and the end of a transaction in which an event is handled. Functions, since each session
-- keeps their plans, while statements in a message of several are planned each time. They run with the
-- rights of whoever calls them.
--
-- The schema is that of the tables, since a handler may have set search_path. The plans use indexes, also those
-- that are made while the tables are almost empty.
--
-- This file is run after the migrations, and whenever a function is missing or has another body, for example
-- because only the tables were restored, or because their schema was renamed. If it changes, add a migration:
-- older versions of the crate, which would put back their own functions, then refuse to start.

-- Fails if the lease was lost (PI001), or if the transaction may not write. Without a lock, so that the
-- lease can be renewed while the event is handled.
CREATE OR REPLACE FUNCTION {schema}.ptolemy_inbox_begin(event BIGINT, token BIGINT) RETURNS VOID
LANGUAGE plpgsql SET enable_seqscan = off AS $ptolemy_inbox$
DECLARE
    ignored TEXT;
BEGIN
    IF current_setting('transaction_read_only') <> 'off' THEN
        RAISE read_only_sql_transaction
            USING MESSAGE = 'ptolemy_inbox: transactions of this connection are read-only';
    END IF;
    IF NOT EXISTS (SELECT FROM {schema}.ptolemy_inbox
                   WHERE id = event AND lease_token = token AND state || '' = 'running') THEN
        RAISE 'ptolemy_inbox: the lease of event % was lost', event USING ERRCODE = 'PI001';
    END IF;
    -- A handler may wait for longer than the role's setting lets a transaction be idle. The worker limits
    -- handlers; this limit is for a process that is frozen.
    IF current_setting('idle_in_transaction_session_timeout') <> '0' THEN
        ignored := set_config('idle_in_transaction_session_timeout', '1h', true);
    END IF;
    -- Lasts as long as the transaction does.
    ignored := set_config('ptolemy_inbox.event', event::text, true);
END
$ptolemy_inbox$;

-- Marks the event as done. Fails if the lease was lost (PI001), or if the transaction is not the one that
-- was begun (PI002).
CREATE OR REPLACE FUNCTION {schema}.ptolemy_inbox_end(event BIGINT, token BIGINT) RETURNS VOID
LANGUAGE plpgsql SET enable_seqscan = off AS $ptolemy_inbox$
BEGIN
    IF current_setting('ptolemy_inbox.event', true) IS DISTINCT FROM event::text THEN
        RAISE 'ptolemy_inbox: the transaction of event % was ended within its handler', event
            USING ERRCODE = 'PI002';
    END IF;
    UPDATE {schema}.ptolemy_inbox
    SET state = 'done', finished_at = clock_timestamp(), lease_until = NULL, last_error = NULL,
        malformed = FALSE, written_at = now(), crash_group = NULL, queue = 'again', postponed = FALSE
    WHERE id = event AND lease_token = token AND state || '' = 'running';
    IF NOT FOUND THEN
        RAISE 'ptolemy_inbox: the lease of event % was lost', event USING ERRCODE = 'PI001';
    END IF;
    UPDATE {schema}.ptolemy_inbox SET waits_for = NULL, released_at = clock_timestamp() WHERE waits_for = event;
END
$ptolemy_inbox$;
