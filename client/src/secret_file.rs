//! A file as the place of a secret, with two files beside it.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ptolemy_webhooks::Secret;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::issued_secret::IssuedSecret;
use crate::place::{Contents, Place, PlaceError, State};

/// The longest file that is read, in bytes; the core has the same limit for a secret.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A file as the place of a secret.
///
/// `PATH` has the secret, `PATH.previous` the one before it (empty if there is none), and `PATH.state`
/// the id of the webhook and what a run has begun. Each is replaced as a whole: by a temporary file in
/// the same folder, which only the owner can read, a sync, a rename and a sync of the folder. If one of
/// them is a symlink, the file that it leads to is replaced.
#[derive(Clone, Debug)]
pub struct SecretFile {
    path: PathBuf,
}

impl SecretFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(suffix);
        path.into()
    }

    fn previous(&self) -> PathBuf {
        self.beside(".previous")
    }

    fn state(&self) -> PathBuf {
        self.beside(".state")
    }

    /// A killed process can leave one of each, with a secret that was live for a moment. In a folder
    /// that cannot be written there are none.
    fn remove_temporary_files(&self) {
        for path in [self.path.clone(), self.previous(), self.state()] {
            if let Ok((_, temporary)) = target(&path) {
                let _ = fs::remove_file(temporary);
            }
        }
    }

    /// File work waits for disks, so it is kept away from the threads that serve requests.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, PlaceError> {
        let file = self.clone();
        match spawn_blocking(|| work(file)).await {
            Ok(result) => result.map_err(Into::into),
            Err(error) => Err(error.into()),
        }
    }
}

impl Place for SecretFile {
    async fn open(&mut self) -> Result<Contents, PlaceError> {
        self.blocking(|file| {
            file.remove_temporary_files();
            Ok(Contents {
                state: read_state(&file.state())?,
                has_secret: Secret::from_file(&file.path).is_ok(),
            })
        })
        .await
    }

    async fn note(&mut self, state: &State) -> Result<(), PlaceError> {
        let json = state.to_json();
        self.blocking(move |file| replace(&file.state(), json.as_bytes()))
            .await
    }

    async fn prepare(&mut self) -> Result<(), PlaceError> {
        self.blocking(|file| {
            check_writable(&file.path)?;
            let previous = file.previous();
            if Secret::from_file(&file.path).is_ok() {
                return replace(&previous, &read(&file.path)?);
            }
            // The core reads an empty file as "none", so that a receiver can start with its name.
            match fs::symlink_metadata(&previous) {
                Ok(_) => Ok(()),
                Err(_) => replace(&previous, b""),
            }
        })
        .await
    }

    async fn store(&mut self, secret: &IssuedSecret) -> Result<(), PlaceError> {
        let text = Zeroizing::new(secret.expose().to_owned());
        self.blocking(move |file| replace(&file.path, text.as_bytes()))
            .await
    }
}

/// Which file could not be used for what.
#[derive(Debug)]
struct FileError {
    path: PathBuf,
    fault: &'static str,
    source: Option<io::Error>,
}

impl FileError {
    fn new(path: &Path, fault: &'static str) -> Self {
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
        // The cause is part of the line, because it is what helps: "permission denied".
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

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // All at once: a buffer that grows would be reallocated and leave copies behind.
    let capacity = usize::try_from(MAX_FILE_BYTES + 1).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    let file = File::open(path).map_err(failed(path, "cannot be opened"))?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed(path, "cannot be read"))?;
    Ok(bytes)
}

fn read_state(path: &Path) -> Result<State, FileError> {
    match read(path) {
        Ok(bytes) => State::parse(bytes.to_vec()).ok_or_else(|| {
            FileError::new(
                path,
                "is not what this crate writes; remove it if the secret beside it is right",
            )
        }),
        Err(error) if is_missing(&error) => Ok(State::default()),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &FileError) -> bool {
    let source = error.source.as_ref();
    source.is_some_and(|source| source.kind() == io::ErrorKind::NotFound)
}

/// The file that a rename has to replace, and its temporary file. The name of the latter is always
/// the same, so that a killed process leaves at most one, which the next one removes.
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

fn check_writable(path: &Path) -> Result<(), FileError> {
    let (target, temporary) = target(path)?;
    if fs::metadata(&target).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(FileError::new(path, "is not a regular file"));
    }
    write(&temporary, b"")?;
    fs::remove_file(&temporary).map_err(failed(&temporary, "cannot be removed"))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let (target, temporary) = target(path)?;
    write(&temporary, bytes)?;
    if let Err(error) = fs::rename(&temporary, &target) {
        let _ = fs::remove_file(&temporary);
        return Err(failed(path, "cannot be replaced")(error));
    }
    sync_folder(&target)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(path, "cannot be removed")(error));
        }
        _ => {}
    }
    let written = create(path).and_then(|mut file| {
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

/// Without it, a rename can be lost with the power.
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

/// Folders cannot be opened as files here; the rename is atomic all the same.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<(), FileError> {
    Ok(())
}
