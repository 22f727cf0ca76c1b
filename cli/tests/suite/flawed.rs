//! A receiver with one flaw: everything else is right, by the rules of this project.
//!
//! It is written for these tests from the documentation, with sockets and threads alone, so that it
//! shares no mistake with the library and can also be wrong about HTTP.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use time::OffsetDateTime;

use crate::flawed_http::{Head, read_body, read_head};

pub(crate) const SECRET: &str = "whsec_a3f9b2c1d4e5f6a7b8c9d0e1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    AcceptsEverything,
    AnswersBeforeItChecks,
    SaysInvalidWith200,
    ChecksPresenceAlone,
    SkipsCheckWithoutHeader,
    SkipsCheckOfEmptyBody,
    NeedsNoT,
    ComparesEightDigits,
    AcceptsBeginningOfTag,
    AcceptsLongerTag,
    ComparesShorterLength,
    ComparesWithoutLastDigit,
    TriesSecretWithoutPrefix,
    TriesSecretWithNewline,
    TriesEmptySecret,
    TriesUndefined,
    TriesNameOfVariable,
    TriesPrefixAlone,
    TriesBodyAlone,
    AcceptsV0,
    AcceptsSha256,
    AcceptsBareTag,
    SerialisesJsonAgain,
    StripsBom,
    DecodesLossily,
    TrimsBody,
    NormalisesLineEnds,
    TriesLowerCase,
    ReadsFirstDocument,
    IgnoresT,
    ChecksOldAlone,
    ChecksFutureAlone,
    Tolerates600,
    Tolerates200,
    ToleratesMilliseconds,
    ReadsMilliseconds,
    Wraps32Bits,
    Wraps64Bits,
    IgnoresSign,
    AcceptsZero,
    ComparesNaN,
    FailsOnUnknownType,
    KnowsInstrumentsAlone,
    AnswersDuplicateWith409,
    LimitsTo10Kib,
    ReadsAsciiAlone,
    ShowsSignature,
    ShowsSecret,
    StartsCold,
    WorksOneByOne,
    HasTenPlaces,
    Redirects,
    ReadsNameCaseSensitively,
    PoisonsConnection,
    IsAtAnotherPath,
    HasAnotherSecret,
    DiesAfterOne,
    VerifiesJsonAlone,
    VerifiesPostAlone,
    VerifiesWithLengthAlone,
    TrustsConnection,
    ComparesLikeStrcmp,
    ShowsSignatureInBase64,
    LooksUpIdFirst,
    IgnoresTAndDateIsOff,
    // From here on: against advice alone.
    AcceptsAnyMethod,
    ReadsNumbersLikePython,
    TakesFirstHeader,
    TakesLastT,
    TakesLastV1,
    NeedsLowerCaseHex,
    RejectsUnknownFields,
    NeedsContentType,
    FailsOnForgery,
    ClosesOnForgery,
    RejectsWith403,
    IsMinutesOff,
    // From here on: right, and fussy.
    IsSecondsAhead,
    DateIsOff,
    HasStrictTables,
    SubscribesToTimeSeries,
}

/// The requests that arrived.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) requests: AtomicUsize,
    pub(crate) accepted: AtomicUsize,
    pub(crate) targets: Mutex<Vec<String>>,
    pub(crate) arrivals: Mutex<Vec<Instant>>,
    /// The ids of accepted events.
    pub(crate) ids: Mutex<HashSet<String>>,
    pub(crate) types: Mutex<HashSet<String>>,
    /// Keys that are unique in the tables of an application, and the event that has each.
    keys: Mutex<HashMap<String, String>>,
    one: Mutex<()>,
    busy: AtomicUsize,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<Log>,
}

impl Receiver {
    /// Runs until the process ends.
    pub(crate) fn start(flaw: Flaw) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let shared = log.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = shared.clone();
                if flaw == Flaw::DiesAfterOne {
                    serve(flaw, &log, stream);
                    return;
                }
                thread::spawn(move || serve(flaw, &log, stream));
            }
        });
        Self { address, log }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }
}

fn now(flaw: Flaw) -> OffsetDateTime {
    let ahead = match flaw {
        Flaw::IsMinutesOff => -120,
        Flaw::IsSecondsAhead => 10,
        _ => 0,
    };
    OffsetDateTime::now_utc() + time::Duration::seconds(ahead)
}

