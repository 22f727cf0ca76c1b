//! Files that only their owner may read, and folders for them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;

/// Writes a file of which only the owner may read anything: a temporary file with the mode 0600, a sync,
/// a rename over what was there, and a sync of the folder.
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

/// Creates a folder that only its owner may enter. Returns an error if it is there.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut folder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path)
}

/// Returns the bits of a file's mode that let others than its owner in, such as 0o044; `None` if there
/// are none, or if the system has no such bits.
pub(crate) fn open_to_others(path: &Path) -> io::Result<Option<u32>> {
    Ok(mode_open_to_others(path)?.map(|mode| mode & 0o077))
}

/// Same as [`open_to_others`], with the whole mode, such as 0o644.
pub(crate) fn mode_open_to_others(path: &Path) -> io::Result<Option<u32>> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        Ok(Some(mode & 0o777).filter(|mode| mode & 0o077 != 0))
    }
    #[cfg(not(unix))]
    {
        drop(metadata);
        Ok(None)
    }
}
