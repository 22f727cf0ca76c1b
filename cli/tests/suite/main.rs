//! The tool from outside: each test runs the binary.

#![forbid(unsafe_code)]

mod program;

mod contract;
mod help_examples;
mod inbox;
mod signals;
