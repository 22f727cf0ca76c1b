//! A file as the place of a secret, with two files beside it.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use ptolemy_webhooks::Secret;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::atomic_file::{FileError, check_replaceable, read, remove_temporary, replace};
use crate::issued_secret::IssuedSecret;
use crate::place::{Contents, Place, PlaceError, State, fingerprint};

/// A file as the place of a secret.
///
/// `PATH` has the secret, `PATH.previous` the previous one (empty if there is none), and
/// `PATH.state` the id of the webhook and what a run has begun. Each is replaced as a whole: by a
/// temporary file in the same folder, a sync, a rename and a sync of the folder. If one of them is
/// a symlink, the file that it leads to is replaced.
///
/// A new file can be read by its owner only. A file that is replaced keeps its mode, so `chmod` can
/// give a group access; its owner and its group become those of the process.
#[derive(Clone)]
pub struct SecretFile {
    path: PathBuf,
    /// The content of the file before a new secret is issued.
    old: Option<Zeroizing<Vec<u8>>>,
}

impl SecretFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, old: None }
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

    /// A killed process can leave one temporary file of each, with a secret that was live for a
    /// moment.
    fn remove_temporary_files(&self) {
        for path in [self.path.clone(), self.previous(), self.state()] {
            remove_temporary(&path);
        }
    }

    /// File operations block on disks, so they do not run on the threads that serve requests.
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

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Place for SecretFile {
    async fn open(&mut self) -> Result<Contents, PlaceError> {
        self.blocking(|file| {
            file.remove_temporary_files();
            let secret = read_secret(&file.path)?;
            Ok(Contents {
                state: read_state(&file.state())?,
                has_secret: secret.is_some(),
                fingerprint: secret.map(|(_, secret)| fingerprint(&secret)),
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
        let old = self.blocking(|file| {
            check_replaceable(&file.path)?;
            let previous = file.previous();
            // The core reads an empty file as "none", so a receiver can be started with its name.
            match fs::symlink_metadata(&previous) {
                Ok(_) => check_replaceable(&previous)?,
                Err(_) => replace(&previous, b"")?,
            }
            Ok(read_secret(&file.path)?.map(|(bytes, _)| bytes))
        });
        self.old = old.await?;
        Ok(())
    }

    async fn store(&mut self, secret: &IssuedSecret) -> Result<(), PlaceError> {
        let text = Zeroizing::new(secret.expose().to_owned());
        self.blocking(move |file| {
            // The old one is written first: a process that is killed in between leaves two copies
            // of it.
            if let Some(old) = &file.old {
                replace(&file.previous(), old)?;
            }
            replace(&file.path, text.as_bytes())
        })
        .await
    }
}

/// The bytes of a file, and the secret in them.
type Content = (Zeroizing<Vec<u8>>, Secret);

/// The content of the file; `None` if the file does not exist or is empty. Any other content is an
/// error: it would be overwritten, and its owner is unknown.
fn read_secret(path: &Path) -> Result<Option<Content>, FileError> {
    let Some(bytes) = read(path)?.filter(|bytes| !bytes.trim_ascii().is_empty()) else {
        return Ok(None);
    };
    match Secret::from_file(path) {
        Ok(secret) => Ok(Some((bytes, secret))),
        // The cause is not shown: it could describe a secret that is almost right.
        Err(_) => Err(FileError::new(
            path,
            "contains text that is not a secret (whsec_…); move it away, or restore the secret",
        )),
    }
}

fn read_state(path: &Path) -> Result<State, FileError> {
    let Some(bytes) = read(path)? else {
        return Ok(State::default());
    };
    State::parse(bytes.to_vec()).ok_or_else(|| {
        FileError::new(
            path,
            "is not in the format that this crate writes; remove it if the secret beside it is right",
        )
    })
}
