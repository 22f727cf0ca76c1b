//! The tool from outside: each test runs the binary.

#![forbid(unsafe_code)]

mod flawed;
mod flawed_http;
mod program;

mod check;
mod check_receivers;
mod contract;
mod help_examples;
