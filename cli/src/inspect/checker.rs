//! The verdict of a receiver with the library on a request.

use bytes::Bytes;
use http::HeaderMap;
use ptolemy_webhooks::{
    Delivery, Event, Rejection, SIGNATURE_HEADER, Signer, Verifier, only_header,
};
use time::OffsetDateTime;

use crate::inspect::entry::{Checked, Verdict, shortened};
use crate::secret::GivenSecret;
use crate::stop::Stop;
use crate::why::Secrets;

/// How far `t` may lie from the time of a request, in seconds, as Ptolemy documents it.
pub(crate) const TOLERANCE_S: u64 = 300;

/// The text that stands for a verdict without a secret.
pub(crate) const NOT_CHECKED: &str = "no secret given: signature not checked";

/// The secrets, or none.
pub(crate) struct Checker(Option<Keys>);

struct Keys {
    secrets: Secrets,
    verifier: Verifier,
    /// `None` if the secret is one that no sender can have.
    signer: Option<Signer>,
}

impl Checker {
    pub(crate) fn without_secret() -> Self {
        Self(None)
    }

    /// Returns an error if the secret is empty.
    pub(crate) fn new(secret: GivenSecret, previous: Option<GivenSecret>) -> Result<Self, Stop> {
        let signer = secret.checked().ok().map(|secret| Signer::new(&secret));
        let secrets = Secrets::new(secret, previous)?;
        Ok(Self(Some(Keys {
            verifier: secrets.verifier(TOLERANCE_S)?,
            secrets,
            signer,
        })))
    }

    pub(crate) fn secrets(&self) -> Option<&Secrets> {
        self.0.as_ref().map(|keys| &keys.secrets)
    }

    pub(crate) fn can_sign(&self) -> bool {
        self.0.as_ref().is_some_and(|keys| keys.signer.is_some())
    }

    /// Signs a body at the time of now; `None` without a secret.
    pub(crate) fn sign(&self, body: &[u8]) -> Option<String> {
        let signer = self.0.as_ref()?.signer.as_ref()?;
        Some(signer.sign(body))
    }

    /// Whether the bytes contain a secret.
    pub(crate) fn finds_secret_in(&self, bytes: &[u8]) -> bool {
        self.secrets().is_some_and(|secrets| secrets.is_in(bytes))
    }

    /// Checks a request as it arrived.
    pub(crate) fn check(&self, headers: &HeaderMap, body: &Bytes, at: OffsetDateTime) -> Checked {
        let Some(keys) = &self.0 else {
            return unproven(
                body,
                Verdict::NotChecked,
                None,
                Some(NOT_CHECKED.to_owned()),
            );
        };
        let signatures = headers.get_all(SIGNATURE_HEADER);
        let signatures = signatures.iter().map(|value| value.as_bytes());
        let delivery = only_header(signatures)
            .map_err(Rejection::from)
            .and_then(|header| Ok(keys.verifier.receive_at(header, body.clone(), at)?));
        match delivery {
            Ok(delivery) => proven(&delivery),
            Err(rejection) => rejected(body, &rejection),
        }
    }
}

/// Of a request that is rejected.
pub(crate) fn rejected(body: &Bytes, rejection: &Rejection) -> Checked {
    let reason = Some(rejection.reason().as_str());
    unproven(body, Verdict::Rejected, reason, Some(rejection.to_string()))
}

fn proven(delivery: &Delivery) -> Checked {
    match delivery.event() {
        Err(error) => {
            let rejection = Rejection::from(error);
            Checked {
                verdict: Verdict::NotAnEvent,
                reason: Some(rejection.reason().as_str()),
                summary: Some(rejection.to_string()),
                event_type: None,
                event_id: None,
                malformed: None,
            }
        }
        Ok(event) => {
            let mut checked = of_event(&event, Verdict::Accepted, None, None);
            if let Err(malformed) = &event.payload {
                let rejection = Rejection::from(malformed.clone());
                checked.verdict = Verdict::MalformedData;
                checked.reason = Some(rejection.reason().as_str());
                checked.summary = Some(rejection.to_string());
            }
            checked
        }
    }
}

/// The names in a body that nothing proves: only shown.
fn unproven(
    body: &Bytes,
    verdict: Verdict,
    reason: Option<&'static str>,
    summary: Option<String>,
) -> Checked {
    match Event::from_trusted_json(body.clone()) {
        Ok(event) => of_event(&event, verdict, reason, summary),
        Err(_) => Checked {
            verdict,
            reason,
            summary,
            event_type: None,
            event_id: None,
            malformed: None,
        },
    }
}

fn of_event(
    event: &Event,
    verdict: Verdict,
    reason: Option<&'static str>,
    summary: Option<String>,
) -> Checked {
    let malformed = event.payload.as_ref().err();
    Checked {
        verdict,
        reason,
        summary,
        event_type: Some(shortened(event.event_type.as_str())),
        event_id: event.id.as_deref().map(shortened),
        malformed: malformed.map(|it| (shortened(it.path()), shortened(&it.cause().to_string()))),
    }
}
