//! What can go wrong with a call of the API.

use std::time::Duration;

use crate::role::Role;
use crate::route::Route;

/// One fault of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallFault {
    TooManyRequests(Option<Duration>),
    NoQuota,
    ErrorBefore,
    ErrorAfter,
    HangBefore,
    HangAfter,
    ResetBefore,
    ResetAfter,
    BadGateway,
    ExpiredCursor,
    RepeatedCursor,
    EmptyPage,
    AsViewer,
    MissingField(String),
    OtherType(String),
}

impl CallFault {
    /// Whether a call can have the fault: only a list has cursors.
    fn fits(&self, route: Option<Route>, has_cursor: bool) -> bool {
        match self {
            Self::ExpiredCursor | Self::RepeatedCursor => has_cursor,
            Self::EmptyPage => route.is_some_and(Route::is_list),
            Self::AsViewer => route.is_some_and(|route| route.role() > Role::Viewer),
            _ => true,
        }
    }
}

/// A fault of the next `left` calls that it fits.
struct Planned {
    fault: CallFault,
    left: usize,
    only: Option<Route>,
}

/// The faults of calls to come, in the order in which they were asked for.
#[derive(Default)]
pub(crate) struct CallFaults(Vec<Planned>);

impl CallFaults {
    pub(crate) fn plan(&mut self, fault: CallFault, calls: usize, only: Option<Route>) {
        if calls > 0 {
            self.0.push(Planned {
                fault,
                left: calls,
                only,
            });
        }
    }

    /// Takes the first fault that fits a call.
    pub(crate) fn take(&mut self, route: Option<Route>, has_cursor: bool) -> Option<CallFault> {
        let place = self.0.iter().position(|planned| {
            (planned.only.is_none() || planned.only == route)
                && planned.fault.fits(route, has_cursor)
        })?;
        let planned = self.0.get_mut(place)?;
        planned.left -= 1;
        let fault = planned.fault.clone();
        if planned.left == 0 {
            self.0.remove(place);
        }
        Some(fault)
    }
}
