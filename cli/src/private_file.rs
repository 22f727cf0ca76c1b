//! Files that only their owner may read, and folders for them.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;

use crate::stop::Stop;

/// Writes a file that only its owner may read, at any time: a temporary file with the mode 0600, a
/// sync, a rename over the existing file, and a sync of the folder.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", process::id()));
    let temporary = PathBuf::from(name);
    let written = create(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // Any other error leaves nothing, or a file of this process.
        if error.kind() != io::ErrorKind::AlreadyExists {
            drop(fs::remove_file(&temporary));
        }
        return Err(error);
    }
    sync_folder(path)
}

/// Writes a new file that only its owner may read, at any time. Returns an error of the kind
/// `AlreadyExists` if something has its name.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // A file of this process.
        drop(fs::remove_file(path));
    }
    written
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A rename is on disk when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Creates a folder that only its owner may enter. Returns an error if it exists.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut folder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path)
}

/// A file with a URL that has a token, in a new temporary folder. Both are removed when this is
/// dropped.
pub(crate) struct TokenFile {
    path: PathBuf,
    shown: String,
}

impl TokenFile {
    pub(crate) fn write(url: &str) -> Result<Self, Stop> {
        let folder = temporary_folder("ptolemy-inspect")
            .map_err(|stop| stop.with_more("; TMPDIR can name another folder"))?;
        let path = folder.join("page_url");
        let failed = |fault: &str| Stop::failed(format!("{}: {fault}", folder.display()));
        let shown = path.to_str().map(str::to_owned);
        let shown = shown.ok_or_else(|| failed("the path is not Unicode"))?;
        write_new(&path, url.as_bytes()).map_err(|error| failed(&error.to_string()))?;
        Ok(Self { path, shown })
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // An error is ignored: the token has ended with the command.
        drop(fs::remove_file(&self.path));
        if let Some(folder) = self.path.parent() {
            drop(fs::remove_dir(folder));
        }
    }
}

/// Creates a folder with a new name in the temporary folder, which only its owner may enter.
pub(crate) fn temporary_folder(name: &str) -> Result<PathBuf, Stop> {
    let parent = env::temp_dir();
    for number in 0..100 {
        let path = parent.join(format!("{name}-{}-{number}", process::id()));
        match create_folder(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Stop::failed(format!("{}: {error}", path.display()))),
        }
    }
    Err(Stop::failed(format!(
        "no new folder in {}: remove old ones",
        parent.display()
    )))
}
