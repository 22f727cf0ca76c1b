//! Registration: new endpoints, existing ones, and repair under every fault.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ptolemy_webhooks_client::{
    Client, Ensure, IssuedSecret, NewWebhook, RegistrationError, RegistrationErrorKind, SecretFile,
    Subscriptions, Webhook, WebhookChanges,
};
use ptolemy_webhooks_sandbox::Sandbox;

use crate::secret_folder::SecretFolder;
use crate::stand_in::{client, received, writes};

const URL: &str = "https://your-app.example.com/webhooks/ptolemy";

pub(crate) fn ensure(client: &Client, folder: &SecretFolder) -> Ensure<SecretFile> {
    client
        .webhooks()
        .ensure(URL)
        .label("production")
        .subscriptions(Subscriptions::all())
        .secret_file(folder.secret())
}

/// Asserts that there is one webhook, as requested, with its live secret in the file.
pub(crate) fn assert_registered(sandbox: &Sandbox, folder: &SecretFolder) {
    let webhooks = sandbox.webhooks();
    assert_eq!(webhooks.len(), 1, "{webhooks:?}");
    let webhook = &webhooks[0];
    assert_eq!(
        (webhook.url(), webhook.label(), webhook.is_active()),
        (URL, Some("production"), true)
    );
    assert_eq!(webhook.subscriptions(), ["*"]);
    assert_eq!(Some(folder.read("")), sandbox.live_secret(webhook.id()));
    assert_eq!(
        folder.read(".state"),
        format!(r#"{{"webhook":"{}"}}"#, webhook.id())
    );
    assert_eq!(
        folder.files(),
        [
            "webhook.secret",
            "webhook.secret.previous",
            "webhook.secret.state"
        ]
    );
}

#[tokio::test]
async fn a_new_endpoint_is_created_and_the_second_run_writes_nothing() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let webhook = ensure(&client, &folder).await.unwrap();
    assert_registered(&sandbox, &folder);
    assert_eq!(webhook.label.as_deref(), Some("production"));
    assert_eq!(folder.read(".previous"), "");
    assert_eq!(writes(&sandbox), 3, "POST, PATCH, PUT");
    let order: Vec<String> = sandbox
        .calls()
        .iter()
        .map(|call| call.method().to_owned())
        .collect();
    assert_eq!(
        order,
        ["GET", "POST", "PATCH", "PUT"],
        "subscriptions come last"
    );

    let secret = folder.read("");
    let again = ensure(&client, &folder).await.unwrap();
    assert_eq!((again.id, writes(&sandbox)), (webhook.id, 3));
    assert_eq!(folder.read(""), secret);
    assert_registered(&sandbox, &folder);
}

#[tokio::test]
async fn a_registration_reports_what_it_changed() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let run = async || {
        let done = ensure(&client, &folder).register().await.unwrap();
        let flags = [done.is_created, done.has_new_secret, done.is_subscribed];
        assert_eq!(
            done.is_changed(),
            flags.contains(&true) || done.is_updated,
            "{done:?}"
        );
        (flags, done.is_updated, done.webhook.id)
    };
    let (flags, _, id) = run().await;
    assert_eq!(flags, [true; 3]);
    assert_eq!(run().await, ([false; 3], false, id.clone()));

    let off = WebhookChanges::new().deactivate();
    client.webhooks().update(&id, off).await.unwrap();
    assert_eq!(run().await, ([false; 3], true, id.clone()));

    let subscriptions = client.webhooks().subscriptions(&id);
    subscriptions.replace(["instrument.created"]).await.unwrap();
    assert_eq!(run().await, ([false, false, true], false, id.clone()));

    fs::remove_file(folder.secret()).unwrap();
    let done = ensure(&client, &folder).rotate_lost_secret();
    let done = done.register().await.unwrap();
    assert!(done.has_new_secret && !done.is_created && !done.is_subscribed);
    assert_eq!(Some(folder.read("")), sandbox.live_secret(id.as_str()));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_new_files_and_a_file_keeps_its_mode_and_a_symlink_stays_one() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    fs::create_dir(folder.folder().join("elsewhere")).unwrap();
    let target = folder.folder().join("elsewhere/secret");
    fs::write(&target, "").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&target, folder.secret()).unwrap();
    ensure(&client(&sandbox), &folder).await.unwrap();
    assert!(fs::symlink_metadata(folder.secret()).unwrap().is_symlink());
    for (path, mode) in [
        (target, 0o640),
        (folder.beside(".previous"), 0o600),
        (folder.beside(".state"), 0o600),
    ] {
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path:?}");
    }
    assert_eq!(
        Some(folder.read("")),
        sandbox.live_secret(sandbox.webhooks()[0].id())
    );
    assert_eq!(
        fs::read_dir(folder.folder().join("elsewhere"))
            .unwrap()
            .count(),
        1,
        "no temporary file"
    );
}

