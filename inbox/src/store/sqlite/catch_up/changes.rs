//! The changes that only the run with the lease may make.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::super::clock;
use super::time_in;
use crate::error::BoxError;
use crate::store::catch_up::{Claim, Entry, LEASE, Other, ROWS_PER_TIDY, Settled, Tidy};

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

/// Changes some entries; returns how many.
pub(super) async fn tidy(
    tx: &mut SqliteConnection,
    claim: &Claim,
    tidy: Tidy,
) -> Result<u64, BoxError> {
    let (from, horizon) = tidy.bounds();
    let tidied = sqlx::query(tidy.sql())
        .bind(&claim.webhook)
        .bind(ROWS_PER_TIDY)
        .bind(from.map(clock::text))
        .bind(horizon.map(clock::text))
        .execute(tx)
        .await?;
    Ok(tidied.rows_affected())
}

/// Returns how many of the entries have an id that another event has.
pub(super) async fn spool(
    tx: &mut SqliteConnection,
    claim: &Claim,
    entries: &[Entry],
) -> Result<u64, BoxError> {
    let mut others = 0;
    for entry in entries {
        let row = sqlx::query(
            "INSERT INTO ptolemy_inbox_catch_up_event AS old
                 (webhook_id, key, event_id, event_type, delivery_id, delivered_at, created_at, state)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (webhook_id, key) DO UPDATE SET
                 event_type = coalesce(old.event_type, excluded.event_type),
                 created_at = coalesce(old.created_at, excluded.created_at),
                 delivery_id = CASE WHEN old.delivery_id IS NULL OR old.delivered_at IS NULL
                                      OR excluded.delivered_at >= old.delivered_at
                                    THEN coalesce(excluded.delivery_id, old.delivery_id)
                                    ELSE old.delivery_id END,
                 delivered_at = CASE WHEN excluded.delivery_id IS NULL
                                     THEN coalesce(old.delivered_at, excluded.delivered_at)
                                     WHEN old.delivery_id IS NULL OR old.delivered_at IS NULL
                                     THEN coalesce(excluded.delivered_at, old.delivered_at)
                                     ELSE max(coalesce(excluded.delivered_at, old.delivered_at),
                                              old.delivered_at) END,
                 state = CASE WHEN old.state IN ('here', 'unconfirmed', 'sent', 'rejected')
                              THEN old.state
                              WHEN old.was_tried AND old.event_id IS NOT NULL THEN 'open'
                              WHEN old.state = 'listed' AND old.event_id IS NULL THEN old.state
                              WHEN excluded.state IN ('unreachable', 'unsubscribed')
                              THEN CASE WHEN old.state = 'later' AND old.delivered_at IS NULL
                                        THEN 'unreachable' ELSE old.state END
                              WHEN excluded.state = 'later'
                                   AND (old.state = 'open' OR excluded.delivered_at IS NULL)
                              THEN old.state
                              ELSE excluded.state END
             RETURNING event_type, created_at, received_at",
        )
        .bind(&claim.webhook)
        .bind(&entry.key)
        .bind(&entry.event_id)
        .bind(&entry.event_type)
        .bind(&entry.delivery_id)
        .bind(entry.delivered_at.map(clock::text))
        .bind(entry.created_at.map(clock::text))
        .bind(entry.state.as_str())
        .fetch_one(&mut *tx)
        .await?;
        let other = Other {
            event_type: row.try_get(0)?,
            created_at: time_in(&row, 1)?,
            received_at: time_in(&row, 2)?,
        };
        others += u64::from(entry.is_another(&other));
    }
    Ok(others)
}

pub(super) async fn settle(
    tx: &mut SqliteConnection,
    claim: &Claim,
    settled: &[Settled],
) -> Result<u64, BoxError> {
    let mut changed = 0;
    for settled in settled {
        let done = sqlx::query(
            "UPDATE ptolemy_inbox_catch_up_event
             SET state = ?3, tries = max(tries - ?4, 0), answer = ?5
             WHERE webhook_id = ?1 AND key = ?2 AND state = 'sent'",
        )
        .bind(&claim.webhook)
        .bind(&settled.key)
        .bind(settled.state.as_str())
        .bind(i32::from(settled.gives_back))
        .bind(settled.answer)
        .execute(&mut *tx)
        .await?;
        changed += done.rows_affected();
    }
    Ok(changed)
}

pub(super) async fn set_checkpoint(
    tx: &mut SqliteConnection,
    claim: &Claim,
    checkpoint: OffsetDateTime,
) -> Result<u64, BoxError> {
    let set = sqlx::query("UPDATE ptolemy_inbox_catch_up SET checkpoint = ? WHERE webhook_id = ?")
        .bind(clock::text(checkpoint))
        .bind(&claim.webhook)
        .execute(tx)
        .await?;
    Ok(set.rows_affected())
}
