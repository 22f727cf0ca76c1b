//! The `Ptolemy-Signature` header: bytes in, `t` and its `v1` candidates out.

use std::fmt;

use memchr::memchr_iter;

use crate::verify::VerifyError;

/// The name of the header that carries the signature, in the lower case of HTTP/2.
///
/// Ptolemy documents it as `Ptolemy-Signature`; header names are not case-sensitive.
pub const SIGNATURE_HEADER: &str = "ptolemy-signature";

/// The longest header that is read, in bytes.
const MAX_LENGTH: usize = 4096;

/// The most `v1` candidates that one header may carry.
const MAX_CANDIDATES: usize = 16;

const TAG_LENGTH: usize = 32;

/// An HMAC-SHA256 tag.
pub(crate) type Tag = [u8; TAG_LENGTH];

/// Takes the one value of a header that must stand in a request exactly once.
///
/// Two lines of a signature header leave open which of them was meant, so a request that has
/// them is refused rather than judged by the first.
///
/// # Errors
///
/// [`VerifyError::MissingHeader`] for no value, [`VerifyError::RepeatedHeader`] for two or more.
///
/// # Examples
///
/// With the `http` crate, pass `headers.get_all(SIGNATURE_HEADER)`.
///
/// ```
/// use ptolemy_webhooks::{VerifyError, only_header};
///
/// assert_eq!(only_header(["t=1,v1=ab"]), Ok("t=1,v1=ab"));
/// assert_eq!(only_header([""; 0]), Err(VerifyError::MissingHeader));
/// assert_eq!(only_header(["t=1,v1=ab"; 2]), Err(VerifyError::RepeatedHeader));
/// ```
pub fn only_header<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Result<T, VerifyError> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(VerifyError::MissingHeader)?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(VerifyError::RepeatedHeader),
    }
}

/// The `t` of a header.
pub(crate) struct Timestamp<'h> {
    /// The text as it was sent; the MAC covers it.
    pub(crate) text: &'h [u8],
    /// The same as a number of seconds since 1970.
    pub(crate) seconds: u64,
}

/// The `v1` of a header that could be decoded.
pub(crate) struct Candidates {
    tags: [Tag; MAX_CANDIDATES],
    count: usize,
}

impl Candidates {
    pub(crate) fn none() -> Self {
        Self {
            tags: [[0; TAG_LENGTH]; MAX_CANDIDATES],
            count: 0,
        }
    }

    pub(crate) fn as_slice(&self) -> &[Tag] {
        self.tags.get(..self.count).unwrap_or_default()
    }

    fn push(&mut self, tag: Tag) {
        if let Some(slot) = self.tags.get_mut(self.count) {
            *slot = tag;
            self.count += 1;
        }
    }
}

/// Reads a header value: returns its `t`, and puts its `v1`, at least one, into `candidates`, which
/// are large and so not moved about.
///
/// Parts are separated by commas and lose the spaces and tabs at their ends. A part that is not
/// `t=…` or `v1=…` is ignored, so that a later scheme can stand beside this one.
pub(crate) fn parse<'h>(
    header: &'h [u8],
    candidates: &mut Candidates,
) -> Result<Timestamp<'h>, MalformedHeader> {
    if header.len() > MAX_LENGTH {
        return Err(MalformedHeader::TooLong {
            length: header.len(),
        });
    }

    let mut timestamp = None;
    let mut count = 0_usize;
    let mut at = 0;
    for end in memchr_iter(b',', header).chain([header.len()]) {
        let part = trim(header.get(at..end).unwrap_or_default());
        if let Some(text) = part.strip_prefix(b"t=") {
            if timestamp.is_some() {
                return Err(MalformedHeader::RepeatedTimestamp { at });
            }
            let seconds = parse_seconds(text, at)?;
            timestamp = Some(Timestamp { text, seconds });
        } else if let Some(text) = part.strip_prefix(b"v1=") {
            count += 1;
            if count > MAX_CANDIDATES {
                return Err(MalformedHeader::TooManyCandidates { at });
            }
            if let Some(tag) = decode_tag(text) {
                candidates.push(tag);
            }
        }
        at = end + 1;
    }

    let timestamp = timestamp.ok_or(MalformedHeader::NoTimestamp)?;
    match (count, candidates.as_slice()) {
        (0, _) => Err(MalformedHeader::NoCandidate),
        (count, []) => Err(MalformedHeader::NoDecodableCandidate { count }),
        _ => Ok(timestamp),
    }
}

