//! The log of attempts, as they are made.

use ptolemy_webhooks_sandbox::{MadeAttempt, Outcome, Sandbox};
use serde::Serialize;
use time::OffsetDateTime;

use crate::delivery_filter::plural;
use crate::notice;
use crate::output::Output;
use crate::since;
use crate::stop::Stop;
use crate::text;

/// Prints attempts that were not printed yet: with JSON as data, otherwise as words.
pub(super) struct Attempts {
    output: Output,
    /// The number of the last attempt that was printed.
    last: u64,
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
    attempt: u32,
    outcome: &'static str,
    response_status: Option<u16>,
    took_ms: u128,
    fault: Option<String>,
}

impl Attempts {
    pub(super) fn new(output: Output) -> Self {
        Self { output, last: 0 }
    }

    pub(super) fn print_new(&mut self, sandbox: &Sandbox) -> Result<(), Stop> {
        for made in sandbox.attempts_after(self.last) {
            // A terminal or a pipe has accepted nothing while the sandbox made thousands of them.
            let missing = made.number.saturating_sub(self.last + 1);
            if missing > 0 {
                let count = plural(missing, "attempt was", "attempts were");
                notice::warning(&format!("the output is too slow: {count} not logged"));
            }
            self.last = made.number;
            self.print(&made)?;
        }
        Ok(())
    }

    fn print(&self, made: &MadeAttempt) -> Result<(), Stop> {
        let attempt = &made.attempt;
        let line = Line {
            kind: "attempt",
            at: since::rfc3339(whole_millis(attempt.at())),
            event_type: &made.event_type,
            event_id: &made.event_id,
            webhook_id: &made.webhook_id,
            delivery_id: &made.delivery_id,
            attempt: made.of_delivery,
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
            "{} {} delivery {} attempt {}: {} in {} ms{fault}",
            line.at,
            line.event_type,
            line.delivery_id,
            line.attempt,
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
