//! Which of the spooled events the inbox has.

use super::error::CatchUpError;
use super::job::{Job, wait};
use crate::store::Ids;

/// How many rows of the inbox one query compares. There is no index on their event ids: it would make
/// every accept slower.
const ROWS_PER_QUERY: i64 = 5_000;

/// Marks the events that are among these rows of the inbox; returns the keys of those that were not
/// marked before.
pub(super) async fn scan(job: &Job, rows: Ids) -> Result<Vec<String>, CatchUpError> {
    let mut keys = Vec::new();
    let mut after = rows.after;
    while after < rows.up_to {
        let up_to = after.saturating_add(ROWS_PER_QUERY).min(rows.up_to);
        keys.append(&mut scan_some(job, Ids { after, up_to }).await?);
        after = up_to;
    }
    Ok(keys)
}

/// Marks the events that are in the inbox at all.
pub(super) async fn scan_all(job: &Job) -> Result<(), CatchUpError> {
    let Ids { mut after, up_to } = wait(job.lease.store.rows()).await?;
    while after < up_to {
        let next = after.saturating_add(ROWS_PER_QUERY).min(up_to);
        let rows = Ids { after, up_to: next };
        drop(scan_some(job, rows).await?);
        after = next;
    }
    Ok(())
}

async fn scan_some(job: &Job, rows: Ids) -> Result<Vec<String>, CatchUpError> {
    let source = job.settings.source.as_deref();
    let lease = &job.lease;
    wait(lease.store.mark_here(&lease.claim, rows, source)).await
}
