//! One run: the processes, the trouble, the quiet.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::checks;
use super::process::{Process, STOP_SLACK};
use super::watch;
use super::world::{Mark, World, lock};
use crate::accepted::EventState;
use crate::inbox::Inbox;

/// How long quiet may last until everything has ended.
const MAX_QUIET: Duration = Duration::from_secs(3_600);

/// The largest change of the store's clock, in microseconds.
const MAX_JUMP: i64 = 200_000_000;

/// After this much quiet no earlier request is carried out any more: the slowest takes 15 s.
const LATEST_REQUEST: Duration = Duration::from_secs(16);

/// The two places in which processes run, one after the other.
pub(super) struct Run {
    pub(super) world: Arc<World>,
    pub(super) places: [Mutex<Option<Process>>; 2],
    started: Mutex<usize>,
}

/// Runs a seed; returns the final state of the world.
pub(super) fn run(seed: u64) -> Arc<World> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new(seed);
        let run = Arc::new(Run {
            world: world.clone(),
            places: Default::default(),
            started: Mutex::default(),
        });
        run.all().await;
        checks::check(&world);
        world
    })
}

/// What happened in a run, line by line.
pub(super) fn log(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for change in world.store.changes() {
        let at = world.since_start(change.at);
        lines.push(format!("{at:?} {:?} {:?}", change.lease, change.what));
    }
    for call in lock(&world.calls).iter() {
        let (began, over) = (world.since_start(call.began), call.over);
        let over = over.map(|over| world.since_start(over));
        lines.push(format!(
            "{began:?} {over:?} {} {:?} {:?}",
            call.key, call.lease, call.ended
        ));
    }
    lines
}

impl Run {
    async fn all(self: &Arc<Self>) {
        for place in 0..self.places.len() {
            self.start(place);
        }
        let mut clients = JoinSet::new();
        for number in 0..self.world.setup.events {
            clients.spawn(self.clone().client(number));
        }
        let watch = tokio::spawn(watch::watch(self.clone()));
        self.trouble().await;
        *lock(&self.world.quiet) = Some(Instant::now());
        clients.join_all().await;
        self.quiet().await;
        watch.abort();
    }

    /// The inbox of the process that runs in a place.
    pub(super) fn inbox(&self, place: usize) -> Option<Inbox> {
        let process = lock(&self.places[place]);
        process.as_ref().map(|process| process.inbox.clone())
    }

    fn start(&self, place: usize) {
        let number = std::mem::replace(&mut *lock(&self.started), 0);
        *lock(&self.started) = number + 1;
        *lock(&self.places[place]) = Some(Process::start(&self.world, number));
    }

    /// Makes things go wrong for a while; both processes run afterwards.
    async fn trouble(self: &Arc<Self>) {
        let world = &self.world;
        let end = Instant::now() + world.setup.trouble;
        let mut operators = JoinSet::new();
        while Instant::now() < end {
            sleep(world.millis(0..=5_000)).await;
            let place = world.draw(|rng| rng.usize(..2));
            match world.draw(|rng| rng.u32(..14)) {
                0..=5 => {
                    let bad = world.draw(|rng| [0, 0, 10, 30, 60, 100][rng.usize(..6)]);
                    if let Some(process) = &*lock(&self.places[place]) {
                        process.line.bad.store(bad, Relaxed);
                    }
                }
                6 => {
                    let by = world.draw(|rng| rng.i64(-MAX_JUMP..=MAX_JUMP));
                    world.store.set_clock_by(by);
                }
                7..=8 => {
                    let process = lock(&self.places[place]).take();
                    if let Some(process) = process {
                        process.kill();
                    }
                    sleep(world.millis(0..=5_000)).await;
                    self.start(place);
                }
                9 => self.stop(place).await,
                _ => drop(operators.spawn(self.clone().operate(place))),
            }
        }
    }

    /// Stops a process as on a signal, and starts another in its place.
    async fn stop(&self, place: usize) {
        let process = lock(&self.places[place]).take();
        let Some(mut process) = process else {
            return;
        };
        self.world.mark(process.number, Mark::Stopped);
        let stop = process.stop.take();
        if let Some(stop) = stop
            && self.world.chance(20)
        {
            let _ = stop.send(());
        }
        let limit = self.world.setup.shutdown_timeout + STOP_SLACK;
        if let Some(mut worker) = process.worker.take()
            && timeout(limit, &mut worker).await.is_err()
        {
            self.world
                .wrong(format!("a worker did not stop within {limit:?}"));
        }
        if !self.had_trouble(process.number) {
            self.gave_everything_back(&process);
        }
        process.kill();
        self.start(place);
    }

    /// Whether a request of the process went wrong recently.
    fn had_trouble(&self, process: usize) -> bool {
        let late = |at: &Instant| at.elapsed() < Duration::from_secs(30);
        let marks = lock(&self.world.marks);
        let mut own = marks.iter().filter(|(_, of, _)| *of == process);
        own.any(|(at, _, mark)| *mark == Mark::Fault && late(at))
    }

    /// A worker that has stopped must not hold a lease.
    fn gave_everything_back(&self, process: &Process) {
        let taken = process.line.taken();
        let rows = self.world.store.rows();
        for (key, lease) in taken {
            let row = &rows[usize::try_from(lease.id).unwrap()];
            if row.token == lease.token && row.state == EventState::Running {
                self.world
                    .wrong(format!("(3) {key} was not given back at a stop"));
            }
        }
    }

    /// Waits until everything has ended, accepts some more, and waits again.
    async fn quiet(self: &Arc<Self>) {
        self.until_ended().await;
        sleep(LATEST_REQUEST).await;
        let before = self.deaths();
        for number in 0..6 {
            self.accepts_in_time(number).await;
            sleep(self.world.millis(0..=300)).await;
        }
        // By the clock, leases expire while their handlers run: no worker takes the events over.
        let lease = i64::try_from(self.world.setup.lease.as_micros()).unwrap();
        self.world.store.set_clock_by(2 * lease);
        self.until_ended().await;
        // The last answer is under way.
        sleep(Duration::from_secs(1)).await;
        let (before, after) = (before, self.deaths());
        if after.0 - before.0 != after.1 - before.1 {
            let wrong = format!("(5) deaths are not counted once: {before:?}, then {after:?}");
            self.world.wrong(wrong);
        }
    }

    /// How many events are dead, and how many deaths the processes have counted.
    fn deaths(&self) -> (u64, u64) {
        let rows = self.world.store.rows().into_iter();
        let dead = rows.filter(|row| row.state == EventState::Dead).count();
        let places = 0..self.places.len();
        let counted = places.filter_map(|place| Some(self.inbox(place)?.health().events_died));
        (u64::try_from(dead).unwrap_or(u64::MAX), counted.sum())
    }

    async fn until_ended(&self) {
        let ends = async {
            while !self.world.store.has_all_ended() {
                if self.world.found_wrong().is_some() {
                    return;
                }
                sleep(Duration::from_millis(200)).await;
            }
        };
        if timeout(MAX_QUIET, ends).await.is_err() {
            self.world.wrong("(3) an event never ends");
        }
    }
}
