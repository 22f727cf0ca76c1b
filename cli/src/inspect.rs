//! The local page that shows every delivery: the requests that are kept, the proxy in front of a
//! receiver, and the page's API.
//!
//! A request passes the sender's port in [`forward`], is checked by [`checker`], kept by [`ring`],
//! and sent on by [`target`]. The page reads the ring through [`api`], behind [`guard`]; nothing on
//! the way of a request waits for a page.

pub(crate) mod accept;
pub(crate) mod api;
pub(crate) mod app;
pub(crate) mod checker;
mod curl;
mod detail;
mod entry;
mod explanation;
pub(crate) mod forward;
pub(crate) mod guard;
mod inbox_api;
pub(crate) mod log;
mod page;
mod relay;
mod replay;
pub(crate) mod ring;
mod room;
pub(crate) mod sandbox_api;
pub(crate) mod stand_in;
mod stream;
mod suspicions;
pub(crate) mod target;
