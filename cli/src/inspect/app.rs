//! The state that the sender's port and the page share.

use std::sync::{Arc, OnceLock};

use ptolemy_webhooks_inbox::Inbox;
use tokio::sync::Semaphore;

use crate::inspect::checker::Checker;
use crate::inspect::entry::{Answer, Entry, NewEntry, Receiver, Source};
use crate::inspect::guard::{Hosts, Token};
use crate::inspect::log::Log;
use crate::inspect::ring::Ring;
use crate::inspect::stand_in::SandboxHandle;
use crate::inspect::target::Target;

/// How many rejections are explained at once: each is up to a second of work for one processor.
const MAX_EXPLAINED_AT_ONCE: usize = 2;

/// How many pages may read the stream at once.
const MAX_STREAMS: usize = 16;

/// The inbox of the page, if there is one.
pub(crate) enum InboxState {
    None,
    Open(Inbox),
    /// It could not be opened, and why.
    Failed(String),
}

/// The state of a run.
pub(crate) struct App {
    pub(crate) ring: Ring,
    /// A random name of the run.
    pub(crate) run: String,
    pub(crate) token: Token,
    pub(crate) hosts: Hosts,
    pub(crate) checker: Checker,
    pub(crate) target: Option<Target>,
    pub(crate) inbox: InboxState,
    /// The URL of the sender's port, for the page. Set once it is bound; a sandbox has none.
    pub(crate) sender_url: OnceLock<String>,
    /// Set once, after the sandbox has started.
    pub(crate) sandbox: OnceLock<SandboxHandle>,
    pub(crate) log: Log,
    pub(crate) explaining: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(
        token: Token,
        hosts: Hosts,
        checker: Checker,
        target: Option<Target>,
        inbox: InboxState,
        log: Log,
    ) -> Self {
        Self {
            ring: Ring::new(),
            run: token.run_name(),
            token,
            hosts,
            checker,
            target,
            inbox,
            sender_url: OnceLock::new(),
            sandbox: OnceLock::new(),
            log,
            explaining: Arc::new(Semaphore::new(MAX_EXPLAINED_AT_ONCE)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }

    /// Adds a request, and logs it if nothing more happens to it.
    pub(crate) fn add(&self, new: NewEntry) -> u64 {
        let is_ended = !matches!(new.receiver, Receiver::Pending);
        let seq = self.ring.add(new);
        if is_ended && let Some(entry) = self.ring.get(seq) {
            self.log_entry(&entry);
        }
        seq
    }

    /// Records how the request to the receiver ended, and logs it.
    pub(crate) fn receiver_ended(&self, seq: u64, receiver: Receiver) {
        if let Some(entry) = self.ring.change(seq, |entry| entry.receiver = receiver) {
            self.log_entry(&entry);
        }
    }

    /// Adds the answer, whose beginning has passed by.
    pub(crate) fn answer_ended(&self, seq: u64, answer: Answer) {
        let answer = Arc::new(answer);
        let is_broken = answer.broken.is_some();
        let entry = self.ring.change(seq, |entry| entry.answer = Some(answer));
        // The line of the answer's head said nothing of it.
        if is_broken && let Some(entry) = entry {
            self.log_entry(&entry);
        }
    }

    fn log_entry(&self, entry: &Entry) {
        // The sandbox prints its attempts itself.
        if entry.source != Source::Sandbox {
            self.log.push(entry);
        }
    }
}
