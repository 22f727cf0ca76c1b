//! The example `durable_receiver`, asked from outside: its probes, its metrics and its stop.
#![cfg(unix)]

// Shared with the suite and with `kill`, which need more of them.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "suite/database.rs"]
mod database;
#[allow(dead_code)]
#[path = "../examples/durable_receiver.rs"]
mod durable_receiver;
#[allow(dead_code)]
mod process;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use std::{env, io};

use database::Database;
use durable_receiver::{App, router, run};
use metrics_exporter_prometheus::PrometheusBuilder;
use process::{Connection, Process, command_of, on_database, until};
use ptolemy_webhooks::{Secret, Signer, Verifier};
use ptolemy_webhooks_inbox::Failure;
use tokio::net::TcpListener;
use tokio::time::sleep;

/// Requests a path; returns the status and the rest of the response.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    (status, response)
}

fn database() -> (tokio::runtime::Runtime, Database) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::sqlite());
    (runtime, database)
}

fn start(database: &Database) -> Process {
    let mut command = command_of("durable_receiver", &database.url());
    command.env_remove("PTOLEMY_WEBHOOK_SECRET_FILE");
    Process::start(command)
}

#[test]
fn in_good_times_it_is_healthy_and_ready_and_shows_metrics_without_texts_of_deliveries() {
    let (_runtime, database) = database();
    let receiver = start(&database);
    let address = receiver.address();
    let mut connection = Connection::open(address).unwrap();
    assert_eq!(connection.post("xyzzy").unwrap(), 202);
    assert_eq!(connection.post("xyzzy").unwrap(), 202);
    assert_eq!(get(address, "/healthz").0, 200);
    assert_eq!(get(address, "/readyz").0, 200);
    let succeeded =
        "ptolemy_inbox_attempts_total{event_type=\"market.created\",outcome=\"succeeded\"} 1";
    until("the event was handled", || {
        get(address, "/metrics").1.contains(succeeded)
    });
    let (status, metrics) = get(address, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "ptolemy_webhooks_deliveries_total{outcome=\"verified\",reason=\"none\"} 2",
        "ptolemy_webhooks_deliveries_total{outcome=\"rejected\",reason=\"signature_mismatch\"} 0",
        "ptolemy_inbox_accepts_total{outcome=\"new\"} 1",
        "ptolemy_inbox_accepts_total{outcome=\"duplicate\"} 1",
        "ptolemy_inbox_workers_running 1",
        "ptolemy_inbox_events{state=\"dead\"} 0",
        "# TYPE ptolemy_inbox_accept_duration_seconds histogram",
        "ptolemy_inbox_handler_duration_seconds_bucket{outcome=\"succeeded\",le=\"900\"} 1",
        "ptolemy_webhooks_verification_duration_seconds_bucket{le=\"0.00001\"} ",
        "ptolemy_webhooks_verification_duration_seconds_bucket{le=\"0.01\"} 2",
        "ptolemy_inbox_commit_deliveries_bucket{le=\"1\"} 2",
        "ptolemy_inbox_commit_deliveries_bucket{le=\"256\"} 2",
        "ptolemy_webhooks_body_size_bytes_bucket{le=\"256\"} 2",
        "ptolemy_webhooks_body_size_bytes_bucket{le=\"1048576\"} 2",
        "# HELP ptolemy_inbox_oldest_due_age_seconds ",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    for text in ["xyzzy", "whsec", "of m"] {
        assert!(!metrics.contains(text), "{text} is in\n{metrics}");
    }
    let log = receiver.stop();
    assert!(log.contains("handled"), "{log}");
    assert!(!log.contains("whsec"), "{log}");
}

/// Anyone can send them, so they would fill the log.
#[test]
fn requests_that_are_rejected_are_counted_and_not_logged() {
    let (_runtime, database) = database();
    let receiver = start(&database);
    let address = receiver.address();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"POST /webhooks/ptolemy HTTP/1.1\r\nHost: l\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 401"), "{response}");
    let counted =
        "ptolemy_webhooks_deliveries_total{outcome=\"rejected\",reason=\"missing_header\"} 1";
    assert!(get(address, "/metrics").1.contains(counted));
    let log = receiver.stop();
    assert!(!log.contains("rejected"), "{log}");
}

#[test]
fn without_its_database_it_is_healthy_and_not_ready() {
    let (_runtime, database) = database();
    let receiver = start(&database);
    let address = receiver.address();
    let Database::Sqlite { file, .. } = &database else {
        unreachable!()
    };
    let away = file.with_extension("away");
    fs::rename(file, &away).unwrap();
    assert_eq!(get(address, "/readyz").0, 503);
    assert_eq!(get(address, "/healthz").0, 200);
    assert_eq!(Connection::open(address).unwrap().post("e").unwrap(), 503);
    let (status, metrics) = get(address, "/metrics");
    assert_eq!(status, 200);
    let failed = "ptolemy_inbox_accepts_total{outcome=\"unavailable\"} 1";
    assert!(metrics.contains(failed), "{metrics}");
    fs::rename(&away, file).unwrap();
    until("it is ready again", || get(address, "/readyz").0 == 200);
    assert_eq!(Connection::open(address).unwrap().post("e").unwrap(), 202);
    receiver.stop();
}

