//! What the inbox promises, each promise on both engines.
//!
//! The tests on PostgreSQL are ignored unless asked for, since they need a server:
//! `inbox/tests/postgres start DIR` starts one and prints the URL for `PTOLEMY_INBOX_POSTGRES_URL`.

mod database;
mod delivery;
mod workers;

mod clocks;
mod crashes;
mod durable;
mod files;
mod leases;
mod once;
mod order;
mod readme;
mod responses;
mod retries;
mod shutdown;
mod transactions;
mod upkeep;
