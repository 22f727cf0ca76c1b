//! Text that a server sent, made safe for an error.

use std::fmt;

use ptolemy_webhooks::LogText;
use reqwest::Url;

/// How much of an error's text is kept, in bytes.
pub(crate) const MAX_KEPT_BYTES: usize = 64 * 1024;

/// How many characters of a server's text `Display` shows.
const MAX_SHOWN_CHARS: usize = 300;

const PREFIXES: [&str; 2] = ["whsec_", "ptk_"];

/// What follows `ptk_` in each token, and is not secret.
const TOKEN_KIND: &str = "live_";

/// Returns at most 64 KiB of what a server sent, as text: invalid UTF-8 is replaced, and everything
/// that looks like a secret or a token is removed, as is `token` in any form.
pub(crate) fn keep(bytes: &[u8], token: &str) -> String {
    let kept = bytes.get(..MAX_KEPT_BYTES).unwrap_or(bytes);
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if !token.is_empty() && text.contains(token) {
        text = text.replace(token, "(token)");
    }
    blank(&text)
}

/// Removes what follows `whsec_` and `ptk_`, because servers echo what they were sent.
pub(crate) fn blank(text: &str) -> String {
    let mut blanked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, prefix)) = first_prefix(rest) {
        let end = at + prefix.len();
        blanked.push_str(rest.get(..end).unwrap_or_default());
        rest = rest.get(end..).unwrap_or_default();
        let after =
            rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-".contains(c));
        blanked.push_str(match rest.strip_suffix(after) {
            Some("") => "",
            Some(TOKEN_KIND) if prefix == "ptk_" => TOKEN_KIND,
            _ => "…",
        });
        rest = after;
    }
    blanked + rest
}

/// A URL without its user name and password, and without anything that looks like a token.
pub(crate) fn shown_url(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that have neither.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    blank(url.as_str())
}

fn first_prefix(text: &str) -> Option<(usize, &'static str)> {
    let found = |prefix| text.find(prefix).map(|at| (at, prefix));
    PREFIXES.into_iter().filter_map(found).min()
}

/// Shows a server's text on one line, cut, with everything escaped that could break the line.
pub(crate) struct OneLine<'a>(pub(crate) &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = MAX_SHOWN_CHARS;
        // `LogText` escapes spaces, because it shows one word: here they stay.
        for (index, word) in self
            .0
            .split(' ')
            .filter(|word| !word.is_empty())
            .enumerate()
        {
            let shown = LogText::new(word).with_max_chars(left).to_string();
            let whole = shown == LogText::new(word).with_max_chars(usize::MAX).to_string();
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{shown}")?;
            left = left.saturating_sub(shown.chars().count() + 1);
            if !whole || left == 0 {
                return f.write_str("…");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_tokens_are_removed_from_texts() {
        assert_eq!(
            blank("a whsec_12ab, ptk_live_9f. whsec_"),
            "a whsec_…, ptk_…. whsec_"
        );
        assert_eq!(blank("ptk_live_1whsec_2"), "ptk_…");
        let hint = "begins with ptk_live_, not ptk_live_… or `ptk_live_`";
        assert_eq!(blank(hint), hint);
        assert_eq!(
            blank("ptk_live_a ptk_live__ ptk_liv ptk_live_ptk_live_a whsec_live_"),
            "ptk_… ptk_… ptk_… ptk_… whsec_…"
        );
        assert_eq!(
            keep(b"\xffmy-own-token!", "my-own-token"),
            "\u{fffd}(token)!"
        );
        assert_eq!(keep(&[b'a'; MAX_KEPT_BYTES + 1], "t").len(), MAX_KEPT_BYTES);
    }

    #[test]
    fn a_text_is_shown_on_one_short_line() {
        assert_eq!(OneLine("no such  webhook").to_string(), "no such webhook");
        assert_eq!(OneLine("a\nb \x1b[31m").to_string(), r"a\u{a}b \u{1b}[31m");
        let long = OneLine(&"word ".repeat(9_999)).to_string();
        assert!(
            long.chars().count() <= MAX_SHOWN_CHARS + 1,
            "{}",
            long.len()
        );
        assert!(long.ends_with('…'));
        let long = OneLine(&"\n".repeat(1 << 20)).to_string();
        assert!(long.len() <= 310, "{}", long.len());
    }
}
