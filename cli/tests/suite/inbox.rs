//! `inbox`: on SQLite from outside, beside the library that fills the inbox.

use std::fs;
use std::time::{Duration, Instant};

use ptolemy_webhooks::{Secret, Signer, Verifier};
use ptolemy_webhooks_inbox::sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection,
};
use ptolemy_webhooks_inbox::{Failure, Inbox};
use tokio::runtime::Runtime;

use crate::help_examples::{examples, run_examples};
use crate::program::{Ended, Folder, Program};
#[cfg(unix)]
use crate::signals;

/// An inbox in a file of a folder.
struct Store {
    folder: Folder,
    url: String,
    runtime: Runtime,
    inbox: Inbox,
}

impl Store {
    fn new() -> Self {
        let folder = Folder::new();
        // Named so that the scan for secrets does not read them: a process that closes a file of
        // SQLite loses its locks on that file.
        for name in ["inbox.db", "inbox.db-wal", "inbox.db-shm"] {
            folder.names(name);
        }
        let url = format!("sqlite://{}", folder.path("inbox.db").display());
        Self::on(folder, url)
    }

    fn on(folder: Folder, url: String) -> Self {
        let runtime = Runtime::new().unwrap();
        let inbox = runtime.block_on(Inbox::connect(&url)).unwrap();
        Self {
            folder,
            url,
            runtime,
            inbox,
        }
    }

    /// As if a newer version had migrated the tables.
    fn add_version_7(&self) {
        self.execute(
            "INSERT INTO ptolemy_inbox_migrations
             SELECT 7, description, installed_on, success, checksum, execution_time
             FROM ptolemy_inbox_migrations",
        );
    }

    fn accept(&self, body: &str) {
        let secret = Secret::new("whsec_test_secret").unwrap();
        let header = Signer::new(&secret).sign(body.as_bytes());
        let delivery = Verifier::new(secret)
            .receive(header, body.to_owned())
            .unwrap();
        self.runtime.block_on(self.inbox.accept(&delivery)).unwrap();
    }

    fn accept_events(&self, count: usize) {
        for number in 1..=count {
            self.accept(&format!(
                r#"{{"id":"e{number}","event_type":"test.happened"}}"#
            ));
        }
    }

    /// Makes every waiting event die of an error.
    fn die_of(&self, error: &'static str) {
        let worker = self.inbox.worker();
        let handler = move |_, _| async move { Err::<(), _>(Failure::permanent(error)) };
        self.runtime.block_on(worker.run_until_idle(handler));
    }

    fn handle_all(&self) {
        let handler = |_, _| async { Ok::<(), Failure>(()) };
        let work = self.inbox.worker().run_until_idle(handler);
        self.runtime.block_on(work);
    }

    fn execute(&self, sql: &'static str) {
        self.runtime.block_on(async {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            connection.execute(sql).await.unwrap();
        });
    }

    fn program(&self, arguments: &str) -> Program<'_> {
        let program = self.folder.program(&format!("inbox {arguments}"));
        program.variable("DATABASE_URL", &self.url)
    }

    fn stats(&self) -> ptolemy_webhooks_inbox::Stats {
        self.runtime.block_on(self.inbox.stats()).unwrap()
    }
}

