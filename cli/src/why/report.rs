//! The verdict in words and as JSON.

use serde::Serialize;

use crate::output::Output;
use crate::stop::Stop;
use crate::text;
use crate::why::body::Change;
use crate::why::verdict::EventReport;

/// The verdict. The names of the fields are part of the tool's interface.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `valid` or `rejected`.
    pub(crate) verdict: &'static str,
    /// The code of the rejection.
    pub(crate) code: Option<&'static str>,
    /// The text of the response.
    pub(crate) reason: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) fix: Option<String>,
    /// The parts of the cause, one for each thing that happened.
    #[serde(skip)]
    pub(crate) causes: Vec<String>,
    /// The parts of the fix.
    #[serde(skip)]
    pub(crate) fixes: Vec<String>,
    /// Whether the cause is certain.
    pub(crate) proven: bool,
    pub(crate) suspicions: Vec<String>,
    /// Where the secret is from that the delivery was signed with.
    pub(crate) signed_with: Option<String>,
    pub(crate) signed_at: Option<String>,
    pub(crate) received_at: String,
    /// `given` by --at, or `now`.
    pub(crate) clock: &'static str,
    pub(crate) age_s: Option<i64>,
    pub(crate) event: Option<EventReport>,
}

impl Report {
    /// Sets a cause that is certain.
    pub(crate) fn prove(&mut self, changes: &[Change]) {
        self.causes = changes.iter().map(|change| change.cause.clone()).collect();
        self.fixes = changes.iter().map(|change| change.fix.clone()).collect();
        self.fixes.dedup();
        self.cause = Some(self.causes.join("; and "));
        self.fix = Some(self.fixes.join("; and "));
        self.proven = true;
    }

    pub(crate) fn suspect(&mut self, suspicion: impl Into<String>) {
        self.suspicions.push(suspicion.into());
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.code.is_none()
    }

    pub(crate) fn print(&self, output: Output) -> Result<(), Stop> {
        if output.is_json() {
            return output.object(self);
        }
        for line in self.lines() {
            output.line(&text::words(&line))?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.first_line()];
        if let Some(event) = &self.event {
            lines.push(event_line(event));
        }
        if let Some(cause) = &self.cause {
            let certain = if self.proven {
                "Cause (proven)"
            } else {
                "Cause"
            };
            lines.push(format!("{certain}: {cause}"));
        }
        lines.extend(self.fix.as_ref().map(|fix| format!("Fix: {fix}")));
        if !self.suspicions.is_empty() {
            let heading = match self.code {
                Some(_) => "Suspicions (not proven):",
                None => "If a receiver rejected it:",
            };
            lines.push(heading.to_owned());
            lines.extend(self.suspicions.iter().map(|it| format!("- {it}")));
        }
        lines
    }

    fn first_line(&self) -> String {
        let received = match self.clock {
            "given" => "received",
            _ => "checked now,",
        };
        let age = self.age_s.map(|age| match age {
            0.. => format!(", {received} {age} s after it was signed"),
            _ => format!(", {received} {} s before it was signed", age.unsigned_abs()),
        });
        let age = age.unwrap_or_default();
        match (&self.reason, self.code) {
            (Some(reason), Some(code)) => format!("rejected: {reason} ({code}){age}"),
            _ => {
                let secret = self.signed_with.as_deref().unwrap_or("an accepted secret");
                format!("valid: signed with {secret}{age}")
            }
        }
    }
}

fn event_line(event: &EventReport) -> String {
    let event_type = event.event_type.as_deref().unwrap_or("not an event");
    let id = event
        .id
        .as_deref()
        .map(|id| format!(", id {id}"))
        .unwrap_or_default();
    match (&event.reason, event.code) {
        (Some(reason), Some(code)) => {
            format!("Event: {event_type}{id}; an extractor of events rejects it: {reason} ({code})")
        }
        _ => format!("Event: {event_type}{id}"),
    }
}
