//! Networks and servers that fail while the inbox is open.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ptolemy_webhooks_inbox::sqlx::Executor as _;
use ptolemy_webhooks_inbox::sqlx::postgres::{PgPool, PgPoolOptions};
use ptolemy_webhooks_inbox::{Accepted, EventOrder, Failure, Inbox, InboxErrorKind};
use tokio::task::JoinSet;

use crate::database::{Database, on_both_engines};
use crate::delivery;
use crate::durable::Lock;
use crate::logged::Logged;
use crate::proxy::Proxy;
use crate::workers::{Log, Running, until};

on_both_engines! {
    deliveries_beside_those_that_a_trigger_rejects_are_accepted
}

/// Each kind of error, and each beside the others.
async fn deliveries_beside_those_that_a_trigger_rejects_are_accepted(database: &Database) {
    let inbox = database.inbox().await;
    match database {
        Database::Sqlite { .. } => {
            database
                .execute(
                    "CREATE TRIGGER reject_a BEFORE INSERT ON ptolemy_inbox WHEN NEW.event_id LIKE 'a%'
                     BEGIN SELECT RAISE(ABORT, 'no'); END;
                     CREATE TRIGGER reject_b BEFORE INSERT ON ptolemy_inbox WHEN NEW.event_id LIKE 'b%'
                     BEGIN SELECT json('no JSON'); END",
                )
                .await;
        }
        Database::Postgres { .. } => {
            database
                .execute(
                    "CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS
                         $$BEGIN
                             IF NEW.event_id LIKE 'a%' THEN RAISE EXCEPTION SQLSTATE 'MY001'; END IF;
                             PERFORM 1 FROM no_such_table;
                         END$$;
                     CREATE TRIGGER reject BEFORE INSERT ON ptolemy_inbox FOR EACH ROW
                         WHEN (NEW.event_id ~ '^[ab]') EXECUTE FUNCTION reject()",
                )
                .await;
        }
    }
    let mut accepts = JoinSet::new();
    for number in 0..200 {
        let kind = match number % 20 {
            3 => "a",
            11 => "b",
            _ => "good",
        };
        let (inbox, delivery) = (inbox.clone(), delivery::event(&format!("{kind}-{number}")));
        accepts.spawn(async move { (kind, inbox.accept(&delivery).await) });
    }
    for (kind, accepted) in accepts.join_all().await {
        assert_eq!(accepted.is_ok(), kind == "good", "{kind}: {accepted:?}");
    }
    assert_eq!(database.states().await.len(), 180);
}

/// The inbox's tasks run on this runtime's only thread, and so on the thread whose log is taken.
#[tokio::test]
async fn one_delivery_that_a_trigger_rejects_is_no_outage_and_two_in_a_row_are() {
    let (logged, _guard) = Logged::start();
    let database = Database::sqlite().await;
    let inbox = database.inbox().await;
    database
        .execute(
            "CREATE TRIGGER reject BEFORE INSERT ON ptolemy_inbox WHEN NEW.event_id LIKE 'a%'
             BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .await;
    for id in ["a", "good", "a", "better"] {
        let accepted = inbox.accept(&delivery::event(id)).await;
        assert_eq!(accepted.is_ok(), id != "a", "{accepted:?}");
    }
    assert_eq!(logged.lines("deliveries are not accepted"), [""; 0]);
    let lines = logged.lines("a delivery was not accepted");
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("WARN")));
    for _ in 0..3 {
        inbox.accept(&delivery::event("a")).await.unwrap_err();
    }
    inbox.accept(&delivery::event("best")).await.unwrap();
    assert_eq!(logged.lines("a delivery was not accepted").len(), 3);
    logged.line("deliveries are not accepted");
    logged.line("deliveries are accepted again");
}

/// The table raises this error, or ends its connection, when it is first written to in this way.
async fn fails_once(database: &Database, what: &str, on: &str) {
    let trigger = format!("CREATE OR REPLACE TRIGGER fail BEFORE {on} ON ptolemy_inbox");
    fails_once_with(database, what, &trigger).await;
}

async fn fails_once_with(database: &Database, what: &str, trigger: &str) {
    database
        .execute(&format!(
            "CREATE SEQUENCE IF NOT EXISTS writes;
             CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
                 $$BEGIN IF nextval('writes') = 1 THEN {what}; END IF; RETURN NEW; END$$;
             {trigger} FOR EACH ROW EXECUTE FUNCTION fail();
             SELECT setval('writes', 1, false)"
        ))
        .await;
}

