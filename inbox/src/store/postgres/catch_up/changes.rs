//! The changes that only the run with the lease may make.

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;

use super::super::column;
use crate::error::BoxError;
use crate::store::catch_up::{Claim, Entry, LEASE, Settled};

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

pub(super) async fn reset(
    tx: &mut PgConnection,
    claim: &Claim,
    again: bool,
    named: bool,
) -> Result<(), BoxError> {
    sqlx::query(
        "DELETE FROM ptolemy_inbox_catch_up_event
         WHERE webhook_id = $1 AND state <> 'listed'
           AND ($2 OR tries = 0 OR state IN ('here', 'later'))",
    )
    .persistent(named)
    .bind(&claim.webhook)
    .bind(again)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "UPDATE ptolemy_inbox_catch_up_event SET state = 'known'
         WHERE webhook_id = $1 AND state IN ('open', 'sent', 'rejected')",
    )
    .persistent(named)
    .bind(&claim.webhook)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn spool(
    tx: &mut PgConnection,
    claim: &Claim,
    entries: &[Entry],
    named: bool,
) -> Result<(), BoxError> {
    sqlx::query(
        "INSERT INTO ptolemy_inbox_catch_up_event AS old
             (webhook_id, key, event_id, event_type, delivery_id, delivered_at, state)
         SELECT $1, key, event_id, event_type, delivery_id, delivered_at, state
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[])
              AS entry (key, event_id, event_type, delivery_id, delivered_at, state)
         ON CONFLICT (webhook_id, key) DO UPDATE SET
             event_type = coalesce(excluded.event_type, old.event_type),
             delivery_id = CASE WHEN old.delivery_id IS NULL OR old.delivered_at IS NULL
                                  OR excluded.delivered_at >= old.delivered_at
                                THEN coalesce(excluded.delivery_id, old.delivery_id)
                                ELSE old.delivery_id END,
             delivered_at = CASE WHEN excluded.delivery_id IS NULL THEN old.delivered_at
                                 WHEN old.delivery_id IS NULL OR old.delivered_at IS NULL
                                 THEN excluded.delivered_at
                                 ELSE greatest(excluded.delivered_at, old.delivered_at) END,
             state = CASE WHEN old.state IN ('here', 'unconfirmed', 'sent', 'rejected')
                          THEN old.state
                          WHEN excluded.state IN ('unreachable', 'unsubscribed') THEN old.state
                          WHEN excluded.state = 'later' AND old.state = 'open' THEN old.state
                          ELSE excluded.state END",
    )
    .persistent(named)
    .bind(&claim.webhook)
    .bind(column(entries, |entry| entry.key.as_str()))
    .bind(column(entries, |entry| entry.event_id.as_deref()))
    .bind(column(entries, |entry| entry.event_type.as_deref()))
    .bind(column(entries, |entry| entry.delivery_id.as_deref()))
    .bind(column(entries, |entry| entry.delivered_at))
    .bind(column(entries, |entry| entry.state.as_str()))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn settle(
    tx: &mut PgConnection,
    claim: &Claim,
    settled: &[Settled],
    named: bool,
) -> Result<(), BoxError> {
    sqlx::query(
        "UPDATE ptolemy_inbox_catch_up_event AS entry
         SET state = settled.state, tries = greatest(tries - settled.back, 0),
             answer = coalesce(settled.answer, entry.answer)
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
    Ok(())
}

pub(super) async fn finish(
    tx: &mut PgConnection,
    claim: &Claim,
    checkpoint: OffsetDateTime,
    forget_before: Option<OffsetDateTime>,
    named: bool,
) -> Result<(), BoxError> {
    sqlx::query(
        "UPDATE ptolemy_inbox_catch_up SET checkpoint = greatest(checkpoint, $2)
         WHERE webhook_id = $1",
    )
    .persistent(named)
    .bind(&claim.webhook)
    .bind(checkpoint)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM ptolemy_inbox_catch_up_event
         WHERE webhook_id = $1
           AND (state IN ('here', 'later', 'unsubscribed') OR delivered_at < $2)",
    )
    .persistent(named)
    .bind(&claim.webhook)
    .bind(forget_before)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "UPDATE ptolemy_inbox_catch_up_event SET state = 'listed'
         WHERE webhook_id = $1 AND state = 'unreachable'",
    )
    .persistent(named)
    .bind(&claim.webhook)
    .execute(tx)
    .await?;
    Ok(())
}
