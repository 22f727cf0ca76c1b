//! The program of the front page, run as it is shown.

use std::env;
use std::process::Command;

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Retries, Sandbox};

use crate::secret_folder::SecretFolder;
use crate::stand_in::received;

mod program {
    include!("front_page_program.rs");

    pub(super) fn run() -> Result<(), Box<dyn std::error::Error>> {
        main()
    }
}

const CHILD: &str = "PTOLEMY_FRONT_PAGE_TEST";

/// The program runs as a child process, because it reads its environment.
#[test]
fn child() {
    if env::var_os(CHILD).is_some() {
        program::run().unwrap();
    }
}

#[test]
fn the_front_pages_show_the_program_that_is_tested() {
    let program = include_str!("front_page_program.rs");
    assert!(include_str!("../../README.md").contains(program));
    let docs = include_str!("../../src/lib.rs")
        .lines()
        .map_while(|line| line.strip_prefix("//!"));
    let docs: Vec<&str> = docs
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    assert!(docs.join("\n").contains(program));
}

fn run(sandbox: &Sandbox, folder: &SecretFolder) {
    std::fs::write(folder.beside(".token"), format!("{}\n", sandbox.token())).unwrap();
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "front_page::child", "--nocapture"])
        .current_dir(folder.folder())
        .env(CHILD, "1")
        .env_remove("PTOLEMY_API_TOKEN")
        .env("PTOLEMY_API_TOKEN_FILE", folder.beside(".token"))
        .env("PTOLEMY_WORKSPACE", sandbox.workspace())
        .env("PTOLEMY_API_URL", sandbox.url())
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn the_front_page_registers_redelivers_and_rotates() {
    let sandbox = Sandbox::builder()
        .retries(Retries::new().attempts(1))
        .start()
        .await
        .unwrap();
    let folder = SecretFolder::new();
    run(&sandbox, &folder);
    let first = folder.read(".previous");
    let id = sandbox.webhooks()[0].id().to_owned();
    assert_eq!(sandbox.webhooks()[0].subscriptions(), ["*"]);
    assert_eq!(Some(folder.read("")), sandbox.live_secret(&id));
    assert!(first.starts_with("whsec_") && first != folder.read(""));

    // The endpoint does not exist, so its delivery fails, and the second run requests that it is
    // sent again.
    let client = crate::stand_in::client(&sandbox);
    let url = ptolemy_webhooks_client::WebhookChanges::new().url(crate::stand_in::DEAD_URL);
    client.webhooks().update(&*id, url).await.unwrap();
    sandbox.emit(samples::instrument_created()).await;
    sandbox.settle().await;
    let back = ptolemy_webhooks_client::WebhookChanges::new()
        .url("https://your-app.example.com/webhooks/ptolemy");
    client.webhooks().update(&*id, back).await.unwrap();
    run(&sandbox, &folder);
    assert_eq!(
        received(&sandbox, "POST", "/webhook-deliveries/{}/redeliver"),
        1
    );
    assert_eq!(received(&sandbox, "POST", "/webhooks"), 1);
    assert_eq!(received(&sandbox, "POST", "/webhooks/{}/rotate-secret"), 2);
    assert_eq!(Some(folder.read("")), sandbox.live_secret(&id));
}

/// Errors of the environment name the variable and do not show its value.
#[test]
fn a_missing_or_wrong_variable_is_named() {
    let run = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "front_page::child", "--nocapture"])
            .env(CHILD, "1");
        for name in [
            "PTOLEMY_API_TOKEN",
            "PTOLEMY_API_TOKEN_FILE",
            "PTOLEMY_WORKSPACE",
            "PTOLEMY_API_URL",
        ] {
            command.env_remove(name);
        }
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let token = ("PTOLEMY_API_TOKEN", "ptk_live_0011223344");
    let workspace = ("PTOLEMY_WORKSPACE", "acme");
    for (variables, named) in [
        (vec![], "PTOLEMY_API_TOKEN"),
        (vec![("PTOLEMY_API_TOKEN", "")], "PTOLEMY_API_TOKEN"),
        (vec![token], "PTOLEMY_WORKSPACE"),
        (
            vec![("PTOLEMY_API_TOKEN", "whsec_0011223344"), workspace],
            "PTOLEMY_API_TOKEN",
        ),
        (
            vec![("PTOLEMY_API_TOKEN", "ptk_live_0011223344 "), workspace],
            "PTOLEMY_API_TOKEN",
        ),
        (
            vec![token, ("PTOLEMY_API_TOKEN_FILE", "/x"), workspace],
            "PTOLEMY_API_TOKEN_FILE",
        ),
        (
            vec![("PTOLEMY_API_TOKEN_FILE", "/no/such/file"), workspace],
            "/no/such/file",
        ),
        (
            vec![("PTOLEMY_API_TOKEN_FILE", "/dev/zero"), workspace],
            "64 KiB",
        ),
        (
            vec![token, ("PTOLEMY_WORKSPACE", "..")],
            "PTOLEMY_WORKSPACE",
        ),
        (
            vec![
                token,
                workspace,
                ("PTOLEMY_API_URL", "http://api.ptolemy.cloud/v1"),
            ],
            "PTOLEMY_API_URL",
        ),
    ] {
        let output = run(&variables);
        assert!(output.contains(named), "{named}: {output}");
        assert!(!output.contains("0011223344"), "{output}");
    }
}
