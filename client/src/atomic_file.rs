//! A file that is replaced as a whole: by a temporary file beside it, a sync and a rename.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The longest file that is read, in bytes; the core has the same limit for a secret.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// The size of a file that is written as a trial: larger than any secret.
const PROBE_BYTES: usize = 1024;

/// Which file could not be used, and for what.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    fault: &'static str,
    source: Option<io::Error>,
}

impl FileError {
    pub(crate) fn new(path: &Path, fault: &'static str) -> Self {
        Self {
            path: path.to_owned(),
            fault,
            source: None,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {} {}", self.path.display(), self.fault)?;
        // The cause is part of the line, because it points to the fix: "permission denied".
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FileError {}

fn failed<'a>(path: &'a Path, fault: &'static str) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError {
        source: Some(source),
        ..FileError::new(path, fault)
    }
}

/// Returns the content of a file, or `None` if it does not exist. Only an absent file is `None`: a
/// file that cannot be read may have a secret.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    // The buffer is allocated at once, because a growing buffer would be reallocated and leave
    // copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES + 1));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "cannot be opened")(error)),
    };
    let limit = u64::try_from(MAX_FILE_BYTES + 1).unwrap_or(u64::MAX);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(failed(path, "cannot be read"))?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(FileError::new(path, "is longer than 64 KiB"));
    }
    Ok(Some(bytes))
}

/// Makes sure that a file can be replaced: an existing one is replaced by its own bytes, and for
/// one that does not exist, a temporary file of a secret's size is written. Only a rename shows
/// that a folder, a mount point or an attribute of the file does not prevent it.
pub(crate) fn check_replaceable(path: &Path) -> Result<(), FileError> {
    let (target, temporary) = target(path)?;
    match fs::metadata(&target) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(FileError::new(path, "is not a regular file"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(path, "cannot be read")(error)),
    }
    if let Some(bytes) = read(path)? {
        return replace(path, &bytes);
    }
    write(&temporary, &[0; PROBE_BYTES], None)?;
    fs::remove_file(&temporary).map_err(failed(&temporary, "cannot be removed"))
}

/// Replaces a file, which keeps its mode, or creates it for its owner only.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let (target, temporary) = target(path)?;
    let present = fs::metadata(&target).ok();
    let mode = present
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.permissions());
    write(&temporary, bytes, mode)?;
    if let Err(error) = fs::rename(&temporary, &target) {
        let _ = fs::remove_file(&temporary);
        return Err(failed(path, "cannot be replaced")(error));
    }
    sync_folder(&target)
}

/// Removes the temporary file of a killed process. In a folder that is not writable there is none.
pub(crate) fn remove_temporary(path: &Path) {
    if let Ok((_, temporary)) = target(path) {
        let _ = fs::remove_file(temporary);
    }
}

/// The file that a rename must replace, and its temporary file. The latter always has the same
/// name, so a killed process leaves at most one, which the next process removes.
fn target(path: &Path) -> Result<(PathBuf, PathBuf), FileError> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    let target = if is_link {
        fs::canonicalize(path).map_err(failed(path, "is a symlink that leads nowhere"))?
    } else {
        path.to_owned()
    };
    let mut name = OsString::from(".");
    name.push(
        target
            .file_name()
            .ok_or_else(|| FileError::new(path, "has no name"))?,
    );
    name.push(".tmp");
    let temporary = target.with_file_name(name);
    Ok((target, temporary))
}

fn write(path: &Path, bytes: &[u8], mode: Option<Permissions>) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(path, "cannot be removed")(error));
        }
        _ => {}
    }
    let written = create(path).and_then(|mut file| {
        if let Some(mode) = mode {
            file.set_permissions(mode)?;
        }
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        failed(path, "cannot be written")(error)
    })
}

/// `create_new`: a symlink or a file that someone else put there is not followed or reused.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Without it, a rename can be lost in a power failure.
#[cfg(unix)]
fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed(folder, "cannot be synced"))
}

/// Folders cannot be opened as files on this platform; the rename is still atomic.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<(), FileError> {
    Ok(())
}
