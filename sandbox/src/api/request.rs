//! A call as it arrives: who makes it, and which call it is.

use http::Method;
use http::request::Parts;
use serde_json::Value;

use super::filter::Query;
use super::reply::Reply;
use crate::role::Role;
use crate::route::{self, BASE, Route};
use crate::state::State;

/// One call, after its body has arrived.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    /// Relative to the workspace.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) role: Role,
    pub(crate) route: Option<(Route, Vec<String>)>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(head: &'a Parts, path: &'a str, body: &'a [u8], role: Role) -> Self {
        Self {
            method: &head.method,
            path,
            query: head.uri.query().unwrap_or_default(),
            body,
            role,
            route: Route::of_request(head.method.as_str(), path),
        }
    }

    pub(crate) fn route(&self) -> Option<Route> {
        self.route.as_ref().map(|(route, _)| *route)
    }

    pub(crate) fn list_query(&self, route: Route, fields: &[&str]) -> Result<Query, Reply> {
        if route.has_query() {
            return Query::from_query(self.query);
        }
        if !self.query.is_empty() {
            return Err(Reply::not_documented("this query parameter"));
        }
        Query::from_body(self.body, fields)
    }

    /// Whether the call asks for a page after the first one.
    pub(crate) fn has_cursor(&self) -> bool {
        let in_query = || {
            let mut pairs = self.query.split('&');
            pairs.any(|pair| pair.starts_with("after="))
        };
        let in_body = || {
            let body: Option<Value> = serde_json::from_slice(self.body).ok();
            body.is_some_and(|body| body.get("after").is_some_and(Value::is_string))
        };
        match self.route() {
            Some(route) if route.has_query() => in_query(),
            Some(route) => route.is_list() && in_body(),
            None => false,
        }
    }
}

/// A request that does not belong to the workspace.
pub(crate) struct Stranger {
    pub(crate) reply: Reply,
    pub(crate) is_token_known: bool,
}

/// Returns the role of the token and the path relative to the workspace.
pub(crate) fn identify<'a>(state: &State, head: &'a Parts) -> Result<(Role, &'a str), Stranger> {
    let stranger = |reply, is_token_known| Stranger {
        reply,
        is_token_known,
    };
    let token = head
        .headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let mut tokens = state.tokens.iter();
    let (_, role) = tokens
        .find(|(known, _)| Some(&**known) == token)
        .ok_or_else(|| stranger(Reply::unauthorized(), false))?;
    let path = head.uri.path();
    let rest = path
        .strip_prefix(BASE)
        .and_then(|rest| rest.strip_prefix("/workspaces/"))
        .ok_or_else(|| stranger(Reply::not_documented("this path"), true))?;
    let (workspace, _) = rest.split_once('/').unwrap_or((rest, ""));
    // Documented: by id or by slug.
    if ![&state.workspace, &state.workspace_id].contains(&&route::decoded(workspace)) {
        return Err(stranger(Reply::not_found("workspace"), true));
    }
    Ok((*role, rest.get(workspace.len()..).unwrap_or_default()))
}
