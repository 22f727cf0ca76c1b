//! Measures what shared commits gain, and whether the inbox stays fast when its table is large.
//!
//! ```sh
//! cargo bench -p ptolemy-webhooks-inbox --all-features --bench inbox [-- PART…]
//! ```
//!
//! | part | what is compared |
//! | --- | --- |
//! | `accept` | 64 senders with a shared commit, and with a commit for each delivery |
//! | `duplicate` | deliveries that are there already, and new ones |
//! | `claim` | a worker on a table with 1,000 waiting rows, and on large ones |
//! | `stats` | `Inbox::stats` on the same tables |
//! | `process` | a worker, and the loop that a user would write instead |
//! | `process-order`, `process-transactions` | the same with a worker in order, and with handlers in transactions |
//! | `vacuum` | a worker on PostgreSQL beside an idle transaction, and without one; also in order |
//!
//! Without a part, all of them run; with `sqlite` or `postgres` among the parts, only that engine.
//! The compared variants run in turn, and each ratio is within one round: the median, and in
//! brackets the minimum and the maximum. No time is asserted.
//!
//! The SQLite files go into the folder `PTOLEMY_INBOX_BENCH_DIR`, or one below `target`, which must
//! be on a disk. PostgreSQL is measured in databases that are created on the server
//! `PTOLEMY_INBOX_POSTGRES_URL`, and dropped at the end. `PTOLEMY_INBOX_BENCH_ROWS` sets how large
//! the large tables are: 1,000,000 rows unless set.

mod by_hand;
mod process;

use std::env;
use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ptolemy_webhooks::{Delivery, Secret, Signer, Verifier};
use ptolemy_webhooks_inbox::{Accepted, EventOrder, Failure, Inbox, sqlx};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PARTS: [&str; 8] = [
    "accept",
    "duplicate",
    "claim",
    "process",
    "process-order",
    "process-transactions",
    "stats",
    "vacuum",
];
const ENGINES: [&str; 2] = ["sqlite", "postgres"];

/// Lets each event of the one resource wait for the one before it.
const MARK_ALL: &str = "UPDATE ptolemy_inbox SET waits_for = marked.earlier
    FROM (SELECT id, lag(id) OVER (ORDER BY id) AS earlier FROM ptolemy_inbox
          WHERE resource = 'instrument' AND resource_id = 'one' AND finished_at IS NULL) AS marked
    WHERE ptolemy_inbox.id = marked.id AND marked.earlier IS NOT NULL
      AND ptolemy_inbox.state = 'waiting' AND ptolemy_inbox.waits_for IS NULL";
const SENDERS: usize = 64;
const ROUNDS: usize = 9;
/// How many deliveries the senders share in one round.
const DELIVERIES: usize = 2_048;
/// How many events a worker handles in one round, and the size of the small table.
const EVENTS: usize = 1_000;
const CONNECTIONS: u32 = 10;
/// How many events are handled beside a transaction that keeps the table from being vacuumed.
const VACUUM_EVENTS: usize = 100_000;

