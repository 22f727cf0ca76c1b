//! Catching up after an outage, against the stand-in for Ptolemy.

mod scene;

mod basics;
mod faults;
mod interrupted;
mod kept;
mod killed;
mod limits;
mod outages;
mod shapes;