fn json(ended: &Ended) -> Vec<serde_json::Value> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn stats_count_by_state_in_a_table_and_in_json() {
    let store = Store::new();
    store.accept_events(2);
    store.accept("not an event");
    store.die_of("no such market");
    store.accept(r#"{"id":"late","event_type":"test.happened"}"#);
    let table = store.program("stats").run().with_code(0);
    assert_eq!(table.stderr, "");
    let line = |name: &str| {
        let mut lines = table.stdout.lines();
        let line = lines.find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].trim().to_owned()
    };
    assert_eq!((line("DUE"), line("DEAD")), ("1".into(), "3".into()));
    assert_eq!(
        (line("MALFORMED"), line("RUNNING")),
        ("1".into(), "0".into())
    );
    assert_eq!(line("OLDEST DUE"), "0 s");
    let stats = json(&store.program("stats --json").run().with_code(0));
    assert_eq!(stats[0]["due"], 1);
    assert_eq!(stats[0]["dead"], 3);
    assert!(stats[0]["oldest_due"].is_number());
    assert!(stats[0]["at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn an_inbox_that_is_not_there_is_not_created() {
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.path("none.db").display());
    for task in [
        "stats",
        "dead list",
        "replay --all",
        "prune --older-than 1d --yes",
    ] {
        let program = folder.program(&format!("inbox {task}"));
        let ended = program.variable("DATABASE_URL", &url).run().with_code(2);
        assert!(ended.stderr.contains("DATABASE_URL: "), "{}", ended.stderr);
        assert!(ended.stderr.contains("none.db"), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 0);

    // A database without an inbox stays without one.
    fs::write(folder.path("other.db"), "").unwrap();
    let url = format!("sqlite://{}", folder.path("other.db").display());
    let program = folder.program("inbox stats --database").variable("A", "b");
    program.run().with_code(2);
    let program = folder.program(&format!("inbox stats --database {url}"));
    let ended = program.run().with_code(2);
    assert!(
        ended.stderr.contains("start the receiver once"),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read(folder.path("other.db")).unwrap(), b"");
}

#[test]
fn migrate_creates_the_tables_once_and_handles_no_event() {
    let folder = Folder::new();
    for name in ["inbox.db", "inbox.db-wal", "inbox.db-shm"] {
        folder.names(name);
    }
    let url = format!("sqlite://{}", folder.path("inbox.db").display());
    let run = |task: &str| {
        let program = folder.program(&format!("inbox {task}"));
        program.variable("DATABASE_URL", &url).run().with_code(0)
    };
    assert_eq!(json(&run("migrate --json"))[0]["migrated"], true);
    assert_eq!(json(&run("stats --json"))[0]["due"], 0);

    let store = Store::on(folder, url);
    store.accept_events(3);
    let again = store.program("migrate").run().with_code(0);
    assert_eq!(
        again.stdout,
        "the inbox's tables already have the version of this tool\n"
    );
    assert_eq!(store.stats().due, 3);
}

#[test]
fn migrate_does_not_touch_the_tables_of_a_newer_version() {
    let store = Store::new();
    store.add_version_7();
    let newer = store.program("migrate").run().with_code(2);
    assert!(
        newer.stderr.contains("upgrade the tool"),
        "{}",
        newer.stderr
    );
    assert_eq!(newer.stdout, "");
}

#[test]
fn tables_of_another_version_are_not_touched() {
    let store = Store::new();
    store.add_version_7();
    let newer = store.program("stats").run().with_code(2);
    let expected = "error: DATABASE_URL: the inbox's tables are at version 7, and this tool knows them up to 1: upgrade the tool\n";
    assert_eq!(newer.stderr, expected);
    store.execute("DELETE FROM ptolemy_inbox_migrations WHERE version > 1");
    store.execute("UPDATE ptolemy_inbox_migrations SET version = 0");
    let older = store.program("stats").run().with_code(2);
    assert!(
        older.stderr.contains("version 0, and this tool needs 1"),
        "{}",
        older.stderr
    );
    assert!(older.stderr.contains("inbox migrate"), "{}", older.stderr);
}

#[test]
fn the_database_is_named_once() {
    let store = Store::new();
    let none = store.folder.program("inbox stats").run().with_code(2);
    assert!(none.stderr.contains("set DATABASE_URL"), "{}", none.stderr);
    let file = store.folder.path("url.txt");
    fs::write(&file, format!("{}\n", store.url)).unwrap();
    let program = store.folder.program("inbox stats");
    program
        .variable("DATABASE_URL_FILE", &file)
        .run()
        .with_code(0);
    let both = store.program("stats").variable("DATABASE_URL_FILE", &file);
    let both = both.run().with_code(2);
    assert!(
        both.stderr
            .contains("URL is set twice, in this variable and in DATABASE_URL_FILE; unset one")
    );
    // The option comes before the environment.
    let chosen = store.program("stats --database sqlite://none.db").run();
    assert!(chosen.with_code(2).stderr.contains("--database: "));
    let password = store.program("stats --database postgres://a:hunter2@db/inbox");
    let password = password.run().with_code(2);
    assert!(!password.stderr.contains("hunter2"), "{}", password.stderr);
    let wrong = store
        .program("stats")
        .variable("DATABASE_URL", "postgres://a:hunter2@127.0.0.1:1/inbox");
    let wrong = wrong.run().with_code(1);
    assert!(!wrong.stderr.contains("hunter2"), "{}", wrong.stderr);
}

#[test]
fn dead_letters_are_listed_over_pages_and_escaped() {
    let store = Store::new();
    store.accept_events(3);
    store.die_of("line\u{1b}[31m\nbreak");
    // More than one page.
    store.execute(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1200)
         INSERT INTO ptolemy_inbox (dedup_key, state, received_at, run_at, written_at, finished_at, body, last_error)
         SELECT 'copy ' || n, state, received_at, run_at, written_at, finished_at, body, 'of a copy'
         FROM ptolemy_inbox, numbers WHERE event_id = 'e1'",
    );
    let table = store.program("dead list --limit 1203").run().with_code(0);
    assert_eq!(table.stdout.lines().count(), 1 + 1_203);
    assert_eq!(table.stderr, "");
    let default = store.program("dead list").run().with_code(0);
    assert_eq!(default.stdout.lines().count(), 1 + 50);
    let more = "there are more than these 50: pass a larger --limit\n";
    assert_eq!(default.stderr, more);
    let almost = store.program("dead list --limit 1202").run().with_code(0);
    assert!(almost.stderr.contains("more than these 1202"));
    let first = table.stdout.lines().nth(1).unwrap();
    assert!(first.ends_with(r"line\u{1b}[31m\u{a}break"), "{first}");
    assert!(table.stdout.starts_with("ID "));
    let letters = json(&store.program("dead list --json --limit 502").run());
    assert_eq!(letters.len(), 502);
    assert_eq!(letters[0]["last_error"], "line\u{1b}[31m\nbreak");
    assert_eq!(letters[0]["event_id"], "e1");
    let mut ids: Vec<_> = letters
        .iter()
        .map(|it| it["id"].as_i64().unwrap())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 502);
    assert!(ids.is_sorted());
    let limited = store.program("dead list --limit 2").run().with_code(0);
    assert_eq!(limited.stdout.lines().count(), 3);
    store.program("dead list --limit 0").run().with_code(2);
}

