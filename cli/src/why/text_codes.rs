//! Text codes that accidents leave: Base64, percent signs, forms, UTF-16, Windows-1252, hex.

/// Decodes Base64 of either alphabet, with or without padding; `None` if it is not Base64.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let digits: Vec<u8> = match text.iter().position(|byte| *byte == b'=') {
        Some(end) if text.len() - end <= 2 => text.get(..end)?.to_vec(),
        Some(_) => return None,
        None => text.to_vec(),
    };
    if digits.is_empty() || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut value = 0_u32;
        for digit in group {
            value = value << 6 | u32::from(base64_digit(*digit)?);
        }
        // A group of n digits is n - 1 bytes.
        let value = value << (6 * (4 - group.len()));
        bytes.extend(value.to_be_bytes().iter().skip(1).take(group.len() - 1));
    }
    Some(bytes)
}

fn base64_digit(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// Decodes percent signs; `None` if there is none that can be decoded.
pub(crate) fn percent(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut is_encoded = false;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%'
            && let Some((digits, after)) = after.split_at_checked(2)
            && let Some(&[byte]) = hex(digits).as_deref()
        {
            bytes.push(byte);
            is_encoded = true;
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    is_encoded.then_some(bytes)
}

/// Returns what a form may hold: all of it, all but the `=` at its end, and the value of its first
/// field.
pub(crate) fn form_values(text: &[u8]) -> Vec<Vec<u8>> {
    let whole = text.strip_suffix(b"=").unwrap_or(text);
    let first = text.split(|byte| *byte == b'&').next().unwrap_or_default();
    let name = first.iter().position(|byte| *byte == b'=');
    let value = name.and_then(|at| first.get(at + 1..));
    let decoded = |text: &[u8]| {
        let spaced = text.iter().map(|byte| match byte {
            b'+' => b' ',
            byte => *byte,
        });
        let spaced: Vec<u8> = spaced.collect();
        percent(&spaced).unwrap_or(spaced)
    };
    [Some(text), Some(whole), value]
        .into_iter()
        .flatten()
        .map(decoded)
        .collect()
}

/// Decodes UTF-16 that begins with a byte order mark or with an ASCII character; `None` for other
/// bytes.
pub(crate) fn utf16(bytes: &[u8]) -> Option<String> {
    let (is_little, text) = match bytes {
        [0xff, 0xfe, text @ ..] => (true, text),
        [0xfe, 0xff, text @ ..] => (false, text),
        [1..=0x7f, 0, _, ..] => (true, bytes),
        [0, 1..=0x7f, _, ..] => (false, bytes),
        _ => return None,
    };
    // An odd byte at the end is half of a line end that was removed.
    let units = text.chunks_exact(2).filter_map(|pair| match *pair {
        [first, second] if is_little => Some(u16::from_le_bytes([first, second])),
        [first, second] => Some(u16::from_be_bytes([first, second])),
        _ => None,
    });
    char::decode_utf16(units).collect::<Result<_, _>>().ok()
}

/// Decodes hex digits of either case.
pub(crate) fn hex(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || text.len() % 2 == 1 {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|it| u8::try_from(it).ok())
    };
    let pairs = text.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

/// Returns the byte of a character in Windows-1252.
pub(crate) fn windows_1252(character: char) -> Option<u8> {
    /// The characters from 0x80 to 0x9F; those that are not assigned stand for themselves.
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    if let Some(at) = HIGH.iter().position(|it| *it == character) {
        return u8::try_from(0x80 + at).ok();
    }
    u8::try_from(character)
        .ok()
        .filter(|byte| !(0x80..0xa0).contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_decoded_and_other_text_is_not() {
        for (text, bytes) in [
            ("Zg==", &b"f"[..]),
            ("Zm8", b"fo"),
            ("Zm9v\n", b"foo"),
            ("_-8=", b"\xff\xef"),
            ("Zm9vYmE=", b"fooba"),
        ] {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
        for text in ["", "=", "Z", "Zm9vY", "Zm9v Yg", "{}", "Z==="] {
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(
            percent(b"%7B%22a%22%7d%").as_deref(),
            Some(&b"{\"a\"}%"[..])
        );
        assert_eq!(percent(b"100% {}"), None);
        assert_eq!(hex(b"0aFF").as_deref(), Some(&[10, 255][..]));
        assert_eq!(hex(b"0"), None);
        assert_eq!(utf16(b"\xfe\xff\0a\0").as_deref(), Some("a"));
        assert_eq!(utf16(b"a\0b\0").as_deref(), Some("ab"));
        for bytes in [&b"ab"[..], b"", b"\0\0\0", b"\xff\xfe\0\xd8"] {
            assert_eq!(utf16(bytes), None);
        }
        assert_eq!(windows_1252('€'), Some(0x80));
        assert_eq!(windows_1252('é'), Some(0xe9));
        assert_eq!(windows_1252('日'), None);
    }
}
