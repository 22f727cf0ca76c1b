//! The assumptions of this library about deliveries, and how a delivery may deviate from them.

use std::fmt;

/// How a delivery deviated from an [`Assumption`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Finding {
    /// It is not there, or null.
    Missing,
    /// It is there in another shape, or under another name.
    AnotherShape,
}

impl Finding {
    /// All findings.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: &'static [Self] = &[Self::Missing, Self::AnotherShape];

    /// Returns the stable code, in snake case: `missing` or `another_shape`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::AnotherShape => "another_shape",
        }
    }
}

/// Something that this library assumes about a delivery, beyond Ptolemy's public documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Assumption {
    /// The body is a JSON object whose `event_type` is a non-empty string.
    EventType,
    /// `id` is a non-empty string.
    EventId,
    /// `id` is not the `id` of the data.
    DistinctId,
    /// `workspace_id` is a string.
    WorkspaceId,
    /// `created_at` is a string with a time.
    CreatedAt,
    /// `actor` is an object.
    Actor,
    /// `data` is an object.
    Data,
    /// The event type is one of [`EventType::DOCUMENTED`](crate::EventType::DOCUMENTED) or
    /// [`EventType::ASSUMED`](crate::EventType::ASSUMED).
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
        Self::DistinctId,
        Self::WorkspaceId,
        Self::CreatedAt,
        Self::Actor,
        Self::Data,
        Self::KnownEventType,
        Self::DataShape,
        Self::DataFields,
        Self::ResourceId,
    ];

    /// Returns the stable code, in snake case, such as `event_type`; for counters and alerts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventType => "event_type",
            Self::EventId => "event_id",
            Self::DistinctId => "distinct_id",
            Self::WorkspaceId => "workspace_id",
            Self::CreatedAt => "created_at",
            Self::Actor => "actor",
            Self::Data => "data",
            Self::KnownEventType => "known_event_type",
            Self::DataShape => "data_shape",
            Self::DataFields => "data_fields",
            Self::ResourceId => "resource_id",
        }
    }

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
            Self::DistinctId => {
                "the `id` may name the resource, so repetitions that are signed anew are not \
                 recognised, and an event may be handled more than once"
            }
            Self::WorkspaceId => "`Event::workspace_id` is `None`",
            Self::CreatedAt => {
                "under the name `occurred_at` nothing is lost; otherwise `Event::created_at` is \
                 `None`, and repetitions that are signed anew are not recognised"
            }
            Self::Actor => "`Event::actor` is `None`, or JSON that is not an object",
            Self::Data => {
                "under the names `payload` and `resource` nothing is lost; otherwise the payload of a \
                 documented event type is malformed, and repetitions that are signed anew are not \
                 recognised"
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
            Self::DistinctId => "event id apart from the resource id",
            Self::KnownEventType => "event type in the list of this library",
            Self::DataShape => "shape of the data (that of its resource)",
            Self::DataFields => "fields of the data (all that this library reads)",
            Self::ResourceId => "resource id (`id` of the data, a string)",
        })
    }
}
