//! The management API: who calls, what goes wrong, and which call it is.
//!
//! A call is answered in this order: token (401), workspace (404), quota (429), planned faults that
//! come before the call, documented or not (501), role (403), the call itself, and planned faults
//! that come after it.

mod reply;

mod filter;

mod page;

mod view;

mod webhooks;

mod subscriptions;

mod deliveries;

mod events;

use http::Method;
use http::request::Parts;
use serde_json::Value;

pub(crate) use reply::Reply;

use crate::call::{Call, CallEnd};
use crate::call_fault::CallFault;
use crate::role::Role;
use crate::route::Route;
use crate::state::State;
use filter::{Item, Query};

/// The base of all paths.
pub(crate) const BASE: &str = "/v1";

/// How a call ends.
pub(crate) enum End {
    /// With an answer, and the number of calls that are left this month if the caller is known.
    Answer(Reply, Option<u64>),
    Hang,
    Reset,
}

/// One call, after its body has arrived.
struct Request<'a> {
    method: &'a Method,
    /// Relative to the workspace.
    path: &'a str,
    query: &'a str,
    body: &'a [u8],
    role: Role,
    route: Option<(Route, Vec<&'a str>)>,
}

/// Carries out one call, and logs it unless it is a stranger's. A body of `None` was too large.
pub(crate) fn handle(state: &mut State, head: &Parts, body: Option<&[u8]>) -> End {
    let (role, path) = match identify(state, head) {
        Ok(known) => known,
        Err(reply) => {
            state.strangers += 1;
            return End::Answer(reply, None);
        }
    };
    let mut request = Request::new(head, path, body.unwrap_or_default(), role);
    let fault = state
        .call_faults
        .take(request.route(), request.has_cursor());
    if fault == Some(CallFault::AsViewer) {
        request.role = Role::Viewer;
    }
    let (end, applied) = match before(state, fault.as_ref()) {
        Some(end) => (end, false),
        None => {
            let reply = match body {
                Some(_) => dispatch(state, &request, fault.as_ref()).unwrap_or_else(|reply| reply),
                None => Reply::too_large(),
            };
            let applied = reply.is_success();
            (after(state, fault.as_ref(), reply), applied)
        }
    };
    state.log_call(Call {
        method: request.method.to_string(),
        path: request.path.to_owned(),
        end: match &end {
            End::Answer(reply, _) => CallEnd::Answered(reply.status()),
            End::Hang => CallEnd::Hung,
            End::Reset => CallEnd::Reset,
        },
        applied,
    });
    end
}

/// Returns the role of the token and the path relative to the workspace.
fn identify<'a>(state: &State, head: &'a Parts) -> Result<(Role, &'a str), Reply> {
    let token = head
        .headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(Reply::unauthorized)?;
    let (_, role) = state
        .tokens
        .iter()
        .find(|(known, _)| known == token)
        .ok_or_else(Reply::unauthorized)?;
    let path = head.uri.path();
    let rest = path
        .strip_prefix(BASE)
        .and_then(|rest| rest.strip_prefix("/workspaces/"))
        .ok_or_else(|| Reply::not_documented("this path"))?;
    let (workspace, _) = rest.split_once('/').unwrap_or((rest, ""));
    if workspace != state.workspace {
        return Err(Reply::not_found("workspace"));
    }
    Ok((*role, rest.get(workspace.len()..).unwrap_or_default()))
}

/// Returns the end of a call that is not carried out.
fn before(state: &mut State, fault: Option<&CallFault>) -> Option<End> {
    let burst = "too many calls in a short time";
    let reply = match fault {
        Some(CallFault::NoQuota) => {
            let reply = Reply::too_many_requests("the quota of the month is used up", None);
            return Some(End::Answer(reply, Some(0)));
        }
        _ if state.quota == 0 => {
            Reply::too_many_requests("the quota of the month is used up", None)
        }
        Some(CallFault::HangBefore) => return Some(End::Hang),
        Some(CallFault::ResetBefore) => return Some(End::Reset),
        Some(CallFault::TooManyRequests(delay)) => Reply::too_many_requests(burst, *delay),
        Some(CallFault::ErrorBefore) => Reply::internal_error(),
        Some(CallFault::BadGateway) => Reply::bad_gateway(),
        _ => {
            state.quota -= 1;
            return None;
        }
    };
    Some(End::Answer(reply, Some(state.quota)))
}

