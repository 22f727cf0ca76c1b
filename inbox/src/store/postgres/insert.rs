//! Deliveries into the table.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgConnection;

use super::{BEGIN_SHORT, PostgresStore, column};
use crate::accepted::{Accepted, EventState};
use crate::arrival::Arrival;
use crate::error::BoxError;
use crate::store::{PRUNED_MEANWHILE, answers};

impl PostgresStore {
    pub(super) async fn add(&self, arrivals: &[Arrival]) -> Result<Vec<Accepted>, BoxError> {
        // Once more if a duplicate was pruned between the two statements: now it is new.
        for _ in 0..2 {
            let mut session = self.session().await?;
            let mut tx = session.begin(BEGIN_SHORT).await?;
            self.settings.check(&mut tx).await??;
            // Other processes insert at the same time, so the index decides which one is first;
            // SQLite looks first and inserts what is missing.
            let added = insert(arrivals, &mut tx, self.named).await?;
            let states = if added.len() < arrivals.len() {
                states_of(arrivals, &mut tx, self.named).await?
            } else {
                HashMap::new()
            };
            if let Some(answers) = answers(arrivals, &added, &states) {
                tx.commit().await?;
                session.end();
                return Ok(answers);
            }
            tx.rollback().await?;
            session.end();
        }
        Err(PRUNED_MEANWHILE.into())
    }
}

impl PostgresStore {
    /// Adds a row as an accept does, and removes it. The commit writes to the log nevertheless, so
    /// it waits for the disk and for a standby.
    pub(super) async fn try_insert(&self) -> Result<(), BoxError> {
        let mut session = self.session().await?;
        let mut tx = session.begin(BEGIN_SHORT).await?;
        self.settings.check(&mut tx).await??;
        // The session's number in the key keeps two concurrent checks from waiting for each other.
        sqlx::raw_sql(
            "SAVEPOINT ptolemy_inbox;
             INSERT INTO ptolemy_inbox (dedup_key, body, received_at, run_at, written_at)
             VALUES ('ready?' || pg_backend_pid(), '', now(), now(), now())
             ON CONFLICT (dedup_key) DO NOTHING;
             ROLLBACK TO SAVEPOINT ptolemy_inbox",
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        session.end();
        Ok(())
    }
}

async fn insert(
    arrivals: &[Arrival],
    connection: &mut PgConnection,
    named: bool,
) -> Result<HashSet<String>, BoxError> {
    let added: Vec<String> = sqlx::query_scalar(
        "INSERT INTO ptolemy_inbox
             (dedup_key, source, event_type, event_id, resource, resource_id, body, received_at,
              run_at, written_at)
         SELECT dedup_key, source, event_type, event_id, resource, resource_id, body,
                clock_timestamp(), clock_timestamp(), clock_timestamp()
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::bytea[])
              WITH ORDINALITY
              AS arrival (dedup_key, source, event_type, event_id, resource, resource_id, body,
                          position)
         ORDER BY position
         ON CONFLICT (dedup_key) DO NOTHING
         RETURNING dedup_key",
    )
    .persistent(named)
    .bind(column(arrivals, |arrival| arrival.key.as_str()))
    .bind(column(arrivals, |arrival| arrival.source.as_deref()))
    .bind(column(arrivals, |arrival| {
        arrival.labels.event_type.as_deref()
    }))
    .bind(column(arrivals, |arrival| {
        arrival.labels.event_id.as_deref()
    }))
    .bind(column(arrivals, |arrival| arrival.labels.kind()))
    .bind(column(arrivals, |arrival| arrival.labels.resource_id()))
    .bind(column(arrivals, |arrival| &*arrival.body))
    .fetch_all(connection)
    .await?;
    Ok(added.into_iter().collect())
}

/// Also writes to the log: a commit with nothing in the log waits for neither the disk nor a
/// standby, and what this transaction has read may be on neither. PostgreSQL shows it when the
/// writer's wait was cut short, or after a restart.
async fn states_of(
    arrivals: &[Arrival],
    connection: &mut PgConnection,
    named: bool,
) -> Result<HashMap<String, EventState>, BoxError> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        // A logical message for nobody: no row changes, so nobody waits for a lock.
        "WITH written AS MATERIALIZED
             (SELECT pg_logical_emit_message(true, 'ptolemy_inbox', ''::text))
         SELECT dedup_key, state FROM ptolemy_inbox, written WHERE dedup_key = ANY($1)",
    )
    .persistent(named)
    .bind(column(arrivals, |arrival| arrival.key.as_str()))
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(key, state)| Ok((key, EventState::read(&state)?)))
        .collect()
}
