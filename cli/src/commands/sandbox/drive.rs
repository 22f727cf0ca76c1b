//! Emitting by a plan, while the virtual clock of the sandbox follows the host's.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use ptolemy_webhooks::samples::Sample;
use ptolemy_webhooks_sandbox::{Log, Sandbox};

use crate::commands::sandbox::TICK;
use crate::notice;

/// How many events may be on their way for the first time. A round that finds this many is skipped:
/// a slow receiver must not fill the memory.
const MAX_ON_THEIR_WAY: usize = 1_000;

/// The events to emit, and when.
pub(super) struct Plan {
    /// The events of one round.
    pub(super) samples: Vec<Sample>,
    /// The time between two rounds; one round without it.
    pub(super) every: Option<Duration>,
    /// The number of rounds, if it is limited.
    pub(super) count: Option<u64>,
    /// Whether the command ends when all was delivered.
    pub(super) ends: bool,
}

impl Plan {
    fn rounds(&self) -> u64 {
        match (self.every, self.count) {
            (None, _) => 1,
            (Some(_), None) => u64::MAX,
            (Some(_), Some(count)) => count,
        }
    }
}

/// Emits by the plan. Returns the log when all was delivered, if the plan ends then.
pub(super) async fn run(sandbox: &Sandbox, plan: Plan) -> Log {
    let emitting = async {
        emit(sandbox, &plan).await;
        if !plan.ends {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = emitting => {}
        () = follow_the_clock(sandbox) => {}
    }
    // Retries need not be waited for: the virtual clock moves to each.
    sandbox.settle().await
}

/// Emits round after round. A round does not wait for the answers of the one before.
async fn emit(sandbox: &Sandbox, plan: &Plan) {
    let mut left = match plan.samples.is_empty() {
        true => 0,
        false => plan.rounds(),
    };
    let mut ticks = tokio::time::interval(plan.every.unwrap_or(TICK));
    let mut on_their_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick(), if left > 0 => {
                left -= 1;
                if on_their_way.len() + plan.samples.len() > MAX_ON_THEIR_WAY {
                    notice::warning("the receiver is too slow: a round of events was skipped");
                    continue;
                }
                for sample in &plan.samples {
                    on_their_way.push(sandbox.emit(sample.clone()));
                }
            }
            Some(_) = on_their_way.next() => {}
            else => return,
        }
    }
}

/// Repeatedly moves the virtual clock as far as the host's has moved, so that retries become due.
async fn follow_the_clock(sandbox: &Sandbox) {
    let begun = Instant::now();
    let mut moved = Duration::ZERO;
    loop {
        tokio::time::sleep(TICK).await;
        let behind = begun.elapsed().saturating_sub(moved);
        moved += behind;
        sandbox.advance(behind).await;
    }
}
