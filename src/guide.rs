//! The guide: from the first event to a receiver that runs for years.
//!
//! These modules contain no items, only pages to read:
//!
//! 1. [From zero to a typed event in five minutes](first_event), without an account
//! 2. [Test your handlers](test_handlers)
//! 3. [Rotate a secret](rotate)
//! 4. [Exactly once](exactly_once): duplicates, idempotent work, dead letters
//! 5. [After an outage](after_an_outage): have Ptolemy redeliver what is missing
//! 6. [Several webhooks](several_webhooks)
//! 7. [Configure](configure): variables, settings, and what to read before production
//! 8. [Run in production](production): systemd, nginx, containers, PostgreSQL, backups
//! 9. [Metrics, logs and alerts](observability)
//! 10. [Log and count rejections](count_rejections), and observe the first deliveries
//! 11. [Read values and unknown events](read_values)
//! 12. [AWS Lambda, poem, and any other server](other_servers)
//! 13. [My deliveries are rejected](rejected): from the text of a response to its cause
//! 14. [It does not compile](does_not_compile): `Handler<_, _>` is not satisfied, and its causes
//! 15. [What Ptolemy documents and what we assume](documented_and_assumed), with a whole delivery
//!
//! Every Rust example in them is compiled, and run unless it starts a server. The tests send events
//! to the programs of the first page.

#[doc = include_str!("../docs/guide/after-an-outage.md")]
pub mod after_an_outage {}

#[doc = include_str!("../docs/guide/configure.md")]
pub mod configure {}

#[doc = include_str!("../docs/guide/count-rejections.md")]
pub mod count_rejections {}

#[doc = include_str!("../docs/guide/documented-and-assumed.md")]
pub mod documented_and_assumed {}

#[doc = include_str!("../docs/guide/does-not-compile.md")]
pub mod does_not_compile {}

#[doc = include_str!("../docs/guide/exactly-once.md")]
pub mod exactly_once {}

#[doc = include_str!("../docs/guide/first-event.md")]
pub mod first_event {}

#[doc = include_str!("../docs/observability.md")]
pub mod observability {}

#[doc = include_str!("../docs/guide/other-servers.md")]
pub mod other_servers {}

#[doc = include_str!("../docs/deploy.md")]
pub mod production {}

#[doc = include_str!("../docs/guide/read-values.md")]
pub mod read_values {}

#[doc = include_str!("../docs/rejected.md")]
pub mod rejected {}

#[doc = include_str!("../docs/guide/rotate.md")]
pub mod rotate {}

#[doc = include_str!("../docs/guide/several-webhooks.md")]
pub mod several_webhooks {}

#[doc = include_str!("../docs/guide/test-handlers.md")]
pub mod test_handlers {}
