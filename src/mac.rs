//! HMAC-SHA256 over `{t}.{raw body}`, keyed once for each secret.

use std::hint::black_box;
use std::sync::Arc;

use hmac::block_api::HmacCore;
use hmac::digest::block_api::{Buffer, CoreProxy, FixedOutputCore, UpdateCore};
use hmac::{Hmac, KeyInit};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable as _};

use crate::secret::Secret;
use crate::tag::Tag;

/// The keyed states of a secret, those of HMAC's inner and outer hash; wiped on drop.
type Core = HmacCore<Sha256>;

/// The HMAC states of a secret; wiped on drop.
///
/// A clone shares them, and moving a key does not copy them.
#[derive(Clone)]
pub(crate) struct Key(Arc<Core>);

impl Key {
    pub(crate) fn new(secret: &Secret) -> Self {
        let key = Self::derive(secret);
        wipe_stack();
        key
    }

    #[inline(never)]
    #[cfg_attr(
        not(test),
        expect(clippy::expect_used, reason = "a key of any length is accepted")
    )]
    fn derive(secret: &Secret) -> Self {
        let state = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .expect("HMAC accepts a key of any length, RFC 2104 section 2");
        // The buffer is empty before the first `update`.
        let (core, _) = state.decompose();
        Self(Arc::new(core))
    }

    /// Whether both keys were made of the same secret. The time it takes does not depend on either.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        // Two keys that agree on a message are the same, or HMAC-SHA256 has a collision.
        self.tag(b"", b"").ct_eq(&other.tag(b"", b"")).into()
    }

    /// Returns the tag of a message that was sent at `t`, which is the text of the header.
    pub(crate) fn tag(&self, t: &[u8], body: &[u8]) -> Tag {
        let tag = self.compute_tag(t, body);
        wipe_stack();
        tag
    }

    #[inline(never)]
    fn compute_tag(&self, t: &[u8], body: &[u8]) -> Tag {
        let mut mac = Mac::begin(self, t);
        mac.update(body);
        mac.compute_tag()
    }
}

/// The MAC of `t`, the dot, and the body so far; wiped on drop, but not in a place that it was
/// moved out of.
///
/// These are the two parts of `Hmac`, because `Hmac` can only be finished by value, and each move
/// of it leaves the keyed states on the stack.
pub(crate) struct Mac {
    core: Core,
    buffer: Buffer<Core>,
}

impl Mac {
    /// Begins the MAC of a message that was sent at `t`, under each of `keys`.
    pub(crate) fn begin_each(keys: &[Key], t: &[u8]) -> Vec<Self> {
        let macs = Self::collect(keys, t);
        wipe_stack();
        macs
    }

    #[inline(never)]
    fn collect(keys: &[Key], t: &[u8]) -> Vec<Self> {
        keys.iter().map(|key| Self::begin(key, t)).collect()
    }

    fn begin(key: &Key, t: &[u8]) -> Self {
        let mut mac = Self {
            core: Core::clone(&key.0),
            buffer: Buffer::<Core>::default(),
        };
        mac.update(t);
        mac.update(b".");
        mac
    }

    pub(crate) fn update(&mut self, body: &[u8]) {
        let Self { core, buffer } = self;
        buffer.digest_blocks(body, |blocks| core.update_blocks(blocks));
    }

    /// Returns the tag of the bytes so far; `self` must not be used after that.
    pub(crate) fn finish(&mut self) -> Tag {
        let tag = self.compute_tag();
        wipe_stack();
        tag
    }

    #[inline(never)]
    fn compute_tag(&mut self) -> Tag {
        #[cfg(test)]
        tests::FINISHED.set(tests::FINISHED.get() + 1);
        let mut tag = [0; 32];
        self.core
            .finalize_fixed_core(&mut self.buffer, (&mut tag).into());
        Tag::from_bytes(tag)
    }
}

/// How many bytes of the stack are overwritten: twice the 256 that are enough in a release
/// build. Without optimization each value is copied several times.
const WIPED_STACK: usize = if cfg!(debug_assertions) { 32_768 } else { 512 };

/// Overwrites the part of the stack that the previous call of the same function used.
///
/// The compiler does not wipe a place that it moves a value out of. A value with gaps that is built
/// there next, such as a future that moves into a box, copies the stale bytes along. The previous
/// call must not be inlined: its frame would not be below that of the caller.
#[inline(never)]
fn wipe_stack() {
    black_box(&mut [0_u8; WIPED_STACK]);
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
