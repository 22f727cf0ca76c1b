//! Tests of what the inbox promises, on both engines.
//!
//! The tests on PostgreSQL are ignored unless asked for, since they need a server:
//! `inbox/tests/postgres start DIR` starts one and prints the URL for `PTOLEMY_INBOX_POSTGRES_URL`.

mod catch_up;
mod database;
mod delivery;
// Shared with `logs`, which needs more of it.
#[allow(dead_code)]
mod log_table;
mod logged;
mod proxy;
mod workers;

mod clocks;
mod close;
mod crashes;
mod cut_off;
mod durable;
mod failover;
mod files;
mod front_page;
mod functions;
mod leases;
#[cfg(feature = "metrics")]
mod metrics;
mod misbehaving;
mod observability;
mod once;
mod operator_page;
mod order;
mod outages;
mod poolers;
mod readme;
mod ready;
mod responses;
mod retries;
mod round_trips;
mod shutdown;
#[cfg(feature = "tls")]
mod tls;
mod transactions;
mod upkeep;
