//! The receiver that a sandbox delivers to.

use std::env;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ptolemy_webhooks::{Secret, SecretError};
use ptolemy_webhooks_client::{Client, NewWebhook, Subscriptions, WebhookId};
use ptolemy_webhooks_sandbox::Sandbox;
use reqwest::Url;

use crate::commands::sandbox::files::Files;
use crate::secret_mode;
use crate::stop::{Stop, chain};

const VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET";
const FILE_VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET_FILE";

/// A registered receiver.
pub(super) struct Forward {
    pub(super) url: String,
    pub(super) webhook: WebhookId,
    /// The path of the file with its secret.
    pub(super) secret_file: String,
}

/// Reads the URL of a receiver.
pub(super) fn target(url: &str, any_host: bool) -> Result<Url, Stop> {
    let fault = |fault: &str| Stop::usage(format!("--forward: {fault}"));
    let url = Url::parse(url)
        .map_err(|_| fault("expected a URL such as http://127.0.0.1:3000/webhooks/ptolemy"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault(
            "a URL with a user name or a password is not supported",
        ));
    }
    if url.scheme() != "http" {
        return Err(fault(
            "the sandbox has no TLS: expected http; `ptolemy-webhooks send` delivers to https",
        ));
    }
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    };
    if !is_loopback && !any_host {
        return Err(fault(
            "the host is neither localhost nor a loopback address: pass --any-host to deliver there",
        ));
    }
    Ok(url)
}

impl Forward {
    /// Registers a receiver through the API for all event types, with the secret of the environment if
    /// there is one.
    pub(super) async fn register(
        sandbox: &Sandbox,
        url: Url,
        files: &mut Files,
    ) -> Result<Self, Stop> {
        let given = Given::from_env()?;
        let client = Client::builder(sandbox.token(), sandbox.workspace())
            .url(sandbox.url())
            .build()?;
        let webhooks = client.webhooks();
        let created = webhooks.create(NewWebhook::new(url.as_str())).await?;
        let webhook = created.webhook.id;
        let secret_file = match given {
            None => files.write("secret", created.secret.expose())?,
            Some(given) => {
                let set = sandbox.set_secret(webhook.as_str(), given.text.as_str());
                set.map_err(|error| Stop::usage(chain(&error)))?;
                match given.file {
                    Some(path) => path,
                    None => files.write("secret", &given.text)?,
                }
            }
        };
        let subscriptions = webhooks.subscriptions(&webhook);
        subscriptions.replace(Subscriptions::all()).await?;
        Ok(Self {
            url: url.into(),
            webhook,
            secret_file,
        })
    }
}

fn not_unicode(name: &str) -> Stop {
    Stop::usage(format!("{name}: it is not Unicode"))
}

/// A secret of the environment.
struct Given {
    text: String,
    /// The file that it is in.
    file: Option<String>,
}

impl Given {
    fn from_env() -> Result<Option<Self>, Stop> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let invalid =
            |name: &str, error: SecretError| Stop::usage(format!("{name}: {}", chain(&error)));
        let path = match (variable(VARIABLE), variable(FILE_VARIABLE)) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(Stop::usage(format!(
                    "{VARIABLE}: {FILE_VARIABLE} is set too"
                )));
            }
            (Some(text), None) => {
                let text = text.into_string().map_err(|_| not_unicode(VARIABLE))?;
                Secret::new(text.as_str()).map_err(|error| invalid(VARIABLE, error))?;
                return Ok(Some(Self { text, file: None }));
            }
            (None, Some(path)) => path,
        };
        secret_mode::warn_before_reading(Path::new(&path));
        // Has the messages for all that can be wrong with a file.
        Secret::from_file(&path).map_err(|error| invalid(FILE_VARIABLE, error))?;
        let text = fs::read_to_string(&path)
            .map_err(|error| Stop::usage(format!("{FILE_VARIABLE}: {error}")))?;
        // One line end is removed, as `Secret::from_file` does.
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let path = std::path::absolute(&path)
            .map_err(|error| Stop::usage(format!("{FILE_VARIABLE}: {error}")))?;
        let path = path.into_os_string().into_string();
        let path = path.map_err(|_| not_unicode(FILE_VARIABLE))?;
        Ok(Some(Self {
            text: line.to_owned(),
            file: Some(path),
        }))
    }
}
