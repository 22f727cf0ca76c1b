//! The receiver that a sandbox delivers to.

use std::net::IpAddr;
use std::path::Path;

use ptolemy_webhooks_client::{Client, NewWebhook, Subscriptions, WebhookId};
use ptolemy_webhooks_sandbox::Sandbox;
use reqwest::Url;

use crate::commands::sandbox::files::Files;
use crate::secret::Place;
use crate::stop::{Stop, chain};

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
    /// Registers a receiver through the API for all event types, with the secret of the environment
    /// if there is one.
    pub(super) async fn register(
        sandbox: &Sandbox,
        url: Url,
        files: &mut Files,
    ) -> Result<Self, Stop> {
        let place = Place::of_environment()?;
        let client = Client::builder(sandbox.token(), sandbox.workspace())
            .url(sandbox.url())
            .build()?;
        let webhooks = client.webhooks();
        let created = webhooks.create(NewWebhook::new(url.as_str())).await?;
        let webhook = created.webhook.id;
        let secret_file = match place {
            None => files.write("secret", created.secret.expose())?,
            Some(place) => {
                place.warn();
                let given = place.read()?;
                given.checked()?;
                // It was checked, so it is Unicode.
                let text = str::from_utf8(&given.bytes).unwrap_or_default();
                let set = sandbox.set_secret(webhook.as_str(), text);
                set.map_err(|error| Stop::usage(chain(&error)))?;
                match place.path() {
                    Some(path) => shown(path)?,
                    None => files.write("secret", text)?,
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

/// The path of the user's own file, as shell lines and JSON show it.
fn shown(path: &Path) -> Result<String, Stop> {
    let fault = |fault: &str| Stop::usage(format!("the path of the secret's file {fault}"));
    let path = std::path::absolute(path).map_err(|error| fault(&error.to_string()))?;
    let path = path.into_os_string().into_string();
    path.map_err(|_| fault("is not Unicode"))
}