#[test]
fn one_letter_is_shown_and_its_body_is_printed_exactly() {
    let store = Store::new();
    let body = "{\"id\":\"e1\",\"event_type\":\"test.happened\",\"x\":\"\u{202e}é\"}\r\n";
    store.accept(body);
    store.die_of("no such market");
    let shown = store.program("dead show 1").run().with_code(0);
    for text in [
        "test.happened",
        "no such market",
        "DEDUP KEY",
        "RECEIVED AT",
    ] {
        assert!(shown.stdout.contains(text), "{}", shown.stdout);
    }
    assert!(!shown.stdout.contains('é'), "the body is not shown");
    let whole = json(&store.program("dead show 1 --json").run());
    assert_eq!(whole[0]["malformed"], false);
    let printed = store.program("dead body 1").run().with_code(0);
    assert_eq!(printed.bytes, body.as_bytes());
    store.program("dead body 1 --json").run().with_code(2);
    for task in ["show 7", "body 7"] {
        let ended = store.program(&format!("dead {task}")).run().with_code(1);
        assert!(ended.stderr.contains("no dead letter has the id 7"));
        assert_eq!(ended.stdout, "");
    }
    store.program("dead show all").run().with_code(2);
}

#[test]
fn letters_are_replayed_and_the_count_is_printed() {
    let store = Store::new();
    store.accept_events(3);
    store.die_of("no such market");
    let one = store.program("replay 1").run().with_code(0);
    assert_eq!(one.stdout, "replayed 1\n");
    assert_eq!((store.stats().due, store.stats().dead), (1, 2));
    store.program("replay 1").run().with_code(1);
    let neither = store.program("replay").run().with_code(2);
    assert!(neither.stderr.contains("<ID|--all>"), "{}", neither.stderr);
    store.program("replay 2 --all").run().with_code(2);
    assert_eq!(store.stats().dead, 2);
    let all = store.program("replay --all --json").run().with_code(0);
    assert_eq!(all.stdout, "{\"replayed\":2}\n");
    assert_eq!((store.stats().due, store.stats().dead), (3, 0));
    let none = store.program("dead list").run().with_code(0);
    assert_eq!(
        (&*none.stdout, &*none.stderr),
        ("", "no dead letters in this inbox\n")
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_change_says_what_may_have_happened() {
    let store = Store::new();
    store.accept_events(2);
    store.die_of("no such market");
    for (task, note) in [
        ("replay 1", "dead letter 1 may have been replayed"),
        ("replay --all", "dead letters may have been replayed"),
        ("discard 2 --yes", "dead letter 2 may have been discarded"),
        (
            "discard --all --yes",
            "dead letters may have been discarded",
        ),
        ("prune --older-than 60d --yes", "rows may have been removed"),
    ] {
        // The change waits for this transaction.
        let mut connection = store.runtime.block_on(async {
            let mut connection = SqliteConnection::connect(&store.url).await.unwrap();
            connection.execute("BEGIN IMMEDIATE").await.unwrap();
            connection
        });
        let expected = format!("{note}: look at `inbox stats`\nerror: interrupted\n");
        let mut wait = Duration::from_millis(50);
        loop {
            let mut running = store.program(task).start();
            std::thread::sleep(wait);
            let stderr = running.interrupt();
            // It may not have begun yet.
            if stderr == expected {
                assert_eq!(signals::exit_code(&mut running), Some(130));
                break;
            }
            wait *= 2;
            assert!(wait < Duration::from_secs(4), "{task}: {stderr}");
        }
        store
            .runtime
            .block_on(connection.execute("ROLLBACK"))
            .unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_file_with_the_url_that_others_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;

    let store = Store::new();
    let file = store.folder.path("url.txt");
    fs::write(&file, &store.url).unwrap();
    for (mode, warning) in [(0o644, "has mode 644"), (0o600, "")] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let program = store.folder.program("inbox stats");
        let ended = program
            .variable("DATABASE_URL_FILE", &file)
            .run()
            .with_code(0);
        assert!(ended.stderr.contains(warning), "{}", ended.stderr);
        assert_eq!(ended.stderr.is_empty(), warning.is_empty());
    }
}

#[test]
fn nothing_is_discarded_without_a_yes() {
    let store = Store::new();
    store.accept_events(3);
    store.die_of("no such market");
    let asked = store.program("discard --all").run().with_code(2);
    assert!(asked.stderr.contains("all dead letters, 3 at this moment"));
    assert!(asked.stderr.contains("--yes") && !asked.stderr.contains("--dry-run"));
    store.program("discard 1").run().with_code(2);
    store.program("discard 9").run().with_code(1);
    store.program("discard 9 --yes").run().with_code(1);
    assert_eq!(store.stats().dead, 3);
    let one = store.program("discard 1 --yes").run().with_code(0);
    assert_eq!(one.stdout, "discarded 1\n");
    let all = store.program("discard --all --yes --json").run();
    assert_eq!(all.with_code(0).stdout, "{\"discarded\":2}\n");
    assert_eq!((store.stats().dead, store.stats().waiting()), (0, 0));
}

#[test]
fn prune_removes_old_rows_after_a_yes_and_warns_of_a_short_span() {
    let store = Store::new();
    store.accept_events(2);
    store.handle_all();
    store.execute(
        "UPDATE ptolemy_inbox SET finished_at = '2020-01-01T00:00:00.000Z' WHERE event_id = 'e1'",
    );
    let asked = store.program("prune --older-than 60d").run().with_code(2);
    assert!(asked.stderr.contains("more than 60 days ago"), "{asked:?}");
    store.program("prune --yes").run().with_code(2);
    let pruned = store
        .program("prune --older-than 60d --yes")
        .run()
        .with_code(0);
    assert_eq!((&*pruned.stdout, &*pruned.stderr), ("pruned 1\n", ""));
    let pruned = store.program("prune --older-than 0s --yes --json").run();
    let pruned = pruned.with_code(0);
    assert_eq!(pruned.stdout, "{\"pruned\":1}\n");
    assert!(pruned.stderr.starts_with("warning: "), "{}", pruned.stderr);
}

#[test]
fn watch_prints_a_line_each_time_and_ends_with_its_count() {
    let store = Store::new();
    store.accept_events(2);
    let watched = store
        .program("watch --every 1s --count 2")
        .run()
        .with_code(0);
    let lines: Vec<_> = watched.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", watched.stdout);
    assert!(lines[0].starts_with("AT ") && lines[0].ends_with("OLDEST DUE"));
    let due = lines[0].find("DUE").unwrap();
    assert!(lines[2][..due].ends_with("Z  "), "{}", watched.stdout);
    assert!(lines[2][due..].starts_with("2 "), "{}", watched.stdout);
    let watched = json(&store.program("watch --count 1 --json").run());
    assert_eq!((watched.len(), &watched[0]["due"]), (1, &2.into()));
    store.program("watch --every 0s").run().with_code(2);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_watch_with_its_code() {
    let store = Store::new();
    for (signal, code, _) in signals::all() {
        let mut running = store.program("watch --every 1s --json").start();
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(running.stdout());
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        assert!(line.starts_with('{'), "{line}");
        assert_eq!(running.end_by(signal), "", "this is the way to end it");
        assert_eq!(signals::exit_code(&mut running), Some(code));
    }
}

#[test]
fn a_worker_beside_it_is_not_disturbed() {
    let store = Store::new();
    store.accept_events(200);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = store.inbox.worker().graceful_shutdown(async move {
        let _ = stopped.await;
    });
    let handler = |_, _| async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok::<(), Failure>(())
    };
    let worker = store.runtime.spawn(worker.run(handler));
    let begin = Instant::now();
    loop {
        let stats = json(&store.program("stats --json").run().with_code(0));
        store.program("replay --all").run().with_code(0);
        if stats[0]["due"] == 0 && stats[0]["running"] == 0 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{stats:?}");
    }
    assert!(store.inbox.health().is_healthy());
    drop(stop);
    store.runtime.block_on(worker).unwrap();
    // Each ran once: no lease was lost, and no failure was counted.
    let handled = store.runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&store.url).await.unwrap();
        let sql = "SELECT count(*) FROM ptolemy_inbox WHERE state = 'done' AND attempts = 1";
        let handled: i64 = ptolemy_webhooks_inbox::sqlx::query_scalar(sql)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        handled
    });
    assert_eq!(handled, 200);
}

