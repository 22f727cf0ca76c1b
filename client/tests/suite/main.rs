//! The client against servers: raw ones, and the stand-in for Ptolemy.

mod hostile;
mod raw_server;
