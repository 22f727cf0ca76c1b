//! The state of a sandbox, behind one lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use tokio::sync::{Semaphore, watch};

use crate::call::Call;
use crate::call_fault::CallFaults;
use crate::clock::Clock;
use crate::delivery_fault::DeliveryFaults;
use crate::log::{Ended, Status};
use crate::page::{Hooks, Journal};
use crate::random::Random;
use crate::record::{Delivery, Event, Webhook};
use crate::role::Role;
use crate::settings::Settings;

/// How many cursors are kept. An older one has expired.
const CURSORS: usize = 1_000;

/// Everything that the API and the deliveries share.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) random: Random,
    pub(crate) clock: Clock,
    /// The slug of the workspace.
    pub(crate) workspace: String,
    pub(crate) workspace_id: String,
    pub(crate) tokens: Vec<(String, Role)>,
    pub(crate) quota: u64,
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) deliveries: VecDeque<Delivery>,
    pub(crate) cursors: Cursors,
    pub(crate) call_faults: CallFaults,
    pub(crate) delivery_faults: DeliveryFaults,
    /// Copies of deliveries that are due later.
    pub(crate) copies: Vec<(OffsetDateTime, String)>,
    /// All attempts since the start.
    pub(crate) attempts: usize,
    pub(crate) journal: Journal,
    /// The deliveries that are no longer kept.
    dropped: Ended,
    pub(crate) calls: VecDeque<Call>,
    pub(crate) strangers: usize,
    /// Ids of the deliveries that a call asked to send again.
    pub(crate) redeliveries: Vec<String>,
    /// How many records were created.
    records: u64,
}

impl State {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let workspace = settings
            .workspace
            .clone()
            .unwrap_or_else(|| format!("sandbox-{}", random.hex(8)));
        let workspace_id = random.uuid();
        let token = random.token();
        Self {
            quota: settings.quota,
            settings,
            random,
            clock: Clock::new(),
            workspace,
            workspace_id,
            tokens: vec![(token, Role::Admin)],
            webhooks: Vec::new(),
            events: VecDeque::new(),
            deliveries: VecDeque::new(),
            cursors: Cursors::default(),
            call_faults: CallFaults::default(),
            delivery_faults: DeliveryFaults::default(),
            copies: Vec::new(),
            attempts: 0,
            journal: Journal::default(),
            dropped: Ended::default(),
            calls: VecDeque::new(),
            strangers: 0,
            redeliveries: Vec::new(),
            records: 0,
        }
    }

    /// Returns the number of a new record.
    pub(crate) fn number(&mut self) -> u64 {
        self.records += 1;
        self.records
    }

    pub(crate) fn webhook(&self, id: &str) -> Option<&Webhook> {
        self.webhooks.iter().find(|webhook| webhook.id == id)
    }

    pub(crate) fn webhook_mut(&mut self, id: &str) -> Option<&mut Webhook> {
        self.webhooks.iter_mut().find(|webhook| webhook.id == id)
    }

    /// Keeps an event, and drops the oldest one if there are too many.
    pub(crate) fn keep_event(&mut self, event: Event) {
        self.events.push_back(event);
        while self.events.len() > self.settings.keep {
            self.events.pop_front();
        }
    }

    /// Keeps a delivery, and drops one if there are too many: the oldest one that is not pending,
    /// or the oldest one if all are.
    pub(crate) fn keep_delivery(&mut self, delivery: Delivery) {
        self.deliveries.push_back(delivery);
        while self.deliveries.len() > self.settings.keep {
            let mut deliveries = self.deliveries.iter();
            let finished = deliveries.position(|delivery| delivery.status != Status::Pending);
            if let Some(dropped) = self.deliveries.remove(finished.unwrap_or(0)) {
                self.dropped.count(dropped.status);
            }
        }
    }

    /// Counts the deliveries that have ended since the start.
    pub(crate) fn ended(&self) -> Ended {
        let mut ended = self.dropped;
        let kept = self.deliveries.iter().map(|delivery| delivery.status);
        for status in kept.filter(|status| *status != Status::Pending) {
            ended.count(status);
        }
        ended
    }

    /// Returns the position of a delivery, searching the latest ones first.
    pub(crate) fn place_of(&self, delivery_id: &str) -> Option<usize> {
        self.deliveries
            .iter()
            .rposition(|delivery| delivery.id == delivery_id)
    }

    /// Keeps a call, and drops the oldest one if there are too many.
    pub(crate) fn log_call(&mut self, call: Call) {
        self.calls.push_back(call);
        while self.calls.len() > self.settings.keep {
            self.calls.pop_front();
        }
    }
}

/// The place in a list that a cursor refers to.
#[derive(Clone)]
pub(crate) struct Place {
    /// The hash of the call and its filter: a cursor continues only the list that it comes from. It
    /// is a hash because a filter can be long.
    pub(crate) list: u64,
    /// The number of the last record that was shown, which no other record has, although ids can
    /// repeat.
    pub(crate) last: Option<u64>,
    /// Where the page begins if that record no longer exists.
    pub(crate) offset: usize,
}

/// The cursors that were issued.
#[derive(Default)]
pub(crate) struct Cursors {
    places: BTreeMap<u64, (String, Place)>,
    next: u64,
}

impl Cursors {
    pub(crate) fn give(&mut self, text: String, place: Place) {
        self.places.insert(self.next, (text, place));
        self.next += 1;
        while self.places.len() > CURSORS {
            self.places.pop_first();
        }
    }

    pub(crate) fn find(&self, text: &str) -> Option<Place> {
        let mut places = self.places.values();
        places
            .find(|(known, _)| known == text)
            .map(|(_, place)| place.clone())
    }

    pub(crate) fn expire(&mut self) {
        self.places.clear();
    }
}

/// How many attempts are made at the same time.
const CONNECTIONS: usize = 64;

/// The state and its lock, and the events that tasks wait for. The lock is never kept across an
/// `await`.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Whose turn it is to move the clock.
    pub(crate) turn: tokio::sync::Mutex<()>,
    pub(crate) connections: Semaphore,
    pub(crate) hooks: Hooks,
    /// How many runs of attempts are under way.
    runs: watch::Sender<usize>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::new(()),
            connections: Semaphore::new(CONNECTIONS),
            hooks: Hooks::default(),
            runs: watch::Sender::new(0),
        }
    }

    /// Locks the state. A panic elsewhere does not make it unusable: every change is complete when
    /// the lock is released.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that attempts are under way until the guard is dropped.
    pub(crate) fn under_way(self: &Arc<Self>) -> UnderWay {
        self.runs.send_modify(|runs| *runs += 1);
        UnderWay(Arc::clone(self))
    }

    /// Waits until no attempt is under way.
    pub(crate) async fn idle(&self) {
        // Fails only without a sender, which is `self`.
        let _ = self.runs.subscribe().wait_for(|runs| *runs == 0).await;
    }
}

/// Attempts are under way.
pub(crate) struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.runs.send_modify(|runs| *runs -= 1);
    }
}
