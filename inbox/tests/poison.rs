//! Events that end their process, for real: a program that aborts, runs out of memory or is killed
//! by a signal is restarted until all events have ended, and no other event is dead.
//!
//! `PTOLEMY_INBOX_POISON=all` tries each way with 1 to 4 of 100 events, 64 at a time, on both
//! engines; without it one event aborts among 20 on SQLite. The program is this one, started with a
//! URL.
#![cfg(unix)]

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ptolemy_webhooks::Event;
use ptolemy_webhooks_inbox::{Failure, Inbox};
use tokio::runtime::Runtime;

// Shared with the suite, which needs more of them.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "suite/database.rs"]
mod database;
#[allow(dead_code)]
#[path = "suite/delivery.rs"]
mod delivery;

use database::Database;

const URL: &str = "PTOLEMY_INBOX_POISON_URL";
const WAY: &str = "PTOLEMY_INBOX_POISON_WAY";
const CONCURRENCY: &str = "PTOLEMY_INBOX_POISON_CONCURRENCY";

const MAX_ATTEMPTS: u32 = 2;

fn main() {
    if let Ok(url) = env::var(URL) {
        return Runtime::new().unwrap().block_on(child(&url));
    }
    if env::var("PTOLEMY_INBOX_POISON").is_ok_and(|which| which == "all") {
        for way in ["abort", "memory", "kill"] {
            for poisons in 1..=4 {
                trial(Database::sqlite, way, poisons, 100, 64);
                trial(Database::postgres, way, poisons, 100, 64);
            }
        }
    } else {
        trial(Database::sqlite, "abort", 1, 20, 16);
    }
}

/// Handles events until all have ended or one of them ends the process.
async fn child(url: &str) {
    let way = env::var(WAY).unwrap();
    let concurrency = env::var(CONCURRENCY).unwrap().parse().unwrap();
    let inbox = Inbox::connect(url).await.unwrap();
    let worker = inbox
        .worker()
        .concurrency(concurrency)
        .lease(Duration::from_secs(1))
        .poll_interval(Duration::from_millis(50))
        .backoff(Duration::from_millis(10), Duration::from_millis(20))
        .max_attempts(MAX_ATTEMPTS);
    let handler = move |event: Event, _| {
        let way = way.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if event.id.unwrap().starts_with("poison") {
                end(&way);
            }
            Ok::<(), Failure>(())
        }
    };
    tokio::spawn(worker.run(handler));
    loop {
        let stats = inbox.stats().await.unwrap();
        if stats.waiting() + stats.running == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn end(way: &str) {
    match way {
        "abort" => std::process::abort(),
        // More than the limit under which it was started.
        "memory" => drop(std::hint::black_box(vec![1_u8; 64 << 30])),
        "kill" => {
            let id = std::process::id().to_string();
            let _ = Command::new("kill").args(["-KILL", &id]).status();
        }
        way => panic!("{way} is no way to end"),
    }
    std::thread::sleep(Duration::from_secs(10));
    panic!("it did not end");
}

/// Starts the program again until all events have ended.
fn trial<F>(database: impl FnOnce() -> F, way: &str, poisons: u32, events: u32, concurrency: u32)
where
    F: Future<Output = Database>,
{
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(database());
    runtime.block_on(async {
        let inbox = database.inbox().await;
        for number in 0..events {
            // Spread over the queue.
            let is_poison = number % (events / poisons) == events / poisons / 2;
            let name = if is_poison { "poison" } else { "good" };
            let id = format!("{name}-{number}");
            inbox.accept(&delivery::event(&id)).await.unwrap();
        }
    });
    let begin = Instant::now();
    let mut ends = 0;
    while !start(&database.url(), way, concurrency).success() {
        ends += 1;
        assert!(ends < 100, "it does not end");
    }
    let count = |sql: &str| {
        let sql = format!("SELECT count(*) FROM ptolemy_inbox WHERE {sql}");
        runtime.block_on(database.number(&sql))
    };
    let engine = if database.is_sqlite() {
        "SQLite"
    } else {
        "PostgreSQL"
    };
    println!(
        "{engine}, {way}, {poisons} of {events}, {concurrency} at a time: ended {ends} times, {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    let good = i64::from(events - poisons);
    assert_eq!(count("state = 'done' AND event_id LIKE 'good%'"), good);
    assert_eq!(
        count("state = 'dead' AND event_id LIKE 'poison%'"),
        i64::from(poisons)
    );
    // Each end, except those of an event that ran alone, halves a group; groups that end well let
    // the next one be larger again.
    let halvings = f64::from(concurrency).log2().ceil() as u32 + 1;
    assert!(ends <= poisons * (2 * halvings + MAX_ATTEMPTS), "{ends}");
}

fn start(url: &str, way: &str, concurrency: u32) -> ExitStatus {
    let program = env::current_exe().unwrap();
    let mut command = Command::new("sh");
    // 32 GiB of address space; no core is dumped.
    command
        .args(["-c", "ulimit -c 0; ulimit -v 33554432; exec \"$0\""])
        .arg(program)
        .env(URL, url)
        .env(WAY, way)
        .env(CONCURRENCY, concurrency.to_string())
        // It would take longer than the other events.
        .env("RUST_BACKTRACE", "0")
        .stderr(Stdio::null());
    let status = command.status().unwrap();
    let wanted = if way == "kill" { 9 } else { 6 };
    assert!(
        status.success() || status.signal() == Some(wanted),
        "{status}"
    );
    status
}
