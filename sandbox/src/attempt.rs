//! Makes the attempts that are due, and decides what follows when they end.
//!
//! An attempt is planned in its turn, waits for a connection, and is made with the URL and the
//! secret that its webhook then has.

use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::clock;
use crate::delivery_fault::DeliveryFault;
use crate::envelope;
use crate::log::{LoggedAttempt, Outcome, Status};
use crate::page::{self, SentAttempt};
use crate::record::Webhook;
use crate::sender::{self, Parcel, Sent};
use crate::settings::Settings;
use crate::shape::Shape;
use crate::signature::{Secrets, Signing};
use crate::state::{Shared, State};

/// How many attempts of a delivery are kept.
const ATTEMPTS: usize = 100;

/// Why an attempt is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The first attempt, or a retry.
    Schedule,
    /// A call of the API. If it fails, nothing changes, and no retry follows.
    Redelivery,
    /// A fault sent the delivery again; the result changes nothing.
    Copy,
}

/// An attempt to be made.
pub(crate) struct Due {
    pub(crate) delivery: String,
    pub(crate) reason: Reason,
}

impl Due {
    pub(crate) fn schedule(delivery: String) -> Self {
        let reason = Reason::Schedule;
        Self { delivery, reason }
    }
}

/// What an attempt takes in its turn, before it waits for a connection.
#[derive(Clone)]
struct Plan {
    fault: Option<DeliveryFault>,
    /// The id of the event, if a redelivery has another one.
    new_id: String,
    /// A secret that the receiver does not have.
    foreign: String,
}

/// Makes attempts concurrently, and waits until all of them have ended.
pub(crate) async fn run(shared: &Arc<Shared>, due: Vec<Due>) {
    let _under_way = shared.under_way();
    let mut attempts = JoinSet::new();
    for due in due {
        // In order, so that planned faults meet the attempts in order.
        let Some(plan) = plan(&mut shared.lock(), &due) else {
            continue;
        };
        if plan.fault == Some(DeliveryFault::Duplicate) {
            let copy = Due {
                delivery: due.delivery.clone(),
                reason: Reason::Copy,
            };
            attempts.spawn(attempt(Arc::clone(shared), copy, plan.clone()));
        }
        attempts.spawn(attempt(Arc::clone(shared), due, plan));
    }
    while let Some(ended) = attempts.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Returns whether an attempt is still to be made. Ends a delivery whose next scheduled attempt has
/// no webhook any more.
fn is_wanted(state: &mut State, due: &Due) -> bool {
    let Some(place) = state.place_of(&due.delivery) else {
        return false;
    };
    let Some(delivery) = state.deliveries.get_mut(place) else {
        return false;
    };
    let mut webhooks = state.webhooks.iter();
    let is_active = webhooks.any(|webhook| webhook.id == delivery.webhook_id && webhook.active);
    match due.reason {
        // It was acknowledged meanwhile: a redelivery came first.
        Reason::Schedule if delivery.status == Status::Succeeded => false,
        Reason::Schedule if !is_active => {
            delivery.status = Status::Failed;
            delivery.next_at = None;
            false
        }
        _ => is_active,
    }
}

/// Takes what an attempt needs from the plans and the random numbers; `None` if it is not made.
fn plan(state: &mut State, due: &Due) -> Option<Plan> {
    if !is_wanted(state, due) {
        return None;
    }
    let fault = match due.reason {
        Reason::Copy => None,
        _ => state.delivery_faults.take(&mut state.random),
    };
    if let Some(DeliveryFault::DuplicateLater(delay)) = fault
        // If the clock never moves, the memory must not fill.
        && state.copies.len() < state.settings.keep
    {
        let at = clock::later(state.clock.now(), delay);
        state.copies.push((at, due.delivery.clone()));
    }
    Some(Plan {
        fault,
        new_id: state.random.uuid(),
        foreign: state.random.secret(),
    })
}

/// Gathers the rest when the attempt is made, so that it has the URL and the secret that the
/// webhook then has; `None` if the attempt is not to be made any more.
fn prepare(state: &mut State, due: &Due, plan: Plan) -> Option<Parcel> {
    if !is_wanted(state, due) {
        return None;
    }
    let delivery = state.deliveries.get(state.place_of(&due.delivery)?)?;
    let webhook = state.webhook(&delivery.webhook_id)?;
    let settings = &state.settings;
    let body = match due.reason {
        Reason::Redelivery => envelope::again(&delivery.body, settings, plan.new_id),
        _ => delivery.body.clone(),
    };
    Some(Parcel {
        url: webhook.url.clone(),
        body,
        signing: signing(webhook, plan.fault, plan.foreign, settings),
        fault: plan.fault,
        timeout: settings.attempt_timeout,
        hosts: settings.hosts,
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
        unknown_keys: settings.has(Shape::UnknownSignatureKeys),
        several: settings.has(Shape::SeveralSignatures),
    }
}

async fn attempt(shared: Arc<Shared>, due: Due, plan: Plan) {
    // The semaphore is never closed.
    let _permit = shared.connections.acquire().await;
    let Some(parcel) = prepare(&mut shared.lock(), &due, plan) else {
        return;
    };
    let fault = parcel.fault.map(DeliveryFault::name);
    let observer = shared.hooks.observer();
    let (sent_at, url) = (OffsetDateTime::now_utc(), parcel.url.clone());
    let begun = Instant::now();
    let mut sent = Sent::default();
    let outcome = sender::send(parcel, &mut sent).await;
    let took = begun.elapsed();
    let webhook_id = {
        let mut state = shared.lock();
        let at = state.clock.now();
        let attempt = LoggedAttempt {
            at,
            outcome,
            fault,
            took,
        };
        end(&mut state, &due, attempt);
        let place = state.place_of(&due.delivery);
        let delivery = place.and_then(|place| state.deliveries.get(place));
        delivery.map(|delivery| delivery.webhook_id.clone())
    };
    if let Some(observer) = observer {
        let answer = match sent.answer {
            Some(answer) => Some(page::beginning(answer).await),
            None => None,
        };
        observer(SentAttempt {
            at: sent_at,
            delivery_id: due.delivery,
            webhook_id: webhook_id.unwrap_or_default(),
            url,
            fault,
            headers: sent.headers,
            body: sent.body,
            outcome,
            took,
            answer,
        });
    }
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
    let keep = state.settings.keep;
    state.journal.push(delivery, attempt.clone(), keep);
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
        // A redelivery was acknowledged meanwhile.
        _ if delivery.status == Status::Succeeded => {}
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
        Reason::Redelivery => {}
    }
}
