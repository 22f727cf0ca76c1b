//! The records that the API returns.

mod delivery;
mod event;
mod fields;
mod issued;
mod subscription;
mod webhook;

pub use delivery::{DeliveryStatus, WebhookDelivery};
pub use event::EventRecord;
pub use issued::CreatedWebhook;
pub use subscription::Subscription;
pub use webhook::Webhook;

pub(crate) use fields::count;
pub(crate) use issued::{created, issued_secret};
