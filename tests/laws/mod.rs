//! Properties of every input. The fuzz targets and the property tests call these.

pub(crate) mod naive;

use bytes::Bytes;
use ptolemy_webhooks::{
    Event, EventType, Payload, Secret, Verified, Verifier, VerifyError, only_header,
};
use std::time::Duration;
use time::OffsetDateTime;

use naive::{Request, Verdict};

const SECRETS: [&[u8]; 4] = [
    b"whsec_first",
    b"whsec_second",
    b"\xff\0 not in the documented form",
    &[b'x'; 100],
];
const NOW: i64 = 1_700_000_000;

/// Bytes as a source of choices; when they run out, every choice is the first.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A request that is often nearly right.
struct Candidate {
    secrets: Vec<&'static [u8]>,
    header: Vec<u8>,
    body: Vec<u8>,
    now: i64,
    tolerance: u64,
}

impl Candidate {
    fn choose(choices: &mut Choices<'_>) -> Self {
        let secrets = SECRETS[..1 + choices.below(3)].to_vec();
        let signer = choices.pick(&SECRETS);
        let now = NOW + choices.pick(&[0, 0, 0, 1, 299, 300, 301, -300, -301, -NOW, -2 * NOW]);
        let tolerance = choices.pick(&[300, 300, 300, 0, 1, u64::MAX]);
        let t = match choices.below(16) {
            0 => String::from_utf8_lossy(choices.bytes(8)).into_owned(),
            1 => format!("000{NOW}"),
            2 => format!("{NOW}000"),
            3 => "18446744073709551615".to_owned(),
            4 => "18446744073709551616".to_owned(),
            5 => String::new(),
            6 => "253402300799".to_owned(),
            7 => "253402300800".to_owned(),
            _ => NOW.to_string(),
        };
        let length = choices.pick(&[0, 1, 5, 30, 200]);
        let mut body = choices.bytes(length).to_vec();
        let message = [t.as_bytes(), b".", &body].concat();
        let good = naive::hex(&naive::hmac_sha256(signer, &message));

        let mut parts: Vec<Vec<u8>> = vec![format!("t={t}").into()];
        for _ in 0..choices.pick(&[1, 1, 1, 1, 2, 3, 0, 15, 16, 17]) {
            let part = match choices.below(12) {
                0 => b"v1=".to_vec(),
                1 => format!("v1={}", &good[..choices.below(64)]).into(),
                2 => format!("v1={good}0").into(),
                3 => format!("v1={}", good.to_uppercase()).into(),
                4 => format!("v1={}", good.replace(['0', 'a'], "f")).into(),
                5 => [b"v1=", choices.bytes(64)].concat(),
                _ => format!("v1={good}").into(),
            };
            parts.push(part);
        }
        for _ in 0..choices.pick(&[0, 0, 0, 0, 1, 2]) {
            let part: Vec<u8> = match choices.below(7) {
                0 => format!("t={t}").into(),
                1 => b"t=1".to_vec(),
                2 => Vec::new(),
                3 => b"v0=abc".to_vec(),
                4 => format!("V1={good}").into(),
                5 => format!("t ={t}").into(),
                _ => choices.bytes(10).to_vec(),
            };
            let position = choices.below(parts.len() + 1);
            parts.insert(position, part);
        }
        if choices.below(16) == 15 {
            parts.swap_remove(0);
        }
        let separator = choices.pick(&[&b","[..], b",", b",", b", ", b" ,\t", b",,", b";", b"\n"]);
        let mut header = parts.join(separator);
        if choices.below(8) == 7 && !header.is_empty() {
            let position = choices.below(header.len());
            header[position] = choices.byte();
        }
        if choices.below(8) == 7 && !body.is_empty() {
            let position = choices.below(body.len());
            body[position] ^= 1 << choices.below(8);
        }
        Self {
            secrets,
            header,
            body,
            now,
            tolerance,
        }
    }

    fn verifier(&self) -> Verifier {
        let mut secrets = self
            .secrets
            .iter()
            .map(|&bytes| Secret::from_bytes(bytes).expect("no secret here is empty"));
        let first = Verifier::new(secrets.next().expect("there is a first secret"));
        secrets
            .fold(first, Verifier::with_previous)
            .with_tolerance(Duration::from_secs(self.tolerance))
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.now).expect("a time that can be represented")
    }

    fn verify(&self) -> Result<Verified, VerifyError> {
        self.verifier()
            .verify_at(&self.header, &self.body, self.now())
    }

    fn naive(&self) -> Verdict {
        naive::judge(&Request {
            secrets: &self.secrets,
            header: &self.header,
            body: &self.body,
            now: self.now,
            tolerance: self.tolerance,
        })
    }
}

