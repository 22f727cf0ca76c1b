//! A local stand-in for Ptolemy.
#![forbid(unsafe_code)]
