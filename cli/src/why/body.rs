//! What may have happened to a body between the signature and the receiver, undone.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::why::json;
use crate::why::search::Effort;
use crate::why::text_codes::{base64, form_values, percent, utf16, windows_1252};

/// The longest body that is written again as JSON.
pub(crate) const MAX_REWRITTEN_BYTES: usize = 256 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

const AS_IT_ARRIVED: &str =
    "verify the bytes as they arrived, before anything reads, trims or decodes them";

/// For what either end may have done.
const SIGNED_OR_ARRIVED: &str = "if your script signed it, sign exactly the bytes that it sends (`printf %s` instead of `echo`, \
     `curl --data-binary` instead of `-d`); otherwise verify the bytes as they arrived, before anything \
     reads, trims or decodes them";

/// A body as it may have been signed.
pub(crate) struct SignedBody<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    /// What happened; `None` for the body as it was saved.
    pub(crate) change: Option<Change>,
}

/// What happened, and what to do about it.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) cause: String,
    pub(crate) fix: String,
}

impl Change {
    pub(crate) fn new(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            fix: fix.into(),
        }
    }
}

/// Returns the body as it was saved, and each different body that a common accident turns into it.
/// `extra` is what follows the end of the body that its Content-Length gives.
pub(crate) fn signed_bodies<'a>(
    body: &'a [u8],
    extra: &[u8],
    effort: Effort,
) -> Vec<SignedBody<'a>> {
    let mut bodies = Bodies {
        seen: BTreeSet::new(),
        list: Vec::new(),
    };
    bodies.push(body, None);
    if !effort.covers_changes(body.len()) {
        return bodies.list;
    }
    longer(body, extra, &mut bodies);
    ends(body, &mut bodies);
    line_ends(body, &mut bodies);
    encodings(body, &mut bodies);
    wrappings(body, &mut bodies);
    if body.len() <= MAX_REWRITTEN_BYTES {
        rewritten(body, &mut bodies);
    }
    bodies.list
}

struct Bodies<'a> {
    /// Hashes would do, but the long ones are few.
    seen: BTreeSet<Cow<'a, [u8]>>,
    list: Vec<SignedBody<'a>>,
}

impl<'a> Bodies<'a> {
    fn add(&mut self, bytes: impl Into<Cow<'a, [u8]>>, cause: impl Into<String>, fix: &str) {
        self.push(bytes, Some(Change::new(cause, fix)));
    }

    fn push(&mut self, bytes: impl Into<Cow<'a, [u8]>>, change: Option<Change>) {
        let bytes = bytes.into();
        if self.seen.insert(bytes.clone()) {
            self.list.push(SignedBody { bytes, change });
        }
    }
}

/// A body that is longer than its Content-Length.
fn longer(body: &[u8], extra: &[u8], bodies: &mut Bodies<'_>) {
    // Editors add a line end.
    let ends = [&b""[..], b"\n", b"\r\n"];
    for extra in ends.iter().filter_map(|end| extra.strip_suffix(*end)) {
        if extra.is_empty() {
            continue;
        }
        let (whole, announced) = ([body, extra].concat(), body.len());
        let counts_characters = str::from_utf8(&whole).is_ok_and(|text| {
            [text.chars().count(), text.encode_utf16().count()].contains(&announced)
        });
        let wrong = match counts_characters {
            true => "counts characters instead of bytes",
            false => "is shorter than the body",
        };
        let cause = format!(
            "the Content-Length {wrong}: it is {announced}, and {} bytes were signed",
            whole.len()
        );
        let fix = "set the Content-Length to the number of bytes, or leave it to the HTTP library";
        bodies.add(whole, cause, fix);
    }
}

