//! The management API: who makes a call, what goes wrong, and which call it is.
//!
//! A call is answered in this order: token (401), workspace (404), quota (429), planned faults that
//! come before the call, documented or not (501), role (403), the call itself, and planned faults
//! that come after it.

mod reply;

mod filter;

mod request;

mod page;

mod field;

mod view;

mod webhooks;

mod subscriptions;

mod deliveries;

mod events;

use http::request::Parts;

pub(crate) use reply::Reply;

use crate::call::{Call, CallEnd};
use crate::call_fault::{CallFault, Taker};
use crate::role::Role;
use crate::route::Route;
use crate::shape::Shape;
use crate::state::State;
use filter::{Item, Query};
use request::{Request, identify};

/// How a call ends.
pub(crate) enum End {
    /// With an answer, and the number of calls that are left this month if the caller is known.
    Answer(Reply, Option<u64>),
    Hang,
    Reset,
}

/// Carries out one call, and logs it unless a stranger made it. A body of `None` was too large.
pub(crate) fn handle(state: &mut State, head: &Parts, body: Option<&[u8]>) -> End {
    let (role, path) = match identify(state, head) {
        Ok(known) => known,
        Err(stranger) => {
            state.strangers += 1;
            let remaining = stranger.is_token_known.then_some(state.quota);
            return End::Answer(shaped(state, stranger.reply), remaining);
        }
    };
    let mut request = Request::new(head, path, body.unwrap_or_default(), role);
    let (end, applied) = carry_out(state, &mut request, body);
    let end = match end {
        End::Answer(reply, remaining) => End::Answer(shaped(state, reply), remaining),
        other => other,
    };
    let end_of_call = match &end {
        End::Answer(reply, _) => CallEnd::Answered(reply.status()),
        End::Hang => CallEnd::Hung,
        End::Reset => CallEnd::Reset,
    };
    state.log_call(Call::new(
        request.method.as_str(),
        request.path,
        end_of_call,
        applied,
    ));
    end
}

/// Returns how a call ends, and whether it was carried out successfully.
fn carry_out(state: &mut State, request: &mut Request<'_>, body: Option<&[u8]>) -> (End, bool) {
    if state.quota == 0 {
        let reply = Reply::too_many_requests("the quota of the month is used up", None);
        return (End::Answer(reply, Some(0)), false);
    }
    let mut fault = state.call_faults.take(&Taker {
        route: request.route(),
        has_pages: request
            .route()
            .is_some_and(|route| route.is_list() && !is_bare(state, route)),
        has_cursor: request.has_cursor(),
    });
    if fault == Some(CallFault::AsViewer) {
        request.role = Role::Viewer;
    }
    if let Some(end) = before(state, fault.as_ref()) {
        return (end, false);
    }
    let mut reply = match body {
        Some(_) => dispatch(state, request, fault.as_ref()).unwrap_or_else(|reply| reply),
        None => Reply::too_large(),
    };
    let applied = reply.is_success();
    if fault.is_none()
        && let Some(json) = reply.json_mut()
    {
        let has = |name: &str| field::is_in(json, name);
        fault = state.call_faults.take_field(request.route(), has);
    }
    (after(state, fault.as_ref(), reply), applied)
}

/// Returns an answer in the shapes that are switched on.
fn shaped(state: &State, mut reply: Reply) -> Reply {
    if state.settings.has(Shape::ErrorText) {
        reply.write_error_as_text();
    }
    reply
}

/// Returns whether the answer to a list is a bare array.
fn is_bare(state: &State, route: Route) -> bool {
    route.has_assumed_envelope() && state.settings.has(Shape::BareArrays)
}

/// Returns the end of a call that is not carried out.
fn before(state: &mut State, fault: Option<&CallFault>) -> Option<End> {
    let reply = match fault {
        Some(CallFault::NoQuota) => {
            let reply = Reply::too_many_requests("the quota of the month is used up", None);
            return Some(End::Answer(reply, Some(0)));
        }
        Some(CallFault::HangBefore) => return Some(End::Hang),
        Some(CallFault::ResetBefore) => return Some(End::Reset),
        Some(CallFault::TooManyRequests(delay)) => {
            Reply::too_many_requests("too many calls in a short time", *delay)
        }
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
                field::remove(value, name);
            }
        }
        Some(CallFault::OtherType(name)) => {
            if let Some(value) = reply.json_mut() {
                field::retype(value, name);
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
    let id = values.first().map_or("", String::as_str);
    let part = values.get(1).map_or("", String::as_str);
    if route.is_list() {
        let (items, fields) = records(state, *route, id)?;
        let query = request.list_query(*route, fields)?;
        if is_bare(state, *route) {
            return Ok(page::bare(&query, items));
        }
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
            let query = Query::from_count(request.body, &view::EVENT_FIELDS)?;
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
