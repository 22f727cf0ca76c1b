//! The order that this process asked for, so that its workers can report that another one applies.

use std::sync::{Arc, Mutex, PoisonError};

use crate::event_order::EventOrder;

#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Option<EventOrder>>>);

impl Asked {
    pub(crate) fn set(&self, order: EventOrder) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
    }

    pub(crate) fn get(&self) -> Option<EventOrder> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
