//! The last requests, within bounds.
//!
//! Adding an entry and changing one takes a lock for some microseconds and never waits for a
//! reader. Readers are woken by a counter of changes and ask for what changed after the number that
//! they know: a slow reader finds the current state, not a queue.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::inspect::entry::{Checked, Entry, NewEntry, Verdict};

/// How many requests are kept.
const MAX_ENTRIES: usize = 500;

/// How much the kept requests and answers may need together: 64 MiB.
const MAX_BYTES: usize = 64 * 1024 * 1024;

pub(crate) struct Ring {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    /// In the order of their numbers, without gaps.
    entries: VecDeque<Entry>,
    bytes: usize,
    last_seq: u64,
    change: u64,
}

/// What changed.
pub(crate) struct Changes {
    /// In the order of the changes.
    pub(crate) entries: Vec<Entry>,
    /// The number of the oldest entry, or of the next one if there is none.
    pub(crate) kept_from: u64,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self::with_bounds(MAX_ENTRIES, MAX_BYTES)
    }

    fn with_bounds(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            max_entries,
            max_bytes,
        }
    }

    /// Adds a request and returns its number.
    pub(crate) fn add(&self, new: NewEntry) -> u64 {
        let mut state = self.lock();
        state.last_seq += 1;
        state.change += 1;
        let entry = Entry {
            seq: state.last_seq,
            change: state.change,
            attempt: state.attempt(&new),
            at: new.at,
            source: new.source,
            of: new.of,
            request: new.request,
            checked: new.checked,
            receiver: new.receiver,
            answer: new.answer,
            sandbox: new.sandbox,
        };
        let seq = entry.seq;
        state.bytes += entry.bytes();
        state.entries.push_back(entry);
        self.end_change(state);
        seq
    }

    /// Changes an entry, if it is still kept, and returns what it is then.
    pub(crate) fn change(&self, seq: u64, change: impl FnOnce(&mut Entry)) -> Option<Entry> {
        let mut state = self.lock();
        state.change += 1;
        let number = state.change;
        let entry = state.entry_mut(seq)?;
        let before = entry.bytes();
        change(entry);
        entry.change = number;
        let (after, changed) = (entry.bytes(), entry.clone());
        state.bytes = (state.bytes + after).saturating_sub(before);
        self.end_change(state);
        Some(changed)
    }

    pub(crate) fn get(&self, seq: u64) -> Option<Entry> {
        self.lock().entry_mut(seq).cloned()
    }

    /// Returns the entries that were changed after the change of this number, at most this many.
    pub(crate) fn after(&self, change: u64, limit: usize) -> Changes {
        let state = self.lock();
        // The number of another run: everything is new.
        let change = if change > state.change { 0 } else { change };
        let changed = state.entries.iter().filter(|entry| entry.change > change);
        let mut entries: Vec<_> = changed.cloned().collect();
        let kept_from = state.kept_from();
        drop(state);
        entries.sort_by_key(|entry| entry.change);
        entries.truncate(limit);
        Changes { entries, kept_from }
    }

    /// The number of the last change, as it grows.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn end_change(&self, mut state: MutexGuard<'_, State>) {
        while state.entries.len() > self.max_entries || state.bytes > self.max_bytes {
            let Some(dropped) = state.entries.pop_front() else {
                break;
            };
            state.bytes = state.bytes.saturating_sub(dropped.bytes());
        }
        let number = state.change;
        drop(state);
        self.changed
            .send_modify(|change| *change = number.max(*change));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kept_from(&self) -> u64 {
        self.last_seq + 1 - self.entries.len() as u64
    }

    fn entry_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        let place = seq.checked_sub(self.kept_from())?;
        self.entries.get_mut(usize::try_from(place).ok()?)
    }

    /// How many kept requests have the event id, this one included; 1 without an id, or if the
    /// verdict does not prove it.
    fn attempt(&self, new: &NewEntry) -> u64 {
        let Some(id) = proven_id(&new.checked, new.sandbox.is_some()) else {
            return 1;
        };
        let mut latest = self.entries.iter().rev();
        let same =
            latest.find(|entry| proven_id(&entry.checked, entry.sandbox.is_some()) == Some(id));
        same.map_or(1, |entry| entry.attempt + 1)
    }
}

