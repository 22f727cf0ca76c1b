//! `sandbox`: the stand-in as a process, against receivers of the test.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ptolemy_webhooks::{Secret, Verifier};
use ptolemy_webhooks_client::{Client, Webhook};
use serde_json::Value;

use crate::endpoint::{Endpoint, Request};
use crate::help_examples::run_examples;
use crate::program::{Ended, Folder, Running};
#[cfg(unix)]
use crate::signals;

const SECRET: &str = "whsec_of_a_receiver_that_runs";

fn verifier(secret: &str) -> Verifier {
    Verifier::new(Secret::new(secret).unwrap())
}

/// Answers 204 if the signature is valid, and 401 if not.
fn verifying(secret: &str) -> Endpoint {
    let verifier = verifier(secret);
    Endpoint::start(move |request| match is_valid(&verifier, request) {
        true => 204,
        false => 401,
    })
}

fn is_valid(verifier: &Verifier, request: &Request) -> bool {
    let [signature] = &*request.signatures else {
        return false;
    };
    verifier
        .receive(signature.as_str(), request.body.clone())
        .is_ok()
}

fn lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The webhooks that the API shows to the token in a file.
fn webhooks(ready: &Value) -> Vec<Webhook> {
    let text = |name: &str| ready[name].as_str().unwrap();
    let token = fs::read_to_string(text("token_file")).unwrap();
    let client = Client::builder(token, text("workspace"))
        .url(text("url"))
        .build()
        .unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut pages = client.webhooks().list();
        let mut webhooks = Vec::new();
        while let Some(webhook) = pages.try_next().await.unwrap() {
            webhooks.push(webhook);
        }
        webhooks
    })
}

/// Waits for an answer other than `None`.
fn until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ready(running: &mut Running<'_>, path: &Path) -> Value {
    serde_json::from_str(&running.wait_for_file(path)).unwrap()
}

#[test]
fn each_known_event_is_delivered_and_the_command_ends() {
    let folder = Folder::new();
    let endpoint = verifying(SECRET);
    let program = folder.program(&format!(
        "sandbox --forward {}/webhooks/ptolemy --emit all --until-delivered",
        endpoint.url
    ));
    let ended = program.variable("PTOLEMY_WEBHOOK_SECRET", SECRET).run();
    let ended = ended.with_code(0);
    let requests = endpoint.requests();
    assert_eq!(requests.len(), ptolemy_webhooks::samples::all().count());
    assert!(requests.iter().all(|it| it.path == "/webhooks/ptolemy"));
    // Data on standard output, words on standard error.
    let exports = ended.stdout.lines();
    let names: Vec<_> = exports.map(|it| it.split('=').next().unwrap()).collect();
    let expected = [
        "export PTOLEMY_API_URL",
        "export PTOLEMY_API_TOKEN_FILE",
        "export PTOLEMY_WORKSPACE",
        "export PTOLEMY_WEBHOOK_SECRET_FILE",
        // Set twice, the secret could not be used.
        "unset PTOLEMY_WEBHOOK_SECRET",
    ];
    assert_eq!(names, expected);
    let attempts = ended
        .stderr
        .lines()
        .filter(|it| it.contains("answered 204"));
    assert_eq!(attempts.count(), requests.len());
    let summary = format!("{0} delivered, 0 failed, {0} attempts", requests.len());
    assert!(
        ended.stderr.ends_with(&format!("{summary}\n")),
        "{}",
        ended.stderr
    );
    // Its folder was removed.
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 0);
}

