//! `webhooks`, `subscribe`, `unsubscribe` and `subscriptions`, and how a webhook is named.

use ptolemy_webhooks_client::{Client, NewWebhook};
use ptolemy_webhooks_sandbox::{Sandbox, Shape};
use serde_json::{Value, json};

use crate::help_examples::examples;
use crate::management::{Account, lines, names};
use crate::program::Folder;

const URL: &str = "https://your-app.example.com/webhooks/ptolemy";

/// Creates a webhook, and returns its id.
async fn create(account: &Account, url: &str, label: &str) -> String {
    let sandbox = &account.sandbox;
    let client = Client::builder(sandbox.token(), sandbox.workspace()).url(sandbox.url());
    let webhook = NewWebhook::new(url).label(label);
    let created = client
        .build()
        .unwrap()
        .webhooks()
        .create(webhook)
        .await
        .unwrap();
    created.webhook.id.into()
}

#[tokio::test]
async fn webhooks_are_listed() {
    let account = Account::open().await;
    let ended = account.run("webhooks").with_code(0);
    assert_eq!(ended.stdout, "");
    assert!(
        ended.stderr.contains("no webhooks in this workspace"),
        "{}",
        ended.stderr
    );
    let id = create(&account, URL, "production").await;
    create(&account, "https://your-app.example.com/other", "staging").await;
    for arguments in ["webhooks --json", "webhooks list --json"] {
        let listed = lines(&account.run(arguments).with_code(0));
        assert_eq!(listed.len(), 2);
        assert_eq!(
            names(&listed[0]),
            ["active", "created_at", "id", "label", "url"]
        );
        assert!(
            listed.iter().any(|line| line["id"] == json!(id)),
            "{listed:?}"
        );
    }
    let table = account.run("webhooks").with_code(0).stdout;
    assert_eq!(table.lines().count(), 3);
    assert!(
        table.starts_with("ID ") && table.contains("production"),
        "{table}"
    );
}

