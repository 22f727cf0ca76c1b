//! The shared secret of a webhook.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::{Zeroize as _, Zeroizing};

use crate::secret_error::{SecretError, SecretErrorKind};

const PREFIX: &str = "whsec_";

/// The longest file that is read, in bytes: far more than a secret needs, and a bound for
/// `/dev/zero`.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// The shared secret of one webhook, checked, redacted in `Debug` and wiped from memory on drop.
///
/// Ptolemy shows a secret once, when a webhook is created and when its secret is rotated, as text
/// that begins with `whsec_`. The **whole** text is the key of the HMAC, prefix included; nothing
/// in it is decoded.
///
/// A secret that cannot be right is an error when the program starts, instead of a rejection of
/// every delivery later.
///
/// It does not implement `Clone`, so that no stray copies remain in memory: a
/// [`Verifier`](crate::Verifier) takes it, a [`Signer`](crate::Signer) borrows it.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::{Secret, SecretErrorKind};
///
/// let secret = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1")?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
///
/// let error = Secret::new("whsec_a3f9b2c1d4e5f6a7b8c9d0e1\n").unwrap_err();
/// assert_eq!(error.kind(), SecretErrorKind::Whitespace);
/// assert!(error.to_string().contains("trailing newline"));
/// # Ok::<(), ptolemy_webhooks::SecretError>(())
/// ```
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a secret as Ptolemy shows it.
    ///
    /// A `String` that is passed in is wiped if it is rejected, and otherwise when the secret is
    /// dropped. A `&str` is copied, and the copy is wiped.
    ///
    /// # Errors
    ///
    /// Returns an error if the text cannot be a secret of Ptolemy's. [`SecretErrorKind`] lists the
    /// mistakes.
    pub fn new(text: impl Into<String>) -> Result<Self, SecretError> {
        let mut text = Zeroizing::new(text.into());
        check_text(&text).map_err(SecretError::new)?;
        // Moves the buffer, so that no second copy of the secret is left behind.
        Ok(Self(Zeroizing::new(
            std::mem::take(&mut *text).into_bytes(),
        )))
    }

    /// Takes a key that is not in the documented form, checking only that it is not empty.
    ///
    /// This is for test vectors and stand-in senders. Pass a secret of Ptolemy's to
    /// [`Secret::new`], whose checks find the usual mistakes.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is empty.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.is_empty() {
            return Err(SecretError::new(SecretErrorKind::Empty));
        }
        Ok(Self(bytes))
    }

    /// Reads a secret from the environment variable `name`.
    ///
    /// # Errors
    ///
    /// Returns an error if the variable is not set or not Unicode, and if [`Secret::new`] returns
    /// one. The error names the variable.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        Self::from_value(env::var_os(name)).map_err(|error| error.in_variable(name))
    }

    /// Reads a secret from a file, such as one that Docker or Kubernetes mounts.
    ///
    /// One line ending at the end of the file, LF or CRLF, is removed, because editors and `echo`
    /// add it. At most 64 KiB are read, and the buffer is wiped.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, is longer than 64 KiB or is not UTF-8, and if
    /// [`Secret::new`] returns one for its text. The error names the file; if the file cannot be
    /// read, its `source()` is the `std::io::Error`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ptolemy_webhooks::{Secret, SecretErrorKind};
    ///
    /// let error = Secret::from_file("/run/secrets/no-such-file").unwrap_err();
    /// assert_eq!(error.kind(), SecretErrorKind::Unreadable);
    /// assert_eq!(error.to_string(), "file /run/secrets/no-such-file: secret cannot be read");
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        read_file(path)
            .map_err(SecretError::unreadable)
            .and_then(|bytes| {
                let text = std::str::from_utf8(without_line_end(&bytes))
                    .map_err(|_| SecretError::new(SecretErrorKind::NotUnicode))?;
                Self::new(text)
            })
            .map_err(|error| error.in_file(path))
    }

    /// Reads a secret from the variable `name`, or from the file that the variable `name` with
    /// `_FILE` appended names. An empty variable counts as not set if the other one is set.
    pub(crate) fn from_env_or_file(name: &str) -> Result<Self, SecretError> {
        let file = format!("{name}_FILE");
        let Some(path) = env::var_os(&file).filter(|path| !path.is_empty()) else {
            return Self::from_env(name);
        };
        if env::var_os(name).is_some_and(|value| {
            let value = Zeroizing::new(value.into_encoded_bytes());
            !value.is_empty()
        }) {
            return Err(SecretError::new(SecretErrorKind::BothForms).in_variable(name));
        }
        Self::from_file(path).map_err(|error| error.in_variable(file))
    }

    fn from_value(value: Option<OsString>) -> Result<Self, SecretError> {
        let value = value.ok_or(SecretError::new(SecretErrorKind::NotSet))?;
        let text = String::from_utf8(value.into_encoded_bytes()).map_err(|error| {
            error.into_bytes().zeroize();
            SecretError::new(SecretErrorKind::NotUnicode)
        })?;
        Self::new(text)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    // The buffer is allocated at once, because a growing buffer would be reallocated and leave
    // copies behind.
    let mut buffer = Zeroizing::new(vec![0; MAX_FILE_BYTES + 1]);
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if length > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {MAX_FILE_BYTES} bytes"),
        ));
    }
    // `truncate` keeps the allocation, so all of it is wiped on drop.
    buffer.truncate(length);
    Ok(buffer)
}

