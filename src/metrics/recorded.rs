//! Records metrics, with the feature `metrics`, through the recorder that the program has
//! installed.

use std::time::{Duration, Instant};

use metrics::{Counter, Histogram, Key, Label, Level, Metadata, Unit, with_recorder};

use crate::assumption::{Assumption, Finding};
use crate::delivery::Delivery;
use crate::reason::Reason;
use crate::rejection::Rejection;

const DELIVERIES: &str = "ptolemy_webhooks_deliveries_total";
const SECRET_MATCHES: &str = "ptolemy_webhooks_secret_matches_total";
const BODY_SIZE: &str = "ptolemy_webhooks_body_size_bytes";
const VERIFICATION: &str = "ptolemy_webhooks_verification_duration_seconds";
const DEVIATIONS: &str = "ptolemy_webhooks_assumption_deviations_total";

const BUCKETS: &[(&str, &[f64])] = &[
    (
        BODY_SIZE,
        &[
            256.0,
            1_024.0,
            4_096.0,
            16_384.0,
            65_536.0,
            262_144.0,
            1_048_576.0,
        ],
    ),
    (
        VERIFICATION,
        &[1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2],
    ),
];

static METADATA: Metadata<'static> = Metadata::new("ptolemy_webhooks", Level::INFO, None);

// The keys of a verified delivery are constants, so that it costs no allocation.
static VERIFIED_LABELS: [Label; 2] = [
    Label::from_static_parts("outcome", "verified"),
    Label::from_static_parts("reason", "none"),
];
static VERIFIED: Key = Key::from_static_parts(DELIVERIES, &VERIFIED_LABELS);
static CURRENT_LABEL: [Label; 1] = [Label::from_static_parts("secret", "current")];
static CURRENT: Key = Key::from_static_parts(SECRET_MATCHES, &CURRENT_LABEL);
static PREVIOUS_LABEL: [Label; 1] = [Label::from_static_parts("secret", "previous")];
static PREVIOUS: Key = Key::from_static_parts(SECRET_MATCHES, &PREVIOUS_LABEL);
static BODY_SIZE_KEY: Key = Key::from_static_name(BODY_SIZE);
static VERIFICATION_KEY: Key = Key::from_static_name(VERIFICATION);

fn counter(key: &Key) -> Counter {
    with_recorder(|recorder| recorder.register_counter(key, &METADATA))
}

fn histogram(key: &Key) -> Histogram {
    with_recorder(|recorder| recorder.register_histogram(key, &METADATA))
}

fn rejected(reason: Reason) -> Key {
    let labels = [("outcome", "rejected"), ("reason", reason.as_str())];
    Key::from_parts(DELIVERIES, labels.as_slice())
}

/// Whether the requests that an extractor rejects may have this reason. Malformed data reaches the
/// handler, which may reject it.
fn is_of_extractors(reason: Reason) -> bool {
    reason != Reason::MalformedData
}

/// Describes the metrics of this crate to the recorder that is installed, with their units.
///
/// Call it once, after the program has installed its recorder: without it the metrics have neither
/// help texts nor units, and a counter is missing until it counts for the first time. It sets the
/// counters whose labels are known in advance to zero.
///
/// [Metrics, logs and alerts](crate::guide::observability) lists the metrics. With the companion
/// crate `ptolemy-webhooks-inbox`, call the function of the same name there, which calls this one.
///
/// # Examples
///
/// ```
/// // First install a recorder, for example that of `metrics-exporter-prometheus`.
/// ptolemy_webhooks::describe_metrics();
/// ```
pub fn describe_metrics() {
    metrics::describe_counter!(
        DELIVERIES,
        Unit::Count,
        "Requests that the extractors or `Intake` verified or rejected."
    );
    metrics::describe_counter!(
        SECRET_MATCHES,
        Unit::Count,
        "Valid signatures, by the secret that made them."
    );
    metrics::describe_histogram!(
        BODY_SIZE,
        Unit::Bytes,
        "Lengths of the bodies whose signature is valid."
    );
    metrics::describe_histogram!(
        VERIFICATION,
        Unit::Seconds,
        "Time spent on checking the header and computing the MAC, without waiting for the body."
    );
    metrics::describe_counter!(
        DEVIATIONS,
        Unit::Count,
        "Deliveries that were not as this library assumes."
    );
    for key in [&VERIFIED, &CURRENT, &PREVIOUS] {
        counter(key).increment(0);
    }
    for &reason in Reason::ALL {
        if is_of_extractors(reason) {
            counter(&rejected(reason)).increment(0);
        }
    }
    for assumption in Assumption::ALL {
        for finding in Finding::ALL {
            counter(&deviation(assumption.as_str(), finding.as_str())).increment(0);
        }
    }
}

/// Returns the name of each histogram of this crate with the upper bounds of its buckets that
/// [Metrics, logs and alerts](crate::guide::observability) recommends, in ascending order and in
/// the unit of the histogram: seconds or bytes.
///
/// Set them in your recorder before you install it: without buckets, Prometheus's exporter renders
/// a histogram as a summary, which cannot be added up over processes. With the companion crate
/// `ptolemy-webhooks-inbox`, call the function of the same name there, which includes these.
///
/// # Examples
///
/// ```
/// for (name, buckets) in ptolemy_webhooks::histogram_buckets() {
///     // With `metrics-exporter-prometheus`:
///     // builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
///     assert!(name.starts_with("ptolemy_webhooks_") && buckets.is_sorted());
/// }
/// ```
pub fn histogram_buckets() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    BUCKETS.iter().copied()
}

/// One request, from its header to its end.
///
/// If it is dropped before its end was noted, the request ended early: the client disconnected,
/// a timeout has passed, or the body broke off.
pub(crate) struct Measure {
    spent: Duration,
    is_open: bool,
}

impl Measure {
    pub(crate) fn begin() -> Self {
        Self {
            spent: Duration::ZERO,
            is_open: true,
        }
    }

    /// Adds the time that this takes to that of the verification.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        self.spent += began.elapsed();
        result
    }

    /// The signature was checked; `None` if it is not valid. Nothing if the request was rejected
    /// before, since then no signature was checked.
    pub(crate) fn verified(&mut self, delivery: Option<&Delivery>) {
        if !self.is_open {
            return;
        }
        histogram(&VERIFICATION_KEY).record(self.spent.as_secs_f64());
        let Some(delivery) = delivery else { return };
        // Exact up to the largest body that a computer can store.
        histogram(&BODY_SIZE_KEY).record(delivery.body().len() as f64);
        let key = match delivery.secret_index() {
            0 => &CURRENT,
            _ => &PREVIOUS,
        };
        counter(key).increment(1);
    }

    /// Counts the request, unless it was counted before.
    pub(crate) fn ended(&mut self, rejection: Option<&Rejection>) {
        self.count(rejection.map(Rejection::reason));
    }

    fn count(&mut self, rejection: Option<Reason>) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        match rejection {
            None => counter(&VERIFIED).increment(1),
            Some(reason) => counter(&rejected(reason)).increment(1),
        }
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        self.count(Some(Reason::BodyIncomplete));
    }
}

/// A delivery was not as assumed; both texts are codes of this library.
pub(crate) fn deviated(assumption: &'static str, finding: &'static str) {
    counter(&deviation(assumption, finding)).increment(1);
}

fn deviation(assumption: &'static str, finding: &'static str) -> Key {
    let labels = [("assumption", assumption), ("finding", finding)];
    Key::from_parts(DEVIATIONS, labels.as_slice())
}
