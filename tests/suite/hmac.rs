//! The HMAC-SHA256 vectors of RFC 4231 and of Wycheproof.
//!
//! The library signs `{t}.{body}`, and no published message begins that way. So the vectors are
//! checked against the naive implementation, and the naive implementation against the signer and
//! the verifier, with the keys and the messages of the vectors.

use ptolemy_webhooks::{Secret, Signer, Verifier, VerifyError};
use serde::Deserialize;

use crate::laws::naive;
use crate::{NOW, at};

#[derive(Deserialize)]
struct Document {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    key: String,
    msg: String,
    tag: String,
    valid: bool,
}

impl Vector {
    fn key(&self) -> Vec<u8> {
        hex::decode(&self.key).unwrap()
    }

    fn message(&self) -> Vec<u8> {
        hex::decode(&self.msg).unwrap()
    }

    fn secret(&self) -> Secret {
        Secret::from_bytes(self.key()).unwrap()
    }
}

fn load() -> Vec<Vector> {
    let json = include_str!("../vectors/hmac_sha256.json");
    let document: Document = serde_json::from_str(json).unwrap();
    assert_eq!(document.vectors.len(), 7 + 174);
    document.vectors
}

#[test]
fn the_naive_implementation_agrees_with_the_vectors() {
    for vector in load() {
        let tag = naive::hex(&naive::hmac_sha256(&vector.key(), &vector.message()));
        assert_eq!(
            tag.starts_with(&vector.tag),
            vector.valid,
            "{}",
            vector.name
        );
    }
}

#[test]
fn the_signer_and_the_verifier_agree_with_the_naive_implementation() {
    for vector in load() {
        let body = vector.message();
        let signed = [format!("{NOW}.").as_bytes(), &body].concat();
        let tag = naive::hex(&naive::hmac_sha256(&vector.key(), &signed));
        let header = Signer::new(&vector.secret()).sign_at(&body, at(NOW));
        assert_eq!(header, format!("t={NOW},v1={tag}"), "{}", vector.name);
        let verified = Verifier::new(vector.secret()).verify_at(header, &body, at(NOW));
        assert!(verified.is_ok(), "{}", vector.name);
    }
}

#[test]
fn a_change_that_makes_a_published_tag_invalid_makes_ours_invalid_too() {
    let mut changed = 0;
    for vector in load().into_iter().filter(|vector| !vector.valid) {
        let body = vector.message();
        let right = naive::hmac_sha256(&vector.key(), &body);
        let wrong = hex::decode(&vector.tag).unwrap();
        // The change from the right tag to the wrong one is made to the tag of a delivery.
        let header = Signer::new(&vector.secret()).sign_at(&body, at(NOW));
        let mut tag = hex::decode(header.split_once("v1=").unwrap().1).unwrap();
        for ((tag, right), wrong) in tag.iter_mut().zip(right).zip(&wrong) {
            *tag ^= right ^ wrong;
        }
        let header = format!("t={NOW},v1={}", hex::encode(tag));
        let result = Verifier::new(vector.secret()).verify_at(header, &body, at(NOW));
        assert_eq!(result, Err(VerifyError::Mismatch), "{}", vector.name);
        changed += 1;
    }
    assert!(changed > 50, "{changed}");
}

#[test]
fn a_tag_cut_short_is_never_accepted_even_if_a_standard_allows_it() {
    let mut cut = 0;
    for vector in load() {
        if vector.tag.len() == 64 {
            continue;
        }
        cut += 1;
        let header = Signer::new(&vector.secret()).sign_at(&vector.message(), at(NOW));
        let header = &header[..header.len() - 64 + vector.tag.len()];
        let result = Verifier::new(vector.secret()).verify_at(header, &vector.message(), at(NOW));
        assert!(
            matches!(result, Err(VerifyError::Header(_))),
            "{}",
            vector.name
        );
    }
    assert!(cut > 50, "{cut}");
}
