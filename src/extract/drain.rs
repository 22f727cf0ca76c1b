//! The rest of a rejected request's body: read and discarded, within bounds.
//!
//! A server that closes a connection with bytes of the body unread makes the kernel reset it, and a
//! proxy that is still sending then reports 502 in place of the response, and may take the server
//! out of its pool. So the rest is read while the response is sent: nothing waits for it, nothing
//! is kept or hashed, and it ends after a number of bytes and after a time. The number of drains at
//! once is bounded too, so that a flood of rejected requests does not become a flood of tasks.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// How much of a body is read after its rejection.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// How long a body is read after its rejection.
pub(super) const MAX_TIME: Duration = Duration::from_secs(2);

/// How many bodies are drained at once, in the whole process.
const MAX_DRAINS: usize = 256;

static DRAINS: AtomicUsize = AtomicUsize::new(0);

/// One of the [`MAX_DRAINS`] places; free again when dropped.
pub(super) struct Place(());

impl Place {
    /// Returns `None` if every place is taken.
    pub(super) fn take() -> Option<Self> {
        DRAINS
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |drains| {
                (drains < MAX_DRAINS).then_some(drains + 1)
            })
            .ok()
            .map(|_| Self(()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        DRAINS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Polls for the length of the next chunk until there is none or [`MAX_BYTES`] are exceeded.
pub(super) async fn discard(mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<usize>>) {
    let mut left = MAX_BYTES;
    while let Some(length) = poll_fn(&mut next).await {
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_are_freed_on_drop() {
        let places: Vec<_> = std::iter::from_fn(Place::take).collect();
        assert_eq!(places.len(), MAX_DRAINS);
        assert!(Place::take().is_none());
        drop(places);
        assert!(Place::take().is_some());
    }
}
