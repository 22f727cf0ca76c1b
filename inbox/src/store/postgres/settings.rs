//! Checks for server settings that can lose acknowledged deliveries or weaken a promise. They are
//! checked when the inbox is opened and every minute from then on, within a transaction that is
//! needed anyway.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::horizon::Horizon;

/// The error of a setting with which a crash of the server loses deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server has `fsync` off, and would lose in a crash what is accepted")]
pub(super) struct FsyncOff;

/// Settings that weaken a promise, and the effect of each.
const WEAK: [(&str, &str, &str); 2] = [
    (
        "full_page_writes",
        "off",
        "a crash of the server may damage pages that are being written",
    ),
    (
        "default_transaction_read_only",
        "on",
        "nothing is accepted or handled while it is set for this role or database",
    ),
];

pub(super) struct Settings {
    /// How often they are checked.
    pub(super) every: Duration,
    horizon: Horizon,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    looked_at: Option<Instant>,
    fsync_off: bool,
    warned_of: BTreeSet<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            horizon: Horizon::default(),
            state: Mutex::default(),
        }
    }
}

impl Settings {
    /// Checks the settings if it is time to; returns an error if accepted deliveries could be lost.
    pub(super) async fn check(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Result<(), FsyncOff>, sqlx::Error> {
        if self.is_due() {
            let found = read(connection).await?;
            self.note(&found);
            self.horizon.check(connection).await?;
        }
        let fsync_off = self.with(|state| state.fsync_off);
        Ok(if fsync_off { Err(FsyncOff) } else { Ok(()) })
    }

    fn is_due(&self) -> bool {
        self.with(|state| {
            // At once while they prevent accepts.
            let due =
                state.fsync_off || state.looked_at.is_none_or(|at| at.elapsed() >= self.every);
            if due {
                state.looked_at = Some(Instant::now());
            }
            due
        })
    }

    fn note(&self, found: &[(String, String)]) {
        let is = |name: &str, value: &str| found.iter().any(|(n, v)| n == name && v == value);
        self.with(|state| {
            state.fsync_off = is("fsync", "off");
            for (setting, value, effect) in WEAK {
                if !is(setting, value) {
                    state.warned_of.remove(setting);
                } else if state.warned_of.insert(setting) {
                    tracing::warn!(
                        setting,
                        value,
                        effect,
                        "a setting of the server weakens the inbox"
                    );
                }
            }
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the settings with which sessions begin, regardless of what this transaction has set.
async fn read(connection: &mut PgConnection) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::raw_sql(
        "SELECT name, coalesce(reset_val, '') FROM pg_settings
         WHERE name IN ('fsync', 'full_page_writes', 'default_transaction_read_only')",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use bytes::Bytes;
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
    use tokio::time::sleep;

    use super::super::PostgresStore;
    use super::*;
    use crate::arrival::{Arrival, Labels};
    use crate::error::BoxError;
    use crate::store::Store as _;

    /// A separate server for the test, since the settings apply to the whole server.
    struct Server(PathBuf);

    impl Server {
        fn run(&self, action: &str) -> String {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
            let output = Command::new(script).arg(action).arg(&self.0).output();
            let output = output.unwrap();
            assert!(output.status.success(), "{action}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.run("stop");
        }
    }

    async fn insert(store: &PostgresStore) -> Result<(), BoxError> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let arrival = Arrival {
            key: number.to_string(),
            source: None,
            labels: Labels::default(),
            body: Bytes::new(),
        };
        store.insert(&[arrival]).await.map(drop)
    }

    #[tokio::test]
    #[ignore = "needs postgres"]
    async fn nothing_is_accepted_while_a_crash_would_lose_it() {
        let name = format!("ptolemy-settings-{}", std::process::id());
        let server = Server(std::env::temp_dir().join(name));
        let url = server.run("start");
        let mut store = PostgresStore::connect(&url).await.unwrap();
        insert(&store).await.unwrap();

        let mut admin = PgConnection::connect(&url).await.unwrap();
        let mut set = async |setting: &str| {
            let sql = format!("ALTER SYSTEM SET {setting}");
            admin.execute(AssertSqlSafe(sql)).await.unwrap();
            admin.execute("SELECT pg_reload_conf()").await.unwrap();
            sleep(Duration::from_millis(300)).await;
        };
        set("fsync = off").await;
        // It was checked less than a minute ago.
        insert(&store).await.unwrap();
        store.settings.every = Duration::ZERO;
        let error = insert(&store).await.unwrap_err();
        assert!(error.is::<FsyncOff>(), "{error}");
        store.settings.every = Duration::from_secs(60);
        insert(&store).await.unwrap_err();
        set("fsync = on").await;
        insert(&store).await.unwrap();

        let warned = || store.settings.with(|state| state.warned_of.clone());
        assert!(warned().is_empty());
        set("full_page_writes = off").await;
        store.settings.every = Duration::ZERO;
        insert(&store).await.unwrap();
        let warned = store.settings.with(|state| state.warned_of.clone());
        assert_eq!(warned, BTreeSet::from(["full_page_writes"]));
    }
}
