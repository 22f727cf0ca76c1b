//! Kills and stops receiver processes in the middle of their work: every acknowledged event is
//! handled, and in transactions exactly once.
//!
//! `tests/kill ROUNDS` builds and runs all of it; without the script, the last built receiver is
//! used. The printed seed repeats the times of the kills, but not how the processes were scheduled.
#![cfg(unix)]

// Shared with the suite, which needs more of it.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "suite/database.rs"]
mod database;
// Shared with `durable_receiver`, which needs more of it.
#[allow(dead_code)]
mod process;

use std::collections::{HashMap, HashSet};
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use database::Database;
use process::load::{Random, Record, Senders};
use process::{Connection, Lines, Process, command, start_and_kill, until};
use ptolemy_webhooks_inbox::{Inbox, Stats};
use tokio::runtime::Runtime;

const SENDERS: usize = 4;

/// How often a process is killed or stopped in each test.
fn rounds() -> u64 {
    match env::var("PTOLEMY_INBOX_KILL_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("PTOLEMY_INBOX_KILL_ROUNDS: a number"),
        Err(_) => 3,
    }
}

/// A separate database for the test, and its queries.
struct Store {
    database: Database,
    runtime: Runtime,
}

impl Store {
    fn sqlite() -> Self {
        let runtime = Runtime::new().unwrap();
        let database = runtime.block_on(Database::sqlite());
        Self { database, runtime }
    }

    fn postgres() -> Self {
        let runtime = Runtime::new().unwrap();
        let database = runtime.block_on(Database::postgres());
        Self { database, runtime }
    }

    fn url(&self) -> String {
        self.database.url()
    }

    fn number(&self, sql: &str) -> i64 {
        self.runtime.block_on(self.database.number(sql))
    }

    fn texts(&self, sql: &str) -> Vec<String> {
        self.runtime.block_on(self.database.texts(sql))
    }

    /// How many events are in this state.
    fn count(&self, state: &str) -> i64 {
        self.number(&format!(
            "SELECT count(*) FROM ptolemy_inbox WHERE state = '{state}'"
        ))
    }