#[test]
fn an_inbox_that_may_only_be_read_shows_stats_and_changes_nothing() {
    let store = Store::new();
    store.accept_events(1);
    store.die_of("no such market");
    let url = format!("{}?mode=ro", store.url);
    let program = store.folder.program("inbox stats");
    let stats = program.variable("DATABASE_URL", &url).run();
    let program = store.folder.program("inbox replay --all");
    let replay = program.variable("DATABASE_URL", &url).run();
    let stats = stats.with_code(0);
    assert!(stats.stdout.contains("DEAD        1"), "{}", stats.stdout);
    let replay = replay.with_code(1);
    assert!(replay.stderr.contains("readonly"), "{}", replay.stderr);
    assert_eq!(store.stats().dead, 1);
}

#[test]
fn the_examples_of_inbox_work() {
    let store = Store::new();
    store.accept_events(4);
    store.die_of("no such market");
    store.folder.path("inbox.db");
    let variables = [("DATABASE_URL", &*store.url)];
    for command in [
        "inbox stats",
        "inbox watch",
        "inbox dead",
        "inbox dead list",
        "inbox dead show",
        "inbox dead body",
        "inbox discard",
        "inbox prune",
        "inbox",
    ] {
        if command == "inbox discard" {
            // The letter of the examples is there for `replay`, and then for `discard`.
            run_examples(&store.folder, "inbox replay", "", &variables);
            store.die_of("no such market");
        }
        run_examples(&store.folder, command, "", &variables);
    }
    assert_eq!(examples(&store.folder, "inbox").len(), 3);
}

