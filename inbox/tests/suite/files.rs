//! The files of a SQLite database, and what can happen to them.

use std::error::Error as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ptolemy_webhooks_inbox::sqlx::{
    Executor as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions},
};
use ptolemy_webhooks_inbox::{Accepted, Inbox, InboxErrorKind};
use tokio::time::sleep;

use crate::delivery;
use crate::workers::quick;

/// A folder for a database `inbox.db` to which the test has no connection.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("ptolemy-files-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, end: &str) -> PathBuf {
        self.0.join(format!("inbox.db{end}"))
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.file("").display())
    }

    async fn inbox(&self) -> Inbox {
        Inbox::connect(&self.url()).await.unwrap()
    }

    /// A pool that closes each connection that it does not need.
    async fn idle_pool(&self) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(self.file(""))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(Duration::from_millis(1))
            .connect_with(options)
            .await
            .unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn must_fail(inbox: &Inbox, id: &str, reason: &str) {
    let error = inbox.accept(&delivery::event(id)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status()),
        (InboxErrorKind::Unavailable, 503)
    );
    let source = error.source().unwrap().to_string();
    assert!(source.ends_with(reason), "{source}");
    assert!(inbox.stats().await.is_err());
    assert!(inbox.prune(Duration::ZERO).await.is_err());
}

#[tokio::test]
#[cfg(unix)]
async fn nothing_is_accepted_after_a_file_was_removed_or_replaced() {
    for end in ["", "-wal", "-shm"] {
        for own_pool in [true, false] {
            let folder = Folder::new(&format!("removed{end}-{own_pool}"));
            let inbox = if own_pool {
                folder.inbox().await
            } else {
                let pool = folder.idle_pool().await;
                Inbox::from_sqlite_pool(pool).await.unwrap()
            };
            inbox.accept(&delivery::event("a")).await.unwrap();
            let (file, away) = (folder.file(end), folder.0.join("away"));
            fs::rename(&file, &away).unwrap();
            must_fail(&inbox, "b", &format!("inbox.db{end} was removed")).await;
            fs::copy(&away, &file).unwrap();
            must_fail(&inbox, "b", "was replaced by another file").await;
            fs::rename(&away, &file).unwrap();
            let accepted = inbox.accept(&delivery::event("b")).await.unwrap();
            assert_eq!(accepted, Accepted::New);
            assert_eq!(inbox.stats().await.unwrap().waiting(), 2);
        }
    }
}

#[tokio::test]
#[cfg(unix)]
async fn no_handler_runs_in_files_that_were_removed() {
    let folder = Folder::new("handlers");
    let inbox = folder.inbox().await;
    inbox.accept(&delivery::event("a")).await.unwrap();
    fs::rename(folder.file(""), folder.0.join("away")).unwrap();
    let worker = quick(&inbox).run_in_sqlite_transaction(|_, _, _| {
        Box::pin(async { panic!("handled in files that were removed") })
    });
    let worker = tokio::time::timeout(Duration::from_millis(300), worker);
    assert!(worker.await.is_err(), "it ended");
    fs::rename(folder.0.join("away"), folder.file("")).unwrap();
    assert_eq!(inbox.stats().await.unwrap().waiting(), 1);
}

/// The log that was removed is written into the database by the last connection that closes.
#[tokio::test]
#[cfg(unix)]
async fn an_orderly_end_saves_what_is_in_a_log_that_was_removed() {
    let folder = Folder::new("saved");
    let inbox = folder.inbox().await;
    inbox.accept(&delivery::event("a")).await.unwrap();
    fs::remove_file(folder.file("-wal")).unwrap();
    fs::remove_file(folder.file("-shm")).unwrap();
    must_fail(&inbox, "b", "inbox.db-wal was removed").await;
    drop(inbox);
    // Each connection closes in its own thread.
    sleep(Duration::from_millis(300)).await;
    let again = folder.inbox().await.accept(&delivery::event("a")).await;
    assert!(matches!(again.unwrap(), Accepted::Duplicate { .. }));
}