/// The `Date` of the answers, if they have one: it can be the one of a proxy.
fn date(flaw: Flaw) -> Option<OffsetDateTime> {
    match flaw {
        Flaw::IsMinutesOff | Flaw::IsSecondsAhead => Some(now(flaw)),
        Flaw::DateIsOff | Flaw::IgnoresTAndDateIsOff => {
            Some(now(flaw) - time::Duration::seconds(60))
        }
        _ => None,
    }
}

/// A status, and the text of the answer.
type Answer = (u16, String);

/// Answers the requests of a connection. An I/O error ends it.
fn serve(flaw: Flaw, log: &Log, stream: TcpStream) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    let mut is_poisoned = false;
    let mut is_trusted = false;
    while let Some(head) = read_head(&mut reader) {
        log.requests.fetch_add(1, Ordering::SeqCst);
        log.arrivals.lock().unwrap().push(Instant::now());
        let Ok(head) = head else {
            return answer(flaw, &mut writer, (431, String::new()), true);
        };
        log.targets.lock().unwrap().push(head.target.clone());
        let body = read_body(&mut reader, &head)?;
        let status = if is_poisoned {
            plain(400)
        } else if is_trusted {
            plain(204)
        } else {
            respond(flaw, log, &head, &body)
        };
        is_trusted |= flaw == Flaw::TrustsConnection && status.0 == 204;
        // As if the rest of a rejected body were taken for the next request.
        is_poisoned = flaw == Flaw::PoisonsConnection && status.0 == 401;
        if status.0 == 204 || status.0 == 202 {
            log.accepted.fetch_add(1, Ordering::SeqCst);
        }
        if flaw == Flaw::ClosesOnForgery && status.0 == 401 {
            return None;
        }
        answer(flaw, &mut writer, status, false)?;
    }
    None
}

fn answer(flaw: Flaw, writer: &mut TcpStream, (status, text): Answer, close: bool) -> Option<()> {
    let mut head = format!("HTTP/1.1 {status} x\r\n");
    if status != 204 {
        head += &format!("content-length: {}\r\n", text.len());
    }
    if let Some(date) = date(flaw) {
        let date = date
            .format(&time::format_description::well_known::Rfc2822)
            .unwrap();
        head += &format!("date: {}\r\n", date.replace("+0000", "GMT"));
    }
    if status == 307 {
        head += "location: /elsewhere\r\n";
    }
    if close {
        head += "connection: close\r\n";
    }
    let bytes = format!("{head}\r\n{}", if status == 204 { "" } else { &text });
    writer.write_all(bytes.as_bytes()).ok()
}

fn plain(status: u16) -> Answer {
    (status, String::new())
}

fn respond(flaw: Flaw, log: &Log, head: &Head, body: &[u8]) -> Answer {
    match flaw {
        Flaw::IsAtAnotherPath => return plain(404),
        Flaw::Redirects => return plain(307),
        Flaw::AnswersBeforeItChecks | Flaw::AcceptsEverything => return plain(202),
        Flaw::StartsCold if log.requests.load(Ordering::SeqCst) == 1 => {
            thread::sleep(Duration::from_secs(13));
        }
        _ => {}
    }
    let takes_any = matches!(flaw, Flaw::AcceptsAnyMethod | Flaw::VerifiesPostAlone);
    if head.method != "POST" && !takes_any {
        return plain(405);
    }
    if flaw == Flaw::NeedsContentType && head.values("content-type") != [b"application/json"] {
        return plain(415);
    }
    if flaw == Flaw::LimitsTo10Kib && body.len() > 10 * 1024 {
        return plain(413);
    }
    let is_known = || log.ids.lock().unwrap().contains(&id(body));
    if flaw == Flaw::LooksUpIdFirst && is_known() {
        return plain(204);
    }
    if let Err(text) = verify(flaw, head, body) {
        return match flaw {
            Flaw::SaysInvalidWith200 => (204, String::new()),
            Flaw::FailsOnForgery => plain(500),
            Flaw::RejectsWith403 => plain(403),
            _ => (401, text),
        };
    }
    let _one = (flaw == Flaw::WorksOneByOne).then(|| log.one.lock().unwrap());
    let busy = log.busy.fetch_add(1, Ordering::SeqCst);
    if matches!(flaw, Flaw::WorksOneByOne | Flaw::HasTenPlaces) {
        thread::sleep(Duration::from_millis(300));
    }
    log.busy.fetch_sub(1, Ordering::SeqCst);
    if flaw == Flaw::HasTenPlaces && busy >= 10 {
        return plain(503);
    }
    // An application that changes the body before it checks it also works with what it changed.
    let body = bodies(flaw, body).into_iter().next().unwrap_or_default();
    plain(handle(flaw, log, &body))
}

