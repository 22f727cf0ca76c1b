//! The inbox on the page of `inspect`.

use ptolemy_webhooks::{Secret, Signer, Verifier};
use ptolemy_webhooks_inbox::{Failure, Inbox};
use tokio::runtime::Runtime;

use crate::inspect_http::{ByteReceiver, Inspected, SECRET, Stream};
use crate::program::Folder;

/// Dead letters of these events.
async fn fill(inbox: &Inbox, ids: &[&str]) {
    let secret = || Secret::new(SECRET).unwrap();
    for id in ids {
        let body = format!(r#"{{"id":"{id}","event_type":"test.happened"}}"#);
        let header = Signer::new(&secret()).sign(body.as_bytes());
        let delivery = Verifier::new(secret()).receive(header, body).unwrap();
        inbox.accept(&delivery).await.unwrap();
    }
    let handler = |_, _| async { Err::<(), _>(Failure::permanent("no such market")) };
    inbox.worker().run_until_idle(handler).await;
}

#[test]
fn dead_letters_are_listed_replayed_and_discarded() {
    let folder = Folder::new();
    for name in ["inbox.db", "inbox.db-wal", "inbox.db-shm"] {
        folder.names(name);
    }
    let url = format!("sqlite://{}", folder.path("inbox.db").display());
    let runtime = Runtime::new().unwrap();
    let inbox = runtime.block_on(Inbox::connect(&url)).unwrap();
    runtime.block_on(fill(&inbox, &["e1", "e2", "e3"]));
    let receiver = ByteReceiver::accepting();
    let inspected = Inspected::with(&folder, &receiver.url(), "", &[("DATABASE_URL", &url)]);
    let mut stream = Stream::open(inspected.page, &inspected.token, 0);
    assert_eq!(stream.next()["has_inbox"], true);
    let shown = inspected.get("/api/inbox").json();
    assert_eq!(
        (&shown["stats"]["dead"], &shown["stats"]["waiting"]),
        (&3.into(), &0.into())
    );
    let dead = shown["dead"].as_array().unwrap();
    let key = |at: usize| dead[at]["key"].as_str().unwrap();
    assert_eq!(dead.len(), 3);
    assert_eq!(
        (&dead[0]["event_id"], &dead[0]["last_error"]),
        (&"e1".into(), &"no such market".into())
    );
    assert!(dead[0]["dead_since"].as_str().unwrap().ends_with('Z'));
    // A key that occurs twice is changed once.
    let keys = format!(r#"{{"keys":["{0}","{0}"]}}"#, key(0));
    assert_eq!(
        inspected.change("/api/inbox/replay", &keys).json()["count"],
        1
    );
    let keys = format!(r#"{{"keys":["{}","{}","999"]}}"#, key(1), key(2));
    assert_eq!(
        inspected.change("/api/inbox/discard", &keys).json()["count"],
        2
    );
    let shown = inspected.get("/api/inbox").json();
    assert_eq!(
        (&shown["stats"]["dead"], &shown["stats"]["waiting"]),
        (&0.into(), &1.into())
    );
    for body in [
        r#"{"keys":["x"]}"#,
        r#"{"keys":"all"}"#,
        "{}",
        r#"{"all":true}"#,
    ] {
        assert_eq!(
            inspected.change("/api/inbox/discard", body).status(),
            400,
            "{body}"
        );
    }
}

#[test]
fn an_inbox_that_cannot_be_opened_stops_nothing_and_says_why() {
    let folder = Folder::new();
    let receiver = ByteReceiver::accepting();
    let url = format!("sqlite://{}", folder.path("none.db").display());
    let inspected = Inspected::with(&folder, &receiver.url(), "", &[("DATABASE_URL", &url)]);
    let answer = inspected.get("/api/inbox");
    assert_eq!(answer.status(), 503);
    assert!(!answer.json()["error"].as_str().unwrap().is_empty());
    assert!(!folder.path("none.db").exists());
    drop(inspected);
    let inspected = Inspected::with(&folder, &receiver.url(), "", &[]);
    assert_eq!(inspected.get("/api/inbox").status(), 404);
    assert_eq!(inspected.get("/api/sandbox").status(), 404);
}
