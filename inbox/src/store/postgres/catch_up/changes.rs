//! The changes that only the run with the lease may make.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;

use super::super::column;
use crate::error::BoxError;
use crate::store::catch_up::{Claim, Entry, LEASE, Other, ROWS_PER_TIDY, Settled, Tidy};

pub(super) async fn renew(
    tx: &mut PgConnection,
    claim: &Claim,
    named: bool,
) -> Result<bool, BoxError> {
    let renewed = sqlx::query(
        "UPDATE ptolemy_inbox_catch_up SET lease_until = now() + make_interval(secs => $3)
         WHERE webhook_id = $1 AND lease_holder = $2",
    )
    .persistent(named)
    .bind(&claim.webhook)
    .bind(claim.holder)
    .bind(LEASE.as_secs_f64())
    .execute(tx)
    .await?;
    Ok(renewed.rows_affected() > 0)
}

/// Changes some entries; returns how many.
pub(super) async fn tidy(
    tx: &mut PgConnection,
    claim: &Claim,
    tidy: Tidy,
    named: bool,
) -> Result<u64, BoxError> {
    let (from, horizon) = tidy.bounds();
    let tidied = sqlx::query(tidy.sql())
        .persistent(named)
        .bind(&claim.webhook)
        .bind(i64::from(ROWS_PER_TIDY))
        .bind(from)
        .bind(horizon)
        .execute(tx)
        .await?;
    Ok(tidied.rows_affected())
}

/// Returns how many of the entries have an id that another event has.
pub(super) async fn spool(
    tx: &mut PgConnection,
    claim: &Claim,
    entries: &[Entry],
    named: bool,
) -> Result<u64, BoxError> {
    let rows = sqlx::query(
        "INSERT INTO ptolemy_inbox_catch_up_event AS old
             (webhook_id, key, event_id, event_type, delivery_id, delivered_at, created_at, state)
         SELECT $1, key, event_id, event_type, delivery_id, delivered_at, created_at, state
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                     $7::timestamptz[], $8::text[])
              AS entry (key, event_id, event_type, delivery_id, delivered_at, created_at, state)
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
                                 ELSE greatest(excluded.delivered_at, old.delivered_at) END,
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
         RETURNING key, event_type, created_at, received_at",
    )
    .persistent(named)
    .bind(&claim.webhook)
    .bind(column(entries, |entry| entry.key.as_str()))
    .bind(column(entries, |entry| entry.event_id.as_deref()))
    .bind(column(entries, |entry| entry.event_type.as_deref()))
    .bind(column(entries, |entry| entry.delivery_id.as_deref()))
    .bind(column(entries, |entry| entry.delivered_at))
    .bind(column(entries, |entry| entry.created_at))
    .bind(column(entries, |entry| entry.state.as_str()))
    .fetch_all(tx)
    .await?;
    let by_key = entries.iter().map(|entry| (entry.key.as_str(), entry));
    let by_key: BTreeMap<&str, &Entry> = by_key.collect();
    let mut others = 0;
    for row in &rows {
        if let Some(entry) = by_key.get(row.try_get::<&str, _>(0)?) {
            let other = Other {
                event_type: row.try_get(1)?,
                created_at: row.try_get(2)?,
                received_at: row.try_get(3)?,
            };
            others += u64::from(entry.is_another(&other));
        }
    }
    Ok(others)
}

pub(super) async fn settle(
    tx: &mut PgConnection,
    claim: &Claim,
    settled: &[Settled],
    named: bool,
) -> Result<u64, BoxError> {
    let done = sqlx::query(
        "UPDATE ptolemy_inbox_catch_up_event AS entry
         SET state = settled.state, tries = greatest(tries - settled.back, 0),
             answer = settled.answer
         FROM unnest($2::text[], $3::text[], $4::int[], $5::int[])
              AS settled (key, state, back, answer)
         WHERE entry.webhook_id = $1 AND entry.key = settled.key COLLATE \"C\"
           AND entry.state = 'sent'",
    )
    .persistent(named)
    .bind(&claim.webhook)
    .bind(column(settled, |settled| settled.key.as_str()))
    .bind(column(settled, |settled| settled.state.as_str()))
    .bind(column(settled, |settled| i32::from(settled.gives_back)))
    .bind(column(settled, |settled| settled.answer.map(i32::from)))
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

pub(super) async fn set_checkpoint(
    tx: &mut PgConnection,
    claim: &Claim,
    checkpoint: OffsetDateTime,
    named: bool,
) -> Result<u64, BoxError> {
    let set =
        sqlx::query("UPDATE ptolemy_inbox_catch_up SET checkpoint = $2 WHERE webhook_id = $1")
            .persistent(named)
            .bind(&claim.webhook)
            .bind(checkpoint)
            .execute(tx)
            .await?;
    Ok(set.rows_affected())
}
