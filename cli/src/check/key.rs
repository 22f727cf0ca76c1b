//! Probes of the key and of `v1`: only the whole secret signs, and only the whole signature counts.

use reqwest::Method;

use super::forge::{Forge, Request};
use super::probe::{Basis, Expected, Order, Plan, Probe};

const WHOLE_TAG: &str = "Compare all 32 bytes of the HMAC with `v1`, with a constant-time comparison that is \
                         false for different lengths.";
const WHOLE_SECRET: &str = "Use the whole secret as Ptolemy shows it as the key, `whsec_` included and \
                            nothing decoded or trimmed.";
const NO_DEFAULT: &str =
    "Read the secret when the program starts, and stop if it is missing or empty.";
const NEEDS_HEADER: &str =
    "Reject a request without `Ptolemy-Signature`, or without both `t` and `v1` in it.";
const SCHEME: &str =
    "Accept only Ptolemy's scheme: `t` and `v1` of `Ptolemy-Signature`, HMAC-SHA256 in hex.";

const OTHER_SECRET: &[u8] = b"whsec_another_secret";
const EVERY_REQUEST: &str =
    "Verify every request in the same way; method, `Content-Type` and framing must not matter.";

/// A request without the header.
fn unsigned(forge: &Forge, label: &str) -> Request {
    let mut request = forge.signed(forge.body(label));
    request.signatures.clear();
    request
}

/// The event of a label in another body, signed with another secret.
pub(super) fn forgery(forge: &Forge, label: &str) -> Request {
    let body = format!("{} ", forge.body(label));
    forge.signed_with(OTHER_SECRET, &forge.now().to_string(), body)
}

/// A digit that differs from another in one bit.
fn flipped(digit: char) -> char {
    digit
        .to_digit(16)
        .and_then(|value| char::from_digit(value ^ 1, 16))
        .unwrap_or('0')
}

/// A signature with one digit changed; the first is 0.
fn with_flipped(tag: &str, position: usize) -> String {
    let digits = tag.chars().enumerate();
    digits
        .map(|(at, digit)| {
            if at == position {
                flipped(digit)
            } else {
                digit
            }
        })
        .collect()
}

fn cut(tag: &str, digits: usize) -> &str {
    tag.get(..digits).unwrap_or_default()
}

/// A probe that changes the signature.
macro_rules! tag_probe {
    ($id:literal, $title:literal, $tag:expr) => {
        Probe::forged($id, $title, WHOLE_TAG, |f| {
            let change: fn(&str) -> String = $tag;
            f.with_header($id, |t, tag| format!("t={t},v1={}", change(tag)))
                .into()
        })
    };
}

/// A probe that signs with another key.
macro_rules! key_probe {
    ($id:literal, $title:literal, $fix:expr, $key:expr) => {
        Probe::forged($id, $title, $fix, |f| {
            let key: fn(&Forge) -> Vec<u8> = $key;
            f.signed_with(&key(f), &f.now().to_string(), f.body($id))
                .into()
        })
    };
}

/// A probe whose header is made from `t` and the right signature.
macro_rules! header_probe {
    ($id:literal, $title:literal, $fix:expr, $header:expr) => {
        Probe::forged($id, $title, $fix, |f| f.with_header($id, $header).into())
    };
}

