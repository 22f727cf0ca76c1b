//! Text that others wrote, as it may be shown on a terminal.

use ptolemy_webhooks::LogText;
use serde::Serialize;

/// A text of several words on one line: what breaks, hides or turns a line is escaped, spaces stay.
pub(crate) fn words(text: &str) -> String {
    let words = text.split(' ').map(|word| LogText::new(word).to_string());
    words.collect::<Vec<_>>().join(" ")
}

/// One object of JSON on one line, without a character that changes a terminal.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
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
    }
}
