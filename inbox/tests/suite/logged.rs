//! The lines that a test logs on its own thread.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::filter::LevelFilter;

/// With only one subscriber, a line that is first reached on a thread without it is disabled on all
/// threads.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

#[derive(Clone, Default)]
pub(crate) struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    /// Captures lines of the level INFO and above until the guard is dropped.
    pub(crate) fn start() -> (Self, DefaultGuard) {
        LazyLock::force(&SECOND);
        let logged = Self::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::INFO)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        // Lines that were logged first in a thread without a subscriber count too.
        tracing::callsite::rebuild_interest_cache();
        (logged, guard)
    }

    /// Returns everything that was logged, also by other crates.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines of the inbox that have this text.
    pub(crate) fn lines(&self, with: &str) -> Vec<String> {
        let text = self.text();
        let lines = text
            .lines()
            .filter(|line| line.contains("ptolemy_webhooks_inbox"));
        lines
            .filter(|line| line.contains(with))
            .map(str::to_owned)
            .collect()
    }

    /// The only line that has this text.
    #[track_caller]
    pub(crate) fn line(&self, with: &str) -> String {
        let lines = self.lines(with);
        assert_eq!(lines.len(), 1, "{with}: {lines:#?}");
        lines[0].clone()
    }
}
