//! A client for the management API of [Ptolemy](https://www.ptolemy.cloud/docs). It registers
//! webhooks, stores and rotates their secrets, and asks Ptolemy to redeliver failed deliveries.
//!
//! ```rust,no_run
//! use ptolemy_webhooks::{Secret, Verifier};
//! use ptolemy_webhooks_client::{Client, Subscriptions};
//! use time::{Duration, OffsetDateTime};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // PTOLEMY_API_TOKEN (or PTOLEMY_API_TOKEN_FILE) and PTOLEMY_WORKSPACE.
//!     let client = Client::from_env()?;
//!
//!     // Registers the endpoint and keeps its secret. The second run changes nothing.
//!     let webhook = client
//!         .webhooks()
//!         .ensure("https://your-app.example.com/webhooks/ptolemy")
//!         .label("production")
//!         .subscriptions(Subscriptions::all()) // or ["instrument.created", "instrument.updated"]
//!         .secret_file("webhook.secret") // or .secret_to(|secret| async { … })
//!         .await?;
//!
//!     // Has the failed deliveries of the last two hours sent again.
//!     let two_hours_ago = OffsetDateTime::now_utc() - Duration::hours(2);
//!     let mut failed = client.deliveries().failed(&webhook.id).since(two_hours_ago);
//!     while let Some(delivery) = failed.try_next().await? {
//!         client.deliveries().redeliver(&delivery.id).await?;
//!     }
//!
//!     // Rotates the secret: stores the new one first; then the receiver accepts it.
//!     let verifier = Verifier::new(Secret::from_file("webhook.secret")?);
//!     client
//!         .webhooks()
//!         .rotate_secret(&webhook.id)
//!         .secret_file("webhook.secret")
//!         .swap(&verifier)
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! The token needs the role Admin, which a robot's token cannot have. To try all of this without an
//! account, run it against `ptolemy-webhooks-sandbox`, which listens on a loopback address: set
//! `PTOLEMY_API_URL` to its URL.
//!
//! # Types to know
//!
//! - [`Client`] is the starting point: [`webhooks()`](Client::webhooks),
//!   [`deliveries()`](Client::deliveries), [`events()`](Client::events). A clone is cheap.
//! - [`Ensure`] registers an endpoint, and [`RotateSecret`] rotates its secret. Both store the
//!   secret.
//! - [`ApiError`] says whether a call may have been carried out: see [`Outcome`].
//! - [`Pages`] is a list: a `Stream` that reads page by page.
//!
//! # Which calls are repeated
//!
//! The effect of a call decides, not its HTTP method: `POST …/filter` is a read. Reads, `PUT`,
//! `PATCH` and `DELETE` are always repeated; a creation and a redelivery are repeated only if they
//! were certainly not carried out. After an unknown outcome, `add` of a subscription reads the
//! subscriptions first, and a secret is rotated again, at most twice. The README has the table of
//! all calls.
//!
//! | what happened | outcome | "always" | "if certainly not carried out" |
//! | --- | --- | --- | --- |
//! | no connection | `NotSent` | repeated | repeated |
//! | 429 with quota left, or without `X-RateLimit-Remaining` | `Rejected` | repeated | repeated |
//! | 429 with `X-RateLimit-Remaining: 0` | `Rejected` | not repeated | not repeated |
//! | any other 4xx except 408 | `Rejected` | not repeated | not repeated |
//! | 5xx, 408, time limit, broken connection | `Unknown` | repeated | not repeated |
//! | 3xx, 2xx that cannot be read | `Unknown` | not repeated | not repeated |
//!
//! The outcome covers all attempts of a call: once an attempt may have been carried out, the
//! outcome stays `Unknown`.
//!
//! A call is attempted 5 times at most. The delay before the next attempt is random, between zero
//! and 0.5 s, 1 s, 2 s and so on up to 30 s. It is at least what `Retry-After` asks for, plus up to
//! 10 %. An attempt may take 30 s, and a call 2 minutes with all its attempts; if `Retry-After`
//! does not fit into that time, the error is returned at once, and [`ApiError::retry_after`] has
//! the delay. [`Builder`] can change all of these settings.
//!
//! # `ensure`
//!
//! [`Webhooks::ensure`] finds the webhook by the id beside the secret, otherwise by its URL, and
//! creates it if there is none. With `secret_file` it promises:
//!
//! 1. **A killed process and a lost answer are repaired by running it again.** At whichever step it
//!    stopped, the next run ends with one webhook and a file with its live secret.
//! 2. **The secret is stored before any event is sent**, because the subscriptions are set last.
//! 3. **The second run writes nothing to Ptolemy**, unless something was changed by hand. It
//!    activates a webhook that was deactivated, and reverts the label and the subscriptions if they
//!    are set on [`Ensure`].
//! 4. **It never rotates a secret that may be in use**, unless you allow it with
//!    [`rotate_lost_secret`](Ensure::rotate_lost_secret), or a rotation was begun and its secret
//!    not stored. Without it, a webhook whose secret is missing is an error.
//! 5. **A secret is not lost if it cannot be stored.** The error carries it:
//!    [`RegistrationError::into_issued_secret`].
//!
//! # Errors, and what to do
//!
//! | error | what to do |
//! | --- | --- |
//! | [`ConfigError`] | correct the variable that it names |
//! | [`Unauthorized`](ApiErrorKind::Unauthorized) | the token is missing, expired or revoked; create a new one. A token begins with `ptk_live_`, and the secret of a webhook with `whsec_` |
//! | [`Forbidden`](ApiErrorKind::Forbidden) | use the token of a person with the role that the error names, or check the limits of the plan |
//! | [`Throttled`](ApiErrorKind::Throttled), [`OverQuota`](ApiErrorKind::OverQuota) | wait; [`Client::remaining`] shows the rest of the month's quota |
//! | outcome [`Unknown`](Outcome::Unknown) of a creation | run `ensure`, which finds the webhook that was created |
//! | outcome [`Unknown`](Outcome::Unknown) of `redeliver` | call it again: receivers recognise duplicates |
//! | [`CursorExpired`](ApiErrorKind::CursorExpired) | list again from the start |
//! | [`SecretLost`](RegistrationErrorKind::SecretLost) | put the secret back, or allow a rotation |
//! | [`OtherWebhook`](RegistrationErrorKind::OtherWebhook) | use the file of this webhook, or change the URL of the one that the error names |
//! | [`Place`](RegistrationErrorKind::Place) | make the file that the error names readable and replaceable; nothing was issued |
//! | [`NotStored`](RegistrationErrorKind::NotStored) | store the secret that the error carries |
//! | [`NotNoted`](RegistrationErrorKind::NotNoted) | the new secret is stored, and accepted by the verifier; run again when `.state` can be written |
//!
//! No error, log line or `Debug` shows the token or a secret. The text of a server is shown on one
//! line, cut and escaped.
//!
//! # What Ptolemy documents, and what is assumed
//!
//! Documented: the calls and their roles, except for those of the delivery log; 201 of a creation,
//! 204 of a deletion and 202 of a redelivery; what 401, 403, 409, 422 and 429 mean; the list
//! envelope and the filter body; the fields of a webhook; that a creation shows the secret; quota
//! and bursts (429).
//!
//! Assumed, and tolerated if wrong: the roles that the delivery log requires; the statuses and the
//! answers of `PATCH`, `PUT`, `rotate-secret`, of an added subscription and of `count`, which may
//! have any 2xx; the fields of deliveries and of subscriptions; the JSON of an event. Records
//! require an `id` at most (events and subscriptions not even that), any other field is optional,
//! and every record keeps its JSON as it was sent. A list may be a bare array, subscriptions may be
//! plain strings, and the secret may be anywhere in the answer to a rotation, if it is the only
//! text that can be one: `whsec_` and at least 16 characters, without a mask such as `*` or `…`.
//!
//! Not documented, and used if present: `Retry-After` and `X-Request-Id`.
//!
//! # HTTP
//!
//! [reqwest](https://docs.rs/reqwest) does HTTP, with TLS by rustls. [`Builder::http`] takes a
//! `reqwest::ClientBuilder` (a private CA, a client certificate, a proxy), so reqwest is part of
//! this crate's public API.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::unwrap_used
    )
)]
#![cfg_attr(ptolemy_webhooks_docs, feature(doc_cfg))]

