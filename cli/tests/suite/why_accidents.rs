//! `why`: accidents with other tools, such as `curl -d`, `.env` files and editors, and what is not
//! proven.

use std::fs;

use serde_json::Value;

use crate::program::Folder;
use crate::why::{AT, BODY, Case, SECRET, T, VARIABLE, base64, request, sign, tag};

/// Fails unless the proven cause has one of these parts and its fix the other.
#[track_caller]
fn proves(case: &Case, header: &str, body: impl AsRef<[u8]>, cause: &str, fix: &str) {
    let body = body.as_ref();
    case.proves(header, body, cause);
    let report = case.report(header, body);
    let text = report["fix"].as_str().unwrap();
    assert!(text.contains(fix), "{fix}: {text}");
}

fn utf16(text: &str) -> Vec<u8> {
    let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_secret_that_is_wrong_itself_is_not_blamed_on_the_sender() {
    let header = sign(SECRET, BODY);
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    for (copy, cause, fix) in [
        (format!("whsec_{SECRET}"), "prefix `whsec_` twice", "copy"),
        (
            base64(SECRET.as_bytes()),
            "is Base64 of the right one",
            "decode",
        ),
        (
            base64(format!("{SECRET}\n").as_bytes()),
            "is Base64 of the right one",
            "decode",
        ),
        (
            format!("whsec_{}", base64(SECRET.as_bytes())),
            "is Base64 of the right one",
            "decode",
        ),
        (hex, "is the right one in hex", "decode"),
    ] {
        proves(&Case::with_secret(&copy), &header, BODY, cause, fix);
    }
}

#[test]
fn a_secret_file_may_hold_more_than_the_secret() {
    let header = sign(SECRET, BODY);
    for (file, cause) in [
        (
            format!("PTOLEMY_WEBHOOK_SECRET={SECRET}\n").into_bytes(),
            "has other text around it",
        ),
        (
            format!("# staging\nexport X=\"{SECRET}\" # the new one\nY=1\n").into_bytes(),
            "has other text around it",
        ),
        (
            format!("{{\"secret\":\"{SECRET}\"}}").into_bytes(),
            "has other text around it",
        ),
        (utf16(SECRET), "is encoded as UTF-16"),
        (utf16(&format!("{SECRET}\r\n")), "is encoded as UTF-16"),
    ] {
        let mut case = Case::new();
        fs::write(case.folder.secret_file("copy", ""), file).unwrap();
        case.arguments.push_str(" --secret-file copy");
        case.proves(&header, BODY, cause);
    }
}

#[test]
fn line_feeds_that_curl_removes_are_not_json_that_was_written_again() {
    let case = Case::new();
    let pretty = "{\n  \"id\": \"evt_1\",\n  \"data\": {\n    \"a\": 1\n  }\n}\n";
    for signed in [pretty.to_owned(), pretty.replace('\n', "\r\n")] {
        let received = pretty.replace('\n', "");
        proves(
            &case,
            &sign(SECRET, signed),
            received,
            "line ends of the body were removed",
            "--data-binary",
        );
    }
    // Without line ends, it is still the usual cause.
    case.proves(
        &sign(SECRET, pretty),
        "{\"id\":\"evt_1\",\"data\":{\"a\":1}}",
        "the JSON was parsed and written again",
    );
}

#[test]
fn a_fix_names_the_sender_too_if_that_may_have_signed_other_bytes() {
    let case = Case::new();
    for (signed, received) in [
        ("{}\n", "{}"),
        ("{}\r\n", "{}"),
        ("\u{feff}{}", "{}"),
        ("{}\n\n", "{}"),
        ("{\"a\": 1}", "{\"a\":1}"),
    ] {
        let header = sign(SECRET, signed);
        proves(
            &case,
            &header,
            received,
            "signed",
            "if your script signed it",
        );
    }
    proves(
        &case,
        &sign(SECRET, "{}\n"),
        "{}",
        "is missing",
        "printf %s",
    );
}

#[test]
fn other_shapes_of_a_body_are_proven() {
    let case = Case::new();
    let percent: String = BODY
        .bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    for (signed, received, cause) in [
        (BODY.to_owned(), utf16(BODY), "encoded as UTF-16"),
        (
            BODY.to_owned(),
            utf16(&format!("{BODY}\r\n")),
            "encoded as UTF-16",
        ),
        (
            BODY.to_owned(),
            format!("payload={percent}").into_bytes(),
            "sent as a form",
        ),
        (
            BODY.to_owned(),
            percent.clone().into_bytes(),
            "sent as a form",
        ),
        (
            BODY.to_owned(),
            format!("{percent}=").into_bytes(),
            "sent as a form",
        ),
        (
            format!("{BODY}\n\n"),
            BODY.to_owned().into_bytes(),
            "two line feeds at the end of the body were signed and are missing",
        ),
        (
            "{\r\n}\r\n".to_owned(),
            b"{\n}".to_vec(),
            "changed from CR LF to LF, and the last one is missing",
        ),
    ] {
        case.proves(&sign(SECRET, signed), received, cause);
    }
}

#[test]
fn a_header_is_read_from_what_other_tools_print() {
    let case = Case::new();
    let header = sign(SECRET, BODY);
    for file in [
        format!("> Ptolemy-Signature: {header}\n"),
        format!("* Connected\n> POST /x HTTP/1.1\n> Host: x\n> ptolemy-signature: {header}\n>\n"),
        format!("< Ptolemy-Signature: {header}\r\n"),
        format!("-H 'Ptolemy-Signature: {header}' \\\n"),
        format!("\"Ptolemy-Signature: {header}\""),
        format!(
            "{{\"level\":\"info\",\"headers\":{{\"ptolemy-signature\":\"{header}\",\"host\":\"x\"}}}}"
        ),
        format!("{{\"msg\":\"{{\\\"ptolemy-signature\\\":\\\"{header}\\\"}}\"}}"),
        format!("{{\n  \"host\": \"x\",\n  \"Ptolemy-Signature\": [\"{header}\"]\n}}\n"),
        format!("'HTTP_PTOLEMY_SIGNATURE' => '{header}',"),
    ] {
        let report = case.report(&file, BODY);
        assert_eq!(report["verdict"], "valid", "{file}: {report:#}");
    }
    fs::write(case.folder.path("wide"), utf16(&format!("{header}\r\n"))).unwrap();
    let line = format!("why --header-file wide --body-file body --at {AT}");
    let wide = case.folder.program(&line).variable(VARIABLE, SECRET);
    wide.run().with_code(0);
}

#[test]
fn only_whole_headers_are_called_folded_and_only_other_separators_are_named() {
    let case = Case::new();
    let header = sign(SECRET, BODY);
    case.proves(&format!("t=,{header}"), BODY, "more than one `t`");
    case.proves(&format!("t=1, {header}"), BODY, "more than one `t`");
    case.proves(&format!("see {header}"), BODY, "other text before `t`");
    case.proves(
        &format!("Ptolemy-Signature: > Ptolemy-Signature: {header}"),
        BODY,
        "other text before `t`",
    );
    case.proves(&format!("{header}, {header}"), BODY, "folded into one");
    case.proves(&header.replace(',', " "), BODY, "not separated by commas");
}

#[test]
fn milliseconds_are_signed_or_only_sent_and_not_both() {
    let case = Case::new();
    for (signed, cause, other) in [
        (
            format!("{T}000.{BODY}"),
            "and signed them",
            "`t` in seconds was signed",
        ),
        (
            format!("{T}.{BODY}"),
            "`t` in seconds was signed",
            "and signed them",
        ),
        (BODY.to_owned(), "without `t`", "and signed them"),
    ] {
        let header = format!("t={T}000,v1={}", tag(SECRET, signed.as_bytes()));
        case.proves(&header, BODY, cause);
        case.proves(&header, BODY, "milliseconds");
        let report = case.report(&header, BODY);
        let text = report["cause"].as_str().unwrap();
        assert!(!text.contains(other), "{text}");
    }
}

#[test]
fn a_clock_says_which_side_is_ahead_and_proves_nothing_without_a_signature() {
    let mut case = Case::new();
    let header = sign(SECRET, BODY);
    for (at, fix, hint) in [
        ("2026-04-15T09:07:00Z", "the request waited", None),
        ("2026-04-15T08:52:00Z", "is behind", None),
        (
            "2026-04-15T11:00:20Z",
            "the request waited",
            Some("almost 2 h"),
        ),
        (
            "2026-04-15T03:29:50Z",
            "is behind",
            Some("almost 5 h 30 min"),
        ),
    ] {
        case.arguments = format!("--at {at}");
        let report = case.report(&header, BODY);
        assert_eq!(report["proven"], true, "{at}");
        let text = report["fix"].as_str().unwrap();
        assert!(text.contains(fix), "{at}: {text}");
        assert_eq!(
            text.contains("the request waited"),
            fix.contains("waited"),
            "{text}"
        );
        let suspicions = report["suspicions"].to_string();
        assert_eq!(
            suspicions.contains("time zone"),
            hint.is_some(),
            "{suspicions}"
        );
        assert!(
            suspicions.contains(hint.unwrap_or_default()),
            "{suspicions}"
        );
    }
    // Which of the two would be the cause of a rejection is not known.
    case.arguments = "--at 2026-04-15T09:10:00Z".to_owned();
    let report = case.report(&sign("whsec_unknown", BODY), BODY);
    assert_eq!(report["code"], "timestamp_too_old");
    assert_eq!(report["proven"], false);
    let suspicions = report["suspicions"].to_string();
    assert!(
        suspicions.contains("The secret is another one."),
        "{suspicions}"
    );
}

fn saved(length: usize, signed: &str, body: &str) -> String {
    let header = sign(SECRET, signed);
    format!(
        "POST / HTTP/1.1\r\nPtolemy-Signature: {header}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn report(case: &Case, request_bytes: impl AsRef<[u8]>) -> Value {
    let ended = request(case, request_bytes).with_code(1);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn a_request_that_an_editor_saved_did_not_break_off() {
    let case = Case::new();
    for (signed, body, cause) in [
        ("{\r\n}\r\n", "{\n}\n", "from CR LF to LF"),
        ("{}\n", "{}", "line feed at the end"),
    ] {
        let report = report(&case, saved(signed.len(), signed, body));
        assert_eq!(report["proven"], true, "{report:#}");
        let text = report["cause"].as_str().unwrap();
        assert!(
            text.contains(cause) && !text.contains("break off"),
            "{text}"
        );
        assert_eq!(report["signed_with"], "the secret");
    }
    // A body of another length is not what the head announces.
    let report = report(&case, saved(90, "{}\n", "{}"));
    assert_eq!(report["proven"], false);
    let text = report["cause"].as_str().unwrap();
    assert!(
        text.contains("announces 90 bytes, and the body has 2"),
        "{text}"
    );
}

#[test]
fn a_content_length_that_counts_characters_is_proven() {
    let case = Case::new();
    let characters = BODY.chars().count();
    for end in ["", "\n"] {
        let report = report(&case, saved(characters, BODY, &format!("{BODY}{end}")));
        assert_eq!(report["proven"], true, "{report:#}");
        let text = report["cause"].as_str().unwrap();
        assert!(text.contains("counts characters"), "{text}");
    }
    let report = report(&case, saved(50, BODY, BODY));
    let text = report["cause"].as_str().unwrap();
    assert!(text.contains("shorter than the body"), "{text}");
}

#[test]
fn a_file_with_two_requests_is_a_usage_error() {
    let folder = Folder::new();
    for fault in ["", "--fault chunked"] {
        let line = format!("send --count 2 --print {fault}");
        let printed = folder.program(&line).variable(VARIABLE, SECRET);
        let printed = printed.run().with_code(0).bytes;
        let why = folder.program("why --request -").variable(VARIABLE, SECRET);
        let ended = why.input(printed).run().with_code(2);
        assert!(
            ended.stderr.contains("more than one request"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_request_in_utf_16_is_read() {
    let case = Case::new();
    let bytes = utf16(&saved(BODY.len(), BODY, BODY));
    request(&case, bytes).with_code(0);
}

#[test]
fn the_bare_command_names_both_ways_to_pass_a_request() {
    let folder = Folder::new();
    let ended = folder
        .program("why")
        .variable(VARIABLE, SECRET)
        .run()
        .with_code(2);
    for option in ["--request", "--header-file"] {
        assert!(ended.stderr.contains(option), "{}", ended.stderr);
    }
}

#[test]
fn a_valid_request_has_reasons_why_a_receiver_may_have_rejected_it() {
    let case = Case::new();
    let words = case.program(&sign(SECRET, BODY), BODY).run().with_code(0);
    assert!(
        words.stdout.contains("If a receiver rejected it:\n- "),
        "{}",
        words.stdout
    );
    assert!(!words.stdout.contains("Suspicions"), "{}", words.stdout);
}
