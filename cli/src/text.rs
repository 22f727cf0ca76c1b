//! Makes text from others safe to show on a terminal.

use std::borrow::Cow;

use ptolemy_webhooks::LogText;
use serde::Serialize;

/// What secrets and tokens begin with.
const SECRET_PREFIXES: [&str; 2] = ["whsec_", "ptk_"];

/// What follows `ptk_` in each token, and is not secret.
const TOKEN_KIND: &str = "live_";

/// A text without what follows the prefix of a secret or a token: servers can repeat what they were
/// sent, and an event can carry what it should not.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(text);
    for prefix in SECRET_PREFIXES {
        if !shown.contains(prefix) {
            continue;
        }
        let mut parts = shown.split(prefix);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            kept.push_str(prefix);
            let rest =
                part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-".contains(c));
            // A mere mention of the prefix stays as it is.
            kept.push_str(match part.strip_suffix(rest) {
                Some("") => "",
                Some(TOKEN_KIND) if prefix == "ptk_" => TOKEN_KIND,
                _ => "…",
            });
            kept.push_str(rest);
        }
        shown = Cow::Owned(kept);
    }
    shown
}

/// A URL without the password that it may have. Text that is not a URL is left out whole if it
/// could have one.
pub(crate) fn url(text: &str) -> String {
    match reqwest::Url::parse(text) {
        Ok(mut url) if url.password().is_some() => match url.set_password(None) {
            Ok(()) => url.into(),
            Err(()) => "(a URL with a password)".to_owned(),
        },
        Ok(url) if url.has_host() => text.to_owned(),
        // `user:password@host` is a URL with the scheme `user`.
        _ if text.contains('@') => "(not a URL)".to_owned(),
        _ => text.to_owned(),
    }
}

/// JSON without the white space between its tokens, so that it stands on one line. Numbers keep
/// every digit, which decoding would not keep.
pub(crate) fn compact(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    json.chars()
        .filter(|&character| {
            if is_text {
                is_text = is_escaped || character != '"';
                is_escaped = !is_escaped && character == '\\';
                return true;
            }
            is_text = character == '"';
            !character.is_ascii_whitespace()
        })
        .collect()
}

/// A text of several words on one line: characters that break, hide or reverse a line are escaped,
/// spaces stay. Text that looks like a secret or a token is left out.
pub(crate) fn words(text: &str) -> String {
    let text = without_secrets(text);
    let words = text.split(' ').map(|word| LogText::new(word).to_string());
    words.collect::<Vec<_>>().join(" ")
}

/// Same as [`words`], for messages of errors: their parts from servers are escaped already, so a
/// backslash stays as it is.
pub(crate) fn message(text: &str) -> String {
    let text = without_secrets(text);
    let words = text.split(' ').map(|word| {
        if LogText::is_plain(&word.replace('\\', "")) {
            return word.to_owned();
        }
        LogText::new(word).to_string()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// One object of JSON on one line, without a character that changes a terminal, a secret or a
/// token.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    let text = without_secrets(&text);
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let mut bytes = [0; 4];
        if character.is_ascii_graphic()
            || character == ' '
            || (!character.is_ascii() && LogText::is_plain(character.encode_utf8(&mut bytes)))
        {
            escaped.push(character);
        } else {
            // Outside of ASCII a character stands in a string only, and so may be escaped.
            for unit in character.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_a_terminal_is_escaped_and_reads_back_the_same() {
        let text = "a\u{1b}[31m b\u{202e}c\u{9b}d\u{7f} héllo 🦀 \n\"\\";
        let line = json(&text).unwrap();
        for character in ['\u{1b}', '\u{202e}', '\u{9b}', '\u{7f}', '\n'] {
            assert!(!line.contains(character), "{line}");
        }
        assert!(line.contains("héllo 🦀"), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        assert_eq!(words("a\u{1b}[31m b"), r"a\u{1b}[31m b");
        let once = message("a\u{1b}[31m b\\u{a} ptk_live_1");
        assert_eq!(once, r"a\u{1b}[31m b\u{a} ptk_…");
    }

    #[test]
    fn what_looks_like_a_secret_or_a_token_is_left_out() {
        assert_eq!(
            words("a whsec_12ab, ptk_live_9f. whsec_ whsec_… ptk_"),
            "a whsec_…, ptk_…. whsec_ whsec_… ptk_"
        );
        let hint = "begins with ptk_live_, not ptk_live_… or `ptk_live_`";
        assert_eq!(words(hint), hint);
        assert_eq!(
            words("ptk_live_a ptk_live__ ptk_liv ptk_live_ptk_live_a whsec_live_"),
            "ptk_… ptk_… ptk_… ptk_live_ptk_… whsec_…"
        );
        assert_eq!(json(&"x ptk_test_12").unwrap(), r#""x ptk_…""#);
        assert_eq!(url("https://u:p@a.example/x"), "https://u@a.example/x");
        assert_eq!(url("https://A.example/x"), "https://A.example/x");
        assert_eq!(url("u:p@a.example"), "(not a URL)");
        assert_eq!(url("u:p@"), "(not a URL)");
    }

    #[test]
    fn compact_json_keeps_texts_and_digits() {
        let json = "{ \"a \\\\\" :\n [1.00000000000000000001,\t\" \\\" b\"] }\r\n";
        assert_eq!(
            compact(json),
            r#"{"a \\":[1.00000000000000000001," \" b"]}"#
        );
    }
}