#[test]
fn a_secret_in_a_file_is_used_and_not_copied() {
    let folder = Folder::new();
    let endpoint = verifying(SECRET);
    let file = folder.secret_file("mine", &format!("{SECRET}\n"));
    let program = folder.program(&format!(
        "sandbox --forward {}/ --emit market.created --until-delivered --json",
        endpoint.url
    ));
    let ended = program.variable("PTOLEMY_WEBHOOK_SECRET_FILE", &file).run();
    let lines = lines(&ended.with_code(0));
    assert_eq!(lines[0]["secret_file"], file.to_str().unwrap());
    assert!(file.exists());
    let missing = folder.program(&format!("sandbox --forward {}/", endpoint.url));
    let missing = missing.variable("PTOLEMY_WEBHOOK_SECRET_FILE", "none");
    let missing = missing.run().with_code(2);
    assert!(missing.stderr.contains("PTOLEMY_WEBHOOK_SECRET_FILE"));
    assert_eq!(missing.stdout, "");
}

#[test]
fn json_has_what_is_ready_then_attempts_then_a_summary() {
    let folder = Folder::new();
    let failures = AtomicUsize::new(1);
    let endpoint = Endpoint::start(move |_| {
        match failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        }) {
            Ok(_) => 500,
            Err(_) => 204,
        }
    });
    let arguments = format!(
        "sandbox --forward {}/ --emit market.created --every 1s --count 2 --until-delivered --json --seed 7",
        endpoint.url
    );
    let ended = folder.program(&arguments).run().with_code(0);
    let lines = lines(&ended);
    let kinds: Vec<_> = lines
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ready", "attempt", "attempt", "attempt", "summary"]);
    assert_eq!(lines[0]["seed"], 7);
    assert_eq!(lines[1]["response_status"], 500);
    assert_eq!(lines[1]["event_type"], "market.created");
    let second = lines.iter().find(|it| it["attempt"] == 2).unwrap();
    assert_eq!(second["delivery_id"], lines[1]["delivery_id"]);
    assert_eq!(second["outcome"], "answered");
    assert_eq!(
        (&lines[4]["succeeded"], &lines[4]["failed"]),
        (&2.into(), &0.into())
    );
    assert_eq!(ended.stderr, "");
    // The same seed, the same ids.
    let again = self::lines(&folder.program(&arguments).run());
    assert_eq!(again[0]["webhook_id"], lines[0]["webhook_id"]);
    assert_eq!(again[0]["workspace"], lines[0]["workspace"]);
}

#[test]
fn a_delivery_that_fails_for_good_is_exit_code_1() {
    let folder = Folder::new();
    for (fault, attempts, outcome) in [
        ("lose-answer", 3, "answer_lost"),
        ("tampered:1", 3, "answered"),
        ("no-header", 3, "answered"),
        ("break-off:1.0", 3, "broken_off"),
        ("lose-answer:0", 1, "answered"),
    ] {
        let endpoint = verifying(SECRET);
        let program = folder.program(&format!(
            "sandbox --forward {}/ --emit market.created --until-delivered --json --attempts 3 --fault {fault}",
            endpoint.url
        ));
        let ended = program.variable("PTOLEMY_WEBHOOK_SECRET", SECRET).run();
        let ended = ended.with_code(i32::from(attempts > 1));
        let lines = lines(&ended);
        let tried: Vec<_> = lines.iter().filter(|it| it["kind"] == "attempt").collect();
        assert_eq!(tried.len(), attempts, "{fault}");
        for attempt in tried {
            assert_eq!(attempt["outcome"], outcome, "{fault}");
            let name = fault.split(':').next().unwrap();
            if attempts > 1 {
                assert_eq!(attempt["fault"], name);
            }
        }
    }
}

#[test]
fn every_attempt_is_logged_also_after_the_hundredth_of_a_delivery() {
    let folder = Folder::new();
    let endpoint = Endpoint::answering(500);
    let ended = folder
        .program(&format!(
            "sandbox --forward {}/ --emit market.created --until-delivered --json --attempts 150",
            endpoint.url
        ))
        .run()
        .with_code(1);
    let lines = lines(&ended);
    let numbers = lines.iter().filter(|it| it["kind"] == "attempt");
    let numbers: Vec<_> = numbers.map(|it| it["attempt"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=150).collect::<Vec<_>>());
    assert_eq!(lines.last().unwrap()["attempts"], 150);
    assert_eq!(ended.stderr, "");
}

