//! The checks during a run: in quiet no due event waits, and no handler continues without its
//! lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::run::Run;
use super::world::{World, lock};
use crate::accepted::EventState;
use crate::event_order::EventOrder;
use crate::store::fake::{Row, What};
use crate::turn::Queue;

const EVERY: Duration = Duration::from_millis(100);

/// After this much quiet no earlier request is under way: a turn times out after 10 s, and the
/// worker rests for half a second.
pub(super) const SETTLED: Duration = Duration::from_secs(12);

/// How long a request and its answer take, twice, with the time between two looks.
const SLACK: Duration = Duration::from_millis(300);

/// Since when each event may run and does not: by its id, its token and whether it runs under a
/// lease that has expired.
type Since = BTreeMap<(usize, i64, bool), Instant>;

pub(super) async fn watch(run: Arc<Run>) {
    let (mut due, mut undisturbed) = (Since::new(), Since::new());
    loop {
        sleep(EVERY).await;
        let Some(quiet) = *lock(&run.world.quiet) else {
            continue;
        };
        let settled = quiet + SETTLED;
        if Instant::now() < settled {
            continue;
        }
        nothing_due_waits(&run.world, &mut due, &mut undisturbed);
        no_lost_handler_goes_on(&run.world, settled);
    }
}

/// If there is room, an event that may run is taken when a worker looks next; beside suspects it
/// waits for at most one and a half leases.
fn nothing_due_waits(world: &World, since: &mut Since, undisturbed: &mut Since) {
    let rows = world.store.rows();
    let calls = lock(&world.calls);
    let running = calls.iter().filter(|call| call.over.is_none()).count();
    drop(calls);
    let room = running < 2 * world.setup.concurrency;
    let is_suspect = |row: &&Row| row.queue == Queue::Suspect && !row.is_ended();
    let suspects = rows.iter().filter(is_suspect).count();
    for (id, row) in rows.iter().enumerate() {
        // It may have run, or its lease may have been settled, between two looks.
        let place = (id, row.token, row.state == EventState::Running);
        let may_run = room && may_run(world, &rows, id);
        let calm = suspects == 0 && row.state != EventState::Running;
        for (may_run, since, bound) in [
            (may_run, &mut *since, bound(world, row, suspects)),
            (may_run && calm, &mut *undisturbed, world.setup.poll),
        ] {
            if !may_run {
                since.remove(&place);
                continue;
            }
            let waited = since.entry(place).or_insert_with(Instant::now).elapsed();
            if waited > bound + SLACK {
                world.wrong(format!(
                    "(4) event {id} is due and has waited for {waited:?}"
                ));
            }
        }
    }
}

/// How long an event may wait while there are suspects, or after its worker died.
fn bound(world: &World, row: &Row, suspects: usize) -> Duration {
    let lease = world.setup.lease;
    let groups = u32::try_from(suspects).unwrap_or(u32::MAX);
    match (row.state, row.queue) {
        // The next look, half a lease of silence, and the look after it.
        (EventState::Running, _) => lease * 3 / 2,
        // All of the others may come first, one by one, each for as long as its handler may take:
        // it does not begin beside one that runs.
        (_, Queue::Suspect) => (lease * 2 + world.setup.handler_timeout) * groups,
        _ => lease * 3 / 2 + world.setup.poll,
    }
}

/// Whether it waits and is due, with no earlier event before it, or all leases of its worker have
/// expired: a worker dies as a whole, and one of its leases may end later because the clock was set
/// meanwhile.
fn may_run(world: &World, rows: &[Row], id: usize) -> bool {
    let (now, row) = (world.store.now(), &rows[id]);
    match row.state {
        EventState::Running => {
            let of_worker =
                |other: &&Row| other.state == EventState::Running && other.worker == row.worker;
            let mut of_worker = rows.iter().filter(of_worker);
            of_worker.all(|other| other.lease_until < now)
        }
        EventState::Waiting => {
            let of = &row.arrival.labels.resource;
            let in_order = world.store.order() == EventOrder::ByResource && of.is_some();
            // An earlier one, or a later one that runs since this one was replayed.
            let before = |(other, row): (usize, &Row)| {
                let unfinished = other < id && !row.is_ended();
                let blocks = unfinished || row.state == EventState::Running;
                blocks && row.arrival.labels.resource == *of
            };
            row.run_at <= now && !(in_order && rows.iter().enumerate().any(before))
        }
        EventState::Done | EventState::Dead => false,
    }
}

/// A handler whose lease another worker has taken is aborted when the leases are renewed next.
fn no_lost_handler_goes_on(world: &World, settled: Instant) {
    let rows = world.store.rows();
    let bound = world.setup.lease / 3 + SLACK;
    for call in lock(&world.calls).iter().filter(|call| call.over.is_none()) {
        let Some(lease) = call.lease else {
            continue;
        };
        let row = &rows[usize::try_from(lease.id).unwrap()];
        if row.token == lease.token && row.state == EventState::Running {
            continue;
        }
        let lost = world
            .store
            .changes()
            .into_iter()
            .rev()
            .find(|change| change.lease == lease && matches!(change.what, What::Expired(_)));
        let since = lost.map_or(call.began, |change| change.at).max(settled);
        if since.elapsed() > bound {
            let wrong = format!("(2) a handler of {} goes on without its lease", call.key);
            world.wrong(wrong);
        }
    }
}
