//! A client for the management API of Ptolemy.
#![forbid(unsafe_code)]
