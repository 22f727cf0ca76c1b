//! The log of attempts, as they are made.

use std::collections::HashMap;

use ptolemy_webhooks_sandbox::{LoggedAttempt, LoggedDelivery, Outcome, Sandbox};
use serde::Serialize;
use time::OffsetDateTime;

use crate::notice;
use crate::output::Output;
use crate::since;
use crate::stop::Stop;
use crate::text;

/// Prints attempts that were not printed yet: with JSON as data, otherwise as words.
pub(super) struct Attempts {
    output: Output,
    /// How many attempts were made when the log was last read.
    made: usize,
    /// How many attempts of each delivery were printed.
    printed: HashMap<String, usize>,
}

/// One POST of a delivery.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    at: String,
    event_type: &'a str,
    event_id: &'a str,
    webhook_id: &'a str,
    delivery_id: &'a str,
    attempt: usize,
    outcome: &'static str,
    response_status: Option<u16>,
    took_ms: u128,
    fault: Option<String>,
}

impl Attempts {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            made: 0,
            printed: HashMap::new(),
        }
    }

    pub(super) fn print_new(&mut self, sandbox: &Sandbox) -> Result<(), Stop> {
        if sandbox.attempts() == self.made {
            return Ok(());
        }
        let log = sandbox.log();
        self.made = log.attempts();
        let mut new = Vec::new();
        let mut printed = HashMap::with_capacity(log.deliveries().len());
        for delivery in log.deliveries() {
            let attempts = delivery.attempts();
            let before = self.printed.get(delivery.id()).copied().unwrap_or(0);
            let fresh = attempts.iter().enumerate().skip(before);
            new.extend(fresh.map(|(at, attempt)| (delivery, at + 1, attempt)));
            printed.insert(delivery.id().to_owned(), attempts.len());
        }
        // Deliveries that the sandbox has dropped are forgotten here too.
        self.printed = printed;
        new.sort_by_key(|(_, _, attempt)| attempt.at());
        let mut new = new.into_iter();
        new.try_for_each(|(delivery, number, attempt)| self.print(delivery, number, attempt))
    }

    fn print(
        &self,
        delivery: &LoggedDelivery,
        number: usize,
        attempt: &LoggedAttempt,
    ) -> Result<(), Stop> {
        let line = Line {
            kind: "attempt",
            at: since::rfc3339(whole_millis(attempt.at())),
            event_type: delivery.event_type(),
            event_id: delivery.event_id(),
            webhook_id: delivery.webhook_id(),
            delivery_id: delivery.id(),
            attempt: number,
            outcome: outcome(attempt.outcome()),
            response_status: attempt.response_status(),
            took_ms: attempt.took().as_millis(),
            // The names of the option.
            fault: attempt.fault().map(|name| name.replace('_', "-")),
        };
        if self.output.is_json() {
            return self.output.object(&line);
        }
        let fault = line.fault.map_or(String::new(), |it| format!(" [{it}]"));
        notice::note(&text::words(&format!(
            "{} {} delivery {} attempt {number}: {} in {} ms{fault}",
            line.at,
            line.event_type,
            line.delivery_id,
            outcome_words(attempt.outcome()),
            line.took_ms,
        )));
        Ok(())
    }
}

/// The clock of the sandbox has the nanoseconds of the host's, which say nothing.
fn whole_millis(time: OffsetDateTime) -> OffsetDateTime {
    let nanos = u32::from(time.millisecond()) * 1_000_000;
    time.replace_nanosecond(nanos).unwrap_or(time)
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered(_) => "answered",
        Outcome::AnswerLost(_) => "answer_lost",
        Outcome::TimedOut => "timed_out",
        Outcome::NotLoopback => "not_loopback",
        Outcome::NotConnected => "not_connected",
        Outcome::BrokenOff => "broken_off",
        _ => "other",
    }
}

/// An outcome in words.
pub(crate) fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        // The library names its own function.
        Outcome::NotLoopback => {
            "not sent: the host is not loopback, and --any-host is not set".to_owned()
        }
        outcome => outcome.to_string(),
    }
}
