#![doc = include_str!("../README.md")]
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

mod client;

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

mod secret_file;

mod keeper;

mod rotate;

mod setup_label;

mod matching;

mod ensure;

pub use id::{DeliveryId, EventId, SubscriptionId, WebhookId};

pub use issued_secret::IssuedSecret;

pub use config_error::ConfigError;

pub use error::{ApiError, ApiErrorKind, Outcome, Role};

pub use client::{Builder, Client};

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

pub use ensure::Ensure;
