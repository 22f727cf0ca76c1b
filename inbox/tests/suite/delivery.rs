//! Deliveries, signed as Ptolemy signs them.

use ptolemy_webhooks::{Delivery, Secret, Signer, Verifier};

/// A delivery with this body.
pub(crate) fn of(body: &str) -> Delivery {
    let secret = Secret::new("whsec_test_secret").unwrap();
    let header = Signer::new(&secret).sign(body.as_bytes());
    Verifier::new(secret)
        .receive(header, body.to_owned())
        .unwrap()
}

/// An event of a separate resource.
pub(crate) fn event(id: &str) -> Delivery {
    change(id, &format!("of {id}"))
}

/// An event of this instrument.
pub(crate) fn change(id: &str, instrument: &str) -> Delivery {
    of(&format!(
        r#"{{"id":"{id}","event_type":"instrument.updated","created_at":"2026-04-15T09:30:00Z","data":{{"id":"{instrument}"}}}}"#
    ))
}
