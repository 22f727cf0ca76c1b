//! Walks through the page of `inspect` and of the sandbox in headless Chromium.
//!
//! The walk is a program for Node in `cli/tests/page/`; its README says what it needs.

use std::path::Path;
use std::process::Command;

use ptolemy_webhooks::{Secret, Signer, Verifier};
use ptolemy_webhooks_inbox::{Failure, Inbox};
use tokio::runtime::Runtime;

/// Creates an inbox with three dead events in the folder, and returns its URL.
fn inbox_with_three_dead_events(folder: &Path) -> String {
    let url = format!("sqlite://{}", folder.join("inbox.db").display());
    Runtime::new().unwrap().block_on(async {
        let inbox = Inbox::connect(&url).await.unwrap();
        for number in 1..=3 {
            let body = format!(r#"{{"id":"e{number}","event_type":"test.happened"}}"#);
            let secret = Secret::new("whsec_test_secret").unwrap();
            let header = Signer::new(&secret).sign(body.as_bytes());
            let delivery = Verifier::new(secret).receive(header, body).unwrap();
            inbox.accept(&delivery).await.unwrap();
        }
        let fail = |_, _| async { Err::<(), _>(Failure::permanent("no such market")) };
        inbox.worker().run_until_idle(fail).await;
        assert_eq!(inbox.stats().await.unwrap().dead, 3);
    });
    url
}

#[test]
#[ignore = "needs chromium"]
fn every_step_of_the_walk_through_the_page_passes() {
    let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/walk.mjs");
    let folder = tempfile::tempdir().unwrap();
    let mut node = Command::new("node");
    node.arg(walk)
        .env("PTOLEMY_WEBHOOKS", env!("CARGO_BIN_EXE_ptolemy-webhooks"))
        .env("DATABASE_URL", inbox_with_three_dead_events(folder.path()));
    let output = node.output().expect("node is missing: install Node.js");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("all passed"), "{text}");
}
