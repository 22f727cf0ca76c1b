//! Text from a delivery, made safe for one line of a log, a label or a terminal, and the traits of
//! types that are a text.

use std::fmt;

/// Shows text that a sender chose as one word of one line.
///
/// Text in a delivery may contain line breaks, escape sequences for terminals, characters that
/// change the text direction, and spaces that would begin another field. `Display` writes each
/// of them as `\u{…}`, and a backslash as `\\`, so the line keeps its fields and the text stays
/// unambiguous:
///
/// - control characters and white space of any kind;
/// - characters that show nothing or change the direction of text, such as U+200B, U+202E and
///   U+2066 (Unicode's `Default_Ignorable_Code_Point`), and the blank U+2800;
/// - the backslash.
///
/// All other characters are written as they are. [`EventType`](crate::EventType) and
/// [`Action`](crate::Action) are displayed in this form.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::LogText;
///
/// assert_eq!(LogText::new("bhp.ax").to_string(), "bhp.ax");
/// assert_eq!(
///     LogText::new("x\nrejected 401").to_string(),
///     r"x\u{a}rejected\u{20}401"
/// );
/// assert_eq!(LogText::new("BHP Group").with_max_chars(6).to_string(), "BHP");
/// ```
#[derive(Clone, Copy)]
pub struct LogText<'a> {
    text: &'a str,
    max_chars: usize,
}

impl<'a> LogText<'a> {
    /// Shows all of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            max_chars: usize::MAX,
        }
    }

    /// Shows at most `max_chars` characters, counted after escaping, and never cuts an escape.
    #[must_use]
    pub fn with_max_chars(self, max_chars: usize) -> Self {
        Self { max_chars, ..self }
    }

    /// Returns whether `text` needs no escape.
    ///
    /// # Examples
    ///
    /// ```
    /// use ptolemy_webhooks::LogText;
    ///
    /// assert!(LogText::is_plain("market_listing.created"));
    /// assert!(!LogText::is_plain("market_listing created"));
    /// ```
    #[must_use]
    pub fn is_plain(text: &str) -> bool {
        text.chars().all(is_plain)
    }
}

impl LogText<'_> {
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let mut left = self.max_chars;
        for c in self.text.chars() {
            let length = shown_length(c);
            if length > left {
                break;
            }
            left -= length;
            match c {
                '\\' => out.write_str(r"\\")?,
                c if is_plain(c) => out.write_char(c)?,
                c => write!(out, "{}", c.escape_unicode())?,
            }
        }
        Ok(())
    }
}

/// Pads the shown text to the width of the format, if there is one.
impl fmt::Display for LogText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.width().is_none() {
            return self.write(f);
        }
        let mut shown = String::new();
        self.write(&mut shown)?;
        f.pad(&shown)
    }
}

impl fmt::Debug for LogText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn shown_length(c: char) -> usize {
    match c {
        '\\' => 2,
        c if is_plain(c) => 1,
        c => c.escape_unicode().len(),
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() && c != '\\' || !(c.is_ascii() || hides(c))
}

/// Whether a character beyond ASCII breaks lines, shows nothing, or changes the direction of text.
fn hides(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        // Default_Ignorable_Code_Point of Unicode 16, U+2028 and U+2029 (white space), the
        // annotation marks U+FFF9 to U+FFFB, and the Braille blank.
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Implements the traits of a type that is a text, and that any text can become.
macro_rules! text_type {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(text.into())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        $crate::text::text_type!(equals $name: str, &str, String);
    };
    (equals $name:ident: $($text:ty),*) => {$(
        impl PartialEq<$text> for $name {
            fn eq(&self, text: &$text) -> bool {
                let text: &str = text.as_ref();
                self.as_str() == text
            }
        }

        impl PartialEq<$name> for $text {
            fn eq(&self, other: &$name) -> bool {
                other == self
            }
        }
    )*};
}

/// Implements `Serialize` as the text, and `Deserialize` from any text.
macro_rules! serde_as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E>(self, text: &str) -> Result<$name, E> {
                        Ok(text.into())
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    };
}

pub(crate) use {serde_as_text, text_type};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_break_hide_or_turn_a_line_are_escaped_and_the_rest_is_not() {
        for plain in [
            "", "a", "~", "é", "日本", "🦀", "a=b", "\"q\"", "it's", "<b>",
        ] {
            assert!(LogText::is_plain(plain), "{plain}");
            assert_eq!(LogText::new(plain).to_string(), plain);
        }
        for (text, shown) in [
            ("\0", r"\u{0}"),
            ("\t", r"\u{9}"),
            (" ", r"\u{20}"),
            ("\x1b[31m", r"\u{1b}[31m"),
            ("\x7f", r"\u{7f}"),
            ("\u{85}", r"\u{85}"),
            ("\u{a0}", r"\u{a0}"),
            ("\u{200b}", r"\u{200b}"),
            ("\u{2028}", r"\u{2028}"),
            ("\u{202e}", r"\u{202e}"),
            ("\u{2066}", r"\u{2066}"),
            ("\u{3000}", r"\u{3000}"),
            ("\u{feff}", r"\u{feff}"),
            ("\u{e0041}", r"\u{e0041}"),
            (r"\u{20}", r"\\u{20}"),
        ] {
            assert!(!LogText::is_plain(text), "{shown}");
            assert_eq!(LogText::new(text).to_string(), shown);
            assert_eq!(format!("{:?}", LogText::new(text)), shown);
        }
    }

    #[test]
    fn a_width_pads_what_is_shown() {
        assert_eq!(format!("[{:>6}]", LogText::new("a\n")), r"[a\u{a}]");
        assert_eq!(format!("[{:<8}]", LogText::new("a\n")), r"[a\u{a}  ]");
        assert_eq!(format!("[{:4}]", LogText::new("a")), "[a   ]");
    }

    #[test]
    fn a_cut_is_never_within_an_escape() {
        let cut = |max| LogText::new("a\n\\é").with_max_chars(max).to_string();
        assert_eq!(cut(0), "");
        assert_eq!(cut(5), "a");
        assert_eq!(cut(6), r"a\u{a}");
        assert_eq!(cut(7), r"a\u{a}");
        assert_eq!(cut(8), r"a\u{a}\\");
        assert_eq!(cut(9), r"a\u{a}\\é");
        assert_eq!(cut(usize::MAX), r"a\u{a}\\é");
    }
}