#[tokio::test]
async fn a_webhook_is_named_by_id_label_or_url() {
    let account = Account::open().await;
    let id = create(&account, URL, "production").await;
    let twin = create(&account, URL, "canary").await;
    create(&account, "https://your-app.example.com/other", &id).await;
    let show = |name: &str| {
        let program = account
            .folder
            .program_with(["webhooks", "show", name, "--json"]);
        account.with_environment(program).run()
    };
    assert_eq!(lines(&show("production").with_code(0))[0]["id"], json!(id));
    assert_eq!(lines(&show("canary").with_code(0))[0]["id"], json!(twin));
    assert_eq!(
        lines(&show(&id).with_code(0))[0]["id"],
        json!(id),
        "an id goes before a label"
    );
    let other = lines(&show("https://your-app.example.com:443/other").with_code(0));
    assert_eq!(other[0]["label"], json!(id));

    let ended = show(URL).with_code(1);
    assert!(
        ended
            .stderr
            .contains("2 webhooks have the label or the URL"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains(&id) && ended.stderr.contains(&twin),
        "{}",
        ended.stderr
    );
    let ended = show("nobody\u{1b}[31m").with_code(1);
    assert!(ended.stderr.contains("looked at 3"), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
    assert_eq!(
        account.calls("GET", "/webhooks/{}"),
        0,
        "one list is enough"
    );
}

#[tokio::test]
async fn a_webhook_is_disabled_and_enabled() {
    let account = Account::open().await;
    create(&account, URL, "production").await;
    for (action, active, state) in [("disable", false, "inactive"), ("enable", true, "active")] {
        let arguments = format!("webhooks {action} production --json");
        let ended = account.run(&arguments).with_code(0);
        assert_eq!(lines(&ended)[0]["active"], json!(active));
        assert_eq!(account.sandbox.webhooks()[0].is_active(), active);
        let ended = account.run(&arguments).with_code(0);
        assert!(
            ended.stderr.contains(&format!("was {state} already")),
            "{}",
            ended.stderr
        );
    }
    assert_eq!(account.calls("PATCH", "/webhooks/{}"), 2);
}

#[tokio::test]
async fn a_deletion_needs_a_terminal_or_yes() {
    let account = Account::open().await;
    create(&account, URL, "production").await;
    let ended = account.run("webhooks delete production").with_code(2);
    assert!(
        ended.stderr.contains(&format!("(production, {URL})")),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("pass --yes"), "{}", ended.stderr);
    assert_eq!(account.sandbox.webhooks().len(), 1);
    let plan = || account.sandbox.next_call().of("DELETE", "/webhooks/{id}");
    plan().as_viewer();
    account.run("webhooks delete production --yes").with_code(4);
    plan().reset_after();
    let ended = account.run("webhooks delete production --yes").with_code(0);
    assert!(ended.stderr.contains("is deleted"), "{}", ended.stderr);
    assert!(account.sandbox.webhooks().is_empty());
}

#[tokio::test]
async fn a_read_that_fails_has_the_exit_code_1() {
    let account = Account::open().await;
    account
        .sandbox
        .next_calls(5)
        .of("GET", "/webhooks")
        .bad_gateway();
    let ended = account.run("webhooks").with_code(1);
    assert!(ended.stderr.contains("status 502"), "{}", ended.stderr);
    account
        .sandbox
        .next_calls(5)
        .of("PATCH", "/webhooks/{id}")
        .bad_gateway();
    create(&account, URL, "production").await;
    account.run("webhooks disable production").with_code(3);
}

#[tokio::test]
async fn a_password_in_a_url_and_escapes_in_a_label_are_not_printed() {
    let account = Account::open().await;
    create(
        &account,
        "https://user:hunter2@your-app.example.com/x",
        "a\u{1b}[31mb\nc",
    )
    .await;
    for arguments in ["webhooks", "webhooks --json"] {
        let ended = account.run(arguments).with_code(0);
        assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
        assert!(
            ended.stdout.contains("https://user@your-app.example.com/x"),
            "{}",
            ended.stdout
        );
        assert!(
            !ended.stdout.contains('\u{1b}') && !ended.stdout.contains("b\nc"),
            "{}",
            ended.stdout
        );
    }
}

#[tokio::test]
async fn subscriptions_are_added_listed_and_removed_under_every_shape() {
    Sandbox::builder()
        .every_shape(|sandbox| async move {
            let account = Account::of(sandbox);
            create(&account, URL, "production").await;
            let ended = account.run("subscriptions production").with_code(0);
            assert!(
                ended.stderr.contains("has no subscriptions"),
                "{}",
                ended.stderr
            );
            let results = |arguments: &str| {
                let ended = account.run(&format!("{arguments} --json")).with_code(0);
                let lines = lines(&ended);
                for line in &lines {
                    assert_eq!(names(line), ["event_type", "outcome", "webhook_id"]);
                }
                lines
                    .iter()
                    .map(|line| line["outcome"].clone())
                    .collect::<Vec<Value>>()
            };
            let subscribed = || account.sandbox.webhooks()[0].subscriptions().to_vec();
            let types = "instrument.created instrument.updated";
            assert_eq!(
                results(&format!("subscribe production {types}")),
                ["added"; 2]
            );
            assert_eq!(
                results("subscribe production instrument.created"),
                ["unchanged"]
            );
            assert_eq!(subscribed(), ["instrument.created", "instrument.updated"]);
            let listed = lines(&account.run("subscriptions production --json").with_code(0));
            assert_eq!(names(&listed[0]), ["event_type", "id"]);
            assert_eq!(listed.len(), 2);
            assert_eq!(
                results("unsubscribe production instrument.created market.created"),
                ["removed", "unchanged"]
            );
            assert_eq!(subscribed(), ["instrument.updated"]);
            assert_eq!(
                results("unsubscribe production instrument.updated"),
                ["removed"]
            );
            assert!(subscribed().is_empty());
        })
        .await;
}

#[tokio::test]
async fn a_subscription_to_all_is_mentioned_after_a_removal() {
    let account = Account::open().await;
    create(&account, URL, "production").await;
    account
        .run("subscribe production * instrument.created")
        .with_code(0);
    let ended = account
        .run("unsubscribe production instrument.created")
        .with_code(0);
    assert!(
        ended.stderr.contains("is subscribed to *"),
        "{}",
        ended.stderr
    );
    let ended = account.run("unsubscribe production *").with_code(0);
    assert_eq!(ended.stderr, "");
    account
        .sandbox
        .next_call()
        .of("POST", "/webhooks/{id}/subscriptions")
        .as_viewer();
    account
        .run("subscribe production instrument.created")
        .with_code(4);
    let ended = account
        .run("subscribe production instrument.craeted")
        .with_code(0);
    assert!(
        ended.stderr.contains("check the spelling"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_list_that_goes_to_a_closed_pipe_ends_quietly() {
    let account = Account::with_shapes([Shape::BareArrays]).await;
    create(&account, URL, "production").await;
    let mut running = account.program("webhooks --json").start();
    drop(running.0.stdout.take());
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut running.0.stderr.take().unwrap(), &mut stderr).unwrap();
    assert_eq!(
        (running.0.wait().unwrap().code(), stderr.as_str()),
        (Some(0), "")
    );
}

#[tokio::test]
async fn the_examples_of_the_management_commands_work() {
    for command in [
        "register",
        "webhooks",
        "webhooks list",
        "webhooks show",
        "webhooks enable",
        "webhooks disable",
        "webhooks delete",
        "subscribe",
        "unsubscribe",
        "subscriptions",
        "rotate",
        "deliveries",
        "redeliver",
        "events",
        "events list",
        "events show",
        "events count",
    ] {
        for example in examples(&Folder::new(), command) {
            let sandbox = Sandbox::builder()
                .workspace("acme-capital")
                .start()
                .await
                .unwrap();
            let account = Account::of(sandbox);
            account.folder.names("webhook.secret");
            account.folder.names("webhook.secret.previous");
            if command != "register" {
                create(&account, URL, "production").await;
            }
            let deliveries = account.fail(1).await;
            let events = lines(&account.run("events list --json").with_code(0));
            let id = match command {
                "redeliver" => deliveries[0].clone(),
                _ => events[0]["id"].as_str().unwrap().to_owned(),
            };
            let line = example
                .replace('\'', "")
                .replace("0198c7a2-4a54-7c1e-9d5f-2f1c1a3b4d5e", &id);
            let arguments = line
                .strip_prefix("ptolemy-webhooks ")
                .unwrap_or_else(|| panic!("{example}"));
            let ended = account.run(arguments);
            assert_eq!(ended.code, 0, "{example}\n{}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn an_empty_name_selects_nothing() {
    let account = Account::open().await;
    create(&account, URL, "").await;
    for arguments in [
        ["webhooks", "delete", "", "--yes"],
        ["webhooks", "delete", " ", "--yes"],
        ["webhooks", "disable", "", "--json"],
        ["subscribe", "", "instrument.created", "--json"],
        ["unsubscribe", "", "instrument.created", "--json"],
        ["rotate", "", "--secret-file", "webhook.secret"],
        ["deliveries", "--webhook", "", "--json"],
        ["redeliver", "--failed", "--webhook", ""],
    ] {
        let program = account.folder.program_with(arguments);
        let ended = account.with_environment(program).run().with_code(2);
        assert!(ended.stderr.contains("it is empty"), "{}", ended.stderr);
    }
    assert_eq!(account.sandbox.calls().len(), 1, "only the creation");
    let ended = account.run(&format!("webhooks delete {URL}")).with_code(2);
    assert!(
        ended.stderr.contains(&format!(" ({URL}) ")),
        "{}",
        ended.stderr
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_names_the_change_that_may_have_been_carried_out() {
    let account = Account::open().await;
    let id = create(&account, URL, "production").await;
    let types = "instrument.created instrument.updated market.created";
    for (method, path, arguments, expected) in [
        (
            "PATCH",
            "/webhooks/{id}",
            "webhooks disable production".to_owned(),
            vec![format!(
                "the change of webhook {id} to inactive may have been carried out\n"
            )],
        ),
        (
            "DELETE",
            "/webhooks/{id}",
            "webhooks delete production --yes".to_owned(),
            vec![format!(
                "the deletion of webhook {id} may have been carried out\n"
            )],
        ),
        (
            "POST",
            "/webhooks/{id}/subscriptions",
            format!("subscribe {id} market.created {types}"),
            vec![
                "subscription to market.created: unchanged\n".to_owned(),
                format!(
                    "webhook {id}: the change of the subscription to instrument.created may have been carried out\n"
                ),
                "not tried: instrument.updated, market.created\n".to_owned(),
            ],
        ),
    ] {
        let account = match method {
            "POST" => {
                account
                    .run("subscribe production market.created")
                    .with_code(0);
                &account
            }
            _ => &account,
        };
        let template = path.replace("{id}", "{}");
        let before = account.calls(method, &template);
        for (number, (signal, code, last_line)) in crate::signals::all().enumerate() {
            account.sandbox.next_call().of(method, path).hang_before();
            let mut running = account.program(&arguments).start();
            account.until(|| account.calls(method, &template) > before + number);
            let stderr = running.end_by(signal);
            assert_eq!(running.0.wait().unwrap().code(), Some(code));
            for line in &expected {
                assert!(stderr.contains(line), "{stderr}");
            }
            assert!(stderr.ends_with(last_line), "{stderr}");
        }
    }
}

#[tokio::test]
async fn a_closed_output_does_not_stop_changes_halfway() {
    let account = Account::open().await;
    create(&account, URL, "production").await;
    let types = "instrument.created instrument.updated market.created";
    for (command, count) in [("subscribe", 3), ("unsubscribe", 0)] {
        let arguments = format!("{command} production {types} --json");
        let mut running = account.program(&arguments).start();
        drop(running.0.stdout.take());
        assert_eq!(running.0.wait().unwrap().code(), Some(0), "{command}");
        assert_eq!(account.sandbox.webhooks()[0].subscriptions().len(), count);
    }
}

#[tokio::test]
async fn changes_before_a_failure_are_printed_and_those_after_it_are_named() {
    let account = Account::open().await;
    create(&account, URL, "production").await;
    let unsubscribe = "unsubscribe production market.created instrument.created a.b c.d";
    for (arguments, event_type, outcome) in [
        (
            "subscribe production instrument.created bogus a.b c.d",
            "instrument.created",
            "added",
        ),
        (unsubscribe, "market.created", "unchanged"),
    ] {
        let path = "/webhooks/{id}/subscriptions/{subscription_id}";
        account.sandbox.next_call().of("DELETE", path).as_viewer();
        let ended = account.run(&format!("{arguments} --json"));
        assert_ne!(ended.code, 0);
        let printed = lines(&ended);
        assert_eq!(printed.len(), 1, "{}", ended.stderr);
        assert_eq!(printed[0]["event_type"], event_type);
        assert_eq!(printed[0]["outcome"], outcome);
        assert!(
            ended.stderr.contains("error: subscription to "),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.ends_with("; not tried: a.b, c.d\n"),
            "{}",
            ended.stderr
        );
    }
}
