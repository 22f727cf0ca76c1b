//! The vectors of `tests/vectors/signature.json` through the core.

use std::time::Duration;

use ptolemy_webhooks::{HeaderError, Verified, Verifier, VerifyError};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::{at, only_header, secret};

#[derive(Deserialize)]
struct Document {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) expect: Outcome,
    secret_index: Option<usize>,
    now: i64,
    tolerance: u64,
    secrets: Vec<String>,
    headers: Option<Vec<String>>,
    headers_hex: Option<Vec<String>>,
    body: Option<String>,
    body_hex: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Accept,
    Missing,
    Repeated,
    Malformed,
    TooOld,
    TooFarAhead,
    Mismatch,
}

impl Outcome {
    pub(crate) fn of_error(error: &VerifyError) -> Self {
        match error {
            VerifyError::Header(HeaderError::Missing) => Self::Missing,
            VerifyError::Header(HeaderError::Repeated) => Self::Repeated,
            VerifyError::Header(_) => Self::Malformed,
            VerifyError::TooOld { .. } => Self::TooOld,
            VerifyError::TooFarAhead { .. } => Self::TooFarAhead,
            VerifyError::Mismatch => Self::Mismatch,
            other => panic!("no vector expects {other:?}"),
        }
    }
}

pub(crate) fn load() -> Vec<Vector> {
    let json = include_str!("../vectors/signature.json");
    let document: Document = serde_json::from_str(json).expect("the vectors are JSON");
    document.vectors
}

impl Vector {
    pub(crate) fn headers(&self) -> Vec<Vec<u8>> {
        match (&self.headers, &self.headers_hex) {
            (Some(text), None) => text.iter().map(|text| text.clone().into_bytes()).collect(),
            (None, Some(hex)) => hex.iter().map(|hex| hex::decode(hex).unwrap()).collect(),
            _ => panic!("{}: one of headers and headers_hex", self.name),
        }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        match (&self.body, &self.body_hex) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(hex)) => hex::decode(hex).unwrap(),
            _ => panic!("{}: one of body and body_hex", self.name),
        }
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        at(self.now)
    }

    pub(crate) fn verifier(&self) -> Verifier {
        let mut secrets = self.secrets.iter().map(|text| secret(text));
        let first = Verifier::new(secrets.next().expect("at least one secret"));
        secrets
            .fold(first, Verifier::with_previous)
            .with_tolerance(Duration::from_secs(self.tolerance))
    }

    /// Returns the settings of this vector's verifier, as a key.
    #[cfg(all(feature = "actix-web", feature = "axum"))]
    pub(crate) fn settings(&self) -> String {
        format!("{} {:?}", self.tolerance, self.secrets)
    }

    fn check(&self, result: &Result<Verified, VerifyError>) {
        let (outcome, index) = match result {
            Ok(verified) => (Outcome::Accept, Some(verified.secret_index())),
            Err(error) => (Outcome::of_error(error), None),
        };
        assert_eq!(outcome, self.expect, "{}: {result:?}", self.name);
        assert_eq!(index, self.secret_index, "{}", self.name);
    }
}

#[test]
fn there_are_vectors_of_every_outcome_under_unique_names() {
    let vectors = load();
    let count = |outcome| vectors.iter().filter(|v| v.expect == outcome).count();
    assert!(count(Outcome::Accept) >= 40, "{}", count(Outcome::Accept));
    assert!(count(Outcome::Malformed) >= 40);
    assert!(count(Outcome::Mismatch) >= 20);
    for outcome in [
        Outcome::Missing,
        Outcome::Repeated,
        Outcome::TooOld,
        Outcome::TooFarAhead,
    ] {
        assert!(count(outcome) >= 1, "{outcome:?}");
    }
    let names: std::collections::HashSet<_> = vectors.iter().map(|v| &v.name).collect();
    assert_eq!(names.len(), vectors.len());
}

#[test]
fn every_vector_gives_its_result_for_a_body_in_memory() {
    for vector in load() {
        let headers = vector.headers();
        let result = only_header(&headers).and_then(|header| {
            vector
                .verifier()
                .verify_at(header, &vector.body(), vector.now())
        });
        vector.check(&result);
    }
}

#[test]
fn every_vector_gives_its_result_for_a_body_in_pieces() {
    for vector in load() {
        for length in [1, 3, 64] {
            let headers = vector.headers();
            let result = only_header(&headers).and_then(|header| {
                let mut verification = vector.verifier().begin_at(header, vector.now())?;
                for piece in vector.body().chunks(length) {
                    verification.update(piece);
                }
                verification.finish()
            });
            vector.check(&result);
        }
    }
}

#[test]
fn every_vector_gives_its_result_for_a_delivery_which_keeps_the_body() {
    for vector in load() {
        let headers = vector.headers();
        let result = only_header(&headers).and_then(|header| {
            vector
                .verifier()
                .receive_at(header, vector.body(), vector.now())
        });
        if let Ok(delivery) = &result {
            assert_eq!(delivery.body(), &vector.body(), "{}", vector.name);
        }
        let outcome = result
            .as_ref()
            .map_or_else(Outcome::of_error, |_| Outcome::Accept);
        assert_eq!(outcome, vector.expect, "{}: {result:?}", vector.name);
    }
}

#[test]
fn header_and_clock_are_checked_before_the_body() {
    for vector in load() {
        let headers = vector.headers();
        let begun = only_header(&headers)
            .and_then(|header| vector.verifier().begin_at(header, vector.now()).map(drop));
        match vector.expect {
            Outcome::Accept | Outcome::Mismatch => assert_eq!(begun, Ok(()), "{}", vector.name),
            expected => assert_eq!(
                Outcome::of_error(&begun.unwrap_err()),
                expected,
                "{}",
                vector.name
            ),
        }
    }
}
