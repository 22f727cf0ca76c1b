//! Runs seeds, on all processors, and says which of them fail.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::run::run;
use super::world::lock;
use crate::store::fake::What;

/// How long a run may take in real time; it takes less than a tenth of a second.
const STUCK: Duration = Duration::from_secs(30);

/// After this many failed seeds no more are run.
const MAX_FAILED: usize = 3;

const OPERATED: [What; 3] = [What::Replayed, What::Discarded, What::Pruned];

/// The results of the seeds that have been run.
#[derive(Default)]
struct Sum {
    /// The seed that each thread runs, and since when.
    at_work: BTreeMap<u64, std::time::Instant>,
    events: usize,
    calls: usize,
    /// Rows that were replayed, discarded and pruned.
    operated: [usize; 3],
    failed: Vec<(u64, String)>,
}

/// Runs seeds one after the other; a few that fail are enough.
fn run_all(seeds: impl Iterator<Item = u64>, sum: &Mutex<Sum>) {
    for seed in seeds {
        let began = std::time::Instant::now();
        lock(sum).at_work.insert(seed, began);
        let world = run(seed);
        let mut sum = lock(sum);
        sum.at_work.remove(&seed);
        sum.events += world.store.rows().len();
        sum.calls += lock(&world.calls).len();
        let changes = world.store.changes();
        for (sum, what) in sum.operated.iter_mut().zip(OPERATED) {
            *sum += changes.iter().filter(|change| change.what == what).count();
        }
        if let Some(wrong) = world.found_wrong() {
            let text = format!("{wrong}\n    {:?}", world.setup);
            sum.failed.push((seed, text));
        }
        if sum.failed.len() >= MAX_FAILED {
            break;
        }
    }
}

/// Waits for the threads. A loop that spins lets no time pass, and so its run never ends.
fn wait<T>(threads: &[std::thread::JoinHandle<T>], sum: &Mutex<Sum>) {
    while threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(50));
        let mut sum = lock(sum);
        let stuck = sum
            .at_work
            .iter()
            .find(|(_, began)| began.elapsed() > STUCK);
        if let Some(seed) = stuck.map(|(seed, _)| *seed) {
            let wrong = format!("it does not end within {STUCK:?} of real time");
            sum.failed.push((seed, wrong));
            return;
        }
    }
}

/// Runs seeds; panics if one fails.
pub(super) fn run_seeds(seeds: Range<u64>) {
    let parts = std::thread::available_parallelism().map_or(1, usize::from);
    let sum = Arc::new(Mutex::new(Sum::default()));
    let threads = (0..parts).map(|part| {
        let (seeds, sum) = (seeds.clone().skip(part).step_by(parts), sum.clone());
        std::thread::spawn(move || run_all(seeds, &sum))
    });
    let threads: Vec<_> = threads.collect();
    wait(&threads, &sum);
    let mut sum = lock(&sum);
    let Sum {
        events,
        calls,
        operated: [replayed, discarded, pruned],
        ..
    } = *sum;
    let ran = seeds.end - seeds.start;
    println!("{ran} seeds, {events} events, {calls} calls of handlers");
    println!("{replayed} events replayed, {discarded} discarded, {pruned} pruned");
    sum.failed.sort();
    // A seed in which the simulation itself panicked is still at work.
    let stopped: Vec<_> = sum.at_work.keys().collect();
    for (seed, wrong) in &sum.failed {
        println!("seed {seed}: {wrong}");
        println!(
            "    SIMULATION_SEED={seed} cargo test -p ptolemy-webhooks-inbox --lib simulation"
        );
    }
    let failed = sum.failed.len();
    assert!(
        failed == 0 && stopped.is_empty(),
        "{failed} seeds failed, and {stopped:?} stopped"
    );
}

/// Reads a number from the environment.
pub(super) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .expect("a seed or a number of seeds is a number"),
    )
}
