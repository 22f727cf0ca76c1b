//! Whether the API lets the token in, and how far.

use std::time::Duration;

use ptolemy_webhooks_client::{ApiError, ApiErrorKind, Builder, Client, Webhook};

use crate::commands::doctor::finding::Report;
use crate::stop::{Stop, chain};

/// How long a call may take with its repetitions.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Below this many calls a warning is given, as `redeliver` keeps so many.
const QUOTA_FLOOR: u64 = 1_000;

const VARIABLES: &str = "set PTOLEMY_WORKSPACE, and PTOLEMY_API_TOKEN or PTOLEMY_API_TOKEN_FILE";

/// The API, which let the token in.
pub(super) struct Access {
    pub(super) client: Client,
    /// All webhooks of the workspace.
    pub(super) webhooks: Vec<Webhook>,
}

impl Access {
    /// Lists the webhooks; `None` if that is not possible, which is then a finding.
    pub(super) async fn check(report: &mut Report) -> Result<Option<Self>, Stop> {
        let client = Builder::from_env()
            .and_then(|builder| builder.attempts(3).call_timeout(CALL_TIMEOUT).build());
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                let fix = "correct the variable";
                let fix = if error.to_string().contains("not set") {
                    VARIABLES
                } else {
                    fix
                };
                report.problem("configuration", &chain(&error), fix)?;
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

async fn all(client: &Client) -> Result<Vec<Webhook>, ApiError> {
    let mut pages = client.webhooks().list().page_size(200);
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
            let fix =
                "PTOLEMY_WORKSPACE is the id or the slug of the workspace, such as acme-capital";
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
