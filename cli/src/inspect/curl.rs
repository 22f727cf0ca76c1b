//! A request as a shell command that sends it again, byte for byte.

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::{Path, State};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Response};

use crate::inspect::api::{self, Shared};
use crate::inspect::checker::Checker;
use crate::inspect::detail::headers;
use crate::inspect::entry::{Entry, Request};
use crate::inspect::target::end_to_end;

/// A longer body is sent through Base64: a shell passes on an argument of this length.
const MAX_QUOTED_BYTES: usize = 32 * 1024;

/// Headers that curl adds itself unless it is asked not to.
const ADDED: [HeaderName; 4] = [ACCEPT, USER_AGENT, CONTENT_TYPE, EXPECT];

/// `GET /api/entries/{seq}/curl`
pub(crate) async fn show(State(app): Shared, Path(seq): Path<String>) -> Response<Body> {
    let entry = match api::entry(&app, &seq) {
        Ok(entry) => entry,
        Err(answer) => return answer,
    };
    let of_sandbox = app.sandbox.get().map(|sandbox| sandbox.checker(&entry));
    let checker = of_sandbox.as_ref().unwrap_or(&app.checker);
    // A delivery of the sandbox went to its webhook, which may not be the one of --forward.
    let url = match (app.sandbox.get(), &app.target) {
        (Some(sandbox), _) => sandbox.url_of(&entry),
        (None, Some(target)) => Some(target.url().to_string()),
        (None, None) => None,
    };
    let mut answer = Response::new(Body::from(command(&entry, url.as_deref(), checker)));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer
}

fn command(entry: &Entry, url: Option<&str>, checker: &Checker) -> String {
    let request = &entry.request;
    let (mut command, mut left_out) = (String::from("curl -sS -i --http1.1 --globoff"), Vec::new());
    add_method(request, &mut command);
    let sent = end_to_end(&request.headers);
    let shown = headers(&sent, checker);
    for ((name, value), shown) in sent.iter().zip(&shown) {
        if [HOST, CONTENT_LENGTH].contains(name) {
            continue;
        }
        if shown.masked {
            left_out.push(name.as_str());
            continue;
        }
        let _ = write!(command, " \\\n  -H {}", header(name, value));
    }
    for name in ADDED.iter().filter(|name| !sent.contains_key(*name)) {
        let _ = write!(command, " \\\n  -H {}", quoted(&format!("{name}:")));
    }
    let body = &request.body;
    let is_head = request.method == Method::HEAD;
    let has_body = !is_head && (!body.is_empty() || request.headers.contains_key(CONTENT_LENGTH));
    let url = quoted(url.unwrap_or("http://127.0.0.1:3000/"));
    let mut text = String::new();
    for name in left_out {
        let _ = writeln!(text, "# the value of {name} is left out");
    }
    if is_head && !body.is_empty() {
        text.push_str("# curl sends no body with HEAD: it is left out\n");
    }
    match str::from_utf8(body).ok().filter(|text| is_plain(text)) {
        _ if !has_body => {
            let _ = writeln!(text, "{command} \\\n  {url}");
        }
        Some(plain) => {
            let plain = quoted(plain);
            let _ = writeln!(text, "{command} \\\n  --data-binary {plain} \\\n  {url}");
        }
        None => {
            let _ = writeln!(
                text,
                "base64 -d <<'END' | {command} \\\n  --data-binary @- \\\n  {url}"
            );
            add_base64(body, &mut text);
            text.push_str("END\n");
        }
    }
    text
}

fn add_method(request: &Request, command: &mut String) {
    if request.method == Method::HEAD {
        // Otherwise curl waits for a body that does not come.
        command.push_str(" --head");
    } else {
        let _ = write!(command, " -X {}", quoted(request.method.as_str()));
    }
}