#[cfg(unix)]
#[test]
fn the_api_answers_to_the_token_of_the_file_until_a_signal_comes() {
    use std::os::unix::fs::PermissionsExt as _;

    for (signal, code) in [("TERM", 0), ("HUP", 0), ("INT", 130)] {
        let folder = Folder::new();
        for name in ["files/token", "files/secret"] {
            folder.names(name);
        }
        // Of a run that was killed.
        let note = folder.path("ready.json");
        fs::write(&note, r#"{"kind":"ready","token_file":"gone"}"#).unwrap();
        let endpoint = Endpoint::answering(204);
        let program = folder.program(&format!(
            "sandbox --folder files --ready-file ready.json --forward {}/hook --workspace acme --shape bare-arrays",
            endpoint.url
        ));
        let mut running = program.start();
        let ready = until("it is ready", || {
            let text = fs::read_to_string(&note).unwrap_or_default();
            text.contains("webhook_id").then_some(text)
        });
        let ready: Value = serde_json::from_str(&ready).unwrap();
        assert_eq!(ready["workspace"], "acme");
        let webhooks = webhooks(&ready);
        assert_eq!(webhooks.len(), 1);
        assert_eq!(ready["webhook_id"], webhooks[0].id.as_str());
        assert_eq!(webhooks[0].url.as_deref(), ready["forward"].as_str());
        for name in ["token", "secret", "page_url"] {
            let file = fs::metadata(folder.path("files").join(name)).unwrap();
            assert_eq!(file.permissions().mode() & 0o777, 0o600);
        }
        let made = fs::metadata(folder.path("files")).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o700);
        // The folder holds nothing else, such as a temporary file.
        assert_eq!(fs::read_dir(folder.path("files")).unwrap().count(), 3);
        folder.scan_files();

        signals::send(&running, signal);
        if signal == "HUP" && signals::is_hangup_ignored() {
            assert!(running.0.try_wait().unwrap().is_none());
            signals::send(&running, "TERM");
        }
        assert_eq!(signals::exit_code(&mut running), Some(code));
        let mut stderr = String::new();
        let mut pipe = running.0.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        assert!(!stderr.contains("error"), "{signal}: {stderr}");
        assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 0);
        // Without --emit nothing is emitted.
        assert!(endpoint.requests().is_empty());
    }
}

#[cfg(unix)]
#[test]
fn a_signal_before_all_was_delivered_is_no_success() {
    for (signal, code, last_line) in signals::all() {
        let folder = Folder::new();
        let endpoint = Endpoint::answering(500);
        let arguments = format!(
            "sandbox --forward {}/ --emit market.created --every 1h --until-delivered --first-retry 1d",
            endpoint.url
        );
        let mut running = folder.program(&arguments).start();
        until("a delivery", || endpoint.requests().pop());
        let stderr = running.end_by(signal);
        assert_eq!(signals::exit_code(&mut running), Some(code));
        let summary = "\n0 delivered, 0 failed, 1 pending, ";
        assert!(stderr.contains(summary), "{stderr}");
        assert!(stderr.ends_with(last_line), "{stderr}");

        let mut running = folder.program(&format!("{arguments} --json")).start();
        let mut lines = BufReader::new(running.stdout()).lines();
        assert!(lines.any(|line| line.unwrap().contains("\"kind\":\"attempt\"")));
        assert_eq!(running.end_by(signal), last_line);
        let summary = r#"{"kind":"summary","attempts":1,"succeeded":0,"failed":0,"pending":1}"#;
        assert_eq!(lines.next().unwrap().unwrap(), summary);
        assert!(lines.next().is_none());
    }
}

