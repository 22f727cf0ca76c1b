//! Tests of the sandbox, in one binary.

mod api;
mod call_faults;
mod client;
mod deliveries;
mod delivery_faults;
mod receiver;
mod shapes;