    fn wait_until_all_is_done(&self) {
        until("all is done", || {
            self.number("SELECT count(*) FROM ptolemy_inbox WHERE state IN ('waiting', 'running')")
                == 0
        });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    Prints,
    WritesInTransactions,
}

/// A command with its standard output in the file.
fn printing(database: &str, handler: Handler, lines: &Lines, arguments: &str) -> Command {
    let mut command = command(database);
    command
        .args(arguments.split_whitespace())
        .stdout(lines.file());
    if handler == Handler::WritesInTransactions {
        command.arg("--in-transaction");
    }
    command
}

/// Figures that the final states of the events do not show.
struct Figures {
    /// How many events were handled more than once.
    repeated: usize,
    /// How many events were attempted more than once.
    /// Events whose attempt failed, or that were alone when their process died.
    attempted_again: i64,
    /// Events that were taken more than once.
    taken_again: i64,
}

/// Checks that all events have ended as they should, and prints figures.
fn check(
    test: &str,
    store: &Store,
    handler: Handler,
    record: &Record,
    lines: &Lines,
    rounds: u64,
) -> Figures {
    let acknowledged = record.acknowledged();
    let handled = match handler {
        Handler::Prints => lines.handled(),
        Handler::WritesInTransactions => {
            assert_eq!(lines.handled(), [""; 0]);
            store.texts("SELECT event_id FROM example_changes")
        }
    };
    let mut times: HashMap<&str, u64> = HashMap::new();
    for id in &handled {
        *times.entry(id).or_default() += 1;
    }
    let repeated = times.values().filter(|&&times| times > 1).count();
    let lost = acknowledged
        .iter()
        .filter(|id| !times.contains_key(id.as_str()));
    let lost: Vec<_> = lost.collect();
    let stored = store.texts("SELECT event_id FROM ptolemy_inbox");
    let distinct: HashSet<_> = stored.iter().map(String::as_str).collect();
    let attempted_again = store.number("SELECT count(*) FROM ptolemy_inbox WHERE attempts > 1");
    let taken_again = store.number("SELECT count(*) FROM ptolemy_inbox WHERE lease_token > 1");
    println!(
        "{test}: {rounds} rounds, {} deliveries of {} events, {} events acknowledged, {} stored, \
         {} handled, {repeated} handled more than once, {taken_again} taken and \
         {attempted_again} attempted more than once, \
         {} acknowledged and not handled",
        record.deliveries(),
        record.events(),
        acknowledged.len(),
        stored.len(),
        times.len(),
        lost.len(),
    );

    assert_eq!(lost, [""; 0], "acknowledged and not handled");
    assert!(!acknowledged.is_empty(), "nothing was acknowledged");
    assert_eq!(stored.len(), distinct.len(), "events with two rows");
    let keys = store.number("SELECT count(DISTINCT dedup_key) FROM ptolemy_inbox");
    assert_eq!(usize::try_from(keys).unwrap(), stored.len());
    let done = store.count("done");
    assert_eq!(
        usize::try_from(done).unwrap(),
        stored.len(),
        "not all is done"
    );
    let handled: HashSet<_> = times.keys().copied().collect();
    assert_eq!(handled, distinct, "handled is not what was stored");
    if handler == Handler::WritesInTransactions {
        assert_eq!(repeated, 0, "handled more than once");
    }
    Figures {
        repeated,
        attempted_again,
        taken_again,
    }
}

/// Kills a receiver at random moments, and starts it again on its database.
fn kill_and_check(test: &str, store: &Store, handler: Handler) {
    let lines = Lines::new();
    let record = Arc::new(Record::default());
    let mut random = Random::new();
    let start = || {
        let arguments = "--lease 1 --longest-backoff 1 --concurrency 16 --work-ms 10";
        // These hold the only write lock of SQLite.
        let in_sqlite = "--lease 1 --longest-backoff 1 --work-ms 5";
        let is_short = handler == Handler::WritesInTransactions && store.database.is_sqlite();
        let arguments = if is_short { in_sqlite } else { arguments };
        printing(&store.url(), handler, &lines, arguments)
    };
    let mut kills = 0;
    loop {
        if random.below(4) == 0 {
            start_and_kill(start(), random.millis(0, 60));
        }
        let receiver = Process::start(start());
        let address = receiver.address();
        let senders = Senders::start(SENDERS, address, &record, &mut random, Duration::ZERO);
        thread::sleep(random.millis(50, 800));
        receiver.kill();
        senders.stop();
        kills += 1;
        // The last kill hits work, so that some is interrupted in any case.
        if kills >= rounds() && store.count("running") > 0 {
            break;
        }
        assert!(kills < 20 * rounds(), "nothing ever runs");
    }
    let receiver = Process::start(start());
    store.wait_until_all_is_done();
    receiver.stop();
    let figures = check(test, store, handler, &record, &lines, kills);
    assert!(figures.taken_again > 0, "nothing was interrupted");
}

#[test]
fn killed_receivers_lose_nothing_on_sqlite() {
    kill_and_check("sqlite", &Store::sqlite(), Handler::Prints);
}

#[test]
fn killed_receivers_handle_once_in_sqlite_transactions() {
    kill_and_check(
        "sqlite transactions",
        &Store::sqlite(),
        Handler::WritesInTransactions,
    );
}

#[test]
#[ignore = "needs postgres"]
fn killed_receivers_lose_nothing_on_postgres() {
    kill_and_check("postgres", &Store::postgres(), Handler::Prints);
}

#[test]
#[ignore = "needs postgres"]
fn killed_receivers_handle_once_in_postgres_transactions() {
    kill_and_check(
        "postgres transactions",
        &Store::postgres(),
        Handler::WritesInTransactions,
    );
}

/// Stops a receiver in good order at random moments, and starts it again on its database.
fn stop_and_check(test: &str, store: &Store) {
    let lines = Lines::new();
    let record = Arc::new(Record::default());
    let mut random = Random::new();
    let start = || {
        let arguments = "--concurrency 16 --work-ms 10";
        Process::start(printing(&store.url(), Handler::Prints, &lines, arguments))
    };
    for _ in 0..rounds() {
        let receiver = start();
        let address = receiver.address();
        let senders = Senders::start(SENDERS, address, &record, &mut random, Duration::ZERO);
        thread::sleep(random.millis(50, 800));
        receiver.stop();
        senders.stop();
        assert_eq!(store.count("running"), 0, "not given back");
    }
    let receiver = start();
    store.wait_until_all_is_done();
    receiver.stop();
    let figures = check(test, store, Handler::Prints, &record, &lines, rounds());
    assert_eq!(figures.repeated, 0, "handled more than once");
    assert_eq!(figures.attempted_again, 0, "attempted more than once");
}

#[test]
fn stopped_receivers_handle_once_without_transactions_on_sqlite() {
    stop_and_check("sqlite, stopped", &Store::sqlite());
}

#[test]
#[ignore = "needs postgres"]
fn stopped_receivers_handle_once_without_transactions_on_postgres() {
    stop_and_check("postgres, stopped", &Store::postgres());
}

/// Makes one of two workers sleep repeatedly for longer than its lease, while deliveries arrive.
fn put_to_sleep_and_check(test: &str, handler: Handler) {
    let store = Store::postgres();
    let lines = Lines::new();
    let record = Arc::new(Record::default());
    let mut random = Random::new();
    let receiver = Process::start(printing(&store.url(), handler, &lines, "--no-worker"));
    let workers = [(); 2].map(|()| {
        let arguments = "--no-server --lease 1 --longest-backoff 1 --work-ms 200";
        Process::start(printing(&store.url(), handler, &lines, arguments))
    });
    let rest = Duration::from_millis(50);
    let senders = Senders::start(SENDERS, receiver.address(), &record, &mut random, rest);
    let interrupted = "SELECT count(*) FROM ptolemy_inbox WHERE lease_token > 1";
    let mut round = 0;
    // At the end of the rounds, until one has hit running work.
    while round < rounds() || round < rounds() + 20 && store.number(interrupted) == 0 {
        round += 1;
        thread::sleep(random.millis(200, 800));
        let worker = &workers[usize::try_from(round % 2).unwrap()];
        worker.signal("-STOP");
        thread::sleep(Duration::from_secs(3));
        worker.signal("-CONT");
        thread::sleep(Duration::from_millis(500));
    }
    senders.stop();
    store.wait_until_all_is_done();
    let told = workers.map(Process::stop).concat();
    receiver.stop();
    let late = told.matches("lease lost: another worker").count();
    println!("{test}: {late} leases were reported as lost");
    let figures = check(test, &store, handler, &record, &lines, rounds());
    assert!(figures.taken_again > 0, "nothing was interrupted");
    assert!(late > 0, "no sleeper lost a lease: {told}");
}

#[test]
#[ignore = "needs postgres"]
fn a_worker_that_sleeps_beyond_its_lease_loses_nothing() {
    put_to_sleep_and_check("sleeper", Handler::Prints);
}

#[test]
#[ignore = "needs postgres"]
fn a_worker_that_sleeps_beyond_its_lease_handles_once_in_transactions() {
    put_to_sleep_and_check("sleeper in transactions", Handler::WritesInTransactions);
}

fn send_to_two_processes_at_once(store: &Store) {
    const EVENTS: usize = 10;
    const CONNECTIONS: usize = 50;

    let lines = Lines::new();
    let receivers =
        [(); 2].map(|()| Process::start(printing(&store.url(), Handler::Prints, &lines, "")));
    let barrier = Arc::new(Barrier::new(2 * CONNECTIONS));
    let senders = receivers.iter().flat_map(|receiver| {
        let (address, barrier) = (receiver.address(), barrier.clone());
        (0..CONNECTIONS).map(move |_| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                for event in 0..EVENTS {
                    barrier.wait();
                    assert_eq!(connection.post(&event.to_string()).unwrap(), 202);
                }
            })
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.join().unwrap();
    }
    store.wait_until_all_is_done();
    receivers
        .into_iter()
        .for_each(|receiver| drop(receiver.stop()));
    let mut ids = store.texts("SELECT event_id FROM ptolemy_inbox");
    ids.sort();
    assert_eq!(
        ids,
        (0..EVENTS)
            .map(|event| event.to_string())
            .collect::<Vec<_>>()
    );
    assert_eq!(usize::try_from(store.count("done")).unwrap(), EVENTS);
    let mut handled = lines.handled();
    handled.sort();
    assert_eq!(handled, ids);
}

#[test]
fn a_delivery_sent_to_two_processes_at_once_is_one_row() {
    send_to_two_processes_at_once(&Store::sqlite());
}

#[test]
#[ignore = "needs postgres"]
fn a_delivery_sent_to_two_processes_at_once_is_one_row_on_postgres() {
    send_to_two_processes_at_once(&Store::postgres());
}

/// The database has its connections in this process and in those that come and go.
#[test]
fn a_receiver_goes_on_while_another_process_restarts_on_its_file() {
    let store = Store::sqlite();
    let receiver = Process::start(command(&store.url()));
    let mut connection = Connection::open(receiver.address()).unwrap();
    for round in 0..5 {
        let other = Process::start(command(&store.url()));
        assert_eq!(connection.post(&format!("{round} a")).unwrap(), 202);
        if round % 2 == 0 {
            other.stop();
        } else {
            other.kill();
        }
        assert_eq!(connection.post(&format!("{round} b")).unwrap(), 202);
    }
    store.wait_until_all_is_done();
    let errors = receiver.stop();
    assert!(!errors.contains("the database's files"), "{errors}");
}

fn start_ten_at_once(database: &str) {
    let processes = [(); 10].map(|()| {
        let mut command = command(database);
        command.arg("--no-server");
        thread::spawn(move || Process::start(command))
    });
    for process in processes {
        process.join().unwrap().stop();
    }
    let stats = Runtime::new().unwrap().block_on(async {
        let inbox = Inbox::open_existing(database).await.unwrap();
        inbox.stats().await.unwrap()
    });
    assert_eq!(stats, Stats::default());
}

#[test]
fn ten_processes_that_start_at_once_share_the_tables() {
    for round in 0..rounds() {
        let file = format!("ptolemy_{}_new_{round}.db", std::process::id());
        let file = env::temp_dir().join(file);
        start_ten_at_once(&format!("sqlite://{}", file.display()));
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", file.display()));
        }
    }
}

