//! Assumptions about Ptolemy as switches.

use std::fmt;

/// One way in which Ptolemy may differ from what this project assumes.
///
/// Ptolemy's public documentation does not show everything that a receiver or a client reads. Where
/// it shows nothing, the sandbox answers as the project assumes. Each shape turns one of these
/// assumptions into something else that fits the documentation as well. Code that passes its tests
/// under [`every_shape`](crate::every_shape()) does not depend on an assumption.
///
/// Shapes of events apply to [`emit`](crate::Sandbox::emit), and never to the bytes that
/// [`emit_json`](crate::Sandbox::emit_json) was given, except on a redelivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// Events carry their type as `type`, not as `event_type`.
    TypeName,
    /// Events carry their time as `occurred_at`, not as `created_at`.
    OccurredAtName,
    /// Events carry their data as `payload`, not as `data`.
    PayloadName,
    /// Events carry their data as `resource`, not as `data`.
    ResourceName,
    /// A delivery is the resource alone, without an envelope, and does not name its event type.
    BareResource,
    /// Numbers in the data of events are JSON numbers, not strings.
    Numbers,
    /// Events, their data and all objects of the API have fields that nobody knows.
    ExtraFields,
    /// A redelivery has the same JSON in other bytes: another order and other white space.
    ReserialisedRedelivery,
    /// A redelivery has another event id.
    NewIdOnRedelivery,
    /// Signatures are hex in upper case.
    UpperCaseHex,
    /// The signature header has a second `v1`, of another secret, in front of the right one.
    SeveralSignatures,
    /// Delivery objects have no `delivered_at` and no `next_attempt_at`.
    DeliveriesWithoutTimes,
    /// Delivery objects have `attempts`, not `attempt`.
    AttemptsName,
    /// Lists are bare arrays that contain everything: no envelope, no pages, no cursors.
    BareArrays,
    /// Lists of subscriptions contain event types as text, not objects.
    SubscriptionsAsText,
    /// Replacing the subscriptions of a webhook answers 204 without a body.
    ReplaceAnswersNothing,
    /// Rotating a secret answers with an object in which the secret is nested.
    NestedSecret,
    /// Counting events answers with a bare number.
    BareCount,
    /// Counting events answers with a number as text.
    CountAsText,
}

impl Shape {
    /// All shapes.
    pub const ALL: &'static [Self] = &[
        Self::TypeName,
        Self::OccurredAtName,
        Self::PayloadName,
        Self::ResourceName,
        Self::BareResource,
        Self::Numbers,
        Self::ExtraFields,
        Self::ReserialisedRedelivery,
        Self::NewIdOnRedelivery,
        Self::UpperCaseHex,
        Self::SeveralSignatures,
        Self::DeliveriesWithoutTimes,
        Self::AttemptsName,
        Self::BareArrays,
        Self::SubscriptionsAsText,
        Self::ReplaceAnswersNothing,
        Self::NestedSecret,
        Self::BareCount,
        Self::CountAsText,
    ];

    /// Returns the name of the shape for logs and command lines, such as `bare-arrays`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TypeName => "type-name",
            Self::OccurredAtName => "occurred-at-name",
            Self::PayloadName => "payload-name",
            Self::ResourceName => "resource-name",
            Self::BareResource => "bare-resource",
            Self::Numbers => "numbers",
            Self::ExtraFields => "extra-fields",
            Self::ReserialisedRedelivery => "reserialised-redelivery",
            Self::NewIdOnRedelivery => "new-id-on-redelivery",
            Self::UpperCaseHex => "upper-case-hex",
            Self::SeveralSignatures => "several-signatures",
            Self::DeliveriesWithoutTimes => "deliveries-without-times",
            Self::AttemptsName => "attempts-name",
            Self::BareArrays => "bare-arrays",
            Self::SubscriptionsAsText => "subscriptions-as-text",
            Self::ReplaceAnswersNothing => "replace-answers-nothing",
            Self::NestedSecret => "nested-secret",
            Self::BareCount => "bare-count",
            Self::CountAsText => "count-as-text",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
