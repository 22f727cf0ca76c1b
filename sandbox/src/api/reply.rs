//! The answer to a call, before it is written as HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

/// How many calls are left this month, on every answer.
const REMAINING: &str = "x-ratelimit-remaining";

/// The body of a reply.
enum Content {
    Nothing,
    Json(Value),
    Html(&'static str),
    Text(String),
}

/// The answer to a call.
pub(crate) struct Reply {
    status: StatusCode,
    content: Content,
    retry_after: Option<Duration>,
}

impl Reply {
    fn new(status: StatusCode, content: Content) -> Self {
        Self {
            status,
            content,
            retry_after: None,
        }
    }

    pub(crate) fn ok(value: Value) -> Self {
        Self::new(StatusCode::OK, Content::Json(value))
    }

    pub(crate) fn created(value: Value) -> Self {
        Self::new(StatusCode::CREATED, Content::Json(value))
    }

    pub(crate) fn created_silently() -> Self {
        Self::new(StatusCode::CREATED, Content::Nothing)
    }

    pub(crate) fn accepted() -> Self {
        Self::new(StatusCode::ACCEPTED, Content::Nothing)
    }

    pub(crate) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, Content::Nothing)
    }

    /// An error. The object with `error` is assumed: the body is not documented.
    fn error(status: StatusCode, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::new(status, Content::Json(json!({ "error": message })))
    }

    pub(crate) fn unauthorized() -> Self {
        Self::error(
            StatusCode::UNAUTHORIZED,
            "the API token is missing, expired or revoked",
        )
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::error(StatusCode::FORBIDDEN, message)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::error(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    pub(crate) fn conflict(message: &str) -> Self {
        Self::error(StatusCode::CONFLICT, message)
    }

    pub(crate) fn too_large() -> Self {
        Self::error(StatusCode::PAYLOAD_TOO_LARGE, "the body is over 1 MiB")
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::error(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    pub(crate) fn expired_cursor() -> Self {
        Self::invalid("the cursor in `after` has expired")
    }

    pub(crate) fn too_many_requests(message: &str, retry_after: Option<Duration>) -> Self {
        Self {
            retry_after,
            ..Self::error(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    pub(crate) fn internal_error() -> Self {
        Self::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal error, as planned",
        )
    }

    pub(crate) fn bad_gateway() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            Content::Html(
                "<html><head><title>502 Bad Gateway</title></head>\
                 <body><h1>502 Bad Gateway</h1></body></html>\n",
            ),
        )
    }

    pub(crate) fn not_documented(what: &str) -> Self {
        Self::error(
            StatusCode::NOT_IMPLEMENTED,
            format!("not documented: the sandbox does not know {what}"),
        )
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(crate) fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Returns the JSON of the answer, for changes.
    pub(crate) fn json_mut(&mut self) -> Option<&mut Value> {
        match &mut self.content {
            Content::Json(value) => Some(value),
            Content::Nothing | Content::Html(_) | Content::Text(_) => None,
        }
    }

    /// Replaces the object of an error with its message.
    pub(crate) fn write_error_as_text(&mut self) {
        if let Content::Json(value) = &self.content
            && !self.is_success()
            && let Some(message) = value.get("error").and_then(Value::as_str)
        {
            self.content = Content::Text(message.to_owned());
        }
    }

    /// Writes the answer as HTTP.
    pub(crate) fn into_response(self, remaining: Option<u64>) -> Response<Full<Bytes>> {
        let (kind, body) = match self.content {
            Content::Nothing => (None, Bytes::new()),
            Content::Json(value) => (Some("application/json"), value.to_string().into()),
            Content::Html(text) => (Some("text/html"), Bytes::from_static(text.as_bytes())),
            Content::Text(text) => (Some("text/plain"), text.into()),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(delay) = self.retry_after {
            // Whole seconds, and never less than requested.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(remaining) = remaining {
            headers.insert(REMAINING, remaining.into());
        }
        response
    }
}
