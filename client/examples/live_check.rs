//! Compares a real API with the assumptions of this crate, and prints the differences.
//!
//!     PTOLEMY_API_TOKEN=… PTOLEMY_WORKSPACE=… cargo run --example live_check
//!
//! It registers webhooks for a URL without a server, one at a time, and deletes each of them. It
//! needs a token with the role Admin, and makes about 40 calls.

use std::env;
use std::error::Error;

use ptolemy_webhooks_client::{
    ApiError, ApiErrorKind, Client, Filter, IssuedSecret, Subscriptions,
};
use reqwest::Method;
use serde_json::{Value, json};

const URL: &str = "https://ptolemy-live-check.invalid/webhook";
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("PTOLEMY_API_URL").unwrap_or("https://api.ptolemy.cloud/v1".to_owned());
    let (token, workspace) = (
        env::var("PTOLEMY_API_TOKEN")?,
        env::var("PTOLEMY_WORKSPACE")?,
    );
    let differences = check(&url, &token, &workspace).await?;
    for difference in &differences {
        println!("differs: {difference}");
    }
    println!("{} differences", differences.len());
    Ok(())
}

/// Returns the differences between the API and the assumptions.
pub(crate) async fn check(
    url: &str,
    token: &str,
    workspace: &str,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut api = Api {
        http: reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()?,
        root: format!("{}/workspaces/{workspace}", url.trim_end_matches('/')),
        token: token.to_owned(),
        differences: Vec::new(),
    };
    let client = Client::builder(token, workspace).url(url).build()?;
    let created = api.create().await?;
    let webhook = format!("/webhooks/{}", created["id"].as_str().unwrap_or(NOBODY));
    let checked = async {
        api.webhook(&webhook, &created).await?;
        api.subscriptions(&webhook).await?;
        api.lists().await?;
        api.rotation(&webhook, &created).await
    };
    let checked: Result<(), Box<dyn Error>> = checked.await;
    api.deletion(&webhook).await?;
    checked?;
    let registered = registration(&client, &mut api).await;
    delete_all(&client).await?;
    registered?;
    Ok(api.differences)
}

/// Deletes the webhooks of this program, even if a check failed.
async fn delete_all(client: &Client) -> Result<(), ApiError> {
    let mut webhooks = client.webhooks().list();
    let mut ours = Vec::new();
    while let Some(webhook) = webhooks.try_next().await? {
        if webhook.url.as_deref() == Some(URL) {
            ours.push(webhook.id);
        }
    }
    for id in ours {
        client.webhooks().delete(id).await?;
    }
    Ok(())
}

/// Raw calls, without the client, because the client accepts more than one shape.
struct Api {
    http: reqwest::Client,
    root: String,
    token: String,
    differences: Vec<String>,
}

