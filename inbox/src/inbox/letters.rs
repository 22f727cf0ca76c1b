//! Dead letters.

use bytes::Bytes;

use super::{Inbox, in_time};
use crate::dead::DeadLetter;
use crate::error::InboxError;
use crate::store::{Answer, Ids};

impl Inbox {
    /// Lists dead events, the one that was accepted first first: up to `limit` of those whose id is
    /// greater than `after`, so 0 begins and the last id goes on.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn dead_letters(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, InboxError> {
        let store = self.engine.store();
        in_time(store.dead(Ids { after, ..Ids::ALL }, limit)).await
    }

    /// Looks at one dead event; `None` if there is none with this id.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, InboxError> {
        let store = self.engine.store();
        Ok(in_time(store.dead(Ids::one(id), 1)).await?.pop())
    }

    /// Returns the body of a dead event, byte for byte as it was signed;
    /// [`Event::from_trusted_json`](ptolemy_webhooks::Event::from_trusted_json) reads it.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn dead_letter_body(&self, id: i64) -> Result<Option<Bytes>, InboxError> {
        in_time(self.engine.store().dead_body(id)).await
    }

    /// Lets a dead event wait for a worker again, with all its attempts; `false` if there is none with this
    /// id.
    ///
    /// It may come after newer events of its resource, also for a worker that takes events in order: a
    /// dead event blocks nothing.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn replay(&self, id: i64) -> Result<bool, InboxError> {
        let replayed = in_time(self.engine.store().replay(Ids::one(id))).await?;
        self.arrived.notify_one();
        Ok(!replayed.is_empty())
    }

    /// As [`replay`](Self::replay), for all that are dead now; tells how many. It goes through them in small batches, so
    /// an error leaves some replayed.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn replay_all(&self) -> Result<u64, InboxError> {
        let store = self.engine.store();
        let replayed = all(|ids| store.replay(ids)).await?;
        self.arrived.notify_one();
        Ok(replayed)
    }

    /// Gives a dead event up; `false` if there is none with this id.
    ///
    /// Its row counts as done from now on, so that a repetition is still recognised; `last_error` says
    /// that it was discarded.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn discard(&self, id: i64) -> Result<bool, InboxError> {
        let discarded = in_time(self.engine.store().discard(Ids::one(id))).await?;
        Ok(!discarded.is_empty())
    }

    /// As [`discard`](Self::discard), for all that are dead now; tells how many. It goes through them in small batches,
    /// so an error leaves some discarded.
    ///
    /// # Errors
    ///
    /// Tells that the database did not answer.
    pub async fn discard_all(&self) -> Result<u64, InboxError> {
        let store = self.engine.store();
        all(|ids| store.discard(ids)).await
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