/// A header as an argument. curl takes a semicolon for an empty value, and `printf` writes bytes
/// that are not text.
fn header(name: &HeaderName, value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    if bytes.is_empty() {
        return quoted(&format!("{name};"));
    }
    let is_printed = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    if bytes.iter().all(is_printed) {
        let text = bytes.iter().map(|byte| char::from(*byte));
        return quoted(&format!("{name}: {}", text.collect::<String>()));
    }
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!(
        "\"$(printf '%s: %b' {} '{}')\"",
        quoted(name.as_str()),
        octal.replace('\\', "\\0")
    )
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Whether a body can be a quoted word: it is short and printable, and curl does not read a file
/// because of an `@`.
fn is_plain(text: &str) -> bool {
    // A newline in single quotes stands for itself.
    let is_visible = |c: char| c == '\n' || !(c.is_control() || is_reordering(c));
    text.len() <= MAX_QUOTED_BYTES && !text.starts_with('@') && text.chars().all(is_visible)
}

/// Whether a character changes the order or the look of others.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
}

/// Bytes in Base64, 76 characters a line.
fn add_base64(bytes: &[u8], text: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |value: u32| {
        let place = usize::try_from(value & 63).unwrap_or_default();
        char::from(DIGITS.get(place).copied().unwrap_or_default())
    };
    for line in bytes.chunks(57) {
        for three in line.chunks(3) {
            let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
            let value = byte(0) << 16 | byte(1) << 8 | byte(2);
            let all = [18, 12, 6, 0].map(|shift| digit(value >> shift));
            text.extend(all.iter().take(three.len() + 1));
            text.extend(std::iter::repeat_n('=', 3 - three.len()));
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_padding_and_lines() {
        let encoded = |bytes: &[u8]| {
            let mut text = String::new();
            add_base64(bytes, &mut text);
            text
        };
        assert_eq!(encoded(b""), "");
        assert_eq!(encoded(b"f"), "Zg==\n");
        assert_eq!(encoded(b"fo"), "Zm8=\n");
        assert_eq!(encoded(b"foo"), "Zm9v\n");
        assert_eq!(encoded(b"\xfb\xff\xfe"), "+//+\n");
        assert_eq!(encoded(&[0; 58]), format!("{}\nAA==\n", "A".repeat(76)));
    }

    #[test]
    fn a_head_request_is_sent_without_its_body() {
        let ring = crate::inspect::ring::Ring::new();
        let body = bytes::Bytes::from_static(b"x");
        let checker = Checker::without_secret();
        let headers = http::HeaderMap::new();
        let at = time::OffsetDateTime::UNIX_EPOCH;
        let seq = ring.add(crate::inspect::entry::NewEntry {
            at,
            source: crate::inspect::entry::Source::Sender,
            of: None,
            checked: std::sync::Arc::new(checker.check(&headers, &body, at)),
            request: std::sync::Arc::new(Request {
                method: Method::HEAD,
                path: "/".to_owned(),
                headers,
                body,
            }),
            receiver: crate::inspect::entry::Receiver::Pending,
            answer: None,
            sandbox: None,
        });
        let text = command(&ring.get(seq).unwrap(), None, &checker);
        assert!(
            !text.contains("--data-binary") && text.contains(" --head "),
            "{text}"
        );
        assert!(text.starts_with("# curl sends no body with HEAD: it is left out\n"));
    }

    #[test]
    fn words_of_a_shell_are_quoted() {
        let name = HeaderName::from_static("x-a'b");
        let value = HeaderValue::from_static("it's $HOME `id` \\");
        assert_eq!(header(&name, &value), r"'x-a'\''b: it'\''s $HOME `id` \'");
        let name = HeaderName::from_static("x-b");
        let value = HeaderValue::from_bytes(b"\xff'").unwrap();
        let printed = r#""$(printf '%s: %b' 'x-b' '\0377\0047')""#;
        assert_eq!(header(&name, &value), printed);
        assert_eq!(header(&name, &HeaderValue::from_static("")), "'x-b;'");
        assert!(is_plain("a'b$c") && !is_plain("@a") && is_plain("a\nb"));
        assert!(!is_plain("a\u{1b}b") && !is_plain("a\u{202e}b"));
    }
}
