//! Which attempts are due, and what follows from how they end.
//!
//! A delivery begins with [`emit`]. Its first attempt is made at once, unless it is held or waits
//! for a group. If an attempt fails, the delivery gets the time of the next one, on the virtual
//! clock; [`settle`] and [`advance`] move the clock from one such time to the next, and make the
//! attempts that are due. The number of attempts is limited, so `settle` ends even if a receiver
//! always fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::clock;
use crate::delivery_fault::{DeliveryFault, Group, Order};
use crate::envelope::{self, Envelope};
use crate::log::{LoggedAttempt, Outcome, Status};
use crate::record::{Delivery, Event, Webhook};
use crate::sender::{self, Parcel};
use crate::settings::Settings;
use crate::shape::Shape;
use crate::signature::{Secrets, Signing};
use crate::state::{Shared, State};

/// How many attempts of a delivery are kept.
const ATTEMPTS: usize = 100;

/// Why an attempt is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// The first attempt, or a retry.
    Schedule,
    /// A call of the API. If it fails, no retry follows.
    Redelivery,
    /// A fault sent the delivery once more; how that ends changes nothing.
    Copy,
}

/// An attempt to be made.
struct Due {
    delivery: String,
    reason: Reason,
}

impl Due {
    fn schedule(delivery: String) -> Self {
        let reason = Reason::Schedule;
        Self { delivery, reason }
    }
}

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

/// Records an event and a delivery to each webhook that wants it. Returns the deliveries that are
/// due now.
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
    state.keep_event(Event {
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

/// Makes attempts concurrently, and waits until all have ended.
async fn run(shared: &Arc<Shared>, due: Vec<Due>) {
    let _under_way = shared.under_way();
    let mut attempts = JoinSet::new();
    for due in due {
        // Prepared in order, so that planned faults meet the attempts in order.
        let Some(parcel) = prepare(&mut shared.lock(), &due) else {
            continue;
        };
        if parcel.fault == Some(DeliveryFault::Duplicate) {
            let copy = Due {
                delivery: due.delivery.clone(),
                reason: Reason::Copy,
            };
            attempts.spawn(attempt(Arc::clone(shared), copy, parcel.clone()));
        }
        attempts.spawn(attempt(Arc::clone(shared), due, parcel));
    }
    while attempts.join_next().await.is_some() {}
}

/// Gathers what an attempt needs; `None` if its webhook is gone or inactive by now.
fn prepare(state: &mut State, due: &Due) -> Option<Parcel> {
    let settings = state.settings.clone();
    let place = state.place_of(&due.delivery)?;
    let delivery = state.deliveries.get_mut(place)?;
    let mut webhooks = state.webhooks.iter();
    let webhook = webhooks.find(|webhook| webhook.id == delivery.webhook_id && webhook.active);
    let Some(webhook) = webhook else {
        delivery.status = Status::Failed;
        return None;
    };
    let fault = match due.reason {
        Reason::Copy => None,
        _ => state.delivery_faults.take(&mut state.random),
    };
    let body = match due.reason {
        Reason::Redelivery => envelope::again(&delivery.body, &settings, state.random.uuid()),
        _ => delivery.body.clone(),
    };
    if let Some(DeliveryFault::DuplicateLater(delay)) = fault
        // A clock that never moves must not fill the memory.
        && state.copies.len() < settings.keep
    {
        let at = clock::later(state.clock.now(), delay);
        state.copies.push((at, due.delivery.clone()));
    }
    let foreign = state.random.secret();
    Some(Parcel {
        url: webhook.url.clone(),
        body,
        signing: signing(webhook, fault, foreign, &settings),
        fault,
        timeout: settings.attempt_timeout,
    })
}

fn signing(
    webhook: &Webhook,
    fault: Option<DeliveryFault>,
    foreign: String,
    settings: &Settings,
) -> Signing {
    let previous = webhook.previous.clone();
    Signing {
        secrets: Secrets {
            current: webhook.secret.clone(),
            previous: previous.unwrap_or_else(|| foreign.clone()),
            foreign,
        },
        fault,
        upper_case: settings.has(Shape::UpperCaseHex),
        several: settings.has(Shape::SeveralSignatures),
    }
}

async fn attempt(shared: Arc<Shared>, due: Due, parcel: Parcel) {
    // The semaphore is never closed.
    let _permit = shared.connections.acquire().await;
    let fault = parcel.fault.map(DeliveryFault::name);
    let begun = Instant::now();
    let outcome = sender::send(parcel).await;
    let mut state = shared.lock();
    let at = state.clock.now();
    let attempt = LoggedAttempt {
        at,
        outcome,
        fault,
        took: begun.elapsed(),
    };
    end(&mut state, &due, attempt);
}

/// Logs an attempt, and decides what follows.
fn end(state: &mut State, due: &Due, attempt: LoggedAttempt) {
    state.attempts += 1;
    let Some(place) = state.place_of(&due.delivery) else {
        return;
    };
    let Some(delivery) = state.deliveries.get_mut(place) else {
        return;
    };
    let (at, outcome) = (attempt.at, attempt.outcome);
    delivery.made = delivery.made.saturating_add(1);
    delivery.attempts.push_back(attempt);
    if delivery.attempts.len() > ATTEMPTS {
        delivery.attempts.pop_front();
    }
    match due.reason {
        Reason::Copy => {}
        _ if Outcome::is_success(outcome) => {
            delivery.status = Status::Succeeded;
            delivery.next_at = None;
        }
        Reason::Schedule => {
            delivery.tried += 1;
            let delay = state.settings.retries.delay_after(delivery.tried);
            delivery.next_at = delay.map(|delay| clock::later(at, delay));
            delivery.status = match delay {
                Some(_) => Status::Pending,
                None => Status::Failed,
            };
        }
        // A retry may still be planned.
        Reason::Redelivery if delivery.next_at.is_some() => delivery.status = Status::Pending,
        Reason::Redelivery => delivery.status = Status::Failed,
    }
}
