//! As much of HTTP/1.1 as a receiver in a test needs.

use std::io::{BufRead, Read};

const MAX_HEAD_BYTES: usize = 64 * 1024;

pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The values of a header; the case of its name does not matter.
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice()).collect()
    }

    /// The values of a header whose name is written like this.
    pub(crate) fn exact(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }

    fn length(&self) -> usize {
        let values = self.values("content-length");
        let text = values
            .first()
            .and_then(|value| std::str::from_utf8(value).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Reads a head; an error if it is too long or not one, and nothing at the end of the connection.
pub(crate) fn read_head(reader: &mut impl BufRead) -> Option<Result<Head, ()>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut length = 0;
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_HEAD_BYTES).unwrap();
        reader.take(limit).read_until(b'\n', &mut line).ok()?;
        length += line.len();
        if line.is_empty() {
            return None;
        }
        if length > MAX_HEAD_BYTES || line.last() != Some(&b'\n') {
            return Some(Err(()));
        }
        let line = line.trim_ascii_end().to_vec();
        if line.is_empty() {
            return Some(head(&lines).ok_or(()));
        }
        lines.push(line);
    }
}

fn head(lines: &[Vec<u8>]) -> Option<Head> {
    let (first, headers) = lines.split_first()?;
    let first = std::str::from_utf8(first).ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let header = |line: &Vec<u8>| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8(line[..colon].to_vec()).ok()?;
        Some((name, line[colon + 1..].trim_ascii().to_vec()))
    };
    Some(Head {
        method,
        target,
        headers: headers.iter().map(header).collect::<Option<_>>()?,
    })
}

/// Reads a body by its length or in chunks.
pub(crate) fn read_body(reader: &mut impl BufRead, head: &Head) -> Option<Vec<u8>> {
    if head.values("transfer-encoding").is_empty() {
        return read_exactly(reader, head.length());
    }
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        body.extend(read_exactly(reader, length)?);
        read_exactly(reader, 2)?;
        if length == 0 {
            return Some(body);
        }
    }
}

fn read_exactly(reader: &mut impl Read, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes)
}
