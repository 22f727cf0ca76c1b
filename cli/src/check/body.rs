//! Probes of the body: the signature covers the bytes that arrived, all of them and no others.

use serde_json::{Value, json};

use super::forge::{Forge, Request};
use super::probe::{Basis, Expected, Needs, Probe};

const RAW_BYTES: &str = "Compute the HMAC over the body's bytes as they arrived, before anything decodes, \
                         trims or parses them.";
const COVERS_BODY: &str = "Reject the request if the HMAC of `t`, `.` and the body's bytes is not the `v1` of the header.";
const LIMIT: &str =
    "Raise the limit on the length of a body in the application and in each proxy in front of it.";
const NO_FAULT: &str = "Answer with a 4xx, or accept the delivery and set it aside: after a 5xx it is sent again and again.";

/// Signs one body and sends another.
fn changed(forge: &Forge, signed: &str, sent: impl Into<Vec<u8>>) -> Request {
    forge.signed(signed.to_owned()).sending(sent.into())
}

/// An id with another last digit, so that it is still a UUID and still marked.
fn with_other_end(id: &str) -> String {
    let mut id = id.to_owned();
    let last = id.pop();
    id.push(if last == Some('0') { '1' } else { '0' });
    id
}

fn pretty(forge: &Forge, label: &str) -> String {
    serde_json::to_string_pretty(&forge.event(label)).unwrap_or_default()
}

/// An event with one more field in `extras`, an object that is documented as free-form. Its JSON is
/// inserted unchanged.
fn with_extra(forge: &Forge, label: &str, name: &str, json: &str) -> String {
    let body = forge.body(label);
    body.replacen(
        "\"extras\":{",
        &format!("\"extras\":{{\"{name}\":{json},"),
        1,
    )
}

fn filled(forge: &Forge, label: &str, bytes: usize) -> String {
    let mut event = forge.event(label);
    if let Some(data) = event.get_mut("data").and_then(Value::as_object_mut) {
        data.insert("extras".to_owned(), json!({"filler": "x".repeat(bytes)}));
    }
    event.to_string()
}

