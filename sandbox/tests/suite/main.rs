//! Tests of the sandbox, in one binary.

mod api;
mod call_faults;
mod client;
mod deliveries;
mod delivery_faults;
mod front_page;
mod hostile;
mod lists;
mod many;
mod receiver;
mod redeliveries;
mod shapes;
