//! Deliveries from several senders, and a record of what was acknowledged.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, iter};

use super::Connection;

/// One in this many deliveries is a repetition.
const REPETITIONS: u64 = 8;

/// Numbers that look random, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by `PTOLEMY_INBOX_KILL_SEED`, or by the time; the seed is printed.
    pub(crate) fn new() -> Self {
        let seed = match env::var("PTOLEMY_INBOX_KILL_SEED") {
            Ok(seed) => seed.parse().expect("PTOLEMY_INBOX_KILL_SEED: a number"),
            Err(_) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                since.subsec_nanos().into()
            }
        };
        println!("PTOLEMY_INBOX_KILL_SEED={seed}");
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Milliseconds from one figure to the other.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// The deliveries that were sent, and those that got a 2xx.
#[derive(Debug, Default)]
pub(crate) struct Record {
    events: AtomicU64,
    deliveries: AtomicU64,
    acknowledged: Mutex<HashSet<u64>>,
}

impl Record {
    /// How many events there are.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// How often one was sent, repetitions included.
    pub(crate) fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// The ids of the events that were acknowledged at least once.
    pub(crate) fn acknowledged(&self) -> HashSet<String> {
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.iter().map(|number| id(*number)).collect()
    }

    /// A new event, or now and then one that was sent before, acknowledged or not.
    fn choose(&self, random: &mut Random) -> u64 {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let events = self.events();
        if events > 0 && random.below(REPETITIONS) == 0 {
            random.below(events)
        } else {
            self.events.fetch_add(1, Ordering::Relaxed)
        }
    }
}

fn id(number: u64) -> String {
    format!("evt_{number}")
}

/// Threads that send until they are stopped.
pub(crate) struct Senders {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Senders {
    /// Starts this many; each rests for some time after each delivery.
    pub(crate) fn start(
        count: usize,
        address: SocketAddr,
        record: &Arc<Record>,
        random: &mut Random,
        rest: Duration,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = iter::repeat_with(|| {
            let (stop, record) = (stop.clone(), record.clone());
            let random = Random(random.next());
            thread::spawn(move || send(address, &record, random, rest, &stop))
        });
        Self {
            threads: threads.take(count).collect(),
            stop,
        }
    }

    /// Stops them after their current deliveries.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn send(
    address: SocketAddr,
    record: &Record,
    mut random: Random,
    rest: Duration,
    stop: &AtomicBool,
) {
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            match Connection::open(address) {
                Ok(open) => connection = Some(open),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
            continue;
        };
        let number = record.choose(&mut random);
        match open.post(&id(number)) {
            Ok(200..=299) => {
                record.acknowledged.lock().unwrap().insert(number);
            }
            Ok(503) => {}
            Ok(status) => panic!("{number}: {status}"),
            // It may or may not be in the inbox.
            Err(_) => connection = None,
        }
        thread::sleep(rest);
    }
}
