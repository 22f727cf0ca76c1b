//! Emitting events, and the clock on which they are delivered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ptolemy_webhooks::samples::{self, Sample};
use time::OffsetDateTime;

use crate::courier;
use crate::envelope::Envelope;
use crate::log::{Log, LoggedDelivery};
use crate::sandbox::Sandbox;

impl Sandbox {
    /// Emits an event: sends it to the webhooks that are subscribed to its type, at once and
    /// concurrently, and returns its id when the first attempts have ended.
    ///
    /// Each call emits another event, so a sample with its default id gets a new id. An id that was
    /// set with [`Sample::with_id`] stays, and so does the sample's `created_at`: the virtual clock
    /// does not change it.
    pub async fn emit(&self, sample: Sample) -> String {
        let envelope = {
            let mut state = self.shared.lock();
            let is_default = samples::of(sample.event_type()).is_some_and(|known| known == sample);
            let sample = match is_default {
                true => sample.with_id(state.random.uuid()),
                false => sample,
            };
            Envelope::of_sample(&sample, &state.settings)
        };
        self.engine
            .run(courier::emit(Arc::clone(&self.shared), envelope))
            .await
    }

    /// Emits an event whose deliveries have exactly this body, and returns its id: the `id` of the
    /// JSON, or a new one.
    ///
    /// The event type is the string `event_type`, else `type`. A body without one, or one that is
    /// not JSON, is sent to the webhooks that are subscribed to `*`.
    pub async fn emit_json(&self, body: impl Into<Bytes>) -> String {
        let envelope = Envelope::of_json(body.into());
        self.engine
            .run(courier::emit(Arc::clone(&self.shared), envelope))
            .await
    }

    /// Makes all attempts that are due at any time, moving the virtual clock from one to the next,
    /// and returns the delivery log.
    ///
    /// It ends even if a receiver always fails, because the number of attempts is limited; with
    /// [`Retries::attempts`](crate::Retries::attempts) set to a huge number, it takes as long as
    /// that many attempts take. If the future is dropped early, the attempts continue in the
    /// background.
    pub async fn settle(&self) -> Log {
        self.engine
            .run(courier::settle(Arc::clone(&self.shared)))
            .await;
        self.log()
    }

    /// Moves the virtual clock forward, making the attempts that are due on the way. It stops at
    /// the last second of the year 9999. If the future is dropped early, the attempts continue in
    /// the background.
    pub async fn advance(&self, time: Duration) {
        self.engine
            .run(courier::advance(Arc::clone(&self.shared), time))
            .await;
    }

    /// Returns the time of the virtual clock.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.shared.lock().clock.now()
    }

    /// Returns the current delivery log.
    #[must_use]
    pub fn log(&self) -> Log {
        let state = self.shared.lock();
        let deliveries = state.deliveries.iter();
        Log {
            attempts: state.attempts,
            deliveries: deliveries
                .map(|delivery| LoggedDelivery {
                    id: delivery.id.clone(),
                    webhook_id: delivery.webhook_id.clone(),
                    event_id: delivery.event_id.clone(),
                    event_type: delivery.event_type.clone(),
                    status: delivery.status,
                    attempts: delivery.attempts.iter().cloned().collect(),
                })
                .collect(),
        }
    }
}
