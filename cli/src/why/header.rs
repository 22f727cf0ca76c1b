//! Ways to read a signature header that is not as documented.

use ptolemy_webhooks::SIGNATURE_HEADER;

use crate::why::body::Change;
use crate::why::text_codes::{base64, hex, percent};

/// The length of a tag in bytes.
const TAG_BYTES: usize = 32;

/// A shorter beginning of a tag, in bytes, could match by chance.
const MIN_TAG_BYTES: usize = 8;

const LEAVE: &str = "pass the header on as it arrived";

/// One way to read the headers.
pub(crate) struct Reading {
    pub(crate) t: Vec<u8>,
    /// The tags, or the beginnings of tags that were cut.
    pub(crate) tags: Vec<Vec<u8>>,
    /// The change to the header; `None` if it is as documented.
    pub(crate) change: Option<Change>,
}

impl Reading {
    /// Whether a tag of the header is this one.
    pub(crate) fn has(&self, computed: &[u8; TAG_BYTES]) -> bool {
        self.tags.iter().any(|tag| computed.starts_with(tag))
    }
}

/// Returns the ways to read these values, at most a few for each.
pub(crate) fn readings(values: &[Vec<u8>]) -> Vec<Reading> {
    // More than a few are not an accident.
    let count = values.len();
    let each = values.iter().take(8).enumerate();
    each.flat_map(|(at, value)| {
        let repeated = (count > 1).then(|| {
            let cause = format!(
                "the header came {count} times, and value {} is valid alone",
                at + 1
            );
            Change::new(
                cause,
                "find out which proxy adds the header again, and pass it on once",
            )
        });
        readings_of(value, repeated)
    })
    .collect()
}

fn readings_of(value: &[u8], repeated: Option<Change>) -> Vec<Reading> {
    let mut readings = Vec::new();
    if let Some(parts) = parse(value) {
        parts.read(repeated, &mut readings);
        return readings;
    }
    for (value, cause) in repaired(value) {
        if let Some(parts) = parse(&value) {
            parts.read(Some(Change::new(cause, LEAVE)), &mut readings);
        }
    }
    readings
}

/// The parts of a value, as text.
struct Parts {
    t: Vec<u8>,
    tags: Vec<Vec<u8>>,
}

/// Splits a value as the library does, except that tags may be anything.
fn parse(value: &[u8]) -> Option<Parts> {
    let mut t = None;
    let mut tags = Vec::new();
    for part in value.split(|byte| *byte == b',') {
        let part = part.trim_ascii();
        if let Some(text) = part.strip_prefix(b"t=") {
            if t.is_some() || text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
                return None;
            }
            t = Some(text.to_vec());
        } else if let Some(text) = part.strip_prefix(b"v1=") {
            tags.push(text.to_vec());
        }
    }
    Some(Parts { t: t?, tags }).filter(|parts| !parts.tags.is_empty())
}

impl Parts {
    /// Adds a reading with the tags that are as documented, and one for each that is not.
    fn read(self, change: Option<Change>, readings: &mut Vec<Reading>) {
        let start = readings.len();
        let mut right = Vec::new();
        // As many as the library accepts.
        for text in self.tags.iter().take(16) {
            match hex(text) {
                Some(tag) if tag.len() == TAG_BYTES => right.push(tag),
                _ => readings.extend(misread(text).map(|(tag, cause)| Reading {
                    t: self.t.clone(),
                    tags: vec![tag],
                    change: Some(Change::new(cause, LEAVE)),
                })),
            }
        }
        if !right.is_empty() {
            let (t, tags) = (self.t, right);
            readings.insert(start, Reading { t, tags, change });
        }
    }
}

