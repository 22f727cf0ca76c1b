//! The stand-in for Ptolemy with one webhook, one event and one failed delivery.

use std::time::Duration;

use ptolemy_webhooks::samples;
use ptolemy_webhooks_client::{Builder, Client};
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Shape};

/// Nothing listens there.
pub(crate) const DEAD_URL: &str = "http://127.0.0.1:9/hook";

/// How many stand-ins run side by side in a test of many cases, which mostly waits.
pub(crate) const AT_ONCE: usize = 48;

pub(crate) struct StandIn {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
    pub(crate) webhook: String,
    pub(crate) event: String,
    pub(crate) delivery: String,
    pub(crate) subscription: String,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        Self::with_shapes([]).await
    }

    pub(crate) async fn with_shapes(shapes: impl IntoIterator<Item = Shape>) -> Self {
        let sandbox = Sandbox::builder()
            .retries(Retries::new().attempts(1))
            .shapes(shapes)
            .start()
            .await
            .unwrap();
        let registration = sandbox.register(DEAD_URL).await;
        let event = sandbox.emit(samples::instrument_created()).await;
        let log = sandbox.settle().await;
        let client = client(&sandbox);
        let webhook = registration.id().to_owned();
        let subscription = client
            .webhooks()
            .subscriptions(webhook.as_str())
            .list()
            .try_next()
            .await
            .unwrap()
            .unwrap();
        Self {
            delivery: log.deliveries()[0].id().to_owned(),
            event,
            subscription: subscription.id.map_or("*".to_owned(), String::from),
            webhook,
            client,
            sandbox,
        }
    }

    /// Returns how often a call was received; `{}` in the template matches one segment.
    pub(crate) fn received(&self, method: &str, template: &str) -> usize {
        received(&self.sandbox, method, template)
    }
}

pub(crate) fn received(sandbox: &Sandbox, method: &str, template: &str) -> usize {
    let fits = |path: &str| {
        path.split('/').count() == template.split('/').count()
            && path
                .split('/')
                .zip(template.split('/'))
                .all(|(path, template)| template == "{}" || path == template)
    };
    sandbox
        .calls()
        .iter()
        .filter(|call| call.method() == method && fits(call.path()))
        .count()
}

/// Returns how many calls that change something were received.
pub(crate) fn writes(sandbox: &Sandbox) -> usize {
    let is_read = |path: &str| path.ends_with("/filter") || path.ends_with("/count");
    sandbox
        .calls()
        .iter()
        .filter(|call| call.method() != "GET" && !is_read(call.path()))
        .count()
}

pub(crate) fn builder(sandbox: &Sandbox) -> Builder {
    Client::builder(sandbox.token(), sandbox.workspace())
        .url(sandbox.url())
        .attempts(3)
        .delays(Duration::from_millis(1), Duration::from_millis(5))
        .attempt_timeout(Duration::from_secs(2))
        .call_timeout(Duration::from_secs(20))
}

/// A client with short delays and limits.
pub(crate) fn client(sandbox: &Sandbox) -> Client {
    builder(sandbox).build().unwrap()
}
