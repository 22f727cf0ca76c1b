//! The URL of a receiver, as an argument, and the next step if its certificate is not accepted.

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

/// The next step if the CA of a certificate is not trusted.
const UNTRUSTED: &str = if cfg!(any(target_vendor = "apple", windows)) {
    "Add the certificate of its CA to those that this machine trusts, or correct the URL"
} else {
    "Set SSL_CERT_FILE to a PEM file with the certificate of its CA, or correct the URL"
};

/// Returns the next step if there was no connection because of the receiver's certificate.
pub(crate) fn certificate_step(why: &str) -> Option<&'static str> {
    // The words of rustls.
    if why.contains("UnknownIssuer") {
        return Some(UNTRUSTED);
    }
    let is_certificate = why.contains("invalid peer certificate");
    is_certificate.then_some("Correct the certificate of the receiver, or the URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_accepted_has_a_next_step() {
        let unknown = certificate_step("invalid peer certificate: UnknownIssuer");
        assert_eq!(unknown, Some(UNTRUSTED));
        let expired = certificate_step("invalid peer certificate: Expired");
        assert!(expired.is_some_and(|step| step.starts_with("Correct the certificate")));
        assert_eq!(certificate_step("connection refused"), None);
    }
}
