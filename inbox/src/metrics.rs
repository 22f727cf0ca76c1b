//! The metrics of an inbox and of its workers; nothing without the feature `metrics`.
//!
//! Both variants have the same functions, so that their callers do not depend on the feature. The
//! core's `docs/observability.md` lists what is recorded, and a test compares the list with the
//! code.

#[cfg(feature = "metrics")]
mod class;
#[cfg(feature = "metrics")]
mod recorded;
#[cfg(not(feature = "metrics"))]
mod silent;

#[cfg(feature = "metrics")]
pub(crate) use recorded::*;
#[cfg(feature = "metrics")]
pub use recorded::{describe_metrics, histogram_buckets};
#[cfg(not(feature = "metrics"))]
pub(crate) use silent::*;
