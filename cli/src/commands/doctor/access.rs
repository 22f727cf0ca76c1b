//! Checks whether the API accepts the token, and for what.

use std::env;
use std::time::Duration;

use ptolemy_webhooks_client::{ApiError, ApiErrorKind, Client, ConfigError, Webhook};

use crate::api::Api;
use crate::commands::doctor::finding::Report;
use crate::listing::{MAX_PAGE_SIZE, MAX_PAGES};
use crate::stop::{Stop, chain};

/// How long a call may take with its retries.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Below this many calls a warning is printed, since `redeliver` keeps this many.
const QUOTA_FLOOR: u64 = 1_000;

const VARIABLES: &str = "set PTOLEMY_WORKSPACE or pass --workspace, and set PTOLEMY_API_TOKEN or PTOLEMY_API_TOKEN_FILE";

/// The API, which has accepted the token.
pub(super) struct Access {
    pub(super) client: Client,
    /// All webhooks of the workspace.
    pub(super) webhooks: Vec<Webhook>,
}

impl Access {
    /// Lists the webhooks; `None` if that is not possible, which is then a finding.
    pub(super) async fn check(api: &Api, report: &mut Report) -> Result<Option<Self>, Stop> {
        let client = api
            .builder()
            .and_then(|builder| builder.attempts(3).call_timeout(CALL_TIMEOUT).build());
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                report.misconfigured();
                let fix = configuration_fix(&error);
                report.problem("configuration", &chain(&error), &fix)?;
                return Ok(None);
            }
        };
        match all(&client).await {
            Ok(webhooks) => {
                report.ok("token", "the API accepts the token")?;
                report.ok(
                    "role",
                    "at least Viewer, because the webhooks could be read; only a change would show \
                     whether the token may register webhooks and rotate secrets, which needs Admin",
                )?;
                report.ok(
                    "workspace",
                    "the workspace exists, and the token may read it",
                )?;
                Ok(Some(Self { client, webhooks }))
            }
            Err(error) => {
                failed(&error, report)?;
                Ok(None)
            }
        }
    }
}

/// The next step for a mistake in a variable or an option.
fn configuration_fix(error: &ConfigError) -> String {
    let place = error.place();
    let is_variable = place.starts_with("PTOLEMY_");
    let is_set = env::var_os(place).is_some_and(|value| !value.is_empty());
    if is_variable && !is_set {
        return VARIABLES.to_owned();
    }
    match place {
        "workspace" => "correct --workspace".to_owned(),
        place => format!("correct {place}"),
    }
}

async fn all(client: &Client) -> Result<Vec<Webhook>, ApiError> {
    let pages = client.webhooks().list().page_size(MAX_PAGE_SIZE);
    let mut pages = pages.max_pages(MAX_PAGES);
    let mut webhooks = Vec::new();
    while let Some(webhook) = pages.try_next().await? {
        webhooks.push(webhook);
    }
    Ok(webhooks)
}

/// Why the first call failed.
fn failed(error: &ApiError, report: &mut Report) -> Result<(), Stop> {
    let text = chain(error);
    match error.kind() {
        ApiErrorKind::Unauthorized => {
            report.reject();
            let fix = "the token is wrong, expired or revoked: create a new one in Ptolemy";
            report.problem("token", &text, fix)
        }
        ApiErrorKind::Forbidden => {
            report.reject();
            let fix = "give the token at least the role Viewer in this workspace";
            report.problem("role", &text, fix)
        }
        ApiErrorKind::OverQuota => {
            let fix = "wait for the next month, or raise the quota of the plan";
            report.problem("quota", &text, fix)
        }
        ApiErrorKind::NotFound => {
            let fix = "name the workspace by its id or its slug, such as acme-capital, in PTOLEMY_WORKSPACE or by --workspace";
            report.problem("workspace", &text, fix)
        }
        _ => {
            let fix = "check PTOLEMY_API_URL, the network and Ptolemy's status, and try again";
            report.problem("api", &text, fix)
        }
    }
}

/// Checks how many calls the last answer left.
pub(super) fn check_quota(client: &Client, report: &mut Report) -> Result<(), Stop> {
    let fix = "wait for the next month, or raise the quota of the plan";
    match client.remaining() {
        Some(left) if left >= QUOTA_FLOOR => {
            report.ok("quota", &format!("{left} calls are left this month"))
        }
        Some(left) => {
            let text = format!("only {left} calls are left this month");
            report.warning("quota", &text, fix)
        }
        None => report.unknown("quota", "no answer had X-RateLimit-Remaining", fix),
    }
}
