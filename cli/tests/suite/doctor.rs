//! `doctor`: each finding in its good and its bad form, against the stand-in.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ptolemy_webhooks::samples;
use ptolemy_webhooks_client::{Client, NewWebhook, Subscriptions, WebhookChanges, WebhookId};
use ptolemy_webhooks_inbox::Inbox;
use ptolemy_webhooks_inbox::sqlx::{Connection as _, Executor as _, SqliteConnection};
use ptolemy_webhooks_sandbox::{Role, Sandbox, Shape};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::endpoint::Endpoint;
use crate::help_examples::run_examples;
use crate::program::{Folder, Program};

const URL: &str = "https://hooks.example.com/webhooks/ptolemy";

/// A stand-in, and a folder whose programs use it.
struct SetUp {
    folder: Folder,
    runtime: Runtime,
    sandbox: Sandbox,
}

/// The findings of `doctor --json`.
struct Found {
    code: i32,
    findings: Vec<Value>,
}

impl Found {
    /// The results of a check.
    fn results(&self, check: &str) -> Vec<&str> {
        let findings = self.findings.iter().filter(|it| it["check"] == check);
        findings.map(|it| it["outcome"].as_str().unwrap()).collect()
    }

    /// Fails if a check has another result or does not say this.
    #[track_caller]
    fn says(&self, check: &str, result: &str, part: &str) {
        let is_it = |it: &&Value| {
            it["check"] == check
                && it["outcome"] == result
                && it["text"].as_str().unwrap().contains(part)
        };
        let found = self.findings.iter().find(is_it);
        let found =
            found.unwrap_or_else(|| panic!("{check} {result} {part}: {:#?}", self.findings));
        // Every finding except `ok` has a fix.
        assert_eq!(found["fix"].is_null(), result == "ok", "{found}");
    }

    /// Fails if no finding of a check has this fix.
    #[track_caller]
    fn fixes(&self, check: &str, part: &str) {
        let findings = self.findings.iter().filter(|it| it["check"] == check);
        let fixes: Vec<_> = findings
            .map(|it| it["fix"].as_str().unwrap_or_default())
            .collect();
        assert!(fixes.iter().any(|fix| fix.contains(part)), "{fixes:?}");
    }

    /// Fails if anything but these checks is a warning or a problem.
    #[track_caller]
    fn complains_only_of(&self, checks: &[&str]) {
        for finding in &self.findings {
            let is_bad = finding["outcome"] == "warning" || finding["outcome"] == "problem";
            let check = finding["check"].as_str().unwrap();
            assert_eq!(is_bad, checks.contains(&check) && is_bad, "{finding}");
        }
    }
}

fn found(program: Program<'_>) -> Found {
    let ended = program.run();
    let lines = ended.stdout.lines();
    Found {
        code: ended.code,
        findings: lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    }
}

impl SetUp {
    fn new() -> Self {
        Self::with(Sandbox::builder())
    }

    fn with(builder: ptolemy_webhooks_sandbox::Builder) -> Self {
        let runtime = Runtime::new().unwrap();
        Self {
            folder: Folder::new(),
            sandbox: runtime.block_on(builder.start()).unwrap(),
            runtime,
        }
    }

    /// A stand-in with one correct webhook.
    fn healthy() -> (Self, WebhookId) {
        let set_up = Self::new();
        let id = set_up.register(URL, "production");
        (set_up, id)
    }

    fn client(&self) -> Client {
        Client::builder(self.sandbox.token(), self.sandbox.workspace())
            .url(self.sandbox.url())
            .build()
            .unwrap()
    }

    fn register(&self, url: &str, label: &str) -> WebhookId {
        let webhooks = self.client().webhooks();
        self.runtime.block_on(async {
            let created = webhooks.create(NewWebhook::new(url).label(label)).await;
            let id = created.unwrap().webhook.id;
            let subscriptions = webhooks.subscriptions(&id);
            subscriptions.replace(Subscriptions::all()).await.unwrap();
            id
        })
    }