/// The signal comes while a request is open whose body never ends.
#[test]
fn on_sigterm_it_ends_within_25_s_beside_a_request_that_hangs() {
    let (_runtime, database) = database();
    let receiver = start(&database);
    let mut hangs = TcpStream::connect(receiver.address()).unwrap();
    hangs
        .write_all(b"POST /webhooks/ptolemy HTTP/1.1\r\nHost: l\r\nContent-Length: 9\r\n")
        .unwrap();
    let began = Instant::now();
    receiver.stop();
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
}

fn verifier() -> Verifier {
    Verifier::new(Secret::new("whsec_test_secret").unwrap())
}

/// The variable with the file in which a handler of a test writes a byte for each of its calls.
const CALLS: &str = "PTOLEMY_TEST_CALLS";

/// Runs the example with this handler if `started` has started this process for it.
fn if_started<Fut>(handler: impl Fn() -> Fut + Send + Sync + 'static)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let Some(calls) = env::var_os(CALLS) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    let called = move |_, _| {
        let mut calls = fs::File::options().append(true).open(&calls).unwrap();
        calls.write_all(b".").unwrap();
        let handled = handler();
        async move {
            handled.await;
            Ok(())
        }
    };
    let threads = tokio::runtime::Runtime::new().unwrap();
    threads.block_on(run(called)).unwrap();
    std::process::exit(0);
}

/// The example in another process, with the handler of a test.
struct Started {
    receiver: Process,
    calls: PathBuf,
}

impl Started {
    /// Runs the test of this name, which calls `if_started`.
    fn of(test: &str, database: &Database) -> Self {
        let calls = env::temp_dir().join(format!("ptolemy-{test}-{}", std::process::id()));
        fs::write(&calls, "").unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        on_database(&mut command, &database.url())
            .args(["--exact", test, "--nocapture"])
            .env_remove("PTOLEMY_WEBHOOK_SECRET_FILE")
            .env(CALLS, &calls);
        Self {
            receiver: Process::start(command),
            calls,
        }
    }

    fn calls(&self) -> usize {
        fs::read(&self.calls).unwrap().len()
    }

    /// Stops it as `Process::stop` does, within 25 s.
    fn stop(self) -> String {
        fs::remove_file(&self.calls).unwrap();
        let began = Instant::now();
        let log = self.receiver.stop();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(25), "{took:?}");
        log
    }
}

#[test]
fn a_slow_handler_with_a_backlog_leaves_it_ready_and_a_stop_ends_within_25_s() {
    if_started(|| sleep(Duration::from_secs(3_600)));
    let (runtime, database) = database();
    let started = Started::of(
        "a_slow_handler_with_a_backlog_leaves_it_ready_and_a_stop_ends_within_25_s",
        &database,
    );
    let address = started.receiver.address();
    let mut connection = Connection::open(address).unwrap();
    for number in 0..200 {
        assert_eq!(connection.post(&format!("e{number}")).unwrap(), 202);
    }
    until("8 events run", || started.calls() >= 8);
    let inbox = runtime.block_on(database.inbox());
    let stats = runtime.block_on(inbox.stats()).unwrap();
    assert!(stats.due > 100, "{stats:?}");
    assert_eq!(get(address, "/readyz").0, 200);
    assert_eq!(get(address, "/healthz").0, 200);
    let log = started.stop();
    assert!(!log.contains("handlers block their threads"), "{log}");
    let running = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'running'";
    assert_eq!(runtime.block_on(database.number(running)), 0);
    let waiting = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'waiting'";
    assert_eq!(runtime.block_on(database.number(waiting)), 200);
}

/// They also block the timers of their threads, and the acceptance of requests.
#[test]
fn handlers_that_block_all_threads_do_not_delay_a_stop_beyond_25_s() {
    if_started(|| async { std::thread::sleep(Duration::from_secs(3_600)) });
    let (runtime, database) = database();
    runtime.block_on(async {
        let inbox = database.inbox().await;
        for number in 0..64 {
            let body = format!(
                r#"{{"event_type":"market.created","id":"e{number}","data":{{"id":"m"}}}}"#
            );
            let header = Signer::new(&Secret::new("whsec_test_secret").unwrap());
            let header = header.sign(body.as_bytes());
            let delivery = verifier().receive(header, body).unwrap();
            inbox.accept(&delivery).await.unwrap();
        }
    });
    let started = Started::of(
        "handlers_that_block_all_threads_do_not_delay_a_stop_beyond_25_s",
        &database,
    );
    // The worker calls up to 8 handlers at the same time.
    let threads = available_parallelism().unwrap().get().min(8);
    until("all threads are blocked", || started.calls() >= threads);
    let log = started.stop();
    assert!(log.contains("handlers block their threads"), "{log}");
}

