//! Text from outside as one field of one line.

const LONGEST: usize = 200;

/// Escapes control and line-separator characters as `\u{…}` and cuts the text after 200 characters
/// at most, never within an escape.
pub(crate) fn field(text: &str) -> String {
    let mut field = String::new();
    let mut length = 0;
    for c in text.chars() {
        let shown = if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            c.escape_unicode().to_string()
        } else {
            c.to_string()
        };
        length += shown.chars().count();
        if length > LONGEST {
            break;
        }
        field.push_str(&shown);
    }
    field
}
