//! The library's allocations, and the bytes that it leaves in freed memory.
//!
//! It is its own binary because it watches every allocation of the process. It counts by thread, so
//! that allocations of the test harness are left out.

#[cfg(feature = "samples")]
mod hostile;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::hint::black_box;
use std::process::Command;

use ptolemy_webhooks::{Event, Intake, Secret, SecretErrorKind, Signer, Verifier};
use sha2::block_api::compress256;
use time::macros::datetime;

/// The text that freed memory is searched for. It is in lower case, so that a lower-case copy is
/// found too.
const NEEDLE: &str = "sentinel_0123456789abcdef";
const SECRET: &str = "whsec_sentinel_0123456789abcdef";

/// The initial state of SHA-256, FIPS 180-4 section 5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes allocated and not yet freed, and their maximum.
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static SEARCHING: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
    /// The keyed states that HMAC derives from [`SECRET`]: anyone who has them could sign. Freed
    /// memory is searched for them too.
    static KEYED_STATES: Cell<[[u8; 32]; 2]> = const { Cell::new([[0; 32]; 2]) };
}

/// The state of SHA-256 after the secret's first block, RFC 2104 section 2, as it lies in memory.
fn keyed_state(pad: u8) -> [u8; 32] {
    let mut block = [pad; 64];
    for (byte, key) in block.iter_mut().zip(SECRET.bytes()) {
        *byte ^= key;
    }
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

struct Watch;

// SAFETY: every call is forwarded to `System`; a block is read only before it is freed.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = HELD.try_with(|held| {
            held.set(held.get().wrapping_add(layout.size()));
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
        });
        // SAFETY: the caller upholds the contract of `System`. The block is zeroed, so that all of
        // it may be read when it is freed.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if SEARCHING.try_with(Cell::get).unwrap_or(false) {
            // SAFETY: the block is allocated, initialised and not yet freed.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|bytes| bytes == needle);
            let states = KEYED_STATES.try_with(Cell::get).unwrap_or_default();
            if holds(NEEDLE.as_bytes()) || states.iter().any(|state| holds(state)) {
                let _ = FOUND.try_with(|count| count.set(count.get() + 1));
            }
        }
        // Wrapping, since a block may come from another thread.
        let _ = HELD.try_with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: the caller keeps the contract of `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static WATCH: Watch = Watch;

fn allocations<T>(work: impl FnOnce() -> T) -> usize {
    let before = ALLOCATIONS.get();
    black_box(work());
    ALLOCATIONS.get() - before
}

/// Returns how many bytes the result of `work` keeps allocated, and the peak while it was made.
fn memory<T>(work: impl FnOnce() -> T) -> (usize, usize) {
    // Start away from zero, so that nothing wraps while it is compared.
    HELD.set(usize::MAX / 2);
    PEAK.set(usize::MAX / 2);
    let result = black_box(work());
    let (held, peak) = (HELD.get(), PEAK.get());
    drop(result);
    (held - usize::MAX / 2, peak - usize::MAX / 2)
}

/// Returns how many blocks still contained the secret or its keyed states when `work` freed them.
fn leaks<T>(work: impl FnOnce() -> T) -> usize {
    KEYED_STATES.set([keyed_state(0x36), keyed_state(0x5c)]);
    FOUND.set(0);
    SEARCHING.set(true);
    drop(black_box(work()));
    SEARCHING.set(false);
    FOUND.get()
}

/// Returns how many copies of the keyed states `work` left on the stack.
#[cfg(target_os = "linux")]
fn left_on_the_stack(mut work: impl FnMut() + Send) -> usize {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    const SEARCHED: usize = 256 * 1024;

    /// Runs `work` far below the frames of its caller, which then reads what is left there.
    #[inline(never)]
    fn below(work: &mut dyn FnMut()) {
        let mut gap = [0_u8; 8192];
        black_box(&mut gap);
        black_box(work)();
        black_box(&mut gap);
    }

    #[inline(never)]
    fn clear() {
        black_box(&mut [0_u8; SEARCHED]);
    }

    let search = move || {
        // The stack of an earlier thread may be reused.
        clear();
        below(&mut work);
        let here = 0_u8;
        let end = (&raw const here).addr();
        let mut stack = vec![0; SEARCHED];
        let start = u64::try_from(end - SEARCHED).unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut stack, start).unwrap();
        stack
    };
    let stack = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(4 * SEARCHED);
        thread.spawn_scoped(scope, search).unwrap().join().unwrap()
    });
    let states = [keyed_state(0x36), keyed_state(0x5c)];
    stack
        .windows(32)
        .filter(|bytes| states.iter().any(|state| state == bytes))
        .count()
}

#[test]
fn the_measurements_find_what_they_look_for() {
    assert_eq!(allocations(|| Box::new(1)), 1);
    assert_eq!(allocations(|| 1), 0);
    assert_eq!(memory(|| Vec::<u8>::with_capacity(100)), (100, 100));
    assert_eq!(memory(|| drop(Vec::<u8>::with_capacity(100))), (0, 100));
    assert_eq!(leaks(|| SECRET.to_owned()), 1);
    assert_eq!(leaks(|| "another".to_owned()), 0);
    for pad in [0x36, 0x5c] {
        let state = keyed_state(pad);
        assert_eq!(leaks(|| [&[1], &state[..]].concat()), 1);
    }
    // Growing frees the smaller block.
    let grow = || {
        let mut text = SECRET.to_owned();
        text.reserve(1_000_000);
        text
    };
    assert_eq!(leaks(grow), 2);
}

#[test]
fn verify_does_not_allocate() {
    let now = datetime!(2026-04-15 09:00 UTC);
    let secret = |text| Secret::new(text).unwrap();
    let one = Verifier::new(secret("whsec_first"));
    let two = Verifier::new(secret("whsec_first")).with_previous(secret("whsec_second"));
    for length in [0, 1, 1_000, 1_000_000] {
        let body = vec![b'x'; length];
        let good = Signer::new(&secret("whsec_second")).sign_at(&body, now);
        let many = format!("{good},{}", ["v1=00"; 15].join(","));
        for header in [good.as_str(), &many, "", "t=1", "t=1,v1=0", "x"] {
            for verifier in [&one, &two] {
                assert_eq!(allocations(|| verifier.verify_at(header, &body, now)), 0);
                assert_eq!(allocations(|| verifier.verify(header, &body)), 0);
            }
        }
        assert!(two.verify_at(&many, &body, now).is_ok());
        assert!(one.verify_at(&many, &body, now).is_err());
    }
}

/// Returns `Bytes` that were shared before: the first clone of other `Bytes` allocates their
/// reference count.
fn shared(bytes: impl Into<bytes::Bytes>) -> bytes::Bytes {
    let bytes = bytes.into();
    drop(bytes.clone());
    bytes
}

#[cfg(feature = "samples")]
#[test]
fn decoding_allocates_less_than_a_value_does() {
    for sample in ptolemy_webhooks::samples::all() {
        let event_type = sample.event_type();
        let body = shared(sample);
        let event = allocations(|| Event::from_trusted_json(body.clone()).unwrap());
        let value = allocations(|| serde_json::from_slice::<serde_json::Value>(&body).unwrap());
        println!("{event_type}: {event} allocations, as a Value {value}");
        assert!(event < value, "{event_type}: {event}, as a Value {value}");
    }
}

#[test]
fn an_unknown_event_costs_four_allocations() {
    // The data is cut out and kept. The four allocations are the type, the id, the workspace, and
    // serde_json's stack for nested values.
    let body = bytes::Bytes::from_static(
        br#"{"id":"e1","event_type":"robot.created","workspace_id":"w1","data":{"a":[1,{"b":"c"}]}}"#,
    );
    assert_eq!(
        allocations(|| Event::from_trusted_json(body.clone()).unwrap()),
        4
    );
}

/// For each resource, how many bytes an event may keep at most for each byte of its body, and how
/// many while it is decoded. Both include the body. `Event` documents them.
#[cfg(feature = "samples")]
const FACTORS: &[(&str, f64, f64)] = &[
    ("instrument", 10.6, 10.6),
    ("market", 10.6, 10.6),
    ("market_listing", 3.1, 3.1),
    ("market_listing_suspension", 3.1, 3.1),
    ("time_series_value", 3.1, 3.1),
    ("composite_time_series_value", 11.7, 11.7),
    ("webhook", 3.1, 4.2),
    ("membership", 3.1, 3.1),
];

#[cfg(feature = "samples")]
#[test]
fn an_event_takes_a_bounded_multiple_of_its_body() {
    let long = hostile::worst(1 << 20);
    let short = [hostile::worst(1 << 16), hostile::others(1 << 16)].concat();
    for &(resource, most_held, most_peak) in FACTORS {
        let mut worst = [(0.0, String::new()), (0.0, String::new())];
        let mut bodies = hostile::bodies(resource, &short, |_| true);
        bodies.extend(hostile::bodies(resource, &long, |sample| {
            sample.starts_with(['{', '['])
        }));
        for (what, body) in bodies {
            let (held, peak) = memory(|| {
                let body = bytes::Bytes::copy_from_slice(body.as_bytes());
                Event::from_trusted_json(body).unwrap()
            });
            let factors = [held, peak].map(|bytes| bytes as f64 / body.len() as f64);
            for (worst, factor) in worst.iter_mut().zip(factors) {
                if factor > worst.0 {
                    *worst = (factor, format!("{what}, {} bytes", body.len()));
                }
            }
        }
        let [held, peak] = worst;
        println!("{resource}: keeps {held:.2?}, at most {peak:.2?}");
        assert!(held.0 <= most_held && peak.0 <= most_peak, "{resource}");
        // A bound that no input comes near would show nothing.
        assert!(
            held.0 >= most_held - 0.2 && peak.0 >= most_peak - 0.2,
            "{resource}"
        );
    }
}

#[test]
fn a_delivery_does_not_copy_its_body() {
    let verifier = Verifier::new(Secret::new(SECRET).unwrap());
    let body = shared(vec![b'x'; 100_000]);
    let header = Signer::new(&Secret::new(SECRET).unwrap()).sign(&body);
    assert_eq!(
        allocations(|| verifier.receive(&header, body.clone()).unwrap()),
        0
    );
}

/// With the feature `metrics` too, and a recorder that allocates nothing.
#[test]
fn an_accepted_delivery_allocates_the_same_with_metrics_and_a_rejected_one_once_more() {
    let now = datetime!(2026-04-15 09:30 UTC);
    let secret = Secret::new(SECRET).unwrap();
    let header = Signer::new(&secret).sign_at(b"a body", now);
    let verifier = Verifier::new(secret);
    let receive = |body: &'static str| {
        let mut intake = Intake::begin_at(&verifier, [&header], Some(6), now).unwrap();
        intake.push(body).unwrap();
        intake.finish()
    };
    let counted = || {
        let accepted = allocations(|| receive("a body").unwrap());
        let mismatch = allocations(|| receive("another").unwrap_err());
        let missing = allocations(|| Intake::begin(&verifier, [""; 0], None).unwrap_err());
        [accepted, mismatch, missing]
    };
    let once_more = usize::from(cfg!(feature = "metrics"));
    let expected = [3, 3 + once_more, once_more];
    assert_eq!(counted(), expected, "without a recorder");
    #[cfg(feature = "metrics")]
    {
        let recorder = metered::Recorder::default();
        let counted = metrics::with_local_recorder(&recorder, || {
            counted();
            counted()
        });
        assert_eq!(counted, expected, "with a recorder");
        assert_eq!(recorder.counted(), 2 * (2 + 1 + 1));
    }
}

#[cfg(feature = "metrics")]
mod metered {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

    /// Adds all counters together.
    #[derive(Default)]
    pub(super) struct Recorder(Arc<AtomicU64>);

    impl Recorder {
        pub(super) fn counted(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl metrics::Recorder for Recorder {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.0.clone())
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
}

#[test]
fn a_secret_is_wiped_when_it_is_dropped() {
    assert_eq!(leaks(|| Secret::new(SECRET).unwrap()), 0);
    assert_eq!(leaks(|| Secret::new(SECRET.to_owned()).unwrap()), 0);
    assert_eq!(leaks(|| Secret::from_bytes(SECRET).unwrap()), 0);
    let with_room = || {
        let mut text = String::with_capacity(1000);
        text.push_str(SECRET);
        Secret::new(text).unwrap()
    };
    assert_eq!(leaks(with_room), 0);
    let in_use = || {
        let signer = Signer::new(&Secret::new(SECRET).unwrap());
        let verifier = Verifier::new(Secret::new(SECRET).unwrap());
        let verified = verifier.verify(signer.sign(b"body"), b"body");
        verifier.replace_secrets(Secret::new(SECRET).unwrap(), []);
        (
            verified.unwrap(),
            verifier.with_previous(Secret::new(SECRET).unwrap()),
            signer,
        )
    };
    assert_eq!(leaks(in_use), 0);
}

#[test]
fn the_keyed_states_are_those_that_sign() {
    // RFC 2104: H(outer block, H(inner block, message)), continued from the states looked for.
    let state = |pad| {
        let bytes = keyed_state(pad);
        let mut words = bytes.chunks_exact(4);
        std::array::from_fn(|_| u32::from_ne_bytes(words.next().unwrap().try_into().unwrap()))
    };
    let finish = |mut state: [u32; 8], message: &[u8]| {
        let mut block = [0; 64];
        block[..message.len()].copy_from_slice(message);
        block[message.len()] = 0x80;
        let bits = (64 + message.len()) as u64 * 8;
        block[56..].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut state, &[block]);
        state.map(u32::to_be_bytes).concat()
    };
    let tag = finish(state(0x5c), &finish(state(0x36), b"1776243600.body"));
    let signer = Signer::new(&Secret::new(SECRET).unwrap());
    let header = signer.sign_at(b"body", datetime!(2026-04-15 09:00 UTC));
    assert_eq!(header, format!("t=1776243600,v1={}", hex::encode(tag)));
}

#[test]
fn the_keyed_states_are_wiped_wherever_they_were() {
    let secret = || Secret::new(SECRET).unwrap();
    let other = || Verifier::new(Secret::new("whsec_other").unwrap());
    let header = Signer::new(&secret()).sign(&[b'x'; 1000]);

    assert_eq!(leaks(|| Box::new(Signer::new(&secret()))), 0);
    assert_eq!(leaks(|| Verifier::new(secret())), 0);
    assert_eq!(leaks(|| Verifier::new(secret()).clone()), 0);
    assert_eq!(
        leaks(|| other().with_previous(secret()).with_previous(secret())),
        0
    );
    for also in [0, 1, 8, 9] {
        assert_eq!(
            leaks(|| other().replace_secrets(secret(), (0..also).map(|_| secret()))),
            0
        );
        // An iterator that does not report its length.
        let filtered = || (0..also).filter(|_| true).map(|_| secret());
        assert_eq!(leaks(|| other().replace_secrets(secret(), filtered())), 0);
    }
    let verifier = Verifier::new(secret()).with_previous(secret());
    assert_eq!(
        leaks(|| verifier.verify(&header, &[b'x'; 1000]).unwrap()),
        0
    );
    assert_eq!(leaks(|| verifier.begin(&header).unwrap()), 0);
    let abandoned = || {
        let mut verification = verifier.begin(&header).unwrap();
        verification.update(&[b'x'; 10]);
        verification
    };
    assert_eq!(leaks(abandoned), 0);
    let whole = || {
        let mut verification = verifier.begin(&header).unwrap();
        verification.update(&[b'x'; 1000]);
        verification.finish().unwrap()
    };
    assert_eq!(leaks(whole), 0);
    let intake = || {
        let mut intake = Intake::begin(&verifier, [&header], Some(1000)).unwrap();
        intake.push(&[b'x'; 500][..]).unwrap();
        intake.push(&[b'x'; 500][..]).unwrap();
        intake.finish().unwrap()
    };
    assert_eq!(leaks(intake), 0);
    let too_long = || {
        let small = verifier.clone().with_body_limit(10);
        let mut intake = Intake::begin(&small, [&header], None).unwrap();
        intake.push(&[b'x'; 11][..]).unwrap_err();
        intake
    };
    assert_eq!(leaks(too_long), 0);
}

/// Bytes left there would be moved into the next future that is boxed.
#[cfg(target_os = "linux")]
#[test]
fn no_keyed_state_is_left_on_the_stack() {
    let state = keyed_state(0x5c);
    let copy = || {
        black_box(&mut [state; 8]);
    };
    assert_ne!(left_on_the_stack(copy), 0);

    let secret = || Secret::new(SECRET).unwrap();
    let header = Signer::new(&secret()).sign(&[b'x'; 1000]);
    let forged = Signer::new(&secret()).sign(b"another body");
    let verifier = Verifier::new(secret()).with_previous(secret());
    let by_parts = |header: &str| {
        let mut verification = verifier.begin(header).unwrap();
        verification.update(&[b'x'; 10]);
        verification.update(&[b'x'; 990]);
        verification.finish().is_ok()
    };

    assert_eq!(left_on_the_stack(|| drop(Verifier::new(secret()))), 0);
    assert_eq!(
        left_on_the_stack(|| drop(verifier.clone().with_previous(secret()))),
        0
    );
    let replaced = Verifier::new(secret());
    assert_eq!(
        left_on_the_stack(|| replaced.replace_secrets(secret(), [secret()])),
        0
    );
    assert_eq!(
        left_on_the_stack(|| drop(Signer::new(&secret()).sign(b"body"))),
        0
    );
    for (header, valid) in [(&header, true), (&forged, false)] {
        let verify = || assert_eq!(verifier.verify(header, &[b'x'; 1000]).is_ok(), valid);
        assert_eq!(left_on_the_stack(verify), 0);
        assert_eq!(left_on_the_stack(|| assert_eq!(by_parts(header), valid)), 0);
    }
    assert_eq!(
        left_on_the_stack(|| drop(verifier.begin(&header).unwrap())),
        0
    );
}

#[test]
fn a_rejected_secret_is_wiped_too() {
    for text in [
        format!("{SECRET}\n"),
        NEEDLE.to_owned(),
        format!("  {NEEDLE}"),
    ] {
        assert_eq!(
            leaks(|| Secret::new(text.as_str()).unwrap_err()),
            0,
            "{text:?}"
        );
        assert_eq!(
            leaks(|| Secret::new(text.clone()).unwrap_err()),
            0,
            "{text:?}"
        );
    }
}

#[test]
fn a_secret_from_a_file_is_wiped_whether_it_is_accepted_or_not() {
    let name = format!("ptolemy-webhooks-allocations-{}", std::process::id());
    let path = env::temp_dir().join(name);
    let not_unicode = [SECRET.as_bytes(), b"\xff"].concat();
    let too_long = SECRET.repeat(64 * 1024 / SECRET.len() + 1).into_bytes();
    for (content, accepted) in [
        (SECRET.into(), true),
        (format!("{SECRET}\r\n").into_bytes(), true),
        (format!("{SECRET}\n\n").into_bytes(), false),
        (format!("\"{SECRET}\"").into_bytes(), false),
        (not_unicode, false),
        (too_long, false),
    ] {
        std::fs::write(&path, &content).unwrap();
        let is_accepted = Cell::new(None);
        let read = || {
            let secret = Secret::from_file(&path);
            is_accepted.set(Some(secret.is_ok()));
            secret
        };
        assert_eq!(leaks(read), 0);
        assert_eq!(is_accepted.get(), Some(accepted));
    }
    std::fs::remove_file(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn a_secret_from_the_environment_is_wiped_whether_it_is_accepted_or_not() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    const VARIABLE: &str = "PTOLEMY_TEST_SECRET";
    const EXPECTED: &str = "PTOLEMY_TEST_EXPECTED";
    // The test starts itself again, once for each value: changing the environment of a running
    // process is not safe.
    let Ok(expected) = env::var(EXPECTED) else {
        let mut not_unicode = SECRET.as_bytes().to_vec();
        not_unicode.push(0xff);
        for (value, expected) in [
            (OsString::from(SECRET), "None"),
            (OsString::from(format!("{SECRET}\n")), "Some(Whitespace)"),
            (OsString::from_vec(not_unicode), "Some(NotUnicode)"),
        ] {
            let name = "a_secret_from_the_environment_is_wiped_whether_it_is_accepted_or_not";
            let output = Command::new(env::current_exe().unwrap())
                .args(["--exact", name])
                .env(VARIABLE, value)
                .env(EXPECTED, expected)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{text}");
            assert!(text.contains("1 passed"), "{text}");
        }
        return;
    };
    let kind: Cell<Option<SecretErrorKind>> = Cell::new(None);
    let read = || {
        let secret = Secret::from_env(VARIABLE);
        kind.set(secret.as_ref().err().map(|error| error.kind()));
        secret
    };
    assert_eq!(leaks(read), 0);
    assert_eq!(format!("{:?}", kind.get()), expected);
}
