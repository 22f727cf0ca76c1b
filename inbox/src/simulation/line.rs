//! The line between a process and the store, on which requests and answers are late or lost.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::world::{Mark, World, lock};
use crate::accepted::Accepted;
use crate::arrival::Arrival;
use crate::dead::DeadLetter;
use crate::error::BoxError;
use crate::event_order::EventOrder;
use crate::stats::Stats;
use crate::store::fake::FakeStore;
use crate::store::{Answer, Ids, Pruning, Store};
use crate::turn::{Lease, Turn, Turned, Upkeep};

/// What goes wrong with a request.
enum Fault {
    /// It is not carried out; the answer is an error or never arrives.
    Lost,
    /// It is carried out; the answer is an error or never arrives.
    Forgotten,
    /// It is carried out after this time, even if nobody waits for it, and the answer never
    /// arrives.
    Late(Duration),
    /// It is carried out after this time, unless the caller times out before.
    Slow(Duration),
}

pub(super) struct Line {
    world: Arc<World>,
    process: usize,
    /// How many of a hundred requests go wrong.
    pub(super) bad: AtomicU32,
    /// The process is dead: nothing reaches the store, and no answer arrives.
    cut: AtomicBool,
    /// The lease under which this process took an event last.
    taken: Mutex<BTreeMap<String, Lease>>,
}

impl Line {
    pub(super) fn new(world: Arc<World>, process: usize) -> Self {
        Self {
            world,
            process,
            bad: AtomicU32::new(0),
            cut: AtomicBool::new(false),
            taken: Mutex::default(),
        }
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.world.mark(self.process, Mark::Cut);
    }

    pub(super) fn lease(&self, key: &str) -> Option<Lease> {
        lock(&self.taken).get(key).copied()
    }

    /// The events that this process took last.
    pub(super) fn taken(&self) -> BTreeMap<String, Lease> {
        lock(&self.taken).clone()
    }

    fn fault(&self) -> Option<Fault> {
        let world = &self.world;
        if world.is_quiet() || !world.chance(self.bad.load(Relaxed)) {
            return None;
        }
        world.mark(self.process, Mark::Fault);
        Some(match world.draw(|rng| rng.u32(..8)) {
            0..=2 => Fault::Lost,
            3..=5 => Fault::Forgotten,
            6 => Fault::Late(world.millis(0..=15_000)),
            _ => Fault::Slow(world.millis(100..=12_000)),
        })
    }

    async fn travel(&self) {
        sleep(self.world.millis(0..=20)).await;
        if self.cut.load(Relaxed) {
            pending().await
        }
    }

    async fn error_or_nothing<T>(&self) -> Result<T, BoxError> {
        if self.world.chance(50) {
            pending().await
        }
        self.travel().await;
        Err("the line is broken".into())
    }

    async fn request<T>(
        &self,
        carry_out: impl FnOnce(&FakeStore) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, BoxError> {
        let fault = self.fault();
        self.travel().await;
        match fault {
            Some(Fault::Lost) => return self.error_or_nothing().await,
            Some(Fault::Forgotten) => {
                let _ = carry_out(&self.world.store);
                return self.error_or_nothing().await;
            }
            Some(Fault::Late(delay)) => {
                let world = self.world.clone();
                tokio::spawn(async move {
                    sleep(delay).await;
                    let _ = carry_out(&world.store);
                });
                return self.error_or_nothing().await;
            }
            Some(Fault::Slow(delay)) => {
                sleep(delay).await;
                self.travel().await;
            }
            None => {}
        }
        let answer = carry_out(&self.world.store);
        self.travel().await;
        answer
    }
}

impl Store for Line {
    fn insert<'a>(&'a self, arrivals: &'a [Arrival]) -> Answer<'a, Vec<Accepted>> {
        let arrivals = arrivals.to_vec();
        if !self.world.is_quiet() && self.world.chance(2) {
            self.world.mark(self.process, Mark::Fault);
            resume_unwind(Box::new("the store panics"));
        }
        Box::pin(self.request(move |store| store.insert_all(&arrivals)))
    }

    fn may_be_of_one(&self, error: &(dyn Error + 'static)) -> bool {
        self.world.store.may_be_of_one(error)
    }

    fn turn<'a>(&'a self, turn: Turn<'a>) -> Answer<'a, Turned> {
        let (settle, renew) = (turn.settle.to_vec(), turn.renew.to_vec());
        let (worker, take, lease, retry) = (turn.worker, turn.take, turn.lease, *turn.retry);
        let upkeep = turn
            .upkeep
            .map(|upkeep| (upkeep.held.to_vec(), upkeep.silent.to_vec(), upkeep.mends));
        let kept_out = !self.world.is_quiet() && self.world.chance(5);
        let carry_out = move |store: &FakeStore| {
            let upkeep = upkeep.as_ref();
            let turn = Turn {
                worker,
                settle: &settle,
                renew: &renew,
                take,
                upkeep: upkeep.map(|(held, silent, mends)| Upkeep {
                    held,
                    silent,
                    mends: *mends,
                }),
                lease,
                retry: &retry,
            };
            store.take(&turn, kept_out)
        };
        Box::pin(async move {
            if !self.world.is_quiet() && self.world.chance(2) {
                self.world.mark(self.process, Mark::Fault);
                resume_unwind(Box::new("the store panics"));
            }
            let asked = Instant::now();
            let turned = self.request(carry_out).await?;
            let mut taken = lock(&self.taken);
            for claim in &turned.claims {
                taken.insert(claim.key.clone(), claim.lease);
            }
            self.world.mark(self.process, Mark::Turned { asked });
            Ok(turned)
        })
    }

    fn ready(&self) -> Answer<'_, ()> {
        self.world.store.ready()
    }

    fn stats(&self) -> Answer<'_, Stats> {
        self.world.store.stats()
    }

    fn dead(&self, ids: Ids, limit: u32) -> Answer<'_, Vec<DeadLetter>> {
        Box::pin(self.request(move |store| Ok(store.list_dead(ids, limit))))
    }

    fn dead_body(&self, id: i64) -> Answer<'_, Option<Bytes>> {
        self.world.store.dead_body(id)
    }

    fn replay(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(self.request(move |store| Ok(store.replay_some(ids))))
    }

    fn discard(&self, ids: Ids) -> Answer<'_, Vec<i64>> {
        Box::pin(self.request(move |store| Ok(store.discard_some(ids))))
    }

    fn prune(&self, older_than: Duration) -> Answer<'_, u64> {
        Box::pin(self.request(move |store| Ok(store.prune_some(older_than))))
    }

    fn prune_as_one(&self, older_than: Duration, turn: Pruning) -> Answer<'_, Option<u64>> {
        Box::pin(self.request(move |store| Ok(store.prune_if_due(older_than, turn))))
    }

    fn order(&self) -> Answer<'_, EventOrder> {
        Box::pin(self.request(|store| Ok(store.order())))
    }

    fn set_order(&self, order: EventOrder) -> Answer<'_, Option<EventOrder>> {
        Box::pin(self.request(move |store| Ok(store.write_order(order))))
    }
}
