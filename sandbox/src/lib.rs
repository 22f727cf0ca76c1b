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

mod call;

mod webhook_state;

mod record;

mod route;

mod call_fault;

mod delivery_fault;

mod state;

mod call_plan;

mod delivery_plan;

mod api;

mod connection;

mod envelope;

mod signature;

mod steps;

mod sender;

mod courier;

mod server;

mod engine;

mod registration;

mod sandbox;

mod register;

mod emit;

mod builder;

mod every_shape;

pub use builder::Builder;

pub use call::{Call, CallEnd};

pub use every_shape::every_shape;

pub use log::{Log, LoggedAttempt, LoggedDelivery, Outcome, Status};

pub use webhook_state::WebhookState;

pub use call_plan::NextCalls;

pub use delivery_plan::Deliveries;

pub use registration::Registration;

pub use retries::Retries;

pub use role::Role;

pub use sandbox::Sandbox;

pub use shape::Shape;
