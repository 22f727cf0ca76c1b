//! Who else may read a file that has a secret.

use std::env;
use std::path::Path;

use crate::notice;
use crate::private_file;
use crate::stop::Stop;
use crate::text;

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

/// Prints a warning if a variable names a file, and others than its owner may read or write it.
pub(crate) fn warn_before_reading_variable(name: &str) {
    if let Some(path) = env::var_os(name).filter(|path| !path.is_empty()) {
        warn_before_reading(Path::new(&path));
    }
}

/// Prints a warning if others than its owner may read or write the file.
pub(crate) fn warn_before_reading(path: &Path) {
    if let Some(fault) = open_to_others(path) {
        notice::warning(&fault);
    }
}

fn open_to_others(path: &Path) -> Option<String> {
    // An error is left to what reads or writes the file. A pipe has a mode that says nothing.
    path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mode = private_file::mode_open_to_others(path).ok()??;
    let path = text::words(&path.display().to_string());
    Some(format!(
        "file {path} has mode {mode:03o}, so others than its owner can use it: run `chmod 600` on it"
    ))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_file_that_others_can_use_is_found_also_through_a_symlink() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        assert_eq!(open_to_others(&file), None, "a file that does not exist");
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            for mode in [0o640, 0o604, 0o610, 0o602, 0o777] {
                fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
                let fault = open_to_others(path).unwrap();
                assert!(fault.contains(&format!("has mode {mode:03o}")), "{fault}");
                assert_eq!(check_before_writing(path).unwrap_err().code(), 2);
            }
            for mode in [0o600, 0o400, 0o700] {
                fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
                assert_eq!(open_to_others(path), None);
                assert!(check_before_writing(path).is_ok());
            }
        }
        assert_eq!(open_to_others(Path::new("/dev/null")), None);
        assert_eq!(open_to_others(folder.path()), None);
    }
}
