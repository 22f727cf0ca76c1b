//! Whether deliveries look as this library assumes.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::delivery::Delivery;
use crate::event::{Envelope, Event, EventType, Field, Json, Kind, Payload, fields};

/// Counts, for each assumption about deliveries, how many were as assumed and how many were not.
///
/// Ptolemy's public documentation does not show a whole delivery, so this library assumes its
/// shape, and survives when an assumption is wrong: a field is then `None`, for example. To find
/// out which assumptions are right, let it observe your first deliveries, and print it: the summary
/// says what each deviation costs. It counts and never quotes a delivery.
///
/// Not observed, since one body does not show it: whether an `id` is the same in each repetition of
/// an event and in no other event, and what is assumed of the signature header.
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
}

impl Observations {
    /// Counts nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a delivery into account, and returns the deviations that no earlier delivery had.
    pub fn observe(&self, delivery: &Delivery) -> Vec<Deviation> {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let mut new = Vec::new();
        let seen = Seen::of(delivery.body());
        for &assumption in Assumption::ALL {
            let finding = match (&seen, assumption) {
                (Some(seen), _) => seen.finding(assumption),
                (None, Assumption::EventType) => Some(Finding::AnotherShape),
                (None, _) => None,
            };
            let Some(finding) = finding else { continue };
            let counts = self.counts.get(assumption as usize);
            let count = counts.and_then(|counts| counts.get(finding as usize));
            let before = count.map(|count| count.fetch_add(1, Ordering::Relaxed));
            if finding != Finding::AsAssumed && before == Some(0) {
                new.push(Deviation {
                    assumption,
                    finding,
                });
            }
        }
        new
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

/// Prints a line for each assumption, and below a deviation what it costs.
impl fmt::Display for Observations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} deliveries observed", self.deliveries())?;
        for observation in self.iter() {
            write!(f, "\n{observation}")?;
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
    /// The finding, which is never [`Finding::AsAssumed`].
    pub finding: Finding,
}

/// Prints one clause: the assumption, the finding, and its cost.
impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finding = match self.finding {
            Finding::AsAssumed => "as assumed",
            Finding::Missing => "missing from a delivery",
            Finding::AnotherShape => "in another shape than assumed",
        };
        let Self { assumption, .. } = self;
        write!(f, "{assumption}: {finding}; {}", assumption.cost())
    }
}

/// Whether a delivery was as an [`Assumption`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Finding {
    /// It is as assumed.
    AsAssumed,
    /// It is not there, or null.
    Missing,
    /// It is there in another shape, or under another name.
    AnotherShape,
}

/// Something that this library assumes of a delivery, beyond Ptolemy's public documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Assumption {
    /// The body is a JSON object whose `event_type` is a non-empty string.
    EventType,
    /// `id` is a non-empty string.
    EventId,
    /// `workspace_id` is a string.
    WorkspaceId,
    /// `created_at` is a string with a time.
    CreatedAt,
    /// `actor` is an object.
    Actor,
    /// `data` is an object.
    Data,
    /// The event type is one of [`EventType::DOCUMENTED`] or [`EventType::ASSUMED`].
    KnownEventType,
    /// The data of a known resource reads as that resource.
    DataShape,
    /// The data of a known resource has all fields that this library reads.
    DataFields,
    /// The data has an `id`, a non-empty string.
    ResourceId,
}

