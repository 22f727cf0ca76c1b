//! The spool and the lease of a catch-up.

mod changes;
#[cfg(test)]
mod plans;

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use self::changes::{renew, set_checkpoint, settle, spool, tidy};
use super::{SqliteStore, clock};
use crate::error::BoxError;
use crate::store::catch_up::{
    Begun, CatchUpStore, Change, Claim, Count, LEASE, Listed, MAX_TRIES, MAX_TYPES, ROWS_PER_STEP,
    State, Taken,
};
use crate::store::{Answer, Ids};

/// In this order: from the rows of the inbox to the entries, by their key.
const FIND_HERE: &str = "SELECT entry.key, inbox.received_at
    FROM ptolemy_inbox AS inbox CROSS JOIN ptolemy_inbox_catch_up_event AS entry
    WHERE inbox.id > ?2 AND inbox.id <= ?3 AND (?4 IS NULL OR inbox.source = ?4)
      AND entry.webhook_id = ?1 AND entry.key = 'event:' || inbox.event_id
      AND entry.state <> 'here'
    ORDER BY inbox.id";

const STEP: &str = "SELECT coalesce((SELECT id FROM ptolemy_inbox WHERE id > ?1 AND id <= ?2
                                     ORDER BY id LIMIT 1 OFFSET ?3), ?2)";

/// Two queries in one, since SQLite uses the index for each end of the table only separately.
const ENDS: &str = "SELECT coalesce((SELECT min(id) FROM ptolemy_inbox), 1),
                           coalesce((SELECT max(id) FROM ptolemy_inbox), 0)";

const TAKE: &str = "UPDATE ptolemy_inbox_catch_up_event
    SET tries = tries + 1, was_tried = 1, state = 'sent'
    WHERE webhook_id = ?1
      AND key IN (SELECT key FROM ptolemy_inbox_catch_up_event
                  WHERE webhook_id = ?1 AND state = 'open' AND delivery_id IS NOT NULL
                    AND tries < iif(event_id IS NULL, 1, ?2)
                  ORDER BY tries, delivered_at, key LIMIT ?3)
    RETURNING key, delivery_id, event_id IS NOT NULL, delivered_at";

impl CatchUpStore for SqliteStore {
    fn begin<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Begun> {
        Box::pin(self.on_known_files(self.begin_catch_up(claim)))
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> Answer<'a, ()> {
        Box::pin(self.on_known_files(self.release_catch_up(claim)))
    }

    fn change<'a>(&'a self, claim: &'a Claim, change: Change<'a>) -> Answer<'a, Option<u64>> {
        Box::pin(self.on_known_files(self.change_entries(claim, change)))
    }

    fn rows(&self) -> Answer<'_, Ids> {
        Box::pin(self.on_known_files(self.read_rows()))
    }

    fn pruned_to(&self) -> Answer<'_, Option<OffsetDateTime>> {
        Box::pin(self.on_known_files(self.read_pruned_to()))
    }

    fn step(&self, rows: Ids) -> Answer<'_, i64> {
        Box::pin(self.on_known_files(self.read_step(rows)))
    }

    fn mark_here<'a>(
        &'a self,
        claim: &'a Claim,
        rows: Ids,
        source: Option<&'a str>,
    ) -> Answer<'a, Vec<String>> {
        Box::pin(self.on_known_files(self.mark_entries(claim, rows, source)))
    }

    fn take<'a>(&'a self, claim: &'a Claim, limit: u32) -> Answer<'a, Option<Vec<Taken>>> {
        Box::pin(self.on_known_files(self.take_entries(claim, limit)))
    }

    fn counts<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<Count>> {
        Box::pin(self.on_known_files(self.count_entries(claim)))
    }

    fn types<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<(Option<String>, u64)>> {
        Box::pin(self.on_known_files(self.count_types(claim)))
    }

    fn list<'a>(&'a self, claim: &'a Claim, state: State, limit: u32) -> Answer<'a, Vec<Listed>> {
        Box::pin(self.on_known_files(self.list_entries(claim, state, limit)))
    }
}

