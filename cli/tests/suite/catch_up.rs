//! `catch-up`: against the stand-in, with a receiver that stores what it accepts in an inbox.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ptolemy_webhooks::Verifier;
use ptolemy_webhooks_client::{Client, WebhookChanges};
use ptolemy_webhooks_inbox::sqlx::{self, Connection as _, SqliteConnection};
use ptolemy_webhooks_inbox::{Failure, Inbox};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Handle;

use crate::endpoint::{Endpoint, Request};
use crate::help_examples::{examples, run_examples};
use crate::management::{Account, lines};
use crate::program::{Ended, Program};
#[cfg(unix)]
use crate::signals;

const REDELIVER: (&str, &str) = ("POST", "/webhook-deliveries/{id}/redeliver");

/// Everything until now; without the limit to 2 minutes ago.
const ALL: &str = "--since 1h --until 0s --arrival-timeout 60s";

/// The behaviour of the receiver.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Mode {
    /// Stores all deliveries, except the event `poison`.
    Up,
    /// Answers 503 and stores nothing.
    Down,
}

struct Scene {
    account: Account,
    url: String,
    webhook: String,
    mode: Arc<AtomicU8>,
}

/// The receiver's answer to a request: stored deliveries are acknowledged.
fn answer(request: &Request, verifier: &Verifier, inbox: &Inbox, runtime: &Handle) -> u16 {
    let Ok(delivery) = verifier.receive(&*request.signatures[0], request.body.clone()) else {
        return 401;
    };
    if delivery.labels().event_id.as_deref() == Some("poison") {
        return 400;
    }
    match runtime.block_on(inbox.accept(&delivery)) {
        Ok(_) => 202,
        Err(_) => 503,
    }
}

impl Scene {
    /// Events need a receiver; the tests' runtimes have several threads, since its threads wait for
    /// the inbox while the test waits for a program.
    async fn new() -> Self {
        let account = Account::open().await;
        // A process that closes a file of SQLite loses its locks on that file, so they are not
        // scanned.
        for name in ["inbox.db", "inbox.db-wal", "inbox.db-shm"] {
            account.folder.names(name);
        }
        let url = format!("sqlite://{}", account.folder.path("inbox.db").display());
        let inbox = Inbox::connect(&url).await.unwrap();
        let mode = Arc::new(AtomicU8::new(Mode::Up as u8));
        let verifier = Arc::<OnceLock<Verifier>>::default();
        let (known, now, runtime) = (Arc::clone(&verifier), Arc::clone(&mode), Handle::current());
        let endpoint = Endpoint::start(move |request| {
            if now.load(Ordering::SeqCst) == Mode::Down as u8 {
                return 503;
            }
            answer(request, known.get().unwrap(), &inbox, &runtime)
        });
        let registration = account.sandbox.register(&endpoint.url).await;
        let known = verifier.set(Verifier::new(registration.secret()));
        assert!(known.is_ok());
        Self {
            url,
            webhook: registration.id().to_owned(),
            mode,
            account,
        }
    }

    fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    async fn emit(&self, id: &str) {
        let now = self.account.sandbox.now().format(&Rfc3339).unwrap();
        let event = json!({
            "id": id, "event_type": "instrument.updated", "created_at": now, "data": {"id": "i"},
        });
        self.account.sandbox.emit_json(event.to_string()).await;
        self.account.sandbox.settle().await;
    }

    /// One event that the inbox has, and others that it missed.
    async fn outage(&self, missed: usize) {
        self.emit("before").await;
        self.set(Mode::Down);
        for number in 0..missed {
            self.emit(&format!("missed-{number}")).await;
        }
        self.set(Mode::Up);
    }

    async fn change(&self, changes: WebhookChanges) {
        let sandbox = &self.account.sandbox;
        let client = Client::builder(sandbox.token(), sandbox.workspace()).url(sandbox.url());
        let webhooks = client.build().unwrap().webhooks();
        webhooks.update(&*self.webhook, changes).await.unwrap();
    }

    /// An event for which no delivery exists.
    async fn emit_while_off(&self, id: &str) {
        self.change(WebhookChanges::new().deactivate()).await;
        self.emit(id).await;
        self.change(WebhookChanges::new().activate()).await;
    }