fn id(body: &[u8]) -> String {
    let event: Value = serde_json::from_slice(body).unwrap_or_default();
    event["id"].as_str().unwrap_or_default().to_owned()
}

/// Whether an event fits into tables whose ids are UUIDs and whose keys are unique.
fn fits(log: &Log, event: &Value) -> bool {
    let is_uuid = |id: &str| {
        let is_right = |(at, c): (usize, char)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        };
        id.len() == 36 && id.chars().enumerate().all(is_right)
    };
    let Some(event_id) = event["id"].as_str().filter(|id| is_uuid(id)) else {
        return false;
    };
    let mut keys = log.keys.lock().unwrap();
    ["id", "identifier"]
        .iter()
        .all(|name| match event["data"][name].as_str() {
            Some(id) if *name == "id" && !is_uuid(id) => false,
            Some(key) => {
                keys.entry(key.to_owned())
                    .or_insert_with(|| event_id.to_owned())
                    == event_id
            }
            None => true,
        })
}

/// What an application does with a body whose signature is right.
fn handle(flaw: Flaw, log: &Log, body: &[u8]) -> u16 {
    if flaw == Flaw::ReadsAsciiAlone && !body.is_ascii() {
        return 500;
    }
    let Ok(Value::Object(event)) = serde_json::from_slice::<Value>(body) else {
        return if flaw == Flaw::SkipsCheckOfEmptyBody && body.is_empty() {
            204
        } else {
            400
        };
    };
    let Some(event_type) = event.get("event_type").and_then(Value::as_str) else {
        return 400;
    };
    let is_known = ptolemy_webhooks::EventType::DOCUMENTED.contains(&event_type);
    match flaw {
        Flaw::FailsOnUnknownType if !is_known => return 500,
        Flaw::KnowsInstrumentsAlone if !event_type.starts_with("instrument.") => return 422,
        Flaw::SubscribesToTimeSeries if event_type != "time_series_value.created" => return 422,
        Flaw::HasStrictTables if !fits(log, &Value::Object(event.clone())) => return 500,
        Flaw::RejectsUnknownFields if event.contains_key("trace") => return 400,
        _ => {}
    }
    let id = event.get("id").and_then(Value::as_str).unwrap_or_default();
    log.types.lock().unwrap().insert(event_type.to_owned());
    let is_new = log.ids.lock().unwrap().insert(id.to_owned());
    if flaw == Flaw::AnswersDuplicateWith409 && !is_new {
        409
    } else {
        204
    }
}

/// The `t` and the candidates of a header.
#[derive(Default)]
struct Signature {
    t: Vec<String>,
    v1: Vec<String>,
}

fn verify(flaw: Flaw, head: &Head, body: &[u8]) -> Result<(), String> {
    let wrong = |text: &str| Err(text.to_owned());
    let is_skipped = match flaw {
        Flaw::VerifiesJsonAlone => {
            let types = head.values("content-type");
            !types
                .iter()
                .any(|value| value.starts_with(b"application/json"))
        }
        Flaw::VerifiesPostAlone => head.method != "POST",
        Flaw::VerifiesWithLengthAlone => head.values("content-length").is_empty(),
        _ => false,
    };
    if is_skipped {
        return Ok(());
    }
    let lines = if flaw == Flaw::ReadsNameCaseSensitively {
        head.exact("Ptolemy-Signature")
    } else {
        head.values("ptolemy-signature")
    };
    let line = match lines.as_slice() {
        [] if flaw == Flaw::SkipsCheckWithoutHeader => return Ok(()),
        [line] => line,
        [first, ..] if flaw == Flaw::TakesFirstHeader => first,
        _ => return wrong("one header is needed"),
    };
    if line.is_empty() && flaw == Flaw::SkipsCheckWithoutHeader {
        return Ok(());
    }
    if flaw == Flaw::SkipsCheckOfEmptyBody && body.is_empty() {
        return Ok(());
    }
    if line.len() > 4096 {
        return wrong("long header");
    }
    let text = String::from_utf8_lossy(line).into_owned();
    if flaw == Flaw::AcceptsSha256 && text == format!("sha256={}", tag(SECRET, &[body])) {
        return Ok(());
    }
    if flaw == Flaw::AcceptsBareTag && text == tag(SECRET, &[body]) {
        return Ok(());
    }
    let signature = parse(flaw, &text);
    if flaw == Flaw::ChecksPresenceAlone {
        let is_present = text.contains("t=") && text.contains("v1=");
        return if is_present {
            Ok(())
        } else {
            wrong("no signature")
        };
    }
    let t = match signature.t.as_slice() {
        [t] => t.as_str(),
        [.., t] if flaw == Flaw::TakesLastT => t,
        [] if flaw == Flaw::NeedsNoT => "",
        _ => return wrong("one t is needed"),
    };
    if signature.v1.len() > 16 {
        return wrong("many v1");
    }
    check_time(flaw, t)?;
    check_tags(flaw, t, &signature, body)
}

