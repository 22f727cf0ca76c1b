//! The verifier: settings, rotation, the numbers in its errors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ptolemy_webhooks::{Signer, Verifier, VerifyError};
use time::OffsetDateTime;

use crate::{NOW, SECRET, at, secret, signed, verifier};

const OTHER: &str = "whsec_another_secret";

fn signed_by(text: &str) -> String {
    Signer::new(&secret(text)).sign_at(b"body", at(NOW))
}

fn index(verifier: &Verifier, text: &str) -> Option<usize> {
    let verified = verifier.verify_at(signed_by(text), b"body", at(NOW));
    verified.ok().map(|verified| verified.secret_index())
}

#[test]
fn a_late_or_early_timestamp_is_reported_with_its_numbers() {
    let header = signed("");
    let rejection = |seconds| verifier().verify_at(&header, b"", at(seconds)).unwrap_err();
    assert_eq!(
        rejection(NOW + 412).to_string(),
        "timestamp is 412 s old, tolerance is 300 s"
    );
    assert_eq!(
        rejection(NOW - 301).to_string(),
        "timestamp is 301 s ahead, tolerance is 300 s"
    );
    assert!(matches!(
        rejection(NOW + 301),
        VerifyError::TooOld { age, tolerance, .. }
            if age == Duration::from_secs(301) && tolerance == Duration::from_secs(300)
    ));
}

#[test]
fn a_timestamp_in_milliseconds_is_named_as_such() {
    let header = format!("t={NOW}000,v1={}", "0".repeat(64));
    let error = verifier().verify_at(header, b"", at(NOW)).unwrap_err();
    assert!(matches!(
        error,
        VerifyError::TooFarAhead {
            in_milliseconds: true,
            ..
        }
    ));
    assert!(error.to_string().contains("milliseconds"), "{error}");

    let header = format!("t={},v1={}", NOW + 301, "0".repeat(64));
    let error = verifier().verify_at(header, b"", at(NOW)).unwrap_err();
    assert!(!error.to_string().contains("milliseconds"), "{error}");
}

#[test]
fn fractions_of_a_second_are_cut_off() {
    let header = signed("");
    let late = |milliseconds| at(NOW) + Duration::from_millis(milliseconds);
    assert!(verifier().verify_at(&header, b"", late(300_999)).is_ok());
    assert!(verifier().verify_at(&header, b"", late(301_000)).is_err());
    let verifier = verifier().with_tolerance(Duration::from_millis(1_999));
    assert!(verifier.verify_at(&header, b"", late(1_999)).is_ok());
    assert!(verifier.verify_at(&header, b"", late(2_000)).is_err());
}

#[test]
fn no_clock_or_timestamp_overflows() {
    let clocks = [
        OffsetDateTime::UNIX_EPOCH,
        time::PrimitiveDateTime::MIN.assume_utc(),
        time::PrimitiveDateTime::MAX.assume_utc(),
        at(-1),
        at(NOW),
    ];
    let timestamps = [0, 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX];
    for now in clocks {
        for t in timestamps {
            for tolerance in [Duration::ZERO, Duration::MAX] {
                let verifier = verifier().with_tolerance(tolerance);
                let header = format!("t={t},v1={}", "0".repeat(64));
                let error = verifier.verify_at(header, b"", now).unwrap_err();
                assert!(!error.to_string().is_empty());
                let is_a_time = t <= 253_402_300_799;
                assert_eq!(
                    error == VerifyError::Mismatch,
                    is_a_time
                        && (tolerance == Duration::MAX
                            || i128::from(t) == i128::from(now.unix_timestamp())),
                    "{now} {t} {tolerance:?}: {error}"
                );
            }
        }
    }
}

#[test]
fn the_short_forms_read_the_clock_that_was_set() {
    let verifier = verifier().with_clock(|| at(NOW + 300));
    assert!(verifier.verify(signed("a"), b"a").is_ok());
    assert!(verifier.begin(signed("a")).is_ok());
    assert!(verifier.receive(signed("a"), "a").is_ok());

    let verifier = verifier.with_clock(|| at(NOW + 301));
    assert!(verifier.verify(signed("a"), b"a").is_err());
    assert!(verifier.begin(signed("a")).is_err());
    assert!(verifier.receive(signed("a"), "a").is_err());
}

#[test]
fn without_a_clock_the_short_forms_read_the_clock_of_the_host() {
    let header = Signer::new(&secret(SECRET)).sign(b"");
    assert!(verifier().verify(&header, b"").is_ok());
    assert!(matches!(
        verifier().verify(signed(""), b""),
        Err(VerifyError::TooOld { .. })
    ));
}

