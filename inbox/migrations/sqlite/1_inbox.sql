CREATE TABLE ptolemy_inbox (
    -- In the order of arrival; no id is used twice.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Recognises repetitions.
    dedup_key TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'dead')),
    -- Which webhook it came through, as the receiver names it; NULL if it names none.
    source TEXT,
    -- What the body says, for people; NULL if it says nothing of the kind.
    event_type TEXT,
    event_id TEXT,
    -- What is worked through in order; NULL if the event names nothing.
    resource TEXT,
    resource_id TEXT,
    -- All times are UTC, in the form 2026-04-15T09:30:00.000Z.
    received_at TEXT NOT NULL,
    -- Waiting: not before this time.
    run_at TEXT NOT NULL,
    -- When run_at was written: if that is in the future, the clock has been set back, and it is due.
    written_at TEXT NOT NULL,
    -- Waiting: with which others it competes.
    queue TEXT NOT NULL DEFAULT 'first' CHECK (queue IN ('first', 'again', 'suspect')),
    -- Its handler asked to be called later: no attempt failed.
    postponed INTEGER NOT NULL DEFAULT 0 CHECK (postponed IN (0, 1)),
    -- A suspect: its worker was gone before it ended. With how many suspects it may run, or runs. Running,
    -- 0: it was taken ahead, and may not have begun.
    crash_group INTEGER,
    -- How often it was handed to a worker.
    attempts INTEGER NOT NULL DEFAULT 0,
    started_at TEXT,
    -- Running: whose it is (a number for each time it is taken, and the worker's), since when for sure, and
    -- until when unless renewed.
    lease_token INTEGER NOT NULL DEFAULT 0,
    lease_worker INTEGER,
    renewed_at TEXT,
    lease_until TEXT,
    -- Waiting: the id of an earlier event of the same resource that must end first.
    waits_for INTEGER,
    -- When it was done, or dead.
    finished_at TEXT,
    -- Why the last attempt failed.
    last_error TEXT,
    -- Dead: no handler saw it, since this version of the inbox could not read it.
    malformed INTEGER NOT NULL DEFAULT 0 CHECK (malformed IN (0, 1)),
    -- As it was signed, byte for byte.
    body BLOB NOT NULL
) STRICT;

-- What a worker may take, and whether its time was written by a clock that was ahead.
CREATE INDEX ptolemy_inbox_ready ON ptolemy_inbox (queue, run_at, id, written_at)
    WHERE state = 'waiting' AND waits_for IS NULL;

-- What of a resource is not finished. By finished_at and not by state, so that it need not change when a
-- worker takes an event: its pages are many, and in no order of time.
CREATE INDEX ptolemy_inbox_order ON ptolemy_inbox (resource, resource_id, id)
    WHERE finished_at IS NULL AND resource_id IS NOT NULL;

CREATE INDEX ptolemy_inbox_waits_for ON ptolemy_inbox (waits_for) WHERE waits_for IS NOT NULL;

-- What runs now, and what is dead.
CREATE INDEX ptolemy_inbox_running ON ptolemy_inbox (id) WHERE state = 'running';

CREATE INDEX ptolemy_inbox_dead ON ptolemy_inbox (id) WHERE state = 'dead';

CREATE INDEX ptolemy_inbox_malformed ON ptolemy_inbox (id) WHERE state = 'dead' AND malformed;

-- What may be pruned.
CREATE INDEX ptolemy_inbox_done ON ptolemy_inbox (finished_at) WHERE state = 'done';

-- What all processes share: one row.
CREATE TABLE ptolemy_inbox_settings (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- NULL until it is set, which means as_due.
    event_order TEXT CHECK (event_order IN ('as_due', 'by_resource')),
    -- Old rows are removed by one worker at a time, and not again before this time.
    prune_at TEXT NOT NULL,
    -- Rows that were done before this time may have been removed; NULL if none ever was.
    pruned_to TEXT,
    -- Goes up with each commit that has nothing else to write, since SQLite syncs only those that write.
    commits INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO ptolemy_inbox_settings (id, prune_at) VALUES (1, '1970-01-01T00:00:00.000Z');

-- How far the deliveries of each webhook were caught up with after outages.
CREATE TABLE ptolemy_inbox_catch_up (
    -- The id of the webhook at Ptolemy.
    webhook_id TEXT PRIMARY KEY,
    -- What was delivered before this time is in the inbox, or was reported as missing.
    checkpoint TEXT,
    -- Which run is catching up (a random number), and until when unless renewed.
    lease_holder INTEGER,
    lease_until TEXT
) STRICT;

-- The deliveries and events that a run found in Ptolemy's logs, and what became of them.
CREATE TABLE ptolemy_inbox_catch_up_event (
    webhook_id TEXT NOT NULL,
    -- 'event:' and the id of the event; 'delivery:' and the id of the delivery if the log names no event.
    key TEXT NOT NULL,
    event_id TEXT,
    event_type TEXT,
    -- The newest delivery of the event, and when it was attempted last; NULL if the log has none.
    delivery_id TEXT,
    delivered_at TEXT,
    -- When the event was created, by the event log.
    created_at TEXT,
    -- When the inbox received the first event with this id, once it is here.
    received_at TEXT,
    -- How often a redelivery was asked for, until a person gives the tries back.
    tries INTEGER NOT NULL DEFAULT 0,
    -- Whether one ever was. Then the entry stays until the inbox has the event.
    was_tried INTEGER NOT NULL DEFAULT 0,
    -- The status with which the API rejected a redelivery.
    answer INTEGER,
    -- open: to be redelivered. sent: redelivered, and awaited. here: in the inbox. rejected: by the API.
    -- unconfirmed: redelivered, and without an event id to find it by. later: the log has a delivery after
    -- the gap, or one without a time. known: tried by a run before, and older than the gap. unreachable: no
    -- delivery can be redelivered; unsubscribed: none would be made; listed: was reported as unreachable or
    -- unconfirmed.
    state TEXT NOT NULL
        CHECK (state IN ('open', 'sent', 'here', 'rejected', 'unconfirmed', 'later', 'known',
                         'unreachable', 'unsubscribed', 'listed')),
    PRIMARY KEY (webhook_id, key)
) STRICT;

-- What is to be redelivered next.
CREATE INDEX ptolemy_inbox_catch_up_open
    ON ptolemy_inbox_catch_up_event (webhook_id, tries, delivered_at, key) WHERE state = 'open';