impl SqliteStore {
    async fn begin_catch_up(&self, claim: &Claim) -> Result<Begun, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let now = self.now(&mut tx).await?;
        sqlx::query(
            "INSERT INTO ptolemy_inbox_catch_up (webhook_id) VALUES (?) ON CONFLICT DO NOTHING",
        )
        .bind(&claim.webhook)
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query(
            "UPDATE ptolemy_inbox_catch_up SET lease_holder = ?2, lease_until = ?3
             WHERE webhook_id = ?1
               AND (lease_holder IS NULL OR lease_holder = ?2 OR lease_until <= ?4
                    -- It was written by a clock that was ahead.
                    OR lease_until > ?5)
             RETURNING checkpoint, (SELECT pruned_to FROM ptolemy_inbox_settings)",
        )
        .bind(&claim.webhook)
        .bind(claim.holder)
        .bind(clock::text(clock::after(now, LEASE)))
        .bind(clock::text(now))
        .bind(clock::text(clock::after(now, 2 * LEASE)))
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            let until: String = sqlx::query_scalar(
                "SELECT lease_until FROM ptolemy_inbox_catch_up WHERE webhook_id = ?",
            )
            .bind(&claim.webhook)
            .fetch_one(&mut *tx)
            .await?;
            let until = clock::parse(&until)?;
            return Ok(Begun::Busy { until });
        };
        let begun = Begun::Held {
            checkpoint: time_in(&row, 0)?,
            pruned_to: time_in(&row, 1)?,
        };
        tx.commit().await?;
        Ok(begun)
    }

    async fn release_catch_up(&self, claim: &Claim) -> Result<(), BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        sqlx::query(
            "UPDATE ptolemy_inbox_catch_up SET lease_holder = NULL, lease_until = NULL
             WHERE webhook_id = ? AND lease_holder = ?",
        )
        .bind(&claim.webhook)
        .bind(claim.holder)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn change_entries(
        &self,
        claim: &Claim,
        change: Change<'_>,
    ) -> Result<Option<u64>, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let now = self.now(&mut tx).await?;
        if !renew(&mut tx, claim, now).await? {
            return Ok(None);
        }
        let changed = match change {
            Change::Renew => 0,
            Change::Tidy(which) => tidy(&mut tx, claim, which).await?,
            Change::Spool(entries) => spool(&mut tx, claim, entries).await?,
            Change::Settle(settled) => settle(&mut tx, claim, settled).await?,
            Change::Checkpoint(time) => set_checkpoint(&mut tx, claim, time).await?,
        };
        tx.commit().await?;
        Ok(Some(changed))
    }

    async fn read_pruned_to(&self) -> Result<Option<OffsetDateTime>, BoxError> {
        let row = sqlx::query("SELECT (SELECT pruned_to FROM ptolemy_inbox_settings)")
            .fetch_one(&self.pool)
            .await?;
        time_in(&row, 0)
    }

    async fn read_step(&self, rows: Ids) -> Result<i64, BoxError> {
        let last = sqlx::query_scalar(STEP)
            .bind(rows.after)
            .bind(rows.up_to)
            .bind(ROWS_PER_STEP - 1)
            .fetch_one(&self.pool)
            .await?;
        Ok(last)
    }

    async fn read_rows(&self) -> Result<Ids, BoxError> {
        let (first, up_to): (i64, i64) = sqlx::query_as(ENDS).fetch_one(&self.pool).await?;
        let after = first.saturating_sub(1);
        Ok(Ids { after, up_to })
    }

    /// Looks without the write lock, and takes it only if there is something to mark.
    async fn mark_entries(
        &self,
        claim: &Claim,
        rows: Ids,
        source: Option<&str>,
    ) -> Result<Vec<String>, BoxError> {
        let found: Vec<(String, String)> = sqlx::query_as(FIND_HERE)
            .bind(&claim.webhook)
            .bind(rows.after)
            .bind(rows.up_to)
            .bind(source)
            .fetch_all(&self.pool)
            .await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        // The first row of each event.
        let mut first = BTreeMap::new();
        for (key, received_at) in found {
            first.entry(key).or_insert(received_at);
        }
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        for (key, received_at) in &first {
            sqlx::query(
                "UPDATE ptolemy_inbox_catch_up_event SET state = 'here', received_at = ?
                 WHERE webhook_id = ? AND key = ?",
            )
            .bind(received_at)
            .bind(&claim.webhook)
            .bind(key)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(first.into_keys().collect())
    }

    async fn take_entries(
        &self,
        claim: &Claim,
        limit: u32,
    ) -> Result<Option<Vec<Taken>>, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let now = self.now(&mut tx).await?;
        if !renew(&mut tx, claim, now).await? {
            return Ok(None);
        }
        let rows = sqlx::query(TAKE)
            .bind(&claim.webhook)
            .bind(MAX_TRIES)
            .bind(limit)
            .fetch_all(&mut *tx)
            .await?;
        let taken: Result<Vec<Taken>, BoxError> = rows.iter().map(taken).collect();
        let taken = taken?;
        tx.commit().await?;
        Ok(Some(taken))
    }

    async fn count_entries(&self, claim: &Claim) -> Result<Vec<Count>, BoxError> {
        let rows = sqlx::query(
            "SELECT state, event_id IS NOT NULL AS has_id, tries > 0 AS is_tried,
                    delivery_id IS NOT NULL AND tries < iif(event_id IS NULL, 1, ?2) AS may_be_tried,
                    coalesce(answer, 0) IN (404, 410) AS is_gone, count(*)
             FROM ptolemy_inbox_catch_up_event WHERE webhook_id = ?1
             GROUP BY state, has_id, is_tried, may_be_tried, is_gone",
        )
        .bind(&claim.webhook)
        .bind(MAX_TRIES)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(Count::read).collect()
    }

    async fn count_types(&self, claim: &Claim) -> Result<Vec<(Option<String>, u64)>, BoxError> {
        let types: Vec<(Option<String>, i64)> = sqlx::query_as(
            "SELECT event_type, count(*) FROM ptolemy_inbox_catch_up_event
             WHERE webhook_id = ?1 AND state = 'open' AND delivery_id IS NOT NULL
               AND tries < iif(event_id IS NULL, 1, ?2)
             GROUP BY event_type LIMIT ?3",
        )
        .bind(&claim.webhook)
        .bind(MAX_TRIES)
        .bind(MAX_TYPES)
        .fetch_all(&self.pool)
        .await?;
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
        let rows = sqlx::query(
            "SELECT event_id, event_type, delivery_id, tries, answer
             FROM ptolemy_inbox_catch_up_event WHERE webhook_id = ? AND state = ?
             ORDER BY delivered_at, key LIMIT ?",
        )
        .bind(&claim.webhook)
        .bind(state.as_str())
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let listed = |row: &SqliteRow| {
            Ok(Listed {
                event_id: row.try_get(0)?,
                event_type: row.try_get(1)?,
                delivery_id: row.try_get(2)?,
                tries: u32::try_from(row.try_get::<i64, _>(3)?).unwrap_or_default(),
                answer: row.try_get(4)?,
            })
        };
        rows.iter().map(listed).collect()
    }
}

fn taken(row: &SqliteRow) -> Result<Taken, BoxError> {
    Ok(Taken {
        key: row.try_get(0)?,
        delivery_id: row.try_get(1)?,
        has_event_id: row.try_get(2)?,
        delivered_at: time_in(row, 3)?,
    })
}

fn time_in(row: &SqliteRow, column: usize) -> Result<Option<OffsetDateTime>, BoxError> {
    let text: Option<String> = row.try_get(column)?;
    Ok(text.map(|text| clock::parse(&text)).transpose()?)
}