/// The errors with which a server ends a connection.
const ENDS: [&str; 7] = [
    "RAISE EXCEPTION SQLSTATE '25006'",
    "RAISE EXCEPTION SQLSTATE '57P01'",
    "RAISE EXCEPTION SQLSTATE '57P02'",
    "RAISE EXCEPTION SQLSTATE '57P03'",
    "RAISE EXCEPTION SQLSTATE '08006'",
    "PERFORM pg_terminate_backend(pg_backend_pid())",
    "RAISE EXCEPTION SQLSTATE '08P01'",
];

#[tokio::test]
#[ignore = "needs postgres"]
async fn an_accept_whose_connection_breaks_is_tried_again_on_a_new_one() {
    let database = Database::postgres().await;
    let inbox = database.inbox().await;
    for (number, end) in ENDS.iter().enumerate() {
        fails_once(&database, end, "INSERT").await;
        let accepted = inbox.accept(&delivery::event(&number.to_string())).await;
        assert_eq!(accepted.unwrap(), Accepted::New, "{end}");
    }
    assert_eq!(database.states().await.len(), ENDS.len());
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_turn_whose_connection_breaks_is_taken_again_on_a_new_one() {
    let (logged, _guard) = Logged::start();
    let database = Database::postgres().await;
    let inbox = database.inbox().await;
    for (number, end) in ENDS.iter().enumerate() {
        inbox
            .accept(&delivery::event(&number.to_string()))
            .await
            .unwrap();
        fails_once(&database, end, "UPDATE").await;
        let handled = |_, _| async { Ok::<(), Failure>(()) };
        inbox.worker().run_until_idle(handled).await;
    }
    assert_eq!(logged.lines("cannot reach the database"), [""; 0]);
    let once = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'done' AND attempts = 1";
    assert_eq!(database.number(once).await, ENDS.len() as i64);
}

/// The server answers the next commit that changes a table in this way by closing the connection:
/// the client cannot know whether the commit took place.
async fn commit_is_unanswered(database: &Database, on: &str) {
    let trigger = format!(
        "DROP TRIGGER IF EXISTS fail_at_commit ON ptolemy_inbox;
         CREATE CONSTRAINT TRIGGER fail_at_commit AFTER {on} DEFERRABLE INITIALLY DEFERRED"
    );
    fails_once_with(database, ENDS[1], &trigger).await;
}

/// Waits for the server: it says that a transaction has failed, and then unlocks its rows.
async fn rows_are_unlocked(database: &Database) {
    let lock = "SELECT count(*) FROM (SELECT id FROM ptolemy_inbox FOR UPDATE) AS locked";
    database.number(lock).await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_change_whose_commit_has_no_answer_is_an_error_and_not_done_twice() {
    let database = Database::postgres().await;
    let inbox = database.inbox().await;
    for id in ["a", "b"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let fails = |_, _| async { Err::<(), _>(Failure::permanent("no")) };
    inbox.worker().run_until_idle(fails).await;
    let letters = inbox.dead_letters();
    let page = letters.page(None, 10).await.unwrap();
    let id = page[0].id;

    commit_is_unanswered(&database, "UPDATE ON ptolemy_inbox").await;
    letters.replay(id).await.unwrap_err();
    rows_are_unlocked(&database).await;
    assert!(letters.replay(id).await.unwrap());
    commit_is_unanswered(&database, "UPDATE ON ptolemy_inbox").await;
    letters.discard_all().await.unwrap_err();
    rows_are_unlocked(&database).await;
    assert_eq!(letters.discard_all().await.unwrap(), 1);
    commit_is_unanswered(&database, "DELETE ON ptolemy_inbox").await;
    inbox.prune(Duration::ZERO).await.unwrap_err();
    rows_are_unlocked(&database).await;
    assert_eq!(inbox.prune(Duration::ZERO).await.unwrap(), 1);
    commit_is_unanswered(&database, "UPDATE ON ptolemy_inbox_settings").await;
    let order = EventOrder::ByResource;
    inbox.set_order(order).await.unwrap_err();
    inbox.set_order(order).await.unwrap();
    // An accept is the same when it is repeated.
    commit_is_unanswered(&database, "INSERT ON ptolemy_inbox").await;
    assert_eq!(
        inbox.accept(&delivery::event("c")).await.unwrap(),
        Accepted::New
    );
}

/// A pool whose connections are open and idle.
async fn pool(url: &str, options: PgPoolOptions) -> PgPool {
    let pool = options.max_connections(5).connect(url).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(pool.acquire().await.unwrap());
    }
    drop(open);
    while pool.num_idle() < 5 {
        tokio::task::yield_now().await;
    }
    pool
}

async fn make_read_only(pool: &PgPool) {
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut connection = pool.acquire().await.unwrap();
        connection
            .execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            .await
            .unwrap();
        open.push(connection);
    }
    drop(open);
    while pool.num_idle() < 5 {
        tokio::task::yield_now().await;
    }
}

/// As after a failover: the old server's connections live, and new ones lead to the new server.
#[tokio::test]
#[ignore = "needs postgres"]
async fn connections_that_may_only_read_are_replaced() {
    let database = Database::postgres().await;
    let pool = pool(&database.url(), PgPoolOptions::new()).await;
    let inbox = Inbox::from_postgres_pool(pool.clone()).await.unwrap();
    make_read_only(&pool).await;
    for number in 0..10 {
        let delivery = delivery::event(&number.to_string());
        assert_eq!(inbox.accept(&delivery).await.unwrap(), Accepted::New);
    }
    make_read_only(&pool).await;
    let handled = |_, _| async { Ok::<(), Failure>(()) };
    inbox.worker().run_until_idle(handled).await;
    make_read_only(&pool).await;
    inbox.accept(&delivery::event("last")).await.unwrap();
    make_read_only(&pool).await;
    let worker = inbox.worker().concurrency(3);
    let run = worker.run_in_postgres_transaction_until_idle(|_, _, _| Box::pin(async { Ok(()) }));
    run.await.unwrap();
    let once = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'done' AND attempts = 1";
    assert_eq!(database.number(once).await, 11);
}

/// Ten accepts, each of which may find a dead connection.
async fn accept_ten(inbox: &Inbox) {
    let begin = Instant::now();
    for number in 0..10 {
        let delivery = delivery::event(&format!("after {number}"));
        assert_eq!(inbox.accept(&delivery).await.unwrap(), Accepted::New);
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(2_500), "{took:?}");
}

/// Opens several connections of the inbox's own pool.
async fn count_at_once(inbox: &Inbox) {
    let mut counts = JoinSet::new();
    for _ in 0..5 {
        let inbox = inbox.clone();
        counts.spawn(async move { inbox.stats().await.unwrap() });
    }
    counts.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn connections_that_a_firewall_forgot_cost_one_short_check() {
    let database = Database::postgres().await;
    let (proxy, url) = Proxy::before(&database.url()).await;
    let inbox = Inbox::connect(&url).await.unwrap();
    count_at_once(&inbox).await;
    proxy.forget_connections();
    accept_ten(&inbox).await;

    count_at_once(&inbox).await;
    proxy.forget_connections();
    let log = Log::default();
    let begin = Instant::now();
    let worker = Running::start(&inbox, |worker| worker.concurrency(4), log.writer());
    log.until(10).await;
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(2_500), "{took:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn connections_of_a_users_pool_that_a_firewall_forgot_cost_one_short_check() {
    for tests in [true, false] {
        let database = Database::postgres().await;
        let (proxy, url) = Proxy::before(&database.url()).await;
        let options = PgPoolOptions::new().test_before_acquire(tests);
        let pool = pool(&url, options).await;
        let inbox = Inbox::from_postgres_pool(pool).await.unwrap();
        proxy.forget_connections();
        accept_ten(&inbox).await;
    }
}

/// They wait for the next handler when their server disappears. The pool's ping would keep their
/// places for as long as TCP repeats a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn dead_connections_of_handlers_do_not_keep_their_places_in_the_pool() {
    let database = Database::postgres().await;
    let (proxy, url) = Proxy::before(&database.url()).await;
    let inbox = Inbox::connect(&url).await.unwrap();
    for round in 0..2 {
        for number in 0..8 {
            let delivery = delivery::event(&format!("{round} {number}"));
            inbox.accept(&delivery).await.unwrap();
        }
        // All handlers that the pool of ten admits.
        let meet = Arc::new(tokio::sync::Barrier::new(8));
        let worker = inbox.worker().concurrency(8);
        let handled = worker.run_in_postgres_transaction_until_idle(move |_, _, _| {
            let meet = meet.clone();
            Box::pin(async move {
                meet.wait().await;
                Ok(())
            })
        });
        let ended = tokio::time::timeout(Duration::from_secs(30), handled).await;
        ended.expect("eight handlers run at the same time").unwrap();
        if round == 0 {
            proxy.forget_connections();
            // No handler has needed them for longer than they are kept.
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    }
}

/// A rollback on a dead connection takes 5 s, and more than one at a time would take the pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn a_handlers_turn_lasts_until_its_transaction_is_rolled_back() {
    let database = Database::postgres().await;
    let (proxy, url) = Proxy::before(&database.url()).await;
    let options = PgPoolOptions::new().max_connections(3);
    let pool = options.connect(&url).await.unwrap();
    let inbox = Inbox::from_postgres_pool(pool).await.unwrap();
    for id in ["a", "b"] {
        inbox.accept(&delivery::event(id)).await.unwrap();
    }
    let (began, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let worker = inbox.worker();
    let worker = tokio::spawn(worker.run_in_postgres_transaction(move |_, _, _| {
        began.send(Instant::now()).unwrap();
        proxy.forget_connections();
        Box::pin(async { Err(Failure::permanent("no")) })
    }));
    let first = begins.recv().await.unwrap();
    let second = begins.recv().await.unwrap();
    let between = second - first;
    assert!(between > Duration::from_millis(4_500), "{between:?}");
    worker.abort();
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_server_that_is_stopped_is_the_cause_in_error_and_log() {
    let (logged, _guard) = Logged::start();
    let database = Database::postgres().await;
    let (mut proxy, url) = Proxy::before(&database.url()).await;
    let inbox = Inbox::connect(&url).await.unwrap();
    let log = Log::default();
    let worker = Running::start(&inbox, |worker| worker, log.writer());
    inbox.accept(&delivery::event("before")).await.unwrap();
    log.until(1).await;

    proxy.stop().await;
    let refused = "Connection refused";
    let hasty = inbox.clone().with_accept_timeout(Duration::from_secs(1));
    for _ in 0..2 {
        let error = hasty.accept(&delivery::event("e")).await.unwrap_err();
        let source = error.source().unwrap().to_string();
        assert!(source.contains(refused), "{source}");
    }
    let error = inbox.accept(&delivery::event("e")).await.unwrap_err();
    let source = error.source().unwrap().to_string();
    assert!(source.contains(refused), "{source}");
    assert_eq!(error.kind(), InboxErrorKind::Unavailable);

    proxy.start().await;
    inbox.accept(&delivery::event("after")).await.unwrap();
    log.until(2).await;
    worker.stop().await;
    for lost in [
        "deliveries are not accepted",
        "cannot reach the database; retrying",
    ] {
        let line = logged.line(lost);
        // The worker may have been in the middle of a turn.
        let cut = lost.starts_with("cannot reach") && line.contains("at EOF");
        assert!(
            line.contains("WARN") && (line.contains(refused) || cut),
            "{line}"
        );
    }
    for back in [
        "deliveries are accepted again",
        "reaches the database again",
    ] {
        let line = logged.line(back);
        assert!(line.contains("INFO") && line.contains(" after="), "{line}");
    }
}

/// The inbox's tasks run on this runtime's only thread, and so on the thread whose log is taken.
#[tokio::test]
async fn an_outage_of_sqlite_is_logged_once_and_so_is_its_end() {
    let (logged, _guard) = Logged::start();
    let database = Database::sqlite().await;
    let inbox = database.inbox().await;
    let log = Log::default();
    let worker = Running::start(&inbox, |worker| worker, log.writer());
    database
        .execute("ALTER TABLE ptolemy_inbox RENAME TO elsewhere")
        .await;
    for _ in 0..3 {
        inbox.accept(&delivery::event("e")).await.unwrap_err();
    }
    until("the worker has noticed", async || {
        !logged.lines("cannot reach").is_empty()
    })
    .await;
    database
        .execute("ALTER TABLE elsewhere RENAME TO ptolemy_inbox")
        .await;
    inbox.accept(&delivery::event("e")).await.unwrap();
    log.until(1).await;
    worker.stop().await;
    let gone = "no such table";
    assert!(logged.line("deliveries are not accepted").contains(gone));
    assert!(
        logged
            .line("cannot reach the database; retrying")
            .contains(gone)
    );
    logged.line("deliveries are accepted again");
    logged.line("reaches the database again");
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_pool_whose_connections_are_all_in_use_is_the_cause() {
    let database = Database::postgres().await;
    let options = PgPoolOptions::new().max_connections(1);
    let pool = options.connect(&database.url()).await.unwrap();
    let inbox = Inbox::from_postgres_pool(pool.clone()).await.unwrap();
    let held = pool.acquire().await.unwrap();
    let hasty = inbox.with_accept_timeout(Duration::from_secs(1));
    let error = hasty.accept(&delivery::event("e")).await.unwrap_err();
    let source = error.source().unwrap().to_string();
    assert_eq!(source, "all connections of the pool are in use");
    drop(held);
    hasty.accept(&delivery::event("e")).await.unwrap();
}

/// The driver would log the part of a password after a `?` as an ignored parameter.
#[tokio::test]
async fn nothing_of_a_url_is_logged_or_in_an_error() {
    let (logged, _guard) = Logged::start();
    for url in [
        "postgres://u:1?sesame@127.0.0.1:1/d",
        "postgres://u:1?sesame=x@127.0.0.1:1/d",
        "postgres://u:1#sesame@127.0.0.1:1/d",
        "postgres://u:sesame@127.0.0.1:1/d?channel_binding=sesame",
        "postgres://u:sesame@127.0.0.1:1/d?sslmode=sesame",
        "postgres://u:sesame@127.0.0.1:sesame/d",
        "postgres://u:%FFsesame@127.0.0.1:1/d",
        "sqlite://a.db?mode=sesame",
        "sqlite://a.db?sesame%20=1",
        "sqlite://%FF?mode=ro",
    ] {
        for opened in [Inbox::connect(url).await, Inbox::open_existing(url).await] {
            let error = opened.unwrap_err();
            let source = error.source().map(ToString::to_string);
            let text = format!("{error} {error:?} {source:?}");
            assert!(!text.contains("sesame"), "{text}");
        }
    }
    let text = logged.text();
    assert!(!text.contains("sesame"), "{text}");
}

/// Settings that are meant for people or for other programs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn settings_of_a_role_do_not_end_transactions_of_the_inbox() {
    let database = Database::postgres().await;
    drop(database.inbox().await);
    // Its own connection keeps the settings that it began with.
    let lock = Lock::take(&database).await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    for setting in [
        "lock_timeout = '20ms'",
        "statement_timeout = '150ms'",
        "idle_in_transaction_session_timeout = '50ms'",
        "synchronous_commit = local",
    ] {
        let set = format!("ALTER DATABASE {name} SET {setting}");
        database.execute(&set).await;
    }
    let inbox = database.inbox().await;
    let accept = {
        let inbox = inbox.clone();
        tokio::spawn(async move { inbox.accept(&delivery::event("e")).await })
    };
    tokio::time::sleep(Duration::from_millis(400)).await;
    lock.release().await;
    assert_eq!(accept.await.unwrap().unwrap(), Accepted::New);

    let worker = inbox.worker();
    let run = worker.run_in_postgres_transaction_until_idle(|_, _, tx| {
        Box::pin(async move {
            tx.execute("SELECT 1").await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            tx.execute("SELECT 2").await?;
            Ok(())
        })
    });
    run.await.unwrap();
    let once = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'done' AND attempts = 1";
    assert_eq!(database.number(once).await, 1);
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_setting_that_weakens_the_inbox_is_one_warning() {
    let database = Database::postgres().await;
    drop(database.inbox().await);
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let set = "SET default_transaction_read_only = on";
    database
        .execute(&format!("ALTER DATABASE {name} {set}"))
        .await;
    let (logged, _guard) = Logged::start();
    let inbox = database.inbox().await;
    let hasty = inbox.with_accept_timeout(Duration::from_millis(500));
    hasty.accept(&delivery::event("e")).await.unwrap_err();
    let line = logged.line("a setting of the server weakens the inbox");
    let setting = "setting=\"default_transaction_read_only\" value=\"on\"";
    assert!(line.contains("WARN") && line.contains(setting), "{line}");
}
