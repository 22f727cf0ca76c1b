//! The progress of a run: one changing line on a terminal, or lines in a log.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ptolemy_webhooks_inbox::{CatchUpPhase, CatchUpProgress};

use crate::notice::{self, Progress};

/// The progress of the plan or the run that is under way.
pub(super) struct Shown {
    now: Mutex<Option<Arc<Progress>>>,
    /// How many redeliveries were planned.
    planned: AtomicU64,
    /// How many hundreds of arrivals have a line.
    hundreds: AtomicU64,
    has_lines: bool,
}

impl Shown {
    /// Without a terminal it prints lines, if they are wanted.
    pub(super) fn new(wants_lines: bool) -> Self {
        Self {
            now: Mutex::default(),
            planned: AtomicU64::new(0),
            hundreds: AtomicU64::new(0),
            has_lines: wants_lines && !io::stderr().is_terminal(),
        }
    }

    pub(super) fn expect(&self, redeliveries: u64) {
        self.planned.store(redeliveries, Ordering::Relaxed);
    }

    /// Waits for work, and shows its progress as soon as a second has passed.
    pub(super) async fn during<F: Future>(&self, doing: &'static str, work: F) -> F::Output {
        let progress = Arc::new(Progress::of(doing));
        *self.lock() = Some(Arc::clone(&progress));
        let output = progress.during(work).await;
        *self.lock() = None;
        output
    }

    /// Called after each page, and when redeliveries have arrived.
    pub(super) fn update(&self, progress: CatchUpProgress) {
        let doing = self.words(progress);
        let hundreds = progress.arrived / 100;
        let is_new = self.hundreds.swap(hundreds, Ordering::Relaxed) < hundreds;
        let is_page = progress.phase != CatchUpPhase::Redelivering && progress.read > 0;
        if self.has_lines && (is_page || is_new) {
            notice::note(&doing);
        }
        if let Some(shown) = &*self.lock() {
            shown.now(doing);
        }
    }

    fn words(&self, progress: CatchUpProgress) -> String {
        let read = progress.read;
        match progress.phase {
            CatchUpPhase::ReadingDeliveries => format!("delivery log: {read} read"),
            CatchUpPhase::ReadingEvents => format!("event log: {read} read"),
            _ => format!(
                "sent again: {} of {}, {} arrived",
                progress.redelivered,
                self.planned
                    .load(Ordering::Relaxed)
                    .max(progress.redelivered),
                progress.arrived
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Progress>>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
