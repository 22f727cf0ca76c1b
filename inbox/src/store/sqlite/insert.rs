//! Deliveries into the table.

use std::collections::{HashMap, HashSet};

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::upkeep::make_commit_sync;
use super::{SqliteStore, clock};
use crate::accepted::{Accepted, EventState};
use crate::arrival::Arrival;
use crate::error::BoxError;
use crate::store::{PRUNED_MEANWHILE, answers};

/// Times the columns of a row, this is below the 999 values that every SQLite accepts.
const ROWS_PER_STATEMENT: usize = 100;

impl SqliteStore {
    pub(super) async fn add(&self, arrivals: &[Arrival]) -> Result<Vec<Accepted>, BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        let now = clock::text(self.now(&mut tx).await?);
        // SQLite has one writer: nothing else is inserted between the two statements. PostgreSQL
        // inserts first and leaves conflicts to the index.
        let mut states = HashMap::new();
        for arrivals in arrivals.chunks(ROWS_PER_STATEMENT) {
            states.extend(states_of(arrivals, &mut tx).await?);
        }
        let mut added = HashSet::new();
        let missing: Vec<_> = arrivals
            .iter()
            .filter(|Arrival { key, .. }| !states.contains_key(key) && added.insert(key.clone()))
            .collect();
        for arrivals in missing.chunks(ROWS_PER_STATEMENT) {
            insert(arrivals, &now).build().execute(&mut *tx).await?;
        }
        if missing.is_empty() {
            make_commit_sync(&mut tx).await?;
        }
        tx.commit().await?;
        answers(arrivals, &added, &states).ok_or_else(|| PRUNED_MEANWHILE.into())
    }
}

impl SqliteStore {
    /// Adds a row as an accept does, and removes it; then commits an invisible change, which syncs
    /// the file.
    pub(super) async fn try_insert(&self) -> Result<(), BoxError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await?;
        // Long enough to need new pages, of which a full disk has none.
        sqlx::query(
            "SAVEPOINT ptolemy_inbox;
             INSERT OR IGNORE INTO ptolemy_inbox (dedup_key, body, received_at, run_at, written_at)
             VALUES ('ready?', zeroblob(65536), ?1, ?1, ?1);
             ROLLBACK TO ptolemy_inbox;
             RELEASE ptolemy_inbox",
        )
        .bind(clock::text(self.now(&mut tx).await?))
        .execute(&mut *tx)
        .await?;
        make_commit_sync(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn insert(arrivals: &[&Arrival], now: &str) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(
        // FAIL, since with the default, ABORT, each statement keeps a journal, in a file if it is
        // long; here any failure ends the transaction.
        "INSERT OR FAIL INTO ptolemy_inbox
             (dedup_key, source, event_type, event_id, resource, resource_id, received_at, run_at,
              written_at, body) ",
    );
    query.push_values(arrivals, |mut row, arrival| {
        let Arrival { labels, body, .. } = arrival;
        row.push_bind(arrival.key.clone())
            .push_bind(arrival.source.clone())
            .push_bind(labels.event_type.clone())
            .push_bind(labels.event_id.clone())
            .push_bind(labels.kind().map(str::to_owned))
            .push_bind(labels.resource_id().map(str::to_owned))
            .push_bind(now.to_owned())
            .push_bind(now.to_owned())
            .push_bind(now.to_owned())
            .push_bind(body.to_vec());
    });
    query
}

async fn states_of(
    arrivals: &[Arrival],
    connection: &mut SqliteConnection,
) -> Result<Vec<(String, EventState)>, BoxError> {
    let mut query =
        QueryBuilder::new("SELECT dedup_key, state FROM ptolemy_inbox WHERE dedup_key IN (");
    let mut keys = query.separated(", ");
    for arrival in arrivals {
        keys.push_bind(arrival.key.clone());
    }
    query.push(")");
    let rows: Vec<(String, String)> = query.build_query_as().fetch_all(connection).await?;
    rows.into_iter()
        .map(|(key, state)| Ok((key, EventState::read(&state)?)))
        .collect()
}