    fn program_as(&self, token: &str, arguments: &str) -> Program<'_> {
        self.folder
            .program(&format!("doctor {arguments}"))
            .variable("PTOLEMY_API_URL", self.sandbox.url())
            .variable("PTOLEMY_API_TOKEN", token)
            .variable("PTOLEMY_WORKSPACE", self.sandbox.workspace())
    }

    fn program(&self, arguments: &str) -> Program<'_> {
        self.program_as(self.sandbox.token(), arguments)
    }

    fn found(&self, arguments: &str) -> Found {
        found(self.program(&format!("--json {arguments}")))
    }

    /// A secret file that was changed an hour ago, with a note beside it.
    fn secret_file(&self, note: Option<&str>) -> PathBuf {
        let path = self
            .folder
            .secret_file("webhook.secret", "whsec_of_the_receiver\n");
        let file = File::options().append(true).open(&path).unwrap();
        let before = SystemTime::now() - Duration::from_secs(3_600);
        file.set_modified(before).unwrap();
        if let Some(note) = note {
            fs::write(self.folder.path("webhook.secret.state"), note).unwrap();
        }
        path
    }
}

#[test]
fn a_set_up_that_is_right_has_no_complaint() {
    let (set_up, id) = SetUp::healthy();
    set_up.secret_file(Some(&format!(r#"{{"webhook":"{id}"}}"#)));
    let found = set_up.found("--secret-file webhook.secret");
    assert_eq!(found.code, 0);
    found.complains_only_of(&[]);
    found.says("token", "ok", "accepts the token");
    found.says("role", "ok", "at least Viewer");
    found.says("workspace", "ok", "exists");
    found.says("clock", "ok", "0 s");
    found.says("active", "ok", "production");
    found.says("url", "ok", "https");
    found.says("subscriptions", "ok", "every event type");
    found.says("failures", "ok", "no failed delivery");
    found.says("quota", "ok", "calls are left");
    found.says("secret_file", "ok", "owner only");
    found.says("secret", "ok", "documented form");
    found.says("right_secret", "ok", "production");
    found.says("assumptions", "unknown", "no event yet");
    found.says("inbox", "unknown", "DATABASE_URL");
    // Only read calls were made.
    let calls = set_up.sandbox.calls();
    let made = calls
        .iter()
        .filter(|it| it.method() != "GET" && !it.path().ends_with("/filter"));
    assert_eq!(made.count(), 2, "those of the test");

    let table = set_up
        .program("--secret-file webhook.secret")
        .run()
        .with_code(0);
    assert!(
        table
            .stdout
            .contains("ok        token: the API accepts the token\n")
    );
    assert!(
        table
            .stdout
            .contains("unknown   inbox: not checked: DATABASE_URL is not set\n          fix: ")
    );
}

#[test]
fn a_token_that_is_rejected_is_exit_code_4_and_the_rest_is_still_checked() {
    let (set_up, _) = SetUp::healthy();
    set_up.secret_file(None);
    let token = set_up.sandbox.token_with(Role::Viewer);
    let viewer = found(set_up.program_as(&token, "--json"));
    assert_eq!(viewer.code, 0);
    viewer.says("role", "ok", "only a change would show");
    set_up.sandbox.revoke(&token);
    let rejected = found(set_up.program_as(&token, "--json --secret-file webhook.secret"));
    assert_eq!(rejected.code, 4);
    rejected.says("token", "problem", "401");
    rejected.says(
        "token",
        "problem",
        "an API token begins with ptk_live_, and",
    );
    rejected.says("secret", "ok", "documented form");
    rejected.says("right_secret", "unknown", "not available");
    assert!(rejected.results("active").is_empty());
    let forbidden = {
        set_up.sandbox.next_call().as_viewer();
        set_up.found("")
    };
    // The fault fits calls that need more than Viewer, which `doctor` does not make.
    assert_eq!(forbidden.code, 0);
}

#[test]
fn a_configuration_that_cannot_work_is_a_problem() {
    let set_up = SetUp::new();
    let none = found(set_up.folder.program("doctor --json"));
    assert_eq!(none.code, 2);
    none.says("configuration", "problem", "PTOLEMY_API_TOKEN");
    none.fixes("configuration", "set PTOLEMY_WORKSPACE or pass");
    let invalid = found(set_up.program_as("ptk live", "--json"));
    assert_eq!(invalid.code, 2);
    invalid.fixes("configuration", "correct PTOLEMY_API_TOKEN");
    let slash = found(set_up.program("--json --workspace .."));
    assert_eq!(slash.code, 2);
    slash.fixes("configuration", "correct --workspace");
    // The option comes before the environment.
    let option = set_up.program(&format!(
        "--json --workspace {}",
        set_up.sandbox.workspace()
    ));
    let option = found(option.variable("PTOLEMY_WORKSPACE", "another"));
    assert_eq!(
        (option.code, &*option.results("workspace")),
        (0, &["ok"][..])
    );
    let wrong = set_up
        .program("--json")
        .variable("PTOLEMY_WORKSPACE", "another");
    let wrong = found(wrong);
    assert_eq!(wrong.code, 1);
    wrong.says("workspace", "problem", "404");
    let down = set_up
        .program("--json")
        .variable("PTOLEMY_API_URL", "http://127.0.0.1:1/v1");
    let down = found(down);
    assert_eq!(down.code, 1);
    down.says("api", "problem", "connect");
    let file = set_up.folder.secret_file("token", set_up.sandbox.token());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for (mode, result) in [(0o600, "ok"), (0o640, "warning"), (0o604, "warning")] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let program = set_up.folder.program("doctor --json");
            let found = found(
                program
                    .variable("PTOLEMY_API_URL", set_up.sandbox.url())
                    .variable("PTOLEMY_WORKSPACE", set_up.sandbox.workspace())
                    .variable("PTOLEMY_API_TOKEN_FILE", &file),
            );
            assert_eq!(found.results("token_file"), [result]);
            assert_eq!(found.results("token"), ["ok"]);
        }
    }
}

#[test]
fn webhooks_that_get_nothing_are_problems() {
    let (set_up, id) = SetUp::healthy();
    let client = set_up.client();
    set_up.runtime.block_on(async {
        let webhooks = client.webhooks();
        let changes = WebhookChanges::new().deactivate();
        webhooks.update(&id, changes).await.unwrap();
        let plain = NewWebhook::new("http://hooks.example.com/").label("plain");
        webhooks.create(plain).await.unwrap();
        webhooks
            .create(NewWebhook::new(URL).label("twin"))
            .await
            .unwrap();
    });
    let found = set_up.found("");
    assert_eq!(found.code, 1);
    found.says("active", "problem", "production");
    assert_eq!(found.results("active"), ["problem", "ok", "ok"]);
    assert_eq!(found.results("subscriptions"), ["ok", "problem", "problem"]);
    found.says("url", "warning", "plain");
    assert_eq!(found.results("same_url"), ["warning"]);
    found.says("same_url", "warning", "twin");
    // One webhook, by each of its names.
    for name in [id.as_str(), "production"] {
        let one = set_up.found(&format!("--webhook {name}"));
        assert_eq!(one.results("active"), ["problem"], "{name}");
        assert_eq!(one.results("same_url"), ["warning"]);
    }
    let plain = set_up.found("--webhook http://hooks.example.com/");
    assert_eq!(plain.results("url"), ["warning"]);
    assert!(plain.results("same_url").is_empty());
    let none = set_up.found("--webhook nonsense");
    assert_eq!(none.code, 1);
    none.says("webhooks", "problem", "no webhook has the id");
    // Those of other webhooks are not reported.
    assert!(none.results("failures").is_empty() && none.results("active").is_empty());
    let empty = set_up.program("").argument("--webhook").argument(" ");
    assert!(empty.run().with_code(2).stderr.contains("it is empty"));
    let twice = set_up.found(&format!("--webhook {URL}"));
    twice.says(
        "webhooks",
        "problem",
        "2 webhooks have the label or the URL",
    );
    let other_form = set_up.found("--webhook http://HOOKS.example.com:80");
    assert_eq!(other_form.results("url"), ["warning"]);
    let empty = SetUp::new().found("");
    assert_eq!(empty.code, 0);
    empty.says("webhooks", "warning", "no webhook");
}

#[test]
fn failures_are_counted_by_the_status_of_the_answer() {
    let set_up = SetUp::new();
    let endpoint = Endpoint::start(|request| match request.body.len() % 2 {
        0 => 401,
        _ => 503,
    });
    set_up.register(&endpoint.url, "production");
    set_up.register("http://127.0.0.1:1/", "gone");
    set_up.runtime.block_on(async {
        for sample in samples::all() {
            set_up.sandbox.emit(sample).await;
        }
        set_up.sandbox.settle().await;
    });
    let found = set_up.found("");
    assert_eq!(found.code, 0, "a warning is not a problem");
    found.says("failures", "warning", "25 without a status");
    found.says("failures", "warning", "answered 401");
    found.says("failures", "warning", "answered 503");
    let one = set_up.found("--webhook gone");
    one.says(
        "failures",
        "warning",
        "25 failed deliveries: 25 without a status",
    );

    let set_up = SetUp::with(Sandbox::builder().shape(Shape::BareDeliveries));
    set_up.register("http://127.0.0.1:1/", "gone");
    set_up.runtime.block_on(async {
        set_up.sandbox.emit(samples::market_created()).await;
        set_up.sandbox.settle().await;
    });
    let found = set_up.found("");
    found.says(
        "failures",
        "unknown",
        "1 delivery without a readable `status`",
    );
    found.fixes("failures", "`redeliver --failed` leaves them out");
    assert_eq!(found.results("failures"), ["unknown"]);
}

#[test]
fn the_note_beside_a_secret_file_says_whose_secret_it_is() {
    let (set_up, id) = SetUp::healthy();
    let other = set_up.register("https://other.example.com/", "other");
    for (note, result, part) in [
        (
            format!(r#"{{"webhook":"{other}"}}"#),
            "problem",
            "another webhook",
        ),
        (
            r#"{"webhook":"gone"}"#.to_owned(),
            "problem",
            "does not have",
        ),
        (
            format!(r#"{{"rotating":"{id}"}}"#),
            "warning",
            "not finished",
        ),
        ("nonsense".to_owned(), "warning", "not a note"),
        (format!(r#"{{"webhook":"{id}"}}"#), "ok", "production"),
    ] {
        set_up.secret_file(Some(&note));
        let found = set_up.found("--webhook production --secret-file webhook.secret");
        found.says("right_secret", result, part);
        assert_eq!(found.code, i32::from(result == "problem"), "{note}");
    }
    fs::remove_file(set_up.folder.path("webhook.secret.state")).unwrap();
    let none = set_up.found("--secret-file webhook.secret");
    none.says("right_secret", "unknown", "no note");
    let variable = set_up.program("--json");
    let variable = found(variable.variable("PTOLEMY_WEBHOOK_SECRET", "whsec_of_the_receiver"));
    variable.says("right_secret", "unknown", "only a file has a note");
    let invalid = set_up.folder.secret_file("invalid", " ");
    let program = set_up.program("--json");
    let invalid = found(program.variable("PTOLEMY_WEBHOOK_SECRET_FILE", invalid));
    assert_eq!(
        (invalid.code, &*invalid.results("secret")),
        (1, &["problem"][..])
    );
    let missing = set_up.found("--secret-file none");
    assert_eq!(missing.results("secret"), ["problem"]);
    // Nothing shows that the secret itself is wrong.
    missing.fixes("secret", "correct the path");
    for finding in &missing.findings {
        assert!(!finding["fix"].to_string().contains("rotate"), "{finding}");
    }
    let input = set_up
        .program("--json --secret-file -")
        .input("whsec_of_the_receiver\n");
    let input = found(input);
    assert_eq!((input.code, &*input.results("secret")), (0, &["ok"][..]));
    let twice = set_up
        .program("--json")
        .variable("PTOLEMY_WEBHOOK_SECRET", "whsec_of_the_receiver")
        .variable("PTOLEMY_WEBHOOK_SECRET_FILE", "webhook.secret");
    let twice = found(twice);
    assert_eq!(twice.code, 1);
    twice.says("secret", "problem", "set twice");
    twice.fixes("secret", "unset one");
    assert_eq!(set_up.found("").results("secret"), ["unknown"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let path = set_up.secret_file(None);
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let found = set_up.found("--secret-file webhook.secret");
        found.says("secret_file", "warning", "has mode 644");
    }
}

#[test]
fn answers_after_the_file_was_written_suggest_whether_the_secret_is_right() {
    for (status, result, part) in [(204, "ok", "suggests"), (401, "warning", "answered 401")] {
        for shape in [None, Some(Shape::OtherStatus), Some(Shape::AttemptsName)] {
            let set_up = SetUp::with(Sandbox::builder().shapes(shape));
            set_up.secret_file(None);
            let endpoint = Endpoint::answering(status);
            set_up.register(&endpoint.url, "production");
            set_up.runtime.block_on(async {
                set_up.sandbox.emit(samples::market_created()).await;
                set_up.sandbox.settle().await;
            });
            let found = set_up.found("--secret-file webhook.secret");
            found.says("secret_in_use", result, part);
            found.says("right_secret", "unknown", "does not return the secret");
        }
    }
    let set_up = SetUp::with(Sandbox::builder().shape(Shape::DeliveriesWithoutTimes));
    set_up.secret_file(None);
    set_up.register(&Endpoint::answering(204).url, "production");
    let emitted = set_up.sandbox.emit(samples::market_created());
    set_up.runtime.block_on(emitted);
    let found = set_up.found("--secret-file webhook.secret");
    assert!(found.results("secret_in_use").is_empty());
}

#[test]
fn the_quota_and_the_events_are_looked_at() {
    let (set_up, _) = SetUp::healthy();
    set_up.sandbox.set_quota(500);
    set_up.found("").says("quota", "warning", "only 49");
    set_up.sandbox.set_quota(0);
    let none = set_up.found("");
    assert_eq!(none.code, 1);
    assert_eq!(none.results("quota"), ["problem"]);
    set_up.sandbox.set_quota(10_000);
    set_up
        .sandbox
        .next_calls(3)
        .of("GET", "/events")
        .internal_error_before();
    set_up.found("").says("assumptions", "unknown", "500");

    set_up.runtime.block_on(async {
        for sample in [samples::instrument_created(), samples::market_updated()] {
            set_up.sandbox.emit(sample).await;
        }
    });
    let as_assumed = set_up.found("");
    as_assumed.says("assumptions", "ok", "2 events are as this project assumes");

    let other = SetUp::with(Sandbox::builder().shape(Shape::NoEventId));
    other.register(URL, "production");
    let emitted = other
        .sandbox
        .emit_json(r#"{"event_type":"market.created","data":[]}"#);
    other.runtime.block_on(emitted);
    let found = other.found("");
    assert_eq!(found.code, 0);
    found.says(
        "assumptions",
        "warning",
        "event id (`id`, a string): missing from 1",
    );
}

/// An API that answers everything with an empty list and this header.
fn api(header: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let body = r#"{"data":[],"meta":{"next_cursor":null,"has_more":false}}"#;
            // The head of a request and its short body come at once.
            let _ = connection.read(&mut [0; 4096]);
            let answer = format!(
                "HTTP/1.1 200 OK\r\n{header}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn a_clock_that_is_off_is_found() {
    use time::format_description::well_known::Rfc2822;

    let folder = Folder::new();
    let date = |ahead: i64| {
        let date = time::OffsetDateTime::now_utc() + time::Duration::seconds(ahead);
        format!(
            "date: {}\r\n",
            date.format(&Rfc2822).unwrap().replace("+0000", "GMT")
        )
    };
    for (header, result, part) in [
        (date(0), "ok", "clock is"),
        (date(-3_600), "problem", "s ahead of"),
        (date(3_600), "problem", "s behind"),
        (date(120), "warning", "s behind"),
        (
            date(-120),
            "warning",
            "rejects signatures whose time differs from its clock by more than 300 s",
        ),
        ("date: nonsense\r\n".to_owned(), "unknown", "no Date"),
        (String::new(), "unknown", "no Date"),
    ] {
        let found = found(
            folder
                .program("doctor --json")
                .variable("PTOLEMY_API_URL", api(header))
                .variable("PTOLEMY_API_TOKEN", format!("ptk_live_{}", "0".repeat(64)))
                .variable("PTOLEMY_WORKSPACE", "acme"),
        );
        found.says("clock", result, part);
        assert_eq!(found.code, i32::from(result == "problem"));
        found.says("quota", "unknown", "X-RateLimit-Remaining");
    }
}

#[test]
fn the_inbox_is_looked_at_if_it_is_named() {
    let (set_up, _) = SetUp::healthy();
    for name in ["inbox.db", "inbox.db-wal", "inbox.db-shm"] {
        set_up.folder.names(name);
    }
    let url = format!("sqlite://{}", set_up.folder.path("inbox.db").display());
    let found = || found(set_up.program("--json").variable("DATABASE_URL", &url));
    let missing = found();
    assert_eq!(missing.code, 1);
    missing.says("inbox", "problem", "does not exist");
    assert!(!set_up.folder.path("inbox.db").exists());
    let _inbox = set_up.runtime.block_on(Inbox::connect(&url)).unwrap();
    found().says("inbox", "ok", "events: 0 waiting");
    let file = set_up.folder.path("url");
    fs::write(&file, &url).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let program = set_up
            .program("--json")
            .variable("DATABASE_URL_FILE", &file);
        self::found(program).says("database_file", "warning", "has mode 644");
    }
    let execute = |sql: &'static str| {
        set_up.runtime.block_on(async {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            connection.execute(sql).await.unwrap();
        });
    };
    execute(
        "INSERT INTO ptolemy_inbox (dedup_key, state, received_at, run_at, written_at, finished_at, body, last_error)
         VALUES ('a', 'dead', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', x'7b7d', 'no such market')",
    );
    let dead = found();
    assert_eq!((dead.code, &*dead.results("inbox")), (0, &["warning"][..]));
    dead.says("inbox", "warning", "1 event failed permanently");
    execute("UPDATE ptolemy_inbox SET state = 'waiting', finished_at = NULL");
    let late = found();
    assert_eq!(late.code, 1);
    late.says("inbox", "problem", "no worker runs");
}

#[test]
fn the_examples_of_doctor_work() {
    let (set_up, id) = SetUp::healthy();
    set_up.secret_file(Some(&format!(r#"{{"webhook":"{id}"}}"#)));
    let variables = [
        ("PTOLEMY_API_URL", set_up.sandbox.url()),
        ("PTOLEMY_API_TOKEN", set_up.sandbox.token()),
        ("PTOLEMY_WORKSPACE", set_up.sandbox.workspace()),
    ];
    run_examples(&set_up.folder, "doctor", "", &variables);
}
