-- The begin and the end of a transaction in which an event is handled. Functions, since each session
-- keeps their plans, while statements in a message of several are planned each time. They run with the
-- rights of whoever calls them.
--
-- This file is run after the migrations, and also if a function is missing or was made in another schema,
-- for example after a dump of the tables alone was restored.

SELECT set_config('search_path', quote_ident(namespace.nspname) || ', ' || current_setting('search_path'), true)
FROM pg_class AS tables
JOIN pg_namespace AS namespace ON namespace.oid = tables.relnamespace
WHERE tables.oid = to_regclass('ptolemy_inbox');

-- Fails if the lease was lost (PI001), or if the transaction may not write. Without a lock, so that the
-- lease can be renewed while the event is handled.
CREATE OR REPLACE FUNCTION ptolemy_inbox_begin(event BIGINT, token BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    ignored TEXT;
BEGIN
    IF current_setting('transaction_read_only') <> 'off' THEN
        RAISE read_only_sql_transaction
            USING MESSAGE = 'ptolemy_inbox: transactions of this connection are read-only';
    END IF;
    IF NOT EXISTS (SELECT FROM ptolemy_inbox
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
$$;

-- Marks the event as done. Fails if the lease was lost (PI001), or if the transaction is not the one that
-- was begun (PI002).
CREATE OR REPLACE FUNCTION ptolemy_inbox_end(event BIGINT, token BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('ptolemy_inbox.event', true) IS DISTINCT FROM event::text THEN
        RAISE 'ptolemy_inbox: the transaction of event % was ended within its handler', event
            USING ERRCODE = 'PI002';
    END IF;
    UPDATE ptolemy_inbox
    SET state = 'done', finished_at = clock_timestamp(), lease_until = NULL, last_error = NULL,
        malformed = FALSE, written_at = now(), crash_group = NULL, queue = 'again', postponed = FALSE
    WHERE id = event AND lease_token = token AND state || '' = 'running';
    IF NOT FOUND THEN
        RAISE 'ptolemy_inbox: the lease of event % was lost', event USING ERRCODE = 'PI001';
    END IF;
    UPDATE ptolemy_inbox SET waits_for = NULL WHERE waits_for = event;
END
$$;

-- They find the tables beside which they were made, whatever schemas a handler has set; then, for triggers
-- of users, what whoever made them finds. Their plans use indexes even if they were made while the tables
-- were almost empty.
DO $$
DECLARE
    path TEXT := current_setting('search_path');
BEGIN
    EXECUTE 'ALTER FUNCTION ptolemy_inbox_begin(BIGINT, BIGINT) SET search_path = ' || path;
    EXECUTE 'ALTER FUNCTION ptolemy_inbox_end(BIGINT, BIGINT) SET search_path = ' || path;
END
$$;
ALTER FUNCTION ptolemy_inbox_begin(BIGINT, BIGINT) SET enable_seqscan = off;
ALTER FUNCTION ptolemy_inbox_end(BIGINT, BIGINT) SET enable_seqscan = off;
