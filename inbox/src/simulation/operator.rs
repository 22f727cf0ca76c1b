//! People and tools beside the workers: they replay and discard dead letters, prune, and change the
//! order.

use std::sync::Arc;

use tokio::time::sleep;

use super::run::Run;
use crate::dead::DeadLetterId;
use crate::error::InboxError;
use crate::event_order::EventOrder;
use crate::inbox::Inbox;
use crate::store::fake::What;

impl Run {
    /// Makes a few calls through the inbox of the process in this place; any may fail.
    pub(super) async fn operate(self: Arc<Self>, place: usize) {
        let Some(inbox) = self.inbox(place) else {
            return;
        };
        for _ in 0..self.world.draw(|rng| rng.u32(1..=5)) {
            let _ = self.call(&inbox).await;
            sleep(self.world.millis(0..=2_000)).await;
        }
    }

    async fn call(&self, inbox: &Inbox) -> Result<(), InboxError> {
        let world = &self.world;
        match world.draw(|rng| rng.u32(..8)) {
            0..=2 => self.change_one(inbox).await,
            3 => inbox.dead_letters().replay_all().await.map(drop),
            4 => inbox.dead_letters().discard_all().await.map(drop),
            5 => inbox.prune(world.millis(0..=5_000)).await.map(drop),
            _ => {
                let in_order = world.draw(|rng| rng.bool());
                let order = if in_order {
                    EventOrder::ByResource
                } else {
                    EventOrder::AsDue
                };
                inbox.set_order(order).await
            }
        }
    }

    /// Replays or discards one dead letter of those that are listed.
    async fn change_one(&self, inbox: &Inbox) -> Result<(), InboxError> {
        let letters = inbox.dead_letters();
        let page = letters.page(None, 10).await?;
        let Some(letter) = self.world.draw(|rng| rng.choice(page)) else {
            return Ok(());
        };
        if self.world.draw(|rng| rng.bool()) {
            if letters.replay(letter.id).await? {
                self.was_changed(letter.id, &What::Replayed);
            }
        } else if letters.discard(letter.id).await? {
            self.was_changed(letter.id, &What::Discarded);
        }
        Ok(())
    }

    /// Checks that a call that succeeded did something.
    fn was_changed(&self, letter: DeadLetterId, what: &What) {
        let mut changes = self.world.store.changes().into_iter();
        if !changes.any(|change| change.lease.id + 1 == letter.0 && change.what == *what) {
            self.world
                .wrong(format!("(7) dead letter {letter} is not {what:?}"));
        }
    }
}
