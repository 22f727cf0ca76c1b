//! A durable inbox for [Ptolemy](https://www.ptolemy.cloud/docs)'s webhooks, on SQLite or
//! PostgreSQL: it stores each delivery before you acknowledge it, and hands it to your handler
//! until the handler succeeds.
//!
//! Ptolemy expects a 2xx within 10 seconds and retries failed deliveries. A receiver must therefore
//! store a delivery first, answer, and do the work later. It must also recognise duplicates,
//! survive a crash at any point, and retry its own failures.
//!
#![cfg_attr(not(all(doctest, not(feature = "axum"))), doc = "```no_run")]
#![cfg_attr(all(doctest, not(feature = "axum")), doc = "```text")]
//! use axum::{Router, extract::{FromRef, State}, http::StatusCode, routing::post};
//! use ptolemy_webhooks::{Delivery, Event, Verifier};
//! use ptolemy_webhooks_inbox::{Attempt, Failure, Inbox, InboxError};
//! use tokio::{net::TcpListener, sync::watch};
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
//!     tracing_subscriber::fmt::init(); // dead letters, outages and wrong assumptions are log lines
//!     let inbox = Inbox::connect("sqlite://inbox.db").await?; // or postgres://…
//!     let (stop, stopped) = watch::channel(());
//!     let signal = |mut stopped: watch::Receiver<()>| async move { let _ = stopped.changed().await; };
//!
//!     let worker = inbox.worker().concurrency(8).graceful_shutdown(signal(stopped.clone()));
//!     let worker = tokio::spawn(worker.run(apply));
//!     tokio::spawn(async move {
//!         let _ = tokio::signal::ctrl_c().await;
//!         drop(stop);
//!     });
//!
//!     let app = Router::new()
//!         .route("/webhooks/ptolemy", post(receive))
//!         .with_state(App { verifier: Verifier::from_env()?, inbox: inbox.clone() });
//!     let listener = TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, app).with_graceful_shutdown(signal(stopped)).await?;
//!     worker.await?; // its events have finished, or are back in the inbox
//!     inbox.close().await;
//!     Ok(())
//! }
//! ```
//!
//! # Three types to know
//!
//! - [`Inbox`] is the store: [`accept`](Inbox::accept) puts deliveries in, and
//!   [`dead_letters`](Inbox::dead_letters) lists, replays and discards the events that failed
//!   permanently.
//! - [`Worker`] hands events to a handler: concurrency, leases, retries, time limits, shutdown.
//! - [`Failure`] is a handler's error: retry, retry in ten minutes, never retry, or wait without
//!   counting an attempt.
//!
//! # What it promises
//!
//! 1. **Durable before 2xx.** `accept` returns after a commit with a full sync. If the database is
//!    down, full or too slow, `accept` fails within 5 s; respond with 503 (the default) and Ptolemy
//!    retries.
//! 2. **Once.** Deliveries with the same [`dedup_key`](ptolemy_webhooks::Delivery::dedup_key) are
//!    one row, even if they arrive at the same time at several processes. A duplicate is not an
//!    error. The same event through two webhooks is two events if they are named: see
//!    [`Accept::source`].
//! 3. **At least once, and no stale worker.** A worker leases an event and renews the lease. After
//!    an error, a panic, a time limit, a dropped future or a killed process the event is retried,
//!    and a worker whose lease expired cannot mark the event as done. An event that kills its
//!    process ends up dead, and no event that ran beside it does.
//! 4. **Exactly once in your own database**, if that is the inbox's: see
//!    `Worker::run_in_sqlite_transaction` and `Worker::run_in_postgres_transaction`.
//! 5. **Retries and dead letters.** Exponential backoff with jitter. After the last attempt the
//!    event becomes a dead letter, with its error, and stays there until you replay or discard it.
//!    An event that this version cannot read becomes a dead letter at once; it is never `done`.
//! 6. **Order where it matters**, by resource, for all workers: see [`Inbox::set_order`].
//! 7. **Bounded size.** Workers remove rows that were done 90 days ago: see
//!    [`Inbox::with_keep_done`]. [`Inbox::stats`] counts the events that are not done.
//! 8. **Clean stop.** Running events finish or return to the inbox: see
//!    [`Worker::graceful_shutdown`]. [`Inbox::close`] then closes the connections; on SQLite it
//!    leaves everything in one file.
//! 9. **Readable.** The events are in one table, `ptolemy_inbox`, whose columns say what they
//!    contain.
//!
//! # How to write a handler
//!
//! Without a transaction, a handler may run twice for one event: the process can die between its
//! work and the mark. Make the work idempotent ([`Attempt::dedup_key`] serves as an idempotency
//! key), or do it in the inbox's own transaction. Do not block the thread: use
//! `tokio::task::spawn_blocking`. Events may come late and out of order: compare their times, or
//! fetch the resource.
//!
//! A handler never sees malformed data of a documented event type, unless the worker is set to
//! [accept it](Worker::accept_malformed). It does see events of unknown types.
//!
//! To test a handler, call it with [`Attempt::for_test`]; to test it with an inbox, use
//! [`Worker::run_until_idle`].
//!
//! # Which engine
//!
//! **SQLite** (feature `sqlite`, on by default) needs nothing installed: a file on a local disk,
//! not on a network file system, and any number of processes on one machine. It has one write lock
//! for the whole file: accepts, workers and handlers in transactions take turns, so a handler that
//! stays in its transaction for 5 s makes accepts fail. The program cannot contain another SQLite
//! library beside sqlx's, such as rusqlite's.
//!
//! **PostgreSQL** (feature `postgres`) serves receivers and workers on many machines. A server that
//! replicates synchronously does so for the inbox too. Each handler in a transaction has a
//! connection of the pool to itself; two are kept for accepts and for the workers' own turns.
//!
//! # PostgreSQL at a host
//!
//! | host | URL |
//! | --- | --- |
//! | Neon | `postgres://user:password@ep-….neon.tech/db?sslmode=verify-full`, without `channel_binding`; a host with `-pooler` is PgBouncer in transaction mode |
//! | Supabase | `postgres://postgres.ref:password@….pooler.supabase.com:5432/postgres?sslmode=require` (sessions), or port 6543 (transactions), without `pgbouncer` |
//! | Amazon RDS | `postgres://user:password@….rds.amazonaws.com/db?sslmode=verify-full&sslrootcert=/path/global-bundle.pem` |
//! | Heroku, DigitalOcean, Azure, Render | the URL that the host shows, with `?sslmode=require` |
//! | Google Cloud SQL | `postgres:///db?host=/cloudsql/project:region:instance&user=user&password=…` |
//!
//! `sslmode=require` encrypts but does not authenticate the server; `verify-full` checks the
//! certificate, against the roots of Mozilla or those in `sslrootcert`. A user name or a password
//! that contains one of `/?#@` must be percent-encoded.
//!
//! PgBouncer works with its default settings. The inbox detects a pooler in transaction mode when
//! it is opened; its own statements are then not prepared by name, and each takes one more round
//! trip. `statement-cache-capacity=0` in the URL forces this: set it if a pooler may be put in
//! front of the server while the inbox is open. Statements of your handlers in transactions are
//! prepared by name unless they are made with `.persistent(false)`: use that, or the pooler's
//! session mode.
//!
//! # Questions in SQL
//!
//! ```sql
//! SELECT state, count(*) FROM ptolemy_inbox GROUP BY state;
//! SELECT id, event_type, attempts, last_error FROM ptolemy_inbox WHERE state = 'dead';
//! SELECT * FROM ptolemy_inbox WHERE resource = 'instrument' AND resource_id = '…' ORDER BY id;
//! ```
//!
//! `state` is `waiting`, `running`, `done` or `dead`; a row that backs off or is postponed is
//! `waiting` with a `run_at` in the future. `queue` is `first`, `again`, or `suspect` if the worker
//! of the event died before it ended. Do not modify the table directly.
//!
//! A [catch-up](guide::after_an_outage) has two more tables: `ptolemy_inbox_catch_up` has a row for
//! each webhook, with the checkpoint, and `ptolemy_inbox_catch_up_event` what the last run found in
//! Ptolemy's logs. On PostgreSQL there are two functions for handlers in transactions,
//! `ptolemy_inbox_begin` and `ptolemy_inbox_end`.
//!
//! [What can go wrong](guide::what_can_go_wrong) lists what an operator sees in the log, and what
//! to do.
//!
//! # What is not here
//!
//! An exporter of metrics (choose one for the `metrics` facade); schedules other than retries; an
//! inbox in memory; MySQL. It is not a job queue for other work: it stores deliveries and nothing
//! else. Existing job-queue crates were evaluated; those that share no transaction with the
//! handler, or that trade the sync of a commit for speed, cannot keep the promises above.
//!
//! # Features
//!
//! - `sqlite` (default), `postgres`: the engines. `default-features = false` leaves SQLite's C
//!   library out.
//! - `tls`: TLS to PostgreSQL, through rustls, with the roots of Mozilla.
//! - `axum`, `actix-web`: [`InboxError`] as a response, 503 with `Retry-After` if the database
//!   failed. Each switches on the feature of the same name of `ptolemy-webhooks`.
//! - `catch-up`: `Inbox::catch_up`, which has Ptolemy redeliver what an outage missed. It brings
//!   `ptolemy-webhooks-client`, with HTTP and TLS.
//! - `metrics`: counters, gauges and histograms on the `metrics` facade; it switches on the feature
//!   of the same name of `ptolemy-webhooks`. Without it the library contains no code for metrics.
//!   See [Metrics, logs and
//!   alerts](https://docs.rs/ptolemy-webhooks/latest/ptolemy_webhooks/guide/observability/index.html).
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
// Without an engine the API exists, but nothing can use it.
#![cfg_attr(
    not(any(feature = "postgres", feature = "sqlite")),
    allow(dead_code, unreachable_code, unused_variables)
)]