/// Reads a tag that is not 64 hex digits.
fn misread(text: &[u8]) -> Option<(Vec<u8>, String)> {
    let even = text.get(..text.len() - text.len() % 2)?;
    if let Some(mut tag) = hex(even).filter(|tag| tag.len() >= MIN_TAG_BYTES) {
        let digits = text.len();
        tag.truncate(TAG_BYTES);
        let cause = if digits > 2 * TAG_BYTES {
            format!("`v1` has {digits} characters, and its first 64 are the signature")
        } else {
            format!("`v1` was cut to {digits} of its 64 hex digits")
        };
        return Some((tag, cause));
    }
    let unmarked = text.strip_prefix(b"sha256=").unwrap_or(text);
    if let Some(tag) = hex(unmarked).filter(|tag| tag.len() == TAG_BYTES) {
        let cause = "`v1` has `sha256=` before its hex digits";
        return Some((tag, cause.to_owned()));
    }
    let tag = base64(unmarked).filter(|tag| tag.len() == TAG_BYTES)?;
    Some((tag, "`v1` is in Base64 instead of hex".to_owned()))
}

/// Returns the value with each of the usual changes undone, then with all of them undone.
fn repaired(value: &[u8]) -> Vec<(Vec<u8>, &'static str)> {
    let mut repaired = vec![
        (
            unquoted(value),
            "the header has quotation marks around its value",
        ),
        (
            without_name(value),
            "the header has its own name in its value",
        ),
        (
            percent(value).unwrap_or_default(),
            "the header was URL-encoded",
        ),
        (
            value.to_ascii_lowercase(),
            "the header was changed to upper case",
        ),
        (
            with_commas(value.to_vec()),
            "the parts of the header are not separated by commas",
        ),
        (
            without_spaces(value),
            "the header has white space within its parts",
        ),
    ];
    let all = without_name(&unquoted(value));
    let all = percent(&all).unwrap_or(all).to_ascii_lowercase();
    repaired.push((
        without_spaces(&with_commas(all)),
        "the header was changed in several ways",
    ));
    repaired.extend(from_each_t(value));
    repaired
}

fn unquoted(value: &[u8]) -> Vec<u8> {
    let is_mark = |byte: &u8| matches!(byte, b'"' | b'\'' | b'`' | b'[' | b']' | b' ');
    let start = value
        .iter()
        .position(|byte| !is_mark(byte))
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !is_mark(byte))
        .map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default().to_vec()
}

fn without_name(value: &[u8]) -> Vec<u8> {
    let value = value.trim_ascii();
    match value.split_at_checked(SIGNATURE_HEADER.len()) {
        Some((name, rest)) if name.eq_ignore_ascii_case(SIGNATURE_HEADER.as_bytes()) => {
            let rest = rest.trim_ascii();
            rest.strip_prefix(b":")
                .or(rest.strip_prefix(b"="))
                .unwrap_or(rest)
                .trim_ascii()
                .to_vec()
        }
        _ => value.to_vec(),
    }
}

/// Puts commas in place of other separators, if the value has none.
fn with_commas(value: Vec<u8>) -> Vec<u8> {
    if value.contains(&b',') {
        return value;
    }
    let comma = |byte: &u8| {
        if matches!(byte, b';' | b'&' | b' ' | b'|') {
            b','
        } else {
            *byte
        }
    };
    value.iter().map(comma).collect()
}

fn without_spaces(value: &[u8]) -> Vec<u8> {
    value
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect()
}

/// Splits before each `t=`, and says what that means.
fn from_each_t(value: &[u8]) -> impl Iterator<Item = (Vec<u8>, &'static str)> {
    let is_start = |at: &usize| {
        let rest = value.get(*at..).unwrap_or_default();
        let before = value.get(..*at).and_then(<[u8]>::last);
        rest.starts_with(b"t=") && matches!(before, None | Some(b',' | b' '))
    };
    // Values that are longer than the library reads are not an accident.
    let starts: Vec<usize> = (0..value.len().min(4_096))
        .filter(is_start)
        .take(8)
        .collect();
    let ends = starts.iter().copied().skip(1).chain([value.len()]);
    let parts: Vec<Vec<u8>> = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| value.get(*start..end).unwrap_or_default().to_vec())
        .collect();
    let cause = match starts.len() {
        // All of them are headers.
        2.. if parts.iter().all(|part| parse(part).is_some()) => {
            "two header lines were folded into one, and one of them is valid alone"
        }
        2.. => "the header has more than one `t`",
        _ => "the header has other text before `t`",
    };
    parts.into_iter().map(move |part| (part, cause))
}
