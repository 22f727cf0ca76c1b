//! What the library allocates, and what it leaves in memory that it gives back.
//!
//! In a binary of its own, since it watches every allocation of the process; it counts them by
//! thread, so that the test harness does not count.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::hint::black_box;
use std::process::Command;

use ptolemy_webhooks::{Secret, SecretErrorKind, Signer, Verifier};
use time::macros::datetime;

/// What is looked for in freed memory.
const NEEDLE: &str = "SENTINEL_0123456789abcdef";
const SECRET: &str = "whsec_SENTINEL_0123456789abcdef";

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static SEARCHING: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

struct Watch;

// SAFETY: every call is handed on to `System`; a block is read only before it is given back.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `System`. Zeroed, so that all of a block may be
        // read when it is given back.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if SEARCHING.try_with(Cell::get).unwrap_or(false) {
            // SAFETY: the block is allocated, initialised and not yet given back.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            if bytes
                .windows(NEEDLE.len())
                .any(|window| window == NEEDLE.as_bytes())
            {
                let _ = FOUND.try_with(|count| count.set(count.get() + 1));
            }
        }
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

/// How many blocks that `work` gave back still held the needle.
fn leaks<T>(work: impl FnOnce() -> T) -> usize {
    FOUND.set(0);
    SEARCHING.set(true);
    drop(black_box(work()));
    SEARCHING.set(false);
    FOUND.get()
}

#[test]
fn the_measures_see_what_they_look_for() {
    assert_eq!(allocations(|| Box::new(1)), 1);
    assert_eq!(allocations(|| 1), 0);
    assert_eq!(leaks(|| SECRET.to_owned()), 1);
    assert_eq!(leaks(|| "another".to_owned()), 0);
    // Growing gives the smaller block back.
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
    let two = Verifier::new(secret("whsec_first")).also_accept(secret("whsec_second"));
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
            verifier.also_accept(Secret::new(SECRET).unwrap()),
            signer,
        )
    };
    assert_eq!(leaks(in_use), 0);
}

#[test]
fn a_refused_secret_is_wiped_too() {
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

#[cfg(unix)]
#[test]
fn a_secret_from_the_environment_is_wiped_whether_it_is_refused_or_not() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    const VARIABLE: &str = "PTOLEMY_TEST_SECRET";
    const EXPECTED: &str = "PTOLEMY_TEST_EXPECTED";
    // Runs itself anew, once for each value: the environment of a running process is not to be
    // changed.
    let Ok(expected) = env::var(EXPECTED) else {
        let mut not_unicode = SECRET.as_bytes().to_vec();
        not_unicode.push(0xff);
        for (value, expected) in [
            (OsString::from(SECRET), "None"),
            (OsString::from(format!("{SECRET}\n")), "Some(Whitespace)"),
            (OsString::from_vec(not_unicode), "Some(NotUnicode)"),
        ] {
            let name = "a_secret_from_the_environment_is_wiped_whether_it_is_refused_or_not";
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