pub(super) const PROBES: &[Probe] = &[
    Probe::forged("unsigned", "no signature header", NEEDS_HEADER, |f| {
        unsigned(f, "unsigned").into()
    }),
    Probe::forged(
        "unsigned-text",
        "no signature header, `text/plain`",
        EVERY_REQUEST,
        |f| unsigned(f, "unsigned-text").of_type(Some("text/plain")).into(),
    ),
    Probe::forged(
        "unsigned-form",
        "no signature header, the `Content-Type` of a form",
        EVERY_REQUEST,
        |f| {
            let request = unsigned(f, "unsigned-form");
            request.of_type(Some("application/x-www-form-urlencoded")).into()
        },
    ),
    Probe::forged(
        "unsigned-no-type",
        "no signature header and no `Content-Type`",
        EVERY_REQUEST,
        |f| unsigned(f, "unsigned-no-type").of_type(None).into(),
    ),
    Probe::forged(
        "unsigned-chunked",
        "no signature header, in chunks without `Content-Length`",
        EVERY_REQUEST,
        |f| unsigned(f, "unsigned-chunked").in_chunks().into(),
    ),
    Probe::forged("unsigned-put", "no signature header, PUT", EVERY_REQUEST, |f| {
        unsigned(f, "unsigned-put").by(Method::PUT).into()
    }),
    // A page for browsers at the same path is not a flaw, so a 2xx proves nothing.
    Probe::forged("unsigned-get", "no signature header, GET", EVERY_REQUEST, |f| {
        unsigned(f, "unsigned-get").by(Method::GET).into()
    })
    .advice(Basis::OwnChoice)
    .expect(Expected::NotAccepted, false),
    Probe::forged(
        "forgery-of-known-id",
        "another body with a wrong signature and the id of a good delivery before it",
        "Verify the signature before the id is looked up: everything else in an unverified body can be wrong.",
        |f| {
            let label = "forgery-of-known-id";
            Plan {
                requests: vec![f.signed(f.body(label)), forgery(f, label)],
                order: Order::LastCounts,
            }
        },
    )
    .expect(Expected::Rejected, true),
    header_probe!(
        "header-empty",
        "an empty signature header",
        NEEDS_HEADER,
        |_, _| { String::new() }
    ),
    header_probe!(
        "header-commas",
        "a header of commas",
        NEEDS_HEADER,
        |_, _| ",,,".to_owned()
    ),
    header_probe!(
        "header-words",
        "a header that is not a list of keys and values",
        NEEDS_HEADER,
        |_, _| { "signature".to_owned() }
    ),
    header_probe!(
        "header-only-t",
        "`t` without `v1`",
        NEEDS_HEADER,
        |t, _| format!("t={t}")
    ),
    header_probe!(
        "header-v1-empty",
        "an empty `v1`",
        NEEDS_HEADER,
        |t, _| format!("t={t},v1=")
    ),
    Probe::forged(
        "header-only-v1",
        "`v1` without `t`, the signature of `.` and the body",
        NEEDS_HEADER,
        |f| {
            let body = f.body("header-only-v1");
            let value = format!("v1={}", f.tag("", body.as_bytes()));
            f.signed(body).signature(value).into()
        },
    ),
    Probe::forged(
        "header-t-empty",
        "an empty `t`, which is signed",
        NEEDS_HEADER,
        |f| f.signed_at("", f.body("header-t-empty")).into(),
    ),
    key_probe!("key-empty", "signed with an empty key", NO_DEFAULT, |_| {
        Vec::new()
    }),
    key_probe!(
        "key-other",
        "signed with another secret",
        WHOLE_SECRET,
        |_| { OTHER_SECRET.to_vec() }
    ),
    key_probe!(
        "key-without-prefix",
        "signed with the secret without `whsec_`",
        WHOLE_SECRET,
        |f| { f.secret_without_prefix().to_vec() }
    ),
    key_probe!(
        "key-prefix-alone",
        "signed with `whsec_` alone",
        NO_DEFAULT,
        |_| b"whsec_".to_vec()
    ),
    key_probe!(
        "key-with-newline",
        "signed with the secret and a newline",
        WHOLE_SECRET,
        |f| { [f.secret(), b"\n"].concat() }
    ),
    key_probe!(
        "key-word-undefined",
        "signed with the word `undefined`",
        NO_DEFAULT,
        |_| { b"undefined".to_vec() }
    ),
    key_probe!(
        "key-name-of-variable",
        "signed with the name of the environment variable",
        NO_DEFAULT,
        |_| { b"PTOLEMY_WEBHOOK_SECRET".to_vec() }
    ),
    tag_probe!(
        "tag-first-digit",
        "one bit of the first byte changed",
        |tag| with_flipped(tag, 0)
    ),
    tag_probe!(
        "tag-middle-digit",
        "one bit of a byte in the middle changed",
        |tag| { with_flipped(tag, 33) }
    ),
    tag_probe!(
        "tag-last-digit",
        "one bit of the last byte changed",
        |tag| with_flipped(tag, 63)
    ),
    tag_probe!(
        "tag-first-half",
        "the last 16 bytes replaced by zeros",
        |tag| { format!("{}{}", cut(tag, 32), "0".repeat(32)) }
    ),
    tag_probe!("tag-cut-to-1-byte", "the first byte alone", |tag| cut(
        tag, 2
    )
    .to_owned()),
    tag_probe!("tag-cut-to-16-bytes", "the first 16 bytes alone", |tag| {
        cut(tag, 32).to_owned()
    }),
    tag_probe!("tag-cut-to-31-bytes", "all bytes but the last", |tag| cut(
        tag, 62
    )
    .to_owned()),
    tag_probe!("tag-too-long", "one byte more", |tag| format!("{tag}00")),
    tag_probe!("tag-zeros", "zeros", |_| "0".repeat(64)),
    Probe::forged(
        "tag-zero-byte",
        "the right signature begins with a zero byte, and no other byte is right",
        "Compare all 32 bytes of the HMAC with `v1`: `strcmp` ends at the first zero byte.",
        |f| {
            let (request, rest) = f.with_zero_first("tag-zero-byte");
            let wrong: String = rest.chars().map(flipped).collect();
            let value = format!("t={},v1=00{wrong}", request.t);
            request.signature(value).into()
        },
    ),
    tag_probe!("tag-not-hex", "letters that are not hex digits", |_| "z"
        .repeat(64)),
    Probe::forged(
        "mac-without-t",
        "the signature of the body alone",
        "Sign the text of `t`, a dot and the body: a signature without the time can be replayed forever.",
        |f| {
            let body = f.body("mac-without-t");
            let value = format!("t={},v1={}", f.now(), f.tag_of_body(body.as_bytes()));
            f.signed(body).signature(value).into()
        },
    ),
    Probe::forged(
        "mac-of-another-t",
        "`t` is now, the signature is the one of an hour ago",
        "Sign the text of `t`, a dot and the body: an old delivery must not pass with a new `t`.",
        |f| {
            let body = f.body("mac-of-another-t");
            let old = f.receivers_time(-3600).to_string();
            let value = format!("t={},v1={}", f.now(), f.tag(&old, body.as_bytes()));
            f.signed(body).signature(value).into()
        },
    ),
    header_probe!(
        "scheme-v0",
        "the right signature as `v0`",
        SCHEME,
        |t, tag| format!("t={t},v0={tag}")
    ),
    Probe::forged(
        "scheme-sha256",
        "the signature of the body alone as `sha256=`, without `t`",
        SCHEME,
        |f| {
            let body = f.body("scheme-sha256");
            let value = format!("sha256={}", f.tag_of_body(body.as_bytes()));
            f.signed(body).signature(value).into()
        },
    ),
    Probe::forged(
        "scheme-bare",
        "the signature of the body alone, without a key",
        SCHEME,
        |f| {
            let body = f.body("scheme-bare");
            let value = f.tag_of_body(body.as_bytes());
            f.signed(body).signature(value).into()
        },
    ),
];
