//! HMAC-SHA256 over `{t}.{raw body}`, keyed once for each secret.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::header::Tag;
use crate::secret::Secret;

/// The HMAC state that a secret leads to; wiped on drop.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    #[cfg_attr(
        not(test),
        expect(clippy::expect_used, reason = "no length of a key is an error")
    )]
    pub(crate) fn new(secret: &Secret) -> Self {
        let state = Hmac::new_from_slice(secret.as_bytes())
            .expect("HMAC takes a key of any length, RFC 2104 section 2");
        Self(state)
    }

    /// Begins the MAC of a message sent at `t`, which is the text of the header.
    pub(crate) fn begin(&self, t: &[u8]) -> Mac {
        let mut state = self.0.clone();
        state.update(t);
        state.update(b".");
        Mac(state)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A MAC that has taken in `t`, the dot, and some of the body.
pub(crate) struct Mac(Hmac<Sha256>);

impl Mac {
    pub(crate) fn update(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    pub(crate) fn finish(self) -> Tag {
        self.0.finalize().into_bytes().into()
    }
}

/// The position of the first of `tags` that is among the candidates.
///
/// Takes each tag once, and as long for a match as for none: no early exit, between tags or
/// between candidates.
pub(crate) fn position_of_match(
    tags: impl IntoIterator<Item = Tag>,
    candidates: &[Tag],
) -> Option<usize> {
    let mut found = Choice::from(0);
    let mut position = 0_u64;
    for (index, tag) in (0_u64..).zip(tags) {
        let hit = candidates.iter().fold(Choice::from(0), |hit, candidate| {
            hit | equal(candidate, &tag)
        });
        position.conditional_assign(&index, hit & !found);
        found |= hit;
    }
    bool::from(found)
        .then(|| usize::try_from(position).ok())
        .flatten()
}

/// Compares two tags as four words, which `subtle` does faster than 32 bytes.
fn equal(a: &Tag, b: &Tag) -> Choice {
    let (a, _) = a.as_chunks::<8>();
    let (b, _) = b.as_chunks::<8>();
    a.iter().zip(b).fold(Choice::from(1), |equal, (&a, &b)| {
        equal & u64::from_ne_bytes(a).ct_eq(&u64::from_ne_bytes(b))
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SIXTEEN: [Tag; 16] = [[7; 32]; 16];

    #[test]
    fn each_secret_costs_one_tag_whatever_the_candidates() {
        for (candidates, expected) in [
            (&SIXTEEN[..1], Some(1)),
            (&SIXTEEN[..], Some(1)),
            (&[[9; 32]; 16][..], None),
        ] {
            let computed = Cell::new(0);
            let tags = [[1; 32], [7; 32], [7; 32]].into_iter().inspect(|_| {
                computed.set(computed.get() + 1);
            });
            assert_eq!(position_of_match(tags, candidates), expected);
            assert_eq!(computed.get(), 3);
        }
    }

    #[test]
    fn tags_are_equal_only_in_all_256_bits() {
        let tag: Tag = std::array::from_fn(|i| u8::try_from(i * 7).unwrap());
        assert!(bool::from(equal(&tag, &tag)));
        for bit in 0..256 {
            let mut other = tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!bool::from(equal(&tag, &other)), "bit {bit}");
        }
    }
}
