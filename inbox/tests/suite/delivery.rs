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

/// An event of a resource of its own.
pub(crate) fn event(id: &str) -> Delivery {
    change(id, id)
}

/// An event of this instrument.
pub(crate) fn change(id: &str, instrument: &str) -> Delivery {
    of(&format!(
        r#"{{"id":"{id}","event_type":"instrument.updated","data":{{"id":"{instrument}"}}}}"#
    ))
}
