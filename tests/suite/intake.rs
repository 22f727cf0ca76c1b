//! `Intake`, which works with any server.

use bytes::Bytes;
use ptolemy_webhooks::{Delivery, Intake, Reason, Rejection, RejectionKind, Verifier};

use crate::vectors::{self, Outcome};
use crate::{NOW, at, signed};

fn verifier() -> Verifier {
    crate::verifier().with_clock(|| at(NOW))
}

fn begin(limit: usize, body: &str, declared: Option<u64>) -> Result<Intake, Rejection> {
    let verifier = crate::verifier().with_body_limit(limit);
    Intake::begin_at(&verifier, [signed(body)], declared, at(NOW))
}

fn reason<T>(result: Result<T, Rejection>) -> Reason {
    result.err().expect("a rejection").reason()
}

#[test]
fn every_vector_is_checked_alike_in_any_chunks() {
    for vector in vectors::load() {
        for length in [1, 7, 4096] {
            let mut begun =
                Intake::begin_at(&vector.verifier(), vector.headers(), None, vector.now());
            if let Ok(intake) = &mut begun {
                for chunk in vector.body().chunks(length) {
                    intake.push(chunk.to_vec()).unwrap();
                }
            }
            let result = begun.and_then(Intake::finish);
            let outcome = match &result {
                Ok(delivery) => {
                    assert_eq!(delivery.body(), &vector.body(), "{}", vector.name);
                    Outcome::Accept
                }
                Err(rejection) => match rejection.kind() {
                    RejectionKind::Verify(error) => Outcome::of_error(error),
                    kind => panic!("{}: {kind:?}", vector.name),
                },
            };
            assert_eq!(outcome, vector.expect, "{} by {length}", vector.name);
        }
    }
}

#[test]
fn it_gives_the_same_delivery_as_a_body_in_memory() {
    let expected = verifier().receive(signed("abcdef"), "abcdef").unwrap();
    for chunks in [
        &["abcdef"][..],
        &["abc", "def"],
        &["", "a", "", "bcdef", ""],
    ] {
        let mut intake = Intake::begin(&verifier(), [signed("abcdef")], Some(6)).unwrap();
        for chunk in chunks {
            intake.push(*chunk).unwrap();
        }
        assert_eq!(intake.finish().unwrap(), expected);
    }
}

#[test]
fn a_body_of_one_chunk_is_not_copied_unless_it_is_small() {
    for (length, is_copied) in [(6, true), (16 * 1024, true), (16 * 1024 + 1, false)] {
        let body = Bytes::from(vec![b'x'; length]);
        let mut intake = Intake::begin(&verifier(), [signed(&body)], None).unwrap();
        for chunk in [Bytes::new(), body.clone(), Bytes::new()] {
            intake.push(chunk).unwrap();
        }
        let delivery = intake.finish().unwrap();
        assert_eq!(delivery.body(), &body);
        assert_eq!(
            delivery.body().as_ptr() != body.as_ptr(),
            is_copied,
            "{length}"
        );
    }
}

#[test]
fn a_delivery_keeps_no_more_memory_than_its_body_needs() {
    // A small slice of a large buffer, as servers pass it on, and chunks that made a buffer grow.
    let buffer = Bytes::from(vec![b'x'; 400 * 1024]);
    for chunks in [vec![buffer.slice(..49)], vec![buffer.slice(..3_000); 7]] {
        let body = chunks.concat();
        let mut intake = Intake::begin(&verifier(), [signed(&body)], None).unwrap();
        for chunk in chunks {
            intake.push(chunk).unwrap();
        }
        let kept = intake.finish().unwrap().into_body();
        assert_eq!(kept, body);
        // `Bytes` that are unique can be converted back with their buffer.
        let capacity = kept.try_into_mut().unwrap().capacity();
        assert!(capacity <= body.len() + body.len() / 4, "{capacity}");
    }
}

#[test]
fn header_and_clock_come_before_the_declared_length() {
    let verifier = verifier().with_body_limit(3);
    let begin = |headers: &[&str]| reason(Intake::begin(&verifier, headers, Some(4)));
    let good = signed("");
    let old = format!("t=1,v1={}", "0".repeat(64));
    assert_eq!(begin(&[]), Reason::MissingHeader);
    assert_eq!(begin(&[&good, &good]), Reason::RepeatedHeader);
    assert_eq!(begin(&["t=1"]), Reason::MalformedHeader);
    assert_eq!(begin(&[&old]), Reason::TimestampTooOld);
    assert_eq!(begin(&[&good]), Reason::BodyTooLarge);
}

#[test]
fn the_declared_length_may_be_the_limit_and_no_more() {
    assert!(begin(3, "abc", Some(3)).is_ok());
    for declared in [4, u64::MAX] {
        let rejection = begin(3, "abc", Some(declared)).unwrap_err();
        assert_eq!(rejection.to_string(), "body is longer than 3 bytes");
        assert_eq!(rejection.status(), 413);
    }
}

#[test]
fn the_body_may_be_as_long_as_the_limit_whatever_was_declared() {
    for declared in [None, Some(0), Some(1), Some(3)] {
        let mut intake = begin(3, "abc", declared).unwrap();
        intake.push("ab").unwrap();
        intake.push("c").unwrap();
        intake.push("").unwrap();
        assert_eq!(intake.finish().unwrap().body(), "abc");
    }
}

#[test]
fn after_a_failed_push_every_push_and_finish_fails_the_same_way() {
    // Both chunks that fit are signed: without the failure they would be a valid delivery.
    for (first, too_long) in [("", "abcd"), ("abc", "d"), ("abc", "defg")] {
        let fail = || {
            let mut intake = begin(3, first, None).unwrap();
            intake.push(first).unwrap();
            assert_eq!(reason(intake.push(too_long)), Reason::BodyTooLarge);
            intake
        };
        let same = |result: Result<(), Rejection>| {
            let rejection = result.unwrap_err();
            let kind = rejection.kind().clone();
            assert!(
                matches!(kind, RejectionKind::BodyTooLarge { limit: Some(3), .. }),
                "{kind:?}"
            );
        };
        same(fail().finish().map(drop));
        let mut intake = fail();
        for chunk in ["", "x", "abcd"] {
            same(intake.push(chunk));
        }
        same(intake.finish().map(drop));
    }
}

#[test]
fn a_body_that_is_not_the_signed_one_is_a_mismatch() {
    for chunks in [&[][..], &["ab"], &["abc", "d"], &["abd"]] {
        let mut intake = begin(10, "abc", None).unwrap();
        for chunk in chunks {
            intake.push(*chunk).unwrap();
        }
        assert_eq!(reason(intake.finish()), Reason::SignatureMismatch);
    }
}

#[test]
fn the_clock_is_read_once_and_before_the_body() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let verifier = crate::verifier().with_clock(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        at(NOW)
    });
    let mut intake = Intake::begin(&verifier, [signed("abc")], None).unwrap();
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    intake.push("abc").unwrap();
    let delivery: Delivery = intake.finish().unwrap();
    assert_eq!(delivery.signed_at(), at(NOW));
    assert_eq!(reads.load(Ordering::Relaxed), 1);
}
