//! The sandbox behind the page: its attempts become entries, and its page is served on its own
//! port.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use ptolemy_webhooks_sandbox::{Outcome, PageAnswer, Sandbox, SentAttempt};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::inspect::api::PageServer;
use crate::inspect::app::App;
use crate::inspect::checker::Checker;
use crate::inspect::entry::{
    Answer, Checked, Entry, FromSandbox, NewEntry, Receiver, Request, Source,
};
use crate::secret::GivenSecret;

/// A sandbox that may have ended.
pub(crate) struct SandboxHandle(Weak<Sandbox>);

impl SandboxHandle {
    pub(crate) fn sandbox(&self) -> Option<Arc<Sandbox>> {
        self.0.upgrade()
    }

    /// The secrets of the webhook that an entry was sent to.
    pub(crate) fn checker(&self, entry: &Entry) -> Checker {
        let webhook_id = entry.sandbox.as_ref().map(|it| it.webhook_id.as_str());
        self.checker_of(webhook_id.unwrap_or_default())
    }

    fn checker_of(&self, webhook_id: &str) -> Checker {
        let sandbox = self.sandbox();
        let secret = sandbox.and_then(|sandbox| sandbox.live_secret(webhook_id));
        let checker = secret.map(|secret| {
            let given = GivenSecret {
                bytes: Zeroizing::new(secret.into_bytes()),
                place: "the secret of the webhook".to_owned(),
                had_line_end: false,
            };
            Checker::new(given, None)
        });
        // A webhook that was deleted has no secret.
        checker
            .and_then(Result::ok)
            .unwrap_or_else(Checker::without_secret)
    }

    /// Signs the body of an entry at the time of now.
    pub(crate) fn sign(&self, entry: &Entry) -> Option<String> {
        self.checker(entry).sign(&entry.request.body)
    }

    /// Checks a request that an entry is sent again as.
    pub(crate) fn check(&self, entry: &Entry, request: &Request, at: OffsetDateTime) -> Checked {
        let checker = self.checker(entry);
        checker.check(&request.headers, &request.body, at)
    }

    /// The URL of the webhook that an entry was sent to.
    pub(crate) fn url_of(&self, entry: &Entry) -> Option<String> {
        let webhook_id = &entry.sandbox.as_ref()?.webhook_id;
        let webhooks = self.sandbox()?.webhooks();
        let mut webhooks = webhooks.into_iter();
        let webhook = webhooks.find(|webhook| webhook.id() == webhook_id)?;
        Some(webhook.url().to_owned())
    }

    /// Whether the webhook that an entry was sent to has this URL.
    pub(crate) fn is_sent_to(&self, entry: &Entry, url: &reqwest::Url) -> bool {
        let webhook = self.url_of(entry);
        webhook.is_some_and(|it| reqwest::Url::parse(&it).is_ok_and(|it| it == *url))
    }

    /// Adds an attempt, which has ended.
    fn add(&self, app: &App, attempt: SentAttempt) {
        let request = Request {
            method: Method::POST,
            path: path_of(&attempt.url),
            headers: attempt.headers,
            body: attempt.body,
        };
        let checker = self.checker_of(&attempt.webhook_id);
        let checked = checker.check(&request.headers, &request.body, attempt.at);
        let receiver = match attempt.outcome {
            Outcome::Answered(status) | Outcome::AnswerLost(status) => Receiver::Answered {
                status,
                took: attempt.took,
            },
            outcome => Receiver::Failed {
                error: crate::commands::sandbox::outcome_words(outcome),
                took: attempt.took,
            },
        };
        let answer = attempt.answer.map(|answer| Answer {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
            is_cut: answer.is_cut,
            broken: None,
        });
        app.add(NewEntry {
            at: attempt.at,
            source: Source::Sandbox,
            of: None,
            request: Arc::new(request),
            checked: Arc::new(checked),
            receiver,
            answer: answer.map(Arc::new),
            sandbox: Some(Arc::new(FromSandbox {
                delivery_id: attempt.delivery_id,
                webhook_id: attempt.webhook_id,
                fault: attempt.fault,
            })),
        });
    }
}

fn path_of(url: &str) -> String {
    let Ok(url) = reqwest::Url::parse(url) else {
        return String::new();
    };
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Serves the page on the sandbox's port, and keeps its attempts.
///
/// All work is done on the tool's own runtime: the sandbox's thread waits for nothing, and never
/// drops the sandbox.
pub(crate) fn connect(sandbox: &Arc<Sandbox>, app: &Arc<App>) {
    // It is not set twice.
    drop(app.sandbox.set(SandboxHandle(Arc::downgrade(sandbox))));
    let runtime = tokio::runtime::Handle::current();
    let server = PageServer::new(Arc::clone(app));
    let serving = runtime.clone();
    sandbox.serve_page(move |request| -> PageAnswer {
        let server = server.clone();
        let answer = serving.spawn(async move { server.serve(request).await });
        Box::pin(async move {
            match answer.await {
                Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed_unsync()),
                // The command ends.
                Err(_) => http::Response::default().map(|()| ended()),
            }
        })
    });
    let app = Arc::clone(app);
    sandbox.observe_attempts(move |attempt| {
        let app = Arc::clone(&app);
        runtime.spawn_blocking(move || {
            if let Some(handle) = app.sandbox.get() {
                handle.add(&app, attempt);
            }
        });
    });
}

fn ended() -> ptolemy_webhooks_sandbox::PageBody {
    http_body_util::Full::<Bytes>::default()
        .map_err(|never| match never {})
        .boxed_unsync()
}
