//! The request as it was saved: in a file for the header and one for the body, or in one for both.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use ptolemy_webhooks::SIGNATURE_HEADER;
use time::OffsetDateTime;

use crate::stop::Stop;
use crate::why::text_codes::utf16;

/// The longest file that is read: 16 MiB, far more than a delivery.
const MAX_INPUT_BYTES: u64 = 16 * 1024 * 1024;

/// A request, or the saved part of it.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// The values of all signature headers.
    pub(crate) signatures: Vec<Vec<u8>>,
    pub(crate) body: Vec<u8>,
    /// The length in the head, if the body is shorter, and `usize::MAX` if its chunks break off.
    pub(crate) missing_from: Option<usize>,
    /// Whether the head says that the body is compressed.
    pub(crate) is_encoded: bool,
    /// The bytes after the end of the request.
    pub(crate) extra: Vec<u8>,
    /// When the file with the header was changed last.
    pub(crate) saved_at: Option<OffsetDateTime>,
}

impl Saved {
    /// A request that arrived whole.
    pub(crate) fn whole(signatures: Vec<Vec<u8>>, body: Vec<u8>, is_encoded: bool) -> Self {
        Self {
            signatures,
            body,
            is_encoded,
            ..Self::default()
        }
    }

    pub(crate) fn from_files(header: &Path, body: &Path) -> Result<Self, Stop> {
        Ok(Self {
            signatures: signatures(&read_text(header)?),
            body: read(body)?,
            saved_at: changed_at(header),
            ..Self::default()
        })
    }

    pub(crate) fn from_request(path: &Path) -> Result<Self, Stop> {
        let bytes = read_text(path)?;
        let fault = |fault: &str| Stop::usage(format!("{}: {fault}", place(path)));
        let Some((head, rest)) = split_head(&bytes) else {
            return Err(fault(
                "the request has no empty line after its head; pass the head and the body as \
                 --header-file and --body-file instead",
            ));
        };
        let mut saved = Self {
            signatures: header_values(head, SIGNATURE_HEADER),
            is_encoded: header_values(head, "content-encoding")
                .iter()
                .any(|coding| !coding.eq_ignore_ascii_case(b"identity")),
            saved_at: changed_at(path),
            ..Self::default()
        };
        let codings = header_values(head, "transfer-encoding");
        if codings.iter().any(|it| it.eq_ignore_ascii_case(b"chunked")) {
            saved.read_chunked(rest);
        } else {
            let length = header_values(head, "content-length");
            saved.read_plain(rest, length.first().map(Vec::as_slice));
        }
        if starts_request(&saved.extra) {
            return Err(fault(
                "it contains more than one request; save each in its own file",
            ));
        }
        Ok(saved)
    }

    fn read_plain(&mut self, rest: &[u8], length: Option<&[u8]>) {
        let length = length
            .and_then(|text| str::from_utf8(text).ok())
            .and_then(|text| text.parse::<usize>().ok());
        self.body = rest.to_vec();
        match length {
            Some(length) if length > rest.len() => self.missing_from = Some(length),
            Some(length) => {
                self.extra = self.body.split_off(length);
            }
            None => {}
        }
    }

    /// Joins the chunks. A body that has no chunks was joined by the program that saved it.
    fn read_chunked(&mut self, rest: &[u8]) {
        let mut at = rest;
        let mut is_first = true;
        loop {
            let Some((size, after)) = chunk_size(at) else {
                match is_first {
                    true => self.body = rest.to_vec(),
                    false => self.missing_from = Some(usize::MAX),
                }
                return;
            };
            if size == 0 {
                // Trailers end with an empty line.
                let end = after.strip_prefix(b"\r\n").or(after.strip_prefix(b"\n"));
                let end = end.or_else(|| split_head(after).map(|(_, end)| end));
                self.extra = end.unwrap_or_default().to_vec();
                return;
            }
            is_first = false;
            let Some((chunk, after)) = after.split_at_checked(size) else {
                self.body.extend_from_slice(after);
                self.missing_from = Some(usize::MAX);
                return;
            };
            self.body.extend_from_slice(chunk);
            let line_end = after.strip_prefix(b"\r\n").or(after.strip_prefix(b"\n"));
            at = line_end.unwrap_or(after);
        }
    }
}