fn verdict(result: &Result<Verified, VerifyError>) -> Verdict {
    match result {
        Ok(verified) => Verdict::Accept(verified.secret_index()),
        Err(VerifyError::Header(_)) => Verdict::Malformed,
        Err(VerifyError::TooOld { .. }) => Verdict::TooOld,
        Err(VerifyError::TooFarAhead { .. }) => Verdict::TooFarAhead,
        Err(VerifyError::Mismatch) => Verdict::Mismatch,
        Err(error) => panic!("one header was given: {error}"),
    }
}

/// Any bytes as a header have the same result as in the naive implementation, and the error does
/// not quote them.
pub(crate) fn header(bytes: &[u8]) -> Verdict {
    let candidate = Candidate {
        secrets: SECRETS[..1].to_vec(),
        header: bytes.to_vec(),
        body: Vec::new(),
        now: NOW,
        tolerance: u64::MAX,
    };
    let result = candidate.verify();
    assert_eq!(verdict(&result), candidate.naive());
    if let Err(error) = &result {
        assert!(error.to_string().is_ascii(), "{error}");
        assert!(error.to_string().len() < 200, "{error}");
    }
    assert_eq!(only_header([bytes]), Ok(bytes));
    verdict(&result)
}

/// A request made from the choices has the same result as in the naive implementation.
pub(crate) fn verify(choices: &[u8]) -> Verdict {
    let candidate = Candidate::choose(&mut Choices(choices));
    let result = candidate.verify();
    let header = String::from_utf8_lossy(&candidate.header);
    assert_eq!(verdict(&result), candidate.naive(), "{header}");

    let received =
        candidate
            .verifier()
            .receive_at(&candidate.header, candidate.body.clone(), candidate.now());
    match (&result, received) {
        (Ok(verified), Ok(delivery)) => {
            assert_eq!(delivery.body(), &candidate.body);
            assert_eq!(delivery.signed_at(), verified.signed_at());
            assert_eq!(delivery.secret_index(), verified.secret_index());
            assert_eq!(delivery.dedup_key().len(), 71);
        }
        (Err(error), Err(received)) => assert_eq!(error, &received),
        (result, _) => panic!("verify and receive disagree: {result:?}"),
    }
    verdict(&result)
}

/// The body in pieces, cut as the choices say, has the same result as in one piece.
pub(crate) fn streaming(choices: &[u8]) -> Verdict {
    let mut choices = Choices(choices);
    let candidate = Candidate::choose(&mut choices);
    let whole = candidate.verify();
    let pieces = candidate
        .verifier()
        .begin_at(&candidate.header, candidate.now())
        .and_then(|mut verification| {
            let mut rest = &candidate.body[..];
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(choices.below(80).min(rest.len()));
                verification.update(piece);
                rest = later;
                if choices.0.is_empty() {
                    verification.update(rest);
                    break;
                }
            }
            verification.finish()
        });
    assert_eq!(pieces, whole);
    verdict(&whole)
}

fn is_documented(event_type: &EventType) -> bool {
    EventType::DOCUMENTED.contains(&event_type.as_str())
}

/// Any bytes are read as an event or rejected, without a panic; an event keeps its bytes and comes
/// back the same.
pub(crate) fn event(bytes: &[u8]) -> Option<Event> {
    let body = Bytes::copy_from_slice(bytes);
    let event = match Event::from_trusted_json(body.clone()) {
        Ok(event) => event,
        Err(error) => {
            assert!(error.to_string().is_ascii());
            assert!(error.line() >= 1);
            return None;
        }
    };
    assert_eq!(event.raw.as_bytes(), bytes);
    assert!(!event.event_type.as_str().is_empty());
    assert_eq!(EventType::from(event.event_type.as_str()), event.event_type);
    match &event.payload {
        Ok(Payload::Unknown) => assert!(!is_documented(&event.event_type)),
        Ok(payload) => {
            assert_eq!(payload.action(), event.event_type.action().as_ref());
            let name = format!("{payload:?}");
            let resource = event.event_type.resource().unwrap().replace('_', "");
            assert!(
                name.to_lowercase().starts_with(&format!("{resource}(")),
                "{name}"
            );
        }
        Err(_) => assert!(is_documented(&event.event_type)),
    }
    if let Err(malformed) = &event.payload {
        assert!(malformed.to_string().is_ascii());
        assert!(!malformed.to_string().contains(char::is_control));
    }

    // The raw JSON is a part of the body.
    let range = body.as_ptr_range();
    for json in [Some(&event.raw), event.data.as_ref(), event.actor.as_ref()]
        .into_iter()
        .flatten()
    {
        assert!(range.contains(&json.as_bytes().as_ptr()));
        json.decode::<serde::de::IgnoredAny>()
            .expect("the raw JSON is JSON");
    }

    let again = Event::from_trusted_json(event.raw.as_bytes().to_vec());
    assert_eq!(again.as_ref(), Ok(&event));
    let _ = format!("{event:?}");
    Some(event)
}