impl Api {
    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Value), Box<dyn Error>> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.root))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let remaining = response.headers().contains_key("x-ratelimit-remaining");
        self.expect(
            remaining,
            &format!("{method} {path}: no X-RateLimit-Remaining"),
        );
        let body = response.text().await?;
        Ok((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    fn expect(&mut self, is_as_assumed: bool, difference: &str) {
        if !is_as_assumed {
            self.differences.push(difference.to_owned());
        }
    }

    fn expect_status(&mut self, call: &str, found: u16, expected: u16) {
        self.expect(
            found == expected,
            &format!("{call}: status {found}, not {expected}"),
        );
    }

    fn expect_fields(&mut self, call: &str, object: &Value, names: &[&str]) {
        for name in names {
            self.expect(
                object.get(name).is_some(),
                &format!("{call}: no field {name}"),
            );
        }
    }

    fn expect_list(&mut self, call: &str, list: &Value, fields: &[&str]) {
        self.expect(list["data"].is_array(), &format!("{call}: no array `data`"));
        self.expect(
            list["meta"]["has_more"].is_boolean(),
            &format!("{call}: no boolean `has_more`"),
        );
        self.expect(
            list["meta"].get("next_cursor").is_some(),
            &format!("{call}: no `next_cursor`"),
        );
        if let Some(first) = list["data"].get(0) {
            self.expect_fields(call, first, fields);
        }
    }

    async fn create(&mut self) -> Result<Value, Box<dyn Error>> {
        let body = json!({"url": URL, "label": "live check", "active": true});
        let (status, created) = self.call(Method::POST, "/webhooks", Some(body)).await?;
        self.expect_status("create", status, 201);
        if !(200..300).contains(&status) {
            return Err(format!("no webhook could be created: status {status}").into());
        }
        self.expect_fields(
            "create",
            &created,
            &["id", "url", "label", "active", "secret", "created_at"],
        );
        let secret = created["secret"].as_str().unwrap_or_default();
        self.expect(
            secret.starts_with("whsec_"),
            "create: the secret does not begin with whsec_",
        );
        Ok(created)
    }

    async fn webhook(&mut self, webhook: &str, created: &Value) -> Result<(), Box<dyn Error>> {
        let (status, read) = self.call(Method::GET, webhook, None).await?;
        self.expect_status("get", status, 200);
        self.expect(read.get("secret").is_none(), "get: the secret is shown");
        self.expect(
            read["created_at"] == created["created_at"],
            "get: another created_at than in create",
        );
        let (status, changed) = self
            .call(Method::PATCH, webhook, Some(json!({"label": ""})))
            .await?;
        self.expect_status("update to an empty label", status, 200);
        self.expect_fields("update", &changed, &["id", "url", "active"]);
        let (status, list) = self.call(Method::GET, "/webhooks?limit=1", None).await?;
        self.expect_status("list webhooks", status, 200);
        self.expect_list(
            "list webhooks",
            &list,
            &["id", "url", "label", "active", "created_at"],
        );
        let (status, _) = self
            .call(Method::GET, "/webhooks?limit=1&after=no-such-cursor", None)
            .await?;
        let is_known = matches!(status, 400 | 404 | 409 | 410 | 422);
        self.expect(
            is_known,
            &format!("list webhooks: status {status} for an unknown cursor"),
        );
        Ok(())
    }

    async fn subscriptions(&mut self, webhook: &str) -> Result<(), Box<dyn Error>> {
        let path = format!("{webhook}/subscriptions");
        let one = || Some(json!({"event_type": "instrument.created"}));
        let (status, list) = self.call(Method::GET, &path, None).await?;
        self.expect_status("list subscriptions", status, 200);
        self.expect(list["data"] == json!([]), "a new webhook has subscriptions");
        let (status, added) = self.call(Method::POST, &path, one()).await?;
        self.expect_status("add subscription", status, 201);
        self.expect_fields("add subscription", &added, &["id", "event_type"]);
        let (status, _) = self.call(Method::POST, &path, one()).await?;
        self.expect_status("add subscription again", status, 409);
        let (_, list) = self.call(Method::GET, &path, None).await?;
        self.expect_list("list subscriptions", &list, &["id", "event_type"]);
        let id = added["id"].as_str().unwrap_or(NOBODY);
        let (status, _) = self
            .call(Method::DELETE, &format!("{path}/{id}"), None)
            .await?;
        self.expect_status("remove subscription", status, 204);
        let (status, _) = self.call(Method::PUT, &path, Some(json!(["*"]))).await?;
        self.expect(
            matches!(status, 200 | 204),
            &format!("replace subscriptions: status {status}"),
        );
        Ok(())
    }

    async fn lists(&mut self) -> Result<(), Box<dyn Error>> {
        for (path, fields) in [
            ("/webhooks/filter", ["id", "url"].as_slice()),
            (
                "/webhook-deliveries/filter",
                &[
                    "id",
                    "webhook_id",
                    "event_id",
                    "event_type",
                    "status",
                    "delivered_at",
                ],
            ),
            (
                "/events/filter",
                &["id", "event_type", "created_at", "data"],
            ),
        ] {
            let (status, list) = self
                .call(Method::POST, path, Some(json!({"limit": 1})))
                .await?;
            self.expect_status(path, status, 200);
            self.expect_list(path, &list, fields);
        }
        let sort = json!([{"field": "delivered_at", "direction": "desc"}]);
        let failed = json!({"filter": {"and": [{"field": "status", "op": "eq", "value": "failed"}]}, "sort": sort});
        let (status, _) = self
            .call(Method::POST, "/webhook-deliveries/filter", Some(failed))
            .await?;
        self.expect_status("failed deliveries", status, 200);
        let (status, events) = self.call(Method::GET, "/events?limit=1", None).await?;
        self.expect_status("list events", status, 200);
        self.expect_list(
            "list events",
            &events,
            &["id", "event_type", "created_at", "data"],
        );
        let (status, _) = self
            .call(Method::GET, &format!("/events/{NOBODY}"), None)
            .await?;
        self.expect_status("get an unknown event", status, 404);
        let (status, count) = self
            .call(Method::POST, "/events/count", Some(json!({})))
            .await?;
        self.expect_status("count events", status, 200);
        self.expect(count["count"].is_u64(), "count events: no number `count`");
        let (status, _) = self
            .call(
                Method::POST,
                &format!("/webhook-deliveries/{NOBODY}/redeliver"),
                None,
            )
            .await?;
        self.expect_status("redeliver an unknown delivery", status, 404);
        Ok(())
    }

    async fn rotation(&mut self, webhook: &str, created: &Value) -> Result<(), Box<dyn Error>> {
        let (status, rotated) = self
            .call(Method::POST, &format!("{webhook}/rotate-secret"), None)
            .await?;
        self.expect_status("rotate", status, 200);
        self.expect_fields("rotate", &rotated, &["secret"]);
        self.expect(
            rotated["secret"] != created["secret"],
            "rotate: the secret stays the same",
        );
        Ok(())
    }

    async fn deletion(&mut self, webhook: &str) -> Result<(), Box<dyn Error>> {
        let (status, _) = self.call(Method::DELETE, webhook, None).await?;
        self.expect_status("delete", status, 204);
        let (status, _) = self.call(Method::DELETE, webhook, None).await?;
        self.expect_status("delete again", status, 404);
        Ok(())
    }
}

/// The client itself: registers, changes nothing, rotates, deletes.
async fn registration(client: &Client, api: &mut Api) -> Result<(), Box<dyn Error>> {
    let keep = |_: IssuedSecret| async { Ok::<(), String>(()) };
    let ensure = || {
        client
            .webhooks()
            .ensure(URL)
            .label("live check")
            .subscriptions(Subscriptions::all())
    };
    let webhook = ensure().secret_to(keep).await?;
    let again = ensure().secret_to(keep).secret_already_stored().await;
    let rotated = client
        .webhooks()
        .rotate_secret(&webhook.id)
        .secret_to(keep)
        .await;
    let failed = client.deliveries().failed(&webhook.id).try_next().await;
    let count = client.events().count(Filter::new()).await;
    client.webhooks().delete(&webhook.id).await?;
    api.expect(
        again.is_ok_and(|again| again.id == webhook.id),
        "ensure: another webhook in the second run",
    );
    api.expect(rotated.is_ok(), "rotate_secret: failed");
    api.expect(
        matches!(failed, Ok(None)),
        "failed: a new webhook has failed deliveries",
    );
    api.expect(count.is_ok(), "count: failed");
    let gone = client.webhooks().get(&webhook.id).await;
    api.expect(
        gone.is_err_and(|error| error.kind() == ApiErrorKind::NotFound),
        "get: a deleted webhook is found",
    );
    Ok(())
}
