//! Events that cannot be confused with real ones: every id, name and code in them is made up and
//! marked.
//!
//! The samples look like real data, and an application may find a record by any of its ids, by its
//! identifier, by its code or by its ISIN.

use ptolemy_webhooks::samples;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::marked_id::{hash, marked_id};

/// The prefix of each id, by which it is recognised in a receiver's store.
const ID_PREFIX: &str = "c4ec4c4e";

/// The mark in identifiers and names.
const MARK: &str = "ptolemy-webhooks-check";

/// Makes events.
pub(super) struct Marks {
    /// Differs from run to run, so that no id is repeated by a second run.
    run: String,
}

impl Marks {
    pub(super) fn new() -> Self {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let run = format!("{now} {}", std::process::id());
        Self { run }
    }

    /// The id of an event. The same label has the same id in the whole run.
    pub(super) fn id(&self, label: &str) -> String {
        self.uuid(&["event", label])
    }

    /// An event of this type. Its ids occur in no event with another label.
    pub(super) fn event(&self, event_type: &str, label: &str) -> Value {
        let sample = samples::of(event_type).map(|sample| sample.to_json());
        let sample = sample.and_then(|json| serde_json::from_str(&json).ok());
        let mut event = sample.unwrap_or_else(|| {
            let data = json!({"id": "", "identifier": "", "name": ""});
            json!({"id": "", "event_type": event_type, "workspace_id": "", "data": data})
        });
        if let Some(fields) = event.as_object_mut() {
            self.mark(fields, label);
            // The event's own id differs from the one of its resource.
            fields.insert("id".to_owned(), json!(self.id(label)));
        }
        event
    }

    /// Replaces everything by which an application could recognise a record.
    fn mark(&self, fields: &mut Map<String, Value>, label: &str) {
        for (name, value) in fields {
            let marked = match name.as_str() {
                // One workspace, actor and type for all events, as in real life.
                "workspace_id" | "type_id" => self.uuid(&[name]),
                name if name == "id" || name.ends_with("_id") => self.uuid(&[name, label]),
                "identifier" => format!("{MARK}-{}-{label}", self.number(label)),
                "local_code" | "label" => format!("{MARK}-{}", self.number(label)),
                "name" | "reason" => format!("Sent by {MARK}"),
                "url" => format!("https://{MARK}.invalid/{}", self.number(label)),
                "isin" => isin(&self.number(label)),
                // "No market", in ISO 10383.
                "mic" => "XXXX".to_owned(),
                "extras" => {
                    *value = json!({"sent_by": MARK});
                    continue;
                }
                _ => {
                    if let Some(fields) = value.as_object_mut() {
                        self.mark(fields, label);
                    }
                    continue;
                }
            };
            *value = Value::String(marked);
        }
    }

    fn uuid(&self, parts: &[&str]) -> String {
        marked_id(ID_PREFIX, &[&[&*self.run], parts].concat())
    }

    /// Nine digits.
    fn number(&self, label: &str) -> String {
        let hex = hash(&[&self.run, "number", label]);
        let number = u32::from_str_radix(hex.get(..8).unwrap_or_default(), 16);
        format!("{:09}", number.unwrap_or(0) % 1_000_000_000)
    }
}

/// An ISIN with the country code ZZ, which no country has, and a right check digit.
fn isin(nine_digits: &str) -> String {
    // Z is 35 in the sum. From the right, every other digit counts twice.
    let digits = format!("3535{nine_digits}");
    let digits = digits.chars().rev().filter_map(|digit| digit.to_digit(10));
    let sum: u32 = digits
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, twice) if twice > 9 => twice - 9,
            (0, twice) => twice,
            _ => digit,
        })
        .sum();
    format!("ZZ{nine_digits}{}", (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_sample_can_be_taken_for_real_data() {
        let marks = Marks::new();
        for sample in samples::all() {
            let text = marks.event(sample.event_type(), "x").to_string();
            let real = [
                "0198c7a2",
                "6f1c2d3e",
                "5e0b1c2d",
                "bhp",
                "BHP",
                "AU0000",
                "BBG000",
                "asx\"",
                "Australian Sec",
                "XASX",
                "example.com",
                "production",
            ];
            for real in real {
                assert!(!text.contains(real), "{real}: {text}");
            }
        }
    }

    #[test]
    fn ids_are_marked_uuids_that_only_the_same_label_repeats() {
        let marks = Marks::new();
        let event = marks.event("market_listing.created", "one");
        for id in ["/id", "/data/id", "/data/instrument_id", "/data/market_id"] {
            let id = |event: &Value| event.pointer(id).unwrap().as_str().unwrap().to_owned();
            let one = id(&event);
            assert!(one.starts_with("c4ec4c4e-") && one.len() == 36, "{one}");
            assert_eq!((&one[14..15], &one[19..20]), ("8", "8"));
            assert_eq!(one, id(&marks.event("market_listing.created", "one")));
            assert_ne!(one, id(&marks.event("market_listing.created", "two")));
        }
        assert_ne!(event["id"], event["data"]["id"]);
        assert_ne!(
            event["id"],
            Marks::new().event("market_listing.created", "one")["id"]
        );
    }

    #[test]
    fn the_check_digit_of_an_isin_is_right() {
        // By hand: 6 + 5 + 6 + 5 is 22.
        assert_eq!(isin("000000000"), "ZZ0000000008");
    }
}
