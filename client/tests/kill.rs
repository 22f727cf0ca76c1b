//! Kills the process before and after each call of `ensure` and `rotate_secret` is carried out,
//! runs it again, and expects one webhook and a file with its live secret.
//!
//! The process is this binary itself, with an environment variable that selects the task to run.
//! The stand-in leaves a call without an answer, so that the process waits when it is killed.
#![cfg(unix)]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ptolemy_webhooks_client::{Client, NewWebhook, Subscriptions};
use ptolemy_webhooks_sandbox::{CallEnd, Sandbox};

const TASK: &str = "PTOLEMY_KILL_TEST_TASK";
const URL: &str = "https://your-app.example.com/webhooks/ptolemy";
const LIMIT: Duration = Duration::from_secs(30);

/// The calls of each task in the order in which they are sent, by what was there before.
const FRESH: &[(&str, &str)] = &[
    ("GET", "/webhooks"),
    ("POST", "/webhooks"),
    ("PATCH", "/webhooks/{id}"),
    ("PUT", "/webhooks/{id}/subscriptions"),
];
const RERUN: &[(&str, &str)] = &[
    ("GET", "/webhooks"),
    ("GET", "/webhooks/{id}/subscriptions"),
];
const REPAIR: &[(&str, &str)] = &[
    ("GET", "/webhooks"),
    ("POST", "/webhooks/{id}/rotate-secret"),
    ("PATCH", "/webhooks/{id}"),
    ("GET", "/webhooks/{id}/subscriptions"),
    ("PUT", "/webhooks/{id}/subscriptions"),
];
const ROTATION: &[(&str, &str)] = &[("POST", "/webhooks/{id}/rotate-secret")];

/// Runs a task in the child process. It is a test so that the binary can be asked to run it alone.
#[test]
fn child() {
    let Ok(task) = env::var(TASK) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let webhooks = Client::from_env().unwrap().webhooks();
        if task.starts_with("ensure") {
            let mut ensure = webhooks
                .ensure(URL)
                .label("production")
                .subscriptions(Subscriptions::all());
            if task == "ensure and rotate" {
                ensure = ensure.rotate_lost_secret();
            }
            ensure.secret_file("webhook.secret").await.unwrap();
        } else {
            webhooks
                .rotate_secret(task)
                .secret_file("webhook.secret")
                .await
                .unwrap();
        }
    });
}

