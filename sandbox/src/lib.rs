//! A local stand-in for [Ptolemy](https://www.ptolemy.cloud/docs), for tests of webhook receivers and
//! of API clients.
//!
//! ```
//! use ptolemy_webhooks::samples;
//! use ptolemy_webhooks_sandbox::{Outcome, Sandbox};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # use axum::{Router, http::StatusCode, routing::post};
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
//! # let my_receiver_url = format!("http://{}/", listener.local_addr().unwrap());
//! # let app = Router::new().route("/", post(async || StatusCode::NO_CONTENT));
//! # tokio::spawn(async move { axum::serve(listener, app).await });
//! let sandbox = Sandbox::start().await; // 127.0.0.1, a free port, a workspace and a token
//! let webhook = sandbox.register(my_receiver_url).await; // through the API
//! let secret = webhook.secret(); // for the receiver's `Verifier`
//!
//! sandbox.next_delivery().lose_answer();
//! sandbox.emit(samples::instrument_created()).await; // or emit_json(bytes)
//! let log = sandbox.settle().await; // retries run on the sandbox's clock, at once
//!
//! assert_eq!(log.attempts(), 2);
//! let attempts = log.deliveries()[0].attempts();
//! assert_eq!(attempts[0].outcome(), Outcome::AnswerLost(204));
//! assert_eq!(attempts[1].outcome(), Outcome::Answered(204));
//! # }
//! ```
//!
//! # Three types to know
//!
//! - [`Sandbox`] is the stand-in. It serves Ptolemy's management API with state
//!   ([`url`](Sandbox::url), [`workspace`](Sandbox::workspace), [`token`](Sandbox::token)), and
//!   delivers the events that a test [emits](Sandbox::emit). [`Sandbox::builder`] has its settings.
//! - [`NextDeliveries`] and [`NextCalls`] plan faults: for the next deliveries
//!   ([`Sandbox::next_delivery`]), and for the next calls of the API ([`Sandbox::next_call`]),
//!   before or after they are carried out.
//! - [`Shape`] turns an assumption about Ptolemy into another one, and [`every_shape()`] runs a
//!   test under all of them.
//!
//! [`Log`], which [`Sandbox::settle`] returns, and [`Sandbox::calls`] record what happened. The
//! [README](https://docs.rs/crate/ptolemy-webhooks-sandbox/latest) has a whole program, tables of
//! the calls and of all faults, and the limits.
//!
//! # What it is not
//!
//! It is not Ptolemy. It follows Ptolemy's public documentation, and this project's assumptions
//! where the documentation says nothing. Calls, operators and parameters that are not documented
//! are answered with 501. The retry schedule is a setting ([`Retries`]) and says nothing about
//! Ptolemy.
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

mod hosts;

mod settings;

mod clock;

mod log;

mod call;

mod webhook_state;

mod record;

mod route;

mod call_fault;

mod delivery_fault;

mod page;

mod state;

mod call_plan;

mod delivery_plan;

mod api;

mod connection;

mod envelope;

mod signature;

mod steps;

mod sender;

mod attempt;

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

pub use delivery_plan::NextDeliveries;

#[doc(hidden)]
pub use page::{AttemptAnswer, MadeAttempt, PageAnswer, PageBody, SentAttempt};

pub use registration::Registration;

pub use retries::Retries;

pub use role::Role;

pub use sandbox::Sandbox;

pub use shape::Shape;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
