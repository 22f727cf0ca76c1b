//! Runs that find the files and the labels of an earlier one.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ptolemy_webhooks::{Secret, Signer};
use ptolemy_webhooks_client::{
    Client, IssuedSecret, NewWebhook, RegistrationErrorKind, WebhookChanges,
};
use ptolemy_webhooks_sandbox::Sandbox;
use time::OffsetDateTime;

use crate::ensure::{assert_registered, ensure};
use crate::secret_folder::SecretFolder;
use crate::stand_in::{client, received, writes};

const URL: &str = "https://your-app.example.com/webhooks/ptolemy";
const OTHER_URL: &str = "https://your-app.example.com/webhooks/other";
const NONCE_LABEL: &str = "production (setup 0123456789abcdef)";
const SOME_SECRET: &str = "whsec_00112233445566778899aabb";

/// The part of a rotation's note that shows the next run whether the new secret was stored.
fn fingerprint(secret: &str) -> String {
    let secret = Secret::new(secret).unwrap();
    Signer::new(&secret).sign_at(b"fingerprint", OffsetDateTime::UNIX_EPOCH)
}

fn rotations(sandbox: &Sandbox) -> usize {
    received(sandbox, "POST", "/webhooks/{}/rotate-secret")
}

async fn create(client: &Client, url: &str, label: &str) -> String {
    let webhook = NewWebhook::new(url).label(label);
    let created = client.webhooks().create(webhook).await.unwrap();
    created.webhook.id.to_string()
}

#[tokio::test]
async fn a_label_with_a_nonce_means_that_the_secret_was_never_stored() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let id = create(&client, URL, NONCE_LABEL).await;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let run = || {
        let kept = kept.clone();
        let keep = move |secret: IssuedSecret| {
            kept.lock().unwrap().push(secret.expose().to_owned());
            std::future::ready(Ok::<(), String>(()))
        };
        let ensure = client.webhooks().ensure(URL).label("production");
        ensure.secret_to(keep).secret_already_stored()
    };
    let before = writes(&sandbox);
    let error = run().await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::SecretLost);
    // A file that is not noted as the webhook's own is not trusted either.
    fs::write(folder.secret(), SOME_SECRET).unwrap();
    let error = ensure(&client, &folder).await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::SecretLost);
    assert_eq!(writes(&sandbox), before, "nothing was changed");

    run().rotate_lost_secret().await.unwrap();
    let live = sandbox.live_secret(&id).unwrap();
    assert_eq!(kept.lock().unwrap().as_slice(), [live]);
    assert_eq!(sandbox.webhooks()[0].label(), Some("production"));
    run().await.unwrap();
    assert_eq!(rotations(&sandbox), 1);
}

#[tokio::test]
async fn a_label_with_a_nonce_does_not_matter_for_the_noted_webhook() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    sandbox
        .next_calls(3)
        .of("PATCH", "/webhooks/{id}")
        .as_viewer();
    ensure(&client, &folder).await.unwrap_err();
    let secret = folder.read("");
    while ensure(&client, &folder).await.is_err() {}
    assert_eq!((folder.read(""), rotations(&sandbox)), (secret, 0));
    assert_registered(&sandbox, &folder);
}

#[tokio::test]
async fn a_url_that_was_changed_on_either_side_does_not_create_a_second_webhook() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let webhook = ensure(&client, &folder).await.unwrap();
    let secret = folder.read("");
    let elsewhere = client.webhooks().ensure(OTHER_URL);
    let changed_here = elsewhere.secret_file(folder.secret()).await.unwrap_err();
    let changes = WebhookChanges::new().url(OTHER_URL);
    client
        .webhooks()
        .update(&webhook.id, changes)
        .await
        .unwrap();
    let before = writes(&sandbox);
    let changed_there = ensure(&client, &folder).await.unwrap_err();
    for error in [changed_here, changed_there] {
        assert_eq!(
            (error.kind(), error.webhook_id()),
            (RegistrationErrorKind::OtherWebhook, Some(&webhook.id))
        );
        let line = error.to_string();
        assert!(line.contains(URL) && line.contains(OTHER_URL), "{line}");
        assert!(line.contains("change the URL of the webhook"), "{line}");
    }
    assert_eq!((sandbox.webhooks().len(), writes(&sandbox)), (1, before));
    assert_eq!(folder.read(""), secret);
}

