//! Which attempts are due, and when.
//!
//! A delivery begins with [`emit`]. Its first attempt is made at once, unless it is held or waits
//! for a group. If an attempt fails, the delivery gets the time of the next one, on the virtual
//! clock; [`settle`] and [`advance`] move the clock from one such time to the next, and make the
//! attempts that are due. The number of attempts is limited, so `settle` ends even if a receiver
//! always fails.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::attempt::{Due, Reason, run};
use crate::clock;
use crate::delivery_fault::{Group, Order};
use crate::envelope::Envelope;
use crate::log::Status;
use crate::record::{Delivery, Event};
use crate::state::{Shared, State};

/// Records an event, and makes the first attempts of its deliveries. Returns the event's id.
pub(crate) async fn emit(shared: Arc<Shared>, envelope: Envelope) -> String {
    let (id, due, groups) = {
        let mut state = shared.lock();
        let (id, due) = record(&mut state, envelope);
        (id, due, state.delivery_faults.complete_groups())
    };
    run(&shared, due).await;
    run_groups(&shared, groups).await;
    id
}

/// Moves the virtual clock from one due attempt to the next, until no attempt is due any more.
pub(crate) async fn settle(shared: Arc<Shared>) {
    let _turn = shared.turn.lock().await;
    run_begun_groups(&shared).await;
    loop {
        shared.idle().await;
        let due = {
            let mut state = shared.lock();
            let Some(time) = next_time(&state) else {
                return;
            };
            state.clock.move_to(time);
            take_due(&mut state, time)
        };
        run(&shared, due).await;
    }
}

/// Moves the virtual clock by `time`, and makes the attempts that are due on the way.
pub(crate) async fn advance(shared: Arc<Shared>, time: Duration) {
    let _turn = shared.turn.lock().await;
    run_begun_groups(&shared).await;
    let end = clock::later(shared.lock().clock.now(), time);
    loop {
        shared.idle().await;
        let due = {
            let mut state = shared.lock();
            let Some(time) = next_time(&state).filter(|time| *time <= end) else {
                state.clock.move_to(end);
                return;
            };
            state.clock.move_to(time);
            take_due(&mut state, time)
        };
        run(&shared, due).await;
    }
}

/// Starts the attempts that calls of the API asked for. They count as under way when this returns.
pub(crate) fn send_again(shared: &Arc<Shared>) {
    let due: Vec<Due> = std::mem::take(&mut shared.lock().redeliveries)
        .into_iter()
        .map(|delivery| Due {
            delivery,
            reason: Reason::Redelivery,
        })
        .collect();
    if !due.is_empty() {
        let under_way = shared.under_way();
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            run(&shared, due).await;
            drop(under_way);
        });
    }
}

/// Records an event and a delivery to each webhook that subscribes to it. Returns the deliveries
/// that are due now.
fn record(state: &mut State, envelope: Envelope) -> (String, Vec<Due>) {
    let id = envelope.id.unwrap_or_else(|| state.random.uuid());
    let now = state.clock.now();
    let event_type = envelope.event_type;
    let webhooks = state.webhooks.iter();
    let receivers: Vec<String> = webhooks
        .filter(|webhook| webhook.wants(&event_type))
        .map(|webhook| webhook.id.clone())
        .collect();
    let mut due = Vec::new();
    for webhook_id in receivers {
        let mut delivery = Delivery {
            number: state.number(),
            id: state.random.uuid(),
            webhook_id,
            event_id: id.clone(),
            event_type: event_type.clone(),
            body: envelope.body.clone(),
            status: Status::Pending,
            attempts: Default::default(),
            made: 0,
            tried: 0,
            next_at: None,
        };
        if let Some(delay) = state.delivery_faults.take_hold(&mut state.random) {
            delivery.next_at = Some(clock::later(now, delay));
        } else if !state.delivery_faults.join(&delivery.id) {
            due.push(Due::schedule(delivery.id.clone()));
        }
        state.keep_delivery(delivery);
    }
    let number = state.number();
    state.keep_event(Event {
        number,
        id: id.clone(),
        event_type,
        created_at: envelope.created_at.unwrap_or_else(|| clock::to_text(now)),
        shown: envelope.shown,
    });
    (id, due)
}

fn next_time(state: &State) -> Option<OffsetDateTime> {
    let retries = state
        .deliveries
        .iter()
        .filter_map(|delivery| delivery.next_at);
    let copies = state.copies.iter().map(|(time, _)| *time);
    retries.chain(copies).min()
}

/// Takes the attempts that are due at `time`.
fn take_due(state: &mut State, time: OffsetDateTime) -> Vec<Due> {
    let mut due = Vec::new();
    for delivery in &mut state.deliveries {
        if delivery.next_at.is_some_and(|next| next <= time) {
            delivery.next_at = None;
            due.push(Due::schedule(delivery.id.clone()));
        }
    }
    let copies = state.copies.extract_if(.., |(at, _)| *at <= time);
    due.extend(copies.map(|(_, delivery)| Due {
        delivery,
        reason: Reason::Copy,
    }));
    due
}

async fn run_begun_groups(shared: &Arc<Shared>) {
    let groups = shared.lock().delivery_faults.begun_groups();
    run_groups(shared, groups).await;
}

async fn run_groups(shared: &Arc<Shared>, groups: Vec<Group>) {
    for group in groups {
        let deliveries = group.deliveries.into_iter().map(Due::schedule);
        match group.order {
            Order::AtOnce => run(shared, deliveries.collect()).await,
            Order::Reversed => {
                for due in deliveries.rev() {
                    run(shared, vec![due]).await;
                }
            }
        }
    }
}