#[test]
#[ignore = "needs postgres"]
fn ten_processes_that_start_at_once_share_the_tables_on_postgres() {
    for _ in 0..rounds() {
        start_ten_at_once(&Store::postgres().url());
    }
}

fn stop_in_mid_work(store: &Store) {
    const EVENTS: i64 = 10;
    const AT_ONCE: i64 = 4;

    for (arguments, done) in [
        ("--work-ms 60000 --shutdown-timeout 1", 0),
        ("--work-ms 1000 --shutdown-timeout 20", AT_ONCE),
    ] {
        let mut command = command(&store.url());
        command
            .args(["--concurrency", &AT_ONCE.to_string()])
            .args(arguments.split(' '))
            .stdout(Stdio::null());
        let receiver = Process::start(command);
        let mut connection = Connection::open(receiver.address()).unwrap();
        for event in 0..EVENTS {
            // The second time they are there already, and wait.
            assert_eq!(connection.post(&event.to_string()).unwrap(), 202);
        }
        until("some run", || store.count("running") == AT_ONCE);
        let begin = Instant::now();
        receiver.stop();
        let taken = begin.elapsed();
        assert!(taken < Duration::from_secs(10), "it took {taken:?}");
        assert_eq!(store.count("running"), 0);
        assert_eq!(store.count("done"), done);
        assert_eq!(store.count("waiting"), EVENTS - done);
        let attempts = store.number("SELECT CAST(sum(attempts) AS BIGINT) FROM ptolemy_inbox");
        // Those that were aborted the first time count too, and now wait behind the others.
        assert_eq!(attempts, AT_ONCE + done);
    }
}

