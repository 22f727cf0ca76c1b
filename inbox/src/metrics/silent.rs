//! Records nothing.

use std::error::Error;
use std::sync::Arc;

use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::store::Store;
use crate::turn::Verdict;

pub(crate) fn accepting<F: Future>(accept: F) -> F {
    accept
}

pub(crate) fn timed<F: Future>(answer: F) -> F {
    answer
}

pub(crate) fn committing(_deliveries: usize) {}

#[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]
pub(crate) fn database_failed(
    _error: &(dyn Error + 'static),
    _is_unreachable: impl Fn(&(dyn Error + 'static)) -> bool,
) {
}

pub(crate) fn attempted(_event_type: Option<&str>, _begun: Option<Instant>, _outcome: &Outcome) {}

pub(crate) fn settling(_verdict: &Verdict) {}

pub(crate) fn died(_event_type: &str) {}

pub(crate) fn worker_began() {}

pub(crate) fn worker_ended() {}

pub(crate) async fn keep_recording(_store: Arc<dyn Store>) {
    std::future::pending().await
}