#[test]
fn a_generated_secret_signs_and_a_retry_comes_on_the_hosts_clock() {
    let folder = Folder::new();
    folder.names("files/token");
    let secret_file = folder.names("files/secret");
    let failures = AtomicUsize::new(0);
    let endpoint = Endpoint::start(move |_| match failures.fetch_add(1, Ordering::SeqCst) {
        0 => 503,
        _ => 204,
    });
    let program = folder.program(&format!(
        "sandbox --folder files --ready-file ready.json --forward {}/ --emit market.created --first-retry 1s --json",
        endpoint.url
    ));
    let mut running = program.start();
    ready(&mut running, &folder.path("ready.json"));
    until("a retry", || (endpoint.requests().len() >= 2).then_some(()));
    let secret = fs::read_to_string(secret_file).unwrap();
    let verifier = verifier(&secret);
    assert!(endpoint.requests().iter().all(|it| is_valid(&verifier, it)));
    let mut output = BufReader::new(running.stdout()).lines();
    let attempt = output.find(|line| line.as_ref().unwrap().contains("\"attempt\":2"));
    assert!(
        attempt
            .unwrap()
            .unwrap()
            .contains("\"response_status\":204")
    );
}

#[test]
fn what_cannot_work_is_a_usage_error_that_lists_what_can() {
    let folder = Folder::new();
    for (arguments, part) in [
        ("--forward https://127.0.0.1/", "no TLS"),
        ("--forward http://hooks.example.com/", "--any-host"),
        ("--forward http://10.0.0.1/", "--any-host"),
        (
            "--forward nonsense",
            "http://127.0.0.1:3000/webhooks/ptolemy",
        ),
        ("--forward http://user@127.0.0.1/", "user name"),
        (
            "--emit nonsense",
            "event type nonsense is unknown; known are all",
        ),
        ("--ready-file none/ready.json", "its folder does not exist"),
        ("--ready-file .", "not the note of an earlier run"),
        ("--emit all --every 0s", "at least 1s"),
        ("--fault nonsense", "lose-answer"),
        ("--fault lose-answer:2", "from 0 to 1"),
        ("--shape nonsense", "bare-arrays"),
        ("--workspace a/b", "lower-case"),
        ("--emit all --until-delivered", "--forward"),
    ] {
        let ended = folder.program(&format!("sandbox {arguments}")).run();
        let ended = ended.with_code(2);
        assert!(ended.stderr.contains(part), "{arguments}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ended = folder.program(&format!("sandbox --port {port}")).run();
    assert!(ended.with_code(1).stderr.contains(&port.to_string()));
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 0);
}

#[test]
fn files_of_others_are_neither_overwritten_nor_removed() {
    let folder = Folder::new();
    let endpoint = Endpoint::answering(204);
    fs::create_dir(folder.path("files")).unwrap();
    for name in ["secret", "token"] {
        let file = folder.path("files").join(name);
        fs::write(&file, "mine").unwrap();
        let arguments = format!(
            "sandbox --folder files --forward {}/ --emit all --until-delivered",
            endpoint.url
        );
        let ended = folder.program(&arguments).run().with_code(2);
        let part = format!("files/{name}: the file exists");
        assert!(ended.stderr.contains(&part), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        // Its earlier files were removed.
        assert_eq!(fs::read_dir(folder.path("files")).unwrap().count(), 1);
        fs::remove_file(&file).unwrap();
    }
    for text in ["mine", "{}", r#"{"kind":"other","token_file":"x"}"#] {
        let file = folder.path("ready.json");
        fs::write(&file, text).unwrap();
        let program = folder.program("sandbox --ready-file ready.json");
        let ended = program.run().with_code(2);
        assert!(ended.stderr.contains("ready.json: it is not the note"));
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}

#[test]
fn a_second_sandbox_leaves_the_files_of_the_first() {
    let folder = Folder::new();
    folder.names("files/token");
    let note = folder.path("ready.json");
    // An empty file, such as `mktemp` makes, is replaced.
    fs::write(&note, "").unwrap();
    let arguments = "sandbox --folder files --ready-file ready.json";
    let mut first = folder.program(arguments).start();
    let first_note = first.wait_for_file(&note);
    let token = fs::read_to_string(folder.path("files/token")).unwrap();
    let url: Value = serde_json::from_str(&first_note).unwrap();
    let url = port_of(url["url"].as_str().unwrap());
    // The port is taken.
    let second = folder.program(&format!("sandbox --port {url} --ready-file ready.json"));
    second.run().with_code(1);
    assert_eq!(fs::read_to_string(&note).unwrap(), first_note);
    // The folder is taken.
    folder.program("sandbox --folder files").run().with_code(2);
    assert_eq!(
        fs::read_to_string(folder.path("files/token")).unwrap(),
        token
    );
    // What others have written since then stays at the end.
    fs::write(&note, "of another").unwrap();
    fs::remove_file(folder.path("files/token")).unwrap();
    fs::write(folder.path("files/token"), "mine").unwrap();
    #[cfg(unix)]
    {
        signals::send(&first, "TERM");
        assert_eq!(signals::exit_code(&mut first), Some(0));
        assert_eq!(fs::read_to_string(&note).unwrap(), "of another");
        let token = fs::read_to_string(folder.path("files/token")).unwrap();
        assert_eq!(token, "mine");
    }
}

fn port_of(url: &str) -> &str {
    let (_, port) = url.rsplit_once(':').unwrap();
    port.trim_end_matches("/v1")
}

#[test]
fn plain_variables_that_would_be_set_twice_are_unset() {
    let folder = Folder::new();
    let endpoint = verifying(SECRET);
    let arguments = format!(
        "sandbox --forward {}/ --emit market.created --until-delivered",
        endpoint.url
    );
    let program = folder.program(&arguments);
    let ended = program.variable("PTOLEMY_API_TOKEN", "a").run();
    let unset: Vec<_> = ended
        .stdout
        .lines()
        .filter(|it| it.starts_with("unset"))
        .collect();
    assert_eq!(unset, ["unset PTOLEMY_API_TOKEN"]);
    let plain = folder.program(&arguments).run();
    assert!(!plain.stdout.contains("unset"), "{}", plain.stdout);
    let twice = folder
        .program(&arguments)
        .variable("PTOLEMY_WEBHOOK_SECRET", SECRET);
    let twice = twice.variable("PTOLEMY_WEBHOOK_SECRET_FILE", "none").run();
    let twice = twice.with_code(2).stderr;
    assert!(
        twice.contains("set twice, in this variable and in PTOLEMY_WEBHOOK_SECRET_FILE"),
        "{twice}"
    );
}

#[cfg(unix)]
#[test]
fn a_secret_file_that_others_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let endpoint = verifying(SECRET);
    let file = folder.secret_file("mine", SECRET);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let program = folder.program(&format!(
        "sandbox --forward {}/ --emit market.created --until-delivered",
        endpoint.url
    ));
    let ended = program.variable("PTOLEMY_WEBHOOK_SECRET_FILE", &file).run();
    let ended = ended.with_code(0);
    assert!(
        ended.stderr.contains("mine has mode 640"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.ends_with("1 delivered, 0 failed, 1 attempt\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_hangup_does_not_end_what_nohup_started() {
    let folder = Folder::new();
    folder.names("files/token");
    let mut child = std::process::Command::new("nohup")
        .args([
            env!("CARGO_BIN_EXE_ptolemy-webhooks"),
            "sandbox",
            "--folder",
            "files",
            "--json",
        ])
        .current_dir(folder.path(""))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut ready).unwrap();
    let send = |signal: &str| {
        let mut kill = std::process::Command::new("kill");
        let id = child.id().to_string();
        let sent = kill.args([&format!("-{signal}"), &id]).status();
        assert!(sent.unwrap().success());
    };
    send("HUP");
    // The API still answers after the signal, which a process handles within a tick of its clock.
    let ready: Value = serde_json::from_str(&ready).unwrap();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(100));
        assert!(webhooks(&ready).is_empty());
    }
    send("TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_examples_of_sandbox_work() {
    let folder = Folder::new();
    let endpoint = Endpoint::answering(204);
    run_examples(&folder, "sandbox", &endpoint.url, &[]);
    assert!(endpoint.requests().len() > 25);
}
