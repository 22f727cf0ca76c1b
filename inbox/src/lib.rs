//! A durable inbox for [Ptolemy](https://www.ptolemy.cloud/docs)'s webhooks, on SQLite or
//! PostgreSQL: it acknowledges what is stored, has each event handled, and loses none.
//!
//! Ptolemy wants its 2xx within 10 seconds and sends again what fails. So a receiver has to store
//! first, answer, and work later; to take the same event twice without doing the work twice; to survive
//! a crash at any instant; and to try its own failures again.
//!
//! ```no_run
//! use axum::{Router, extract::{FromRef, State}, http::StatusCode, routing::post};
//! use ptolemy_webhooks::{Delivery, Event, Verifier};
//! use ptolemy_webhooks_inbox::{Attempt, Failure, Inbox, InboxError};
//!
//! #[derive(Clone, FromRef)]
//! struct App {
//!     verifier: Verifier,
//!     inbox: Inbox,
//! }
//!
//! async fn receive(
//!     State(inbox): State<Inbox>,
//!     delivery: Delivery,
//! ) -> Result<StatusCode, InboxError> {
//!     inbox.accept(&delivery).await?; // on disk when this returns
//!     Ok(StatusCode::ACCEPTED)
//! }
//!
//! async fn apply(event: Event, attempt: Attempt) -> Result<(), Failure> {
//!     println!("{} (attempt {})", event.event_type, attempt.number());
//!     Ok(()) // an error or a panic: tried again later
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let inbox = Inbox::connect("sqlite://inbox.db").await?; // or postgres://…
//!     tokio::spawn(inbox.worker().concurrency(8).run(apply));
//!
//!     let app = Router::new()
//!         .route("/webhooks/ptolemy", post(receive))
//!         .with_state(App { verifier: Verifier::from_env()?, inbox });
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     Ok(axum::serve(listener, app).await?)
//! }
//! ```
//!
//! # Three types to know
//!
//! - [`Inbox`] holds the table: [`accept`](Inbox::accept) puts deliveries in, and what failed for good is
//!   listed, replayed and discarded through it.
//! - [`Worker`] hands events to a handler: concurrency, leases, retries, order, shutdown.
//! - [`Failure`] is a handler's error: try again, try again in ten minutes, never try again.
//!
//! # What it promises
//!
//! 1. **Durable before 2xx.** `accept` returns after a commit with a full sync. If the database is down, full,
//!    or too slow, it is an error within 5 s, which answers 503, and Ptolemy sends again.
//! 2. **Once.** Deliveries with one [`dedup_key`](ptolemy_webhooks::Delivery::dedup_key) are one row, also
//!    if they come at the same time to several processes. A duplicate is no error.
//! 3. **At least once, and no zombie.** A worker leases an event and renews the lease. An error, a panic, a
//!    dropped future, a killed process: the event comes back, and whoever wakes late marks nothing. An
//!    attempt counts when it begins, so an event that kills its process is dead in the end.
//! 4. **Exactly once in your own database**, if that is the inbox's: see
//!    `Worker::run_in_sqlite_transaction` and `Worker::run_in_postgres_transaction`.
//! 5. **Retries and dead letters.** Exponential backoff with jitter; after the last attempt the event is dead,
//!    with its error, and waits for a person.
//! 6. **Order where it matters**, by resource: see [`Worker::in_order`].
//! 7. **Never full of ghosts.** [`Inbox::prune`] removes what was done long ago; [`Inbox::stats`] counts what is
//!    not done.
//! 8. **Clean stop.** See [`Worker::graceful_shutdown`].
//! 9. **Readable.** One table, `ptolemy_inbox`, whose columns say what they hold.
//!
//! # How to write a handler
//!
//! Without a transaction, a handler may run twice for one event: the process can die between its work
//! and the mark. Make the work idempotent ([`Attempt::dedup_key`] serves as an idempotency key), or do it
//! in the inbox's own transaction. Do not block the thread: use `tokio::task::spawn_blocking`. And events may
//! come late and out of order: compare their times, or fetch the resource.
//!
//! # Which engine
//!
//! **SQLite** (feature `sqlite`, on by default) needs nothing installed: a file on a local disk, not on a
//! network file system, and any number of processes on one machine. It has one writer at a time. The program
//! cannot have another SQLite library in it beside sqlx's, such as rusqlite's.
//!
//! **PostgreSQL** (feature `postgres`) serves receivers and workers on many machines. A server that
//! replicates synchronously does so for the inbox too.
//!
//! # Questions in SQL
//!
//! ```sql
//! SELECT state, count(*) FROM ptolemy_inbox GROUP BY state;
//! SELECT id, event_type, attempts, last_error FROM ptolemy_inbox WHERE state = 'dead';
//! SELECT * FROM ptolemy_inbox WHERE resource = 'instrument' AND resource_id = '…' ORDER BY id;
//! ```
//!
//! `state` is `waiting`, `running`, `done` or `dead`; a row that backs off is `waiting` with a `run_at` to
//! come. Write to the table through this crate alone.
//!
//! # What is not here
//!
//! An exporter of metrics (poll [`Inbox::stats`]); schedules other than retries; an inbox in memory; MySQL. A
//! job queue for other work: the inbox holds deliveries and nothing else. Crates for that were looked at: those that share no transaction with
//! the handler, or that trade the sync of a commit for speed, cannot keep the promises above.
//!
//! # Features
//!
//! - `sqlite` (default), `postgres`: the engines.
//! - `axum`, `actix-web`: [`InboxError`] as a response, 503 with `Retry-After` where the database is in the
//!   way.
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
// Without an engine there is an API, and nothing that can use it.
#![cfg_attr(
    not(any(feature = "postgres", feature = "sqlite")),
    allow(dead_code, unreachable_code, unused_variables)
)]

mod error;

mod accepted;
mod arrival;
mod dead;
mod event_order;
mod failure;
mod retry;
mod stats;

mod accept;

mod turn;

mod outcome;

mod store;

mod batch;
mod engine;

mod asked;
mod attempt;
mod worker;

mod inbox;

#[cfg(any(feature = "actix-web", feature = "axum"))]
mod http;

pub use inbox::{DeadLetters, Inbox};

pub use accept::Accept;
pub use accepted::{Accepted, EventState};
pub use event_order::EventOrder;

pub use attempt::Attempt;
pub use failure::{Failure, FailureKind};
pub use store::BoxFuture;
pub use worker::Worker;

pub use dead::{DeadLetter, DeadLetterId};
pub use stats::Stats;

pub use error::{ConnectError, ConnectErrorKind, InboxError, InboxErrorKind, WrongEngine};

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sqlx;

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
