//! Failover on real servers: load through a proxy, the primary killed, the standby promoted, and
//! the proxy led to it. `tests/failover ROUNDS` runs it more often.

use std::collections::HashSet;
use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ptolemy_webhooks_inbox::Inbox;
use ptolemy_webhooks_inbox::sqlx::{self, Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::delivery;
use crate::proxy::Proxy;
use crate::workers::{quick, until};

const SENDERS: usize = 4;

struct Server(PathBuf);

impl Server {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ptolemy-failover-{}-{number}", std::process::id());
        Self(env::temp_dir().join(name))
    }

    fn run(&self, action: &str, of: Option<&Self>) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
        let mut command = Command::new(script);
        command.arg(action).arg(&self.0);
        if let Some(of) = of {
            command.arg(&of.0);
        }
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{action}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("stop", None);
    }
}

/// The acknowledged events, and the time of the last acknowledgement.
#[derive(Default)]
struct Ledger {
    acknowledged: Mutex<Vec<(String, Instant)>>,
    /// How many accepts failed.
    failed: AtomicU32,
    stop: AtomicBool,
}

/// Sends as Ptolemy does, with retries until each delivery is acknowledged.
async fn send(inbox: Inbox, ledger: Arc<Ledger>, sender: usize) {
    for number in 0.. {
        let id = format!("{sender}-{number}");
        let delivery = delivery::event(&id);
        while inbox.accept(&delivery).await.is_err() {
            ledger.failed.fetch_add(1, Ordering::Relaxed);
            if ledger.stop.load(Ordering::Relaxed) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let acknowledged = (id, Instant::now());
        ledger.acknowledged.lock().unwrap().push(acknowledged);
        if ledger.stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// In every second round the primary's host vanishes too: its connections are not even closed.
async fn fail_over(round: u32) {
    let host_is_gone = round % 2 == 1;
    let (primary, standby) = (Server::new(), Server::new());
    let primary_url = primary.run("start", None);
    let standby_url = standby.run("follow", Some(&primary));
    let (proxy, url) = Proxy::before(&primary_url).await;
    let inbox = Inbox::connect(&url).await.unwrap();
    let mut connection = PgConnection::connect(&primary_url).await.unwrap();
    let create = "CREATE TABLE handled (key TEXT)";
    connection.execute(create).await.unwrap();

    let worker = quick(&inbox).lease(Duration::from_secs(5)).concurrency(8);
    let worker = tokio::spawn(worker.run_in_postgres_transaction(|_, attempt, tx| {
        Box::pin(async move {
            sqlx::query("INSERT INTO handled VALUES ($1)")
                .bind(attempt.dedup_key().to_owned())
                .execute(tx)
                .await?;
            Ok(())
        })
    }));
    let ledger = Arc::new(Ledger::default());
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        senders.spawn(send(inbox.clone(), ledger.clone(), sender));
    }
    sleep(Duration::from_millis(1_500)).await;

    let killed = Instant::now();
    if host_is_gone {
        proxy.forget_connections();
    }
    primary.run("kill", None);
    standby.run("promote", None);
    proxy.lead_to(&standby_url);
    let led = Instant::now();
    until("accepting again", async || {
        let acknowledged = ledger.acknowledged.lock().unwrap();
        acknowledged.last().is_some_and(|(_, at)| *at > led)
    })
    .await;
    sleep(Duration::from_secs(1)).await;
    ledger.stop.store(true, Ordering::Relaxed);
    senders.join_all().await;

    let mut connection = PgConnection::connect(&standby_url).await.unwrap();
    let acknowledged = ledger.acknowledged.lock().unwrap().clone();
    let again = acknowledged
        .iter()
        .map(|(_, at)| *at)
        .filter(|at| *at > led);
    let again = again.min().unwrap();
    let begin = Instant::now();
    let left = loop {
        let sql = "SELECT count(*) FROM ptolemy_inbox WHERE state <> 'done'";
        let left: i64 = sqlx::query_scalar(sql)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        if left == 0 || begin.elapsed() > Duration::from_secs(60) {
            break left;
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(left, 0, "not all is done");
    let handled: Vec<String> = sqlx::query_scalar("SELECT key FROM handled")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let ids: Vec<String> = sqlx::query_scalar("SELECT event_id FROM ptolemy_inbox")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let ids: HashSet<_> = ids.into_iter().collect();
    let lost = acknowledged.iter().filter(|(id, _)| !ids.contains(id));
    let lost = lost.count();
    let once: HashSet<_> = handled.iter().collect();
    let doubled = handled.len() - once.len();
    println!(
        "round {round}, {}: {} acknowledged, {lost} lost, {} handled, {doubled} twice, {} accepts \
         failed; accepting again {:.2?} after the kill, {:.2?} after the proxy led to the new primary",
        if host_is_gone {
            "the host gone"
        } else {
            "the server killed"
        },
        acknowledged.len(),
        handled.len(),
        ledger.failed.load(Ordering::Relaxed),
        again - killed,
        again - led,
    );
    assert_eq!((lost, doubled), (0, 0));
    assert_eq!(once.len(), ids.len());
    worker.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn a_standby_that_takes_over_has_all_that_was_acknowledged() {
    let rounds = env::var("PTOLEMY_INBOX_FAILOVER_ROUNDS");
    let rounds = rounds.map_or(1, |rounds| rounds.parse().expect("a number of rounds"));
    for round in 0..rounds {
        fail_over(round).await;
    }
}