/// Copies of the file alone are complete then.
#[test]
fn a_clean_stop_leaves_everything_in_the_file_of_the_database() {
    let folder = env::temp_dir().join(format!("ptolemy-clean-stop-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let file = folder.join("inbox.db");
    let mut command = command_of("durable_receiver", &format!("sqlite://{}", file.display()));
    command.env_remove("PTOLEMY_WEBHOOK_SECRET_FILE");
    let receiver = Process::start(command);
    let mut connection = Connection::open(receiver.address()).unwrap();
    assert_eq!(connection.post("e").unwrap(), 202);
    let names = |folder: &Path| -> Vec<_> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&folder), ["inbox.db", "inbox.db-shm", "inbox.db-wal"]);
    let log = receiver.stop();
    assert!(!log.contains("ERROR"), "{log}");
    assert_eq!(names(&folder), ["inbox.db"]);
    fs::remove_dir_all(&folder).unwrap();
}

/// Starts it where it cannot start; what it prints.
fn error_of(database: &str, listen: &str) -> String {
    let mut command = command_of("durable_receiver", database);
    command.env_remove("PTOLEMY_WEBHOOK_SECRET_FILE");
    // The errors of the example print one if asked.
    command
        .env("RUST_BACKTRACE", "0")
        .env_remove("RUST_LIB_BACKTRACE");
    let output = command.env("PTOLEMY_LISTEN", listen).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn errors_of_the_start_name_the_variable_and_the_cause_and_no_password() {
    let (_runtime, database) = database();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let error = error_of(&database.url(), &listen);
    let expected = format!("Error: PTOLEMY_LISTEN: {listen}\n\nCaused by:\n");
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains("in use"), "{error}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    for url in [
        "mysql://user:xyzzy@localhost/inbox".to_owned(),
        format!("postgres://user:xyzzy@127.0.0.1:{port}/inbox?sslmode=disable"),
        "sqlite:///no/such/folder/inbox.db".to_owned(),
    ] {
        let error = error_of(&url, "127.0.0.1:0");
        let (_, causes) = error
            .split_once("Error: DATABASE_URL\n\nCaused by:\n")
            .unwrap_or_else(|| panic!("{error}"));
        for text in ["xyzzy", "whsec", "Error", "Kind"] {
            assert!(!causes.contains(text), "{error}");
        }
        assert!(!error.contains("xyzzy"), "{error}");
    }
}

/// Another worker of the inbox ends, which is the same to a probe.
#[test]
fn a_worker_that_has_ended_is_not_healthy_and_deliveries_are_still_taken() {
    let (runtime, database) = database();
    let (inbox, address) = runtime.block_on(async {
        let inbox = database.inbox().await;
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let app = App {
            verifier: verifier(),
            inbox: inbox.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router(app, metrics)).into_future());
        (inbox, address)
    });
    let start = || tokio::spawn(inbox.worker().run(|_, _| async { Ok::<(), Failure>(()) }));
    let run = async |workers| {
        while inbox.health().workers_running != workers {
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(get(address, "/healthz").0, 503);
    runtime.block_on(async {
        drop(start());
        run(1).await;
    });
    assert_eq!(get(address, "/healthz").0, 200);
    runtime.block_on(async {
        let worker = start();
        run(2).await;
        worker.abort();
        assert!(worker.await.unwrap_err().is_cancelled());
    });
    assert_eq!(get(address, "/healthz").0, 503);
    assert_eq!(get(address, "/readyz").0, 200);
    let mut connection = Connection::open(address).unwrap();
    assert_eq!(connection.post("e").unwrap(), 202);
}

/// The CPU time of the process, in clock ticks.
#[cfg(target_os = "linux")]
fn ticks(receiver: &Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", receiver.id())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = fields.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A hundred probes are those of more than eight minutes.
#[cfg(target_os = "linux")]
#[test]
fn a_hundred_probes_use_less_than_two_seconds_of_a_cpu() {
    let (_runtime, database) = database();
    let receiver = start(&database);
    let before = ticks(&receiver);
    for _ in 0..100 {
        assert_eq!(get(receiver.address(), "/healthz").0, 200);
        assert_eq!(get(receiver.address(), "/readyz").0, 200);
    }
    let used = ticks(&receiver) - before;
    println!("100 probes of each kind: {used} ticks of 10 ms");
    assert!(used < 200, "{used}");
    receiver.stop();
}
