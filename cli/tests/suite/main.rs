//! The tool from outside: each test runs the binary.

#![forbid(unsafe_code)]

mod flawed;
mod flawed_http;
mod program;

mod management;

mod check;
mod check_receivers;
mod contract;
mod deliveries;
mod help_examples;
mod redeliver;
mod register;
mod webhooks;
mod recorder;
mod send;
mod why;