#[tokio::test]
async fn a_creation_that_was_begun_with_another_url_is_completed_with_this_one() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    create(&client, OTHER_URL, NONCE_LABEL).await;
    let state = r#"{"creating":"0123456789abcdef"}"#;
    fs::write(folder.beside(".state"), state).unwrap();
    ensure(&client, &folder).await.unwrap();
    assert_registered(&sandbox, &folder);
}

#[tokio::test]
async fn a_file_is_trusted_only_if_nothing_is_pending() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let id = create(&client, URL, "production").await;
    let live = sandbox.live_secret(&id).unwrap();
    let before = fingerprint(&live);
    for state in [
        r#"{"creating":"0123456789abcdef"}"#.to_owned(),
        format!(r#"{{"rotating":"other","before":"{before}"}}"#),
        format!(r#"{{"webhook":"{id}","rotating":"other","before":"{before}"}}"#),
        r#"{"rotating":"other"}"#.to_owned(),
        r#"{"webhook":"other"}"#.to_owned(),
    ] {
        fs::write(folder.secret(), &live).unwrap();
        fs::write(folder.beside(".state"), &state).unwrap();
        let error = ensure(&client, &folder).await.unwrap_err();
        assert_eq!(error.kind(), RegistrationErrorKind::SecretLost, "{state}");
    }
    assert_eq!(rotations(&sandbox), 0);
    fs::remove_file(folder.beside(".state")).unwrap();
    ensure(&client, &folder).await.unwrap();
    assert_eq!(rotations(&sandbox), 0, "without a note it is trusted");
    let state = format!(r#"{{"rotating":"{id}","before":"{before}"}}"#);
    fs::write(folder.beside(".state"), state).unwrap();
    ensure(&client, &folder).await.unwrap();
    assert_eq!(rotations(&sandbox), 1, "its own rotation is continued");
    assert_registered(&sandbox, &folder);
}

/// The files at each moment of a rotation whose answer arrived.
#[tokio::test]
async fn a_rotation_killed_after_its_answer_is_completed_and_rotated_again_only_if_not_stored() {
    for (is_stored, is_repaired_by_ensure) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
        let client = client(&sandbox);
        let id = ensure(&client, &folder).await.unwrap().id;
        let old = folder.read("");
        let ignore = |_: IssuedSecret| std::future::ready(Ok::<(), String>(()));
        let rotation = client.webhooks().rotate_secret(&id).secret_to(ignore);
        rotation.await.unwrap();
        let new = sandbox.live_secret(id.as_str()).unwrap();
        let before = fingerprint(&old);
        let state = format!(r#"{{"webhook":"{id}","rotating":"{id}","before":"{before}"}}"#);
        fs::write(folder.beside(".state"), state).unwrap();
        fs::write(folder.beside(".previous"), &old).unwrap();
        if is_stored {
            fs::write(folder.secret(), &new).unwrap();
        }
        if is_repaired_by_ensure {
            ensure(&client, &folder).await.unwrap();
            let expected = if is_stored { 1 } else { 2 };
            assert_eq!(rotations(&sandbox), expected, "stored: {is_stored}");
            assert_eq!(folder.read(".previous"), old);
        } else {
            let rotation = client.webhooks().rotate_secret(&id);
            rotation.secret_file(folder.secret()).await.unwrap();
            assert_eq!(rotations(&sandbox), 2);
            let previous = if is_stored { new } else { old };
            assert_eq!(folder.read(".previous"), previous, "stored: {is_stored}");
        }
        assert_registered(&sandbox, &folder);
    }
}

#[tokio::test]
async fn a_file_whose_content_is_not_a_secret_is_neither_used_nor_overwritten() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    fs::write(folder.secret(), "something else").unwrap();
    let error = ensure(&client, &folder).rotate_lost_secret().await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::Place);
    let line = error.to_string();
    assert!(
        line.contains("webhook.secret contains text that is not a secret"),
        "{line}"
    );
    assert!(!line.contains("something"), "{line}");
    assert_eq!(folder.read(""), "something else");
    assert_eq!(sandbox.calls().len(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_cannot_be_read_is_not_taken_for_an_absent_one() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    std::os::unix::fs::symlink("webhook.secret", folder.secret()).unwrap();
    let error = ensure(&client(&sandbox), &folder).await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::Place);
    assert_eq!(sandbox.calls().len(), 0);
}

#[tokio::test]
async fn a_previous_file_that_cannot_be_replaced_is_an_error_before_the_rotation() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let id = ensure(&client, &folder).await.unwrap().id;
    fs::remove_file(folder.beside(".previous")).unwrap();
    fs::create_dir(folder.beside(".previous")).unwrap();
    let rotation = client.webhooks().rotate_secret(id);
    let error = rotation.secret_file(folder.secret()).await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::Place);
    assert_eq!(rotations(&sandbox), 0);
}

