//! What a test logs in its thread.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::subscriber::{DefaultGuard, set_default};

#[derive(Clone)]
pub(super) struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Takes what is logged until the guard is dropped.
    pub(super) fn take() -> (Self, DefaultGuard) {
        let logged = Self(Arc::default());
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let guard = set_default(subscriber);
        // Lines that were logged first in a thread without a subscriber count too.
        tracing::callsite::rebuild_interest_cache();
        (logged, guard)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
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
