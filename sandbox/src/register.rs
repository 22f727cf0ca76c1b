//! Registering a receiver, through the API.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::connection;
use crate::registration::Registration;
use crate::sandbox::Sandbox;

/// How long the sandbox waits for its own API.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

impl Sandbox {
    /// Registers a receiver for all event types, through the API: `POST /webhooks`, then
    /// `PUT /webhooks/{id}/subscriptions` with `["*"]`.
    ///
    /// # Panics
    ///
    /// Panics if a call fails or is not answered within 5 s, for example because the URL is
    /// invalid, or because a fault is planned: the calls of this function take planned faults like
    /// those of any other client. Plan faults after it, or for one call with
    /// [`of`](crate::NextCalls::of).
    #[expect(clippy::panic, reason = "documented, for tests")]
    pub async fn register(&self, receiver_url: impl AsRef<str>) -> Registration {
        let body = json!({ "url": receiver_url.as_ref(), "active": true });
        let created = self.call(Method::POST, "/webhooks", &body).await;
        let text = |name: &str| created.get(name)?.as_str().map(str::to_owned);
        let (Some(id), Some(secret)) = (text("id"), text("secret")) else {
            panic!("the webhook was created, but the answer lacks its id or secret");
        };
        let path = format!("/webhooks/{id}/subscriptions");
        self.call(Method::PUT, &path, &json!(["*"])).await;
        Registration { id, secret }
    }

    /// Makes a call to the sandbox's own API, and returns the JSON of its answer.
    #[expect(clippy::panic, reason = "the caller documents it")]
    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let what = format!("{method} {path}");
        let url = format!("{}/workspaces/{}{path}", self.url, self.workspace);
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())));
        let answer = match request {
            Ok(request) => {
                // The timer runs on the sandbox's thread, so it also works in a test that has
                // paused its clock.
                let exchange =
                    async { tokio::time::timeout(CALL_TIMEOUT, exchange(request)).await };
                let answer = self.engine.run(exchange).await;
                answer.unwrap_or_else(|_| Err("no answer within 5 s".to_owned()))
            }
            Err(error) => Err(error.to_string()),
        };
        match answer {
            Ok((200..=299, body)) => serde_json::from_slice(&body).unwrap_or_default(),
            Ok((status, body)) => panic!("{what}: {status} {}", String::from_utf8_lossy(&body)),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// Sends one request to the API and reads the whole answer.
async fn exchange(mut request: Request<Full<Bytes>>) -> Result<(u16, Bytes), String> {
    let url = request.uri().clone();
    if let Some(host) = url.authority() {
        let host = host.as_str().parse().map_err(|_| "host".to_owned())?;
        request.headers_mut().insert(http::header::HOST, host);
    }
    *request.uri_mut() = Uri::builder()
        .path_and_query(url.path())
        .build()
        .map_err(|error| error.to_string())?;
    let mut sender = connection::connect(&url)
        .await
        .map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
}