#[tokio::main]
async fn main() -> Result<()> {
    let (engines, mut parts): (Vec<String>, Vec<String>) = env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .partition(|arg| ENGINES.contains(&arg.as_str()));
    let wants = |engine: &str| engines.is_empty() || engines.iter().any(|wanted| wanted == engine);
    if parts.iter().any(|part| !PARTS.contains(&part.as_str())) {
        eprintln!(
            "usage: cargo bench --bench inbox [-- PART…], with PART one of {PARTS:?} or {ENGINES:?}"
        );
        std::process::exit(2);
    }
    if parts.is_empty() {
        parts.extend(PARTS.map(str::to_owned));
    }
    let rows = match env::var("PTOLEMY_INBOX_BENCH_ROWS") {
        Ok(rows) => rows.parse()?,
        Err(_) => 1_000_000,
    };

    let folder = Folder::create()?;
    println!(
        "SQLite {} in a folder on {}, where an fsync of 4 KiB takes {}",
        sqlite_version().await?,
        file_system(&folder.0)?,
        fsync(&folder.0)?
    );
    let mut servers = Vec::new();
    if wants("sqlite") {
        servers.push(Server::Sqlite(folder.0.clone()));
    }
    match env::var("PTOLEMY_INBOX_POSTGRES_URL") {
        _ if !wants("postgres") => {}
        Ok(url) => {
            let server = Server::Postgres(url);
            println!("PostgreSQL {}", server.settings().await?);
            servers.push(server);
        }
        Err(_) => println!("PostgreSQL is left out: PTOLEMY_INBOX_POSTGRES_URL is not set"),
    }
    for server in &servers {
        let has = |part: &str| parts.iter().any(|wanted| wanted == part);
        if has("accept") {
            accept(server).await?;
        }
        if has("duplicate") {
            duplicate(server).await?;
        }
        if has("vacuum") && matches!(server, Server::Postgres(_)) {
            for (resources, in_order) in [
                (Resources::Each, false),
                (Resources::Each, true),
                (Resources::Thousand, true),
            ] {
                vacuum(server, rows.min(VACUUM_EVENTS), resources, in_order).await?;
            }
        }
        for form in process::Form::ALL {
            if has(form.part()) {
                process::process(server, form).await?;
            }
        }
        if has("claim") || has("stats") {
            large(server, rows, has("claim"), has("stats")).await?;
        }
    }
    Ok(())
}

/// Group commit against a commit for each delivery.
async fn accept(server: &Server) -> Result<()> {
    println!(
        "\n{server}: accept, {SENDERS} senders, {DELIVERIES} deliveries in each of {ROUNDS} rounds"
    );
    let database = server.database().await?;
    let together = database.inbox().await?;
    let alone = database.inbox_for_each_sender(&together).await?;
    let mut source = Source::default();
    // The first round fills caches, and does not count.
    send(&together, source.next(DELIVERIES), SENDERS, is_new).await?;
    send_alone(&alone, source.next(DELIVERIES), is_new).await?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.push(send(&together, source.next(DELIVERIES), SENDERS, is_new).await?);
        without.push(send_alone(&alone, source.next(DELIVERIES), is_new).await?);
    }
    println!(
        "  with group commit     {} deliveries/s",
        Spread::rates(&with)
    );
    println!(
        "  without group commit  {} deliveries/s",
        Spread::rates(&without)
    );
    println!(
        "  times as fast         {:.1}",
        Spread::ratios(&without, &with)
    );
    database.drop().await
}

/// Duplicates against new deliveries.
async fn duplicate(server: &Server) -> Result<()> {
    println!("\n{server}: duplicates, {ROUNDS} rounds");
    let database = server.database().await?;
    let inbox = database.inbox().await?;
    let mut source = Source::default();
    for (senders, deliveries) in [(SENDERS, DELIVERIES), (1, DELIVERIES / 4)] {
        let (mut new, mut again) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let batch = source.next(deliveries);
            let times = (
                send(&inbox, batch.clone(), senders, is_new).await?,
                send(&inbox, batch, senders, is_duplicate).await?,
            );
            if round > 0 {
                new.push(times.0);
                again.push(times.1);
            }
        }
        println!(
            "  {senders} senders, new        {} deliveries/s",
            Spread::rates(&new)
        );
        println!(
            "  {senders} senders, duplicate  {} deliveries/s",
            Spread::rates(&again)
        );
        println!(
            "  {senders} senders, time of a duplicate over a new one  {:.2}",
            Spread::ratios(&again, &new)
        );
    }
    database.drop().await
}

fn is_new(accepted: &Accepted) -> bool {
    *accepted == Accepted::New
}

fn is_duplicate(accepted: &Accepted) -> bool {
    matches!(accepted, Accepted::Duplicate { .. })
}

/// Returns the time that this many senders take for these deliveries.
async fn send(
    inbox: &Inbox,
    deliveries: Arc<[Delivery]>,
    senders: usize,
    expected: fn(&Accepted) -> bool,
) -> Result<f64> {
    let inboxes = vec![inbox.clone(); senders];
    send_through(&inboxes, senders, deliveries, expected).await
}

