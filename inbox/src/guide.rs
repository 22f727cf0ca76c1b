//! The guide to the inbox in operation.
//!
//! These modules contain no items, only pages to read:
//!
//! 1. [What can go wrong](what_can_go_wrong): from a log line or another symptom to its cause, and
//!    what to do
//! 2. [After an outage](after_an_outage): have Ptolemy redeliver what the inbox does not have
//!
//! The guide of `ptolemy-webhooks` has the rest: [the first
//! event](ptolemy_webhooks::guide::first_event), [tests of
//! handlers](ptolemy_webhooks::guide::test_handlers), [exactly-once
//! work](ptolemy_webhooks::guide::exactly_once), [deployment](ptolemy_webhooks::guide::production),
//! and [metrics, logs and alerts](ptolemy_webhooks::guide::observability).

// The example is compiled if the feature that it uses is on.
#[cfg(any(not(doctest), feature = "catch-up"))]
#[doc = include_str!("../docs/after-an-outage.md")]
pub mod after_an_outage {}

#[doc = include_str!("../docs/what-can-go-wrong.md")]
pub mod what_can_go_wrong {}
