//! `why`: the verdict on a saved request, its cause and its suspicions.

use std::fs;

use ptolemy_webhooks::{Reason, Secret, Signer, samples};
use serde_json::Value;
use time::OffsetDateTime;

use crate::help_examples::run_examples;
use crate::program::{Ended, Folder, Program};

pub(crate) const VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET";
pub(crate) const SECRET: &str = "whsec_a3f9b2c1d4e5f6a7b8c9d0e1";
const OTHER_SECRET: &str = "whsec_0000111122223333";

/// 2026-04-15T09:00:00Z
pub(crate) const T: i64 = 1_776_243_600;
pub(crate) const AT: &str = "2026-04-15T09:00:00Z";

/// With what re-serialisation, encodings and line ends change.
pub(crate) const BODY: &str = "{\"id\":\"evt_1\", \"event_type\":\"market.created\",\r\n \"data\":{\"name\":\"Zürich </> \u{20ac}\",\"identifier\":\"x\"}}";

/// The same as `BODY`, compact.
const COMPACT: &str = "{\"id\":\"evt_1\",\"event_type\":\"market.created\",\"data\":{\"name\":\"Zürich </> €\",\"identifier\":\"x\"}}";

fn time(t: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(t).unwrap()
}

pub(crate) fn sign(secret: impl Into<Vec<u8>>, body: impl AsRef<[u8]>) -> String {
    let secret = Secret::from_bytes(secret).unwrap();
    Signer::new(&secret).sign_at(body.as_ref(), time(T))
}

/// The tag of any bytes: a body that begins with what stands between `t` and the real one is
/// signed.
pub(crate) fn tag(secret: &str, signed: &[u8]) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed);
    let tag = mac.finalize().into_bytes();
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs `why` on a header and a body, and returns the JSON.
pub(crate) struct Case {
    pub(crate) folder: Folder,
    secret: String,
    pub(crate) arguments: String,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self {
            folder: Folder::new(),
            secret: SECRET.to_owned(),
            arguments: format!("--at {AT}"),
        }
    }

    pub(crate) fn with_secret(secret: &str) -> Self {
        Self {
            secret: secret.to_owned(),
            ..Self::new()
        }
    }

    pub(crate) fn program(&self, header: &str, body: impl AsRef<[u8]>) -> Program<'_> {
        fs::write(self.folder.path("header"), header).unwrap();
        fs::write(self.folder.path("body"), body).unwrap();
        let arguments = &self.arguments;
        let line = format!("why --header-file header --body-file body {arguments}");
        self.folder.program(&line).variable(VARIABLE, &self.secret)
    }

    #[track_caller]
    pub(crate) fn report(&self, header: &str, body: impl AsRef<[u8]>) -> Value {
        let json = self.program(header, &body).run_json();
        let words = self.program(header, body).run();
        // People and programs see the same verdict.
        let verdict = json["verdict"].as_str().unwrap();
        assert!(words.stdout.starts_with(verdict), "{}", words.stdout);
        let code = if verdict == "valid" { 0 } else { 1 };
        for text in [json["cause"].as_str(), json["fix"].as_str()]
            .into_iter()
            .flatten()
        {
            assert!(words.stdout.contains(text), "{}\n{text}", words.stdout);
        }
        for ended in [&words.stdout, &words.stderr] {
            assert_no_tag(ended);
        }
        words.with_code(code);
        json
    }

    /// Fails unless the cause is proven and its text has this part.
    #[track_caller]
    pub(crate) fn proves(&self, header: &str, body: impl AsRef<[u8]>, cause: &str) {
        let report = self.report(header, body);
        assert_eq!(report["verdict"], "rejected", "{cause}");
        assert_eq!(report["proven"], true, "{cause}: {report:#}");
        let text = report["cause"].as_str().unwrap();
        assert!(text.contains(cause), "{cause}: {text}");
        assert!(!report["fix"].as_str().unwrap().is_empty());
    }
}

trait RunJson {
    fn run_json(self) -> Value;
}

