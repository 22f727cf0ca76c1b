//! A simulation of bad days: two processes, each with a real inbox and its worker, share a store in
//! memory while requests and answers are lost or late, the store's clock is set, and processes die
//! and stop. Meanwhile operators replay and discard dead letters, prune, and change the order.
//!
//! A run has one seed. Everything random comes from it, time is Tokio's paused time, and everything
//! runs on one thread, so the same seed gives the same run. A run has three phases: trouble; quiet,
//! in which nothing goes wrong and everything must end in time; and then the checks of everything
//! that was recorded (`checks`). Some properties are checked during the run (`watch`).
//!
//! A seed that fails is printed with the command that runs it alone.

mod checks;
mod client;
mod line;
mod operator;
mod process;
mod run;
mod runner;
mod watch;
mod world;

/// How many seeds are run unless `SIMULATION_SEEDS` says otherwise.
const SEEDS: u64 = 1_000;

#[test]
fn nothing_is_lost_and_all_ends_on_bad_days() {
    let alone = runner::number("SIMULATION_SEED");
    let first = alone.unwrap_or(0);
    let seeds = runner::number("SIMULATION_SEEDS");
    let seeds = seeds.unwrap_or(if alone.is_some() { 1 } else { SEEDS });
    runner::run_seeds(first..first.saturating_add(seeds));
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..runner::number("SIMULATION_SEEDS").map_or(20, |seeds| seeds.min(20)) {
        assert_eq!(
            run::log(&run::run(seed)),
            run::log(&run::run(seed)),
            "seed {seed}"
        );
    }
}