fn trim(mut part: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = part {
        part = rest;
    }
    part
}

fn parse_seconds(text: &[u8], at: usize) -> Result<u64, MalformedHeader> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(MalformedHeader::TimestampNotDigits { at });
    }
    text.iter()
        .try_fold(0_u64, |seconds, &digit| {
            seconds
                .checked_mul(10)?
                .checked_add(u64::from(digit & 0x0f))
        })
        .ok_or(MalformedHeader::TimestampTooLarge { at })
}

/// Decodes 64 hex digits of either case, without a branch that depends on their value.
fn decode_tag(text: &[u8]) -> Option<Tag> {
    let digits: &[u8; 2 * TAG_LENGTH] = text.try_into().ok()?;
    // Three plain passes, which the compiler turns into vector instructions.
    let values = digits.map(hex_value);
    let seen = values.iter().fold(0, |seen, value| seen | value);
    let (pairs, _) = values.as_chunks::<2>();
    let mut tag = [0; TAG_LENGTH];
    for (byte, [high, low]) in tag.iter_mut().zip(pairs) {
        *byte = (high << 4) | (low & 0x0f);
    }
    (seen <= 0x0f).then_some(tag)
}

/// The value of a hex digit; `0xff` for any other byte.
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

/// What is wrong with a `Ptolemy-Signature` header, and where.
///
/// Offsets count bytes from the start of the header value, beginning at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MalformedHeader {
    /// It is longer than 4,096 bytes.
    #[non_exhaustive]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It has no part `t=…`.
    NoTimestamp,
    /// It has more than one part `t=…`.
    #[non_exhaustive]
    RepeatedTimestamp {
        /// The offset of the second one.
        at: usize,
    },
    /// `t` is empty or holds a byte that is not an ASCII digit.
    #[non_exhaustive]
    TimestampNotDigits {
        /// The offset of its part.
        at: usize,
    },
    /// `t` does not fit an unsigned integer of 64 bits.
    #[non_exhaustive]
    TimestampTooLarge {
        /// The offset of its part.
        at: usize,
    },
    /// It has no part `v1=…`.
    NoCandidate,
    /// It has more than 16 parts `v1=…`.
    #[non_exhaustive]
    TooManyCandidates {
        /// The offset of the seventeenth one.
        at: usize,
    },
    /// None of its parts `v1=…` holds 64 hex digits.
    #[non_exhaustive]
    NoDecodableCandidate {
        /// How many parts `v1=…` there are.
        count: usize,
    },
}

impl fmt::Display for MalformedHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length } => {
                write!(f, "{length} bytes long, the limit is {MAX_LENGTH}")
            }
            Self::NoTimestamp => f.write_str("no `t`"),
            Self::RepeatedTimestamp { at } => write!(f, "a second `t` at byte {at}"),
            Self::TimestampNotDigits { at } => {
                write!(f, "`t` at byte {at} is not a row of ASCII digits")
            }
            Self::TimestampTooLarge { at } => write!(f, "`t` at byte {at} exceeds 64 bits"),
            Self::NoCandidate => f.write_str("no `v1`"),
            Self::TooManyCandidates { at } => {
                write!(
                    f,
                    "more than {MAX_CANDIDATES} `v1`, the next one at byte {at}"
                )
            }
            Self::NoDecodableCandidate { count: 1 } => f.write_str("its `v1` is not 64 hex digits"),
            Self::NoDecodableCandidate { count } => {
                write!(f, "none of its {count} `v1` is 64 hex digits")
            }
        }
    }
}

impl std::error::Error for MalformedHeader {}
