//! Who else may read a file that has a secret.

use std::io;
use std::path::Path;

use crate::notice;
use crate::stop::Stop;

/// Returns an error if the file exists and others than its owner may read or write it: a new secret
/// would be written into it with the same mode.
pub(crate) fn check_before_writing(path: &Path) -> Result<(), Stop> {
    // An error is left to what writes the file.
    match open_to_others(path) {
        Ok(Some(fault)) => Err(Stop::usage(format!(
            "{fault}: {FIX}; a new secret is not written into it"
        ))),
        _ => Ok(()),
    }
}

/// Prints a warning if others than its owner may read or write the file.
pub(crate) fn warn_before_reading(path: &Path) {
    // An error is left to what reads the file.
    if let Ok(Some(fault)) = open_to_others(path) {
        notice::warning(&format!("{fault}: {FIX}"));
    }
}

/// How to restrict a file to its owner.
pub(crate) const FIX: &str = "run `chmod 600` on it";

/// Returns a message if others than its owner may read or write the file.
#[cfg(unix)]
pub(crate) fn open_to_others(path: &Path) -> io::Result<Option<String>> {
    use std::os::unix::fs::PermissionsExt as _;

    let metadata = path.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    // A pipe has a mode that says nothing.
    if !metadata.is_file() || mode & 0o077 == 0 {
        return Ok(None);
    }
    let path = crate::text::words(&path.display().to_string());
    Ok(Some(format!(
        "file {path} has mode {mode:03o}, so users other than its owner can use it"
    )))
}

#[cfg(not(unix))]
pub(crate) fn open_to_others(path: &Path) -> io::Result<Option<String>> {
    path.metadata().map(|_| None)
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
        assert!(open_to_others(&file).is_err(), "a file that does not exist");
        assert!(check_before_writing(&file).is_ok());
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            for mode in [0o640, 0o604, 0o610, 0o602, 0o777] {
                fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
                let fault = open_to_others(path).unwrap().unwrap();
                assert!(fault.contains(&format!("has mode {mode:03o}")), "{fault}");
                assert_eq!(check_before_writing(path).unwrap_err().code(), 2);
            }
            for mode in [0o600, 0o400, 0o700] {
                fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
                assert_eq!(open_to_others(path).unwrap(), None);
                assert!(check_before_writing(path).is_ok());
            }
        }
        assert_eq!(open_to_others(Path::new("/dev/null")).unwrap(), None);
        assert_eq!(open_to_others(folder.path()).unwrap(), None);
    }
}
