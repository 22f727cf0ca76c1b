//! The environment variables that the client reads.

use std::env;
use std::fs::File;
use std::io::Read as _;

use zeroize::Zeroizing;

use crate::config_error::ConfigError;

pub(crate) const TOKEN: &str = "PTOLEMY_API_TOKEN";
pub(crate) const TOKEN_FILE: &str = "PTOLEMY_API_TOKEN_FILE";
pub(crate) const WORKSPACE: &str = "PTOLEMY_WORKSPACE";
pub(crate) const URL: &str = "PTOLEMY_API_URL";

/// The longest token file that is read, in bytes: far more than a token needs, and a bound for
/// `/dev/zero`.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// Returns the text of a variable; `None` if it is not set or empty.
pub(crate) fn variable(name: &str) -> Result<Option<String>, ConfigError> {
    match env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        // The error shows the value, so it is not the source.
        Err(env::VarError::NotUnicode(_)) => Err(ConfigError::new(name, "it is not Unicode")),
    }
}

/// Returns the token and the name of the variable that it comes from.
pub(crate) fn token() -> Result<(Zeroizing<String>, &'static str), ConfigError> {
    let text = variable(TOKEN)?.map(Zeroizing::new);
    match (
        text,
        env::var_os(TOKEN_FILE).filter(|path| !path.is_empty()),
    ) {
        (Some(_), Some(_)) => Err(ConfigError::new(
            TOKEN,
            format!("token is set twice, in this variable and in {TOKEN_FILE}; unset one"),
        )),
        (Some(text), None) => Ok((text, TOKEN)),
        (None, Some(path)) => Ok((token_file(&path)?, TOKEN_FILE)),
        (None, None) => Err(ConfigError::new(
            TOKEN,
            format!("not set, and {TOKEN_FILE} is not either"),
        )),
    }
}

fn token_file(path: &std::ffi::OsStr) -> Result<Zeroizing<String>, ConfigError> {
    let shown = path.to_string_lossy();
    let fault = |fault: &str| ConfigError::new(TOKEN_FILE, format!("file {shown} {fault}"));
    // The buffer is allocated at once, because a growing buffer would be reallocated and leave
    // copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES + 1));
    let file = File::open(path).map_err(|error| fault("cannot be opened").caused_by(error))?;
    let limit = u64::try_from(MAX_FILE_BYTES + 1).unwrap_or(u64::MAX);
    file.take(limit)
        .read_to_string(&mut text)
        .map_err(|error| fault("cannot be read as UTF-8").caused_by(error))?;
    if text.len() > MAX_FILE_BYTES {
        return Err(fault("is longer than 64 KiB"));
    }
    // One line ending is removed, because editors and `echo` add it; two are a mistake.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
