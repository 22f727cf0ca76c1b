//! Contenders that are timed in turn, so that other load on the machine falls on all of them.

use std::time::{Duration, Instant};

pub const ROUNDS: usize = 301;
/// How long a contender is timed in each round.
const SLICE: Duration = Duration::from_micros(400);

pub struct Contender<'a> {
    pub name: &'static str,
    work: Box<dyn Fn() + 'a>,
    batch: u32,
    pub times: Vec<f64>,
}

impl<'a> Contender<'a> {
    pub fn new(name: &'static str, work: impl Fn() + 'a) -> Self {
        let mut contender = Self {
            name,
            work: Box::new(work),
            batch: 1,
            times: Vec::with_capacity(ROUNDS),
        };
        while contender.time() * f64::from(contender.batch) < SLICE.as_secs_f64() {
            contender.batch *= 2;
        }
        contender
    }

    /// Returns the time of one call, in seconds.
    fn time(&self) -> f64 {
        let begin = Instant::now();
        for _ in 0..self.batch {
            (self.work)();
        }
        begin.elapsed().as_secs_f64() / f64::from(self.batch)
    }
}

pub fn run(contenders: &mut [Contender<'_>]) {
    for _ in 0..ROUNDS {
        for contender in &mut *contenders {
            let time = contender.time();
            contender.times.push(time);
        }
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn find<'s>(contenders: &'s [Contender<'_>], name: &str) -> &'s [f64] {
    let contender = contenders.iter().find(|contender| contender.name == name);
    &contender
        .unwrap_or_else(|| panic!("no contender {name}"))
        .times
}

pub fn ratio(contenders: &[Contender<'_>], a: &str, b: &str) -> f64 {
    let (a, b) = (find(contenders, a), find(contenders, b));
    median(a.iter().zip(b).map(|(a, b)| a / b).collect())
}