fn parse(flaw: Flaw, text: &str) -> Signature {
    let mut signature = Signature::default();
    for part in text.split(',') {
        match part.trim_matches([' ', '\t']).split_once('=') {
            Some(("t", t)) => signature.t.push(t.to_owned()),
            Some(("v1", v1)) => signature.v1.push(v1.to_owned()),
            Some(("v0", v0)) if flaw == Flaw::AcceptsV0 => signature.v1.push(v0.to_owned()),
            _ => {}
        }
    }
    if flaw == Flaw::TakesLastV1 {
        signature.v1 = signature.v1.pop().into_iter().collect();
    }
    signature
}

/// The number in `t`, as the flaw reads it.
fn seconds(flaw: Flaw, t: &str) -> Option<i128> {
    let is_digits = !t.is_empty() && t.bytes().all(|byte| byte.is_ascii_digit());
    match flaw {
        Flaw::ReadsNumbersLikePython => {
            let digits = t.trim_start_matches('+').replace('_', "");
            let narrow = |c: char| char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c);
            let to_ascii = |c: char| if c.is_ascii() { c } else { narrow(c) };
            digits
                .chars()
                .map(to_ascii)
                .collect::<String>()
                .parse()
                .ok()
        }
        Flaw::IgnoresSign => t.trim_start_matches('-').parse().ok(),
        Flaw::Wraps64Bits if is_digits => {
            let add =
                |sum: u64, byte: u8| sum.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            Some(i128::from(t.bytes().fold(0, add)))
        }
        _ if !is_digits => None,
        Flaw::Wraps32Bits => t.parse::<u64>().ok().map(|t| i128::from(t as u32)),
        Flaw::ReadsMilliseconds if t.len() > 12 => t.parse::<i128>().ok().map(|t| t / 1000),
        _ => t.parse::<i64>().ok().map(i128::from),
    }
}

fn check_time(flaw: Flaw, t: &str) -> Result<(), String> {
    if matches!(flaw, Flaw::IgnoresT | Flaw::IgnoresTAndDateIsOff)
        || (flaw == Flaw::NeedsNoT && t.is_empty())
    {
        return Ok(());
    }
    let Some(seconds) = seconds(flaw, t) else {
        // A comparison with NaN is false.
        let is_nan = flaw == Flaw::ComparesNaN
            && !t.is_empty()
            && t.parse::<f64>().map_or(true, f64::is_nan);
        return if is_nan {
            Ok(())
        } else {
            Err("t is not a number".to_owned())
        };
    };
    if flaw == Flaw::AcceptsZero && seconds == 0 {
        return Ok(());
    }
    let age = i128::from(now(flaw).unix_timestamp()) - seconds;
    let is_within = match flaw {
        Flaw::ChecksOldAlone => age <= 300,
        Flaw::ChecksFutureAlone => age >= -300,
        Flaw::Tolerates600 => age.abs() <= 600,
        Flaw::Tolerates200 => age.abs() <= 200,
        Flaw::ToleratesMilliseconds => age.abs() <= 300_000,
        _ => age.abs() <= 300,
    };
    if is_within {
        Ok(())
    } else {
        Err("too old or too new".to_owned())
    }
}

