//! The changes that only the run with the lease may make.

use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::super::clock;
use crate::error::BoxError;
use crate::store::catch_up::{Claim, Entry, LEASE, Settled};

/// How many entries are removed while accepts wait for the write lock.
pub(super) const ROWS_PER_COMMIT: u32 = 5_000;

pub(super) async fn renew(
    tx: &mut SqliteConnection,
    claim: &Claim,
    now: OffsetDateTime,
) -> Result<bool, BoxError> {
    let renewed = sqlx::query(
        "UPDATE ptolemy_inbox_catch_up SET lease_until = ? WHERE webhook_id = ? AND lease_holder = ?",
    )
    .bind(clock::text(clock::after(now, LEASE)))
    .bind(&claim.webhook)
    .bind(claim.holder)
    .execute(tx)
    .await?;
    Ok(renewed.rows_affected() > 0)
}

/// Forgets some of what earlier runs found; returns how many entries.
pub(super) async fn forget_found(
    tx: &mut SqliteConnection,
    claim: &Claim,
    again: bool,
) -> Result<u64, BoxError> {
    let forgotten = sqlx::query(
        "DELETE FROM ptolemy_inbox_catch_up_event
         WHERE rowid IN (SELECT rowid FROM ptolemy_inbox_catch_up_event
                         WHERE webhook_id = ?1 AND state <> 'listed'
                           AND (?2 OR tries = 0 OR state IN ('here', 'later')) LIMIT ?3)",
    )
    .bind(&claim.webhook)
    .bind(again)
    .bind(ROWS_PER_COMMIT)
    .execute(tx)
    .await?;
    Ok(forgotten.rows_affected())
}

/// Same as `forget_found`, for what no later run needs.
pub(super) async fn forget_ended(
    tx: &mut SqliteConnection,
    claim: &Claim,
    before: Option<OffsetDateTime>,
) -> Result<u64, BoxError> {
    let forgotten = sqlx::query(
        "DELETE FROM ptolemy_inbox_catch_up_event
         WHERE rowid IN (SELECT rowid FROM ptolemy_inbox_catch_up_event
                         WHERE webhook_id = ?1
                           AND (state IN ('here', 'later', 'unsubscribed') OR delivered_at < ?2)
                         LIMIT ?3)",
    )
    .bind(&claim.webhook)
    .bind(before.map(clock::text))
    .bind(ROWS_PER_COMMIT)
    .execute(tx)
    .await?;
    Ok(forgotten.rows_affected())
}

pub(super) async fn reset(tx: &mut SqliteConnection, claim: &Claim) -> Result<(), BoxError> {
    sqlx::query(
        "UPDATE ptolemy_inbox_catch_up_event SET state = 'known'
         WHERE webhook_id = ? AND state IN ('open', 'sent', 'rejected')",
    )
    .bind(&claim.webhook)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn spool(
    tx: &mut SqliteConnection,
    claim: &Claim,
    entries: &[Entry],
) -> Result<(), BoxError> {
    for entry in entries {
        sqlx::query(
            "INSERT INTO ptolemy_inbox_catch_up_event AS old
                 (webhook_id, key, event_id, event_type, delivery_id, delivered_at, state)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (webhook_id, key) DO UPDATE SET
                 event_type = coalesce(excluded.event_type, old.event_type),
                 delivery_id = CASE WHEN old.delivery_id IS NULL OR old.delivered_at IS NULL
                                      OR excluded.delivered_at >= old.delivered_at
                                    THEN coalesce(excluded.delivery_id, old.delivery_id)
                                    ELSE old.delivery_id END,
                 delivered_at = CASE WHEN excluded.delivery_id IS NULL THEN old.delivered_at
                                     WHEN old.delivery_id IS NULL OR old.delivered_at IS NULL
                                     THEN excluded.delivered_at
                                     ELSE max(coalesce(excluded.delivered_at, old.delivered_at),
                                              old.delivered_at) END,
                 state = CASE WHEN old.state IN ('here', 'unconfirmed', 'sent', 'rejected')
                              THEN old.state
                              WHEN excluded.state IN ('unreachable', 'unsubscribed') THEN old.state
                              WHEN excluded.state = 'later' AND old.state = 'open' THEN old.state
                              ELSE excluded.state END",
        )
        .bind(&claim.webhook)
        .bind(&entry.key)
        .bind(&entry.event_id)
        .bind(&entry.event_type)
        .bind(&entry.delivery_id)
        .bind(entry.delivered_at.map(clock::text))
        .bind(entry.state.as_str())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

pub(super) async fn settle(
    tx: &mut SqliteConnection,
    claim: &Claim,
    settled: &[Settled],
) -> Result<(), BoxError> {
    for settled in settled {
        sqlx::query(
            "UPDATE ptolemy_inbox_catch_up_event
             SET state = ?3, tries = max(tries - ?4, 0), answer = coalesce(?5, answer)
             WHERE webhook_id = ?1 AND key = ?2 AND state = 'sent'",
        )
        .bind(&claim.webhook)
        .bind(&settled.key)
        .bind(settled.state.as_str())
        .bind(i32::from(settled.gives_back))
        .bind(settled.answer)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

pub(super) async fn finish(
    tx: &mut SqliteConnection,
    claim: &Claim,
    checkpoint: OffsetDateTime,
) -> Result<(), BoxError> {
    sqlx::query(
        "UPDATE ptolemy_inbox_catch_up SET checkpoint = max(coalesce(checkpoint, ?1), ?1)
         WHERE webhook_id = ?2",
    )
    .bind(clock::text(checkpoint))
    .bind(&claim.webhook)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "UPDATE ptolemy_inbox_catch_up_event SET state = 'listed'
         WHERE webhook_id = ? AND state = 'unreachable'",
    )
    .bind(&claim.webhook)
    .execute(tx)
    .await?;
    Ok(())
}
