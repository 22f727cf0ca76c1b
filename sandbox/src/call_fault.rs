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
    /// Returns whether a call can have the fault, as far as is known before it is carried out.
    fn fits(&self, call: &Taker) -> bool {
        match self {
            Self::ExpiredCursor | Self::RepeatedCursor => call.has_pages && call.has_cursor,
            Self::EmptyPage => call.has_pages,
            Self::AsViewer => call.route.is_some_and(|route| route.role() > Role::Viewer),
            Self::MissingField(_) | Self::OtherType(_) => false,
            _ => true,
        }
    }

    /// Returns the field that the fault is about.
    fn field(&self) -> Option<&str> {
        match self {
            Self::MissingField(name) | Self::OtherType(name) => Some(name),
            _ => None,
        }
    }
}

/// A call that takes a fault.
pub(crate) struct Taker {
    pub(crate) route: Option<Route>,
    /// Whether it answers with a list that has pages.
    pub(crate) has_pages: bool,
    pub(crate) has_cursor: bool,
}

/// A fault of the next `left` calls that it fits.
struct Planned {
    fault: CallFault,
    left: usize,
    only: Option<Route>,
}

/// The faults of future calls, in the order in which they were planned.
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

    /// Takes the first fault that fits a call. Faults of fields are skipped, because it is not
    /// known yet whether the answer has the field.
    pub(crate) fn take(&mut self, call: &Taker) -> Option<CallFault> {
        self.take_if(call.route, |fault| fault.fits(call))
    }

    /// Takes the first fault of a field that an answer has.
    pub(crate) fn take_field(
        &mut self,
        route: Option<Route>,
        has: impl Fn(&str) -> bool,
    ) -> Option<CallFault> {
        self.take_if(route, |fault| fault.field().is_some_and(&has))
    }

    fn take_if(
        &mut self,
        route: Option<Route>,
        fits: impl Fn(&CallFault) -> bool,
    ) -> Option<CallFault> {
        let place = self.0.iter().position(|planned| {
            (planned.only.is_none() || planned.only == route) && fits(&planned.fault)
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
