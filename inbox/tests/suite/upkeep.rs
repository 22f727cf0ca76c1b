//! Promises 7 and 9: bounded size, and readable.

use std::time::Duration;

use ptolemy_webhooks::Assumption;
use ptolemy_webhooks_inbox::sqlx::{Connection as _, Executor as _, SqliteConnection};
use ptolemy_webhooks_inbox::{
    Accepted, ConnectErrorKind, EventOrder, Failure, Inbox, Stats, Worker,
};

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::workers::{Running, quick, until};

on_both_engines! {
    prune_removes_what_was_done_long_ago_and_nothing_else
    a_worker_prunes_by_itself_and_one_at_a_time
    an_order_cannot_be_set_without_the_settings
    an_inbox_that_keeps_rows_for_ever_does_not_prune
    an_inbox_is_opened_as_it_is_or_not_at_all
    deviations_from_the_assumed_shape_are_counted
    stats_count_what_is_not_done
    the_oldest_due_event_is_one_that_could_run
    the_table_can_be_read_by_people
    ten_that_start_at_once_share_the_tables
    tables_of_a_newer_version_are_refused
    opening_the_inbox_again_changes_nothing
    the_users_own_tables_and_migrations_are_left_alone
}

async fn prune_removes_what_was_done_long_ago_and_nothing_else(database: &Database) {
    let inbox = database.inbox().await;
    for id in ["old", "young", "dead", "waiting", "running"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let set = |id: &str, state: &str, age: i64| {
        format!(
            "UPDATE ptolemy_inbox SET state = '{state}', finished_at = {} WHERE event_id = '{id}'",
            database.time(-age)
        )
    };
    let month = 30 * 24 * 60 * 60;
    database.execute(&set("old", "done", month + 60)).await;
    database.execute(&set("young", "done", month - 60)).await;
    database.execute(&set("dead", "dead", 2 * month)).await;
    database
        .execute(&set("waiting", "waiting", 2 * month))
        .await;
    database
        .execute(&set("running", "running", 2 * month))
        .await;
    // More than one batch.
    database
        .execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1200)
             INSERT INTO ptolemy_inbox (dedup_key, state, received_at, run_at, written_at, finished_at, body)
             SELECT 'copy ' || n, state, received_at, run_at, written_at, finished_at, body
             FROM ptolemy_inbox, numbers WHERE event_id = 'old'",
        )
        .await;
    assert_eq!(
        inbox
            .prune(Duration::from_secs(month as u64))
            .await
            .unwrap(),
        1_201
    );
    let left = database
        .texts("SELECT event_id FROM ptolemy_inbox ORDER BY id")
        .await;
    assert_eq!(left, ["young", "dead", "waiting", "running"]);
    // A delivery of a pruned event counts as new.
    assert_eq!(
        inbox.accept(&delivery::event("old")).await.unwrap(),
        Accepted::New
    );
    assert_eq!(inbox.prune(Duration::MAX).await.unwrap(), 0);
    assert_eq!(inbox.prune(Duration::ZERO).await.unwrap(), 1);
}

const DAY: i64 = 24 * 60 * 60;

/// An event that was done this many days ago.
async fn done_ago(database: &Database, id: &str, days: i64) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event(id)).await.unwrap();
    let time = database.time(-days * DAY);
    database
        .execute(&format!(
            "UPDATE ptolemy_inbox SET state = 'done', finished_at = {time} WHERE event_id = '{id}'"
        ))
        .await;
}

async fn work_until_idle(inbox: &Inbox) {
    let handler = |_, _| async { Ok::<(), Failure>(()) };
    quick(inbox).run_until_idle(handler).await;
}

async fn ids(database: &Database) -> Vec<String> {
    database
        .texts("SELECT event_id FROM ptolemy_inbox ORDER BY id")
        .await
}

async fn a_worker_prunes_by_itself_and_one_at_a_time(database: &Database) {
    for (id, days) in [("a", 91), ("b", 89)] {
        done_ago(database, id, days).await;
    }
    let inbox = database.inbox().await;
    let worker = Running::start(&inbox, |worker| worker, |_, _| async { Ok(()) });
    until("pruned", async || ids(database).await == ["b"]).await;
    worker.stop().await;

    // Within the hour no other worker prunes; then one does, whose process set another age.
    done_ago(database, "c", 91).await;
    let other = database
        .inbox()
        .await
        .with_keep_done(Duration::from_secs(88 * 86_400));
    work_until_idle(&other).await;
    assert_eq!(ids(database).await, ["b", "c"]);
    let hour_ago = database.time(-1);
    database
        .execute(&format!(
            "UPDATE ptolemy_inbox_settings SET prune_at = {hour_ago}"
        ))
        .await;
    work_until_idle(&other).await;
    assert!(ids(database).await.is_empty());
}

