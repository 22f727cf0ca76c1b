//! An API whose logs and quota a test writes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use ptolemy_webhooks_client::Client;
use ptolemy_webhooks_inbox::{CatchUp, CatchUpReport, Inbox};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;

use crate::database::Database;

const SOON: Duration = Duration::from_millis(200);

/// The answers of the API: two lists, and a status for each redelivery.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) deliveries: Vec<String>,
    pub(super) events: Vec<String>,
    pub(super) redeliveries: Vec<String>,
    pub(super) status: Option<fn(&str) -> u16>,
    /// Whether events cannot be filtered and sorted; then they are listed in pages.
    pub(super) rejects_filter: bool,
    /// The rest of the month's quota; if it is `None`, no answer has it.
    pub(super) remaining: Option<u64>,
    /// Requests whose path ends like this are answered with 503.
    pub(super) fails: Option<&'static str>,
    /// The paths of all requests.
    pub(super) requests: Vec<String>,
}

impl Answers {
    fn answer(&mut self, uri: &Uri, body: &[u8]) -> (StatusCode, String) {
        let path = uri.path();
        self.requests.push(path.to_owned());
        self.remaining = self.remaining.map(|calls| calls.saturating_sub(1));
        if self.fails.is_some_and(|end| path.ends_with(end)) {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        if let Some(path) = path.strip_suffix("/redeliver") {
            let id = path.rsplit('/').next().unwrap().to_owned();
            let status = self.status.map_or(202, |status| status(&id));
            self.redeliveries.push(id);
            return (StatusCode::from_u16(status).unwrap(), "{}".to_owned());
        }
        match path.rsplit_once('/').unwrap() {
            (parent, "filter") if parent.ends_with("webhook-deliveries") => {
                let body = String::from_utf8_lossy(body);
                let mut deliveries = self.deliveries.clone();
                deliveries.retain(|item| !body.contains("failed") || item.contains("failed"));
                list(&deliveries, None)
            }
            (_, "filter") if self.rejects_filter => {
                (StatusCode::UNPROCESSABLE_ENTITY, "{}".to_owned())
            }
            (_, "filter") => list(&self.events, None),
            (_, "events") => page(&self.events, uri.query().unwrap_or_default()),
            (_, "subscriptions") => list(&[r#"{"id":"s","event_type":"*"}"#.to_owned()], None),
            _ => (StatusCode::OK, r#"{"id":"w"}"#.to_owned()),
        }
    }
}

fn list(items: &[String], next: Option<usize>) -> (StatusCode, String) {
    let (items, has_more) = (items.join(","), next.is_some());
    let next = next.map_or("null".to_owned(), |next| format!(r#""{next}""#));
    let body =
        format!(r#"{{"data":[{items}],"meta":{{"next_cursor":{next},"has_more":{has_more}}}}}"#);
    (StatusCode::OK, body)
}

/// One page of a list, as its query asks for.
fn page(items: &[String], query: &str) -> (StatusCode, String) {
    let number = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(key, _)| *key == name)?.1;
        Some(value.parse::<usize>().unwrap())
    };
    let (from, size) = (number("after").unwrap_or(0), number("limit").unwrap_or(50));
    let to = items.len().min(from + size);
    list(&items[from..to], (to < items.len()).then_some(to))
}

/// Nothing that it redelivers arrives.
pub(super) struct Api {
    answers: Arc<Mutex<Answers>>,
    pub(super) client: Client,
    pub(super) inbox: Inbox,
}

impl Api {
    pub(super) async fn new(database: &Database) -> Self {
        Self::with_attempts(database, 1).await
    }

    pub(super) async fn with_attempts(database: &Database, attempts: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(Answers::default()));
        let held = answers.clone();
        let app = Router::new().fallback(async move |uri: Uri, body: Bytes| {
            let mut answers = held.lock().unwrap();
            let answer = answers.answer(&uri, &body);
            let mut headers = HeaderMap::new();
            if let Some(calls) = answers.remaining {
                headers.insert("x-ratelimit-remaining", calls.into());
            }
            (headers, answer)
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = Client::builder("ptk_live_0", "acme").url(url);
        let client = client.attempts(attempts);
        let client = client.delays(Duration::from_millis(1), Duration::from_millis(2));
        Self {
            answers,
            client: client.build().unwrap(),
            inbox: database.inbox().await,
        }
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.answers.lock().unwrap());
    }

    pub(super) fn redelivered(&self) -> usize {
        self.answers.lock().unwrap().redeliveries.len()
    }

    pub(super) fn remaining(&self) -> Option<u64> {
        self.answers.lock().unwrap().remaining
    }

    /// Returns how many requests had a path that ends like this.
    pub(super) fn requests(&self, end: &str) -> usize {
        let answers = self.answers.lock().unwrap();
        let requests = answers.requests.iter();
        requests.filter(|path| path.ends_with(end)).count()
    }

    /// A catch-up that begins at the checkpoint.
    pub(super) fn catch_up(&self) -> CatchUp {
        let catch_up = self.inbox.catch_up(&self.client, "w");
        catch_up.quota_floor(0).arrival_timeout(SOON)
    }

    pub(super) fn since_an_hour(&self) -> CatchUp {
        let hour = time::Duration::hours(1);
        self.catch_up().since(OffsetDateTime::now_utc() - hour)
    }

    pub(super) async fn run(&self, catch_up: CatchUp) -> CatchUpReport {
        catch_up.plan().await.unwrap().run().await.unwrap()
    }
}

pub(super) fn ago(minutes: i64) -> String {
    let time = OffsetDateTime::now_utc() - time::Duration::minutes(minutes);
    time.format(&Rfc3339).unwrap()
}

pub(super) fn delivery(id: &str, event_id: &str, status: &str, minutes_ago: i64) -> String {
    let time = ago(minutes_ago);
    format!(
        r#"{{"id":"{id}","event_id":"{event_id}","event_type":"a.b","status":"{status}","delivered_at":"{time}"}}"#
    )
}

pub(super) fn untimed(id: &str, event_id: &str, status: &str) -> String {
    format!(r#"{{"id":"{id}","event_id":"{event_id}","event_type":"a.b","status":"{status}"}}"#)
}

pub(super) fn event(id: &str, minutes_ago: i64) -> String {
    let time = ago(minutes_ago);
    format!(r#"{{"id":"{id}","event_type":"a.b","created_at":"{time}"}}"#)
}
