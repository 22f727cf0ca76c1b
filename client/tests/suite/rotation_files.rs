//! Rotations whose files become unusable between the call and its answer.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ptolemy_webhooks::{Secret, Signer, Verifier};
use ptolemy_webhooks_client::{Outcome, RegistrationError, RegistrationErrorKind, WebhookId};
use ptolemy_webhooks_sandbox::Sandbox;
use tokio::io::AsyncWriteExt as _;

use crate::ensure::ensure;
use crate::raw_server::{RawServer, answer};
use crate::secret_folder::SecretFolder;
use crate::stand_in::client;

const OLD: &str = "whsec_00112233445566778899aabb";
const NEW: &str = "whsec_a3f9b2c1d4e5f6a7b8c9d0e1";

struct Rotation {
    server: RawServer,
    folder: Arc<SecretFolder>,
    verifier: Verifier,
    result: Result<WebhookId, RegistrationError>,
}

/// Rotates the secret of webhook `w` through a server that changes the files before it answers the
/// rotation. It answers the previous call with the webhook, and later calls with a list of it.
async fn rotate(
    id: &str,
    status: &'static str,
    harm: impl Fn(&SecretFolder) + Send + Sync + 'static,
) -> Rotation {
    let folder = Arc::new(SecretFolder::new());
    fs::write(folder.secret(), OLD).unwrap();
    fs::write(folder.beside(".state"), r#"{"webhook":"w"}"#).unwrap();
    let harmed = folder.clone();
    let server = RawServer::start(move |mut stream, number| {
        let webhook = r#"{"id":"w","url":"https://a.example/hook","label":"","active":true}"#;
        let bytes = match number {
            0 => answer("200 OK", "", webhook),
            1 => {
                harm(&harmed);
                answer(status, "", format!(r#"{{"secret":"{NEW}"}}"#))
            }
            _ => answer("200 OK", "", format!("[{webhook}]")),
        };
        async move {
            let _ = stream.write_all(&bytes).await;
        }
    })
    .await;
    let verifier = Verifier::new(Secret::new(OLD).unwrap());
    let rotation = server.client().webhooks().rotate_secret(id);
    let rotation = rotation.secret_file(folder.secret()).swap(&verifier);
    Rotation {
        result: rotation.await,
        server,
        folder,
        verifier,
    }
}

/// Puts a folder in place of a file, so that the file cannot be replaced, and keeps the file.
fn block(folder: &SecretFolder, suffix: &str) {
    let path = folder.beside(suffix);
    fs::rename(&path, folder.beside(&format!("{suffix}.kept"))).unwrap();
    fs::create_dir(path).unwrap();
}

fn unblock(folder: &SecretFolder, suffix: &str) {
    let path = folder.beside(suffix);
    fs::remove_dir(&path).unwrap();
    fs::rename(folder.beside(&format!("{suffix}.kept")), path).unwrap();
}

/// Returns the index of this secret among the accepted ones; 0 is the current one.
fn accepted(verifier: &Verifier, secret: &str) -> Option<usize> {
    let header = Signer::new(&Secret::new(secret).unwrap()).sign(b"{}");
    let verified = verifier.verify(&header, b"{}").ok()?;
    Some(verified.secret_index())
}

#[tokio::test]
async fn a_secret_that_was_stored_but_not_noted_is_swapped_and_not_rotated_again() {
    let rotation = rotate("w", "200 OK", |folder| block(folder, ".state")).await;
    let (error, folder) = (rotation.result.unwrap_err(), rotation.folder);
    assert_eq!(error.kind(), RegistrationErrorKind::NotNoted, "{error}");
    assert!(error.to_string().contains("live and stored"), "{error}");
    assert!(
        error.to_string().contains("webhook.secret.state"),
        "{error}"
    );
    assert_eq!(
        (folder.read(""), folder.read(".previous")),
        (NEW.into(), OLD.into())
    );
    assert_eq!(accepted(&rotation.verifier, NEW), Some(0));
    assert_eq!(accepted(&rotation.verifier, OLD), Some(1));

    unblock(&folder, ".state");
    let webhooks = rotation.server.client().webhooks();
    let ensure = webhooks.ensure("https://a.example/hook");
    ensure.secret_file(folder.secret()).await.unwrap();
    assert_eq!(rotation.server.requests(), 3, "a list, and no rotation");
    assert_eq!(folder.read(".state"), r#"{"webhook":"w"}"#);
}

#[tokio::test]
async fn a_secret_that_could_not_be_stored_is_in_the_error_and_not_swapped() {
    let rotation = rotate("w", "200 OK", |folder| block(folder, "")).await;
    let error = rotation.result.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::NotStored, "{error}");
    assert_eq!(error.into_issued_secret().unwrap().expose(), NEW);
    assert_eq!(rotation.folder.read(".previous"), OLD, "from memory");
    assert_eq!(accepted(&rotation.verifier, NEW), None);
}

#[tokio::test]
async fn a_rejected_rotation_whose_note_stays_says_what_the_next_run_does() {
    let rotation = rotate("w", "403 No", |folder| block(folder, ".state")).await;
    let error = rotation.result.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::Api);
    assert_eq!(error.api_error().unwrap().outcome(), Outcome::Rejected);
    let line = error.to_string();
    assert!(line.contains("status 403"), "{line}");
    assert!(line.contains("the next run rotates the secret"), "{line}");
}

#[tokio::test]
async fn a_rejected_rotation_keeps_the_previous_secret() {
    let rotation = rotate("w", "403 No", |folder| {
        fs::write(folder.beside(".previous"), "whsec_before").unwrap();
    })
    .await;
    rotation.result.unwrap_err();
    assert_eq!(rotation.folder.read(".previous"), "whsec_before");
    assert_eq!(rotation.folder.read(".state"), r#"{"webhook":"w"}"#);
}

#[tokio::test]
async fn an_id_in_another_form_is_resolved_before_it_is_compared_and_noted() {
    for id in ["W", "my-slug"] {
        let rotation = rotate(id, "200 OK", |_| ()).await;
        assert_eq!(rotation.result.unwrap().as_str(), "w");
        assert_eq!(rotation.folder.read(".state"), r#"{"webhook":"w"}"#);
    }
}

#[tokio::test]
async fn after_a_time_limit_the_next_rotation_waits_a_second() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let id = ensure(&client, &folder).await.unwrap().id;
    let path = "/webhooks/{id}/rotate-secret";
    sandbox.next_call().of("POST", path).hang_after();
    let begin = Instant::now();
    let rotation = client.webhooks().rotate_secret(id);
    rotation.secret_file(folder.secret()).await.unwrap();
    // An attempt has a time limit of 2 s.
    assert!(
        begin.elapsed() >= Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
}
