//! `register`: an endpoint, its subscriptions and its secret.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, builder::NonEmptyStringValueParser};
use ptolemy_webhooks_client::{
    Registration, RegistrationError, RegistrationErrorKind, Subscriptions, WebhookId,
};
use reqwest::Url;
use serde::Serialize;

use super::kept_secret::{self, previous_path, shown};
use super::subscriptions::warn_of_unlisted_types;
use super::webhooks::WebhookRow;
use crate::api::Api;
use crate::notice::{self, IfInterrupted, Progress};
use crate::output::{Output, Record};
use crate::stop::Stop;

/// Register an endpoint, or make sure that it is registered
///
/// It creates the webhook unless one with this URL exists, stores its secret, and then subscribes
/// it. The second run changes nothing; after a lost answer or a killed process, run it again.
/// Requires the role Admin, which a robot's token cannot have.
///
/// Beside the file of the secret it keeps PATH.previous, the secret before this one (empty if there
/// is none), and PATH.state, notes for the next run. Keep the three together, one file for each
/// webhook.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("types").required(true).args(["all_events", "events"])),
    after_help = "\
Examples:
  ptolemy-webhooks register https://your-app.example.com/webhooks/ptolemy --all-events \\
    --secret-file webhook.secret
  ptolemy-webhooks register https://your-app.example.com/webhooks/ptolemy --label production \\
    --events instrument.created,instrument.updated --secret-file webhook.secret"
)]
pub(crate) struct Register {
    #[command(flatten)]
    api: Api,
    /// The URL of the endpoint
    url: String,
    /// A name for people. It also distinguishes webhooks with the same URL
    #[arg(long)]
    label: Option<String>,
    /// Subscribe to all event types, also to those that Ptolemy adds later
    #[arg(long)]
    all_events: bool,
    /// Subscribe to these event types and no others, separated by commas
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    events: Vec<String>,
    /// The file for the secret. A new file has mode 0600. A secret in it is only replaced if a
    /// rotation was begun or is allowed, and is kept in PATH.previous then
    #[arg(long, value_name = "PATH")]
    secret_file: PathBuf,
    /// Print the secret in the file, alone on standard output
    #[arg(long)]
    print_secret: bool,
    /// Have a new secret issued if the webhook exists and its secret is not in the file. Receivers
    /// that have the old one may reject deliveries from then on
    #[arg(long)]
    rotate_lost_secret: bool,
}

impl Register {
    pub(crate) async fn run(&self, output: &Output) -> Result<(), Stop> {
        kept_secret::check_print(self.print_secret, output)?;
        self.check_url()?;
        kept_secret::check(&self.secret_file)?;
        let client = self.api.client()?;
        let subscriptions = if self.all_events {
            Subscriptions::all()
        } else {
            warn_of_unlisted_types(&self.events);
            self.events.iter().map(String::as_str).collect()
        };
        let mut ensure = client
            .webhooks()
            .ensure(&self.url)
            .subscriptions(subscriptions)
            .secret_file(&self.secret_file);
        if let Some(label) = &self.label {
            ensure = ensure.label(label);
        }
        if self.rotate_lost_secret {
            ensure = ensure.rotate_lost_secret();
        }
        let interrupted = IfInterrupted::new(
            "the registration may be incomplete: run the same command again, which continues it",
        );
        let progress = Progress::of("registering");
        let registered = progress.during(ensure.register()).await;
        drop(progress);
        interrupted.ended();
        let registration = match registered {
            Ok(registration) => registration,
            Err(error) => return Err(self.failed(error, output)),
        };
        self.report(&registration);
        if self.print_secret {
            return kept_secret::print(&self.secret_file, output);
        }
        output.record(&Registered::new(&registration, &self.secret_file))
    }