/// For example after a part of the tables was restored.
async fn an_order_cannot_be_set_without_the_settings(database: &Database) {
    let inbox = database.inbox().await;
    database.execute("DELETE FROM ptolemy_inbox_settings").await;
    let error = inbox.set_order(EventOrder::ByResource).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "the inbox's settings are gone");
}

async fn an_inbox_that_keeps_rows_for_ever_does_not_prune(database: &Database) {
    done_ago(database, "a", 9_000).await;
    let for_ever = database.inbox().await.with_keep_done(None);
    assert_eq!(for_ever.keep_done(), None);
    work_until_idle(&for_ever).await;
    work_until_idle(&Inbox::open_existing(&database.url()).await.unwrap()).await;
    assert_eq!(ids(database).await, ["a"]);
    work_until_idle(&database.inbox().await).await;
    assert!(ids(database).await.is_empty());
}

async fn an_inbox_is_opened_as_it_is_or_not_at_all(database: &Database) {
    let kind = async || {
        let error = Inbox::open_existing(&database.url()).await.unwrap_err();
        error.kind().clone()
    };
    let tables = match database {
        Database::Sqlite { .. } => "SELECT count(*) FROM sqlite_schema",
        Database::Postgres { .. } => "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'",
    };
    assert_eq!(kind().await, ConnectErrorKind::NoInbox);
    assert_eq!(database.number(tables).await, 0);

    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let tool = Inbox::open_existing(&database.url()).await.unwrap();
    assert_eq!(tool.stats().await.unwrap().waiting(), 1);

    for (version, found) in [(7, 7), (0, 0)] {
        database
            .execute(&format!(
                "UPDATE ptolemy_inbox_migrations SET version = {version}"
            ))
            .await;
        let kind = kind().await;
        let (is_newer, is_older) = (
            matches!(kind, ConnectErrorKind::NewerSchema { found: it, known: 1, .. } if it == found),
            matches!(kind, ConnectErrorKind::OlderSchema { found: it, known: 1, .. } if it == found),
        );
        assert_eq!((is_newer, is_older), (found == 7, found == 0), "{kind:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_created() {
    let database = Database::sqlite().await;
    let url = format!("{}-missing", database.url());
    for query in ["", "?mode=rwc"] {
        let url = format!("{url}{query}");
        let error = Inbox::open_existing(&url).await.unwrap_err();
        assert!(error.to_string().ends_with("missing` does not exist"));
    }
    assert!(!std::path::Path::new(url.trim_start_matches("sqlite://")).exists());
}

/// Of what is accepted, once for each delivery.
async fn deviations_from_the_assumed_shape_are_counted(database: &Database) {
    let inbox = database.inbox().await;
    for body in [
        r#"{"id":"e","event_type":"market.created","data":{"id":"m"}}"#,
        r#"{"event_type":"market.created","data":{"id":7}}"#,
    ] {
        inbox.clone().accept(&delivery::of(body)).await.unwrap();
    }
    let observations = inbox.observations();
    assert_eq!(observations.deliveries(), 2);
    let of = |assumption| {
        let mut all = observations.iter();
        let one = all.find(|one| one.assumption == assumption).unwrap();
        (one.as_assumed, one.missing, one.another_shape)
    };
    assert_eq!(of(Assumption::EventId), (1, 1, 0));
    assert_eq!(of(Assumption::ResourceId), (1, 0, 1));
    database.execute("DROP TABLE ptolemy_inbox").await;
    assert!(inbox.accept(&delivery::event("e")).await.is_err());
    assert_eq!(observations.deliveries(), 2);
}

async fn stats_count_what_is_not_done(database: &Database) {
    let inbox = database.inbox().await;
    let stats = inbox.stats().await.unwrap();
    assert_eq!(stats, Stats::default());
    for (id, set) in [
        ("a", format!("run_at = {}", database.time(-100))),
        (
            "b",
            format!("run_at = {}, queue = 'again'", database.time(-200)),
        ),
        ("c", "state = 'running'".to_owned()),
        ("d", "state = 'dead'".to_owned()),
        ("e", "state = 'done'".to_owned()),
        // None of these could run now, so none makes the oldest older.
        (
            "f",
            format!("run_at = {}, queue = 'again'", database.time(100)),
        ),
        (
            "g",
            format!("run_at = {}, postponed = TRUE", database.time(100)),
        ),
        (
            "h",
            format!("run_at = {}, waits_for = 1", database.time(-9_999)),
        ),
        (
            "i",
            format!("run_at = {}, queue = 'suspect'", database.time(-300)),
        ),
        ("j", "state = 'dead', malformed = TRUE".to_owned()),
    ] {
        inbox.accept(&delivery::event(id)).await.unwrap();
        let sql = format!("UPDATE ptolemy_inbox SET {set} WHERE event_id = '{id}'");
        database.execute(&sql).await;
    }
    let stats = inbox.stats().await.unwrap();
    assert_eq!(
        (stats.due, stats.retrying, stats.postponed, stats.blocked),
        (3, 1, 1, 1)
    );
    assert_eq!(
        (stats.waiting(), stats.running, stats.dead, stats.malformed),
        (6, 1, 2, 1)
    );
    let oldest = stats.oldest_due.unwrap().as_secs();
    assert!((299..330).contains(&oldest), "{oldest}");
}

/// An event that backs off does not hide that no worker runs, nor does it look as if none ran.
async fn the_oldest_due_event_is_one_that_could_run(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("backs off")).await.unwrap();
    let long =
        |worker: Worker| worker.backoff(Duration::from_secs(3_600), Duration::from_secs(3_600));
    let worker = Running::start(&inbox, long, |_, _| async { Err(Failure::retry("no")) });
    let retrying = async || inbox.stats().await.unwrap().retrying == 1;
    until("it backs off", retrying).await;
    worker.stop().await;
    assert_eq!(inbox.stats().await.unwrap().oldest_due, None);
    inbox.accept(&delivery::event("waits")).await.unwrap();
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.due, stats.retrying), (1, 1));
    assert!(stats.oldest_due.is_some());
}

