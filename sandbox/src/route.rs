//! The documented calls of the API.

use crate::role::Role;

/// The base of all paths.
pub(crate) const BASE: &str = "/v1";

/// One documented call, relative to the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    ListWebhooks,
    CreateWebhook,
    ShowWebhook,
    UpdateWebhook,
    DeleteWebhook,
    RotateSecret,
    FilterWebhooks,
    ListSubscriptions,
    AddSubscription,
    ReplaceSubscriptions,
    RemoveSubscription,
    FilterDeliveries,
    Redeliver,
    ListEvents,
    ShowEvent,
    FilterEvents,
    CountEvents,
}

/// Method, path and route of every call; `{…}` matches any one segment except those in `NOT_IDS`.
const ROUTES: [(&str, &str, Route); 17] = [
    ("GET", "/webhooks", Route::ListWebhooks),
    ("POST", "/webhooks", Route::CreateWebhook),
    ("POST", "/webhooks/filter", Route::FilterWebhooks),
    ("GET", "/webhooks/{id}", Route::ShowWebhook),
    ("PATCH", "/webhooks/{id}", Route::UpdateWebhook),
    ("DELETE", "/webhooks/{id}", Route::DeleteWebhook),
    ("POST", "/webhooks/{id}/rotate-secret", Route::RotateSecret),
    (
        "GET",
        "/webhooks/{id}/subscriptions",
        Route::ListSubscriptions,
    ),
    (
        "POST",
        "/webhooks/{id}/subscriptions",
        Route::AddSubscription,
    ),
    (
        "PUT",
        "/webhooks/{id}/subscriptions",
        Route::ReplaceSubscriptions,
    ),
    (
        "DELETE",
        "/webhooks/{id}/subscriptions/{subscriptionId}",
        Route::RemoveSubscription,
    ),
    (
        "POST",
        "/webhook-deliveries/filter",
        Route::FilterDeliveries,
    ),
    (
        "POST",
        "/webhook-deliveries/{id}/redeliver",
        Route::Redeliver,
    ),
    ("GET", "/events", Route::ListEvents),
    ("POST", "/events/filter", Route::FilterEvents),
    ("POST", "/events/count", Route::CountEvents),
    ("GET", "/events/{id}", Route::ShowEvent),
];

impl Route {
    /// Returns the documented call of a request, and the values of the placeholders in its path.
    pub(crate) fn of_request(method: &str, path: &str) -> Option<(Self, Vec<String>)> {
        ROUTES.iter().find_map(|(verb, template, route)| {
            let values = (*verb == method).then(|| placeholders(template, path))??;
            Some((*route, values))
        })
    }

    /// Returns the call that the documentation writes as `method` and `path`. The names of the
    /// placeholders do not matter.
    pub(crate) fn of_template(method: &str, path: &str) -> Option<Self> {
        let named = |segment: &str| segment.starts_with('{');
        let same = |template: &str| {
            template.split('/').count() == path.split('/').count()
                && template
                    .split('/')
                    .zip(path.split('/'))
                    .all(|(ours, theirs)| ours == theirs || (named(ours) && named(theirs)))
        };
        ROUTES
            .iter()
            .find(|(verb, template, _)| *verb == method && same(template))
            .map(|(_, _, route)| *route)
    }

    /// Returns the role that the call needs. For deliveries it is assumed.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::CreateWebhook
            | Self::UpdateWebhook
            | Self::DeleteWebhook
            | Self::RotateSecret
            | Self::AddSubscription
            | Self::ReplaceSubscriptions
            | Self::RemoveSubscription
            | Self::Redeliver => Role::Admin,
            _ => Role::Viewer,
        }
    }

    /// Returns whether the call answers with a list.
    pub(crate) fn is_list(self) -> bool {
        matches!(
            self,
            Self::ListWebhooks
                | Self::FilterWebhooks
                | Self::ListSubscriptions
                | Self::FilterDeliveries
                | Self::ListEvents
                | Self::FilterEvents
        )
    }

    /// Returns whether the call answers with a list that the documentation does not show.
    pub(crate) fn has_assumed_envelope(self) -> bool {
        matches!(
            self,
            Self::ListWebhooks | Self::ListSubscriptions | Self::FilterDeliveries
        )
    }

    /// Returns whether the parameters of the list are in the query instead of the body.
    pub(crate) fn has_query(self) -> bool {
        matches!(
            self,
            Self::ListWebhooks | Self::ListSubscriptions | Self::ListEvents
        )
    }
}

/// Segments that name a call, so that `GET /events/count` is not a call for the event `count`.
const NOT_IDS: [&str; 2] = ["count", "filter"];

/// Returns the segments of `path` at the placeholders of `template`, decoded.
fn placeholders(template: &str, path: &str) -> Option<Vec<String>> {
    let mut values = Vec::new();
    let (mut ours, mut theirs) = (template.split('/'), path.split('/'));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return Some(values),
            (Some(name), Some(value)) if name.starts_with('{') => {
                if value.is_empty() || NOT_IDS.contains(&value) {
                    return None;
                }
                values.push(decoded(value));
            }
            (Some(name), Some(value)) if name == value => {}
            _ => return None,
        }
    }
}

/// Returns a segment of a path without its percent-encoding. A segment that is not encoded
/// correctly, or is not UTF-8, stays as it is, because no record has such an id.
pub(crate) fn decoded(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut parts = segment.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let byte = part.get(..2).filter(|hex| !hex.starts_with('+'));
        let Some(byte) = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
            return segment.to_owned();
        };
        bytes.push(byte);
        bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8(bytes).unwrap_or_else(|_| segment.to_owned())
}