    /// Turns the error into that of the tool, whose options have other names than the library's
    /// methods.
    fn failed(&self, error: RegistrationError, output: &Output) -> Stop {
        let webhook = error.webhook_id().map(ToString::to_string);
        if let (RegistrationErrorKind::SecretLost, Some(webhook)) = (error.kind(), webhook) {
            return Stop::failed(format!(
                "webhook {webhook} exists, and its secret is not in {}; put it into the file, or pass \
                 --rotate-lost-secret to have a new one issued",
                shown(&self.secret_file)
            ));
        }
        if let (RegistrationErrorKind::Api, Some(webhook)) = (error.kind(), error.webhook_id()) {
            return self.half_done(&error, webhook);
        }
        let print_to = self.print_secret.then_some(output);
        let again = "the same command again";
        kept_secret::failed(error, &self.secret_file, print_to, again)
    }

    /// A call that failed after the secret was stored.
    fn half_done(&self, error: &RegistrationError, webhook: &WebhookId) -> Stop {
        let is_subscribing = error
            .api_error()
            .is_some_and(|error| error.path().ends_with("/subscriptions"));
        let (missing, option) = match is_subscribing {
            true => ("subscriptions", "--events"),
            false => ("settings", "--label"),
        };
        let file = shown(&self.secret_file);
        Stop::from_registration(error)
            .while_doing(&format!(
                "webhook {webhook} is registered and its secret is in {file}, but its {missing} are not as requested"
            ))
            .with_more(&format!(
                "; run the same command again, with another {option} if this one is not accepted"
            ))
    }

    /// User information would go into the request, and into Ptolemy's records.
    fn check_url(&self) -> Result<(), Stop> {
        match Url::parse(&self.url) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => Err(Stop::usage(
                "the URL has a user name or a password in front of its host, which is not supported",
            )),
            _ => Ok(()),
        }
    }

    fn report(&self, registration: &Registration) {
        let file = shown(&self.secret_file);
        let id = &registration.webhook.id;
        notice::note(
            &match (registration.is_created, registration.is_changed()) {
                (true, _) => format!("webhook {id} is created, and its secret is in {file}"),
                (false, true) => {
                    let changes = changes(registration).join(", ");
                    format!("webhook {id} existed; changed: {changes}")
                }
                (false, false) => {
                    format!(
                        "nothing changed: webhook {id} is registered, and its secret is in {file}"
                    )
                }
            },
        );
        if registration.has_new_secret && !registration.is_created {
            notice::note(&format!(
                "the new secret is in {file}, the one before, if it was there, in {}: restart the receiver \
                 with both",
                shown(&previous_path(&self.secret_file))
            ));
        }
    }
}

fn changes(registration: &Registration) -> Vec<&'static str> {
    let changes = [
        (registration.is_created, "created"),
        (registration.has_new_secret, "secret"),
        (registration.is_updated, "settings"),
        (registration.is_subscribed, "subscriptions"),
    ];
    let changed = changes.into_iter().filter(|(is_changed, _)| *is_changed);
    changed.map(|(_, name)| name).collect()
}

#[derive(Serialize)]
struct Registered {
    #[serde(flatten)]
    webhook: WebhookRow,
    secret_file: String,
    changed: Vec<&'static str>,
}

impl Registered {
    fn new(registration: &Registration, file: &Path) -> Self {
        Self {
            webhook: WebhookRow::new(&registration.webhook),
            secret_file: file.display().to_string(),
            changed: changes(registration),
        }
    }
}

impl Record for Registered {
    const COLUMNS: &'static [&'static str] = &[
        "ID",
        "LABEL",
        "ACTIVE",
        "URL",
        "CREATED AT",
        "SECRET FILE",
        "CHANGED",
    ];

    fn cells(&self) -> Vec<String> {
        let changed = match self.changed.as_slice() {
            [] => "nothing".to_owned(),
            changed => changed.join(", "),
        };
        let mut cells = self.webhook.cells();
        cells.extend([self.secret_file.clone(), changed]);
        cells
    }
}
