//! HMAC-SHA256 over `{t}.{raw body}`, keyed once for each secret.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable as _};

use crate::secret::Secret;
use crate::tag::Tag;

/// The keyed HMAC state of a secret; wiped on drop.
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

/// A MAC over `t`, the dot, and the body so far. It is wiped on drop, but a move leaves a copy behind.
#[derive(Clone)]
pub(crate) struct Mac(Hmac<Sha256>);

impl Mac {
    pub(crate) fn update(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    pub(crate) fn finish(self) -> Tag {
        #[cfg(test)]
        tests::FINISHED.set(tests::FINISHED.get() + 1);
        Tag::from_bytes(self.0.finalize().into_bytes().into())
    }
}

/// Returns the position of the first of `tags` that is among the candidates.
///
/// A match takes as long as a mismatch: every tag is compared with every candidate.
pub(crate) fn position_of_match(
    tags: impl IntoIterator<Item = Tag>,
    candidates: &[Tag],
) -> Option<usize> {
    let mut found = Choice::from(0);
    let mut position = 0_u64;
    for (index, tag) in (0_u64..).zip(tags) {
        let hit = candidates.iter().fold(Choice::from(0), |hit, candidate| {
            hit | candidate.ct_eq(&tag)
        });
        position.conditional_assign(&index, hit & !found);
        found |= hit;
    }
    bool::from(found)
        .then(|| usize::try_from(position).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use time::OffsetDateTime;

    use super::*;
    use crate::sign::Signer;
    use crate::verify::Verifier;

    thread_local! {
        /// How many MACs this thread has finished.
        pub(super) static FINISHED: Cell<usize> = const { Cell::new(0) };
    }

    fn finished<T>(work: impl FnOnce() -> T) -> (T, usize) {
        let before = FINISHED.get();
        let result = work();
        (result, FINISHED.get() - before)
    }

    #[test]
    fn each_secret_costs_one_hmac_whatever_the_candidates() {
        let secret = |text: &str| Secret::new(text).unwrap();
        let now = OffsetDateTime::UNIX_EPOCH;
        let good = |text| Signer::new(&secret(text)).sign_at(b"body", now);
        let fifteen = format!(",v1={}", "0".repeat(64)).repeat(15);
        for count in 1..=3 {
            let also = ["whsec_2", "whsec_3"].into_iter().take(count - 1);
            let verifier = also
                .map(secret)
                .fold(Verifier::new(secret("whsec_1")), Verifier::with_previous);
            for header in [
                good("whsec_1"),
                good("whsec_3"),
                good("whsec_other"),
                good("whsec_1") + &fifteen,
                good("whsec_other") + &fifteen,
                good("whsec_1") + ",v1=x,v1=,v1=00",
            ] {
                let (_, macs) = finished(|| verifier.verify_at(&header, b"body", now));
                assert_eq!(macs, count, "{header}");
                let (_, macs) = finished(|| {
                    let mut verification = verifier.begin_at(&header, now).unwrap();
                    verification.update(b"bo");
                    verification.update(b"dy");
                    verification.finish()
                });
                assert_eq!(macs, count, "{header}");
            }
            for header in [
                "",
                "t=0",
                "t=0,v1=x",
                &(good("whsec_1") + &fifteen + ",v1="),
            ] {
                let (_, macs) = finished(|| verifier.verify_at(header, b"body", now));
                assert_eq!(macs, 0, "{header}");
            }
        }
    }

    #[test]
    fn the_first_match_is_found_at_any_position_and_before_any_other() {
        let tag = |byte: u8| Tag::from_bytes([byte; 32]);
        for (tags, candidates, position) in [
            (vec![1], vec![1], Some(0)),
            (vec![1], vec![2], None),
            (vec![1, 2], vec![2], Some(1)),
            (vec![1, 2], vec![2, 1], Some(0)),
            (vec![1, 2, 2], vec![9, 2, 9], Some(1)),
            (vec![1, 2, 3], vec![3, 9, 9, 9], Some(2)),
            (vec![], vec![1], None),
            (vec![1], vec![], None),
        ] {
            let candidates: Vec<_> = candidates.into_iter().map(tag).collect();
            let tags = tags.into_iter().map(tag);
            assert_eq!(position_of_match(tags, &candidates), position);
        }
    }
}