impl RunJson for Program<'_> {
    #[track_caller]
    fn run_json(self) -> Value {
        let ended = self.argument("--json").run();
        assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
        assert_no_tag(&ended.stdout);
        serde_json::from_str(&ended.stdout).unwrap()
    }
}

/// Neither a tag nor the body is shown.
#[track_caller]
fn assert_no_tag(text: &str) {
    let digits = text.split(|c: char| !c.is_ascii_hexdigit());
    assert!(digits.map(str::len).max().unwrap_or(0) < 32, "{text}");
    assert!(
        !text.contains("Zürich") && !text.contains("\"data\""),
        "{text}"
    );
}

#[test]
fn a_valid_delivery_names_the_secret_the_age_and_the_event() {
    let mut case = Case::new();
    case.arguments = "--at 2026-04-15T09:04:59.9Z".to_owned();
    let report = case.report(&sign(SECRET, BODY), BODY);
    assert_eq!(report["verdict"], "valid");
    assert_eq!(report["code"], Value::Null);
    assert_eq!(report["signed_with"], "the secret");
    assert_eq!(report["age_s"], 299);
    assert_eq!(report["signed_at"], AT.replace('Z', ".000Z"));
    assert_eq!(report["clock"], "given");
    assert_eq!(report["event"]["event_type"], "market.created");
    assert_eq!(report["event"]["id"], "evt_1");
    let keys: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "age_s",
            "cause",
            "clock",
            "code",
            "event",
            "fix",
            "proven",
            "reason",
            "received_at",
            "signed_at",
            "signed_with",
            "suspicions",
            "verdict"
        ]
    );
}

#[test]
fn a_valid_delivery_that_is_not_an_event_says_so_with_the_code_and_the_place() {
    let case = Case::new();
    for (body, code, reason) in [
        ("[]", "not_an_event", "not an object at line 1"),
        (
            r#"{"event_type":"time_series_value.created","data":{"id":1}}"#,
            "malformed_data",
            "data.id: ",
        ),
    ] {
        let report = case.report(&sign(SECRET, body), body);
        assert_eq!(report["verdict"], "valid");
        assert_eq!(report["event"]["code"], code);
        assert!(
            report["event"]["reason"].as_str().unwrap().contains(reason),
            "{report:#}"
        );
    }
}

