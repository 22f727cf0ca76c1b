//! Does the time of a rejection reveal how much of a forged tag is right?
//!
//! After dudect (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017): two
//! classes of forgeries, whose tags differ from the right one in the first byte and in the last
//! byte alone, are verified in random order; Welch's t-test compares the two sets of times. A |t|
//! above 4.5 would mean that the classes can be distinguished. As a control, a comparison that
//! stops at the first difference is measured in the same way, and must be distinguishable.
//!
//! Run it by hand, on an idle machine: `cargo bench --bench timing`

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use ptolemy_webhooks::{Secret, Signer, Verifier};
use time::OffsetDateTime;

const SAMPLES: usize = 1_000_000;
/// Calls for each sample: one call is too short for the clock.
const BATCH: usize = 4;
const LIMIT: f64 = 4.5;
/// The shares of the samples, from the fastest, that are compared; the slowest samples are
/// disturbed by the machine.
const SHARES: [f64; 5] = [1.0, 0.99, 0.95, 0.9, 0.75];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bit(&mut self) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::from((z ^ (z >> 31)) & 1 == 1)
    }
}

/// Returns the times of both classes, measured in random order.
fn measure<T>(inputs: [&str; 2], work: impl Fn(&str) -> T) -> Vec<(usize, f64)> {
    let mut random = Random(2026);
    let warm_up = SAMPLES / 10;
    let mut samples = Vec::with_capacity(SAMPLES);
    for number in 0..SAMPLES + warm_up {
        let class = random.bit();
        let input = inputs[class];
        let begin = Instant::now();
        for _ in 0..BATCH {
            black_box(work(black_box(input)));
        }
        let time = begin.elapsed().as_nanos();
        if number >= warm_up {
            samples.push((class, time as f64));
        }
    }
    samples
}

/// Returns the t of the share for which it is greatest.
fn greatest_t(samples: &mut [(usize, f64)]) -> f64 {
    samples.sort_by(|a, b| a.1.total_cmp(&b.1));
    SHARES
        .map(|share| {
            let count = (samples.len() as f64 * share) as usize;
            // Samples are cut by time, not by rank, so that all samples of one time are in or out.
            let slowest = samples[count - 1].1;
            let taken = || samples.iter().filter(|(_, time)| *time <= slowest);
            welch_t([0, 1].map(|class| Moments::of(taken().filter(|s| s.0 == class).map(|s| s.1))))
        })
        .into_iter()
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
        .unwrap_or_default()
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    /// Welford's algorithm.
    fn of(samples: impl Iterator<Item = f64>) -> Self {
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for sample in samples {
            count += 1.0;
            let delta = sample - mean;
            mean += delta / count;
            squares += delta * (sample - mean);
        }
        Self {
            count,
            mean,
            variance: squares / (count - 1.0),
        }
    }
}

fn welch_t([a, b]: [Moments; 2]) -> f64 {
    (a.mean - b.mean) / (a.variance / a.count + b.variance / b.count).sqrt()
}

fn main() -> ExitCode {
    let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("a time");
    let body = b"sixteen bytes it";
    let secret = || Secret::new("whsec_test_secret").expect("a secret in the documented form");
    let good = Signer::new(&secret()).sign_at(body, now);
    let verifier = Verifier::new(secret());

    let forge = |position: usize| {
        let mut header = good.clone().into_bytes();
        header[position] = if header[position] == b'0' { b'1' } else { b'0' };
        String::from_utf8(header).expect("ASCII")
    };
    let start = good.find("v1=").expect("the header has a v1") + 3;
    let (first, last) = (forge(start), forge(good.len() - 1));
    for forgery in [&first, &last] {
        assert!(verifier.verify_at(forgery, body, now).is_err());
    }
    assert!(verifier.verify_at(&good, body, now).is_ok());

    let early_exit = |header: &str| {
        let pairs = header.bytes().zip(good.bytes()).skip(start);
        pairs
            .take_while(|(a, b)| black_box(a) == black_box(b))
            .count()
    };
    let mut control = measure([&first, &last], early_exit);
    let control = greatest_t(&mut control);
    let mut samples = measure([&first, &last], |header| {
        verifier.verify_at(header, body, now)
    });
    let t = greatest_t(&mut samples);

    println!("{SAMPLES} samples of {BATCH} calls, tags wrong in the first byte and in the last");
    println!("verify                      t = {t:8.2}   (|t| must be below {LIMIT})");
    println!("control, stops when it can  t = {control:8.2}   (|t| must be above {LIMIT})");
    if t.abs() < LIMIT && control.abs() > LIMIT {
        ExitCode::SUCCESS
    } else {
        println!("FAILED: either the times differ, or this machine is too busy to measure them");
        ExitCode::FAILURE
    }
}