/// Bytes added or lost at the ends.
fn ends<'a>(body: &'a [u8], bodies: &mut Bodies<'a>) {
    const SAVED: &str =
        "do not add a line end; if only the file was saved with it, save the body byte for byte";
    for (end, words) in [
        (&b"\r\n"[..], "CR LF"),
        (b"\n", "line feed"),
        (b"\r", "carriage return"),
    ] {
        if let Some(rest) = body.strip_suffix(end) {
            bodies.add(
                rest,
                format!("the body ends in a {words} that was not signed"),
                SAVED,
            );
        }
    }
    for (end, words) in [
        (
            &b"\n"[..],
            "line feed at the end of the body was signed and is",
        ),
        (b"\r\n", "CR LF at the end of the body was signed and is"),
        (
            b"\n\n",
            "two line feeds at the end of the body were signed and are",
        ),
        (
            b"\r\n\r\n",
            "two CR LF at the end of the body were signed and are",
        ),
    ] {
        let cause = format!("the {words} missing");
        bodies.add([body, end].concat(), cause, SIGNED_OR_ARRIVED);
    }
    if let Some(rest) = body.strip_prefix(BOM) {
        let cause = "the body begins with a byte order mark that was not signed";
        bodies.add(
            rest,
            cause,
            "do not add a byte order mark when the body is saved or passed on",
        );
    } else {
        let cause = "the byte order mark at the beginning of the body was signed and is missing";
        bodies.add([BOM, body].concat(), cause, SIGNED_OR_ARRIVED);
    }
    let cause = "the body begins or ends with white space that was not signed";
    bodies.add(body.trim_ascii(), cause, AS_IT_ARRIVED);
    let without_nul = body
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    if without_nul < body.len() {
        let cause = "the body ends in NUL bytes that were not signed";
        let fix = "pass on as many bytes as were read, not the whole buffer";
        bodies.add(body.get(..without_nul).unwrap_or_default(), cause, fix);
    }
    let cause = "an empty body was signed";
    let fix =
        "sign the bytes that are sent; a stream that was read once yields nothing the second time";
    bodies.add(&[][..], cause, fix);
}

fn line_ends<'a>(body: &'a [u8], bodies: &mut Bodies<'a>) {
    const FIX: &str = "transfer and save the body as binary data, not as text";
    let to_lf = replaced(body, b"\r\n", b"\n");
    let to_crlf = replaced(&to_lf, b"\n", b"\r\n");
    bodies.add(
        to_lf,
        "the line ends of the body were changed from LF to CR LF",
        FIX,
    );
    const TO_LF: &str = "the line ends of the body were changed from CR LF to LF";
    bodies.add(to_crlf.clone(), TO_LF, FIX);
    let cause = format!("{TO_LF}, and the last one is missing");
    bodies.add([&to_crlf[..], b"\r\n"].concat(), cause, FIX);
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(from) {
            result.extend_from_slice(to);
            rest = after;
        } else {
            result.push(*first);
            rest = after;
        }
    }
    result
}

fn encodings<'a>(body: &'a [u8], bodies: &mut Bodies<'a>) {
    if let Some(text) = utf16(body) {
        let cause = "the body was UTF-8 and was encoded as UTF-16";
        let fix = "save and pass on the body as bytes; `>` of Windows PowerShell writes UTF-16";
        bodies.add(text.trim_end().as_bytes().to_vec(), cause, fix);
        bodies.add(text.into_bytes(), cause, fix);
    }
    if body.is_ascii() {
        return;
    }
    const FIX: &str = "treat the body as bytes; if it must be text, decode it as UTF-8, once, after it was verified";
    let latin_1: String = body.iter().map(|byte| char::from(*byte)).collect();
    let Ok(text) = str::from_utf8(body) else {
        let cause = "the body was UTF-8 and was encoded as Latin-1";
        bodies.add(latin_1.into_bytes(), cause, FIX);
        return;
    };
    let cause =
        "the body is UTF-8 that was read as another encoding and encoded as UTF-8 a second time";
    let narrow: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    if let Ok(narrow) = narrow {
        bodies.add(narrow, format!("{cause} (Latin-1)"), FIX);
    }
    if let Some(narrow) = text.chars().map(windows_1252).collect::<Option<Vec<u8>>>() {
        bodies.add(narrow, format!("{cause} (Windows-1252)"), FIX);
    }
    let cause =
        "the text was encoded as UTF-8 twice before it was signed, and once when it was sent";
    bodies.add(latin_1.into_bytes(), cause, "sign the bytes that are sent");
}

