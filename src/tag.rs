//! An HMAC-SHA256 tag: hex in, hex out, compared in constant time.

use subtle::{Choice, ConstantTimeEq as _};

const LENGTH: usize = 32;

/// An HMAC-SHA256 tag.
///
/// It implements neither `PartialEq` nor `Debug`, so that `==`, which stops at the first byte that
/// differs, does not compile, and no tag reaches a log.
#[derive(Clone, Copy)]
pub(crate) struct Tag([u8; LENGTH]);

impl Tag {
    pub(crate) const ZERO: Self = Self([0; LENGTH]);

    pub(crate) fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// Decodes 64 hex digits of either case, without a branch that depends on their value.
    pub(crate) fn from_hex(text: &[u8]) -> Option<Self> {
        let digits: &[u8; 2 * LENGTH] = text.try_into().ok()?;
        // Three plain passes, which the compiler turns into vector instructions.
        let values = digits.map(hex_value);
        let seen = values.iter().fold(0, |seen, value| seen | value);
        let (pairs, _) = values.as_chunks::<2>();
        let mut tag = [0; LENGTH];
        for (byte, [high, low]) in tag.iter_mut().zip(pairs) {
            *byte = (high << 4) | (low & 0x0f);
        }
        (seen <= 0x0f).then_some(Self(tag))
    }

    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Compares as four words, which `subtle` does faster than 32 bytes.
    pub(crate) fn ct_eq(&self, other: &Self) -> Choice {
        let (a, _) = self.0.as_chunks::<8>();
        let (b, _) = other.0.as_chunks::<8>();
        a.iter().zip(b).fold(Choice::from(1), |equal, (&a, &b)| {
            equal & u64::from_ne_bytes(a).ct_eq(&u64::from_ne_bytes(b))
        })
    }
}

/// Returns the value of a hex digit, and `0xff` for any other byte.
fn hex_value(digit: u8) -> u8 {
    let decimal = digit.wrapping_sub(b'0');
    let letter = (digit | 0x20).wrapping_sub(b'a');
    if decimal < 10 {
        decimal
    } else if letter < 6 {
        letter + 10
    } else {
        0xff
    }
}

#[cfg(test)]
mod tests {
    use static_assertions::{assert_eq_size, assert_not_impl_any};

    use super::*;

    // `==` on tags would leak, through its timing, how many bytes of a forged tag are right.
    assert_not_impl_any!(Tag: PartialEq, PartialOrd, std::hash::Hash, std::fmt::Debug);
    assert_eq_size!(Tag, [u8; LENGTH]);

    #[test]
    fn tags_are_equal_only_in_all_256_bits() {
        let bytes: [u8; LENGTH] = std::array::from_fn(|i| u8::try_from(i * 7).unwrap());
        let tag = Tag::from_bytes(bytes);
        assert!(bool::from(tag.ct_eq(&tag)));
        for bit in 0..256 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            let other = Tag::from_bytes(other);
            assert!(!bool::from(tag.ct_eq(&other)), "bit {bit}");
        }
    }

    #[test]
    fn hex_of_either_case_is_read_and_lower_case_is_written() {
        let bytes: [u8; LENGTH] = std::array::from_fn(|i| u8::try_from(i * 8 + 3).unwrap());
        let text = hex::encode(bytes);
        for written in [text.clone(), text.to_ascii_uppercase()] {
            let tag = Tag::from_hex(written.as_bytes()).unwrap();
            assert_eq!(tag.to_hex(), text);
        }
    }

    #[test]
    fn text_that_is_not_64_hex_digits_is_not_a_tag() {
        for length in [0, 1, 62, 63, 65, 66, 128] {
            assert!(
                Tag::from_hex("a".repeat(length).as_bytes()).is_none(),
                "{length}"
            );
        }
        for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_hexdigit()) {
            for position in [0, 1, 31, 63] {
                let mut text = [b'0'; 64];
                text[position] = byte;
                assert!(Tag::from_hex(&text).is_none(), "{byte} at {position}");
            }
        }
    }
}