#[tokio::test]
async fn what_sqlite_does_to_its_files_by_itself_is_no_alarm() {
    let folder = Folder::new("alarm");
    let pool = folder.idle_pool().await;
    let inbox = Inbox::from_sqlite_pool(pool.clone()).await.unwrap();
    for round in 0..5 {
        // The pool has closed its only connection.
        sleep(Duration::from_millis(20)).await;
        let accepted = inbox.accept(&delivery::event(&round.to_string())).await;
        assert_eq!(accepted.unwrap(), Accepted::New);
        for sql in ["PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"] {
            pool.execute(sql).await.unwrap();
        }
        let other = folder.inbox().await;
        other.stats().await.unwrap();
        drop(other);
    }
    assert_eq!(inbox.stats().await.unwrap().waiting(), 5);
}

#[tokio::test]
#[cfg(unix)]
async fn the_files_are_created_for_their_owner_alone() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let folder = Folder::new("private");
    let mode = |file: PathBuf| fs::metadata(file).unwrap().permissions().mode() & 0o777;
    for query in ["", "?mode=rwc"] {
        let url = format!("{}{query}", folder.url());
        let inbox = Inbox::connect(&url).await.unwrap();
        inbox.accept(&delivery::event("a")).await.unwrap();
        for end in ["", "-wal", "-shm"] {
            assert_eq!(mode(folder.file(end)), 0o600, "{end}");
            fs::remove_file(folder.file(end)).unwrap();
        }
    }
    // Through a link to a file that is missing.
    symlink(folder.0.join("elsewhere"), folder.file("")).unwrap();
    drop(folder.inbox().await);
    assert_eq!(mode(folder.0.join("elsewhere")), 0o600);

    // Existing files are left unchanged.
    let file = folder.0.join("mine");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let url = format!("sqlite://{}", file.display());
    drop(Inbox::connect(&url).await.unwrap());
    assert_eq!(mode(file), 0o640);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_at_connect_with_the_reason() {
    let folder = Folder::new("unusable");
    let at = |path: &str| folder.0.join(path);
    fs::create_dir(at("folder")).unwrap();
    fs::write(
        at("text"),
        "no database, but a text that is long enough".repeat(99),
    )
    .unwrap();
    drop(folder.inbox().await);
    for (path, query, reason) in [
        (
            at("no/such/inbox.db"),
            "",
            "cannot be created, since its folder does not exist",
        ),
        (at("text/inbox.db"), "", "cannot be reached"),
        (at("folder"), "", "is a folder"),
        (at("missing"), "?mode=rw", "does not exist"),
        (at("text"), "", "is not a database"),
        (folder.file(""), "?mode=ro", "cannot be written"),
    ] {
        let url = format!("sqlite://{}{query}", path.display());
        let error = Inbox::connect(&url).await.unwrap_err();
        let expected = format!("the inbox's file `{}` {reason}", path.display());
        assert_eq!(error.to_string(), expected);
        if reason != "is a folder" {
            assert!(error.source().is_some(), "{error}");
        }
    }
    for (path, reason) in [
        (at("missing"), "does not exist"),
        (at("folder"), "is a folder"),
    ] {
        let url = format!("sqlite://{}", path.display());
        let error = Inbox::open_existing(&url).await.unwrap_err();
        assert!(error.to_string().ends_with(reason), "{error}");
    }
    let options = SqliteConnectOptions::new()
        .filename(folder.file(""))
        .read_only(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let error = Inbox::from_sqlite_pool(pool).await.unwrap_err();
    assert!(
        error.to_string().ends_with("inbox.db` cannot be written"),
        "{error}"
    );
    assert!(!at("missing").exists() && !at("no").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_cut_after_a_reader_that_made_it_grow_has_ended() {
    let folder = Folder::new("log");
    let inbox = folder.inbox().await;
    inbox.accept(&delivery::event("a")).await.unwrap();
    let reader = folder.idle_pool().await;
    let mut reader = reader.begin().await.unwrap();
    reader.execute("SELECT * FROM ptolemy_inbox").await.unwrap();
    let filler = "x".repeat(900_000);
    for number in 0..30 {
        let body = format!(r#"{{"id":"{number}","event_type":"a.b","data":{{"f":"{filler}"}}}}"#);
        inbox.accept(&delivery::of(&body)).await.unwrap();
    }
    let log = || fs::metadata(folder.file("-wal")).unwrap().len();
    assert!(log() > 25_000_000, "{}", log());
    reader.rollback().await.unwrap();
    for id in ["writes it back", "begins it anew", "and again"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    assert!(log() <= 16 * 1024 * 1024, "{}", log());
}