fn spawn(sandbox: &Sandbox, folder: &Path, task: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .current_dir(folder)
        .env(TASK, task)
        .env("PTOLEMY_API_TOKEN", sandbox.token())
        .env("PTOLEMY_WORKSPACE", sandbox.workspace())
        .env("PTOLEMY_API_URL", sandbox.url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn run(sandbox: &Sandbox, folder: &Path, task: &str) {
    let status = spawn(sandbox, folder, task).wait().unwrap();
    assert!(status.success(), "{task}: {status}, {:?}", sandbox.calls());
}

/// Runs the task and kills it while the call waits for its answer. Returns whether it came to the
/// call.
fn kill_at(
    sandbox: &Sandbox,
    folder: &Path,
    task: &str,
    (method, path): (&str, &str),
    is_carried_out: bool,
) -> bool {
    let hung = || {
        sandbox
            .calls()
            .iter()
            .filter(|call| call.end() == CallEnd::Hung)
            .count()
    };
    let before = hung();
    let next = sandbox.next_call().of(method, path);
    if is_carried_out {
        next.hang_after()
    } else {
        next.hang_before()
    }
    let mut child = spawn(sandbox, folder, task);
    let begin = Instant::now();
    while hung() == before {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(begin.elapsed() < LIMIT, "{method} {path} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

fn assert_registered(sandbox: &Sandbox, folder: &Path, what: &str) {
    let webhooks = sandbox.webhooks();
    assert_eq!(webhooks.len(), 1, "{what}: {webhooks:?}");
    let webhook = &webhooks[0];
    assert_eq!(
        (webhook.label(), webhook.is_active()),
        (Some("production"), true),
        "{what}"
    );
    assert_eq!(webhook.subscriptions(), ["*"], "{what}");
    let stored = fs::read_to_string(folder.join("webhook.secret")).unwrap();
    assert_eq!(Some(stored), sandbox.live_secret(webhook.id()), "{what}");
}

/// Whenever events can be sent, the secret that signs them is in the file.
fn assert_no_delivery_without_a_stored_secret(sandbox: &Sandbox, folder: &Path, what: &str) {
    for webhook in sandbox.webhooks() {
        if !webhook.subscriptions().is_empty() {
            let stored = fs::read_to_string(folder.join("webhook.secret")).ok();
            assert_eq!(stored, sandbox.live_secret(webhook.id()), "{what}");
        }
    }
}

async fn sandbox() -> Sandbox {
    Sandbox::start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_registration_killed_at_any_call_is_repaired_by_the_next_run() {
    for call in FRESH {
        for is_carried_out in [false, true] {
            let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
            let what = format!("{call:?}, carried out: {is_carried_out}");
            assert!(
                kill_at(&sandbox, folder.path(), "ensure", *call, is_carried_out),
                "{what}"
            );
            assert_no_delivery_without_a_stored_secret(&sandbox, folder.path(), &what);
            run(&sandbox, folder.path(), "ensure");
            assert_registered(&sandbox, folder.path(), &what);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_killed_at_any_call_is_repaired_by_the_run_after() {
    for call in REPAIR {
        for is_carried_out in [false, true] {
            let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
            let what = format!("{call:?}, carried out: {is_carried_out}");
            assert!(kill_at(
                &sandbox,
                folder.path(),
                "ensure",
                ("POST", "/webhooks"),
                true
            ));
            assert!(
                kill_at(&sandbox, folder.path(), "ensure", *call, is_carried_out),
                "{what}"
            );
            assert_no_delivery_without_a_stored_secret(&sandbox, folder.path(), &what);
            run(&sandbox, folder.path(), "ensure");
            assert_registered(&sandbox, folder.path(), &what);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rerun_killed_at_any_call_changes_nothing() {
    for call in RERUN {
        let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
        run(&sandbox, folder.path(), "ensure");
        let secret = fs::read(folder.path().join("webhook.secret")).unwrap();
        assert!(
            kill_at(&sandbox, folder.path(), "ensure", *call, true),
            "{call:?}"
        );
        run(&sandbox, folder.path(), "ensure");
        assert_registered(&sandbox, folder.path(), &format!("{call:?}"));
        assert_eq!(
            fs::read(folder.path().join("webhook.secret")).unwrap(),
            secret
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_killed_at_its_call_is_repaired_by_either_task() {
    for is_carried_out in [false, true] {
        for is_repaired_by_ensure in [false, true] {
            let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
            run(&sandbox, folder.path(), "ensure");
            let first = fs::read(folder.path().join("webhook.secret")).unwrap();
            let id = sandbox.webhooks()[0].id().to_owned();
            let what = format!("carried out: {is_carried_out}, ensure: {is_repaired_by_ensure}");
            assert!(
                kill_at(&sandbox, folder.path(), &id, ROTATION[0], is_carried_out),
                "{what}"
            );
            assert_eq!(
                fs::read(folder.path().join("webhook.secret.previous")).unwrap(),
                b"",
                "nothing was issued yet"
            );
            run(
                &sandbox,
                folder.path(),
                if is_repaired_by_ensure { "ensure" } else { &id },
            );
            assert_registered(&sandbox, folder.path(), &what);
            assert_eq!(
                fs::read(folder.path().join("webhook.secret.previous")).unwrap(),
                first,
                "{what}"
            );
        }
    }
}

/// A webhook that was created by hand: its secret is missing, its label differs, it is not active
/// and has no subscriptions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_with_a_rotation_killed_at_any_call_is_completed_by_the_next_run() {
    for call in REPAIR {
        for is_carried_out in [false, true] {
            let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
            let client = Client::builder(sandbox.token(), sandbox.workspace());
            let client = client.url(sandbox.url()).build().unwrap();
            let webhook = NewWebhook::new(URL).label("by hand").inactive();
            client.webhooks().create(webhook).await.unwrap();
            let what = format!("{call:?}, carried out: {is_carried_out}");
            let task = "ensure and rotate";
            assert!(
                kill_at(&sandbox, folder.path(), task, *call, is_carried_out),
                "{what}"
            );
            assert_no_delivery_without_a_stored_secret(&sandbox, folder.path(), &what);
            // If the rotation was begun, the next run continues it without permission.
            let is_begun = call.0 != "GET" || call.1 != "/webhooks";
            let next = if is_begun { "ensure" } else { task };
            run(&sandbox, folder.path(), next);
            assert_registered(&sandbox, folder.path(), &what);
        }
    }
}

/// Kills at times other than those of the calls, such as while files are written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_time_is_repaired_by_the_next_run() {
    let (sandbox, folder) = (sandbox().await, tempfile::tempdir().unwrap());
    for round in 0..40_u64 {
        let task = match sandbox.webhooks().first() {
            Some(webhook) if round % 2 == 1 => webhook.id().to_owned(),
            _ => "ensure".to_owned(),
        };
        let mut child = spawn(&sandbox, folder.path(), &task);
        std::thread::sleep(Duration::from_micros(fastrand::u64(5_000..60_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 8 == 7 {
            run(&sandbox, folder.path(), "ensure");
            assert_registered(&sandbox, folder.path(), &format!("round {round}"));
            let files = fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(files, 3, "temporary files are left");
            if round % 16 == 15 {
                let id = sandbox.webhooks()[0].id().to_owned();
                let client = Client::builder(sandbox.token(), sandbox.workspace())
                    .url(sandbox.url())
                    .build()
                    .unwrap();
                client.webhooks().delete(id).await.unwrap();
            }
        }
    }
}