/// Same as `send`, with a commit for each delivery: accepts that do not meet in one inbox share
/// none. On SQLite, which has one writer, they take turns in one inbox.
async fn send_alone(
    inboxes: &[Inbox],
    deliveries: Arc<[Delivery]>,
    expected: fn(&Accepted) -> bool,
) -> Result<f64> {
    if let [inbox] = inboxes {
        let inboxes = vec![inbox.clone(); SENDERS];
        return send_through(&inboxes, 1, deliveries, expected).await;
    }
    send_through(inboxes, inboxes.len(), deliveries, expected).await
}

/// Lets a task for each inbox send its part, this many at once; returns the time for each delivery.
async fn send_through(
    inboxes: &[Inbox],
    at_once: usize,
    deliveries: Arc<[Delivery]>,
    expected: fn(&Accepted) -> bool,
) -> Result<f64> {
    let turns = Arc::new(tokio::sync::Semaphore::new(at_once));
    let senders = inboxes.len();
    let mut tasks = JoinSet::new();
    let begin = Instant::now();
    for (sender, inbox) in inboxes.iter().cloned().enumerate() {
        let (deliveries, turns) = (deliveries.clone(), turns.clone());
        tasks.spawn(async move {
            for delivery in deliveries.iter().skip(sender).step_by(senders) {
                let _turn = turns.acquire().await?;
                let accepted = inbox.accept(delivery).await?;
                assert!(expected(&accepted), "{accepted:?}");
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(begin.elapsed().as_secs_f64() / deliveries.len() as f64)
}

/// Signed deliveries of about 1 KiB, no two alike.
#[derive(Default)]
struct Source(usize);

impl Source {
    fn next(&mut self, deliveries: usize) -> Arc<[Delivery]> {
        let secret = || Secret::new("whsec_test_secret").expect("a secret in the documented form");
        let (signer, verifier) = (Signer::new(&secret()), Verifier::new(secret()));
        (0..deliveries)
            .map(|_| {
                self.0 += 1;
                let body = format!(
                    r#"{{"id":"e{0}","event_type":"instrument.updated","data":{{"id":"i{0}","note":"{1}"}}}}"#,
                    self.0,
                    "x".repeat(940)
                );
                verifier
                    .receive(signer.sign(body.as_bytes()), body)
                    .expect("a signature of this moment")
            })
            .collect()
    }
}

/// The resources of rows. They only matter in order.
#[derive(Clone, Copy, PartialEq)]
enum Resources {
    /// Each row has another one.
    Each,
    Thousand,
    One,
}

/// A table of the part `claim`: how it was filled, and what it has.
struct Table {
    name: &'static str,
    database: Database,
    inbox: Inbox,
    /// Whether its rows are of one resource, which only matters in order.
    one_resource: bool,
}

/// A worker, and `stats`, on a small table and on large ones.
async fn large(server: &Server, rows: usize, claim: bool, stats: bool) -> Result<()> {
    println!("\n{server}: tables of {rows} rows, {ROUNDS} rounds of {EVENTS} events");
    let mut tables = Vec::new();
    for (name, state, many, resources) in [
        ("1,000 waiting", "waiting", 0, Resources::Each),
        ("many waiting", "waiting", rows, Resources::Each),
        ("1,000 waiting, many done", "done", rows, Resources::Each),
        (
            "1,000 waiting, many of one resource",
            "waiting",
            rows,
            Resources::One,
        ),
    ] {
        let database = server.database().await?;
        let inbox = database.inbox().await?;
        let begin = Instant::now();
        database.fill(many, state, resources).await?;
        database.fill(EVENTS, "waiting", Resources::Each).await?;
        println!("  filled in {:.0} s: {name}", begin.elapsed().as_secs_f64());
        tables.push(Table {
            name,
            database,
            inbox,
            one_resource: resources == Resources::One,
        });
    }
    let phases = [("as it was filled", false), ("after ANALYZE", true)];
    for (phase, analyze) in phases {
        if analyze {
            for table in &tables {
                table.database.analyze().await?;
            }
        }
        if stats {
            stats_of(&tables, phase).await?;
        }
        for in_order in [false, true] {
            if claim && in_order && !analyze {
                mark(&tables).await?;
            }
            if claim {
                take_of(&tables, phase, in_order).await?;
                for concurrency in [8, 64] {
                    claim_of(&tables, phase, concurrency, in_order).await?;
                }
            }
        }
    }
    for table in tables {
        table.database.drop().await?;
    }
    Ok(())
}

/// Two tables of the same size, one of them beside an idle transaction, handled in turn.
async fn vacuum(server: &Server, rows: usize, resources: Resources, in_order: bool) -> Result<()> {
    let order = match (in_order, resources) {
        (false, _) => "",
        (true, Resources::Thousand) => " in order, of 1,000 resources",
        (true, _) => " in order",
    };
    println!(
        "\n{server}: {rows} waiting, 8 at a time{order}, with and without an idle transaction"
    );
    let (held, free) = (server.database().await?, server.database().await?);
    let inboxes = [held.inbox().await?, free.inbox().await?];
    for database in [&held, &free] {
        database.fill(rows, "waiting", resources).await?;
        database.analyze().await?;
    }
    let Database::Postgres { pool, .. } = &held else {
        return Ok(());
    };
    let mut idle = pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await?;
    sqlx::query("SELECT count(*) FROM ptolemy_inbox_settings")
        .execute(&mut *idle)
        .await?;
    let part = rows / 10;
    // Each time a few more are handled, so the last tenth would not suffice.
    for number in 1..10 {
        let (held, _) = work(&inboxes[0], 8, in_order, part).await?;
        let (free, _) = work(&inboxes[1], 8, in_order, part).await?;
        println!(
            "  {:>7} handled: {:>6.0} and {:>6.0} a second, {:.2}",
            number * part,
            1.0 / held,
            1.0 / free,
            free / held
        );
    }
    drop(idle);
    held.drop().await?;
    free.drop().await
}

/// The first time that a worker goes through the rows of one resource, it marks them.
async fn mark(tables: &[Table]) -> Result<()> {
    for table in tables.iter().filter(|table| table.one_resource) {
        let begin = Instant::now();
        let mut handled = 0;
        // Those of other resources come last.
        while table.database.others_waiting().await? > 0 {
            handled += work(&table.inbox, 64, true, 64).await?.1;
        }
        println!(
            "  in order, many of one resource, before those of others are all handled: {:.1} s, {handled} events",
            begin.elapsed().as_secs_f64()
        );
        // The workers would mark the others in many more turns.
        table.database.run(MARK_ALL.to_owned()).await?;
        table
            .database
            .fill(EVENTS, "waiting", Resources::Each)
            .await?;
    }
    Ok(())
}

/// Events are taken and given back without being handled.
async fn take_of(tables: &[Table], phase: &str, in_order: bool) -> Result<()> {
    let order = if in_order { ", in order" } else { "" };
    println!("  {phase}, taken and not handled{order}");
    let mut times = vec![Vec::new(); tables.len()];
    for round in 0..=ROUNDS {
        for (table, times) in tables.iter().zip(&mut times) {
            if table.one_resource && !in_order {
                continue;
            }
            let time = take(&table.inbox, in_order, EVENTS).await?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    report(tables, &times);
    Ok(())
}

async fn claim_of(tables: &[Table], phase: &str, concurrency: usize, in_order: bool) -> Result<()> {
    let order = if in_order { ", in order" } else { "" };
    println!("  {phase}, {concurrency} at a time{order}");
    let mut times = vec![Vec::new(); tables.len()];
    for round in 0..=ROUNDS {
        for (table, times) in tables.iter().zip(&mut times) {
            if table.one_resource && !in_order {
                continue;
            }
            let (time, handled) = work(&table.inbox, concurrency, in_order, EVENTS).await?;
            table
                .database
                .fill(handled, "waiting", Resources::Each)
                .await?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    report(tables, &times);
    Ok(())
}

async fn stats_of(tables: &[Table], phase: &str) -> Result<()> {
    println!("  {phase}, stats");
    let mut times = vec![Vec::new(); tables.len()];
    for round in 0..=ROUNDS {
        for (table, times) in tables.iter().zip(&mut times) {
            let begin = Instant::now();
            table.inbox.stats().await?;
            if round > 0 {
                times.push(begin.elapsed().as_secs_f64());
            }
        }
    }
    report(tables, &times);
    Ok(())
}

/// Prints the times, and their ratios to those of the first table.
fn report(tables: &[Table], times: &[Vec<f64>]) {
    for (table, these) in tables.iter().zip(times) {
        if !these.is_empty() {
            println!(
                "    {:36} {:>8.0} µs   {:.2}",
                table.name,
                median(these) * 1e6,
                Spread::ratios(these, &times[0])
            );
        }
    }
}

fn order_of(in_order: bool) -> EventOrder {
    if in_order {
        EventOrder::ByResource
    } else {
        EventOrder::AsDue
    }
}

/// Lets a worker take this many events and give them back; returns the time for each until all were
/// taken.
async fn take(inbox: &Inbox, in_order: bool, events: usize) -> Result<f64> {
    let taken = Arc::new(AtomicUsize::new(0));
    let (enough, all) = tokio::sync::oneshot::channel::<()>();
    let enough = Mutex::new(Some(enough));
    let begin = Instant::now();
    let time = Arc::new(OnceLock::new());
    let ended = time.clone();
    inbox.set_order(order_of(in_order)).await?;
    let worker = inbox
        .worker()
        .concurrency(events)
        .shutdown_timeout(Duration::ZERO)
        .graceful_shutdown(async move {
            let _ = all.await;
            let _ = ended.set(begin.elapsed());
        });
    worker
        .run(move |_, _| {
            if taken.fetch_add(1, Ordering::Relaxed) + 1 == events {
                enough.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
            std::future::pending::<std::result::Result<(), Failure>>()
        })
        .await;
    let time = time.get().ok_or("the worker stopped by itself")?;
    Ok(time.as_secs_f64() / events as f64)
}

/// Lets a worker handle this many events; returns the time for each, and how many it has handled.
async fn work(
    inbox: &Inbox,
    concurrency: usize,
    in_order: bool,
    events: usize,
) -> Result<(f64, usize)> {
    let handled = Arc::new(AtomicUsize::new(0));
    let enough = Arc::new(Notify::new());
    let stop = enough.clone();
    inbox.set_order(order_of(in_order)).await?;
    let worker = inbox
        .worker()
        .concurrency(concurrency)
        .graceful_shutdown(async move { stop.notified().await });
    let count = handled.clone();
    let begin = Instant::now();
    worker
        .run(move |_, _| {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == events {
                enough.notify_one();
            }
            std::future::ready(Ok::<(), Failure>(()))
        })
        .await;
    let handled = handled.load(Ordering::Relaxed);
    Ok((begin.elapsed().as_secs_f64() / handled as f64, handled))
}

/// The behaviour of a handler.
#[derive(Clone, Copy, Debug)]
enum Handler {
    Nothing,
    Takes(Duration),
}

impl Handler {
    async fn handle(self) {
        if let Self::Takes(time) = self {
            tokio::time::sleep(time).await;
        }
    }
}

/// Where databases are created.
enum Server {
    Sqlite(PathBuf),
    Postgres(String),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        })
    }
}

impl Server {
    async fn settings(&self) -> Result<String> {
        let Self::Postgres(url) = self else {
            return Ok(String::new());
        };
        Ok(sqlx::query_scalar(
            "SELECT string_agg(setting, ', ') FROM (
                 SELECT current_setting('server_version') AS setting
                 UNION ALL SELECT name || ' ' || current_setting(name)
                 FROM unnest(ARRAY['fsync', 'synchronous_commit', 'wal_sync_method', 'shared_buffers'])
                      AS name) AS settings",
        )
        .fetch_one(&mut PgConnection::connect(url).await?)
        .await?)
    }

    async fn database(&self) -> Result<Database> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let name = format!("ptolemy_bench_{}_{}", std::process::id(), since.as_nanos());
        match self {
            Self::Sqlite(folder) => Ok(Database::Sqlite(folder.join(format!("{name}.db")))),
            Self::Postgres(server) => {
                execute(server, format!("CREATE DATABASE {name}")).await?;
                let (base, _) = server.rsplit_once('/').ok_or("a URL without a database")?;
                let pool = PgPoolOptions::new()
                    .max_connections(CONNECTIONS)
                    .connect(&format!("{base}/{name}"))
                    .await?;
                Ok(Database::Postgres {
                    server: server.clone(),
                    name,
                    pool,
                })
            }
        }
    }
}

async fn execute(server: &str, sql: String) -> Result<()> {
    let mut connection = PgConnection::connect(server).await?;
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await?;
    Ok(())
}

enum Database {
    Sqlite(PathBuf),
    Postgres {
        server: String,
        name: String,
        pool: PgPool,
    },
}

impl Database {
    async fn inbox(&self) -> Result<Inbox> {
        Ok(match self {
            Self::Sqlite(file) => Inbox::connect(&format!("sqlite://{}", file.display())).await?,
            Self::Postgres { pool, .. } => Inbox::from_postgres_pool(pool.clone()).await?,
        })
    }

    /// An inbox for each sender on PostgreSQL; the same one on SQLite.
    async fn inbox_for_each_sender(&self, inbox: &Inbox) -> Result<Vec<Inbox>> {
        let mut inboxes = vec![inbox.clone()];
        if let Self::Postgres { .. } = self {
            while inboxes.len() < SENDERS {
                inboxes.push(self.inbox().await?);
            }
        }
        Ok(inboxes)
    }

    /// Adds rows of these resources.
    async fn fill(&self, rows: usize, state: &str, resources: Resources) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let resource_id = match resources {
            Resources::Each => "key",
            Resources::Thousand => "'r' || (i % 1000)",
            Resources::One => "'one'",
        };
        // Keys are hashes, in no order, as real ones are. Times are in the past, a row each
        // millisecond.
        let (time, numbers, key, blob) = match self {
            Self::Sqlite(_) => (
                format!(
                    "strftime('%Y-%m-%dT%H:%M:%fZ', unixepoch('now') - 3600 + (i - {rows}) / 1000.0, 'unixepoch')"
                ),
                format!(
                    "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {rows}), keys AS MATERIALIZED (SELECT i, lower(hex(randomblob(32))) AS key FROM numbers)"
                ),
                "'sha256:' || key",
                ["CAST(", " AS BLOB)"],
            ),
            Self::Postgres { .. } => (
                format!(
                    "date_trunc('second', now()) - interval '1 hour' + (i - {rows}) * interval '1 millisecond'"
                ),
                format!(
                    "WITH keys AS MATERIALIZED (SELECT i, encode(sha256(random()::text::bytea), 'hex') AS key FROM generate_series(1, {rows}) AS i)"
                ),
                "'sha256:' || key",
                ["convert_to(", ", 'UTF8')"],
            ),
        };
        let done = state == "done";
        let finished = if done { time.as_str() } else { "NULL" };
        let sql = format!(
            r#"INSERT INTO ptolemy_inbox
                   (dedup_key, state, event_type, event_id, resource, resource_id, received_at, run_at, written_at,
                    attempts, started_at, finished_at, body)
               {numbers}
               SELECT {key}, '{state}', 'instrument.updated', 'e' || i, 'instrument', {resource_id}, {time}, {time}, {time},
                      {attempts}, {finished}, {finished},
                      {}'{{"id":"e' || i || '","event_type":"instrument.updated","data":{{"id":"' || {resource_id} || '"}}}}'{}
               FROM keys ORDER BY i"#,
            blob[0],
            blob[1],
            attempts = u8::from(done),
        );
        self.run(sql).await?;
        if let Self::Sqlite(_) = self {
            self.run("PRAGMA wal_checkpoint(TRUNCATE)".to_owned())
                .await?;
        }
        Ok(())
    }

    async fn analyze(&self) -> Result<()> {
        match self {
            Self::Sqlite(_) => self.run("ANALYZE".to_owned()).await,
            Self::Postgres { .. } => {
                self.run("VACUUM ANALYZE ptolemy_inbox".to_owned()).await?;
                self.run("CHECKPOINT".to_owned()).await
            }
        }
    }

    /// How many events wait that are not of the one resource.
    async fn others_waiting(&self) -> Result<i64> {
        let sql = "SELECT count(*) FROM ptolemy_inbox
                   WHERE state = 'waiting' AND resource_id IS NOT NULL
                     AND resource = 'instrument' AND (resource_id < 'one' OR resource_id > 'one')";
        Ok(match self {
            Self::Sqlite(file) => {
                sqlx::query_scalar(sql)
                    .fetch_one(&mut Self::connection(file).await?)
                    .await?
            }
            Self::Postgres { pool, .. } => sqlx::query_scalar(sql).fetch_one(pool).await?,
        })
    }

    async fn run(&self, sql: String) -> Result<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Sqlite(file) => {
                sql.execute(&mut Self::connection(file).await?).await?;
            }
            Self::Postgres { pool, .. } => {
                sql.execute(pool).await?;
            }
        }
        Ok(())
    }

    async fn connection(file: &Path) -> Result<SqliteConnection> {
        Ok(SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await?)
    }

    async fn drop(self) -> Result<()> {
        match self {
            Self::Sqlite(file) => {
                for end in ["", "-wal", "-shm"] {
                    let _ = fs::remove_file(format!("{}{end}", file.display()));
                }
                Ok(())
            }
            Self::Postgres { server, name, pool } => {
                pool.close().await;
                execute(&server, format!("DROP DATABASE {name}")).await
            }
        }
    }
}

/// A new folder, which is removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        let base = env::var_os("PTOLEMY_INBOX_BENCH_DIR")
            .map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
        let folder = base.join(format!("inbox-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder.canonicalize()?))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The kind of file system that a folder is on.
fn file_system(folder: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let kind = mounts
        .lines()
        .filter_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let point = mount.split(' ').nth(4)?;
            let kind = system.split(' ').next()?;
            folder.starts_with(point).then_some((point.len(), kind))
        })
        // Of two mounts on one folder, the later covers the earlier.
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind.to_owned())
        .ok_or("the folder is on no file system")?;
    if matches!(kind.as_str(), "tmpfs" | "ramfs") {
        return Err(format!(
            "{} is in memory: set PTOLEMY_INBOX_BENCH_DIR",
            folder.display()
        )
        .into());
    }
    Ok(kind)
}