mod token;

mod id;

mod issued_secret;

mod config_error;

mod environment;

mod server_text;

mod error;

mod retry;

mod call;

mod exchange;

mod base_url;

mod client;

mod builder;

mod attempts;

mod records;

mod filter;

mod page;

mod pages;

mod webhooks;

mod subscription_set;

mod subscriptions;

mod deliveries;

mod events;

mod registration_error;

mod place;

mod atomic_file;

mod secret_file;

mod setup_label;

mod keeper;

mod rotate;

mod matching;

mod registration;

mod ensure;

pub use id::{DeliveryId, EventId, SubscriptionId, WebhookId};

pub use issued_secret::IssuedSecret;

pub use config_error::ConfigError;

pub use error::{ApiError, ApiErrorKind, Outcome, Role};

pub use client::Client;

pub use builder::Builder;

pub use records::{
    CreatedWebhook, DeliveryStatus, EventRecord, Subscription, Webhook, WebhookDelivery,
};

pub use filter::{Filter, FilterValue};

pub use pages::Pages;

pub use webhooks::{NewWebhook, WebhookChanges, Webhooks};

pub use subscription_set::Subscriptions;

pub use subscriptions::WebhookSubscriptions;

pub use deliveries::{Deliveries, FailedDeliveries};

pub use events::Events;

pub use registration_error::{RegistrationError, RegistrationErrorKind};

pub use place::{NoPlace, SecretTo};

pub use secret_file::SecretFile;

pub use rotate::RotateSecret;

pub use registration::Registration;

pub use ensure::Ensure;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
