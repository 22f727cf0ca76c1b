//! No error, `Debug` or log line shows a token or a secret.

use std::error::Error;
use std::fmt::{Debug, Write as _};
use std::fs;
use std::sync::{Arc, Mutex};

use ptolemy_webhooks_client::{Client, IssuedSecret, NewWebhook, WebhookChanges};
use ptolemy_webhooks_sandbox::{NextCalls, Sandbox};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::raw_server::{RawServer, TOKEN, answer};
use crate::secret_folder::SecretFolder;
use crate::stand_in::client;

const URL: &str = "https://your-app.example.com/webhooks/ptolemy";

/// Everything that a program could print.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<String>>);

impl Printed {
    fn add(&self, text: impl AsRef<str>) {
        writeln!(self.0.lock().unwrap(), "{}", text.as_ref()).unwrap();
    }

    fn debug(&self, value: impl Debug) {
        self.add(format!("{value:?} {value:#?}"));
    }

    fn error(&self, error: &(dyn Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.add(format!("{error} {error:?} {error:#?}"));
            next = error.source();
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// Keeps all spans and events of all crates.
impl Subscriber for Printed {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        if event
            .metadata()
            .target()
            .starts_with("ptolemy_webhooks_client")
        {
            self.add(format!("EVENT {}", event.metadata().level()));
            assert_eq!(*event.metadata().level(), Level::DEBUG);
        }
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Visit for Printed {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(format!("{field}={value:?}"));
    }
}

type Plan = fn(NextCalls<'_>);

const FAULTS: [Plan; 8] = [
    |next| next.too_many_requests(None),
    |next| next.no_quota(),
    |next| next.internal_error_before(),
    |next| next.internal_error_after(),
    |next| next.reset_after(),
    |next| next.bad_gateway(),
    |next| next.as_viewer(),
    |next| next.missing_field("secret"),
];

async fn errors_of_the_stand_in(printed: &Printed, sandbox: &Sandbox, secrets: &mut Vec<String>) {
    let client = client(sandbox);
    let folder = SecretFolder::new();
    let webhook = client
        .webhooks()
        .ensure(URL)
        .secret_file(folder.secret())
        .await
        .unwrap();
    printed.debug(&webhook);
    secrets.push(folder.read(""));
    for plan in FAULTS {
        plan(sandbox.next_calls(9));
        if let Err(error) = client
            .webhooks()
            .create(NewWebhook::new("https://other.example"))
            .await
        {
            printed.error(&error);
        }
        if let Err(error) = client
            .webhooks()
            .update(&webhook.id, WebhookChanges::new().label("a"))
            .await
        {
            printed.error(&error);
        }
        let rotation = client
            .webhooks()
            .rotate_secret(&webhook.id)
            .secret_file(folder.secret());
        printed.debug(&rotation);
        if let Err(error) = rotation.await {
            printed.error(&error);
        }
        let ensure = client.webhooks().ensure(URL).secret_file(folder.secret());
        printed.debug(&ensure);
        if let Err(error) = ensure.await {
            printed.error(&error);
        }
        secrets.push(folder.read(""));
    }
}

async fn secrets_in_values(printed: &Printed, sandbox: &Sandbox, secrets: &mut Vec<String>) {
    let client = client(sandbox);
    let created = client
        .webhooks()
        .create(NewWebhook::new("https://third.example"))
        .await
        .unwrap();
    secrets.push(created.secret.expose().to_owned());
    printed.debug(&created);
    printed.add(created.webhook.raw.as_str());
    printed.debug(&client);
    let fail = |_: IssuedSecret| std::future::ready(Err::<(), _>("no"));
    let error = client
        .webhooks()
        .rotate_secret(&created.webhook.id)
        .secret_to(fail)
        .await
        .unwrap_err();
    printed.error(&error);
    secrets.push(error.into_issued_secret().unwrap().expose().to_owned());
    printed.debug(Client::builder(sandbox.token(), "acme"));
    for (token, workspace, url) in [
        (" ", "", "https://a:b@example.com"),
        ("", "..", "http://example.com"),
    ] {
        let token = format!("{}{token}", sandbox.token());
        printed.error(
            &Client::builder(&token, "acme")
                .url(url)
                .build()
                .unwrap_err(),
        );
        printed.error(
            &Client::builder(sandbox.token(), "acme")
                .url(url)
                .build()
                .unwrap_err(),
        );
        printed.error(&Client::builder(token, workspace).build().unwrap_err());
    }
}

async fn a_server_that_echoes(printed: &Printed) {
    let body = format!(r#"{{"error":"bad token {TOKEN}","secret":"whsec_echoed99887766"}}"#);
    for status in [
        "400 A", "401 B", "403 C", "404 D", "429 E", "500 F", "302 G", "200 OK",
    ] {
        let server =
            RawServer::answering(answer(status, &format!("x-request-id: {TOKEN}\r\n"), &body))
                .await;
        let error = server
            .client()
            .webhooks()
            .list()
            .try_next()
            .await
            .unwrap_err();
        printed.error(&error);
        printed.add(error.message().unwrap_or_default());
        printed.add(error.request_id().unwrap_or_default());
        let error = server.client().webhooks().get(TOKEN).await.unwrap_err();
        printed.error(&error);
        printed.add(error.path());
    }
}

#[tokio::test]
async fn nothing_that_is_printed_shows_a_token_or_a_secret() {
    let printed = Printed::default();
    // If only one subscriber exists, a line that another test's thread reaches first is disabled
    // for this one too.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let guard = tracing::subscriber::set_default(printed.clone());
    tracing::callsite::rebuild_interest_cache();
    let sandbox = Sandbox::start().await;
    let mut secrets = vec![
        sandbox.token().to_owned(),
        TOKEN.to_owned(),
        "whsec_echoed99887766".to_owned(),
    ];
    errors_of_the_stand_in(&printed, &sandbox, &mut secrets).await;
    // Faults that were not used up would affect the next calls.
    let sandbox = Sandbox::start().await;
    secrets.push(sandbox.token().to_owned());
    secrets_in_values(&printed, &sandbox, &mut secrets).await;
    a_server_that_echoes(&printed).await;
    drop(guard);
    let text = printed.text();
    assert!(
        text.len() > 10_000 && text.matches("EVENT").count() > 20,
        "{text}"
    );
    for field in ["method=", "path=", "status=", "delay="] {
        assert!(text.contains(field), "{field}");
    }
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() > 5);
    for secret in secrets {
        let line = text.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None);
        // The bytes must not appear as the `Debug` of a vector either.
        let bytes: Vec<String> = secret
            .bytes()
            .skip(6)
            .take(8)
            .map(|byte| byte.to_string())
            .collect();
        assert!(!text.contains(&bytes.join(", ")), "as bytes");
    }
}

/// Only the files contain secrets, and each of them is expected.
#[tokio::test]
async fn no_file_but_the_secrets_own_has_a_secret() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let webhook = client
        .webhooks()
        .ensure(URL)
        .secret_file(folder.secret())
        .await
        .unwrap();
    client
        .webhooks()
        .rotate_secret(webhook.id)
        .secret_file(folder.secret())
        .await
        .unwrap();
    let with_secret: Vec<String> = folder
        .files()
        .into_iter()
        .filter(|name| {
            fs::read_to_string(folder.folder().join(name))
                .unwrap()
                .contains("whsec_")
        })
        .collect();
    assert_eq!(with_secret, ["webhook.secret", "webhook.secret.previous"]);
}
