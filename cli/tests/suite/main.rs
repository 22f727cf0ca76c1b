//! The tool from outside: each test runs the binary.

#![forbid(unsafe_code)]

mod answers;
mod endpoint;
mod examples;
mod flawed;
mod flawed_http;
#[cfg(target_os = "linux")]
mod https;
mod management;
mod program;
mod recorder;

mod catch_up;
mod check;
mod check_receivers;
mod contract;
mod deliveries;
mod doctor;
mod help_examples;
mod inbox;
mod inspect_forward;
mod inspect_guard;
mod inspect_http;
mod inspect_inbox;
mod inspect_page;
mod inspect_sandbox;
mod redeliver;
mod register;
mod sandbox;
mod send;
mod signals;
mod walk;
mod webhooks;
mod why;
mod why_accidents;
