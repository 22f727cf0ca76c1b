//! `InboxError` as a response: the same in both frameworks.

#[cfg(feature = "actix-web")]
mod actix;
#[cfg(feature = "axum")]
mod axum;
