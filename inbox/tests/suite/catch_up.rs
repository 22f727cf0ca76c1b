//! Catching up after an outage, against the stand-in for Ptolemy.

mod api;
mod scene;

mod basics;
mod event_log;
mod faults;
mod handled;
mod interrupted;
mod kept;
mod killed;
mod limits;
mod outages;
mod quota;
mod shapes;