fn check_tags(flaw: Flaw, t: &str, signature: &Signature, body: &[u8]) -> Result<(), String> {
    let mut expected = Vec::new();
    for body in bodies(flaw, body) {
        for key in keys(flaw) {
            expected.push(tag(&key, &[t.as_bytes(), b".", &body]));
        }
        if flaw == Flaw::TriesBodyAlone {
            expected.push(tag(SECRET, &[&body]));
        }
    }
    let mut pairs = expected
        .iter()
        .flat_map(|tag| signature.v1.iter().map(move |v1| (tag, v1)));
    if pairs.any(|(expected, given)| equals(flaw, expected, given)) {
        return Ok(());
    }
    Err(match flaw {
        Flaw::ShowsSignature => format!("expected {}", expected.concat()),
        Flaw::ShowsSignatureInBase64 => {
            let tag = hex::decode(expected.concat()).unwrap();
            format!("expected {}", base64(&tag))
        }
        Flaw::ShowsSecret => format!("secret={SECRET}"),
        _ => "wrong signature".to_owned(),
    })
}

fn equals(flaw: Flaw, expected: &str, given: &str) -> bool {
    let lower = given.to_ascii_lowercase();
    match flaw {
        Flaw::ComparesEightDigits => expected.get(..8) == lower.get(..8),
        Flaw::AcceptsBeginningOfTag => expected.starts_with(&lower),
        Flaw::AcceptsLongerTag => lower.starts_with(expected),
        Flaw::ComparesShorterLength => expected.bytes().zip(lower.bytes()).all(|(a, b)| a == b),
        Flaw::ComparesWithoutLastDigit => lower.len() == 64 && expected[..63] == lower[..63],
        Flaw::ComparesLikeStrcmp => {
            let text = |hex: &str| {
                let bytes = hex::decode(hex).ok()?;
                let end = bytes.iter().position(|byte| *byte == 0);
                Some(bytes[..end.unwrap_or(bytes.len())].to_vec())
            };
            text(expected) == text(&lower)
        }
        Flaw::NeedsLowerCaseHex => expected == given,
        _ => expected == lower,
    }
}

/// The secrets that are tried.
fn keys(flaw: Flaw) -> Vec<String> {
    let bare = SECRET.trim_start_matches("whsec_");
    let second = match flaw {
        Flaw::HasAnotherSecret => return vec!["whsec_0123456789".to_owned()],
        Flaw::TriesSecretWithoutPrefix => bare.to_owned(),
        Flaw::TriesSecretWithNewline => format!("{SECRET}\n"),
        Flaw::TriesEmptySecret => String::new(),
        Flaw::TriesUndefined => "undefined".to_owned(),
        Flaw::TriesNameOfVariable => "PTOLEMY_WEBHOOK_SECRET".to_owned(),
        Flaw::TriesPrefixAlone => "whsec_".to_owned(),
        _ => return vec![SECRET.to_owned()],
    };
    vec![SECRET.to_owned(), second]
}

/// The bytes that are signed, as the flaw takes them.
fn bodies(flaw: Flaw, body: &[u8]) -> Vec<Vec<u8>> {
    let text = || String::from_utf8_lossy(body).into_owned();
    let one = match flaw {
        Flaw::SerialisesJsonAgain => match serde_json::from_slice::<Value>(body) {
            Ok(value) => value.to_string().into_bytes(),
            Err(_) => return Vec::new(),
        },
        Flaw::StripsBom => body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).to_vec(),
        Flaw::DecodesLossily => text().into_bytes(),
        Flaw::TrimsBody => body.trim_ascii_end().to_vec(),
        Flaw::NormalisesLineEnds => text().replace("\r\n", "\n").into_bytes(),
        Flaw::TriesLowerCase => return vec![body.to_vec(), text().to_lowercase().into_bytes()],
        Flaw::ReadsFirstDocument => {
            let mut documents = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
            documents.next();
            body[..documents.byte_offset()].to_vec()
        }
        _ => body.to_vec(),
    };
    vec![one]
}

fn tag(key: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    hex::encode(mac.finalize().into_bytes())
}

/// With padding, bit by bit.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
        .collect();
    let digit = |bits: &[u8]| {
        let value = (0..6).fold(0, |value, at| {
            value << 1 | bits.get(at).copied().unwrap_or(0)
        });
        char::from(DIGITS[usize::from(value)])
    };
    let mut text: String = bits.chunks(6).map(digit).collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}
