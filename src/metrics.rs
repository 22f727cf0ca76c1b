//! The metrics of [`Intake`](crate::Intake) and of the extractors; nothing without the feature
//! `metrics`.
//!
//! Both variants have the same functions, so that their callers do not depend on the feature.
//! `docs/observability.md` lists what is recorded, and a test compares the list with the code.

#[cfg(feature = "metrics")]
mod recorded;
#[cfg(not(feature = "metrics"))]
mod silent;

#[cfg(feature = "metrics")]
pub(crate) use recorded::{Measure, deviated};
#[cfg(feature = "metrics")]
pub use recorded::{describe_metrics, histogram_buckets};
#[cfg(not(feature = "metrics"))]
pub(crate) use silent::{Measure, deviated};

#[cfg(feature = "actix-web")]
use crate::rejection::Rejection;

/// Counts a request that was rejected before an [`Intake`](crate::Intake) could begin.
#[cfg(feature = "actix-web")]
pub(crate) fn rejected(rejection: Rejection) -> Rejection {
    Measure::begin().ended(Some(&rejection));
    rejection
}
