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

    /// Sends a delivery again, as the call of the API does, in the background. Returns `false` if
    /// no delivery has the id.
    #[doc(hidden)]
    pub async fn redeliver(&self, delivery_id: &str) -> bool {
        {
            let mut state = self.shared.lock();
            if state.place_of(delivery_id).is_none() {
                return false;
            }
            state.redeliveries.push(delivery_id.to_owned());
        }
        let shared = Arc::clone(&self.shared);
        let sending = async move { courier::send_again(&shared) };
        self.engine.run(sending).await;
        true
    }

    /// Returns the current delivery log.
    #[must_use]
    pub fn log(&self) -> Log {
        self.last_deliveries(usize::MAX)
    }

    /// Returns the last deliveries of the log, at most so many.
    #[doc(hidden)]
    #[must_use]
    pub fn last_deliveries(&self, count: usize) -> Log {
        let state = self.shared.lock();
        let left_out = state.deliveries.len().saturating_sub(count);
        let deliveries = state.deliveries.iter().skip(left_out);
        Log {
            attempts: state.attempts,
            ended: state.ended(),
            deliveries: deliveries
                .map(|delivery| LoggedDelivery {
                    id: delivery.id.clone(),
                    webhook_id: delivery.webhook_id.clone(),
                    event_id: delivery.event_id.clone(),
                    event_type: delivery.event_type.clone(),
                    status: delivery.status,
                    attempts: delivery.attempts.iter().cloned().collect(),
                    next_at: delivery.next_at,
                })
                .collect(),
        }
    }
}
