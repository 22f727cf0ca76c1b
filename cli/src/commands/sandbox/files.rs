//! The files of a sandbox that runs: token, secret, and the note that it is ready.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::private_file;
use crate::stop::Stop;
use crate::text;

/// The most bytes of a file that is checked for being a note of an earlier run.
const MAX_NOTE_BYTES: u64 = 64 * 1024;

/// Files that are removed when this is dropped: also by a signal, which drops the command.
pub(super) struct Files {
    folder: PathBuf,
    /// Whether the folder was made here, and so is removed too.
    is_new: bool,
    written: Vec<Written>,
    ready: Option<PathBuf>,
}

/// A file that this process wrote.
struct Written {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
}

impl Files {
    /// Checks the path of the note, and creates the folder if it is missing.
    pub(super) fn new(folder: Option<&Path>, ready: Option<PathBuf>) -> Result<Self, Stop> {
        if let Some(path) = &ready {
            check_ready(path)?;
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
            None => {
                let folder = private_file::temporary_folder("ptolemy-sandbox");
                let other = "; --folder can name another folder";
                (folder.map_err(|stop| stop.with_more(other))?, true)
            }
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

    /// Removes the note of an earlier run: a program that waits for the new one must not find it.
    pub(super) fn remove_old_ready(&self) -> Result<(), Stop> {
        let Some(path) = &self.ready else {
            return Ok(());
        };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, &error)),
            _ => Ok(()),
        }
    }

    /// Writes a new file that only its owner may read, and returns its path.
    pub(super) fn write(&mut self, name: &str, text: &str) -> Result<String, Stop> {
        let path = self.folder.join(name);
        let written = private_file::write_new(&path, text.as_bytes());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Stop::usage(format!(
                "{}: the file exists, and another sandbox may use it: remove it, or choose another --folder",
                shown(&path)
            )),
            _ => failed(&path, &error),
        })?;
        let name = path.to_string_lossy().into_owned();
        self.add(path, text.as_bytes());
        Ok(name)
    }

    /// Writes the note that everything is ready.
    pub(super) fn write_ready(&mut self, ready: &impl Serialize) -> Result<(), Stop> {
        let Some(path) = self.ready.clone() else {
            return Ok(());
        };
        let mut line =
            text::json(ready).map_err(|error| Stop::failed(format!("not JSON: {error}")))?;
        line.push('\n');
        private_file::write(&path, line.as_bytes()).map_err(|error| failed(&path, &error))?;
        self.add(path, line.as_bytes());
        Ok(())
    }

    fn add(&mut self, path: PathBuf, bytes: &[u8]) {
        let bytes = Zeroizing::new(bytes.to_vec());
        self.written.push(Written { path, bytes });
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // An error is ignored: the command has ended, and its token with the sandbox.
        for Written { path, bytes } in &self.written {
            // Something else may have been written there since then.
            if fs::read(path).is_ok_and(|found| Zeroizing::new(found) == *bytes) {
                drop(fs::remove_file(path));
            }
        }
        if self.is_new {
            drop(fs::remove_dir(&self.folder));
        }
    }
}

/// Returns an error if a note cannot be written there, or would replace anything but an empty file
/// or the note of an earlier run.
fn check_ready(path: &Path) -> Result<(), Stop> {
    let fault = |fault: &str| Stop::usage(format!("--ready-file: {}: {fault}", shown(path)));
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    if !parent.unwrap_or(Path::new(".")).is_dir() {
        return Err(fault("its folder does not exist: create it"));
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault(&error.to_string())),
        Ok(found) if found.is_file() && found.len() == 0 => return Ok(()),
        Ok(found) if found.is_file() && found.len() <= MAX_NOTE_BYTES => {}
        Ok(_) => return Err(fault(NOT_OURS)),
    }
    let text = fs::read(path).map_err(|error| fault(&error.to_string()))?;
    match serde_json::from_slice::<Note>(&text) {
        Ok(note) if note.kind == READY => Ok(()),
        _ => Err(fault(NOT_OURS)),
    }
}

/// The kind of the first line of the output.
pub(super) const READY: &str = "ready";

const NOT_OURS: &str = "it is not the note of an earlier run: remove it, or choose another name";

/// The part of a note that is read.
#[derive(Deserialize)]
struct Note {
    kind: String,
    /// Unused: another program's file is unlikely to have both.
    #[serde(rename = "token_file")]
    _token_file: String,
}

fn failed(path: &Path, error: &io::Error) -> Stop {
    Stop::failed(format!("{}: {error}", shown(path)))
}

fn shown(path: &Path) -> String {
    text::words(&path.display().to_string())
}
