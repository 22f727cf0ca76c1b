//! The file in which `register` and `rotate` keep a secret, and one that could not be kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ptolemy_webhooks_client::{IssuedSecret, RegistrationError, RegistrationErrorKind};

use crate::output::Output;
use crate::secret_mode;
use crate::stop::{Stop, chain};
use crate::text;

/// Returns an error if a secret cannot be written into the file, or if others could read it there.
pub(super) fn check(path: &Path) -> Result<(), Stop> {
    if path.as_os_str() == "-" {
        return Err(Stop::usage(
            "--secret-file: `-` is not a file, and the secret must be kept: pass a path, and \
             --print-secret to have the secret on standard output too",
        ));
    }
    secret_mode::check_before_writing(path)?;
    secret_mode::check_before_writing(&previous_path(path))
}

/// Returns the path beside the secret where the previous one is kept.
pub(super) fn previous_path(path: &Path) -> PathBuf {
    let mut previous = OsString::from(path);
    previous.push(".previous");
    previous.into()
}

/// A path in printable form.
pub(super) fn shown(path: &Path) -> String {
    text::words(&path.display().to_string())
}

/// Returns an error for `--print-secret` with `--json`.
pub(super) fn check_print(print_secret: bool, output: &Output) -> Result<(), Stop> {
    if print_secret && output.is_json() {
        return Err(Stop::usage(
            "--print-secret prints the secret alone: leave out --json",
        ));
    }
    Ok(())
}

/// Prints the secret that a file has now.
pub(super) fn print(path: &Path, output: &Output) -> Result<(), Stop> {
    // The file was written or read as a secret a moment ago, so it is small.
    let text =
        std::fs::read(path).map_err(|error| Stop::failed(format!("{}: {error}", shown(path))))?;
    let mut text = text.trim_ascii_end().to_vec();
    text.push(b'\n');
    output.bytes(&text)
}

/// Returns an error that the options did not cause; `again` is the command that completes the
/// operation.
///
/// A secret that was issued but could not be stored is printed if requested, and is lost otherwise.
pub(super) fn failed(
    error: RegistrationError,
    path: &Path,
    print_to: Option<&Output>,
    again: &str,
) -> Stop {
    if error.kind() != RegistrationErrorKind::NotStored {
        let is_unknown = error.kind() == RegistrationErrorKind::Api;
        let stop = Stop::from_registration(&error);
        return match is_unknown && stop.is_unknown() {
            true => stop.with_more(&format!(
                "; next, run {again}, which issues and stores another"
            )),
            false => stop,
        };
    }
    // `Display` shows the library's error; its causes name the file.
    let cause = std::error::Error::source(&error).map(chain);
    let webhook = match error.webhook_id() {
        Some(webhook) => format!("the new secret of webhook {webhook}"),
        None => "the new secret".to_owned(),
    };
    let begin = format!(
        "{webhook} is live, and could not be stored in {}: {}",
        shown(path),
        cause.unwrap_or_default(),
    );
    let next = format!("correct this and run {again}, which issues and stores another");
    let printed = match (print_to, error.into_issued_secret()) {
        (Some(output), Some(secret)) => Some(print_issued(output, &secret)),
        _ => None,
    };
    Stop::failed(match printed {
        Some(Ok(())) => format!("{begin}. It is on standard output: keep it, or {next}"),
        Some(Err(())) => format!(
            "{begin}. It could not be printed to standard output either, so it is lost: {next}"
        ),
        None => format!("{begin}. It is lost: {next}"),
    })
}

fn print_issued(output: &Output, secret: &IssuedSecret) -> Result<(), ()> {
    output
        .bytes(format!("{}\n", secret.expose()).as_bytes())
        .map_err(drop)
}