/// Whether another request begins here.
fn starts_request(bytes: &[u8]) -> bool {
    lines(bytes).next().is_some_and(is_request_line)
}

fn is_request_line(line: &[u8]) -> bool {
    line.windows(6).any(|part| part == b" HTTP/")
}

/// Reads the line with the length of a chunk, which may have an extension.
fn chunk_size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (line, after) = split_line(bytes)?;
    let size = str::from_utf8(line).ok()?;
    let size = size.split(';').next()?.trim();
    let size = usize::from_str_radix(size, 16).ok()?;
    Some((size, after))
}

/// Returns a line without its line end, and the rest.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Some((line, rest.get(1..)?))
}

/// Splits at the first empty line.
fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    loop {
        let at = bytes.len() - rest.len();
        let (line, after) = split_line(rest)?;
        if line.is_empty() && at > 0 {
            return Some((bytes.get(..at)?, after));
        }
        rest = after;
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

/// Returns the name and the value of a header line, also of one that `curl -v` printed. A bare
/// value of the signature header, which has a `=` before any colon, is not one.
fn header_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line
        .strip_prefix(b"> ")
        .or(line.strip_prefix(b"< "))
        .unwrap_or(line);
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let name = name.trim_ascii();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_header = !name.is_empty() && name.iter().all(is_name);
    is_header.then_some((name, value.get(1..)?.trim_ascii()))
}

fn header_values(head: &[u8], name: &str) -> Vec<Vec<u8>> {
    let headers = lines(head).filter_map(header_line);
    headers
        .filter(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value.to_vec())
        .collect()
}

/// Returns the values in a header file, whose lines are headers or bare values.
fn signatures(text: &[u8]) -> Vec<Vec<u8>> {
    let named = header_values(text, SIGNATURE_HEADER);
    if !named.is_empty() {
        return named;
    }
    let logged: Vec<_> = lines(text).filter_map(logged_value).collect();
    if !logged.is_empty() {
        return logged;
    }
    let alone = lines(text).filter(|line| header_line(line).is_none() && !is_request_line(line));
    alone.map(<[u8]>::to_vec).collect()
}

/// Returns the value in a line that mentions the header, such as one of a log in JSON, or an option
/// of `curl`.
fn logged_value(line: &[u8]) -> Option<Vec<u8>> {
    let name = SIGNATURE_HEADER.as_bytes();
    // CGI has `_` instead of `-`.
    let is_same = |(one, other): (&u8, &u8)| {
        one.eq_ignore_ascii_case(other) || (*one, *other) == (b'_', b'-')
    };
    let at = line
        .windows(name.len())
        .position(|part| part.iter().zip(name).all(is_same))?;
    let rest = line.get(at + name.len()..)?;
    let start = rest.iter().position(u8::is_ascii_alphanumeric)?;
    let value = rest.get(start..)?;
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b']' | b'}');
    let end = value.iter().position(is_end).unwrap_or(value.len());
    Some(value.get(..end)?.trim_ascii().to_vec())
}

/// Reads a file that is text at least in its beginning. Windows PowerShell writes such files in
/// UTF-16.
fn read_text(path: &Path) -> Result<Vec<u8>, Stop> {
    let bytes = read(path)?;
    Ok(utf16(&bytes).map_or(bytes, String::into_bytes))
}

fn place(path: &Path) -> String {
    match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Stop> {
    let fault = |error: io::Error| Stop::usage(format!("{}: {error}", place(path)));
    if path.as_os_str() == "-" {
        return read_all(io::stdin()).map_err(fault);
    }
    File::open(path).and_then(read_all).map_err(fault)
}

fn read_all(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        let message = format!("longer than {MAX_INPUT_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn changed_at(path: &Path) -> Option<OffsetDateTime> {
    fs::metadata(path).ok()?.modified().ok().map(Into::into)
}
