use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Inbox, in_time};
use crate::dead::{DeadLetter, DeadLetterId};
use crate::error::InboxError;
use crate::store::{Answer, Ids, Store};

/// The dead letters of an inbox: events that failed permanently.
///
/// Each method returns an error if the database does not answer within 30 s.
///
/// # Examples
///
/// ```
/// # async fn example(inbox: ptolemy_webhooks_inbox::Inbox) -> Result<(), Box<dyn std::error::Error>> {
/// let dead = inbox.dead_letters();
/// let mut after = None;
/// loop {
///     let page = dead.page(after, 100).await?;
///     let Some(last) = page.last() else { break };
///     after = Some(last.id);
///     for letter in &page {
///         println!("{} {}", letter.id, letter.last_error);
///     }
/// }
/// assert!(dead.page(after, 100).await?.is_empty());
/// dead.replay_all().await?; // once the cause is fixed
/// # Ok(())
/// # }
/// # let _ = example;
/// ```
#[derive(Clone)]
pub struct DeadLetters {
    store: Arc<dyn Store>,
    arrived: Arc<Notify>,
}

impl Inbox {
    /// Lists, replays and discards events that failed permanently.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters {
            store: self.engine.store(),
            arrived: self.arrived.clone(),
        }
    }
}

impl DeadLetters {
    /// Lists up to `limit` dead letters in the order of acceptance. Start with `None`, then pass
    /// the id of the last one.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn page(
        &self,
        after: impl Into<Option<DeadLetterId>>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, InboxError> {
        let after = after.into().map_or(Ids::ALL.after, |id| id.0);
        let ids = Ids { after, ..Ids::ALL };
        in_time(self.store.dead(ids, limit)).await
    }

    /// Returns one dead letter; `None` if no dead letter has this id.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn get(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, InboxError> {
        Ok(in_time(self.store.dead(Ids::one(id.0), 1)).await?.pop())
    }

    /// Returns the body of a dead letter, byte for byte as it was signed;
    /// [`Event::from_trusted_json`](ptolemy_webhooks::Event::from_trusted_json) reads it. `None` if
    /// no dead letter has this id.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn body(&self, id: DeadLetterId) -> Result<Option<Bytes>, InboxError> {
        in_time(self.store.dead_body(id.0)).await
    }

    /// Returns a dead event to the queue, due now; `false` if no dead letter has this id.
    ///
    /// Its attempt count is reset to 0, so it has all the attempts that the worker allows.
    /// `last_error` stays until the event has succeeded or failed again.
    ///
    /// It may run after newer events of its resource, even in order by resource: a dead event does
    /// not block later events.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn replay(&self, id: DeadLetterId) -> Result<bool, InboxError> {
        let replayed = in_time(self.store.replay(Ids::one(id.0))).await?;
        self.arrived.notify_one();
        Ok(!replayed.is_empty())
    }

    /// Same as [`replay`](Self::replay), for all events that are dead now; returns how many. It
    /// works in small batches, so some may have been replayed if it returns an error.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn replay_all(&self) -> Result<u64, InboxError> {
        let replayed = all(|ids| self.store.replay(ids)).await?;
        self.arrived.notify_one();
        Ok(replayed)
    }

    /// Discards a dead event; `false` if no dead letter has this id.
    ///
    /// Its row counts as done from then on, so that a duplicate is still recognised; `last_error`
    /// says that it was discarded.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn discard(&self, id: DeadLetterId) -> Result<bool, InboxError> {
        let discarded = in_time(self.store.discard(Ids::one(id.0))).await?;
        Ok(!discarded.is_empty())
    }

    /// Same as [`discard`](Self::discard), for all events that are dead now; returns how many. It
    /// works in small batches, so some may have been discarded if it returns an error.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not answer.
    pub async fn discard_all(&self) -> Result<u64, InboxError> {
        all(|ids| self.store.discard(ids)).await
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

/// Applies `step` in batches; returns the total.
async fn all<'a>(step: impl Fn(Ids) -> Answer<'a, Vec<i64>>) -> Result<u64, InboxError> {
    let mut done = 0;
    let mut ids = Ids::ALL;
    loop {
        let changed = in_time(step(ids)).await?;
        let Some(last) = changed.iter().max() else {
            return Ok(done);
        };
        ids.after = *last;
        done += changed.len() as u64;
    }
}
