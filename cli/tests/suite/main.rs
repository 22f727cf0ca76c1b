//! The tool from outside: each test runs the binary.

#![forbid(unsafe_code)]

mod program;

mod contract;
mod doctor;
mod endpoint;
mod help_examples;
mod inbox;
mod sandbox;
mod signals;
