//! Whether deliveries look as this library assumes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::assumption::{Assumption, Finding};
use crate::delivery::Delivery;
use crate::event::{Envelope, Event, EventType, Field, Json, Kind, Known, Payload, known};
use crate::metrics::deviated;

/// Counts, for each assumption about deliveries, how many were as assumed and how many were not.
///
/// Ptolemy's public documentation does not show a whole delivery, so this library assumes its
/// shape, and tolerates a wrong assumption: the field is then `None`, for example. To find out
/// which assumptions are right, let it observe your first deliveries, and print it: the summary
/// says what each deviation costs. It counts and never quotes a delivery.
///
/// Not observed, since one body does not show it: whether an `id` is the same in each repetition of
/// an event and in no other event, and the assumptions about the signature header.
///
/// All methods take `&self`, so one value can be shared between threads.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Observations, Secret, Signer, Verifier};
///
/// let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
/// let body = r#"{"event_type":"market.created","data":{"id":"m1"}}"#;
/// let header = Signer::new(&secret).sign(body.as_bytes());
/// let delivery = Verifier::new(secret).receive(header, body)?;
///
/// let observations = Observations::new();
/// for deviation in observations.observe(&delivery) {
///     eprintln!("{deviation}"); // once for each kind
/// }
/// assert_eq!(observations.deliveries(), 1);
/// assert!(observations.to_string().contains("event id"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Observations {
    deliveries: AtomicU64,
    counts: [[AtomicU64; 3]; Assumption::ALL.len()],
    /// How often a field of a resource was missing; the keys are this library's own names.
    missing_fields: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

impl Observations {
    /// Creates a value that has counted nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a delivery, and returns the deviations that no earlier delivery had.
    pub fn observe(&self, delivery: &Delivery) -> Vec<Deviation> {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let mut new = Vec::new();
        let seen = Seen::of(delivery.body());
        for &assumption in Assumption::ALL {
            let result = match (&seen, assumption) {
                (Some(seen), _) => seen.compare(assumption),
                (None, Assumption::EventType) => Some(Err(Finding::AnotherShape)),
                (None, _) => None,
            };
            let Some(result) = result else { continue };
            if let Err(finding) = result {
                deviated(assumption.as_str(), finding.as_str());
            }
            let before = self.count(assumption, result);
            if let (Err(finding), Some(0)) = (result, before) {
                new.push(Deviation {
                    assumption,
                    finding,
                });
            }
        }
        if let Some(seen) = seen {
            self.count_missing_fields(&seen);
        }
        new
    }

    /// Returns how many deliveries were in this state before.
    fn count(&self, assumption: Assumption, result: Result<(), Finding>) -> Option<u64> {
        let column = match result {
            Ok(()) => 0,
            Err(Finding::Missing) => 1,
            Err(Finding::AnotherShape) => 2,
        };
        let count = self.counts.get(assumption as usize)?.get(column)?;
        Some(count.fetch_add(1, Ordering::Relaxed))
    }

    fn count_missing_fields(&self, seen: &Seen<'_>) {
        let missing = seen.missing_fields();
        if missing.is_empty() {
            return;
        }
        for field in missing {
            *self.missing_fields().entry(field).or_default() += 1;
        }
    }

    fn missing_fields(&self) -> MutexGuard<'_, BTreeMap<(&'static str, &'static str), u64>> {
        let fields = self.missing_fields.lock();
        fields.unwrap_or_else(PoisonError::into_inner)
    }

    /// How many deliveries were observed.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// Returns the counts of each assumption, in the order of [`Assumption::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Observation> + '_ {
        let assumptions = Assumption::ALL.iter().zip(&self.counts);
        assumptions.map(|(&assumption, [as_assumed, missing, other])| Observation {
            assumption,
            as_assumed: as_assumed.load(Ordering::Relaxed),
            missing: missing.load(Ordering::Relaxed),
            another_shape: other.load(Ordering::Relaxed),
        })
    }
}

/// Prints a line for each assumption, the cost below each deviation, and at the end how often each
/// known field of a resource was missing.
impl fmt::Display for Observations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deliveries observed: {}", self.deliveries())?;
        for observation in self.iter() {
            write!(f, "\n{observation}")?;
        }
        for ((resource, field), count) in &*self.missing_fields() {
            write!(f, "\n  {resource} without `{field}`: {count}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Observations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// How often an [`Assumption`] was right. A delivery that does not concern it is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// The assumption.
    pub assumption: Assumption,
    /// How many deliveries were as assumed.
    pub as_assumed: u64,
    /// How many deliveries lacked it.
    pub missing: u64,
    /// How many deliveries had it in another shape.
    pub another_shape: u64,
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} as assumed, {} missing, {} in another shape",
            self.assumption, self.as_assumed, self.missing, self.another_shape
        )?;
        if self.missing + self.another_shape > 0 {
            write!(f, "\n  cost: {}", self.assumption.cost())?;
        }
        Ok(())
    }
}

