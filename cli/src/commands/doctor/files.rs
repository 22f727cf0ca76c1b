//! Who may read the files with secrets.

use std::env;
use std::io::ErrorKind;
use std::path::Path;

use crate::commands::doctor::finding::Report;
use crate::private_file;
use crate::stop::Stop;

/// Checks the file of the token, if the environment names one.
pub(super) fn check_token_file(report: &mut Report) -> Result<(), Stop> {
    let path = env::var_os("PTOLEMY_API_TOKEN_FILE").filter(|path| !path.is_empty());
    match path {
        Some(path) => check("token file", Path::new(&path), report),
        None => Ok(()),
    }
}

/// Checks who may use a file.
pub(super) fn check(name: &'static str, path: &Path, report: &mut Report) -> Result<(), Stop> {
    let shown = path.display();
    match private_file::open_to_others(path) {
        Ok(None) => report.ok(name, &format!("{shown} can be used by its owner only")),
        Ok(Some(bits)) => report.warning(
            name,
            &format!("{shown} can be used by others (mode bits {bits:03o})"),
            &format!("chmod 600 {shown}, unless a group needs it"),
        ),
        // Another check says that the file cannot be read.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => report.unknown(name, &format!("{shown}: {error}"), "check the path"),
    }
}
