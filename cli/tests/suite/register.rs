//! `register` and `rotate`: the secret and its file.

use std::fs;
use std::path::Path;

use ptolemy_webhooks_sandbox::Role;
use serde_json::{Value, json};

use crate::answers::Answers;
use crate::management::{Account, lines, names};
use crate::program::Folder;

const URL: &str = "https://your-app.example.com/webhooks/ptolemy";

fn register(arguments: &str) -> String {
    format!("register {URL} --secret-file webhook.secret {arguments}")
}

/// Names the files that may have a secret.
fn name_files(account: &Account) {
    account.folder.names("webhook.secret");
    account.folder.names("webhook.secret.previous");
}

fn read(account: &Account, name: &str) -> String {
    fs::read_to_string(account.folder.path(name)).unwrap()
}

fn live(account: &Account) -> String {
    let webhooks = account.sandbox.webhooks();
    assert_eq!(webhooks.len(), 1, "{webhooks:?}");
    account.sandbox.live_secret(webhooks[0].id()).unwrap()
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn an_endpoint_is_registered_once() {
    let account = Account::open().await;
    name_files(&account);
    let ended = account
        .run(&register("--label production --all-events --json"))
        .with_code(0);
    let line = &lines(&ended)[0];
    assert_eq!(
        names(line),
        [
            "active",
            "changed",
            "created_at",
            "id",
            "label",
            "secret_file",
            "url"
        ]
    );
    assert_eq!(
        line["changed"],
        json!(["created", "secret", "settings", "subscriptions"])
    );
    assert_eq!(
        (&line["url"], &line["label"]),
        (&json!(URL), &json!("production"))
    );
    assert_eq!(read(&account, "webhook.secret"), live(&account));
    #[cfg(unix)]
    assert_eq!(mode(&account.folder.path("webhook.secret")), 0o600);
    assert_eq!(account.sandbox.webhooks()[0].subscriptions(), ["*"]);
    assert!(
        ended
            .stderr
            .contains("is created, and its secret is in webhook.secret"),
        "{}",
        ended.stderr
    );

    let ended = account
        .run(&register("--label production --all-events --json"))
        .with_code(0);
    assert_eq!(lines(&ended)[0]["changed"], json!([]));
    assert!(
        ended.stderr.starts_with("nothing changed: webhook "),
        "{}",
        ended.stderr
    );

    let ended = account.run(&register(
        "--label production --events instrument.created,market.typo",
    ));
    let ended = ended.with_code(0);
    assert!(
        ended.stderr.contains("changed: subscriptions"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("warning: market.typo is not among"),
        "{}",
        ended.stderr
    );
    assert_eq!(account.sandbox.webhooks()[0].subscriptions().len(), 2);
}

#[tokio::test]
async fn what_is_needed_is_a_usage_error() {
    let account = Account::open().await;
    for arguments in [
        format!("register {URL} --all-events"),
        format!("register {URL} --secret-file webhook.secret"),
        register("--all-events --events instrument.created"),
        register("--events ,"),
        register("--all-events --print-secret --json"),
        "register nothing --secret-file webhook.secret --all-events".to_owned(),
    ] {
        account.run(&arguments).with_code(2);
    }
    assert!(account.sandbox.webhooks().is_empty());
    assert!(!account.folder.path("webhook.secret").exists());
}

#[tokio::test]
async fn a_missing_environment_is_a_usage_error_that_names_the_variable() {
    let account = Account::open().await;
    let ended = account.folder.program("webhooks").run().with_code(2);
    assert!(
        ended.stderr.contains("PTOLEMY_API_TOKEN"),
        "{}",
        ended.stderr
    );
    let token = || {
        account
            .folder
            .program("webhooks")
            .variable("PTOLEMY_API_TOKEN", account.sandbox.token())
    };
    let ended = token().run().with_code(2);
    assert!(
        ended.stderr.contains("PTOLEMY_WORKSPACE"),
        "{}",
        ended.stderr
    );
    for place in [
        "--workspace W webhooks list",
        "webhooks --workspace W",
        "webhooks list --workspace W",
    ] {
        let arguments = place.replace('W', account.sandbox.workspace());
        let program = account.folder.program(&arguments);
        let program = program
            .variable("PTOLEMY_API_TOKEN", account.sandbox.token())
            .variable("PTOLEMY_API_URL", account.sandbox.url());
        let code = program.run().code;
        assert_eq!(code, if place.starts_with("--") { 2 } else { 0 }, "{place}");
    }
}

#[tokio::test]
async fn a_secret_is_printed_alone_and_only_if_asked_for() {
    let account = Account::open().await;
    name_files(&account);
    let arguments = register("--all-events --print-secret");
    for _ in 0..2 {
        let ended = account
            .program(&arguments)
            .may_show_secrets()
            .run()
            .with_code(0);
        assert_eq!(ended.stdout, format!("{}\n", live(&account)));
        assert!(!ended.stderr.contains("whsec_"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_lost_secret_is_rotated_only_if_that_is_allowed() {
    let account = Account::open().await;
    name_files(&account);
    account.run(&register("--all-events")).with_code(0);
    let first = live(&account);
    fs::remove_file(account.folder.path("webhook.secret")).unwrap();
    let ended = account.run(&register("--all-events")).with_code(1);
    assert!(
        ended.stderr.contains("pass --rotate-lost-secret"),
        "{}",
        ended.stderr
    );
    assert_eq!(live(&account), first);
    let ended = account
        .run(&register("--all-events --rotate-lost-secret --json"))
        .with_code(0);
    assert_eq!(lines(&ended)[0]["changed"], json!(["secret"]));
    assert_ne!(live(&account), first);
    assert_eq!(read(&account, "webhook.secret"), live(&account));
}

#[tokio::test]
async fn a_creation_without_an_answer_is_found_again() {
    let account = Account::open().await;
    name_files(&account);
    account
        .sandbox
        .next_call()
        .of("POST", "/webhooks")
        .reset_after();
    let ended = account.run(&register("--all-events --json")).with_code(0);
    assert_eq!(
        lines(&ended)[0]["changed"],
        json!(["created", "secret", "settings", "subscriptions"])
    );
    assert_eq!(read(&account, "webhook.secret"), live(&account));

    let account = Account::open().await;
    name_files(&account);
    account
        .sandbox
        .next_call()
        .of("POST", "/webhooks")
        .reset_after();
    account
        .sandbox
        .next_calls(50)
        .of("POST", "/webhooks/{id}/rotate-secret")
        .reset_before();
    account.run(&register("--all-events")).with_code(3);
}

#[tokio::test]
async fn a_token_that_may_not_register_has_the_exit_code_4() {
    let account = Account::open().await;
    let viewer = account.sandbox.token_with(Role::Viewer);
    let arguments = register("--all-events");
    let ended = account
        .program(&arguments)
        .variable("PTOLEMY_API_TOKEN", viewer)
        .run()
        .with_code(4);
    assert!(
        ended.stderr.contains("requires the role Admin"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("a robot's token cannot have"),
        "{}",
        ended.stderr
    );
    account.sandbox.revoke(account.sandbox.token());
    let ended = account.run("webhooks").with_code(4);
    assert!(
        ended.stderr.contains("missing, expired or revoked"),
        "{}",
        ended.stderr
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_is_not_written_into_a_file_that_others_can_use() {
    let account = Account::open().await;
    name_files(&account);
    account.run(&register("--all-events")).with_code(0);
    let calls = account.sandbox.calls().len();
    for name in ["webhook.secret", "webhook.secret.previous"] {
        let path = account.folder.path(name);
        for wide in [0o640, 0o604, 0o620] {
            set_mode(&path, wide);
            for arguments in [
                register("--all-events"),
                format!("rotate {URL} --secret-file webhook.secret"),
            ] {
                let ended = account.run(&arguments).with_code(2);
                let fault = format!("file {name} has mode {wide:03o}");
                assert!(ended.stderr.contains(&fault), "{}", ended.stderr);
                assert!(ended.stderr.contains("chmod 600"), "{}", ended.stderr);
            }
        }
        set_mode(&path, 0o600);
    }
    assert_eq!(account.sandbox.calls().len(), calls);
    set_mode(&account.folder.path("webhook.secret"), 0o400);
    account.run(&register("--all-events")).with_code(0);
}

#[tokio::test]
async fn a_file_with_another_content_is_not_overwritten() {
    let account = Account::open().await;
    account
        .folder
        .secret_file("webhook.secret", "something else");
    let ended = account.run(&register("--all-events")).with_code(2);
    assert!(
        ended.stderr.contains("contains text that is not a secret"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("something else"));
    assert_eq!(read(&account, "webhook.secret"), "something else");
    assert!(account.sandbox.webhooks().is_empty());
}

#[tokio::test]
async fn a_rotation_keeps_the_old_secret_beside_the_new_one() {
    let account = Account::open().await;
    name_files(&account);
    account
        .run(&register("--all-events --label production"))
        .with_code(0);
    let old = live(&account);
    let ended = account
        .run("rotate production --secret-file webhook.secret --json")
        .with_code(0);
    assert_eq!(
        names(&lines(&ended)[0]),
        ["previous_secret_file", "secret_file", "webhook_id"]
    );
    assert_ne!(live(&account), old);
    assert_eq!(read(&account, "webhook.secret"), live(&account));
    assert_eq!(read(&account, "webhook.secret.previous"), old);
    #[cfg(unix)]
    for name in ["webhook.secret", "webhook.secret.previous"] {
        assert_eq!(mode(&account.folder.path(name)), 0o600);
    }
    assert!(
        ended
            .stderr
            .contains("PTOLEMY_WEBHOOK_SECRET_PREVIOUS_FILE=webhook.secret.previous"),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stderr
            .contains("does not document whether the old secret"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("is empty"), "{}", ended.stderr);

    account.folder.names("new.secret");
    let ended = account
        .run("rotate production --secret-file new.secret")
        .with_code(0);
    assert!(
        ended.stderr.contains("new.secret.previous is empty"),
        "{}",
        ended.stderr
    );
    assert_eq!(read(&account, "new.secret"), live(&account));
}

#[tokio::test]
async fn a_rotation_without_an_answer_has_the_exit_code_3_and_is_repaired() {
    let account = Account::open().await;
    name_files(&account);
    account
        .run(&register("--all-events --label production"))
        .with_code(0);
    let rotate = "rotate production --secret-file webhook.secret";
    account
        .sandbox
        .next_calls(3)
        .of("POST", "/webhooks/{id}/rotate-secret")
        .reset_after();
    account.run(rotate).with_code(3);
    assert_ne!(read(&account, "webhook.secret"), live(&account));
    account.run(rotate).with_code(0);
    assert_eq!(read(&account, "webhook.secret"), live(&account));
    account
        .sandbox
        .next_call()
        .of("POST", "/webhooks/{id}/rotate-secret")
        .as_viewer();
    account.run(rotate).with_code(4);
    assert_eq!(read(&account, "webhook.secret"), live(&account));
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_in_a_rotation_says_what_to_do() {
    let account = Account::open().await;
    name_files(&account);
    account
        .run(&register("--all-events --label production"))
        .with_code(0);
    let call = ("POST", "/webhooks/{id}/rotate-secret");
    let rotate = "rotate production --secret-file webhook.secret";
    for (signal, code, last_line) in crate::signals::all() {
        account.sandbox.next_call().of(call.0, call.1).hang_after();
        let before = account.calls("POST", "/webhooks/{}/rotate-secret");
        let mut running = account.program(rotate).start();
        account.until(|| account.calls("POST", "/webhooks/{}/rotate-secret") > before);
        let stderr = running.end_by(signal);
        assert_eq!(running.0.wait().unwrap().code(), Some(code));
        assert!(stderr.contains("run the same command again"), "{stderr}");
        assert!(stderr.ends_with(last_line), "{stderr}");
        account.run(rotate).with_code(0);
        assert_eq!(read(&account, "webhook.secret"), live(&account));
    }
}

#[tokio::test]
async fn a_secret_needs_a_file_and_a_url_without_user_information() {
    let account = Account::open().await;
    for (arguments, fault) in [
        (
            format!("register {URL} --all-events --secret-file -"),
            "`-` is not a file",
        ),
        (format!("rotate {URL} --secret-file -"), "`-` is not a file"),
        (
            "register https://user@a.example/ --all-events --secret-file s".to_owned(),
            "the URL has a user name",
        ),
        (
            "rotate x --secret-file s --print-secret --json".to_owned(),
            "leave out --json",
        ),
    ] {
        let ended = account.run(&arguments).with_code(2);
        assert!(ended.stderr.contains(fault), "{}", ended.stderr);
    }
    assert_eq!(account.sandbox.calls().len(), 0);
    for name in ["-", "-.state", "s", "s.state"] {
        assert!(!account.folder.path(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn a_registration_whose_subscriptions_fail_says_what_exists() {
    let account = Account::open().await;
    name_files(&account);
    for _ in 0..2 {
        let ended = account
            .run(&register("--events instrument.created,bogus"))
            .with_code(1);
        let id = account.sandbox.webhooks()[0].id().to_owned();
        let begin = format!(
            "webhook {id} is registered and its secret is in webhook.secret, but its subscriptions are not as requested: "
        );
        assert!(ended.stderr.contains(&begin), "{}", ended.stderr);
        assert!(ended.stderr.contains("status 422"), "{}", ended.stderr);
        assert!(
            ended.stderr.ends_with(
                "; run the same command again, with another --events if this one is not accepted\n"
            ),
            "{}",
            ended.stderr
        );
        assert_eq!(read(&account, "webhook.secret"), live(&account));
    }
    account.run(&register("--all-events")).with_code(0);
    assert_eq!(account.sandbox.webhooks()[0].subscriptions(), ["*"]);
}

#[tokio::test]
async fn a_rotated_secret_is_printed_alone_if_asked_for() {
    let account = Account::open().await;
    name_files(&account);
    account.run(&register("--all-events")).with_code(0);
    let rotate = format!("rotate {URL} --secret-file webhook.secret --print-secret");
    let ended = account
        .program(&rotate)
        .may_show_secrets()
        .run()
        .with_code(0);
    assert_eq!(ended.stdout, format!("{}\n", live(&account)));
    assert!(!ended.stderr.contains("whsec_"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_rotation_without_an_answer_says_how_often_it_was_tried_and_what_is_next() {
    let account = Account::open().await;
    name_files(&account);
    account.run(&register("--all-events")).with_code(0);
    let id = account.sandbox.webhooks()[0].id().to_owned();
    let call = ("POST", "/webhooks/{id}/rotate-secret");
    account
        .sandbox
        .next_calls(3)
        .of(call.0, call.1)
        .internal_error_after();
    let ended = account
        .run(&format!("rotate {URL} --secret-file webhook.secret"))
        .with_code(3);
    for part in [
        "; 3 attempts, not repeated again, because each rotation issues another secret".to_owned(),
        format!(
            "next, run `ptolemy-webhooks rotate {id} --secret-file webhook.secret`, which issues"
        ),
    ] {
        assert!(ended.stderr.contains(&part), "{}", ended.stderr);
    }
}

/// An API that removes the folder of the secret while it issues one.
fn api_that_loses_the_folder(folder: &Folder, webhooks: Vec<Value>) -> Answers {
    let place = folder.path("place");
    fs::create_dir(&place).unwrap();
    Answers::start(move |method, path, _| match (method, path) {
        ("GET", "/webhooks/w1") => (200, webhooks[0].clone()),
        ("GET", _) => (200, json!({"data": webhooks, "meta": {"has_more": false}})),
        _ => {
            fs::remove_dir_all(&place).unwrap();
            let secret = "whsec_0123456789abcdef01234567";
            (
                201,
                json!({"id": "w1", "url": URL, "label": "", "active": true, "secret": secret}),
            )
        }
    })
}

#[test]
fn a_secret_that_cannot_be_stored_is_lost_or_printed_and_the_repair_is_named() {
    let webhook = json!({"id": "w1", "url": URL, "label": "", "active": true});
    for (arguments, webhooks, again) in [
        (
            format!("register {URL} --all-events --secret-file place/s"),
            vec![],
            "run the same command again, which issues",
        ),
        (
            "rotate w1 --secret-file place/s".to_owned(),
            vec![webhook],
            "run `ptolemy-webhooks rotate w1 --secret-file place/s`, which issues",
        ),
    ] {
        let begin =
            "error: the new secret of webhook w1 is live, and could not be stored in place/s: ";
        let folder = Folder::new();
        let answers = api_that_loses_the_folder(&folder, webhooks.clone());
        let ended = answers.program(&folder, &arguments).run().with_code(1);
        assert!(ended.stderr.contains(begin), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("It is lost: correct"),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(again), "{}", ended.stderr);
        assert!(!ended.stderr.contains("this error"), "{}", ended.stderr);

        let folder = Folder::new();
        let answers = api_that_loses_the_folder(&folder, webhooks.clone());
        let program = answers.program(&folder, &format!("{arguments} --print-secret"));
        let ended = program.may_show_secrets().run().with_code(1);
        assert_eq!(ended.stdout, "whsec_0123456789abcdef01234567\n");
        assert!(
            ended.stderr.contains("It is on standard output: keep it"),
            "{}",
            ended.stderr
        );

        let folder = Folder::new();
        let answers = api_that_loses_the_folder(&folder, webhooks);
        let program = answers.program(&folder, &format!("{arguments} --print-secret"));
        let mut running = program.start();
        drop(running.0.stdout.take());
        let mut stderr = String::new();
        let mut pipe = running.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut pipe, &mut stderr).unwrap();
        assert_eq!(running.0.wait().unwrap().code(), Some(1), "{stderr}");
        assert!(stderr.contains(begin), "{stderr}");
        assert!(
            stderr.contains("could not be printed to standard output either"),
            "{stderr}"
        );
    }
}