/// Queries of operators, as they would write them.
async fn the_table_can_be_read_by_people(database: &Database) {
    let inbox = database.inbox().await;
    let body = r#"{"id":"e1","event_type":"market.created","data":{"id":"asx"}}"#;
    inbox.accept(&delivery::of(body)).await.unwrap();
    let worker = Running::start(
        &inbox,
        |worker| worker,
        |_, _| async { Err(ptolemy_webhooks_inbox::Failure::permanent("no such market")) },
    );
    until("dead", async || database.states().await == ["dead"]).await;
    worker.stop().await;
    let told = "SELECT state || ' ' || event_type || ' ' || event_id || ' ' || resource || ' ' ||
                       resource_id || ' ' || attempts || ' ' || last_error
                FROM ptolemy_inbox WHERE resource = 'market' AND resource_id = 'asx'";
    assert_eq!(
        database.texts(told).await,
        ["dead market.created e1 market asx 1 no such market"]
    );
    let today = match database {
        Database::Sqlite { .. } => {
            "SELECT CAST(body AS TEXT) FROM ptolemy_inbox
             WHERE received_at > datetime('now', '-1 day') AND finished_at >= received_at"
        }
        Database::Postgres { .. } => {
            "SELECT convert_from(body, 'UTF8') FROM ptolemy_inbox
             WHERE received_at > now() - interval '1 day' AND finished_at >= received_at"
        }
    };
    assert_eq!(database.texts(today).await, [body]);
    let tables = match database {
        Database::Sqlite { .. } => {
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        }
        Database::Postgres { .. } => {
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'
             ORDER BY table_name"
        }
    };
    assert_eq!(
        database.texts(tables).await,
        [
            "ptolemy_inbox",
            "ptolemy_inbox_catch_up",
            "ptolemy_inbox_catch_up_event",
            "ptolemy_inbox_migrations",
            "ptolemy_inbox_settings"
        ]
    );
}

async fn ten_that_start_at_once_share_the_tables(database: &Database) {
    let mut opens = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let url = database.url();
        opens.spawn(async move { Inbox::connect(&url).await.unwrap() });
    }
    let inboxes = opens.join_all().await;
    for (number, inbox) in inboxes.iter().enumerate() {
        inbox
            .accept(&delivery::event(&number.to_string()))
            .await
            .unwrap();
    }
    assert_eq!(database.states().await.len(), 10);
    assert_eq!(
        database
            .number("SELECT count(*) FROM ptolemy_inbox_migrations")
            .await,
        1
    );
}

