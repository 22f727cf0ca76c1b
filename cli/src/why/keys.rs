//! The secrets that are tried, and what accidents make of them.

use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use crate::secret::GivenSecret;
use crate::stop::Stop;
use crate::why::body::Change;
use crate::why::text_codes::{base64, hex, percent, utf16};

const PREFIX: &[u8] = b"whsec_";

/// The most files that are tried.
const MAX_FOLDER_FILES: usize = 1_000;

const COPY_AGAIN: &str = "copy the whole secret again as Ptolemy shows it, and nothing else";

const DECODE: &str = "decode it, and configure the result, which begins with `whsec_`";

const SIGN_WHOLE: &str = "sign with the whole secret, prefix included, as Ptolemy documents it; nothing in it is decoded";

/// A key that is tried.
pub(crate) struct Key {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Where the secret is from.
    pub(crate) name: String,
    /// What is wrong with it: at most that it is another secret, and one change.
    pub(crate) changes: Vec<Change>,
}

/// Returns the keys of a secret that the receiver accepts: as it is, and changed.
pub(crate) fn accepted(secret: &GivenSecret, name: &str) -> Vec<Key> {
    keys(secret, name, &[])
}

/// Returns the keys of each file in a folder, and the number of files that cannot be read.
pub(crate) fn in_folder(folder: &Path) -> Result<(Vec<Key>, usize), Stop> {
    let fault = |fault: String| Stop::usage(format!("{}: {fault}", folder.display()));
    let entries = fs::read_dir(folder).map_err(|error| fault(error.to_string()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| fault(error.to_string()))?.path();
        if path.is_file() {
            paths.push(path);
        }
        if paths.len() > MAX_FOLDER_FILES {
            return Err(fault(format!("more than {MAX_FOLDER_FILES} files")));
        }
    }
    paths.sort();
    let (mut found, mut unreadable) = (Vec::new(), 0);
    for path in paths {
        match GivenSecret::from_file(&path) {
            Ok(secret) if !secret.bytes.is_empty() => {
                let name = format!("the secret in {}", path.display());
                let cause =
                    format!("the delivery was signed with {name}, which is not the one in use");
                let fix = "configure that secret, or the right one for this webhook; each webhook has its own";
                found.extend(keys(&secret, &name, &[Change::new(cause, fix)]));
            }
            Ok(_) | Err(_) => unreadable += 1,
        }
    }
    Ok((found, unreadable))
}

fn keys(secret: &GivenSecret, name: &str, before: &[Change]) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let mut add = |bytes: Vec<u8>, change: Option<Change>| {
        let bytes = Zeroizing::new(bytes);
        if !bytes.is_empty() && keys.iter().all(|key| key.bytes != bytes) {
            let changes = before.iter().cloned().chain(change).collect();
            keys.push(Key {
                bytes,
                name: name.to_owned(),
                changes,
            });
        }
    };
    add(secret.bytes.to_vec(), None);
    for (bytes, cause) in cleaned(&secret.bytes) {
        add(
            bytes,
            Some(Change::new(format!("{name} {cause}"), COPY_AGAIN)),
        );
    }
    for (bytes, cause) in encoded(&secret.bytes) {
        add(bytes, Some(Change::new(format!("{name} {cause}"), DECODE)));
    }
    for (bytes, cause) in misused(&secret.bytes) {
        let cause = format!("the sender signed with {name} {cause}");
        add(bytes, Some(Change::new(cause, SIGN_WHOLE)));
    }
    keys
}