#[tokio::test]
async fn changes_made_by_hand_are_reverted() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let webhook = ensure(&client, &folder).await.unwrap();
    let changes = ptolemy_webhooks_client::WebhookChanges::new()
        .label("else")
        .deactivate();
    client
        .webhooks()
        .update(&webhook.id, changes)
        .await
        .unwrap();
    client
        .webhooks()
        .subscriptions(&webhook.id)
        .replace(["market.created"])
        .await
        .unwrap();
    ensure(&client, &folder).await.unwrap();
    assert_registered(&sandbox, &folder);
    assert_eq!(received(&sandbox, "POST", "/webhooks/{}/rotate-secret"), 0);
}

#[tokio::test]
async fn without_a_label_or_subscriptions_they_stay_as_they_are() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    client
        .webhooks()
        .ensure(URL)
        .secret_file(folder.secret())
        .await
        .unwrap();
    assert_eq!(sandbox.webhooks()[0].label(), Some(""));
    assert!(sandbox.webhooks()[0].subscriptions().is_empty());
    ensure(&client, &folder).await.unwrap();
    let before = writes(&sandbox);
    client
        .webhooks()
        .ensure(URL)
        .secret_file(folder.secret())
        .await
        .unwrap();
    assert_eq!(writes(&sandbox), before);
    assert_registered(&sandbox, &folder);
}

#[tokio::test]
async fn a_webhook_whose_secret_is_not_at_hand_is_an_error_that_offers_rotation() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let webhook = ensure(&client, &folder).await.unwrap();
    let before = writes(&sandbox);
    for broken in [None, Some(""), Some("\n")] {
        match broken {
            None => fs::remove_file(folder.secret()).unwrap(),
            Some(text) => fs::write(folder.secret(), text).unwrap(),
        }
        let error = ensure(&client, &folder).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.webhook_id()),
            (RegistrationErrorKind::SecretLost, Some(&webhook.id))
        );
        assert!(
            error.to_string().contains("rotate_lost_secret()"),
            "{error}"
        );
    }
    assert_eq!(writes(&sandbox), before);
    ensure_and_rotate(&client, &folder).await.unwrap();
    assert_registered(&sandbox, &folder);
    let rotations = received(&sandbox, "POST", "/webhooks/{}/rotate-secret");
    ensure_and_rotate(&client, &folder).await.unwrap();
    assert_eq!(
        (
            rotations,
            received(&sandbox, "POST", "/webhooks/{}/rotate-secret")
        ),
        (1, 1),
        "permission is not an order"
    );
}

async fn ensure_and_rotate(
    client: &Client,
    folder: &SecretFolder,
) -> Result<Webhook, RegistrationError> {
    ensure(client, folder).rotate_lost_secret().await
}

#[tokio::test]
async fn the_secret_of_another_webhook_is_not_at_hand() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let first = ensure(&client, &folder).await.unwrap();
    client.webhooks().delete(&first.id).await.unwrap();
    client
        .webhooks()
        .create(NewWebhook::new(URL))
        .await
        .unwrap();
    let old = folder.read("");
    let error = ensure(&client, &folder).await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::SecretLost);
    ensure_and_rotate(&client, &folder).await.unwrap();
    assert_registered(&sandbox, &folder);
    assert_eq!(
        folder.read(".previous"),
        old,
        "nothing that was in the file is lost"
    );

    // It was deleted and not created by hand, so the run creates it again.
    let id = sandbox.webhooks()[0].id().to_owned();
    client.webhooks().delete(id).await.unwrap();
    ensure(&client, &folder).await.unwrap();
    assert_registered(&sandbox, &folder);
}

#[tokio::test]
async fn several_webhooks_with_the_url_are_distinguished_by_their_label_or_listed() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    for label in ["production", "staging", "production"] {
        client
            .webhooks()
            .create(NewWebhook::new(URL).label(label))
            .await
            .unwrap();
    }
    let before = writes(&sandbox);
    let error = ensure(&client, &folder).await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::SeveralMatch);
    let webhooks = sandbox.webhooks();
    let line = error.to_string();
    assert!(
        line.contains(webhooks[0].id())
            && line.contains(webhooks[2].id())
            && !line.contains(webhooks[1].id()),
        "{line}"
    );
    assert_eq!(writes(&sandbox), before);
    let staging = client
        .webhooks()
        .ensure(URL)
        .label("staging")
        .secret_file(folder.secret());
    let webhook = staging.rotate_lost_secret().await.unwrap();
    assert_eq!(webhook.id.as_str(), webhooks[1].id());
}

