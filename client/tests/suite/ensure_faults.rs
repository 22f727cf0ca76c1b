//! Registration under every fault of every call, and in every shape of the answers.

use futures_util::{StreamExt as _, stream};
use ptolemy_webhooks_client::{Client, Outcome, RegistrationErrorKind};
use ptolemy_webhooks_sandbox::{NextCalls, Sandbox, Shape};

use crate::ensure::{assert_registered, ensure};
use crate::secret_folder::SecretFolder;
use crate::stand_in::{AT_ONCE, client, received, writes};

type Plan = fn(NextCalls<'_>);

fn faults() -> Vec<(&'static str, Plan)> {
    vec![
        ("429", |next| next.too_many_requests(None)),
        ("quota 0", |next| next.no_quota()),
        ("500 before", |next| next.internal_error_before()),
        ("500 after", |next| next.internal_error_after()),
        ("hang before", |next| next.hang_before()),
        ("hang after", |next| next.hang_after()),
        ("reset before", |next| next.reset_before()),
        ("reset after", |next| next.reset_after()),
        ("502", |next| next.bad_gateway()),
        ("viewer", |next| next.as_viewer()),
        ("no id", |next| next.missing_field("id")),
        ("no secret", |next| next.missing_field("secret")),
        ("secret of another type", |next| {
            next.field_of_another_type("secret")
        }),
        ("no data", |next| next.missing_field("data")),
        ("no label", |next| next.missing_field("label")),
    ]
}

const CALLS: [(&str, &str); 6] = [
    ("GET", "/webhooks"),
    ("POST", "/webhooks"),
    ("PATCH", "/webhooks/{id}"),
    ("PUT", "/webhooks/{id}/subscriptions"),
    ("GET", "/webhooks/{id}/subscriptions"),
    ("POST", "/webhooks/{id}/rotate-secret"),
];

/// Runs until it succeeds, at most five times.
async fn ensure_at_last(client: &Client, folder: &SecretFolder, what: &str) -> u32 {
    for run in 1..=5 {
        match ensure(client, folder).await {
            Ok(_) => return run,
            Err(error) => assert!(
                !matches!(
                    error.kind(),
                    RegistrationErrorKind::SecretLost | RegistrationErrorKind::SeveralMatch
                ),
                "{what}, run {run}: {error}"
            ),
        }
    }
    panic!("{what}: no success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_every_fault_of_every_call_it_ends_with_one_webhook_and_its_live_secret() {
    let cases = faults().into_iter().flat_map(|fault| {
        let calls = CALLS.into_iter().flat_map(|call| [(call, 1), (call, 4)]);
        calls.map(move |(call, calls)| (fault, call, calls))
    });
    let run = |((name, plan), call, calls)| ends_well(name, plan, call, calls);
    stream::iter(cases).for_each_concurrent(AT_ONCE, run).await;
}

async fn ends_well(name: &str, plan: Plan, (method, path): (&str, &str), calls: usize) {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    plan(sandbox.next_calls(calls).of(method, path));
    // A second fault, so that the repair runs under faults too.
    plan(
        sandbox
            .next_call()
            .of("POST", "/webhooks/{id}/rotate-secret"),
    );
    let what = format!(
        "{calls} x {name} of {method} {path}, seed {}",
        sandbox.seed()
    );
    ensure_at_last(&client, &folder, &what).await;
    assert_registered(&sandbox, &folder);
    // Use up the remaining faults.
    for _ in 0..3 {
        ensure_at_last(&client, &folder, &what).await;
    }
    let before = writes(&sandbox);
    assert_eq!(ensure_at_last(&client, &folder, &what).await, 1, "{what}");
    assert_eq!(writes(&sandbox), before, "{what}");
    assert_registered(&sandbox, &folder);
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_adopted_in_the_same_run() {
    for plan in [
        (|next| next.reset_after()) as Plan,
        |next| next.hang_after(),
        |next| next.internal_error_after(),
    ] {
        let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
        plan(sandbox.next_call().of("POST", "/webhooks"));
        ensure(&client(&sandbox), &folder).await.unwrap();
        assert_registered(&sandbox, &folder);
        assert_eq!(received(&sandbox, "POST", "/webhooks"), 1);
        assert_eq!(received(&sandbox, "POST", "/webhooks/{}/rotate-secret"), 1);
    }
}

#[tokio::test]
async fn a_creation_that_was_not_carried_out_is_an_error_and_the_next_run_creates() {
    let (sandbox, folder) = (Sandbox::start().await, SecretFolder::new());
    let client = client(&sandbox);
    sandbox.next_call().of("POST", "/webhooks").reset_before();
    let error = ensure(&client, &folder).await.unwrap_err();
    assert_eq!(error.api_error().unwrap().outcome(), Outcome::Unknown);
    assert!(sandbox.webhooks().is_empty());
    assert!(folder.read(".state").contains("creating"));
    ensure(&client, &folder).await.unwrap();
    assert_registered(&sandbox, &folder);
}

#[tokio::test]
async fn every_shape_of_the_answers_is_accepted() {
    for shapes in Shape::ALL
        .iter()
        .map(|&shape| vec![shape])
        .chain([Shape::ALL.to_vec()])
    {
        let sandbox = Sandbox::builder()
            .shapes(shapes.clone())
            .start()
            .await
            .unwrap();
        let folder = SecretFolder::new();
        let client = client(&sandbox);
        sandbox.next_call().of("POST", "/webhooks").reset_after();
        ensure(&client, &folder).await.unwrap();
        let before = writes(&sandbox);
        ensure(&client, &folder).await.unwrap();
        assert_eq!(writes(&sandbox), before, "{shapes:?}");
        assert_registered(&sandbox, &folder);
    }
}