/// Returns what the right secret may be if the one at hand is damaged.
fn cleaned(secret: &[u8]) -> Vec<(Vec<u8>, &'static str)> {
    let is_mark = |byte: &u8| matches!(byte, b'"' | b'\'' | b'`') || byte.is_ascii_whitespace();
    let without_escape = [&b"\\r\\n"[..], b"\\n", b"\\r"]
        .iter()
        .find_map(|escape| secret.strip_suffix(*escape));
    let inner = |is_outer: &dyn Fn(&u8) -> bool| {
        let start = secret.iter().position(|byte| !is_outer(byte));
        let end = secret.iter().rposition(|byte| !is_outer(byte));
        let range = start
            .zip(end)
            .and_then(|(start, end)| secret.get(start..=end));
        range.unwrap_or_default().to_vec()
    };
    let mut cleaned = vec![
        (
            secret.trim_ascii().to_vec(),
            "has a line end or other white space at its end or beginning, which is not part of it",
        ),
        (
            inner(&is_mark),
            "has quotation marks around it, which are not part of it",
        ),
        (
            without_escape.unwrap_or_default().to_vec(),
            "ends in a line end that is written out, a backslash and `n`, which is not part of it",
        ),
        (
            inner(&|byte| byte.is_ascii_punctuation() && *byte != b'_'),
            "has punctuation at its end, which is not part of it",
        ),
    ];
    if let Some(rest) = secret.strip_prefix(b"\xef\xbb\xbf") {
        cleaned.push((
            rest.to_vec(),
            "begins with a byte order mark, which is not part of it",
        ));
    }
    let twice = secret.trim_ascii().strip_prefix(PREFIX);
    if let Some(rest) = twice.filter(|rest| rest.starts_with(PREFIX)) {
        let cause = "has its prefix `whsec_` twice, which is part of it once";
        cleaned.push((rest.to_vec(), cause));
    }
    if let Some(text) = utf16(secret) {
        let cause = "is encoded as UTF-16 and must be UTF-8";
        cleaned.push((text.trim().as_bytes().to_vec(), cause));
    }
    cleaned.extend(embedded(secret).map(|text| {
        let cause =
            "has other text around it, such as the `NAME=` of a settings file, which is not part of it";
        (text, cause)
    }));
    if !secret.starts_with(PREFIX) {
        let cause = "lacks its prefix `whsec_`, which is part of it";
        cleaned.push(([PREFIX, secret].concat(), cause));
    }
    if let Some(decoded) = percent(secret) {
        cleaned.push((decoded, "is URL-encoded"));
    }
    cleaned
}

/// Returns each secret that a text mentions, at most a few.
fn embedded(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let starts = text.windows(PREFIX.len()).enumerate();
    let starts = starts.filter(|(_, part)| *part == PREFIX).take(8);
    starts.map(|(at, _)| {
        let rest = text.get(at..).unwrap_or_default();
        let is_end = |byte: &u8| {
            byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b',' | b';' | b'}')
        };
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default().to_vec()
    })
}

/// Returns the right secret if the one at hand is a code of it, such as a value of a Kubernetes
/// secret.
fn encoded(secret: &[u8]) -> impl Iterator<Item = (Vec<u8>, &'static str)> {
    let text = secret.trim_ascii();
    let rest = text.strip_prefix(PREFIX).unwrap_or_default();
    let decoded = [
        (base64(text), "is Base64 of the right one"),
        (base64(rest), "is Base64 of the right one"),
        (hex(text), "is the right one in hex"),
    ];
    decoded.into_iter().filter_map(|(bytes, cause)| {
        // `echo` adds a line feed before it is encoded.
        let bytes = bytes?.trim_ascii().to_vec();
        bytes.starts_with(PREFIX).then_some((bytes, cause))
    })
}

/// Returns the keys that a sender may make of the right secret by mistake.
fn misused(secret: &[u8]) -> Vec<(Vec<u8>, &'static str)> {
    let with = |end: &[u8]| [secret, end].concat();
    let around = |mark: &[u8]| [mark, secret, mark].concat();
    let mut misused = vec![
        (with(b"\n"), "and a line feed after it"),
        (with(b"\r\n"), "and a CR LF after it"),
        (with(b" "), "and a space after it"),
        (around(b"\""), "in quotation marks"),
        (around(b"'"), "in quotation marks"),
        (url_encoded(secret), "in URL encoding"),
    ];
    let text = secret.trim_ascii();
    if let Some(rest) = text.strip_prefix(PREFIX) {
        misused.push((rest.to_vec(), "without its prefix `whsec_`"));
        let decoded = base64(rest).unwrap_or_default();
        misused.push((decoded, "without its prefix, decoded as Base64"));
        misused.push((
            hex(rest).unwrap_or_default(),
            "without its prefix, decoded as hex",
        ));
    }
    misused.push((base64(text).unwrap_or_default(), "decoded as Base64"));
    misused
}

fn url_encoded(secret: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for byte in secret {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(*byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    encoded
}