    fn program(&self, arguments: &str) -> Program<'_> {
        let program = self.account.program(&format!("catch-up {arguments}"));
        program.variable("DATABASE_URL", &self.url)
    }

    #[track_caller]
    fn run(&self, arguments: &str, code: i32) -> Ended {
        self.program(arguments).run().with_code(code)
    }

    async fn number(&self, sql: &'static str) -> i64 {
        let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
        let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
        number.unwrap()
    }

    async fn change_rows(&self, sql: &'static str) {
        let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }

    async fn events(&self) -> i64 {
        self.number("SELECT count(*) FROM ptolemy_inbox").await
    }
}

#[track_caller]
fn says(ended: &Ended, parts: &[&str]) {
    for part in parts {
        assert!(ended.stderr.contains(part), "{part}\n{}", ended.stderr);
    }
}

fn summary(ended: &Ended) -> Value {
    let last = lines(ended).pop().unwrap();
    assert_eq!(last["kind"], "summary");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_planned_sent_again_and_stored() {
    let scene = Scene::new().await;
    scene.outage(6).await;
    let ended = scene.run(&format!("{ALL} --yes"), 0);
    assert_eq!(ended.stdout, "", "nothing is missing");
    says(
        &ended,
        &[
            &format!("plan: webhook {}, from ", scene.webhook),
            "plan: send 6 deliveries again; 1 event is in the inbox already",
            "plan:        6 instrument.updated",
            "plan: at least ",
            " calls are left in the month's quota, the floor is 1000",
            "delivery log: 7 read",
            "6 deliveries sent again, 6 arrived, nothing is missing up to 20",
            "checkpoint: 20",
        ],
    );
    assert!(!ended.stderr.contains("interrupted"), "{}", ended.stderr);
    assert_eq!((scene.events().await, scene.account.redeliveries()), (7, 6));

    // The next one begins at the checkpoint.
    let ended = scene.run("--until 0s --yes --json", 0);
    let summary = summary(&ended);
    assert_eq!(lines(&ended).len(), 1);
    assert_eq!(summary["complete"], true);
    assert_eq!(summary["webhook_id"], *scene.webhook);
    for name in ["redelivered", "missing", "unreachable", "unconfirmed"] {
        assert_eq!(summary[name], 0, "{name}");
    }
    assert!(summary["calls"].as_u64().unwrap() >= 4, "{summary}");
    assert_eq!(scene.account.redeliveries(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_ends_after_the_plan_and_does_not_block_the_next_run() {
    let scene = Scene::new().await;
    scene.outage(2).await;
    for _ in 0..3 {
        let ended = scene.run(&format!("{ALL} --dry-run"), 0);
        assert_eq!(ended.stdout, "");
        says(&ended, &["plan: send 2 deliveries again"]);
    }
    let ended = scene.run(&format!("{ALL} --dry-run --json"), 0);
    let plan = lines(&ended).remove(0);
    assert_eq!(plan["kind"], "plan");
    assert_eq!(
        (&plan["redeliveries"], &plan["already_here"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(plan["by_type"], json!({"instrument.updated": 2}));
    // Without a terminal it does not ask.
    let ended = scene.run(ALL, 2);
    says(&ended, &["send 2 deliveries again?", "--yes"]);
    let ended = scene.run(&format!("{ALL} --dry-run --quota-floor 9999999"), 1);
    says(
        &ended,
        &["left in the month's quota", "pass a lower --quota-floor"],
    );
    assert_eq!((scene.events().await, scene.account.redeliveries()), (1, 0));
    scene.run(&format!("{ALL} --yes"), 0);
    assert_eq!(scene.events().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_unreachable_events_are_listed_with_exit_code_1() {
    let scene = Scene::new().await;
    scene.outage(1).await;
    scene.emit("poison").await;
    scene.emit_while_off("off").await;
    let ended = scene.run("--since 1h --until 0s --arrival-timeout 2s --yes --json", 1);
    let found = lines(&ended);
    assert_eq!(found.len(), 3, "{found:?}");
    let missing = &found[0];
    let delivery = missing["delivery_id"].as_str().unwrap();
    assert!(!delivery.is_empty());
    assert_eq!(
        *missing,
        json!({
            "kind": "missing", "event_id": "poison", "event_type": "instrument.updated",
            "delivery_id": delivery, "why": "not_arrived", "tries": 3,
        })
    );
    assert_eq!(
        found[1],
        json!({
            "kind": "unreachable", "event_id": "off", "event_type": "instrument.updated",
            "delivery_id": null, "why": "no_delivery",
        })
    );
    let summary = summary(&ended);
    assert_eq!(summary["complete"], false);
    let counts = ["redelivered", "arrived", "missing", "unreachable"].map(|name| &summary[name]);
    assert_eq!(counts, [&json!(4), &json!(1), &json!(1), &json!(1)]);
    says(
        &ended,
        &[
            "1 missing, 1 unreachable",
            "--retry-missing",
            "events show ID",
        ],
    );

    // The table, and the option that tries again.
    let again = "--since 1h --until 0s --arrival-timeout 1s --yes";
    let ended = scene.run(again, 1);
    says(
        &ended,
        &["plan: 1 event is not in the inbox and has no tries left: --retry-missing"],
    );
    assert!(ended.stdout.starts_with("KIND "), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("not arrived, 3 tries"),
        "{}",
        ended.stdout
    );
    let calls = scene.account.redeliveries();
    let ended = scene.run(&format!("{again} --retry-missing"), 1);
    says(&ended, &["plan: send 1 delivery again"]);
    assert_eq!(scene.account.redeliveries(), calls + 3);
    assert_eq!(
        scene.events().await,
        2,
        "the event log is not put into the inbox"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_redelivery_was_rejected_is_listed_with_the_status() {
    let scene = Scene::new().await;
    scene.outage(0).await;
    scene.emit("poison").await;
    let arguments = "--since 1h --until 0s --arrival-timeout 1s --yes";
    let ended = scene.run(arguments, 1);
    says(
        &ended,
        &["not arrived: look for these events", "--retry-missing"],
    );
    // As if the API had rejected the third one.
    scene
        .change_rows("UPDATE ptolemy_inbox_catch_up_event SET answer = 410")
        .await;
    let ended = scene.run(arguments, 1);
    assert!(ended.stdout.contains("rejected, 410"), "{}", ended.stdout);
    says(
        &ended,
        &["1 missing", "rejected: the API did not", "events show ID"],
    );
    let ended = scene.run(&format!("{arguments} --json"), 1);
    let row = lines(&ended).remove(0);
    assert_eq!(
        (&row["why"], &row["status"]),
        (&json!("rejected"), &json!(410))
    );
    assert_eq!(scene.account.redeliveries(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_without_event_ids_are_unconfirmed_with_exit_code_1() {
    let scene = Scene::new().await;
    scene.outage(2).await;
    let log = || {
        let sandbox = &scene.account.sandbox;
        sandbox
            .next_calls(2)
            .of("POST", "/webhook-deliveries/filter")
    };
    log().missing_field("event_id");
    let ended = scene.run(&format!("{ALL} --yes --json"), 1);
    let summary = summary(&ended);
    assert_eq!(
        (&summary["unconfirmed"], &summary["missing"]),
        (&json!(2), &json!(0))
    );
    says(
        &ended,
        &[
            "2 deliveries sent again, 0 arrived, 2 unconfirmed, ",
            "unconfirmed: the log shows no event ids of these deliveries, so compare by hand",
            "checkpoint: 20",
        ],
    );
    // They are reported once, and never sent again.
    log().missing_field("event_id");
    scene.run(&format!("{ALL} --yes"), 0);
    assert_eq!((scene.events().await, scene.account.redeliveries()), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_source_only_its_events_count_as_arrived() {
    let scene = Scene::new().await;
    scene.outage(6).await;
    scene
        .change_rows("UPDATE ptolemy_inbox SET source = 'staging'")
        .await;
    for (source, here, missed) in [("staging", 1, 6), ("production", 0, 7)] {
        let ended = scene.run(&format!("{ALL} --source {source} --dry-run --json"), 0);
        let plan = lines(&ended).remove(0);
        let counts = (&plan["already_here"], &plan["redeliveries"]);
        assert_eq!(counts, (&json!(here), &json!(missed)), "{source}");
    }
    // The receiver of this test names no source.
    let arguments = "--since 1h --until 0s --arrival-timeout 1s --yes --source production";
    let ended = scene.run(arguments, 1);
    says(
        &ended,
        &["did not reach the inbox", "it names the source of --source"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_times_the_command_names_all_failed_which_sends_what_failed() {
    let scene = Scene::new().await;
    scene.outage(3).await;
    let log = || {
        let sandbox = &scene.account.sandbox;
        sandbox
            .next_calls(4)
            .of("POST", "/webhook-deliveries/filter")
    };
    log().missing_field("delivered_at");
    let ended = scene.run(&format!("{ALL} --yes"), 1);
    assert_eq!(ended.stdout, "");
    says(
        &ended,
        &[
            "entries without `delivered_at`, so it cannot be limited to the gap",
            "--all-failed sends all failed deliveries without a time again",
        ],
    );
    assert_eq!((scene.events().await, scene.account.redeliveries()), (1, 0));
    log().missing_field("delivered_at");
    let ended = scene.run(&format!("{ALL} --yes --all-failed"), 0);
    says(
        &ended,
        &[
            "3 deliveries sent again, 3 arrived, nothing is missing",
            "the checkpoint is not set yet: pass --since to the next run too",
        ],
    );
    assert_eq!((scene.events().await, scene.account.redeliveries()), (4, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_log_that_is_not_read_to_its_end_is_exit_code_1() {
    let scene = Scene::new().await;
    scene.outage(3).await;
    let sandbox = &scene.account.sandbox;
    let log = sandbox.next_call().of("POST", "/events/filter");
    log.missing_field("created_at");
    let ended = scene.run(&format!("{ALL} --yes --json --event-log-limit 2"), 1);
    let summary = summary(&ended);
    assert_eq!(summary["event_log_cut"], true);
    says(
        &ended,
        &[
            "3 arrived, 3 not compared, event log not read to its end",
            "a higher --event-log-limit reads more",
        ],
    );
    let ended = scene.run(&format!("{ALL} --yes"), 0);
    says(&ended, &["nothing is missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_does_not_suffice_is_exit_code_4_and_a_used_up_quota_1() {
    let scene = Scene::new().await;
    scene.outage(1).await;
    let plan = || {
        scene
            .account
            .sandbox
            .next_call()
            .of(REDELIVER.0, REDELIVER.1)
    };
    plan().as_viewer();
    let ended = scene.run(&format!("{ALL} --yes"), 4);
    assert_eq!(ended.stdout, "");
    says(&ended, &["error: a call of the API failed", "run again"]);
    assert_eq!(scene.events().await, 1);
    scene
        .account
        .sandbox
        .next_calls(9)
        .of(REDELIVER.0, REDELIVER.1)
        .no_quota();
    let ended = scene.run(&format!("{ALL} --yes"), 1);
    assert_eq!((ended.stdout.as_str(), scene.events().await), ("", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_errors_name_the_option_that_helps() {
    let scene = Scene::new().await;
    scene.emit("before").await;
    for (arguments, code, parts) in [
        (
            "--yes",
            2,
            ["the start of the gap is not known", "pass --since"],
        ),
        ("--yes --since 1m", 2, ["the gap is empty", "--since"]),
        (
            "--yes --since 1h --webhook no-such",
            1,
            ["no webhook has", "no-such"],
        ),
        ("--since 1h --every 15m", 2, ["--yes", "required"]),
        (
            "--since 1h --every 15m --yes --dry-run",
            2,
            ["--every", "--dry-run"],
        ),
        (
            "--since 1h --yes --arrival-timeout 0s",
            2,
            ["--arrival-timeout", "at least 1s"],
        ),
        (
            "--since 1h --yes --database sqlite://none.db",
            2,
            ["--database", "none.db"],
        ),
    ] {
        let ended = scene.run(arguments, code);
        assert_eq!(ended.stdout, "", "{arguments}");
        for part in parts {
            assert!(ended.stderr.contains(part), "{arguments}\n{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("`since`"), "{}", ended.stderr);
    }
    let ended = scene.account.run("catch-up --since 1h").with_code(2);
    says(&ended, &["no inbox is given: set DATABASE_URL"]);

    // Pruned events could be handled again.
    let inbox = Inbox::open_existing(&scene.url).await.unwrap();
    let handler = |_, _| async { Ok::<(), Failure>(()) };
    inbox.worker().run_until_idle(handler).await;
    assert_eq!(inbox.prune(Duration::ZERO).await.unwrap(), 1);
    let ended = scene.run("--yes --since 1h", 2);
    says(
        &ended,
        &["the gap begins before 20", "pass a later --since"],
    );

    scene.change(WebhookChanges::new().deactivate()).await;
    let ended = scene.run("--since 2026-01-01T00:00:00Z", 1);
    says(
        &ended,
        &[
            "inactive",
            &format!("`ptolemy-webhooks webhooks enable {}`", scene.webhook),
        ],
    );
    let other = scene
        .account
        .sandbox
        .register("http://127.0.0.1:9/other")
        .await;
    let ended = scene.run(ALL, 2);
    says(
        &ended,
        &[
            "has 2 webhooks: choose one with --webhook: ",
            other.id(),
            &scene.webhook,
        ],
    );
    assert_eq!(scene.account.redeliveries(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_stops_the_run() {
    let scene = Scene::new().await;
    scene.outage(9).await;
    scene.set(Mode::Down);
    let ended = scene.run("--since 1h --until 0s --arrival-timeout 1s --yes", 1);
    assert_eq!(ended.stdout, "");
    says(
        &ended,
        &[
            "redeliveries in a row did not reach the inbox: check that the receiver runs",
            "--database",
        ],
    );
    scene.set(Mode::Up);
    scene.run(&format!("{ALL} --yes --retry-missing"), 0);
    assert_eq!(scene.events().await, 10);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn after_a_signal_the_same_command_continues_at_once() {
    for (signal, code, last_line) in signals::all() {
        let scene = Scene::new().await;
        scene.outage(3).await;
        scene.set(Mode::Down);
        let command = format!("{ALL} --yes");
        let mut running = scene.program(&command).start();
        scene.account.until(|| scene.account.redeliveries() > 0);
        let stderr = running.end_by(signal);
        assert_eq!(running.0.wait().unwrap().code(), Some(code));
        let says = "interrupted: nothing is lost, and the same command continues";
        assert!(stderr.contains(says), "{stderr}");
        assert!(stderr.ends_with(last_line), "{stderr}");
        scene.set(Mode::Up);
        scene.run(&command, 0);
        assert_eq!(scene.events().await, 4);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn repeated_runs_print_a_line_each_and_survive_an_error() {
    use std::io::{BufRead as _, BufReader};

    let scene = Scene::new().await;
    scene.outage(1).await;
    scene
        .account
        .sandbox
        .next_call()
        .of("POST", "/events/filter")
        .missing_field("data");
    let mut running = scene.program("--since 1h --every 1s --yes").start();
    let mut stderr = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let mut next = || stderr.next().unwrap().unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(next());
    }
    assert!(
        seen.iter().all(|line| line.contains("Z: ")),
        "one line a run: {seen:?}"
    );
    assert!(
        seen.iter()
            .any(|line| line.contains("0 deliveries sent again, 0 arrived, nothing is missing")),
        "{seen:?}"
    );
    // A token that is not accepted any more ends the command.
    let token = scene.account.sandbox.token().to_owned();
    scene.account.sandbox.revoke(&token);
    assert_eq!(signals::exit_code(&mut running), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_runs_report_that_the_floor_is_reached_and_make_no_more_calls() {
    use std::io::{BufRead as _, BufReader};

    let scene = Scene::new().await;
    scene.outage(1).await;
    let mut running = scene.program("--since 1h --every 1s --yes").start();
    let mut stderr = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let mut next = || stderr.next().unwrap().unwrap();
    next();
    scene.account.sandbox.set_quota(5);
    let mut failed = || {
        let mut lines = (0..200).map(|_| next());
        lines.find(|line| line.contains("--quota-floor")).unwrap()
    };
    let line = failed();
    assert!(
        line.starts_with("error: 20") && line.contains("the floor is 1000"),
        "{line}"
    );
    let calls = scene.account.sandbox.calls().len();
    failed();
    failed();
    assert_eq!(scene.account.sandbox.calls().len(), calls);
    running.0.kill().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_work() {
    let scene = Scene::new().await;
    scene
        .change(WebhookChanges::new().label("production"))
        .await;
    scene.emit("before").await;
    let sandbox = &scene.account.sandbox;
    let variables = [
        ("PTOLEMY_API_URL", sandbox.url()),
        ("PTOLEMY_API_TOKEN", sandbox.token()),
        ("PTOLEMY_WORKSPACE", sandbox.workspace()),
        ("DATABASE_URL", &scene.url),
    ];
    let folder = &scene.account.folder;
    assert_eq!(examples(folder, "catch-up").len(), 3);
    run_examples(folder, "catch-up", "", &variables);
}
