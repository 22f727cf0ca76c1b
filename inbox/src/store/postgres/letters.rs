//! Dead letters.

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::session::commit_once;
use super::{BEGIN_SHORT, PostgresStore};
use crate::dead::{DeadLetter, DeadLetterId};
use crate::error::BoxError;
use crate::store::{Ids, ROWS_PER_CALL, attempts};

impl PostgresStore {
    pub(super) async fn list_dead(
        &self,
        ids: Ids,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let rows = sqlx::query(
            "SELECT id, dedup_key, event_type, event_id,
                    least(greatest(received_at, 'epoch'), '9999-12-31'),
                    least(greatest(finished_at, 'epoch'), '9999-12-31'),
                    attempts, malformed, coalesce(last_error, ''), source
             FROM ptolemy_inbox WHERE state = 'dead' AND id > $1 AND id <= $2
             ORDER BY id LIMIT $3",
        )
        .persistent(self.named)
        .bind(ids.after)
        .bind(ids.up_to)
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        session.end();
        rows.iter().map(dead_letter).collect()
    }

    pub(super) async fn read_dead_body(&self, id: i64) -> Result<Option<Bytes>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let body: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT body FROM ptolemy_inbox WHERE id = $1 AND state = 'dead'")
                .persistent(self.named)
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
        tx.commit().await?;
        session.end();
        Ok(body.map(Bytes::from))
    }

    pub(super) async fn replay_some(&self, ids: Ids) -> Result<Vec<i64>, BoxError> {
        self.change_dead(
            ids,
            "UPDATE ptolemy_inbox
             SET state = 'waiting', run_at = now(), written_at = now(), queue = 'again', attempts = 0,
                 malformed = FALSE, postponed = FALSE, finished_at = NULL
             WHERE id IN (SELECT id FROM ptolemy_inbox
                          WHERE state = 'dead' AND id > $1 AND id <= $2
                          ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
             RETURNING id",
        )
        .await
    }

    pub(super) async fn discard_some(&self, ids: Ids) -> Result<Vec<i64>, BoxError> {
        self.change_dead(
            ids,
            "UPDATE ptolemy_inbox
             SET state = 'done', finished_at = now(), last_error = 'discarded: ' || last_error
             WHERE id IN (SELECT id FROM ptolemy_inbox
                          WHERE state = 'dead' AND id > $1 AND id <= $2
                          ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
             RETURNING id",
        )
        .await
    }

    /// The time is the database's. Locked rows are skipped, so that two people who replay at once
    /// do not wait for each other; SQLite lets one write at a time anyway.
    async fn change_dead(&self, ids: Ids, sql: &'static str) -> Result<Vec<i64>, BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        let changed = sqlx::query_scalar(sql)
            .persistent(self.named)
            .bind(ids.after)
            .bind(ids.up_to)
            .bind(ROWS_PER_CALL)
            .fetch_all(&mut *tx)
            .await?;
        commit_once(tx).await?;
        session.end();
        Ok(changed)
    }
}

fn dead_letter(row: &PgRow) -> Result<DeadLetter, BoxError> {
    Ok(DeadLetter {
        id: DeadLetterId(row.try_get(0)?),
        dedup_key: row.try_get(1)?,
        event_type: row.try_get(2)?,
        event_id: row.try_get(3)?,
        received_at: row.try_get(4)?,
        died_at: row.try_get(5)?,
        attempts: attempts(row.try_get::<i32, _>(6)?.into()),
        malformed: row.try_get(7)?,
        last_error: row.try_get(8)?,
        source: row.try_get(9)?,
    })
}
