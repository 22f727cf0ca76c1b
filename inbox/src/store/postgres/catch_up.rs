//! The spool and the lease of a catch-up.

mod changes;
#[cfg(test)]
mod plans;

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use time::OffsetDateTime;

use self::changes::{renew, set_checkpoint, settle, spool, tidy};
use super::session::commit_once;
use super::{BEGIN_SHORT, PostgresStore};
use crate::error::BoxError;
use crate::store::catch_up::{
    Begun, CatchUpStore, Change, Claim, Count, LEASE, Listed, MAX_TRIES, MAX_TYPES, ROWS_PER_STEP,
    State, Taken,
};
use crate::store::{Answer, Ids};

/// Each event by its first row.
const MARK_HERE: &str = "UPDATE ptolemy_inbox_catch_up_event AS entry
    SET state = 'here', received_at = inbox.received_at
    FROM (SELECT event_id, min(received_at) AS received_at FROM ptolemy_inbox
          WHERE id > $2 AND id <= $3 AND ($4::text IS NULL OR source = $4)
          GROUP BY event_id) AS inbox
    WHERE entry.webhook_id = $1
      AND entry.key = ('event:' || inbox.event_id) COLLATE \"C\"
      AND entry.state <> 'here'
    RETURNING entry.key";

const STEP: &str = "SELECT coalesce((SELECT id FROM ptolemy_inbox WHERE id > $1 AND id <= $2
                                     ORDER BY id LIMIT 1 OFFSET $3), $2)";

const ENDS: &str = "SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM ptolemy_inbox";

const TAKE: &str = "UPDATE ptolemy_inbox_catch_up_event
    SET tries = tries + 1, was_tried = true, state = 'sent'
    WHERE webhook_id = $1
      AND key IN (SELECT key FROM ptolemy_inbox_catch_up_event
                  WHERE webhook_id = $1 AND state = 'open' AND delivery_id IS NOT NULL
                    AND tries < CASE WHEN event_id IS NULL THEN 1 ELSE $2 END
                  ORDER BY tries, delivered_at, key LIMIT $3)
    RETURNING key, delivery_id, event_id IS NOT NULL, delivered_at";

impl CatchUpStore for PostgresStore {
    fn begin<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Begun> {
        Box::pin(self.again(move || self.begin_catch_up(claim)))
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> Answer<'a, ()> {
        Box::pin(self.again(move || self.release_catch_up(claim)))
    }

    fn change<'a>(&'a self, claim: &'a Claim, change: Change<'a>) -> Answer<'a, Option<u64>> {
        Box::pin(self.again(move || self.change_entries(claim, change)))
    }

    fn rows(&self) -> Answer<'_, Ids> {
        Box::pin(self.again(|| self.read_rows()))
    }

    fn pruned_to(&self) -> Answer<'_, Option<OffsetDateTime>> {
        Box::pin(self.again(|| self.read_pruned_to()))
    }

    fn step(&self, rows: Ids) -> Answer<'_, i64> {
        Box::pin(self.again(move || self.read_step(rows)))
    }

    fn mark_here<'a>(
        &'a self,
        claim: &'a Claim,
        rows: Ids,
        source: Option<&'a str>,
    ) -> Answer<'a, Vec<String>> {
        Box::pin(self.again(move || self.mark_entries(claim, rows, source)))
    }

    fn take<'a>(&'a self, claim: &'a Claim, limit: u32) -> Answer<'a, Option<Vec<Taken>>> {
        Box::pin(self.again(move || self.take_entries(claim, limit)))
    }

    fn counts<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<Count>> {
        Box::pin(self.again(move || self.count_entries(claim)))
    }

    fn types<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<(Option<String>, u64)>> {
        Box::pin(self.again(move || self.count_types(claim)))
    }

    fn list<'a>(&'a self, claim: &'a Claim, state: State, limit: u32) -> Answer<'a, Vec<Listed>> {
        Box::pin(self.again(move || self.list_entries(claim, state, limit)))
    }
}