/// The event id, unless anybody could have written it. A run without a secret checks nothing: there
/// every id counts, and a delivery of the sandbox has the id that the sandbox gave it.
fn proven_id(checked: &Checked, is_of_sandbox: bool) -> Option<&str> {
    match checked.verdict {
        Verdict::Accepted | Verdict::MalformedData | Verdict::NotChecked => {
            checked.event_id.as_deref()
        }
        _ if is_of_sandbox => checked.event_id.as_deref(),
        Verdict::Rejected | Verdict::NotAnEvent => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use time::OffsetDateTime;

    use super::*;
    use crate::inspect::entry::{Answer, Receiver, Request, Source};

    fn new(id: Option<&str>, body_bytes: usize) -> NewEntry {
        NewEntry {
            at: OffsetDateTime::UNIX_EPOCH,
            source: Source::Sender,
            of: None,
            request: Arc::new(Request {
                method: Method::POST,
                path: String::new(),
                headers: HeaderMap::new(),
                body: Bytes::from(vec![0; body_bytes]),
            }),
            checked: Arc::new(Checked {
                verdict: Verdict::Accepted,
                reason: None,
                summary: None,
                event_type: None,
                event_id: id.map(str::to_owned),
                malformed: None,
            }),
            receiver: Receiver::Pending,
            answer: None,
            sandbox: None,
        }
    }

    fn seqs(changes: &Changes) -> Vec<u64> {
        changes.entries.iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn the_oldest_entries_leave_when_there_are_too_many() {
        let ring = Ring::with_bounds(3, 1_000);
        for expected in 1..=5 {
            assert_eq!(ring.add(new(None, 1)), expected);
        }
        let all = ring.after(0, 10);
        assert_eq!((seqs(&all), all.kept_from), (vec![3, 4, 5], 3));
        assert!(ring.get(2).is_none() && ring.get(6).is_none() && ring.get(0).is_none());
        assert_eq!(ring.get(3).unwrap().seq, 3);
        assert!(ring.change(2, |_| panic!("it has left")).is_none());
    }

    #[test]
    fn bodies_and_answers_count_together() {
        let ring = Ring::with_bounds(100, 1_000);
        ring.add(new(None, 400));
        let second = ring.add(new(None, 400));
        assert_eq!(ring.after(0, 10).entries.len(), 2);
        let answer = Answer {
            status: 200,
            headers: HeaderMap::new(),
            body: Bytes::from(vec![0; 300]),
            is_cut: false,
            broken: None,
        };
        ring.change(second, |entry| entry.answer = Some(Arc::new(answer)));
        assert_eq!(seqs(&ring.after(0, 10)), [2]);
        assert_eq!(ring.lock().bytes, 700);
        // An entry that is too large for the whole ring is removed at once.
        ring.add(new(None, 1_001));
        assert!(ring.after(0, 10).entries.is_empty());
        assert_eq!(ring.lock().bytes, 0);
        assert_eq!(ring.after(0, 10).kept_from, 4);
    }

    #[test]
    fn a_reader_gets_what_changed_after_the_number_that_it_knows() {
        let ring = Ring::new();
        let mut changes = ring.changes();
        ring.add(new(None, 1));
        ring.add(new(None, 1));
        assert!(changes.has_changed().unwrap());
        let known = changes.borrow_and_update().to_owned();
        assert_eq!(known, 2);
        assert!(ring.after(known, 10).entries.is_empty());
        let took = Duration::from_millis(3);
        let status = 204;
        ring.change(1, |entry| {
            entry.receiver = Receiver::Answered { status, took };
        });
        assert_eq!(seqs(&ring.after(known, 10)), [1]);
        assert_eq!(seqs(&ring.after(0, 10)), [2, 1]);
        assert_eq!(seqs(&ring.after(0, 1)), [2]);
        // A number of another run.
        assert_eq!(ring.after(99, 10).entries.len(), 2);
    }

    #[test]
    fn forged_ids_do_not_count_as_attempts_and_labels_count_as_memory() {
        let ring = Ring::new();
        let mut forged = new(Some("a"), 1);
        let checked = Arc::get_mut(&mut forged.checked).unwrap();
        checked.verdict = Verdict::Rejected;
        checked.summary = Some("x".repeat(100));
        let seq = ring.add(forged);
        assert_eq!(ring.get(seq).unwrap().attempt, 1);
        assert_eq!(ring.lock().bytes, 1 + 1 + 100);
        let seq = ring.add(new(Some("a"), 1));
        assert_eq!(ring.get(seq).unwrap().attempt, 1);
    }

    #[test]
    fn attempts_of_one_event_are_counted() {
        let ring = Ring::new();
        for (id, expected) in [
            (Some("a"), 1),
            (Some("b"), 1),
            (Some("a"), 2),
            (None, 1),
            (None, 1),
        ] {
            let seq = ring.add(new(id, 1));
            assert_eq!(ring.get(seq).unwrap().attempt, expected);
        }
    }
}