#[tokio::test]
async fn a_webhook_that_is_listed_without_its_url_is_not_guessed() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    client
        .webhooks()
        .create(NewWebhook::new(URL))
        .await
        .unwrap();
    sandbox
        .next_call()
        .of("GET", "/webhooks")
        .missing_field("url");
    let error = ensure(&client, &folder).await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::UrlUnknown);
    assert_eq!(writes(&sandbox), 1);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_an_error_before_anything_is_created() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let no_folder = client
        .webhooks()
        .ensure(URL)
        .secret_file(folder.folder().join("none/secret"));
    let a_folder = client.webhooks().ensure(URL).secret_file(folder.folder());
    for ensure in [no_folder, a_folder] {
        let error = ensure.await.unwrap_err();
        assert_eq!(error.kind(), RegistrationErrorKind::Place, "{error:?}");
        let line = error.to_string();
        assert!(line.contains("cannot be used: file /"), "{line}");
    }
    fs::write(folder.beside(".state"), "garbage").unwrap();
    let error = ensure(&client, &folder).await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::Place);
    let error = client
        .webhooks()
        .ensure("no url")
        .secret_file(folder.secret())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::InvalidUrl);
    assert_eq!(writes(&sandbox), 0);
}

#[tokio::test]
async fn a_secret_that_cannot_be_stored_is_in_the_error() {
    let sandbox = Sandbox::start().await;
    let client = client(&sandbox);
    let fail = |_: IssuedSecret| std::future::ready(Err::<(), _>("the vault is sealed"));
    let error = client
        .webhooks()
        .ensure(URL)
        .secret_to(fail)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::NotStored);
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "the vault is sealed"
    );
    let id = error.webhook_id().unwrap().clone();
    assert_eq!(id.as_str(), sandbox.webhooks()[0].id());
    assert!(!format!("{error:?} {error}").contains("whsec_0"));
    let secret = error.into_issued_secret().unwrap();
    assert_eq!(
        Some(secret.expose()),
        sandbox.live_secret(id.as_str()).as_deref()
    );
}

#[tokio::test]
async fn a_callback_is_given_each_secret_once_and_remembers_nothing() {
    let sandbox = Sandbox::start().await;
    let client = client(&sandbox);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = || {
        let kept = kept.clone();
        move |secret: IssuedSecret| {
            kept.lock().unwrap().push(secret.expose().to_owned());
            std::future::ready(Ok::<(), String>(()))
        }
    };
    sandbox.next_call().of("POST", "/webhooks").hang_after();
    let ensure = || client.webhooks().ensure(URL).label("production");
    let webhook = ensure().secret_to(keep()).await.unwrap();
    assert_eq!(
        kept.lock().unwrap().as_slice(),
        [sandbox.live_secret(webhook.id.as_str()).unwrap()]
    );

    let error = ensure().secret_to(keep()).await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::SecretLost);
    ensure()
        .secret_to(keep())
        .secret_already_stored()
        .await
        .unwrap();
    assert_eq!(kept.lock().unwrap().len(), 1);
    ensure()
        .rotate_lost_secret()
        .secret_to(keep())
        .await
        .unwrap();
    assert_eq!(
        kept.lock().unwrap().last(),
        sandbox.live_secret(webhook.id.as_str()).as_ref()
    );
    assert_eq!(kept.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_registration_can_be_spawned_as_a_task() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let run = ensure(&client(&sandbox), &folder).into_future();
    let webhook = tokio::time::timeout(Duration::from_secs(30), tokio::spawn(run)).await;
    webhook.unwrap().unwrap().unwrap();
    assert_registered(&sandbox, &folder);
}

#[tokio::test]
async fn temporary_files_of_a_killed_process_are_removed_by_a_run_that_writes_nothing() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    ensure(&client, &folder).await.unwrap();
    for suffix in ["", ".previous", ".state"] {
        fs::write(
            folder.folder().join(format!(".webhook.secret{suffix}.tmp")),
            "whsec_1",
        )
        .unwrap();
    }
    ensure(&client, &folder).await.unwrap();
    assert_registered(&sandbox, &folder);
}
