//! The lines that a test logs in its thread.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber, set_default};
use tracing_subscriber::filter::LevelFilter;

/// With only one live subscriber, a log line that is first reached on a thread without it is
/// disabled for all threads. This second one prevents that.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

#[derive(Clone, Default)]
pub(crate) struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Captures the lines of this level and above until the guard is dropped, as level, message and
    /// fields.
    pub(crate) fn take(level: LevelFilter) -> (Self, DefaultGuard) {
        LazyLock::force(&SECOND);
        let logged = Self::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        let guard = set_default(subscriber);
        // Lines that were logged first in a thread without a subscriber count too.
        tracing::callsite::rebuild_interest_cache();
        (logged, guard)
    }

    /// The lines, without the spaces around them.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
