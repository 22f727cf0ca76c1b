//! Assumptions about Ptolemy as switches.

use std::fmt;

/// One way in which Ptolemy may differ from what this project assumes.
///
/// Ptolemy's public documentation does not show everything that a receiver or a client reads. Where
/// it shows nothing, the sandbox answers as the project assumes. Each shape replaces one of these
/// assumptions with something else that fits the documentation as well, except [`Shape::Numbers`],
/// which contradicts it. There are more assumptions than shapes: code that passes its tests under
/// [`every_shape`](crate::every_shape()) does not depend on the ones named here. Documented answers
/// stay under every shape, such as the envelope of `POST /webhooks/filter` and the `event_type` of
/// `GET /events`.
///
/// Shapes of events apply to [`emit`](crate::Sandbox::emit), and never to the bytes that
/// [`emit_json`](crate::Sandbox::emit_json) was given, except on a redelivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// Deliveries carry the type of their event as `type`, not as `event_type`. The API still says
    /// `event_type`: that name is documented for events.
    TypeName,
    /// Events carry their time as `occurred_at`, not as `created_at`.
    OccurredAtName,
    /// Events carry their data as `payload`, not as `data`.
    PayloadName,
    /// Events carry their data as `resource`, not as `data`.
    ResourceName,
    /// A delivery is the resource alone, without an envelope, and does not name its event type.
    BareResource,
    /// Numbers in deliveries are JSON numbers, not strings. This contradicts the documentation,
    /// which says that numbers are strings: it shows the effect of a mistake on the sender's side.
    Numbers,
    /// Events, their data, and the webhooks, subscriptions and deliveries of the API have unknown
    /// fields. The envelopes of lists, counts and errors do not.
    ExtraFields,
    /// A redelivery has the same JSON with other bytes: another order and other white space.
    ReserialisedRedelivery,
    /// A redelivery has another event id. A redelivery without an envelope stays as it is: its id
    /// is that of the resource.
    NewIdOnRedelivery,
    /// Deliveries have no event id.
    NoEventId,
    /// Signatures are hex in upper case.
    UpperCaseHex,
    /// The signature header has a second `v1`, of another secret, in front of the right one.
    SeveralSignatures,
    /// The signature header has unknown keys, and `t` after `v1`.
    UnknownSignatureKeys,
    /// Delivery objects have no `delivered_at` and no `next_attempt_at`.
    DeliveriesWithoutTimes,
    /// Delivery objects have `attempts`, not `attempt`.
    AttemptsName,
    /// Delivery objects have an `id` and nothing else.
    BareDeliveries,
    /// Delivery objects have unknown statuses: `retrying` for `pending` and `delivered` for
    /// `succeeded`. `failed` is documented, and stays.
    OtherStatus,
    /// The lists whose envelope is assumed are bare arrays that contain everything: webhooks and
    /// subscriptions, the answer to a replacement of subscriptions, and deliveries. The envelope of
    /// the other lists is documented, and stays.
    BareArrays,
    /// Lists of subscriptions contain event types as text, not objects.
    SubscriptionsAsText,
    /// Replacing the subscriptions of a webhook answers with 204 without a body.
    ReplaceAnswersNothing,
    /// Changing a webhook answers with 204, and adding a subscription answers with 201, both
    /// without a body.
    WritesAnswerNothing,
    /// Rotating a secret answers `{"webhook": …, "credentials": {"value": "whsec_…"}}`.
    NestedSecret,
    /// Counting events answers with a bare number.
    BareCount,
    /// Counting events answers with a number as text.
    CountAsText,
    /// The body of an error is text, not JSON.
    ErrorText,
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
        Self::NoEventId,
        Self::UpperCaseHex,
        Self::SeveralSignatures,
        Self::UnknownSignatureKeys,
        Self::DeliveriesWithoutTimes,
        Self::AttemptsName,
        Self::BareDeliveries,
        Self::OtherStatus,
        Self::BareArrays,
        Self::SubscriptionsAsText,
        Self::ReplaceAnswersNothing,
        Self::WritesAnswerNothing,
        Self::NestedSecret,
        Self::BareCount,
        Self::CountAsText,
        Self::ErrorText,
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
            Self::NoEventId => "no-event-id",
            Self::UpperCaseHex => "upper-case-hex",
            Self::SeveralSignatures => "several-signatures",
            Self::UnknownSignatureKeys => "unknown-signature-keys",
            Self::DeliveriesWithoutTimes => "deliveries-without-times",
            Self::AttemptsName => "attempts-name",
            Self::BareDeliveries => "bare-deliveries",
            Self::OtherStatus => "other-status",
            Self::BareArrays => "bare-arrays",
            Self::SubscriptionsAsText => "subscriptions-as-text",
            Self::ReplaceAnswersNothing => "replace-answers-nothing",
            Self::WritesAnswerNothing => "writes-answer-nothing",
            Self::NestedSecret => "nested-secret",
            Self::BareCount => "bare-count",
            Self::CountAsText => "count-as-text",
            Self::ErrorText => "error-text",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