#[test]
fn a_previous_secret_is_accepted_and_reported() {
    let verifier = verifier().with_previous(secret(OTHER));
    assert_eq!(index(&verifier, SECRET), Some(0));
    assert_eq!(index(&verifier, OTHER), Some(1));
    assert_eq!(index(&verifier, "whsec_third"), None);
}

#[test]
fn replaced_secrets_reach_every_clone() {
    let verifier = verifier();
    let clone = verifier.clone().with_tolerance(Duration::from_secs(10));
    clone.replace_secrets(secret(OTHER), [secret(SECRET)]);
    for verifier in [&verifier, &clone] {
        assert_eq!(index(verifier, OTHER), Some(0));
        assert_eq!(index(verifier, SECRET), Some(1));
    }
    verifier.replace_secrets(secret(OTHER), []);
    for verifier in [&verifier, &clone] {
        assert_eq!(index(verifier, OTHER), Some(0));
        assert_eq!(index(verifier, SECRET), None);
    }
}

#[test]
fn a_rotated_secret_reaches_every_clone_and_the_old_one_stays_accepted() {
    let verifier = verifier().with_previous(secret("whsec_before"));
    let clone = verifier.clone();
    clone.rotate_secret(secret(OTHER));
    for verifier in [&verifier, &clone] {
        assert_eq!(index(verifier, OTHER), Some(0));
        assert_eq!(index(verifier, SECRET), Some(1));
        assert_eq!(index(verifier, "whsec_before"), None);
    }
}

#[test]
fn a_rotation_that_is_repeated_changes_nothing() {
    let verifier = verifier();
    for _ in 0..3 {
        verifier.rotate_secret(secret(OTHER));
        assert_eq!(index(&verifier, OTHER), Some(0));
        assert_eq!(index(&verifier, SECRET), Some(1));
    }
    // Back to the one before, which is another rotation.
    verifier.rotate_secret(secret(SECRET));
    assert_eq!(index(&verifier, SECRET), Some(0));
    assert_eq!(index(&verifier, OTHER), Some(1));
}

#[test]
fn with_previous_changes_the_returned_verifier_alone() {
    let verifier = verifier();
    let both = verifier.clone().with_previous(secret(OTHER));
    assert_eq!(index(&verifier, OTHER), None);
    assert_eq!(index(&both, OTHER), Some(1));

    verifier.replace_secrets(secret("whsec_third"), []);
    assert_eq!(index(&both, SECRET), Some(0));
    assert_eq!(index(&both, "whsec_third"), None);
}

#[test]
fn settings_belong_to_each_clone() {
    let strict = verifier().with_tolerance(Duration::ZERO);
    let lax = strict.clone().with_tolerance(Duration::from_secs(10));
    assert!(strict.verify_at(signed(""), b"", at(NOW + 5)).is_err());
    assert!(lax.verify_at(signed(""), b"", at(NOW + 5)).is_ok());
}

#[test]
fn a_running_verification_keeps_the_secrets_it_began_with() {
    let verifier = verifier();
    let mut verification = verifier.begin_at(signed("body"), at(NOW)).unwrap();
    verification.update(b"bo");
    verifier.replace_secrets(secret(OTHER), []);
    verification.update(b"dy");
    assert_eq!(verification.finish().map(|v| v.secret_index()), Ok(0));
    assert_eq!(index(&verifier, SECRET), None);
}

#[test]
fn secrets_are_replaced_while_requests_run_without_a_gap() {
    let verifier = verifier().with_previous(secret(OTHER));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let header = signed_by(SECRET);
                    let mut seen = [0_u32; 2];
                    while !done.load(Ordering::Relaxed) || seen[0] == 0 {
                        let verified = verifier.verify_at(&header, b"body", at(NOW)).unwrap();
                        seen[verified.secret_index()] += 1;
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..500 {
            verifier.replace_secrets(secret(OTHER), [secret(SECRET)]);
            verifier.replace_secrets(secret(SECRET), [secret(OTHER)]);
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap()[0] > 0);
        }
    });
}

#[test]
fn the_body_limit_applies_to_the_extractors_alone() {
    let verifier = verifier().with_body_limit(3);
    assert!(verifier.receive_at(signed("body"), "body", at(NOW)).is_ok());
}

#[test]
fn debug_shows_settings_and_no_secret() {
    let verifier = verifier().with_previous(secret("whsec_SENTINEL"));
    let text = format!("{verifier:?}");
    assert_eq!(
        text,
        "Verifier { secrets: 2, tolerance: 300s, body_limit: 1048576, .. }"
    );
    let verification = verifier.begin_at(signed(""), at(NOW)).unwrap();
    assert!(format!("{verification:?}").starts_with("Verification { signed_at: 2023-11-14"));
}
