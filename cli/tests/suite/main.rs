//! The tool from outside: each test runs the binary.

#![forbid(unsafe_code)]

mod program;

mod management;

mod contract;
mod deliveries;
mod help_examples;
mod redeliver;
mod register;
mod webhooks;
