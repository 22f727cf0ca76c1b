//! The state of a sandbox, behind one lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::call_fault::CallFaults;
use crate::clock::Clock;
use crate::log::Call;
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
    pub(crate) workspace: String,
    pub(crate) tokens: Vec<(String, Role)>,
    pub(crate) quota: u64,
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) deliveries: VecDeque<Delivery>,
    pub(crate) cursors: Cursors,
    pub(crate) call_faults: CallFaults,
    pub(crate) calls: VecDeque<Call>,
    pub(crate) strangers: usize,
    /// Ids of the deliveries that a call asked to send again.
    pub(crate) redeliveries: Vec<String>,
}

impl State {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let workspace = settings
            .workspace
            .clone()
            .unwrap_or_else(|| format!("sandbox-{}", random.hex(8)));
        let token = random.token();
        Self {
            quota: settings.quota,
            settings,
            random,
            clock: Clock::new(),
            workspace,
            tokens: vec![(token, Role::Admin)],
            webhooks: Vec::new(),
            events: VecDeque::new(),
            deliveries: VecDeque::new(),
            cursors: Cursors::default(),
            call_faults: CallFaults::default(),
            calls: VecDeque::new(),
            strangers: 0,
            redeliveries: Vec::new(),
        }
    }

    pub(crate) fn webhook(&self, id: &str) -> Option<&Webhook> {
        self.webhooks.iter().find(|webhook| webhook.id == id)
    }

    pub(crate) fn webhook_mut(&mut self, id: &str) -> Option<&mut Webhook> {
        self.webhooks.iter_mut().find(|webhook| webhook.id == id)
    }

    /// Keeps a call, and drops the oldest one if there are too many.
    pub(crate) fn log_call(&mut self, call: Call) {
        self.calls.push_back(call);
        while self.calls.len() > self.settings.keep {
            self.calls.pop_front();
        }
    }
}

/// A place in a list, which a cursor stands for.
#[derive(Clone)]
pub(crate) struct Place {
    /// The call and its filter: a cursor continues the list that it comes from, and no other.
    pub(crate) list: String,
    /// The id of the last item that was shown; the place by number if that item is gone.
    pub(crate) last: Option<String>,
    pub(crate) offset: usize,
}

/// The cursors that were given out.
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

/// The state and its lock. The lock is never kept across an `await`.
pub(crate) struct Shared(Mutex<State>);

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self(Mutex::new(state))
    }

    /// Locks the state. A panic elsewhere does not make it unusable: every change is complete when
    /// the lock is released.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
