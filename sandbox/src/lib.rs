//! A local stand-in for Ptolemy.
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

mod random;

mod role;

mod retries;

mod shape;

mod settings;

mod clock;

mod log;

mod record;

mod route;

mod call_fault;

mod state;

mod plan;

mod api;

mod connection;

mod courier;

mod server;

mod engine;

mod registration;

mod sandbox;

mod builder;

pub use builder::Builder;

pub use log::{Call, CallEnd, Log, LoggedAttempt, LoggedDelivery, Outcome, Status, WebhookState};

pub use plan::NextCalls;

pub use registration::Registration;

pub use retries::Retries;

pub use role::Role;

pub use sandbox::Sandbox;

pub use shape::Shape;