pub(super) const PROBES: &[Probe] = &[
    Probe::forged(
        "body-tampered",
        "one character of the body changed after it was signed",
        COVERS_BODY,
        |f| {
            let (body, id) = (f.body("body-tampered"), f.id("body-tampered"));
            let tampered = body.replacen(&id, &with_other_end(&id), 1);
            changed(f, &body, tampered).into()
        },
    ),
    Probe::forged(
        "body-emptied",
        "no body, with the signature of one",
        COVERS_BODY,
        |f| changed(f, &f.body("body-emptied"), "").into(),
    ),
    Probe::forged(
        "body-cut",
        "the body without its last byte",
        COVERS_BODY,
        |f| {
            let body = f.body("body-cut");
            let cut = body.strip_suffix('}').unwrap_or_default();
            changed(f, &body, cut).into()
        },
    ),
    Probe::forged(
        "body-extended",
        "the body twice, signed once",
        COVERS_BODY,
        |f| {
            let body = f.body("body-extended");
            changed(f, &body, body.repeat(2)).into()
        },
    ),
    Probe::forged(
        "body-newline-added",
        "a newline after the signed body",
        RAW_BYTES,
        |f| {
            let body = f.body("body-newline-added");
            changed(f, &body, format!("{body}\n")).into()
        },
    ),
    Probe::forged(
        "body-newline-removed",
        "the signed body ends with a newline that is not sent",
        RAW_BYTES,
        |f| {
            let body = f.body("body-newline-removed");
            changed(f, &format!("{body}\n"), body).into()
        },
    ),
    Probe::forged(
        "body-crlf-for-lf",
        "line ends changed from LF to CRLF",
        RAW_BYTES,
        |f| {
            let body = pretty(f, "body-crlf-for-lf");
            changed(f, &body, body.replace('\n', "\r\n")).into()
        },
    ),
    Probe::forged(
        "body-made-pretty",
        "compact JSON was signed, the same JSON is sent with indentation",
        RAW_BYTES,
        |f| {
            changed(
                f,
                &f.body("body-made-pretty"),
                pretty(f, "body-made-pretty"),
            )
            .into()
        },
    ),
    Probe::forged(
        "body-made-compact",
        "JSON with indentation was signed, the same JSON is sent without",
        RAW_BYTES,
        |f| {
            changed(
                f,
                &pretty(f, "body-made-compact"),
                f.body("body-made-compact"),
            )
            .into()
        },
    ),
    Probe::forged(
        "body-bom-added",
        "a byte order mark before the signed body",
        RAW_BYTES,
        |f| {
            let body = f.body("body-bom-added");
            changed(f, &body, format!("\u{feff}{body}")).into()
        },
    ),
    Probe::forged(
        "body-case-changed",
        "the body in lower case was signed, it is sent with capital letters",
        RAW_BYTES,
        |f| {
            let body = f.body("body-case-changed");
            changed(f, &body.to_lowercase(), body).into()
        },
    ),
    Probe::forged(
        "body-utf8-replaced",
        "invalid UTF-8 is sent, the text with U+FFFD for it was signed",
        RAW_BYTES,
        |f| {
            let body = with_extra(f, "body-utf8-replaced", "note", "\"\u{fffd}\"");
            let sent = body.clone().into_bytes();
            let sent = replace(&sent, "\u{fffd}".as_bytes(), b"\xff");
            changed(f, &body, sent).into()
        },
    )
    .needs(Needs::Extras),
    Probe::delivery(
        "exact-white-space",
        "JSON with unusual white space",
        RAW_BYTES,
        |f| {
            let body = pretty(f, "exact-white-space").replace(": ", " \t: ");
            f.signed(format!(" \n{body}")).into()
        },
    ),
    Probe::delivery(
        "exact-trailing-newline",
        "a newline at the end of the body",
        RAW_BYTES,
        |f| {
            f.signed(format!("{}\n", f.body("exact-trailing-newline")))
                .into()
        },
    ),
    Probe::delivery("exact-crlf", "lines that end with CRLF", RAW_BYTES, |f| {
        f.signed(pretty(f, "exact-crlf").replace('\n', "\r\n"))
            .into()
    }),
    Probe::delivery(
        "exact-key-order",
        "keys in an order that no library writes",
        RAW_BYTES,
        |f| {
            let body = with_extra(
                f,
                "exact-key-order",
                "zz",
                "{\"b\":1,\"a\":2,\"c\":{\"y\":1,\"x\":2}}",
            );
            f.signed(body).into()
        },
    )
    .needs(Needs::Extras),
    Probe::delivery(
        "exact-escapes",
        "escapes that no library writes",
        RAW_BYTES,
        |f| {
            let json = r#""\u0063af\u00e9 \ud83e\udd80 \/ \u003c""#;
            f.signed(with_extra(f, "exact-escapes", "note", json))
                .into()
        },
    )
    .needs(Needs::Extras),
    Probe::delivery(
        "exact-unicode",
        "non-ASCII letters and emoji",
        RAW_BYTES,
        |f| {
            let json = "\"Ünïted £ 株式会社 🦀 \u{2028}\"";
            f.signed(with_extra(f, "exact-unicode", "note", json))
                .into()
        },
    )
    .needs(Needs::Extras),
    Probe::delivery(
        "exact-numbers",
        "numbers with more digits than a float has",
        RAW_BYTES,
        |f| {
            let json = "[1.10,100000000000000000000000000001,0.1234567890123456789012345]";
            f.signed(with_extra(f, "exact-numbers", "numbers", json))
                .into()
        },
    )
    .needs(Needs::Extras),
    Probe::delivery(
        "exact-duplicate-keys",
        "a key that occurs twice",
        RAW_BYTES,
        |f| {
            let json = "1,\"note\":2";
            f.signed(with_extra(f, "exact-duplicate-keys", "note", json))
                .into()
        },
    )
    .advice(Basis::Assumed)
    .needs(Needs::Extras),
    Probe::delivery("body-64-kib", "a body of 64 KiB", LIMIT, |f| {
        f.signed(filled(f, "body-64-kib", 64 * 1024)).into()
    })
    .advice(Basis::Assumed)
    .needs(Needs::Extras),
    Probe::delivery("body-900-kib", "a body of 900 KiB", LIMIT, |f| {
        f.signed(filled(f, "body-900-kib", 900 * 1024)).into()
    })
    .advice(Basis::OwnChoice)
    .needs(Needs::Extras),
    Probe::delivery(
        "body-invalid-utf8",
        "a signed body that is not UTF-8",
        NO_FAULT,
        |f| {
            let body = with_extra(f, "body-invalid-utf8", "note", "\"?\"").into_bytes();
            f.signed(replace(&body, b"?", b"\xff")).into()
        },
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NoFault, true)
    .hostile()
    .needs(Needs::Extras),
    Probe::delivery(
        "body-not-json",
        "a signed body that is not JSON",
        NO_FAULT,
        |f| f.signed("{\"id\":").into(),
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NoFault, true)
    .hostile(),
    Probe::delivery("body-empty", "an empty signed body", NO_FAULT, |f| {
        f.signed("").into()
    })
    .advice(Basis::OwnChoice)
    .expect(Expected::NoFault, true)
    .hostile(),
    Probe::delivery(
        "body-array",
        "a signed JSON array instead of an object",
        NO_FAULT,
        |f| f.signed(format!("[{}]", f.body("body-array"))).into(),
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NoFault, true)
    .hostile(),
    Probe::delivery(
        "body-deep",
        "JSON that is nested 10,000 deep",
        NO_FAULT,
        |f| {
            let json = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
            f.signed(with_extra(f, "body-deep", "deep", &json)).into()
        },
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NoFault, true)
    .hostile()
    .needs(Needs::Extras),
    Probe::delivery(
        "body-lone-surrogate",
        "half of a surrogate pair in a string",
        NO_FAULT,
        |f| {
            f.signed(with_extra(f, "body-lone-surrogate", "note", r#""\ud800""#))
                .into()
        },
    )
    .advice(Basis::OwnChoice)
    .expect(Expected::NoFault, true)
    .hostile()
    .needs(Needs::Extras),
];

/// Replaces the first occurrence.
fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = text.windows(from.len()).position(|window| window == from);
    let Some((before, rest)) = at.and_then(|at| text.split_at_checked(at)) else {
        return text.to_vec();
    };
    let after = rest.get(from.len()..).unwrap_or_default();
    [before, to, after].concat()
}
