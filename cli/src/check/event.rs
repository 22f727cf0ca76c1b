//! Probes of events: types, fields and repetitions that a receiver must accept.

use serde_json::{Value, json};

use super::forge::Forge;
use super::probe::{Basis, Expected, Needs, Plan, Probe};

const OPEN: &str = "Accept event types that the receiver does not know: Ptolemy's list is open, and a delivery \
                    without a 2xx is sent again and again.";
const REPEATED: &str =
    "Answer a repetition with 2xx: Ptolemy sends a delivery again if the answer was late or lost.";
const TOLERANT: &str = "Accept the delivery and set aside what the receiver cannot use: only documented fields are \
                        guaranteed.";

/// One event type of each documented resource. None of them asks an application to remove
/// something.
const ONE_OF_EACH: &[&str] = &[
    "instrument.updated",
    "market.created",
    "market_listing.created",
    "market_listing_suspension.created",
    "time_series_value.created",
    "composite_time_series_value.created",
    "webhook.created",
];

fn sent(forge: &Forge, event: &Value) -> Plan {
    forge.signed(event.to_string()).into()
}

/// An event with a field set, or removed if it is `None`.
fn with(forge: &Forge, label: &str, field: &str, value: Option<Value>) -> Plan {
    let mut event = forge.event(label);
    if let Some(fields) = event.as_object_mut() {
        fields.remove(field);
        fields.extend(value.map(|value| (field.to_owned(), value)));
    }
    sent(forge, &event)
}

pub(super) const GOOD: &[Probe] = &[Probe::delivery(
    "good-delivery",
    "a delivery as Ptolemy sends it",
    "Compare the secret, the URL and the clock of the receiver with those of the webhook.",
    |f| f.signed(f.body("good-delivery")).into(),
)];

pub(super) const PROBES: &[Probe] = &[
    Probe::delivery(
        "each-resource",
        "an event of each documented resource",
        "Accept each event type that the webhook subscribes to, if only to ignore it.",
        |f| {
            let requests = ONE_OF_EACH.iter().map(|event_type| {
                f.signed(
                    f.event_of(event_type, &event_type.replace('.', "-"))
                        .to_string(),
                )
            });
            Plan::in_turn(requests.collect())
        },
    )
    .needs(Needs::OtherTypes),
    Probe::delivery(
        "unknown-action",
        "an unknown action of a documented resource",
        OPEN,
        |f| sent(f, &f.event_of("instrument.renumbered", "unknown-action")),
    )
    .needs(Needs::OtherTypes),
    Probe::delivery("unknown-resource", "an unknown resource", OPEN, |f| {
        sent(
            f,
            &f.event_of("settlement_calendar.created", "unknown-resource"),
        )
    })
    .advice(Basis::Assumed)
    .needs(Needs::OtherTypes),
    Probe::delivery("duplicate", "the same request twice", REPEATED, |f| {
        let request = f.signed(f.body("duplicate"));
        Plan::in_turn(vec![request.clone(), request])
    }),
    Probe::delivery(
        "duplicate-signed-again",
        "the same event, signed again a minute later",
        REPEATED,
        |f| {
            let body = f.body("duplicate-signed-again");
            let earlier = f.receivers_time(-60).to_string();
            Plan::in_turn(vec![f.signed_at(&earlier, body.clone()), f.signed(body)])
        },
    ),
    Probe::delivery(
        "unknown-field",
        "a field that is not known",
        TOLERANT,
        |f| with(f, "unknown-field", "trace", Some(json!({"a": [1, 2]}))),
    )
    .advice(Basis::Assumed),
    Probe::delivery("no-id", "an event without an id", TOLERANT, |f| {
        with(f, "no-id", "id", None)
    })
    .advice(Basis::Assumed)
    .hostile(),
    Probe::delivery("data-absent", "an event without data", TOLERANT, |f| {
        with(f, "data-absent", "data", None)
    })
    .advice(Basis::Assumed)
    .hostile(),
    Probe::delivery(
        "data-of-another-shape",
        "a documented event type, data of another shape",
        TOLERANT,
        |f| {
            with(
                f,
                "data-of-another-shape",
                "data",
                Some(json!({"identifier": {"x": [1]}})),
            )
        },
    )
    .advice(Basis::Assumed)
    .hostile(),
    Probe::delivery(
        "event-type-absent",
        "an event without a type",
        TOLERANT,
        |f| with(f, "event-type-absent", "event_type", None),
    )
    .advice(Basis::OwnChoice)
    .hostile()
    .expect(Expected::NoFault, true),
    Probe::delivery(
        "control-characters",
        "line breaks and escape sequences in the id",
        TOLERANT,
        |f| {
            let id = format!("{}\r\n\u{1b}[31m", f.id("control-characters"));
            with(f, "control-characters", "id", Some(json!(id)))
        },
    )
    .advice(Basis::OwnChoice)
    .hostile()
    .expect(Expected::NoFault, true),
];
