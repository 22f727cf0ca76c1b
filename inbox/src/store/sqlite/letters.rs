//! Dead letters.

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;

use super::{SqliteStore, clock};
use crate::dead::{DeadLetter, DeadLetterId};
use crate::error::BoxError;
use crate::store::{Ids, ROWS_PER_CALL, attempts};

impl SqliteStore {
    pub(super) async fn list_dead(
        &self,
        ids: Ids,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, BoxError> {
        sqlx::query(
            "SELECT id, dedup_key, event_type, event_id, received_at, coalesce(finished_at, ''),
                    attempts, malformed, coalesce(last_error, ''), source
             FROM ptolemy_inbox INDEXED BY ptolemy_inbox_dead
                 WHERE state = 'dead' AND id > ? AND id <= ?
             ORDER BY id LIMIT ?",
        )
        .bind(ids.after)
        .bind(ids.up_to)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(dead_letter)
        .collect()
    }

    pub(super) async fn read_dead_body(&self, id: i64) -> Result<Option<Bytes>, BoxError> {
        let body: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT body FROM ptolemy_inbox WHERE id = ? AND state = 'dead'")
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
        Ok(body.map(Bytes::from))
    }

    pub(super) async fn replay_some(&self, ids: Ids) -> Result<Vec<i64>, BoxError> {
        self.change_dead(
            ids,
            "UPDATE ptolemy_inbox
             SET state = 'waiting', run_at = ?1, written_at = ?1, queue = 'again', attempts = 0,
                 malformed = FALSE, postponed = FALSE, finished_at = NULL
             WHERE id IN (SELECT id FROM ptolemy_inbox INDEXED BY ptolemy_inbox_dead
                          WHERE state = 'dead' AND id > ?2 AND id <= ?3
                          ORDER BY id LIMIT ?4)
             RETURNING id",
        )
        .await
    }

    pub(super) async fn discard_some(&self, ids: Ids) -> Result<Vec<i64>, BoxError> {
        self.change_dead(
            ids,
            "UPDATE ptolemy_inbox
             SET state = 'done', finished_at = ?1, last_error = 'discarded: ' || last_error
             WHERE id IN (SELECT id FROM ptolemy_inbox INDEXED BY ptolemy_inbox_dead
                          WHERE state = 'dead' AND id > ?2 AND id <= ?3
                          ORDER BY id LIMIT ?4)
             RETURNING id",
        )
        .await
    }

    /// The time is a parameter, since SQLite has no clock. PostgreSQL skips locked rows; here no
    /// other writer can hold one.
    async fn change_dead(&self, ids: Ids, sql: &'static str) -> Result<Vec<i64>, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let now = self.now(&mut tx).await?;
        let changed = sqlx::query_scalar(sql)
            .bind(clock::text(now))
            .bind(ids.after)
            .bind(ids.up_to)
            .bind(ROWS_PER_CALL)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(changed)
    }
}

fn dead_letter(row: &SqliteRow) -> Result<DeadLetter, BoxError> {
    Ok(DeadLetter {
        id: DeadLetterId(row.try_get(0)?),
        dedup_key: row.try_get(1)?,
        event_type: row.try_get(2)?,
        event_id: row.try_get(3)?,
        received_at: clock::parse(row.try_get(4)?).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        died_at: clock::parse(row.try_get(5)?).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        attempts: attempts(row.try_get(6)?),
        malformed: row.try_get(7)?,
        last_error: row.try_get(8)?,
        source: row.try_get(9)?,
    })
}
