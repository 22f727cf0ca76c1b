//! The `Ptolemy-Signature` header: bytes in, `t` and its `v1` candidates out.

use std::fmt;

use memchr::memchr_iter;

use crate::tag::Tag;

/// The name of the header that carries the signature, in the lower case of HTTP/2.
///
/// Ptolemy documents it as `Ptolemy-Signature`; header names are not case-sensitive.
pub const SIGNATURE_HEADER: &str = "ptolemy-signature";

/// The longest header that is read, in bytes.
const MAX_LENGTH: usize = 4096;

/// The most `v1` candidates that one header may carry.
const MAX_CANDIDATES: usize = 16;

/// Returns the value of a header that must occur exactly once in a request.
///
/// With two signature headers it is ambiguous which one to trust, so such a request is rejected
/// instead of checked against the first.
///
/// # Errors
///
/// Returns [`HeaderError::Missing`] for no value and [`HeaderError::Repeated`] for two or more.
///
/// # Examples
///
/// With the `http` crate, pass `headers.get_all(SIGNATURE_HEADER)`.
///
/// ```
/// use ptolemy_webhooks::{HeaderError, only_header};
///
/// assert_eq!(only_header(["t=1,v1=ab"]), Ok("t=1,v1=ab"));
/// assert_eq!(only_header([""; 0]), Err(HeaderError::Missing));
/// assert_eq!(only_header(["t=1,v1=ab"; 2]), Err(HeaderError::Repeated));
/// ```
pub fn only_header<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Result<T, HeaderError> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(HeaderError::Missing)?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(HeaderError::Repeated),
    }
}

/// The `t` of a header.
pub(crate) struct Timestamp<'h> {
    /// The text as it was sent; the MAC covers it.
    pub(crate) text: &'h [u8],
    /// The same, as a number of seconds since 1970.
    pub(crate) seconds: u64,
}

/// The `v1` candidates of a header that could be decoded.
pub(crate) struct Candidates {
    tags: [Tag; MAX_CANDIDATES],
    count: usize,
}

impl Candidates {
    pub(crate) fn none() -> Self {
        Self {
            tags: [Tag::ZERO; MAX_CANDIDATES],
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

/// Parses a header value: returns its `t`, and puts its `v1`, at least one, into `candidates`,
/// which is passed in because it is large and a return would copy it.
///
/// Parts are separated by commas, and spaces and tabs at their ends are dropped. A part that is not
/// `t=…` or `v1=…` is ignored, so that a later scheme can be used beside this one.
pub(crate) fn parse<'h>(
    header: &'h [u8],
    candidates: &mut Candidates,
) -> Result<Timestamp<'h>, HeaderError> {
    if header.len() > MAX_LENGTH {
        return Err(HeaderError::TooLong {
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
                return Err(HeaderError::RepeatedTimestamp { at });
            }
            let seconds = parse_seconds(text, at)?;
            timestamp = Some(Timestamp { text, seconds });
        } else if let Some(text) = part.strip_prefix(b"v1=") {
            count += 1;
            if count > MAX_CANDIDATES {
                return Err(HeaderError::TooManyCandidates { at });
            }
            if let Some(tag) = Tag::from_hex(text) {
                candidates.push(tag);
            }
        }
        at = end + 1;
    }

    let timestamp = timestamp.ok_or(HeaderError::NoTimestamp)?;
    match (count, candidates.as_slice()) {
        (0, _) => Err(HeaderError::NoCandidate),
        (count, []) => Err(HeaderError::NoDecodableCandidate { count }),
        _ => Ok(timestamp),
    }
}

fn trim(mut part: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = part {
        part = rest;
    }
    part
}

fn parse_seconds(text: &[u8], at: usize) -> Result<u64, HeaderError> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(HeaderError::TimestampNotDigits { at });
    }
    text.iter()
        .try_fold(0_u64, |seconds, &digit| {
            seconds
                .checked_mul(10)?
                .checked_add(u64::from(digit & 0x0f))
        })
        .ok_or(HeaderError::TimestampTooLarge { at })
}

/// What is wrong with the `Ptolemy-Signature` header of a request, and where.
///
/// Offsets count bytes from the start of the header value, beginning at 0. No message quotes the
/// header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The request has no such header.
    Missing,
    /// The request has the header more than once, so it is ambiguous which one to trust.
    Repeated,
    /// The value is longer than 4,096 bytes.
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
    /// `t` is empty or contains a byte that is not an ASCII digit.
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
    /// None of its parts `v1=…` is 64 hex digits.
    #[non_exhaustive]
    NoDecodableCandidate {
        /// How many parts `v1=…` there are.
        count: usize,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "header `Ptolemy-Signature` is missing",
            Self::Repeated => "header `Ptolemy-Signature` is repeated",
            _ => "header `Ptolemy-Signature` is malformed: ",
        })?;
        match self {
            Self::Missing | Self::Repeated => Ok(()),
            Self::TooLong { length } => {
                write!(f, "{length} bytes long, the limit is {MAX_LENGTH}")
            }
            Self::NoTimestamp => f.write_str("no `t`"),
            Self::RepeatedTimestamp { at } => write!(f, "a second `t` at byte {at}"),
            Self::TimestampNotDigits { at } => {
                write!(f, "`t` at byte {at} is not all ASCII digits")
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

impl std::error::Error for HeaderError {}