/// A delivery was not as assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Deviation {
    /// The assumption.
    pub assumption: Assumption,
    /// How the delivery deviated.
    pub finding: Finding,
}

/// Prints one clause: the assumption, the finding, and its cost.
impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finding = match self.finding {
            Finding::Missing => "missing from a delivery",
            Finding::AnotherShape => "another shape than assumed",
        };
        let Self { assumption, .. } = self;
        write!(f, "{assumption}: {finding}; {}", assumption.cost())
    }
}

/// An event, read far enough to compare it with the assumptions.
struct Seen<'a> {
    envelope: Envelope<'a>,
    event: Event,
}

impl<'a> Seen<'a> {
    fn of(body: &'a Bytes) -> Option<Self> {
        Some(Self {
            envelope: Envelope::parse(body).ok()?,
            event: Event::from_trusted_json(body.clone()).ok()?,
        })
    }

    /// Compares the event with an assumption; `None` if the assumption does not concern it.
    fn compare(&self, assumption: Assumption) -> Option<Result<(), Finding>> {
        let envelope = &self.envelope;
        let is_text = |text: Option<Cow<'_, str>>| text.is_some_and(|text| !text.is_empty());
        Some(match assumption {
            Assumption::EventType => one_of(&envelope.types, |name| is_text(name.string())),
            Assumption::EventId => one(envelope.id, |id| is_text(id.string())),
            Assumption::DistinctId => {
                let id = envelope.id()?;
                as_assumed(id != envelope.resource_id()?)
            }
            Assumption::WorkspaceId => one(envelope.workspace_id, |id| is_text(id.string())),
            Assumption::CreatedAt => one_of(&envelope.times, |time| {
                time.kind() == Kind::String && self.event.created_at.is_some()
            }),
            Assumption::Actor => one(envelope.actor, |actor| actor.kind() == Kind::Object),
            Assumption::Data => one_of(&envelope.resources, |data| data.kind() == Kind::Object),
            Assumption::KnownEventType => {
                let mut known = EventType::DOCUMENTED.iter().chain(EventType::ASSUMED);
                as_assumed(known.any(|&known| self.event.event_type == known))
            }
            Assumption::DataShape => {
                self.known()?;
                as_assumed(matches!(&self.event.payload, Ok(it) if *it != Payload::Unknown))
            }
            Assumption::DataFields => {
                self.known().and(self.data())?;
                match self.missing_fields().is_empty() {
                    true => Ok(()),
                    false => Err(Finding::Missing),
                }
            }
            Assumption::ResourceId => one(self.data()?.member("id"), |id| is_text(id.string())),
        })
    }

    /// The fields of the resource that the data lacks, also within the items of a composite value.
    fn missing_fields(&self) -> Vec<(&'static str, &'static str)> {
        let (Some((resource, fields, item_fields)), Some(data)) = (self.known(), self.data())
        else {
            return Vec::new();
        };
        let mut missing = data.missing(fields);
        if let Some(items) = data.member("items").filter(|_| !item_fields.is_empty()) {
            missing.extend(items.missing_from_elements(item_fields));
        }
        missing.into_iter().map(|field| (resource, field)).collect()
    }

    /// The data, if it is an object.
    fn data(&self) -> Option<Json<'a>> {
        let data = self.envelope.data().value;
        data.filter(|data| data.kind() == Kind::Object)
    }

    /// The resource's name, its fields and those of its items, if the resource is known here.
    fn known(&self) -> Option<Known> {
        known(self.event.event_type.resource()?)
    }
}

fn one(value: Option<Json<'_>>, is_right: impl FnOnce(Json<'_>) -> bool) -> Result<(), Finding> {
    match value.filter(|value| value.kind() != Kind::Null) {
        None => Err(Finding::Missing),
        Some(value) => as_assumed(is_right(value)),
    }
}

/// If a field has several names, the first is assumed; a value under another name counts as another
/// shape.
fn one_of(named: &[Field<'_>], is_right: impl FnOnce(Json<'_>) -> bool) -> Result<(), Finding> {
    let mut values = named.iter().map(|field| field.value);
    let result = one(values.next().flatten(), is_right);
    let is_elsewhere = |value: Json<'_>| value.kind() != Kind::Null;
    match result {
        Err(Finding::Missing) if values.flatten().any(is_elsewhere) => Err(Finding::AnotherShape),
        result => result,
    }
}

fn as_assumed(is_right: bool) -> Result<(), Finding> {
    is_right.then_some(()).ok_or(Finding::AnotherShape)
}