/// Creates a database on the server that the environment names, and returns its URL.
fn postgres_database() -> String {
    let server = std::env::var("PTOLEMY_INBOX_POSTGRES_URL").expect(
        "PTOLEMY_INBOX_POSTGRES_URL: the URL of a server in which databases can be created",
    );
    let name = format!("ptolemy_cli_{}", std::process::id());
    Runtime::new().unwrap().block_on(async {
        let mut connection = PgConnection::connect(&server).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(create).await.unwrap();
    });
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}

#[test]
#[ignore = "needs postgres"]
fn an_inbox_on_postgres_is_looked_after_in_the_same_way() {
    let folder = Folder::new();
    let url = postgres_database();
    let program = folder.program("inbox stats").variable("DATABASE_URL", &url);
    let none = program.run().with_code(2);
    assert!(none.stderr.contains("has no inbox"), "{}", none.stderr);

    let store = Store::on(folder, url);
    store.accept_events(4);
    store.die_of("no such market");
    let stats = json(&store.program("stats --json").run().with_code(0));
    assert_eq!(stats[0]["dead"], 4);
    let letters = json(&store.program("dead list --json").run().with_code(0));
    assert_eq!(letters.len(), 4);
    let id = letters[0]["id"].as_i64().unwrap();
    let body = store.program(&format!("dead body {id}")).run().with_code(0);
    assert_eq!(body.stdout, r#"{"id":"e1","event_type":"test.happened"}"#);
    let replayed = store.program(&format!("replay {id}")).run().with_code(0);
    assert_eq!(replayed.stdout, "replayed 1\n");
    let discarded = store.program("discard --all --yes").run().with_code(0);
    assert_eq!(discarded.stdout, "discarded 3\n");
    let pruned = store
        .program("prune --older-than 0s --yes")
        .run()
        .with_code(0);
    assert_eq!(pruned.stdout, "pruned 3\n");
    assert_eq!((store.stats().due, store.stats().dead), (1, 0));
    store.program("watch --count 1").run().with_code(0);
    // A session that may only read.
    let url = format!("{}?options[default_transaction_read_only]=on", store.url);
    let program = store
        .folder
        .program("inbox stats")
        .variable("DATABASE_URL", &url);
    program.run().with_code(0);
    let program = store.folder.program("inbox discard --all --yes");
    let discard = program.variable("DATABASE_URL", &url).run().with_code(1);
    assert!(discard.stderr.contains("read-only"), "{}", discard.stderr);
}