#[test]
fn text_of_a_delivery_is_escaped() {
    let case = Case::new();
    let body = "{\"event_type\":\"a.b\",\"id\":\"1\\u001b[31m\\u202e\"}";
    case.report(&sign(SECRET, body), body);
    for arguments in ["", "--json"] {
        let line = format!("why --header-file header --body-file body --at {AT} {arguments}");
        let ended = case
            .folder
            .program(&line)
            .variable(VARIABLE, SECRET)
            .run()
            .with_code(0);
        assert!(ended.stdout.contains("[31m"), "{}", ended.stdout);
        assert!(
            !ended.stdout.contains(['\u{1b}', '\u{202e}']),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn each_accident_of_a_body_is_proven() {
    let case = Case::new();
    let latin_1: Vec<u8> = BODY
        .replace('€', "")
        .chars()
        .map(|c| u8::try_from(c).unwrap())
        .collect();
    let twice = |body: &str| body.bytes().map(char::from).collect::<String>();
    let text = |value: &str| serde_json::to_string(value).unwrap();
    let no_euro = BODY.replace('€', "");
    let euro_twice = BODY.replace('€', "â‚¬").replace('ü', "Ã¼");
    let percent: String = BODY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let base64 = base64(BODY.as_bytes());
    let cases: Vec<(&[u8], Vec<u8>, &str)> = vec![
        // Signed, received, cause.
        (
            BODY.as_bytes(),
            [BODY, "\n"].concat().into(),
            "ends in a line feed that was not signed",
        ),
        (
            BODY.as_bytes(),
            [BODY, "\r\n"].concat().into(),
            "ends in a CR LF that was not signed",
        ),
        (
            BODY.as_bytes(),
            [BODY, "\r"].concat().into(),
            "ends in a carriage return",
        ),
        (
            BODY.as_bytes(),
            [" \t", BODY, "  "].concat().into(),
            "begins or ends with white space",
        ),
        (
            BODY.as_bytes(),
            [BODY, "\0\0\0"].concat().into(),
            "ends in NUL bytes",
        ),
        (
            BODY.as_bytes(),
            ["\u{feff}", BODY].concat().into(),
            "begins with a byte order mark",
        ),
        (
            b"a\nb\n",
            b"a\nb".to_vec(),
            "the line feed at the end of the body was signed and is missing",
        ),
        (
            b"a\r\nb\r\n",
            b"a\r\nb".to_vec(),
            "the CR LF at the end of the body was signed and is missing",
        ),
        (
            b"\xef\xbb\xbf{}",
            b"{}".to_vec(),
            "byte order mark at the beginning of the body was signed",
        ),
        (
            b"{\n}\n",
            b"{\r\n}\r\n".to_vec(),
            "changed from LF to CR LF",
        ),
        (
            b"{\r\n}\r\n",
            b"{\n}\n".to_vec(),
            "changed from CR LF to LF",
        ),
        (b"", BODY.into(), "an empty body was signed"),
        (
            no_euro.as_bytes(),
            latin_1.clone(),
            "was encoded as Latin-1",
        ),
        (
            no_euro.as_bytes(),
            twice(&no_euro).into(),
            "second time (Latin-1)",
        ),
        (
            BODY.as_bytes(),
            euro_twice.into(),
            "second time (Windows-1252)",
        ),
        (BODY.as_bytes(), text(BODY).into(), "put into a JSON string"),
        (
            BODY.as_bytes(),
            format!("'{BODY}'").into(),
            "quotation marks around it",
        ),
        (
            BODY.as_bytes(),
            format!("b'{BODY}'").into(),
            "quotation marks around it",
        ),
        (BODY.as_bytes(), base64.into(), "Base64 of the one"),
        (BODY.as_bytes(), percent.into(), "was URL-encoded"),
    ];
    for (signed, received, cause) in cases {
        case.proves(&sign(SECRET, signed), received, cause);
    }
    case.proves(
        &sign(SECRET, text(BODY)),
        BODY,
        "a JSON string with the body",
    );
    case.proves(
        &sign(SECRET, twice(BODY)),
        BODY,
        "encoded as UTF-8 twice before it was signed",
    );
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut value = 0_u32;
        for at in 0..3 {
            value = value << 8 | u32::from(*group.get(at).unwrap_or(&0));
        }
        for digit in 0..4 {
            let index = (value >> (18 - 6 * digit)) & 63;
            let is_padding = digit > group.len();
            text.push(if is_padding {
                '='
            } else {
                char::from(DIGITS[index as usize])
            });
        }
    }
    text
}

#[test]
fn json_that_was_written_again_is_proven_whichever_way_was_signed() {
    let case = Case::new();
    for (signed, words) in [
        (COMPACT.to_owned(), "compact JSON"),
        (COMPACT.replace("\":", "\": ").replace(",\"", ", \""), "as Python writes it"),
        (
            COMPACT.replace("\":", "\": ").replace(",\"", ", \"").replace('ü', "\\u00fc").replace('€', "\\u20ac"),
            "as Python writes it, non-ASCII characters escaped",
        ),
        (COMPACT.replace('/', "\\/").replace('ü', "\\u00fc").replace('€', "\\u20ac"), "as PHP writes it"),
        (COMPACT.replace('/', "\\/"), "slashes escaped"),
        (COMPACT.replace('<', "\\u003c").replace('>', "\\u003e"), "as Go writes it"),
        (
            "{\"data\":{\"identifier\":\"x\",\"name\":\"Zürich </> €\"},\"event_type\":\"market.created\",\"id\":\"evt_1\"}".to_owned(),
            "keys sorted",
        ),
        (
            "{\n  \"id\": \"evt_1\",\n  \"event_type\": \"market.created\",\n  \"data\": {\n    \"name\": \"Zürich </> €\",\n    \"identifier\": \"x\"\n  }\n}".to_owned(),
            "indented by 2 spaces",
        ),
        (
            "{\n    \"id\": \"evt_1\",\n    \"event_type\": \"market.created\",\n    \"data\": {\n        \"name\": \"Zürich </> €\",\n        \"identifier\": \"x\"\n    }\n}".to_owned(),
            "indented by 4 spaces",
        ),
        (
            "{\n\t\"id\": \"evt_1\",\n\t\"event_type\": \"market.created\",\n\t\"data\": {\n\t\t\"name\": \"Zürich </> €\",\n\t\t\"identifier\": \"x\"\n\t}\n}\n".to_owned(),
            "indented by tabs, and a line feed",
        ),
    ] {
        // Each way was signed, and another one came.
        case.proves(&sign(SECRET, &signed), BODY, words);
    }
    // The order of the keys as they came is neither the sorted one nor its reverse.
    let sorted = sign(SECRET, "{\"a\":1,\"b\":2,\"c\":3}");
    case.proves(&sorted, "{\"b\":2,\"a\":1,\"c\":3}", "keys sorted");
    // Numbers keep their digits, and empty lists stay on their line.
    let signed = "{\"a\":1.50e+3,\"b\":[],\"c\":{},\"d\":[1,null,true]}";
    let received = "{ \"a\" : 1.50e+3, \"b\":[ ], \"c\":{ }, \"d\":[ 1 , null , true ] }";
    case.proves(&sign(SECRET, signed), received, "compact JSON");
}

#[test]
fn each_accident_of_a_secret_is_proven() {
    let header = sign(SECRET, BODY);
    let bare = SECRET.strip_prefix("whsec_").unwrap();
    // The receiver's copy is damaged.
    for (copy, cause) in [
        (format!("{SECRET}\n"), "has a line end or other white space"),
        (
            format!("{SECRET}\r\n"),
            "has a line end or other white space",
        ),
        (format!(" {SECRET} "), "has a line end or other white space"),
        (format!("\"{SECRET}\""), "has quotation marks around it"),
        (format!("'{SECRET}'\n"), "has quotation marks around it"),
        (format!("{SECRET}\\n"), "a line end that is written out"),
        (format!("{SECRET},"), "has punctuation at its end"),
        (format!("\u{feff}{SECRET}"), "begins with a byte order mark"),
        (bare.to_owned(), "lacks its prefix"),
        (SECRET.replace('_', "%5F"), "is URL-encoded"),
    ] {
        Case::with_secret(&copy).proves(&header, BODY, cause);
    }
    // The sender's is.
    let case = Case::new();
    let hex = bare.as_bytes().chunks(2);
    let hex: Vec<u8> = hex
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    for (key, cause) in [
        (
            format!("{SECRET}\n").into_bytes(),
            "and a line feed after it",
        ),
        (format!("{SECRET}\r\n").into_bytes(), "and a CR LF after it"),
        (format!("{SECRET} ").into_bytes(), "and a space after it"),
        (format!("\"{SECRET}\"").into_bytes(), "in quotation marks"),
        (bare.as_bytes().to_vec(), "without its prefix"),
        (hex, "decoded as hex"),
    ] {
        case.proves(&sign(key, BODY), BODY, cause);
    }
    let case = Case::with_secret("whsec_Zm9vYmFyYmF6");
    case.proves(
        &sign("foobarbaz", BODY),
        BODY,
        "without its prefix, decoded as Base64",
    );
    let case = Case::with_secret("whsec_a+b/c");
    case.proves(&sign("whsec_a%2Bb%2Fc", BODY), BODY, "in URL encoding");
}

#[test]
fn the_previous_secret_is_accepted_and_another_one_of_a_folder_is_named() {
    let mut case = Case::new();
    case.folder.secret_file("previous", OTHER_SECRET);
    case.arguments.push_str(" --previous-secret-file previous");
    let report = case.report(&sign(OTHER_SECRET, BODY), BODY);
    assert_eq!(report["verdict"], "valid");
    assert_eq!(report["signed_with"], "the previous secret");
    assert!(
        report["suspicions"]
            .to_string()
            .contains("PTOLEMY_WEBHOOK_SECRET_PREVIOUS")
    );

    let mut case = Case::new();
    fs::create_dir(case.folder.path("secrets")).unwrap();
    case.folder.secret_file("secrets/a", "whsec_another");
    case.folder
        .secret_file("secrets/staging", &format!("{OTHER_SECRET}\n"));
    fs::write(case.folder.path("secrets/empty"), "").unwrap();
    case.arguments.push_str(" --secrets-folder secrets");
    let header = sign(OTHER_SECRET, BODY);
    case.proves(&header, BODY, "signed with the secret in secrets/staging");
    // Another secret and an accident.
    case.proves(&header, format!("{BODY}\n"), "ends in a line feed");
    let unknown = case.report(&sign("whsec_unknown", BODY), BODY);
    assert_eq!(unknown["proven"], false);
    assert!(
        unknown["suspicions"]
            .to_string()
            .contains("could not be read as a secret: 1")
    );
}

#[test]
fn each_accident_of_what_is_signed_is_proven() {
    let case = Case::new();
    for (signed, cause) in [
        (BODY.to_owned(), "without `t`"),
        (format!("{T}{BODY}"), "nothing was signed between"),
        (format!("{T}:{BODY}"), "a colon was signed"),
        (format!("{T},{BODY}"), "a comma was signed"),
        (format!("{T}\n{BODY}"), "a line feed was signed between"),
        (format!("{T}|{BODY}"), "a vertical bar was signed"),
        (format!("t={T}.{BODY}"), "`t=` was signed"),
        (format!("v1.{T}.{BODY}"), "`v1.` was signed"),
        (format!("v1:{T}:{BODY}"), "`v1:` was signed"),
        (format!("{BODY}.{T}"), "the body was signed before `t`"),
        (format!("{BODY}{T}"), "the body was signed before `t`"),
    ] {
        let header = format!("t={T},v1={}", tag(SECRET, signed.as_bytes()));
        case.proves(&header, BODY, cause);
    }
    let header = format!(
        "t={T}000,v1={}",
        tag(SECRET, format!("{T}000.{BODY}").as_bytes())
    );
    case.proves(&header, BODY, "put milliseconds into `t`, and signed them");
    let header = format!(
        "t={T}000,v1={}",
        tag(SECRET, format!("{T}.{BODY}").as_bytes())
    );
    case.proves(&header, BODY, "`t` in seconds was signed");
}

#[test]
fn each_accident_of_a_header_is_proven() {
    let case = Case::new();
    let header = sign(SECRET, BODY);
    let tag = header.split_once("v1=").unwrap().1;
    let bytes: Vec<u8> = tag
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    for (received, cause) in [
        (format!("\"{header}\""), "quotation marks around its value"),
        (format!("['{header}']"), "quotation marks around its value"),
        (header.to_uppercase(), "changed to upper case"),
        (header.replace(',', ";"), "not separated by commas"),
        (header.replace('=', " = "), "white space within its parts"),
        (
            header.replace('=', "%3D").replace(',', "%2C"),
            "was URL-encoded",
        ),
        (
            format!("\"{}\"", header.to_uppercase()),
            "changed in several ways",
        ),
        (
            header[..header.len() - 24].to_owned(),
            "was cut to 40 of its 64 hex digits",
        ),
        (format!("{header}00"), "its first 64 are the signature"),
        (
            format!("t={T},v1={}", base64(&bytes)),
            "in Base64 instead of hex",
        ),
        (
            format!("t={T},v1=sha256={tag}"),
            "`sha256=` before its hex digits",
        ),
        (
            format!("{header}\n{header}"),
            "came 2 times, and value 1 is valid alone",
        ),
        (
            format!("t={T},v1={}\n{header}", "0".repeat(64)),
            "value 2 is valid alone",
        ),
        (format!("{header},{header}"), "folded into one"),
        (
            format!("Ptolemy-Signature: Ptolemy-Signature: {header}"),
            "its own name in its value",
        ),
    ] {
        case.proves(&received, BODY, cause);
    }
    let many = format!("{header}{}", format!(",v1={}", "0".repeat(64)).repeat(16));
    case.proves(
        &many,
        BODY,
        "the signature is valid, but the header is malformed",
    );
}

#[test]
fn a_header_file_has_the_value_or_lines_of_a_head() {
    let case = Case::new();
    let header = sign(SECRET, BODY);
    for file in [
        header.clone(),
        format!("{header}\r\n"),
        format!("\n  {header}\n\n"),
        format!("Ptolemy-Signature: {header}"),
        format!("ptolemy-signature:{header}\r\nContent-Type: application/json\r\n"),
        format!("POST /webhooks HTTP/1.1\nHost: x\nPTOLEMY-SIGNATURE: {header}\n"),
    ] {
        assert_eq!(case.report(&file, BODY)["verdict"], "valid", "{file}");
    }
    let by_input = case
        .folder
        .program(&format!("why --header-file - --body-file body --at {AT}"));
    by_input
        .variable(VARIABLE, SECRET)
        .input(header)
        .run()
        .with_code(0);
}

#[test]
fn each_reason_is_explained() {
    let case = Case::new();
    let tag = "0".repeat(64);
    let mut seen = Vec::new();
    for (header, code) in [
        (String::new(), Reason::MissingHeader),
        (
            "Content-Type: text/plain\n".to_owned(),
            Reason::MissingHeader,
        ),
        (
            format!("t={T},v1={tag}\nt={T},v1={tag}"),
            Reason::RepeatedHeader,
        ),
        ("sha256=00".to_owned(), Reason::MalformedHeader),
        (format!("t={T}"), Reason::MalformedHeader),
        (format!("t={T},v1=x,v1=y"), Reason::MalformedHeader),
        (
            format!("t=99999999999999999999,v1={tag}"),
            Reason::MalformedHeader,
        ),
        ("x".repeat(5_000), Reason::MalformedHeader),
        (format!("t={},v1={tag}", T - 301), Reason::TimestampTooOld),
        (
            format!("t={},v1={tag}", T + 301),
            Reason::TimestampTooFarAhead,
        ),
        (format!("t={T},v1={tag}"), Reason::SignatureMismatch),
    ] {
        let report = case.report(&header, BODY);
        assert_eq!(report["code"], code.as_str(), "{header}");
        assert!(
            !report["suspicions"].as_array().unwrap().is_empty(),
            "{header}: {report:#}"
        );
        assert_eq!(report["proven"], false, "{header}");
        seen.push(code);
    }
    // The rest is seen in a whole request, in a valid delivery, or by no request at all.
    seen.extend([Reason::BodyIncomplete, Reason::BodyTooLarge]);
    seen.extend([
        Reason::NotAnEvent,
        Reason::MalformedData,
        Reason::NotConfigured,
    ]);
    seen.dedup();
    assert_eq!(seen.len(), Reason::ALL.len());
}

#[test]
fn a_mismatch_without_a_cause_lists_what_it_may_be_and_says_so() {
    let case = Case::new();
    let header = sign(SECRET, BODY);
    for (body, suspicion) in [
        (&b"\x1f\x8b\x08\x00"[..], "looks compressed (gzip)"),
        (b"", "the body is empty"),
        (
            &BODY.as_bytes()[..40],
            "ends in the middle of its JSON after 40 bytes",
        ),
        (
            BODY.replace('ü', "\u{fffd}").as_bytes(),
            "replacement characters",
        ),
        (
            BODY.replace("evt_1", "evt_2").as_bytes(),
            "has several lines",
        ),
        (
            BODY.replace("evt_1", "evt_2").as_bytes(),
            "The secret is another one.",
        ),
    ] {
        let report = case.report(&header, body);
        assert_eq!(report["code"], "signature_mismatch");
        assert_eq!(
            (&report["cause"], &report["proven"]),
            (&Value::Null, &Value::Bool(false))
        );
        assert!(
            report["suspicions"].to_string().contains(suspicion),
            "{suspicion}: {report:#}"
        );
        let words = case.program(&header, body).run();
        assert!(
            words.stdout.contains("Suspicions (not proven):\n- "),
            "{}",
            words.stdout
        );
    }
}

#[test]
fn without_a_time_the_clock_is_a_guess_and_hides_no_other_cause() {
    let mut case = Case::new();
    case.arguments.clear();
    let report = case.report(&sign(SECRET, BODY), BODY);
    assert_eq!(report["code"], "timestamp_too_old");
    assert_eq!(
        (&report["clock"], &report["proven"]),
        (&"now".into(), &false.into())
    );
    let cause = report["cause"].as_str().unwrap();
    assert!(
        cause.starts_with("the signature is valid, and only the time is not"),
        "{cause}"
    );
    assert!(report["fix"].as_str().unwrap().contains("--at"));
    assert!(
        report["suspicions"]
            .to_string()
            .contains("when this file was saved")
    );

    let report = case.report(&sign(SECRET, BODY), format!("{BODY}\n"));
    assert_eq!(
        (&report["code"], &report["proven"]),
        (&"signature_mismatch".into(), &true.into())
    );
    assert!(report["cause"].as_str().unwrap().contains("line feed"));
    assert!(
        report["suspicions"]
            .to_string()
            .contains("checked against now")
    );

    // With a time, the clock comes first, as in a receiver.
    case.arguments = "--at 2026-04-15T09:10:00Z".to_owned();
    let report = case.report(&sign(SECRET, BODY), format!("{BODY}\n"));
    assert_eq!(report["code"], "timestamp_too_old");
    let cause = report["cause"].as_str().unwrap();
    assert!(
        cause.contains("the signature needs a change") && cause.contains("line feed"),
        "{cause}"
    );
    case.arguments.push_str(" --tolerance 600");
    assert_eq!(case.report(&sign(SECRET, BODY), BODY)["verdict"], "valid");
}

pub(crate) fn request(case: &Case, bytes: impl AsRef<[u8]>) -> Ended {
    fs::write(case.folder.path("request"), bytes).unwrap();
    let program = case
        .folder
        .program(&format!("why --request request --at {AT} --json"));
    program.variable(VARIABLE, SECRET).run()
}

#[test]
fn a_whole_request_is_read_with_either_line_end_and_either_framing() {
    let case = Case::new();
    let signature = sign(SECRET, BODY);
    let length = BODY.len();
    let head = format!("POST /webhooks HTTP/1.1\r\nHost: x\r\nPtolemy-Signature: {signature}\r\n");
    let plain = format!("{head}Content-Length: {length}\r\n\r\n{BODY}");
    let (first, second) = BODY.split_at(20);
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x};x=1\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let head_with_lf = head.replace("\r\n", "\n");
    for bytes in [
        plain.clone(),
        chunked.clone(),
        format!("{plain}\n"),
        format!("{head}\r\n{BODY}"),
        format!("{head_with_lf}content-length: {length}\n\n{BODY}"),
        // The program that saved it had joined the chunks.
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{BODY}"),
        format!("12:00:00.1 IP a > b: Flags [P.]\n....{plain}"),
    ] {
        let ended = request(&case, &bytes);
        assert_eq!(ended.code, 0, "{bytes}\n{}", ended.stdout);
    }
    for cut in [&plain[..plain.len() - 1], &chunked[..chunked.len() - 20]] {
        let ended = request(&case, cut).with_code(1);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(
            (&report["code"], &report["proven"]),
            (&"body_incomplete".into(), &false.into())
        );
    }
}

#[test]
fn a_request_that_send_prints_is_valid() {
    let folder = Folder::new();
    for fault in [
        "",
        "--fault chunked",
        "--fault both-secrets",
        "--fault large-body:9000",
    ] {
        let arguments = format!(
            "send --event {} --print {fault}",
            "time_series_value.created"
        );
        let printed = folder
            .program(&arguments)
            .variable(VARIABLE, SECRET)
            .run()
            .with_code(0);
        let why = folder.program("why --request -").variable(VARIABLE, SECRET);
        let said = why.input(printed.bytes).run().with_code(0).stdout;
        assert!(said.starts_with("valid: signed with the secret"), "{said}");
    }
}

#[test]
fn hostile_files_end_with_a_verdict_or_a_usage_error() {
    let case = Case::new();
    let header = sign(SECRET, BODY);
    let large = vec![b'['; 10_000_000];
    for body in [&b""[..], b"\0\0\0", b"\xff\xfe{\0", &large] {
        let report = case.report(&header, body);
        assert_eq!(report["code"], "signature_mismatch");
    }
    assert!(
        case.report(&header, &large)["suspicions"]
            .to_string()
            .contains("body_too_large"),
        "a long body"
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    case.proves(&sign(SECRET, &deep), format!("{deep}\n"), "line feed");
    for header in ["\0", ",,,", "t=,v1=", "\u{feff}", "t=1\nt=2\nt=3", "v1"] {
        case.report(header, BODY);
    }
    for bytes in [
        &b""[..],
        b"POST / HTTP/1.1",
        b"POST / HTTP/1.1\r\nHost: x\r\n",
        b"\n",
        b"\0",
    ] {
        let ended = request(&case, bytes).with_code(2);
        assert!(
            ended.stderr.contains("no empty line after its head"),
            "{}",
            ended.stderr
        );
    }
    for bytes in [
        "x\n\n",
        "Content-Length: 99999999999999999999999\n\n{}",
        "Transfer-Encoding: chunked\n\nffffffffffffffffffff\n",
        "Transfer-Encoding: chunked\n\nffffffff\nx",
    ] {
        request(&case, bytes).with_code(1);
    }
    fs::write(case.folder.path("huge"), vec![0; 17 << 20]).unwrap();
    let huge = case
        .folder
        .program("why --header-file header --body-file huge");
    let huge = huge.variable(VARIABLE, SECRET).run().with_code(2);
    assert!(
        huge.stderr.contains("longer than 16777216 bytes"),
        "{}",
        huge.stderr
    );
}

#[test]
fn arguments_that_cannot_work_are_usage_errors() {
    let case = Case::new();
    fs::write(case.folder.path("body"), "").unwrap();
    fs::write(case.folder.path("empty"), "").unwrap();
    for arguments in [
        "",
        "--header-file body",
        "--body-file body",
        "--request body --header-file body",
        "--request missing",
        "--header-file - --body-file -",
        "--request - --secret-file -",
        "--header-file body --body-file body --at yesterday",
        "--header-file body --body-file body --tolerance -1",
        "--header-file body --body-file body --secrets-folder missing",
        "--header-file body --body-file body --secret-file empty",
    ] {
        let program = case.folder.program(&format!("why {arguments}"));
        let ended = program.variable(VARIABLE, SECRET).run().with_code(2);
        assert!(
            ended.stdout.is_empty() && !ended.stderr.is_empty(),
            "{arguments}"
        );
    }
    let unset = case
        .folder
        .program("why --header-file body --body-file body");
    assert!(
        unset
            .run()
            .with_code(2)
            .stderr
            .contains("secret is not set")
    );
}

#[test]
fn a_secret_that_cannot_be_right_is_named_even_if_it_is_not_the_cause() {
    for (secret, fault) in [
        ("whsec_••••", "masked"),
        ("whsec_x\n\n", "white space"),
        ("${SECRET}", "placeholder"),
    ] {
        let report = Case::with_secret(secret).report(&sign(SECRET, BODY), BODY);
        let suspicions = report["suspicions"].to_string();
        assert!(
            suspicions.contains("PTOLEMY_WEBHOOK_SECRET: secret "),
            "{suspicions}"
        );
        assert!(suspicions.contains(fault), "{suspicions}");
    }
}

#[test]
fn the_examples_in_the_help_work() {
    let folder = Folder::new();
    let body = samples::market_created().to_json();
    let header = sign(SECRET, &body);
    fs::write(folder.path("header.txt"), &header).unwrap();
    fs::write(folder.path("body.json"), &body).unwrap();
    let request = format!("POST / HTTP/1.1\r\nPtolemy-Signature: {header}\r\n\r\n{body}");
    fs::write(folder.path("request.txt"), request).unwrap();
    fs::create_dir(folder.path("secrets")).unwrap();
    run_examples(
        &folder,
        "why",
        "http://127.0.0.1:3000",
        &[(VARIABLE, SECRET)],
    );
}
