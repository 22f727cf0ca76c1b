//! Which attempts are due.

use std::sync::Arc;

use crate::state::Shared;

/// Starts the attempts that calls of the API asked for.
pub(crate) fn send_again(shared: &Arc<Shared>) {
    shared.lock().redeliveries.clear();
}
