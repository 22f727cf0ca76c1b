//! Every documented call under every fault of the API: how often it is sent, and its outcome.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use ptolemy_webhooks_client::{
    ApiError, Client, Filter, IssuedSecret, NewWebhook, Outcome, RegistrationError, WebhookChanges,
};
use ptolemy_webhooks_sandbox::NextCalls;
use tokio::io::AsyncWriteExt as _;

use crate::raw_server::{RawServer, TOKEN, answer};
use crate::stand_in::{AT_ONCE, DEAD_URL, StandIn};

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Outcome>> + 'a>>;

/// How a call may be repeated, according to the README.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Row {
    Always,
    IfNotCarriedOut,
    ReadBack,
    RotatedAgain,
}

struct Call {
    method: &'static str,
    path: &'static str,
    row: Row,
    run: fn(&StandIn) -> Running<'_>,
}

fn outcome<T>(result: Result<T, ApiError>) -> Result<(), Outcome> {
    result.map(drop).map_err(|error| error.outcome())
}

fn registration_outcome<T>(result: Result<T, RegistrationError>) -> Result<(), Outcome> {
    result
        .map(drop)
        .map_err(|error| error.api_error().unwrap().outcome())
}

fn call(
    method: &'static str,
    path: &'static str,
    row: Row,
    run: fn(&StandIn) -> Running<'_>,
) -> Call {
    Call {
        method,
        path,
        row,
        run,
    }
}

