CREATE TABLE ptolemy_inbox (
    -- In the order of arrival; no id is used twice.
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Recognises repetitions.
    dedup_key TEXT COLLATE "C" NOT NULL UNIQUE,
    state TEXT COLLATE "C" NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'running', 'done', 'dead')),
    -- Which webhook it came through, as the receiver names it; NULL if it names none.
    source TEXT,
    -- What the body says, for people; NULL if it says nothing of the kind.
    event_type TEXT,
    event_id TEXT,
    -- What is worked through in order; NULL if the event names nothing.
    resource TEXT COLLATE "C",
    resource_id TEXT COLLATE "C",
    received_at TIMESTAMPTZ NOT NULL,
    -- Waiting: not before this time.
    run_at TIMESTAMPTZ NOT NULL,
    -- When run_at was written: if that is in the future, the clock has been set back, and it is due.
    written_at TIMESTAMPTZ NOT NULL,
    -- Waiting: with which others it competes.
    queue TEXT COLLATE "C" NOT NULL DEFAULT 'first' CHECK (queue IN ('first', 'again', 'suspect')),
    -- Its handler asked to be called later: no attempt failed.
    postponed BOOLEAN NOT NULL DEFAULT FALSE,
    -- A suspect: its worker was gone before it ended. With how many suspects it may run, or runs. Running,
    -- 0: it was taken ahead, and may not have begun.
    crash_group INTEGER,
    -- How often it was handed to a worker.
    attempts INTEGER NOT NULL DEFAULT 0,
    started_at TIMESTAMPTZ,
    -- Running: whose it is (a number for each time it is taken, and the worker's), since when for sure, and
    -- until when unless renewed.
    lease_token BIGINT NOT NULL DEFAULT 0,
    lease_worker BIGINT,
    renewed_at TIMESTAMPTZ,
    lease_until TIMESTAMPTZ,
    -- Waiting: the id of an earlier event of the same resource that must end first.
    waits_for BIGINT,
    -- When the event ended that it waited for last, until it is taken.
    released_at TIMESTAMPTZ,
    -- When it was done, or dead.
    finished_at TIMESTAMPTZ,
    -- Why the last attempt failed.
    last_error TEXT,
    -- Dead: no handler saw it, since this version of the inbox could not read it.
    malformed BOOLEAN NOT NULL DEFAULT FALSE,
    -- As it was signed, byte for byte; convert_from(body, 'UTF8') shows it.
    body BYTEA NOT NULL
)
-- Every row is rewritten twice on its way, so vacuum must come sooner than after a fifth of a large table.
WITH (autovacuum_vacuum_scale_factor = 0.02);

-- What a worker may take, and whether its time was written by a clock that was ahead.
CREATE INDEX ptolemy_inbox_ready ON ptolemy_inbox (queue, run_at, id) INCLUDE (written_at)
    WHERE state = 'waiting' AND waits_for IS NULL;

-- What of a resource is not finished. By finished_at and not by state, so that it need not change when a
-- worker takes an event: its pages are many, and in no order of time.
CREATE INDEX ptolemy_inbox_order ON ptolemy_inbox (resource, resource_id, id)
    WHERE finished_at IS NULL AND resource_id IS NOT NULL;

CREATE INDEX ptolemy_inbox_waits_for ON ptolemy_inbox (waits_for) WHERE waits_for IS NOT NULL;

-- Events that returned to their old places in the queue. Workers in order remember where a queue begins, and
-- find these by the time of their return.
CREATE INDEX ptolemy_inbox_released ON ptolemy_inbox (released_at)
    WHERE state = 'waiting' AND waits_for IS NULL AND released_at IS NOT NULL;

-- By the time of their begin, so that those that run now are found without the entries of all that ran, which stay
-- until a vacuum.
CREATE INDEX ptolemy_inbox_running ON ptolemy_inbox (greatest(started_at, 'epoch')) WHERE state = 'running';

CREATE INDEX ptolemy_inbox_dead ON ptolemy_inbox (id) WHERE state = 'dead';

CREATE INDEX ptolemy_inbox_malformed ON ptolemy_inbox (id) WHERE state = 'dead' AND malformed;

-- What may be pruned.
CREATE INDEX ptolemy_inbox_done ON ptolemy_inbox (finished_at) WHERE state = 'done';

-- What all processes share: one row.
CREATE TABLE ptolemy_inbox_settings (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- NULL until it is set, which means as_due.
    event_order TEXT COLLATE "C" CHECK (event_order IN ('as_due', 'by_resource')),
    -- Old rows are removed by one worker at a time, and not again before this time.
    prune_at TIMESTAMPTZ NOT NULL,
    -- Rows that were done before this time may have been removed; NULL if none ever was.
    pruned_to TIMESTAMPTZ
);

INSERT INTO ptolemy_inbox_settings (id, prune_at) VALUES (1, 'epoch');

-- How far the deliveries of each webhook were caught up with after outages.
CREATE TABLE ptolemy_inbox_catch_up (
    -- The id of the webhook at Ptolemy.
    webhook_id TEXT COLLATE "C" PRIMARY KEY,
    -- What was delivered before this time is in the inbox, or was reported as missing.
    checkpoint TIMESTAMPTZ,
    -- Which run is catching up (a random number), and until when unless renewed.
    lease_holder BIGINT,
    lease_until TIMESTAMPTZ
);

-- The deliveries and events that a run found in Ptolemy's logs, and what became of them.
CREATE TABLE ptolemy_inbox_catch_up_event (
    webhook_id TEXT COLLATE "C" NOT NULL,
    -- 'event:' and the id of the event; 'delivery:' and the id of the delivery if the log names no event.
    key TEXT COLLATE "C" NOT NULL,
    event_id TEXT,
    event_type TEXT,
    -- The newest delivery of the event, and when it was attempted last; NULL if the log has none.
    delivery_id TEXT,
    delivered_at TIMESTAMPTZ,
    -- When the event was created, by the event log.
    created_at TIMESTAMPTZ,
    -- When the inbox received the first event with this id, once it is here.
    received_at TIMESTAMPTZ,
    -- How often a redelivery was asked for, until a person gives the tries back.
    tries INTEGER NOT NULL DEFAULT 0,
    -- Whether one ever was. Then the entry stays until the inbox has the event.
    was_tried BOOLEAN NOT NULL DEFAULT false,
    -- The status with which the API rejected a redelivery.
    answer INTEGER,
    -- open: to be redelivered. sent: redelivered, and awaited. here: in the inbox. rejected: by the API.
    -- unconfirmed: redelivered, and without an event id to find it by. later: the log has a delivery after
    -- the gap, or one without a time. known: tried by a run before, and older than the gap. unreachable: no
    -- delivery can be redelivered; unsubscribed: none would be made; listed: was reported as unreachable or
    -- unconfirmed.
    state TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('open', 'sent', 'here', 'rejected', 'unconfirmed', 'later', 'known',
                         'unreachable', 'unsubscribed', 'listed')),
    PRIMARY KEY (webhook_id, key)
);

-- What is to be redelivered next.
CREATE INDEX ptolemy_inbox_catch_up_open
    ON ptolemy_inbox_catch_up_event (webhook_id, tries, delivered_at, key) WHERE state = 'open';