impl PostgresStore {
    async fn begin_catch_up(&self, claim: &Claim) -> Result<Begun, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        sqlx::query(
            "INSERT INTO ptolemy_inbox_catch_up (webhook_id) VALUES ($1) ON CONFLICT DO NOTHING",
        )
        .persistent(self.named)
        .bind(&claim.webhook)
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query(
            "UPDATE ptolemy_inbox_catch_up
             SET lease_holder = $2, lease_until = now() + make_interval(secs => $3)
             WHERE webhook_id = $1
               AND (lease_holder IS NULL OR lease_holder = $2 OR lease_until <= now()
                    -- It was written by a clock that was ahead.
                    OR lease_until > now() + 2 * make_interval(secs => $3))
             RETURNING checkpoint, (SELECT pruned_to FROM ptolemy_inbox_settings)",
        )
        .persistent(self.named)
        .bind(&claim.webhook)
        .bind(claim.holder)
        .bind(LEASE.as_secs_f64())
        .fetch_optional(&mut *tx)
        .await?;
        let begun = match row {
            Some(row) => Begun::Held {
                checkpoint: row.try_get(0)?,
                pruned_to: row.try_get(1)?,
            },
            None => Begun::Busy {
                until: self.lease_until(claim, &mut tx).await?,
            },
        };
        tx.commit().await?;
        session.end();
        Ok(begun)
    }

    async fn lease_until(
        &self,
        claim: &Claim,
        tx: &mut PgConnection,
    ) -> Result<OffsetDateTime, BoxError> {
        let until: Option<OffsetDateTime> = sqlx::query_scalar(
            "SELECT lease_until FROM ptolemy_inbox_catch_up WHERE webhook_id = $1",
        )
        .persistent(self.named)
        .bind(&claim.webhook)
        .fetch_one(tx)
        .await?;
        // It was released meanwhile.
        Ok(until.unwrap_or_else(OffsetDateTime::now_utc))
    }

    async fn release_catch_up(&self, claim: &Claim) -> Result<(), BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        sqlx::query(
            "UPDATE ptolemy_inbox_catch_up SET lease_holder = NULL, lease_until = NULL
             WHERE webhook_id = $1 AND lease_holder = $2",
        )
        .persistent(self.named)
        .bind(&claim.webhook)
        .bind(claim.holder)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        session.end();
        Ok(())
    }

    async fn change_entries(
        &self,
        claim: &Claim,
        change: Change<'_>,
    ) -> Result<Option<u64>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let mut changed = None;
        if renew(&mut tx, claim, self.named).await? {
            changed = Some(match change {
                Change::Renew => 0,
                Change::Tidy(which) => tidy(&mut tx, claim, which, self.named).await?,
                Change::Spool(entries) => spool(&mut tx, claim, entries, self.named).await?,
                Change::Settle(settled) => settle(&mut tx, claim, settled, self.named).await?,
                Change::Checkpoint(time) => {
                    set_checkpoint(&mut tx, claim, time, self.named).await?
                }
            });
        }
        // A change can be repeated without further effect.
        tx.commit().await?;
        session.end();
        Ok(changed)
    }

    async fn read_pruned_to(&self) -> Result<Option<OffsetDateTime>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let pruned_to = sqlx::query_scalar("SELECT (SELECT pruned_to FROM ptolemy_inbox_settings)")
            .persistent(self.named)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        session.end();
        Ok(pruned_to)
    }

    async fn read_step(&self, rows: Ids) -> Result<i64, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        use_indexes(&mut tx).await?;
        let last = sqlx::query_scalar(STEP)
            .persistent(self.named)
            .bind(rows.after)
            .bind(rows.up_to)
            .bind(ROWS_PER_STEP - 1)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        session.end();
        Ok(last)
    }

    async fn read_rows(&self) -> Result<Ids, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let (first, up_to): (i64, i64) = sqlx::query_as(ENDS)
            .persistent(self.named)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        session.end();
        let after = first.saturating_sub(1);
        Ok(Ids { after, up_to })
    }

    async fn mark_entries(
        &self,
        claim: &Claim,
        rows: Ids,
        source: Option<&str>,
    ) -> Result<Vec<String>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        use_indexes(&mut tx).await?;
        let keys = sqlx::query_scalar(MARK_HERE)
            .persistent(self.named)
            .bind(&claim.webhook)
            .bind(rows.after)
            .bind(rows.up_to)
            .bind(source)
            .fetch_all(&mut *tx)
            .await?;
        // A second try would not return the keys.
        commit_once(tx).await?;
        session.end();
        Ok(keys)
    }

    async fn take_entries(
        &self,
        claim: &Claim,
        limit: u32,
    ) -> Result<Option<Vec<Taken>>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        if !renew(&mut tx, claim, self.named).await? {
            return Ok(None);
        }
        use_indexes(&mut tx).await?;
        let rows = sqlx::query(TAKE)
            .persistent(self.named)
            .bind(&claim.webhook)
            .bind(MAX_TRIES)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
        let taken: Result<Vec<Taken>, BoxError> = rows.iter().map(taken).collect();
        let taken = taken?;
        // A second try would take others.
        commit_once(tx).await?;
        session.end();
        Ok(Some(taken))
    }

    async fn count_entries(&self, claim: &Claim) -> Result<Vec<Count>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let rows = sqlx::query(
            "SELECT state, event_id IS NOT NULL, tries > 0,
                    delivery_id IS NOT NULL AND tries < CASE WHEN event_id IS NULL THEN 1 ELSE $2 END,
                    coalesce(answer, 0) IN (404, 410), count(*)
             FROM ptolemy_inbox_catch_up_event WHERE webhook_id = $1
             GROUP BY 1, 2, 3, 4, 5",
        )
        .persistent(self.named)
        .bind(&claim.webhook)
        .bind(MAX_TRIES)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        session.end();
        rows.iter().map(Count::read).collect()
    }

    async fn count_types(&self, claim: &Claim) -> Result<Vec<(Option<String>, u64)>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let types: Vec<(Option<String>, i64)> = sqlx::query_as(
            "SELECT event_type, count(*) FROM ptolemy_inbox_catch_up_event
             WHERE webhook_id = $1 AND state = 'open' AND delivery_id IS NOT NULL
               AND tries < CASE WHEN event_id IS NULL THEN 1 ELSE $2 END
             GROUP BY event_type LIMIT $3",
        )
        .persistent(self.named)
        .bind(&claim.webhook)
        .bind(MAX_TRIES)
        .bind(MAX_TYPES)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        session.end();
        let types = types.into_iter();
        Ok(types
            .map(|(event_type, entries)| (event_type, u64::try_from(entries).unwrap_or_default()))
            .collect())
    }

    async fn list_entries(
        &self,
        claim: &Claim,
        state: State,
        limit: u32,
    ) -> Result<Vec<Listed>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let rows = sqlx::query(
            "SELECT event_id, event_type, delivery_id, tries, answer
             FROM ptolemy_inbox_catch_up_event WHERE webhook_id = $1 AND state = $2
             ORDER BY delivered_at NULLS FIRST, key LIMIT $3",
        )
        .persistent(self.named)
        .bind(&claim.webhook)
        .bind(state.as_str())
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        session.end();
        let listed = |row: &PgRow| {
            let answer: Option<i32> = row.try_get(4)?;
            Ok(Listed {
                event_id: row.try_get(0)?,
                event_type: row.try_get(1)?,
                delivery_id: row.try_get(2)?,
                tries: u32::try_from(row.try_get::<i32, _>(3)?).unwrap_or_default(),
                answer: answer.and_then(|answer| u16::try_from(answer).ok()),
            })
        };
        rows.iter().map(listed).collect()
    }
}

/// Keeps the planner from reading or sorting a whole table for each step of a comparison, in this
/// transaction. The planner has few statistics of the spool, which was filled just now: a hash of a
/// million entries looks as cheap to it as a few thousand lookups, and sorting them cheaper than
/// reading eight in order.
async fn use_indexes(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    let settings = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
                    SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
                    SET LOCAL enable_sort = off";
    sqlx::raw_sql(settings).execute(tx).await.map(drop)
}

fn taken(row: &PgRow) -> Result<Taken, BoxError> {
    Ok(Taken {
        key: row.try_get(0)?,
        delivery_id: row.try_get(1)?,
        has_event_id: row.try_get(2)?,
        delivered_at: row.try_get(3)?,
    })
}