fn calls() -> Vec<Call> {
    use Row::{Always, IfNotCarriedOut, ReadBack, RotatedAgain};
    vec![
        call("GET", "/webhooks", Always, |s| {
            Box::pin(async { outcome(s.client.webhooks().list().try_next().await) })
        }),
        call("POST", "/webhooks", IfNotCarriedOut, |s| {
            Box::pin(async { outcome(s.client.webhooks().create(NewWebhook::new(DEAD_URL)).await) })
        }),
        call("GET", "/webhooks/{}", Always, |s| {
            Box::pin(async { outcome(s.client.webhooks().get(&*s.webhook).await) })
        }),
        call("PATCH", "/webhooks/{}", Always, |s| {
            Box::pin(async {
                outcome(
                    s.client
                        .webhooks()
                        .update(&*s.webhook, WebhookChanges::new().label("x"))
                        .await,
                )
            })
        }),
        call("DELETE", "/webhooks/{}", Always, |s| {
            Box::pin(async { outcome(s.client.webhooks().delete(&*s.webhook).await) })
        }),
        call("POST", "/webhooks/{}/rotate-secret", RotatedAgain, |s| {
            Box::pin(async {
                let store = |_: IssuedSecret| std::future::ready(Ok::<(), String>(()));
                registration_outcome(
                    s.client
                        .webhooks()
                        .rotate_secret(&*s.webhook)
                        .secret_to(store)
                        .await,
                )
            })
        }),
        call("POST", "/webhooks/filter", Always, |s| {
            Box::pin(async { outcome(s.client.webhooks().filter(Filter::new()).try_next().await) })
        }),
        call("GET", "/webhooks/{}/subscriptions", Always, |s| {
            Box::pin(async {
                outcome(
                    s.client
                        .webhooks()
                        .subscriptions(&*s.webhook)
                        .list()
                        .try_next()
                        .await,
                )
            })
        }),
        call("POST", "/webhooks/{}/subscriptions", ReadBack, |s| {
            Box::pin(async {
                outcome(
                    s.client
                        .webhooks()
                        .subscriptions(&*s.webhook)
                        .add("market.created")
                        .await,
                )
            })
        }),
        call("PUT", "/webhooks/{}/subscriptions", Always, |s| {
            Box::pin(async {
                outcome(
                    s.client
                        .webhooks()
                        .subscriptions(&*s.webhook)
                        .replace(["market.created"])
                        .await,
                )
            })
        }),
        call("DELETE", "/webhooks/{}/subscriptions/{}", Always, |s| {
            Box::pin(async {
                outcome(
                    s.client
                        .webhooks()
                        .subscriptions(&*s.webhook)
                        .remove(&*s.subscription)
                        .await,
                )
            })
        }),
        call("POST", "/webhook-deliveries/filter", Always, |s| {
            Box::pin(async { outcome(s.client.deliveries().failed(&*s.webhook).try_next().await) })
        }),
        call(
            "POST",
            "/webhook-deliveries/{}/redeliver",
            IfNotCarriedOut,
            |s| Box::pin(async { outcome(s.client.deliveries().redeliver(&*s.delivery).await) }),
        ),
        call("GET", "/events", Always, |s| {
            Box::pin(async { outcome(s.client.events().list().try_next().await) })
        }),
        call("GET", "/events/{}", Always, |s| {
            Box::pin(async { outcome(s.client.events().get(&*s.event).await) })
        }),
        call("POST", "/events/filter", Always, |s| {
            Box::pin(async { outcome(s.client.events().filter(Filter::new()).try_next().await) })
        }),
        call("POST", "/events/count", Always, |s| {
            Box::pin(async { outcome(s.client.events().count(Filter::new()).await) })
        }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// 429 with quota left.
    Burst,
    /// The call is certainly not carried out, and another attempt would not help.
    Permanent,
    /// An unknown outcome of a call that was not carried out.
    UnknownBefore,
    /// An unknown outcome of a call that was carried out.
    UnknownAfter,
}

type Plan = fn(NextCalls<'_>);

type Fault = (&'static str, Kind, Plan);

fn faults() -> Vec<Fault> {
    use Kind::{Burst, Permanent, UnknownAfter, UnknownBefore};
    vec![
        ("429", Burst, |next| next.too_many_requests(None)),
        ("429, Retry-After 0", Burst, |next| {
            next.too_many_requests(Some(Duration::ZERO))
        }),
        ("429, Retry-After too long", Permanent, |next| {
            next.too_many_requests(Some(Duration::from_secs(3600)))
        }),
        ("quota 0", Permanent, |next| next.no_quota()),
        ("500 before", UnknownBefore, |next| {
            next.internal_error_before()
        }),
        ("500 after", UnknownAfter, |next| {
            next.internal_error_after()
        }),
        ("hang before", UnknownBefore, |next| next.hang_before()),
        ("hang after", UnknownAfter, |next| next.hang_after()),
        ("reset before", UnknownBefore, |next| next.reset_before()),
        ("reset after", UnknownAfter, |next| next.reset_after()),
        ("502", UnknownBefore, |next| next.bad_gateway()),
    ]
}

/// Returns how often a call is sent under one fault, and how it ends.
fn expected_once(row: Row, kind: Kind) -> (usize, Result<(), Outcome>) {
    match (kind, row) {
        (Kind::Permanent, _) | (Kind::Burst, Row::RotatedAgain) => (1, Err(Outcome::Rejected)),
        (Kind::Burst, _) => (2, Ok(())),
        (_, Row::IfNotCarriedOut) => (1, Err(Outcome::Unknown)),
        // The subscriptions are read back: the first attempt was carried out.
        (Kind::UnknownAfter, Row::ReadBack) => (1, Ok(())),
        _ => (2, Ok(())),
    }
}

/// Same as above, under a fault that stays.
fn expected_always(row: Row, kind: Kind) -> (usize, Outcome) {
    match (kind, row) {
        (Kind::Permanent, _) | (Kind::Burst, Row::RotatedAgain) => (1, Outcome::Rejected),
        (Kind::Burst, _) => (3, Outcome::Rejected),
        (_, Row::IfNotCarriedOut) => (1, Outcome::Unknown),
        _ => (3, Outcome::Unknown),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_under_every_fault_that_passes() {
    let run = async |(call, (name, kind, plan)): Case| {
        let expected = expected_once(call.row, kind);
        let found = under(&call, plan, 1).await;
        assert_eq!(
            found, expected,
            "{} {} under {name}",
            call.method, call.path
        );
    };
    stream::iter(cases())
        .for_each_concurrent(AT_ONCE, run)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_under_every_fault_that_stays() {
    let cases = cases().filter(|(call, (_, kind, _))| {
        // A record that is found when it is read back, or is already deleted, is a success and is
        // covered above.
        *kind != Kind::UnknownAfter || (call.row != Row::ReadBack && call.method != "DELETE")
    });
    let run = async |(call, (name, kind, plan)): Case| {
        let (sent, outcome) = expected_always(call.row, kind);
        let found = under(&call, plan, 99).await;
        assert_eq!(
            found,
            (sent, Err(outcome)),
            "{} {} under {name}",
            call.method,
            call.path
        );
    };
    stream::iter(cases).for_each_concurrent(AT_ONCE, run).await;
}

type Case = (Call, Fault);

fn cases() -> impl Iterator<Item = Case> {
    faults()
        .into_iter()
        .flat_map(|fault| calls().into_iter().map(move |call| (call, fault)))
}

/// Returns how often the call was received, according to the log of the stand-in, and how it ended.
async fn under(call: &Call, plan: Plan, times: usize) -> (usize, Result<(), Outcome>) {
    let stand_in = StandIn::start().await;
    let before = stand_in.received(call.method, call.path);
    plan(
        stand_in
            .sandbox
            .next_calls(times)
            .of(call.method, call.path),
    );
    let ended = (call.run)(&stand_in).await;
    (stand_in.received(call.method, call.path) - before, ended)
}

#[tokio::test]
async fn a_burst_after_an_unknown_outcome_leaves_it_unknown() {
    let stand_in = StandIn::start().await;
    let of = ("PATCH", "/webhooks/{id}");
    stand_in
        .sandbox
        .next_call()
        .of(of.0, of.1)
        .internal_error_after();
    stand_in
        .sandbox
        .next_calls(9)
        .of(of.0, of.1)
        .too_many_requests(None);
    let changes = WebhookChanges::new().label("x");
    let error = stand_in
        .client
        .webhooks()
        .update(&*stand_in.webhook, changes)
        .await
        .unwrap_err();
    assert_eq!(
        (error.status(), error.outcome()),
        (Some(429), Outcome::Unknown),
        "{error}"
    );
}

#[tokio::test]
async fn a_changed_shape_of_patch_is_read_back() {
    let stand_in = StandIn::start().await;
    stand_in
        .sandbox
        .next_call()
        .of("PATCH", "/webhooks/{id}")
        .missing_field("id");
    let changes = WebhookChanges::new().label("x");
    let webhook = stand_in
        .client
        .webhooks()
        .update(&*stand_in.webhook, changes)
        .await
        .unwrap();
    assert_eq!(webhook.label.as_deref(), Some("x"));
}

/// Makes one call of a row, with a client.
async fn of_row(client: &Client, row: Row) -> Result<(), Outcome> {
    let webhooks = client.webhooks();
    match row {
        Row::Always => outcome(webhooks.get("w").await),
        Row::IfNotCarriedOut => outcome(webhooks.create(NewWebhook::new(DEAD_URL)).await),
        Row::ReadBack => outcome(webhooks.subscriptions("w").add("market.created").await),
        Row::RotatedAgain => {
            let store = |_: IssuedSecret| std::future::ready(Ok::<(), String>(()));
            registration_outcome(webhooks.rotate_secret("w").secret_to(store).await)
        }
    }
}

const ROWS: [Row; 4] = [
    Row::Always,
    Row::IfNotCarriedOut,
    Row::ReadBack,
    Row::RotatedAgain,
];

#[tokio::test]
async fn an_answer_that_another_attempt_would_not_change_is_not_repeated() {
    for (status, body, outcome) in [
        ("302 Found", "", Outcome::Unknown),
        ("200 OK", "<html>", Outcome::Unknown),
        ("401 No", "", Outcome::Rejected),
        ("404 No", "", Outcome::Rejected),
        ("409 No", "", Outcome::Rejected),
        ("418 No", "", Outcome::Rejected),
        ("422 No", "", Outcome::Rejected),
    ] {
        for row in ROWS {
            let server = RawServer::start(move |mut stream, number| async move {
                // A rotation reads the webhook first.
                let bytes = match (row, number) {
                    (Row::RotatedAgain, 0) => answer("200 OK", "", r#"{"id":"w"}"#),
                    _ => answer(status, "", body),
                };
                let _ = stream.write_all(&bytes).await;
            })
            .await;
            let ended = of_row(&server.client(), row).await;
            // After an unknown outcome, one more call reads the subscriptions.
            let sent = match (row, outcome) {
                (Row::RotatedAgain, _) | (Row::ReadBack, Outcome::Unknown) => 2,
                _ => 1,
            };
            let found = (ended, server.requests());
            assert_eq!(found, (Err(outcome), sent), "{row:?} under {status}");
        }
    }
}

#[tokio::test]
async fn a_408_is_repeated_only_if_it_may_be_carried_out_twice() {
    for (row, sent) in [(Row::Always, 3), (Row::IfNotCarriedOut, 1)] {
        let server = RawServer::answering(answer("408 Slow", "", "")).await;
        let ended = of_row(&server.client(), row).await;
        let found = (ended, server.requests());
        assert_eq!(found, (Err(Outcome::Unknown), sent), "{row:?}");
    }
}

#[tokio::test]
async fn without_a_connection_every_row_is_repeated_and_nothing_is_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let delay = Duration::from_millis(1);
    let client = Client::builder(TOKEN, "acme").url(url).delays(delay, delay);
    let client = client.attempts(2).build().unwrap();
    for row in ROWS {
        let ended = of_row(&client, row).await;
        assert_eq!(ended, Err(Outcome::NotSent), "{row:?}");
    }
}