async fn tables_of_a_newer_version_are_refused(database: &Database) {
    drop(database.inbox().await);
    database
        .execute(
            "INSERT INTO ptolemy_inbox_migrations
             SELECT 7, description, installed_on, success, checksum, execution_time
             FROM ptolemy_inbox_migrations",
        )
        .await;
    let error = Inbox::connect(&database.url()).await.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ConnectErrorKind::NewerSchema {
                found: 7,
                known: 1,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "the inbox's tables are at version 7, and this version of ptolemy-webhooks-inbox knows them up \
         to 1: upgrade it"
    );
}

async fn opening_the_inbox_again_changes_nothing(database: &Database) {
    let inbox = database.inbox().await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    let again = database.inbox().await;
    assert!(matches!(
        again.accept(&delivery::event("e")).await.unwrap(),
        Accepted::Duplicate { .. }
    ));
    assert_eq!(database.states().await, ["waiting"]);
}

async fn the_users_own_tables_and_migrations_are_left_alone(database: &Database) {
    database
        .execute("CREATE TABLE _sqlx_migrations (of_the TEXT)")
        .await;
    database
        .execute("INSERT INTO _sqlx_migrations VALUES ('user')")
        .await;
    let _ = database
        .inbox()
        .await
        .accept(&delivery::event("e"))
        .await
        .unwrap();
    assert_eq!(
        database.texts("SELECT of_the FROM _sqlx_migrations").await,
        ["user"]
    );
}

#[tokio::test]
async fn a_url_that_names_no_engine_is_refused() {
    for url in [
        "",
        "inbox.db",
        "mysql://localhost/x",
        "SQLITE://x",
        "http://x",
        ":",
    ] {
        let error = Inbox::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), &ConnectErrorKind::UnknownEngine, "{url}");
    }
    let error = Inbox::connect("postgres://localhost:port/x")
        .await
        .unwrap_err();
    let kind = error.kind();
    assert!(matches!(kind, ConnectErrorKind::MalformedUrl { .. }));
    let error = Inbox::connect("postgres://127.0.0.1:1/x")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &ConnectErrorKind::Unavailable);
}

/// The tables exist; the role of the receivers may use them but may not create tables.
#[tokio::test]
#[ignore = "needs postgres"]
async fn a_role_that_may_not_create_tables_can_use_them() {
    let database = Database::postgres().await;
    drop(database.inbox().await);
    let role = database.url().rsplit_once('/').unwrap().1.to_owned();
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN;
             GRANT SELECT ON ptolemy_inbox_migrations TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ptolemy_inbox TO {role};
             GRANT SELECT, UPDATE ON ptolemy_inbox_settings TO {role}"
        ))
        .await;
    let url = database.url().replace("//postgres@", &format!("//{role}@"));
    let inbox = Inbox::connect(&url).await.unwrap();
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    assert_eq!(
        inbox.accept(&delivery::event("e")).await.unwrap(),
        Accepted::New
    );
    let again = inbox.accept(&delivery::event("e")).await.unwrap();
    assert!(matches!(again, Accepted::Duplicate { .. }));
    let worker = Running::start(&inbox, |worker| worker, |_, _| async { Ok(()) });
    until("done", async || database.states().await == ["done"]).await;
    worker.stop().await;
    assert_eq!(inbox.prune(Duration::ZERO).await.unwrap(), 1);
}

/// Turning write-ahead logging on needs exclusive access, and SQLite does not wait for that by
/// itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_others_read_is_waited_for() {
    let database = Database::sqlite().await;
    let url = format!("{}2", database.url());
    let mut reader = SqliteConnection::connect(&format!("{url}?mode=rwc"))
        .await
        .unwrap();
    reader.execute("CREATE TABLE mine (x)").await.unwrap();
    reader.execute("BEGIN; SELECT * FROM mine").await.unwrap();
    let file = url.trim_start_matches("sqlite://").to_owned();
    let connect = tokio::spawn(async move { Inbox::connect(&url).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!connect.is_finished(), "{:?}", connect.await);
    reader.execute("ROLLBACK").await.unwrap();
    connect.await.unwrap().unwrap();
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{file}{end}"));
    }
}
