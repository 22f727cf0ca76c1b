//! PgBouncer, in Debian's version, between the inbox and the server.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ptolemy_webhooks_inbox::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use ptolemy_webhooks_inbox::sqlx::{self, Executor as _};
use ptolemy_webhooks_inbox::{Accepted, EventOrder, Failure, Inbox};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::delivery;
use crate::workers::{Log, Running};

struct Pooler {
    folder: PathBuf,
    url: String,
}

fn run(arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pgbouncer");
    let output = Command::new(script).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Pooler {
    fn before(database: &Database, settings: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ptolemy-pooler-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let url = database.url();
        let (start, rest) = url.split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let mut arguments = vec!["start", folder.to_str().unwrap(), server];
        arguments.extend(settings);
        let address = run(&arguments);
        let url = format!("{start}@{address}/{name}");
        Self { folder, url }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        run(&["stop", self.folder.to_str().unwrap()]);
    }
}

/// All operations of an inbox, by two inboxes at the same time.
async fn everything_works(database: &Database, inboxes: [Inbox; 2]) {
    inboxes[0].set_order(EventOrder::ByResource).await.unwrap();
    let mut accepts = JoinSet::new();
    for number in 0..200 {
        let inbox = inboxes[number % 2].clone();
        let (id, of) = (format!("e{}", number / 2), format!("of {}", number / 2 % 7));
        let delivery = delivery::change(&id, &of);
        accepts.spawn(async move { inbox.accept(&delivery).await.unwrap() });
    }
    let accepted = accepts.join_all().await;
    let new = accepted.iter().filter(|one| **one == Accepted::New);
    assert_eq!(new.count(), 100);

    let log = Log::default();
    let workers = inboxes
        .clone()
        .map(|inbox| Running::start(&inbox, |worker| worker.concurrency(4), log.writer()));
    log.until(100).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(database.states().await, ["done"; 100]);

    for inbox in &inboxes {
        inbox.accept(&delivery::event("dead")).await.unwrap();
        let fail = |_, _| async { Err(Failure::permanent("no")) };
        inbox.worker().run_until_idle(fail).await;
        let dead = inbox.dead_letters();
        let page = dead.page(None, 10).await.unwrap();
        assert!(dead.body(page[0].id).await.unwrap().is_some());
        assert_eq!(dead.replay_all().await.unwrap(), 1);
        assert_eq!(inbox.stats().await.unwrap().waiting(), 1);
        assert_eq!(inbox.order().await.unwrap(), EventOrder::ByResource);
        inbox.prune(Duration::from_secs(3_600)).await.unwrap();
    }

    // Handlers' own statements, without names.
    let worker = inboxes[1].worker().concurrency(2);
    let run = worker.run_in_postgres_transaction_until_idle(|_, attempt, tx| {
        Box::pin(async move {
            let key = attempt.dedup_key().to_owned();
            sqlx::query("INSERT INTO handled VALUES ($1)")
                .bind(key)
                .persistent(false)
                .execute(tx)
                .await?;
            Ok(())
        })
    });
    run.await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM handled").await, 1);
    let left = "SELECT count(*) FROM ptolemy_inbox WHERE state <> 'done'";
    assert_eq!(database.number(left).await, 0);
}

async fn database() -> Database {
    let database = Database::postgres().await;
    database.execute("CREATE TABLE handled (key TEXT)").await;
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pgbouncer"]
async fn an_inbox_works_behind_pgbouncer_as_it_is_installed() {
    let database = database().await;
    let pooler = Pooler::before(&database, &[]);
    let inbox = async || Inbox::connect(&pooler.url).await.unwrap();
    everything_works(&database, [inbox().await, inbox().await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pgbouncer"]
async fn an_inbox_works_behind_pgbouncer_in_transaction_mode() {
    // Few connections to the server, so that those of the inboxes share each of them.
    for size in ["default_pool_size=1", "default_pool_size=3"] {
        let database = database().await;
        let pooler = Pooler::before(&database, &["pool_mode=transaction", size]);
        let inbox = async || Inbox::connect(&pooler.url).await.unwrap();
        everything_works(&database, [inbox().await, inbox().await]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pgbouncer"]
async fn pools_of_users_work_behind_pgbouncer_in_transaction_mode() {
    let database = database().await;
    let settings = ["pool_mode=transaction", "default_pool_size=3"];
    let pooler = Pooler::before(&database, &settings);
    let inbox = async || {
        let options: PgConnectOptions = pooler.url.parse().unwrap();
        let options = options.extra_float_digits(None);
        let pool = PgPoolOptions::new().connect_with(options).await.unwrap();
        Inbox::from_postgres_pool(pool).await.unwrap()
    };
    everything_works(&database, [inbox().await, inbox().await]).await;
}

/// Others keep the pooler busy while an inbox detects it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pgbouncer"]
async fn a_pooler_in_transaction_mode_is_found_out_while_it_is_busy() {
    let database = database().await;
    let settings = ["pool_mode=transaction", "default_pool_size=5"];
    let pooler = Pooler::before(&database, &settings);
    let options: PgConnectOptions = pooler.url.parse().unwrap();
    let options = options.extra_float_digits(None);
    let pool = PgPoolOptions::new().max_connections(8);
    let pool = pool.connect_with(options).await.unwrap();
    let mut others = JoinSet::new();
    for _ in 0..8 {
        let pool = pool.clone();
        others.spawn(async move {
            loop {
                let _ = pool.execute("SELECT pg_sleep(0.002)").await;
            }
        });
    }
    for _ in 0..5 {
        let inbox = Inbox::connect(&pooler.url).await.unwrap();
        inbox.accept(&delivery::event("e")).await.unwrap();
    }
    // No statement was prepared in a process of the server that has a name.
    let mut named = 0;
    for _ in 0..20 {
        let row =
            pool.fetch_one("SELECT count(*)::text FROM pg_prepared_statements WHERE name <> ''");
        let count: String = sqlx::Row::get(&row.await.unwrap(), 0);
        named += count.parse::<u32>().unwrap();
    }
    assert_eq!(named, 0);
    others.shutdown().await;
}