/// Bodies inside of something else.
fn wrappings<'a>(body: &'a [u8], bodies: &mut Bodies<'a>) {
    const AS_IT_IS: &str = "pass the body on as it is, not as a form";
    if let Ok(text) = serde_json::from_slice::<String>(body) {
        let cause = "the body was put into a JSON string, with quotation marks and escapes";
        let fix = "pass the body on as it is, not as JSON in JSON";
        bodies.add(text.into_bytes(), cause, fix);
    }
    if let Ok(text) = str::from_utf8(body)
        && let Ok(quoted) = serde_json::to_string(text)
    {
        let cause = "a JSON string with the body in it was signed, and the body alone was sent";
        bodies.add(quoted.into_bytes(), cause, "sign the bytes that are sent");
    }
    for (open, close) in [("\"", "\""), ("'", "'"), ("b'", "'"), ("b\"", "\"")] {
        let inner = body.strip_prefix(open.as_bytes());
        if let Some(inner) = inner.and_then(|it| it.strip_suffix(close.as_bytes())) {
            let cause = "the body has quotation marks around it that were not signed";
            bodies.add(
                inner,
                cause,
                "save and pass on the bytes, not their printed form",
            );
        }
    }
    if let Some(bytes) = base64(body) {
        let cause = "the body is Base64 of the one that was signed";
        let fix = "decode it before it is verified; API gateways encode bodies that they take for binary data";
        bodies.add(bytes, cause, fix);
    }
    if let Some(bytes) = percent(body) {
        let cause = "the body was URL-encoded";
        bodies.add(bytes, cause, AS_IT_IS);
    }
    for bytes in form_values(body) {
        bodies.add(bytes, "the body was sent as a form", AS_IT_IS);
    }
}

fn rewritten<'a>(body: &[u8], bodies: &mut Bodies<'a>) {
    let fix = format!(
        "if your script signed it, sign exactly the bytes that it sends; otherwise {AS_IT_ARRIVED}: JSON \
         that was parsed and written again has other bytes"
    );
    let ways = json::written_again(body);
    for (_, bytes) in &ways {
        without_line_ends(body, bytes, bodies);
    }
    // One more round with a line feed, which many programs write after JSON.
    for (words, bytes) in &ways {
        let cause = format!("the JSON was parsed and written again: the signed body is {words}");
        bodies.add(bytes.clone(), cause, &fix);
    }
    for (words, mut bytes) in ways {
        bytes.push(b'\n');
        let cause = format!(
            "the JSON was parsed and written again: the signed body is {words}, and a line feed"
        );
        bodies.add(bytes, cause, &fix);
    }
}

/// JSON on several lines that was sent on one: a simpler cause than that it was written again.
fn without_line_ends(body: &[u8], way: &[u8], bodies: &mut Bodies<'_>) {
    let is_kept = |byte: &u8| *byte != b'\n';
    if !way.contains(&b'\n') || !way.iter().copied().filter(is_kept).eq(body.iter().copied()) {
        return;
    }
    let cause = "the line ends of the body were removed";
    let fix = "`curl -d @file` does that: pass --data-binary @file instead, and sign the bytes that are sent";
    let with_end = [way, b"\n"].concat();
    for signed in [way, &with_end] {
        bodies.add(signed.to_vec(), cause, fix);
        bodies.add(replaced(signed, b"\n", b"\r\n"), cause, fix);
    }
}