#[cfg(unix)]
#[tokio::test]
#[ignore = "needs a user other than root"]
async fn in_a_folder_that_is_not_writable_a_run_with_nothing_to_do_succeeds() {
    use std::os::unix::fs::PermissionsExt as _;
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let id = ensure(&client, &folder).await.unwrap().id;
    let set_mode = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.folder(), mode).unwrap();
    };
    set_mode(0o500);
    ensure(&client, &folder).await.unwrap();
    let rotation = client.webhooks().rotate_secret(id);
    let error = rotation.secret_file(folder.secret()).await.unwrap_err();
    set_mode(0o700);
    assert_eq!(error.kind(), RegistrationErrorKind::Place);
    assert_eq!(rotations(&sandbox), 0);
}

#[tokio::test]
async fn a_list_that_leaves_labels_out_is_not_written_by_each_run() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    ensure(&client, &folder).await.unwrap();
    let before = writes(&sandbox);
    sandbox
        .next_calls(2)
        .of("GET", "/webhooks")
        .missing_field("label");
    for _ in 0..2 {
        ensure(&client, &folder).await.unwrap();
    }
    assert_eq!(writes(&sandbox), before);
    // A label that was changed by hand is still noticed.
    let id = sandbox.webhooks()[0].id().to_owned();
    let changes = WebhookChanges::new().label("else");
    client.webhooks().update(id, changes).await.unwrap();
    let list = sandbox.next_call().of("GET", "/webhooks");
    list.missing_field("label");
    ensure(&client, &folder).await.unwrap();
    assert_registered(&sandbox, &folder);
}

#[test]
fn debug_shows_no_token_and_no_password() {
    let client = Client::builder("ptk_live_0", "acme").build().unwrap();
    let webhooks = client.webhooks();
    let url = "https://user:hunter2@a.example/hook";
    let file = PathBuf::from("f");
    let texts = format!(
        "{:?} {:?} {:?}",
        webhooks.ensure(url).label("whsec_0123456789"),
        webhooks
            .rotate_secret("ptk_live_0123456789")
            .secret_file(file),
        Client::builder("ptk_live_0", "ptk_live_0123456789"),
    );
    assert!(texts.contains("https://a.example/hook"), "{texts}");
    for secret in ["hunter2", "user", "0123456789"] {
        assert!(!texts.contains(secret), "{texts}");
    }
}

#[test]
fn a_token_or_a_secret_as_the_workspace_is_a_swapped_argument() {
    for workspace in ["ptk_live_0123456789", "whsec_0123456789"] {
        let error = Client::builder("ptk_live_0", workspace)
            .build()
            .unwrap_err();
        assert_eq!(error.place(), "workspace");
        assert!(error.to_string().contains("swapped"), "{error}");
        assert!(!format!("{error} {error:?}").contains("0123456789"));
    }
}