/// Returns the end of a call that was carried out.
fn after(state: &State, fault: Option<&CallFault>, mut reply: Reply) -> End {
    match fault {
        Some(CallFault::ErrorAfter) => reply = Reply::internal_error(),
        Some(CallFault::HangAfter) => return End::Hang,
        Some(CallFault::ResetAfter) => return End::Reset,
        Some(CallFault::MissingField(name)) => {
            if let Some(value) = reply.json_mut() {
                edit(value, name, &|_| None);
            }
        }
        Some(CallFault::OtherType(name)) => {
            if let Some(value) = reply.json_mut() {
                edit(value, name, &|old| Some(other_type(old)));
            }
        }
        _ => {}
    }
    End::Answer(reply, Some(state.quota))
}

/// Carries out the call itself.
fn dispatch(
    state: &mut State,
    request: &Request<'_>,
    fault: Option<&CallFault>,
) -> Result<Reply, Reply> {
    let Some((route, values)) = &request.route else {
        return Err(Reply::not_documented("this call"));
    };
    if request.role < route.role() {
        let role = route.role();
        return Err(Reply::forbidden(format!("this call needs the role {role}")));
    }
    let id = values.first().copied().unwrap_or_default();
    let part = values.get(1).copied().unwrap_or_default();
    if route.is_list() {
        let (items, fields) = records(state, *route, id)?;
        let query = request.list_query(*route, fields)?;
        return Ok(page::page(state, request.path, &query, fault, items));
    }
    if !request.query.is_empty() {
        return Err(Reply::not_documented("this query parameter"));
    }
    match route {
        Route::CreateWebhook => webhooks::create(state, request.body),
        Route::ShowWebhook => Ok(webhooks::show(state, id)),
        Route::UpdateWebhook => webhooks::update(state, id, request.body),
        Route::DeleteWebhook => Ok(webhooks::delete(state, id)),
        Route::RotateSecret => Ok(webhooks::rotate(state, id)),
        Route::AddSubscription => subscriptions::add(state, id, request.body),
        Route::ReplaceSubscriptions => subscriptions::replace(state, id, request.body),
        Route::RemoveSubscription => subscriptions::remove(state, id, part),
        Route::Redeliver => Ok(deliveries::redeliver(state, id)),
        Route::ShowEvent => Ok(events::show(state, id)),
        Route::CountEvents => {
            let query = Query::from_body(request.body, &view::EVENT_FIELDS)?;
            Ok(events::count(state, &query))
        }
        // The lists were answered above.
        _ => Err(Reply::not_documented("this call")),
    }
}

/// Returns the records of a list, and the fields that a filter may name.
fn records(
    state: &State,
    route: Route,
    id: &str,
) -> Result<(Vec<Item>, &'static [&'static str]), Reply> {
    Ok(match route {
        Route::ListSubscriptions => (subscriptions::items(state, id)?, &[]),
        Route::FilterDeliveries => (deliveries::items(state), &view::DELIVERY_FIELDS),
        Route::ListEvents | Route::FilterEvents => (events::items(state), &view::EVENT_FIELDS),
        _ => (webhooks::items(state), &view::WEBHOOK_FIELDS),
    })
}

impl<'a> Request<'a> {
    fn new(head: &'a Parts, path: &'a str, body: &'a [u8], role: Role) -> Self {
        Self {
            method: &head.method,
            path,
            query: head.uri.query().unwrap_or_default(),
            body,
            role,
            route: Route::of_request(head.method.as_str(), path),
        }
    }

    fn route(&self) -> Option<Route> {
        self.route.as_ref().map(|(route, _)| *route)
    }

    fn list_query(&self, route: Route, fields: &[&str]) -> Result<Query, Reply> {
        if route.has_query() {
            return Query::from_query(self.query);
        }
        if !self.query.is_empty() {
            return Err(Reply::not_documented("this query parameter"));
        }
        Query::from_body(self.body, fields)
    }

    /// Whether the call asks for a page after the first one.
    fn has_cursor(&self) -> bool {
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

/// Replaces the field `name` of every object by what `change` makes of it, or removes it.
fn edit(value: &mut Value, name: &str, change: &dyn Fn(&Value) -> Option<Value>) {
    match value {
        Value::Object(map) => {
            if let Some(old) = map.remove(name)
                && let Some(new) = change(&old)
            {
                map.insert(name.to_owned(), new);
            }
            // The new value of a field is not searched for that field again.
            let rest = map.iter_mut().filter(|(key, _)| *key != name);
            rest.for_each(|(_, inner)| edit(inner, name, change));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| edit(inner, name, change)),
        _ => {}
    }
}

fn other_type(value: &Value) -> Value {
    match value {
        Value::String(_) => 7.into(),
        Value::Array(_) | Value::Object(_) => "unexpected".into(),
        _ => Value::Array(vec!["unexpected".into()]),
    }
}