fn fsync(folder: &Path) -> Result<String> {
    let mut file = File::create(folder.join("fsync"))?;
    let mut times = Vec::new();
    for _ in 0..100 {
        file.write_all(&[b'x'; 4096])?;
        let begin = Instant::now();
        file.sync_data()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok(format!("{:?}", Duration::from_secs_f64(median(&times))))
}

async fn sqlite_version() -> Result<String> {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await?;
    Ok(sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await?)
}

/// The median, the minimum and the maximum of some numbers.
struct Spread {
    median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    fn of(numbers: &[f64]) -> Self {
        Self {
            median: median(numbers),
            least: numbers.iter().copied().fold(f64::INFINITY, f64::min),
            greatest: numbers.iter().copied().fold(0.0, f64::max),
        }
    }

    fn ratios(over: &[f64], under: &[f64]) -> Self {
        let ratios: Vec<_> = over.iter().zip(under).map(|(a, b)| a / b).collect();
        Self::of(&ratios)
    }

    /// How many in a second.
    fn rates(times: &[f64]) -> String {
        let rates: Vec<_> = times.iter().map(|time| 1.0 / time).collect();
        format!("{:.0}", Self::of(&rates))
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.median, f)?;
        f.write_str(" (")?;
        fmt::Display::fmt(&self.least, f)?;
        f.write_str(" to ")?;
        fmt::Display::fmt(&self.greatest, f)?;
        f.write_str(")")
    }
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
