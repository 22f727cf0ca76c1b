//! The documented calls of the API.

use std::fmt;

use reqwest::Method;

use crate::error::Role;
use crate::id::segment;
use crate::retry::Repeat;

/// One documented call: its method, its path within the workspace with `{}` for each id, the role
/// that it requires, and how it may be repeated.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) role: Role,
    /// Whether Ptolemy does not document the role.
    pub(crate) is_role_assumed: bool,
    pub(crate) repeat: Repeat,
}

const fn call(method: Method, path: &'static str, role: Role, repeat: Repeat) -> Call {
    Call {
        method,
        path,
        role,
        is_role_assumed: false,
        repeat,
    }
}

/// A call whose role is assumed.
const fn assumed(method: Method, path: &'static str, role: Role, repeat: Repeat) -> Call {
    Call {
        method,
        path,
        role,
        is_role_assumed: true,
        repeat,
    }
}

use Repeat::{Always, IfNotCarriedOut, Never, ReadBack};
use Role::{Admin, Viewer};

pub(crate) static LIST_WEBHOOKS: Call = call(Method::GET, "/webhooks", Viewer, Always);
pub(crate) static CREATE_WEBHOOK: Call = call(Method::POST, "/webhooks", Admin, IfNotCarriedOut);
pub(crate) static GET_WEBHOOK: Call = call(Method::GET, "/webhooks/{}", Viewer, Always);
pub(crate) static UPDATE_WEBHOOK: Call = call(Method::PATCH, "/webhooks/{}", Admin, Always);
pub(crate) static DELETE_WEBHOOK: Call = call(Method::DELETE, "/webhooks/{}", Admin, Always);
pub(crate) static ROTATE_SECRET: Call =
    call(Method::POST, "/webhooks/{}/rotate-secret", Admin, Never);
pub(crate) static FILTER_WEBHOOKS: Call = call(Method::POST, "/webhooks/filter", Viewer, Always);
pub(crate) static LIST_SUBSCRIPTIONS: Call =
    call(Method::GET, "/webhooks/{}/subscriptions", Viewer, Always);
pub(crate) static ADD_SUBSCRIPTION: Call =
    call(Method::POST, "/webhooks/{}/subscriptions", Admin, ReadBack);
pub(crate) static REPLACE_SUBSCRIPTIONS: Call =
    call(Method::PUT, "/webhooks/{}/subscriptions", Admin, Always);
pub(crate) static REMOVE_SUBSCRIPTION: Call = call(
    Method::DELETE,
    "/webhooks/{}/subscriptions/{}",
    Admin,
    Always,
);
pub(crate) static FILTER_DELIVERIES: Call =
    assumed(Method::POST, "/webhook-deliveries/filter", Viewer, Always);
pub(crate) static REDELIVER: Call = assumed(
    Method::POST,
    "/webhook-deliveries/{}/redeliver",
    Admin,
    IfNotCarriedOut,
);
pub(crate) static LIST_EVENTS: Call = call(Method::GET, "/events", Viewer, Always);
pub(crate) static GET_EVENT: Call = call(Method::GET, "/events/{}", Viewer, Always);
pub(crate) static FILTER_EVENTS: Call = call(Method::POST, "/events/filter", Viewer, Always);
pub(crate) static COUNT_EVENTS: Call = call(Method::POST, "/events/count", Viewer, Always);

impl Call {
    /// Returns the path with the ids in place of the `{}`.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with an id that cannot be part of a path.
    pub(crate) fn path_for(&self, ids: &[&str]) -> Result<String, String> {
        let mut ids = ids.iter();
        let mut parts = self.path.split("{}");
        let mut path = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let id = ids.next().copied().unwrap_or_default();
            path += &segment(id).map_err(|fault| format!("an id of {self} {fault}"))?;
            path += part;
        }
        Ok(path)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_put_into_the_path_as_segments() {
        let path = REMOVE_SUBSCRIPTION.path_for(&["a/b", "c"]).unwrap();
        assert_eq!(path, "/webhooks/a%2Fb/subscriptions/c");
        let error = GET_EVENT.path_for(&[".."]).unwrap_err();
        assert_eq!(error, "an id of GET /events/{} is a dot segment of a path");
    }
}
