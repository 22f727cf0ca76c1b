//! The URL of a receiver, as an argument.

use reqwest::Url;

/// Reads an http or https URL without a user and a password. The error completes "the URL …".
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    // A text without a scheme, such as `127.0.0.1:3000`, would get an error about something else.
    if !["http://", "https://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
    {
        return Err("must begin with http:// or https://".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("cannot be read: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user or a password".to_owned());
    }
    Ok(url)
}
