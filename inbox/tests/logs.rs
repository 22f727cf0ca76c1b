//! Tests of the log, in a separate binary, since they capture everything that the process logs.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use log_table::Line;
use ptolemy_webhooks::{Secret, Signer, Verifier};
use ptolemy_webhooks_inbox::{EventOrder, Failure, Inbox, sqlx};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

#[path = "suite/log_table.rs"]
mod log_table;

#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

/// The lines and spans of the packages here.
static LINES: Mutex<BTreeSet<Line>> = Mutex::new(BTreeSet::new());

/// Takes them to [`LINES`].
struct Lines;

/// The message, and the names of the other fields.
#[derive(Default)]
struct Fields(String, BTreeSet<String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.0 = format!("{value:?}"),
            name => drop(self.1.insert(name.to_owned())),
        }
    }
}

fn take(metadata: &Metadata<'_>, message: String, fields: BTreeSet<String>) {
    if metadata.target().starts_with("ptolemy") {
        LINES.lock().unwrap().insert(Line {
            level: metadata.level().to_string(),
            target: metadata.target().to_owned(),
            message,
            fields,
        });
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        take(event.metadata(), fields.0, fields.1);
    }

    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let metadata = span.metadata();
        let fields = metadata
            .fields()
            .iter()
            .map(|field| field.name().to_owned());
        take(metadata, metadata.name().to_owned(), fields.collect());
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logs {
    /// The log since the first test started capturing it.
    fn of_the_process() -> Self {
        static LOGS: OnceLock<Logs> = OnceLock::new();
        let logs = LOGS.get_or_init(|| {
            let logs = Self::default();
            let writer = logs.clone();
            let text = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(move || writer.clone());
            tracing_subscriber::registry().with(text).with(Lines).init();
            logs
        });
        logs.clone()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    async fn until(&self, text: &str) {
        for _ in 0..2_000 {
            if self.text().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not logged within 20 s: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_logged_without_bodies_secrets_and_errors_of_handlers() {
    let logs = Logs::of_the_process();
    let file = std::env::temp_dir().join(format!("ptolemy-logs-{}.db", std::process::id()));
    let inbox = Inbox::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let secret = Secret::new("whsec_sesame").unwrap();
    let (signer, verifier) = (Signer::new(&secret), Verifier::new(secret));
    for (id, event_type) in [
        ("e1", "a.fails"),
        ("e2", "a.panics"),
        ("e3", "b\\nforged.line"),
    ] {
        let body = format!(
            r#"{{"id":"{id}","event_type":"{event_type}","data":{{"id":"xyzzy","n":"plugh"}}}}"#
        );
        let header = signer.sign(body.as_bytes());
        let delivery = verifier.receive(header, body).unwrap();
        inbox.accept(&delivery).await.unwrap();
    }
    let malformed = r#"{"id":"e4","event_type":"instrument.updated","data":{"name":["xyzzy"]}}"#;
    let header = signer.sign(malformed.as_bytes());
    let delivery = verifier.receive(header, malformed).unwrap();
    inbox.accept(&delivery).await.unwrap();
    let handler = |event: ptolemy_webhooks::Event, _| async move {
        match event.event_type.as_str() {
            "a.fails" => Err(Failure::permanent("xyzzy in an error")),
            "a.panics" => panic!("in a handler"),
            _ => Ok(()),
        }
    };
    let worker = inbox.worker().max_attempts(2);
    let worker = worker.backoff(Duration::from_millis(1), Duration::from_millis(2));
    let worker = tokio::spawn(worker.run(handler));
    logs.until("an attempt failed id=2 attempt=1").await;
    while inbox.stats().await.unwrap().dead < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.abort();

    // A handler that holds SQLite's write lock for long.
    assert_eq!(inbox.dead_letters().replay_all().await.unwrap(), 3);
    let worker = tokio::spawn(inbox.worker().run_in_sqlite_transaction(|_, _, tx| {
        Box::pin(async move {
            sqlx::query("SELECT 1").execute(tx).await?;
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(())
        })
    }));
    logs.until("write lock for more than 3s").await;
    worker.abort();

    // Two processes that want another order.
    inbox.set_order(EventOrder::ByResource).await.unwrap();
    let url = format!("sqlite://{}", file.display());
    let other = Inbox::connect(&url).await.unwrap();
    other.set_order(EventOrder::AsDue).await.unwrap();
    let nothing = |_, _| async { Ok::<(), Failure>(()) };
    let worker = tokio::spawn(inbox.worker().run(nothing));
    logs.until("another process has set another order").await;
    worker.abort();

    // The file is moved away, and back.
    let away = file.with_extension("away");
    std::fs::rename(&file, &away).unwrap();
    for _ in 0..2 {
        inbox.stats().await.unwrap_err();
    }
    std::fs::rename(&away, &file).unwrap();
    inbox.stats().await.unwrap();

    let text = logs.text();
    for (id, event_type, attempts) in [(1, "a.fails", 1), (2, "a.panics", 2)] {
        let dead = format!(
            "ERROR ptolemy_webhooks_inbox::worker::report: an event is dead: look at its last_error, \
             then replay or discard it id={id} event_type=\"{event_type}\" attempts={attempts} key=\""
        );
        assert_eq!(text.matches(&dead).count(), 1, "{dead} in\n{text}");
    }
    for once in [
        "ERROR ptolemy_webhooks_inbox::store::sqlite::watch: the database's files are not those \
         that are open: nothing is accepted or handled until they are back or this process has \
         restarted",
        "the database's files are back",
    ] {
        assert_eq!(text.matches(once).count(), 1, "{once}\n{text}");
    }
    let known = "event type in the list of this library: another shape";
    assert_eq!(text.matches(known).count(), 1, "{text}");
    for expected in [
        "the event cannot be read; replay it after an upgrade id=4 \
         error=data.name: expected a string, found an array",
        "the order of the inbox was set order=by_resource",
        "was changed, for every worker of every process before=by_resource order=as_due",
        "asked=by_resource order=as_due",
        "ptolemy_inbox_accept{event_type=\"a.fails\"}",
        "ptolemy_inbox_handle{id=1 event_type=\"a.fails\" attempt=1}",
        "event_type=\"sha256:",
        "ERROR ptolemy_webhooks_inbox::health: a worker ended without a signal to stop: nobody works \
         in its place reason=\"its future was dropped, or its task aborted\"",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    let page = log_table::lines();
    let lines = LINES.lock().unwrap().clone();
    assert!(lines.len() > 15, "{lines:#?}");
    for line in lines {
        assert!(
            page.iter().any(|one| one.is(&line)),
            "not in the page: {line:?}"
        );
    }
    for secret in ["sesame", "xyzzy", "plugh", "forged", "whsec"] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
}

/// The inbox's own pool has 10 connections, two of which are reserved for accepts.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn a_concurrency_beyond_the_pool_is_a_warning() {
    use sqlx::{Connection as _, Executor as _};

    let logs = Logs::of_the_process();
    let server = std::env::var("PTOLEMY_INBOX_POSTGRES_URL").expect(
        "PTOLEMY_INBOX_POSTGRES_URL: the URL of a server in which databases can be created",
    );
    let name = format!("ptolemy_logs_{}", std::process::id());
    let mut connection = sqlx::PgConnection::connect(&server).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection.execute(create).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let inbox = Inbox::connect(&format!("{base}/{name}")).await.unwrap();
    let work = async |concurrency| {
        let worker = inbox.worker().concurrency(concurrency);
        worker
            .run_in_postgres_transaction_until_idle(|_, _, _| Box::pin(async { Ok(()) }))
            .await
            .unwrap();
    };
    let warning = "WARN ptolemy_webhooks_inbox::worker::transaction: the pool has too few \
                   connections: 8 handlers run at the same time concurrency=";
    work(8).await;
    assert!(!logs.text().contains(warning));
    work(9).await;
    assert!(
        logs.text().contains(&format!("{warning}9")),
        "{}",
        logs.text()
    );
}