/// Removes one line ending and no more, because an editor adds only one.
fn without_line_end(bytes: &[u8]) -> &[u8] {
    match bytes {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => text,
        text => text,
    }
}

/// Returns the most specific mistake: a placeholder also lacks the prefix, but "placeholder" is
/// more helpful.
fn check_text(text: &str) -> Result<(), SecretErrorKind> {
    if text.is_empty() {
        return Err(SecretErrorKind::Empty);
    }
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(SecretErrorKind::Blank);
    }
    let bare = trimmed.trim_matches(is_quote);
    let key = bare.strip_prefix(PREFIX).unwrap_or(bare);
    if is_placeholder(key) {
        return Err(SecretErrorKind::Placeholder);
    }
    if is_masked(key) {
        return Err(SecretErrorKind::Masked);
    }
    if bare != trimmed {
        return Err(SecretErrorKind::Quoted);
    }
    if trimmed.ends_with([',', ';', ')', '}', ']']) {
        return Err(SecretErrorKind::TrailingPunctuation);
    }
    if [r"\n", r"\r", r"\t"]
        .iter()
        .any(|escape| trimmed.ends_with(escape))
    {
        return Err(SecretErrorKind::EscapedNewline);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SecretErrorKind::Whitespace);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SecretErrorKind::NotVisibleAscii);
    }
    match text.strip_prefix(PREFIX) {
        None => Err(SecretErrorKind::NoPrefix),
        Some("") => Err(SecretErrorKind::PrefixOnly),
        Some(_) => Ok(()),
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '‘' | '’' | '“' | '”' | '«' | '»')
}

/// `${NAME}`, `$(command)`, `$NAME`, `%NAME%`, `{{name}}`, `{name}`, `<secret>`, `[secret]`, and
/// the words of sample files: `your_secret_here`, `changeme`.
fn is_placeholder(key: &str) -> bool {
    let encloses = |open: &str, close: &str| {
        key.strip_prefix(open)
            .is_some_and(|rest| rest.ends_with(close))
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let pairs = [("$(", ")"), ("{", "}"), ("<", ">"), ("[", "]"), ("%", "%")];
    pairs.iter().any(|(open, close)| encloses(open, close))
        || (key.contains("${") && key.contains('}'))
        || (key.contains("{{") && key.contains("}}"))
        || key.strip_prefix('$').is_some_and(is_name)
        || ["your_", "your-", "changeme", "change_me", "change-me"]
            .iter()
            .any(|word| contains(key, word))
}

/// Bullets and ellipses, three dots or asterisks in a row, `x` alone or six in a row, the word
/// "redacted", and one punctuation mark three times or more. None of these is likely in a random
/// key.
fn is_masked(key: &str) -> bool {
    key.contains(['•', '●', '∙', '·', '…', '⋯', '█'])
        || key.contains("...")
        || key.contains("***")
        || contains(key, "xxxxxx")
        || contains(key, "redacted")
        || (key.len() >= 3 && key.bytes().all(|byte| byte.eq_ignore_ascii_case(&b'x')))
        || is_one_mark(key)
}

/// Returns whether a key is one punctuation mark, three times or more.
fn is_one_mark(key: &str) -> bool {
    match key.as_bytes() {
        [first, _, _, ..] => first.is_ascii_punctuation() && key.bytes().all(|byte| byte == *first),
        _ => false,
    }
}

/// Returns whether `text` contains `part`, ignoring case. It copies nothing, because a copy would
/// not be wiped.
fn contains(text: &str, part: &str) -> bool {
    let mut windows = text.as_bytes().windows(part.len());
    windows.any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}
