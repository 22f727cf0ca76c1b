//! The token that the API requires.

use std::fmt;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

const SCHEME: &str = "Bearer ";

/// What is wrong with a token, as a clause.
pub(crate) type TokenFault = &'static str;

/// An API token as the value of the `Authorization` header: marked sensitive, and wiped when the
/// last clone of the header is dropped.
pub(crate) struct Token(HeaderValue);

impl Token {
    pub(crate) fn new(text: String) -> Result<Self, TokenFault> {
        let text = Zeroizing::new(text);
        check(&text)?;
        let mut line = Zeroizing::new(Vec::with_capacity(SCHEME.len() + text.len()));
        line.extend_from_slice(SCHEME.as_bytes());
        line.extend_from_slice(text.as_bytes());
        let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(line))
            .map_err(|_| "it is not visible ASCII")?;
        header.set_sensitive(true);
        Ok(Self(header))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Returns the token without its scheme, so that it can be removed from a server's text.
    pub(crate) fn text(&self) -> &str {
        let line = self.0.to_str().unwrap_or_default();
        line.strip_prefix(SCHEME).unwrap_or_default()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn check(text: &str) -> Result<(), TokenFault> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.starts_with("whsec_") {
        return Err("it is the secret of a webhook (whsec_); an API token begins with ptk_live_");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it has white space in or around it");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it is not visible ASCII");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sensitive_and_not_shown() {
        let token = Token::new("ptk_live_0123".to_owned()).unwrap();
        assert!(token.header().is_sensitive());
        assert_eq!(token.text(), "ptk_live_0123");
        assert_eq!(
            format!("{token:?} {:?}", token.header()),
            "Token(..) Sensitive"
        );
    }

    #[test]
    fn text_that_cannot_be_a_token_is_an_error() {
        for text in [
            "",
            "whsec_1",
            "a b",
            "ptk_live_1\n",
            "\tptk",
            "ptk_é",
            "a\u{85}",
        ] {
            assert!(Token::new(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
