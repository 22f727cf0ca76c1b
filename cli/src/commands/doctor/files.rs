//! Who may read the files with secrets.

use std::io::ErrorKind;
use std::path::Path;

use crate::commands::doctor::finding::Report;
use crate::stop::Stop;
use crate::{api, database, secret_mode};

/// Checks the file of the token, if the environment names one.
pub(super) fn check_token_file(report: &mut Report) -> Result<(), Stop> {
    match api::token_file() {
        Some(path) => check("token_file", &path, report),
        None => Ok(()),
    }
}

/// Checks the file of the database's URL, if the environment names one.
pub(super) fn check_database_file(report: &mut Report) -> Result<(), Stop> {
    match database::file() {
        Some(path) => check("database_file", &path, report),
        None => Ok(()),
    }
}

/// Checks who may use a file.
pub(super) fn check(name: &'static str, path: &Path, report: &mut Report) -> Result<(), Stop> {
    let shown = path.display();
    match secret_mode::open_to_others(path) {
        Ok(None) => report.ok(name, &format!("{shown} can be used by its owner only")),
        Ok(Some(fault)) => report.warning(name, &fault, secret_mode::FIX),
        // Another check says that the file cannot be read.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => report.unknown(name, &format!("{shown}: {error}"), "check the path"),
    }
}
