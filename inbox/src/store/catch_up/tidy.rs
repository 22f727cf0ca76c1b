//! The changes of many entries, and their statements, which are the same for both engines.

use time::OffsetDateTime;

/// A change of many entries, in steps of `ROWS_PER_TIDY`, repeated until a step changes fewer.
///
/// An entry that was tried stays until the inbox has its event, and an unreachable one until it was
/// reported, since neither the logs nor the next gap may show them again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tidy {
    /// Removes entries whose events are in the inbox, and entries of earlier runs that were not
    /// tried and need no report.
    Found,
    /// Reopens entries whose events are missing, with no tries counted, unless they are older than
    /// the horizon.
    Again { horizon: Option<OffsetDateTime> },
    /// Reopens entries that were tried and were delivered at this time or later.
    Reopen { from: OffsetDateTime },
    /// Sets aside entries that were tried and are older than the gap, unless their tries were given
    /// back, and all entries older than the horizon.
    SetAside {
        from: OffsetDateTime,
        horizon: Option<OffsetDateTime>,
    },
    /// Records that the entries which no run can redeliver or confirm were reported.
    Reported,
    /// Removes entries that no later run needs: those whose events are in the inbox, and untried
    /// ones older than the horizon.
    Ended { horizon: Option<OffsetDateTime> },
}

impl Tidy {
    /// Returns the start of the gap and the horizon, if the statement of this change uses them.
    pub(crate) fn bounds(self) -> (Option<OffsetDateTime>, Option<OffsetDateTime>) {
        match self {
            Self::Found | Self::Reported => (None, None),
            Self::Again { horizon } | Self::Ended { horizon } => (None, horizon),
            Self::Reopen { from } => (Some(from), None),
            Self::SetAside { from, horizon } => (Some(from), horizon),
        }
    }

    /// Returns the statement. Its parameters are the webhook, `ROWS_PER_TIDY` and the bounds;
    /// each statement has all of them.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Found => FOUND,
            Self::Again { .. } => AGAIN,
            Self::Reopen { .. } => REOPEN,
            Self::SetAside { .. } => SET_ASIDE,
            Self::Reported => REPORTED,
            Self::Ended { .. } => ENDED,
        }
    }
}

const FOUND: &str = "DELETE FROM ptolemy_inbox_catch_up_event
    WHERE webhook_id = $1 AND key IN (SELECT key FROM ptolemy_inbox_catch_up_event
        WHERE webhook_id = $1 AND ($3 IS NULL AND $4 IS NULL)
          AND (state = 'here'
               OR NOT was_tried AND state NOT IN ('unreachable', 'unconfirmed', 'listed'))
        LIMIT $2)";

const AGAIN: &str = "UPDATE ptolemy_inbox_catch_up_event
    SET tries = 0, answer = NULL, state = 'open'
    WHERE webhook_id = $1 AND key IN (SELECT key FROM ptolemy_inbox_catch_up_event
        WHERE webhook_id = $1 AND $3 IS NULL AND tries > 0 AND state <> 'here'
          AND ($4 IS NULL OR delivered_at IS NULL OR delivered_at >= $4)
        LIMIT $2)";

const REOPEN: &str = "UPDATE ptolemy_inbox_catch_up_event SET state = 'open'
    WHERE webhook_id = $1 AND key IN (SELECT key FROM ptolemy_inbox_catch_up_event
        WHERE webhook_id = $1 AND $4 IS NULL AND was_tried
          AND state NOT IN ('open', 'here', 'unconfirmed', 'listed')
          AND (delivered_at IS NULL OR delivered_at >= $3)
        LIMIT $2)";

const SET_ASIDE: &str = "UPDATE ptolemy_inbox_catch_up_event SET state = 'known'
    WHERE webhook_id = $1 AND key IN (SELECT key FROM ptolemy_inbox_catch_up_event
        WHERE webhook_id = $1 AND was_tried
          AND state NOT IN ('known', 'here', 'unconfirmed', 'listed')
          AND (delivered_at < $3 AND tries > 0 OR delivered_at < $4)
        LIMIT $2)";

const REPORTED: &str = "UPDATE ptolemy_inbox_catch_up_event SET state = 'listed'
    WHERE webhook_id = $1 AND key IN (SELECT key FROM ptolemy_inbox_catch_up_event
        WHERE webhook_id = $1 AND ($3 IS NULL AND $4 IS NULL)
          AND (state IN ('unreachable', 'unconfirmed')
               OR state = 'open' AND event_id IS NULL AND tries > 0)
        LIMIT $2)";

const ENDED: &str = "DELETE FROM ptolemy_inbox_catch_up_event
    WHERE webhook_id = $1 AND key IN (SELECT key FROM ptolemy_inbox_catch_up_event
        WHERE webhook_id = $1 AND $3 IS NULL
          AND (state = 'here'
               OR NOT was_tried AND (state IN ('later', 'unsubscribed') OR delivered_at < $4)
               -- No run can look for it any more.
               OR event_id IS NULL AND delivered_at < $4)
        LIMIT $2)";