impl Assumption {
    /// All assumptions that are observed.
    pub const ALL: &'static [Self] = &[
        Self::EventType,
        Self::EventId,
        Self::WorkspaceId,
        Self::CreatedAt,
        Self::Actor,
        Self::Data,
        Self::KnownEventType,
        Self::DataShape,
        Self::DataFields,
        Self::ResourceId,
    ];

    /// The cost of a deviation, for the receiver.
    #[must_use]
    pub fn cost(self) -> &'static str {
        match self {
            Self::EventType => {
                "under the name `type` nothing is lost; otherwise the body is not an event, and the \
                 extractor answers 422"
            }
            Self::EventId => {
                "repetitions that are signed anew cannot be recognised, so an event may be handled \
                 more than once"
            }
            Self::WorkspaceId => "`Event::workspace_id` is `None`",
            Self::CreatedAt => {
                "under the name `occurred_at` nothing is lost; otherwise `Event::created_at` is `None`"
            }
            Self::Actor => "`Event::actor` is `None`, or JSON that is not an object",
            Self::Data => {
                "under the names `payload` and `resource` nothing is lost; otherwise the payload of a \
                 documented event type is malformed"
            }
            Self::KnownEventType => {
                "the payload is typed if its resource is known and the data fits, and `Unknown` \
                 otherwise"
            }
            Self::DataShape => {
                "the payload is `Malformed` if the event type is documented, and `Unknown` otherwise"
            }
            Self::DataFields => "the missing fields are `None`, or the payload is `Malformed`",
            Self::ResourceId => {
                "`Event::resource_id` is `None` or a number's text, so a store may not be able to \
                 order events by resource"
            }
        }
    }
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventType => "event type (`event_type`, a string)",
            Self::EventId => "event id (`id`, a string)",
            Self::WorkspaceId => "workspace (`workspace_id`, a string)",
            Self::CreatedAt => "time of the event (`created_at`, an ISO 8601 time)",
            Self::Actor => "actor (`actor`, an object)",
            Self::Data => "data (`data`, an object)",
            Self::KnownEventType => "event type is in the list that is known here",
            Self::DataShape => "data reads as its resource",
            Self::DataFields => "data has all fields of its resource that are known here",
            Self::ResourceId => "resource id (`id` of the data, a string)",
        })
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
    fn finding(&self, assumption: Assumption) -> Option<Finding> {
        let envelope = &self.envelope;
        let is_text = |text: Option<Cow<'_, str>>| text.is_some_and(|text| !text.is_empty());
        Some(match assumption {
            Assumption::EventType => one_of(&envelope.types, |name| is_text(name.string())),
            Assumption::EventId => one(envelope.id, |id| is_text(id.string())),
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
                self.fields()?;
                as_assumed(matches!(&self.event.payload, Ok(it) if *it != Payload::Unknown))
            }
            Assumption::DataFields => {
                let fields = self.fields()?;
                match self.data()?.has_all(fields) {
                    true => Finding::AsAssumed,
                    false => Finding::Missing,
                }
            }
            Assumption::ResourceId => one(self.data()?.member("id"), |id| is_text(id.string())),
        })
    }

    /// The data, if it is an object.
    fn data(&self) -> Option<Json<'a>> {
        let data = self.envelope.data().value;
        data.filter(|data| data.kind() == Kind::Object)
    }

    /// The fields of the resource, if the resource is known here.
    fn fields(&self) -> Option<&'static [&'static str]> {
        fields(self.event.event_type.resource()?)
    }
}

fn one(value: Option<Json<'_>>, is_right: impl FnOnce(Json<'_>) -> bool) -> Finding {
    match value {
        None => Finding::Missing,
        Some(value) if value.kind() == Kind::Null => Finding::Missing,
        Some(value) => as_assumed(is_right(value)),
    }
}

/// Of a field with several names, the first is assumed; a value under another has another shape.
fn one_of(named: &[Field<'_>], is_right: impl FnOnce(Json<'_>) -> bool) -> Finding {
    match named.split_first() {
        Some((first, others)) => match one(first.value, is_right) {
            Finding::Missing if others.iter().any(|field| field.value.is_some()) => {
                Finding::AnotherShape
            }
            finding => finding,
        },
        None => Finding::Missing,
    }
}

fn as_assumed(is_right: bool) -> Finding {
    if is_right {
        Finding::AsAssumed
    } else {
        Finding::AnotherShape
    }
}
