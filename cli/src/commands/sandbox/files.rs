//! The files of a sandbox that runs: token, secret, and the note that it is ready.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use serde::Serialize;

use crate::private_file;
use crate::stop::Stop;
use crate::text;

/// Files that are removed when this is dropped: also after Ctrl-C, which drops the command.
pub(super) struct Files {
    folder: PathBuf,
    /// Whether the folder was made here, and so is removed too.
    is_new: bool,
    written: Vec<PathBuf>,
    ready: Option<PathBuf>,
}

impl Files {
    /// Removes the note of an earlier run, and creates the folder if it is missing.
    pub(super) fn new(folder: Option<&Path>, ready: Option<PathBuf>) -> Result<Self, Stop> {
        if let Some(path) = &ready {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(path, &error));
                }
                _ => {}
            }
        }
        let (folder, is_new) = match folder {
            Some(folder) => {
                let folder = std::path::absolute(folder).map_err(|error| failed(folder, &error))?;
                match private_file::create_folder(&folder) {
                    Ok(()) => (folder, true),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (folder, false),
                    Err(error) => return Err(failed(&folder, &error)),
                }
            }
            None => (temporary_folder()?, true),
        };
        let files = Self {
            folder,
            is_new,
            written: Vec::new(),
            ready,
        };
        // Shell lines and JSON show the paths.
        match files.folder.to_str() {
            Some(path) if !path.contains(char::is_control) => Ok(files),
            _ => Err(Stop::usage(
                "the path of the folder is not Unicode, or has a control character",
            )),
        }
    }

    /// Writes a file that only its owner may read, and returns its path.
    pub(super) fn write(&mut self, name: &str, text: &str) -> Result<String, Stop> {
        let path = self.folder.join(name);
        if let Ok(Some(bits)) = private_file::open_to_others(&path) {
            return Err(Stop::usage(format!(
                "{}: the file is there, and others may use it (mode bits {bits:03o}): remove it, or choose another folder",
                text::words(&path.display().to_string())
            )));
        }
        private_file::write(&path, text.as_bytes()).map_err(|error| failed(&path, &error))?;
        let shown = path.to_string_lossy().into_owned();
        self.written.push(path);
        Ok(shown)
    }

    /// Writes the note that everything is ready.
    pub(super) fn write_ready(&self, ready: &impl Serialize) -> Result<(), Stop> {
        let Some(path) = &self.ready else {
            return Ok(());
        };
        let mut line =
            text::json(ready).map_err(|error| Stop::failed(format!("not JSON: {error}")))?;
        line.push('\n');
        private_file::write(path, line.as_bytes()).map_err(|error| failed(path, &error))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // An error is ignored: the command has ended, and its token with the sandbox.
        for path in self.written.iter().chain(&self.ready) {
            drop(fs::remove_file(path));
        }
        if self.is_new {
            drop(fs::remove_dir(&self.folder));
        }
    }
}

/// Creates a folder of a new name.
fn temporary_folder() -> Result<PathBuf, Stop> {
    let parent = env::temp_dir();
    for number in 0..100 {
        let path = parent.join(format!("ptolemy-sandbox-{}-{number}", process::id()));
        match private_file::create_folder(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path, &error)),
        }
    }
    Err(Stop::failed(format!(
        "no new folder in {}: remove old ones, or pass --folder",
        text::words(&parent.display().to_string())
    )))
}

fn failed(path: &Path, error: &io::Error) -> Stop {
    Stop::failed(format!(
        "{}: {error}",
        text::words(&path.display().to_string())
    ))
}
