//! Standard output, a line at a time.

use std::io::{self, Write as _};

use ptolemy_webhooks::{Event, LogText, Payload};
use ptolemy_webhooks_inbox::Attempt;
use tokio::task::spawn_blocking;

const MAX_CHARS: usize = 200;

/// Text from a delivery as one word of a line.
pub(crate) fn word(text: &str) -> LogText<'_> {
    LogText::new(text).with_max_chars(MAX_CHARS)
}

/// Writes a line, and returns when it is out of this process.
pub(crate) async fn print(mut line: String) -> io::Result<()> {
    line.push('\n');
    // A slow reader delays handlers, but not the server.
    let written = spawn_blocking(move || {
        let mut stdout = io::stdout().lock();
        stdout.write_all(line.as_bytes())?;
        stdout.flush()
    });
    written.await.map_err(io::Error::other)?
}

/// The line for an event that was handled.
pub(crate) fn handled(event: &Event, attempt: &Attempt) -> String {
    let understood = match event.payload {
        Ok(Payload::Unknown) => "unknown",
        // Malformed data never reaches a handler: such an event is dead.
        _ => "typed",
    };
    let id = event.id.as_deref().filter(|id| !id.is_empty());
    format!(
        "handled {} {} {understood} attempt {}",
        word(event.event_type.as_str()),
        word(id.unwrap_or("-")),
        attempt.number(),
    )
}
