//! Who else may read a file that has a secret.

use std::path::Path;

use crate::notice;
use crate::stop::Stop;

/// Returns an error if the file exists and others than its owner may read or write it: a new secret
/// would be written into it with the same mode.
pub(crate) fn check_before_writing(path: &Path) -> Result<(), Stop> {
    match open_to_others(path) {
        Some(fault) => Err(Stop::usage(format!(
            "{fault}; a new secret is not written into it"
        ))),
        None => Ok(()),
    }
}

/// Prints a warning if others than its owner may read or write the file.
pub(crate) fn warn_before_reading(path: &Path) {
    if let Some(fault) = open_to_others(path) {
        notice::warning(&fault);
    }
}

#[cfg(unix)]
fn open_to_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;

    // An error is left to what reads or writes the file. A pipe has a mode that says nothing.
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mode = metadata.permissions().mode() & 0o777;
    let path = crate::text::words(&path.display().to_string());
    (mode & 0o077 != 0).then(|| {
        format!("file {path} has mode {mode:03o}, so others than its owner can use it: run `chmod 600` on it")
    })
}

#[cfg(not(unix))]
fn open_to_others(_: &Path) -> Option<String> {
    None
}
