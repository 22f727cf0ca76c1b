//! Which of the spooled events the inbox has.

use std::sync::atomic::Ordering;

use super::error::{CatchUpError, CatchUpErrorKind};
use super::job::{Job, wait};
use crate::store::Ids;

/// How many rows each scan goes back: on PostgreSQL a row can become visible after rows with larger
/// ids.
pub(super) const ROWS_BACK: i64 = 500;

/// Marks the events that are among these rows of the inbox; returns the keys of those that were not
/// marked before. It works in steps: there is no index on the events' ids, since it would make
/// every accept slower.
pub(super) async fn scan(job: &Job, rows: Ids) -> Result<Vec<String>, CatchUpError> {
    let mut keys = Vec::new();
    let mut after = rows.after;
    while after < rows.up_to {
        let rows = step(job, Ids { after, ..rows }).await?;
        keys.append(&mut scan_some(job, rows).await?);
        after = rows.up_to;
    }
    Ok(keys)
}

/// Marks all events that are in the inbox.
pub(super) async fn scan_all(job: &Job) -> Result<(), CatchUpError> {
    let rows = wait(job.lease.store.rows()).await?;
    let mut after = rows.after;
    while after < rows.up_to {
        let rows = step(job, Ids { after, ..rows }).await?;
        drop(scan_some(job, rows).await?);
        after = rows.up_to;
    }
    job.scanned.store(rows.up_to, Ordering::Relaxed);
    check_pruned(job).await
}

/// Marks the events that arrived since the last scan; returns the last row that it scanned.
pub(super) async fn scan_new(job: &Job) -> Result<i64, CatchUpError> {
    let up_to = wait(job.lease.store.rows()).await?.up_to;
    let after = job.scanned.load(Ordering::Relaxed);
    let after = after.saturating_sub(ROWS_BACK).max(0);
    drop(scan(job, Ids { after, up_to }).await?);
    job.scanned.store(up_to, Ordering::Relaxed);
    check_pruned(job).await?;
    Ok(up_to)
}

/// Rows that were removed before they were compared would be handled again.
async fn check_pruned(job: &Job) -> Result<(), CatchUpError> {
    match wait(job.lease.store.pruned_to()).await? {
        Some(horizon) if horizon > job.gap.from => {
            Err(CatchUpError::new(CatchUpErrorKind::BeyondHorizon {
                horizon,
            }))
        }
        _ => Ok(()),
    }
}

async fn step(job: &Job, rows: Ids) -> Result<Ids, CatchUpError> {
    let up_to = wait(job.lease.store.step(rows)).await?;
    Ok(Ids { up_to, ..rows })
}

async fn scan_some(job: &Job, rows: Ids) -> Result<Vec<String>, CatchUpError> {
    let source = job.settings.source.as_deref();
    let lease = &job.lease;
    wait(lease.store.mark_here(&lease.claim, rows, source)).await
}
