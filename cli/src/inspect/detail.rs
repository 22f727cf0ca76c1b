//! The details of one request.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use serde::Serialize;

use crate::inspect::api::{self, Shared};
use crate::inspect::app::App;
use crate::inspect::checker::Checker;
use crate::inspect::entry::{Entry, Line};
use crate::inspect::explanation::{Why, explain};
use crate::inspect::guard::error;
use crate::inspect::relay::MAX_KEPT_BYTES;
use crate::text;
use crate::why;

/// How many fields of a body are listed.
const MAX_FIELDS: usize = 500;

/// How much of a value is listed.
const MAX_VALUE_CHARS: usize = 1_000;

/// The fields of a longer body are not listed.
const MAX_LISTED_BYTES: usize = 1024 * 1024;

/// The value that is shown instead of one that proves who someone is.
const MASKED: &str = "masked";

const SECRET_HEADERS: [HeaderName; 4] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE];

/// A request, its verdict in words, and the answer.
#[derive(Serialize)]
struct Detail<'a> {
    entry: Line<'a>,
    headers: Vec<Header>,
    body: BodyFacts,
    why: Why,
    decoded: Option<Vec<Field>>,
    malformed: Option<Malformed<'a>>,
    answer: Option<AnswerDetail<'a>>,
}

/// A header. Its value is in hex if it is not visible text.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    hex: Option<String>,
    pub(crate) masked: bool,
}

#[derive(Serialize)]
struct BodyFacts {
    bytes: usize,
    is_utf8: bool,
    is_json: bool,
}

/// A field of the body.
#[derive(Serialize)]
struct Field {
    path: String,
    value: Option<String>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Malformed<'a> {
    path: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct AnswerDetail<'a> {
    status: u16,
    headers: Vec<Header>,
    body_bytes: usize,
    is_utf8: bool,
    cut_at: Option<usize>,
    broken: Option<&'a str>,
}

/// `GET /api/entries/{seq}`
pub(crate) async fn show(State(app): Shared, Path(seq): Path<String>) -> Response<Body> {
    let entry = match api::entry(&app, &seq) {
        Ok(entry) => entry,
        Err(answer) => return answer,
    };
    // It is never closed. The work goes on if the page closes its connection, so it has the permit.
    let permit = Arc::clone(&app.explaining).acquire_owned().await;
    let shared = Arc::clone(&app);
    let waiting = Arc::new(());
    let is_waiting = Arc::downgrade(&waiting);
    let work = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        is_waiting.upgrade()?;
        Some(detail(&shared, &entry))
    });
    match work.await {
        Ok(Some(answer)) => answer,
        Ok(None) | Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the command ends"),
    }
}

fn detail(app: &App, entry: &Entry) -> Response<Body> {
    let of_sandbox = app.sandbox.get().map(|sandbox| sandbox.checker(entry));
    let checker = of_sandbox.as_ref().unwrap_or(&app.checker);
    let body = &entry.request.body;
    let malformed = entry.checked.malformed.as_ref();
    let detail = Detail {
        entry: entry.line(),
        headers: headers(&entry.request.headers, checker),
        body: BodyFacts {
            bytes: body.len(),
            is_utf8: str::from_utf8(body).is_ok(),
            is_json: serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok(),
        },
        why: explain(checker, entry),
        decoded: fields(entry),
        malformed: malformed.map(|(path, reason)| Malformed { path, reason }),
        answer: entry.answer.as_ref().map(|answer| AnswerDetail {
            status: answer.status,
            headers: headers(&answer.headers, checker),
            body_bytes: answer.body.len(),
            is_utf8: str::from_utf8(&answer.body).is_ok(),
            cut_at: answer.is_cut.then_some(MAX_KEPT_BYTES),
            broken: answer.broken.as_deref(),
        }),
    };
    api::json(StatusCode::OK, &detail)
}

/// Whether the values of a header prove who someone is, by its name.
fn is_secret(name: &HeaderName) -> bool {
    let name_ends = ["-token", "-api-key", "-secret"];
    SECRET_HEADERS.contains(name) || name_ends.iter().any(|end| name.as_str().ends_with(end))
}

/// The headers as they are shown. A value that proves who someone is, or has the webhook's secret
/// in it, is masked.
pub(crate) fn headers(headers: &HeaderMap, checker: &Checker) -> Vec<Header> {
    let shown = headers.iter().map(|(name, value)| {
        let bytes = value.as_bytes();
        let is_masked = is_secret(name) || checker.finds_secret_in(bytes);
        let is_visible = |text: &&str| !text.chars().any(|c| c.is_control() && c != '\t');
        let (value, hex) = match str::from_utf8(bytes).ok().filter(is_visible) {
            _ if is_masked => (Some(MASKED.to_owned()), None),
            Some(text) => (Some(text.to_owned()), None),
            None => (None, Some(hex::encode(bytes))),
        };
        Header {
            name: name.to_string(),
            value,
            hex,
            masked: is_masked,
        }
    });
    shown.collect()
}

/// The fields of the body, with the one marked that could not be decoded.
fn fields(entry: &Entry) -> Option<Vec<Field>> {
    let body = &entry.request.body;
    if body.len() > MAX_LISTED_BYTES {
        return None;
    }
    let leaves = why::leaves(body, MAX_FIELDS)?;
    let mut fields: Vec<_> = leaves
        .into_iter()
        .map(|leaf| Field {
            path: leaf.path,
            value: leaf.value.as_deref().map(cut),
            problem: None,
        })
        .collect();
    if let Some((path, reason)) = &entry.checked.malformed {
        match fields.iter_mut().find(|field| field.path == *path) {
            Some(field) => field.problem = Some(reason.clone()),
            // It is missing, or has fields itself.
            None => fields.push(Field {
                path: path.clone(),
                value: None,
                problem: Some(reason.clone()),
            }),
        }
    }
    Some(fields)
}

fn cut(value: &str) -> String {
    let value = text::without_secrets(value);
    let mut shown: String = value.chars().take(MAX_VALUE_CHARS).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_are_text_hex_or_masked() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("x-text", &b"h\xc3\xa9llo\t1"[..]),
            ("x-bytes", b"a\xff"),
            ("authorization", b"Bearer 1"),
            ("cookie", b"a=b"),
            ("proxy-authorization", b"Basic 1"),
            ("set-cookie", b"\xff"),
            ("x-api-key", b"1"),
            ("x-vendor-secret", b"1"),
            ("x-csrf-token", b"1"),
        ] {
            let value = HeaderValue::from_bytes(value).unwrap();
            map.append(HeaderName::from_static(name), value);
        }
        let shown = headers(&map, &Checker::without_secret());
        let shown: Vec<_> = shown
            .iter()
            .map(|it| (it.value.as_deref(), it.hex.as_deref(), it.masked))
            .collect();
        let masked = (Some(MASKED), None, true);
        let expected = [
            (Some("héllo\t1"), None, false),
            (None, Some("61ff"), false),
            masked,
            masked,
            masked,
            masked,
            masked,
            masked,
            masked,
        ];
        assert_eq!(shown, expected);
    }
}