#[test]
fn a_stop_in_mid_work_finishes_events_or_gives_them_back() {
    stop_in_mid_work(&Store::sqlite());
}

#[test]
#[ignore = "needs postgres"]
fn a_stop_in_mid_work_finishes_events_or_gives_them_back_on_postgres() {
    stop_in_mid_work(&Store::postgres());
}

/// A limit on the size of files simulates a full disk: the system rejects the writes.
#[test]
fn a_disk_that_is_full_answers_503_and_loses_nothing() {
    let store = Store::sqlite();
    // The tables are there before, with room for some events.
    let mut create = command(&store.url());
    create.arg("--no-server");
    Process::start(create).stop();
    let mut limited = Command::new("bash");
    let receiver = command(&store.url());
    limited
        .arg("-c")
        .arg("trap '' XFSZ && ulimit -f 400 && exec \"$0\" --no-worker")
        .arg(receiver.get_program())
        .envs(
            receiver
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let receiver = Process::start(limited);
    let mut connection = Connection::open(receiver.address()).unwrap();
    let mut acknowledged = Vec::new();
    let status = loop {
        let id = format!("{:05}{}", acknowledged.len(), "x".repeat(3_000));
        match connection.post(&id).unwrap() {
            202 => acknowledged.push(id),
            status => break status,
        }
        assert!(acknowledged.len() < 1_000, "the disk does not fill");
    };
    assert_eq!(status, 503);
    assert!(!acknowledged.is_empty());
    receiver.kill();
    assert_eq!(store.texts("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(store.count("waiting"), acknowledged.len() as i64);

    // With room again, all acknowledged events are handled, and more are accepted.
    let receiver = Process::start(command(&store.url()));
    let mut connection = Connection::open(receiver.address()).unwrap();
    assert_eq!(connection.post("one more").unwrap(), 202);
    store.wait_until_all_is_done();
    receiver.stop();
    assert_eq!(store.count("done"), acknowledged.len() as i64 + 1);
}