mod error;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod url;

mod guarded;

mod accepted;
mod arrival;
mod dead;
mod event_order;
mod failure;
mod health;
mod retry;
mod stats;

mod accept;

mod turn;

mod outcome;

mod store;

mod metrics;

mod reach;

mod batch;
mod engine;

mod asked;
mod attempt;
mod worker;

mod inbox;

#[cfg(feature = "catch-up")]
mod catch_up;

#[cfg(test)]
mod logged;
#[cfg(test)]
mod simulation;

#[cfg(any(feature = "actix-web", feature = "axum"))]
mod http;

pub use inbox::{DeadLetters, Inbox};

#[cfg(feature = "metrics")]
pub use crate::metrics::{describe_metrics, histogram_buckets};

pub use accept::Accept;
pub use accepted::{Accepted, EventState};
pub use event_order::EventOrder;

pub use attempt::Attempt;
pub use failure::{Failure, FailureKind};
pub use health::Health;
pub use store::BoxFuture;
pub use worker::Worker;

#[cfg(feature = "catch-up")]
pub use catch_up::{
    CatchUp, CatchUpError, CatchUpErrorKind, CatchUpPhase, CatchUpPlan, CatchUpProgress,
    CatchUpReport, MissingEvent, MissingReason, UnreachableEvent,
};

pub use dead::{DeadLetter, DeadLetterId};
pub use stats::Stats;

pub use error::{ConnectError, ConnectErrorKind, InboxError, InboxErrorKind, WrongEngine};

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sqlx;

pub mod guide;

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
