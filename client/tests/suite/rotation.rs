//! Rotation: a secret is stored before it is accepted, and rotated again after a lost answer.

use std::fs;

use ptolemy_webhooks::{Secret, Signer, Verifier};
use ptolemy_webhooks_client::{
    Client, IssuedSecret, Outcome, RegistrationErrorKind, RotateSecret, SecretFile,
};
use ptolemy_webhooks_sandbox::{NextCalls, Sandbox};

use crate::secret_folder::SecretFolder;
use crate::stand_in::{client, received};

const URL: &str = "https://your-app.example.com/webhooks/ptolemy";

struct Registered {
    sandbox: Sandbox,
    client: Client,
    folder: SecretFolder,
    id: String,
    verifier: Verifier,
    first: String,
}

async fn registered() -> Registered {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    let webhook = client
        .webhooks()
        .ensure(URL)
        .secret_file(folder.secret())
        .await
        .unwrap();
    Registered {
        verifier: Verifier::new(Secret::from_file(folder.secret()).unwrap()),
        first: folder.read(""),
        id: String::from(webhook.id),
        sandbox,
        client,
        folder,
    }
}

impl Registered {
    fn rotate(&self) -> RotateSecret<SecretFile> {
        self.client
            .webhooks()
            .rotate_secret(&*self.id)
            .secret_file(self.folder.secret())
            .swap(&self.verifier)
    }

    fn live(&self) -> String {
        self.sandbox.live_secret(&self.id).unwrap()
    }

    /// Returns which accepted secret a delivery is signed with; 0 is the current one.
    fn accepted(&self, secret: &str) -> Option<usize> {
        let header = Signer::new(&Secret::new(secret).unwrap()).sign(b"{}");
        self.verifier
            .verify(&header, b"{}")
            .ok()
            .map(|verified| verified.secret_index())
    }

    fn rotations(&self) -> usize {
        received(&self.sandbox, "POST", "/webhooks/{}/rotate-secret")
    }
}

#[tokio::test]
async fn the_new_secret_is_stored_and_accepted_beside_the_old_one() {
    let registered = registered().await;
    let id = registered.rotate().await.unwrap();
    assert_eq!(id.as_str(), registered.id);
    assert_eq!(
        (registered.rotations(), registered.folder.read("")),
        (1, registered.live())
    );
    assert_eq!(registered.folder.read(".previous"), registered.first);
    assert_eq!(registered.accepted(&registered.live()), Some(0));
    assert_eq!(registered.accepted(&registered.first), Some(1));
    assert_eq!(
        registered.folder.read(".state"),
        format!(r#"{{"webhook":"{id}"}}"#)
    );
}

#[tokio::test]
async fn after_a_lost_answer_the_secret_is_rotated_again() {
    type Plan = fn(NextCalls<'_>);
    for plan in [
        (|next| next.reset_after()) as Plan,
        |next| next.hang_after(),
        |next| next.internal_error_after(),
        |next| next.reset_before(),
    ] {
        let registered = registered().await;
        plan(
            registered
                .sandbox
                .next_calls(2)
                .of("POST", "/webhooks/{id}/rotate-secret"),
        );
        registered.rotate().await.unwrap();
        assert_eq!(
            (registered.rotations(), registered.folder.read("")),
            (3, registered.live())
        );
        assert_eq!(registered.folder.read(".previous"), registered.first);
        assert_eq!(registered.accepted(&registered.live()), Some(0));
    }
}

#[tokio::test]
async fn a_rotation_that_got_no_answer_is_not_swapped_and_is_continued_by_the_next_run() {
    let registered = registered().await;
    registered
        .sandbox
        .next_calls(3)
        .of("POST", "/webhooks/{id}/rotate-secret")
        .reset_after();
    let error = registered.rotate().await.unwrap_err();
    assert_eq!(
        error.api_error().unwrap().outcome(),
        Outcome::Unknown,
        "{error}"
    );
    assert_eq!(registered.folder.read(""), registered.first);
    assert_ne!(registered.live(), registered.first);
    assert_eq!(registered.accepted(&registered.first), Some(0));
    // `ensure` can continue it too, as another rotation can.
    registered
        .client
        .webhooks()
        .ensure(URL)
        .secret_file(registered.folder.secret())
        .await
        .unwrap();
    assert_eq!(registered.folder.read(""), registered.live());
}

#[tokio::test]
async fn a_rotation_that_was_rejected_changes_nothing() {
    let registered = registered().await;
    registered
        .sandbox
        .next_call()
        .of("POST", "/webhooks/{id}/rotate-secret")
        .as_viewer();
    let error = registered.rotate().await.unwrap_err();
    assert_eq!(error.api_error().unwrap().outcome(), Outcome::Rejected);
    assert_eq!(
        (registered.folder.read(""), registered.live()),
        (registered.first.clone(), registered.first.clone())
    );
    // The note is removed, so nothing is rotated without need.
    registered
        .client
        .webhooks()
        .ensure(URL)
        .secret_file(registered.folder.secret())
        .await
        .unwrap();
    assert_eq!(registered.live(), registered.first);
}

#[tokio::test]
async fn a_secret_that_was_not_stored_is_not_swapped() {
    let registered = registered().await;
    let fail = |_: IssuedSecret| std::future::ready(Err::<(), _>("no"));
    let rotation = registered
        .client
        .webhooks()
        .rotate_secret(&*registered.id)
        .secret_to(fail);
    let error = rotation.swap(&registered.verifier).await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::NotStored);
    assert_eq!(registered.accepted(&registered.live()), None);
    assert_eq!(registered.accepted(&registered.first), Some(0));
    let secret = error.into_issued_secret().unwrap();
    assert_eq!(secret.expose(), registered.live());

    let keep = |_: IssuedSecret| std::future::ready(Ok::<(), String>(()));
    let rotation = registered
        .client
        .webhooks()
        .rotate_secret(&*registered.id)
        .secret_to(keep);
    rotation.swap(&registered.verifier).await.unwrap();
    assert_eq!(registered.accepted(&registered.live()), Some(0));
}

#[tokio::test]
async fn the_file_of_another_webhook_is_not_overwritten() {
    let registered = registered().await;
    let other = registered.sandbox.register("http://127.0.0.1:9/").await;
    let rotation = registered
        .client
        .webhooks()
        .rotate_secret(other.id())
        .secret_file(registered.folder.secret());
    let error = rotation.await.unwrap_err();
    assert_eq!(error.kind(), RegistrationErrorKind::OtherWebhook);
    assert!(error.to_string().contains(&registered.id), "{error}");
    assert_eq!(
        (registered.rotations(), registered.folder.read("")),
        (0, registered.first.clone())
    );
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_an_error_before_the_rotation() {
    let registered = registered().await;
    fs::remove_dir_all(registered.folder.folder()).unwrap();
    let error = registered.rotate().await.unwrap_err();
    assert_eq!(
        (error.kind(), registered.rotations()),
        (RegistrationErrorKind::Place, 0)
    );
}
