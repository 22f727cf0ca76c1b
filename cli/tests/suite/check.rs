//! `check` finds each flaw of a receiver, and none in a correct one.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::flawed::{Flaw, Receiver, SECRET};
use crate::help_examples::run_examples;
use crate::program::{Ended, Folder, Program};

/// Which probes fail.
enum Fails {
    These(&'static [&'static str]),
    /// All probes that expect a forgery to be rejected.
    ForgeriesBut(&'static [&'static str]),
}
use Fails::{ForgeriesBut, These};

/// Each flaw and the probes that fail because of it: these and no others.
const FLAWS: &[(Flaw, Fails)] = &[
    (Flaw::None, These(&[])),
    // Early, because it takes 13 s. All probes after the late answer are still checked.
    (
        Flaw::StartsCold,
        These(&["good-delivery", "answer-in-time"]),
    ),
    (Flaw::AcceptsEverything, ForgeriesBut(&[])),
    (Flaw::AnswersBeforeItChecks, ForgeriesBut(&[])),
    // Its router rejects PUT.
    (Flaw::SaysInvalidWith200, ForgeriesBut(&["unsigned-put"])),
    (
        Flaw::ChecksPresenceAlone,
        ForgeriesBut(&[
            "unsigned",
            "unsigned-text",
            "unsigned-form",
            "unsigned-no-type",
            "unsigned-chunked",
            "unsigned-put",
            "header-empty",
            "header-commas",
            "header-words",
            "header-only-t",
            "header-only-v1",
            "scheme-v0",
            "scheme-sha256",
            "scheme-bare",
            // The body is not an event.
            "body-emptied",
            "body-cut",
            "body-extended",
            "body-bom-added",
            "body-utf8-replaced",
        ]),
    ),
    (
        Flaw::SkipsCheckWithoutHeader,
        These(&[
            "unsigned",
            "unsigned-text",
            "unsigned-form",
            "unsigned-no-type",
            "unsigned-chunked",
            "header-empty",
        ]),
    ),
    (Flaw::SkipsCheckOfEmptyBody, These(&["body-emptied"])),
    (Flaw::NeedsNoT, These(&["header-only-v1", "header-t-empty"])),
    (
        Flaw::ComparesEightDigits,
        These(&[
            "tag-middle-digit",
            "tag-last-digit",
            "tag-first-half",
            "tag-cut-to-16-bytes",
            "tag-cut-to-31-bytes",
            "tag-too-long",
        ]),
    ),
    (
        Flaw::AcceptsBeginningOfTag,
        These(&[
            "header-v1-empty",
            "tag-cut-to-1-byte",
            "tag-cut-to-16-bytes",
            "tag-cut-to-31-bytes",
        ]),
    ),
    (Flaw::AcceptsLongerTag, These(&["tag-too-long"])),
    (
        Flaw::ComparesShorterLength,
        These(&[
            "header-v1-empty",
            "tag-cut-to-1-byte",
            "tag-cut-to-16-bytes",
            "tag-cut-to-31-bytes",
            "tag-too-long",
        ]),
    ),
    (Flaw::ComparesWithoutLastDigit, These(&["tag-last-digit"])),
    (
        Flaw::TriesSecretWithoutPrefix,
        These(&["key-without-prefix"]),
    ),
    (Flaw::TriesSecretWithNewline, These(&["key-with-newline"])),
    (Flaw::TriesEmptySecret, These(&["key-empty"])),
    (Flaw::TriesUndefined, These(&["key-word-undefined"])),
    (Flaw::TriesNameOfVariable, These(&["key-name-of-variable"])),
    (Flaw::TriesPrefixAlone, These(&["key-prefix-alone"])),
    (Flaw::TriesBodyAlone, These(&["mac-without-t"])),
    (Flaw::AcceptsV0, These(&["scheme-v0"])),
    (Flaw::AcceptsSha256, These(&["scheme-sha256"])),
    (Flaw::AcceptsBareTag, These(&["scheme-bare"])),
    (
        Flaw::SerialisesJsonAgain,
        These(&[
            "body-newline-added",
            "body-made-pretty",
            "exact-white-space",
            "exact-trailing-newline",
            "exact-crlf",
            "exact-key-order",
            "exact-escapes",
            "exact-numbers",
        ]),
    ),
    (Flaw::StripsBom, These(&["body-bom-added"])),
    (Flaw::DecodesLossily, These(&["body-utf8-replaced"])),
    (
        Flaw::TrimsBody,
        These(&["body-newline-added", "exact-trailing-newline"]),
    ),
    (
        Flaw::NormalisesLineEnds,
        // It does so in text.
        These(&["body-crlf-for-lf", "body-utf8-replaced", "exact-crlf"]),
    ),
    (Flaw::TriesLowerCase, These(&["body-case-changed"])),
    (
        Flaw::ReadsFirstDocument,
        These(&[
            "body-newline-added",
            "body-extended",
            "exact-trailing-newline",
        ]),
    ),
    (
        Flaw::IgnoresT,
        These(&[
            "header-t-empty",
            "t-305-s-old",
            "t-305-s-ahead",
            "t-one-hour-old",
            "t-one-hour-ahead",
            "t-zero",
            "t-milliseconds",
            "t-negative",
            "t-wraps-32-bits",
            "t-wraps-64-bits",
            "t-largest",
            "t-smallest",
            "t-40-digits",
            "t-not-a-number",
        ]),
    ),
    (
        Flaw::ChecksOldAlone,
        These(&[
            "t-305-s-ahead",
            "t-one-hour-ahead",
            "t-milliseconds",
            "t-wraps-32-bits",
            "t-largest",
        ]),
    ),
    (
        Flaw::ChecksFutureAlone,
        These(&["t-305-s-old", "t-one-hour-old", "t-zero"]),
    ),
    (Flaw::Tolerates600, These(&["t-305-s-old", "t-305-s-ahead"])),
    (Flaw::Tolerates200, These(&["t-295-s-old", "t-295-s-ahead"])),
    (
        Flaw::ToleratesMilliseconds,
        These(&[
            "t-305-s-old",
            "t-305-s-ahead",
            "t-one-hour-old",
            "t-one-hour-ahead",
        ]),
    ),
    (Flaw::ReadsMilliseconds, These(&["t-milliseconds"])),
    (Flaw::Wraps32Bits, These(&["t-wraps-32-bits"])),
    (Flaw::Wraps64Bits, These(&["t-wraps-64-bits"])),
    (Flaw::IgnoresSign, These(&["t-negative"])),
    (Flaw::AcceptsZero, These(&["t-zero"])),
    (Flaw::ComparesNaN, These(&["t-not-a-number"])),
    (Flaw::FailsOnUnknownType, These(&["unknown-action"])),
    (Flaw::KnowsInstrumentsAlone, These(&["each-resource"])),
    (
        Flaw::AnswersDuplicateWith409,
        These(&["duplicate", "duplicate-signed-again"]),
    ),
    (Flaw::ReadsAsciiAlone, These(&["exact-unicode"])),
    (Flaw::ShowsSignature, These(&["signature-not-shown"])),
    (Flaw::ShowsSecret, These(&["secret-not-shown"])),
    (
        Flaw::ShowsSignatureInBase64,
        These(&["signature-not-shown"]),
    ),
    (
        Flaw::VerifiesJsonAlone,
        These(&["unsigned-text", "unsigned-form", "unsigned-no-type"]),
    ),
    (Flaw::VerifiesPostAlone, These(&["unsigned-put"])),
    (Flaw::VerifiesWithLengthAlone, These(&["unsigned-chunked"])),
    (Flaw::TrustsConnection, These(&["forgery-after-good"])),
    (Flaw::LooksUpIdFirst, These(&["forgery-of-known-id"])),
    (Flaw::ComparesLikeStrcmp, These(&["tag-zero-byte"])),
    (Flaw::Redirects, These(&["good-delivery"])),
    (
        Flaw::ReadsNameCaseSensitively,
        These(&["header-name-lower-case"]),
    ),
    (Flaw::PoisonsConnection, These(&["after-a-rejection"])),
    (Flaw::IsAtAnotherPath, These(&["good-delivery"])),
    (Flaw::HasAnotherSecret, These(&["good-delivery"])),
];

/// Receivers that only miss advice, and the probes that say so.
const AGAINST_ADVICE: &[(Flaw, &[&str])] = &[
    (Flaw::None, &[]),
    (Flaw::WorksOneByOne, &["50-at-once"]),
    (Flaw::AcceptsAnyMethod, &["method-get", "method-put"]),
    (
        Flaw::ReadsNumbersLikePython,
        &["t-full-width-digits", "t-plus-sign", "t-underscore"],
    ),
    (
        Flaw::TakesFirstHeader,
        &["header-twice-right-first", "header-twice-same"],
    ),
    (Flaw::TakesLastT, &["t-twice-same"]),
    (Flaw::TakesLastV1, &["v1-twice-right-first"]),
    (Flaw::NeedsLowerCaseHex, &["v1-upper-case"]),
    (Flaw::RejectsUnknownFields, &["unknown-field"]),
    (
        Flaw::NeedsContentType,
        &["content-type-absent", "content-type-charset"],
    ),
    (Flaw::RejectsWith403, &["rejected-with-401"]),
    (Flaw::IsMinutesOff, &["clock"]),
    (Flaw::IsSecondsAhead, &["clock"]),
    (Flaw::DateIsOff, &["clock"]),
    (Flaw::LimitsTo10Kib, &["body-64-kib", "body-900-kib"]),
    (Flaw::HasTenPlaces, &["50-at-once"]),
    (Flaw::HasStrictTables, &[]),
];

/// Runs `check` with all lines as JSON.
fn program<'a>(folder: &'a Folder, receiver: &Receiver, options: &str) -> Program<'a> {
    let arguments = format!("check {} --json --rate 1000 {options}", receiver.url());
    let program = folder.program(&arguments);
    program.variable("PTOLEMY_WEBHOOK_SECRET", SECRET)
}

fn lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The ids with this value in a field.
fn ids(lines: &[Value], field: &str, value: &str) -> BTreeSet<String> {
    let lines = lines.iter().filter(|line| line[field] == value);
    lines
        .map(|line| line["id"].as_str().unwrap().to_owned())
        .collect()
}

fn set<S: AsRef<str>>(ids: impl IntoIterator<Item = S>) -> BTreeSet<String> {
    ids.into_iter().map(|id| id.as_ref().to_owned()).collect()
}

fn all_probes(folder: &Folder) -> Vec<Value> {
    lines(&folder.program("check --list --json").run().with_code(0))
}

/// Options with which the flaw is found without a long wait.
fn options(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::WorksOneByOne => "--only good-delivery,50-at-once,answer-in-time",
        Flaw::HasTenPlaces => "--only good-delivery,50-at-once",
        // A zero in another signature, and the flaw shows in other probes too.
        Flaw::ComparesLikeStrcmp => "--only good-delivery,tag-zero-byte",
        _ => "",
    }
}

/// Runs a function for each item, several at a time.
fn for_each<T: Sync>(items: &[T], run: impl Fn(&T) + Sync) {
    let next = Mutex::new(items.iter());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(item) = next.lock().unwrap().next() else {
                        return;
                    };
                    run(item);
                }
            });
        }
    });
}

#[test]
fn each_flaw_fails_its_probes_and_no_others() {
    let forgeries: BTreeSet<_> = all_probes(&Folder::new())
        .iter()
        .filter(|probe| probe["weight"] == "security" && probe["expected"] == "4xx")
        .map(|probe| probe["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(forgeries.len() > 40);
    for_each(FLAWS, |(flaw, fails)| {
        let expected = match fails {
            These(ids) => set(*ids),
            ForgeriesBut(ids) => &forgeries - &set(*ids),
        };
        let receiver = Receiver::start(*flaw);
        let folder = Folder::new();
        let ended = program(&folder, &receiver, options(*flaw)).run();
        let failed = ids(&lines(&ended), "result", "fail");
        assert_eq!(failed, expected, "{flaw:?}\n{}", ended.stderr);
        assert_eq!(ended.code, i32::from(!expected.is_empty()), "{flaw:?}");
        for id in &failed {
            assert!(
                ended.stderr.contains(&format!("FAIL {id} (")),
                "{flaw:?}: {id}"
            );
        }
    });
}

#[test]
fn what_is_against_advice_alone_never_sets_the_exit_code() {
    for_each(AGAINST_ADVICE, |(flaw, advised)| {
        let receiver = Receiver::start(*flaw);
        let ended = program(&Folder::new(), &receiver, options(*flaw)).run();
        let ended = ended.with_code(0);
        assert_eq!(
            ids(&lines(&ended), "result", "advice"),
            set(*advised),
            "{flaw:?}"
        );
        assert!(ids(&lines(&ended), "result", "fail").is_empty());
        assert!(
            ids(&lines(&ended), "result", "skipped").len() <= 2,
            "{flaw:?}"
        );
    });
}

#[test]
fn a_forgery_that_fails_in_another_way_is_not_accepted() {
    for flaw in [Flaw::FailsOnForgery, Flaw::ClosesOnForgery] {
        let receiver = Receiver::start(flaw);
        let folder = Folder::new();
        let ended = program(
            &folder,
            &receiver,
            "--only good-delivery,body-tampered,key-other",
        )
        .run();
        let lines = lines(&ended.with_code(0));
        assert_eq!(
            ids(&lines, "result", "advice"),
            set(["body-tampered", "key-other"])
        );
    }
}

#[test]
fn everything_that_rests_on_no_documentation_or_standard_is_advice() {
    let probes = all_probes(&Folder::new());
    assert!(probes.len() >= 100, "{}", probes.len());
    assert_eq!(
        set(probes.iter().map(|probe| probe["id"].as_str().unwrap())).len(),
        probes.len()
    );
    for probe in &probes {
        let basis = probe["basis"].as_str().unwrap();
        assert!(
            matches!(basis, "documented" | "standard" | "security_practice")
                || probe["weight"] == "advice",
            "{probe}"
        );
    }
    let requests: u64 = probes
        .iter()
        .map(|probe| probe["requests"].as_u64().unwrap())
        .sum();
    assert!(
        requests <= 300,
        "the default budget is too small: {requests}"
    );
}

#[test]
fn a_budget_that_is_too_small_is_a_usage_error_before_anything_is_sent() {
    let receiver = Receiver::start(Flaw::None);
    let folder = Folder::new();
    let only = "--only good-delivery,each-resource,t-305-s-old";
    let ended = program(&folder, &receiver, &format!("{only} --requests 10"))
        .run()
        .with_code(2);
    assert_eq!((ended.stdout.as_str(), count(&receiver)), ("", 0));
    assert!(
        ended.stderr.contains("pass --requests 11,"),
        "{}",
        ended.stderr
    );
    program(&folder, &receiver, &format!("{only} --requests 11"))
        .run()
        .with_code(0);
}

fn count(receiver: &Receiver) -> usize {
    receiver.log.requests.load(Ordering::SeqCst)
}

#[test]
fn clocks_that_differ_fail_no_right_receiver_and_still_find_a_wrong_one() {
    let only = |receiver: &Receiver, probe: &str| {
        let ended = program(&Folder::new(), receiver, &format!("--only {probe}")).run();
        let line = lines(&ended).remove(0);
        (line["result"].as_str().unwrap().to_owned(), line)
    };
    // Accepted by the clock here, rejected by its own.
    let ahead = Receiver::start(Flaw::IsSecondsAhead);
    let (result, line) = only(&ahead, "t-305-s-ahead");
    assert_eq!(result, "skipped");
    let actual = line["actual"].as_str().unwrap();
    assert!(actual.starts_with("the clocks differ by "), "{actual}");
    assert!(
        actual.contains("204 by the clock here, 401 by the Date"),
        "{actual}"
    );
    // Accepted by the Date, rejected by its own clock.
    let behind_a_proxy = Receiver::start(Flaw::DateIsOff);
    assert_eq!(only(&behind_a_proxy, "t-305-s-ahead").0, "skipped");
    assert_eq!(only(&behind_a_proxy, "t-305-s-old").0, "pass");
    let wrong = Receiver::start(Flaw::IgnoresTAndDateIsOff);
    assert_eq!(only(&wrong, "t-305-s-ahead").0, "fail");
    assert_eq!(only(&wrong, "t-305-s-old").0, "fail");
}

#[test]
fn a_receiver_that_subscribes_to_one_type_is_sent_this_one_alone() {
    let receiver = Receiver::start(Flaw::SubscribesToTimeSeries);
    let folder = Folder::new();
    let event = "--event time_series_value.created,market.created --hostile";
    let ended = program(&folder, &receiver, event).run().with_code(0);
    let failed = ids(&lines(&ended), "result", "advice");
    assert!(failed.is_empty(), "{failed:?}");
    assert!(
        ended.stderr.contains("probes are left out"),
        "{}",
        ended.stderr
    );
    let types = set(receiver.log.types.lock().unwrap().iter());
    assert_eq!(types, set(["time_series_value.created"]));
    for event in ["instrument", "instrument.", "Instrument.created", "*"] {
        let ended = program(&folder, &receiver, &format!("--event {event}")).run();
        assert!(ended.with_code(2).stderr.contains("--event"), "{event}");
    }
}

#[test]
fn what_can_break_a_receiver_is_sent_only_if_that_is_asked_for() {
    let probes = all_probes(&Folder::new());
    let hostile: BTreeSet<_> = probes
        .iter()
        .filter(|probe| probe["hostile"] == true)
        .map(|probe| probe["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(hostile.contains("body-deep") && hostile.contains("gzip-signed-as-sent"));
    let receiver = Receiver::start(Flaw::None);
    let folder = Folder::new();
    let run = |options: &str| {
        let ended = program(&folder, &receiver, options).run().with_code(0);
        set(lines(&ended)
            .iter()
            .map(|line| line["id"].as_str().unwrap()))
    };
    let (usual, all) = (run(""), run("--hostile"));
    assert_eq!(&all - &usual, hostile);
    assert_eq!(all.len(), probes.len());
    let ended = program(&folder, &receiver, "--only body-deep").run();
    assert!(ended.with_code(2).stderr.contains("pass --hostile too"));
}

#[cfg(unix)]
#[test]
fn on_ctrl_c_the_results_so_far_are_printed() {
    use std::io::Read as _;

    let receiver = Receiver::start(Flaw::TriesEmptySecret);
    let folder = Folder::new();
    let arguments = format!(
        "check {} --rate 5 --only good-delivery,unsigned,key-empty,key-other,body-tampered,t-zero",
        receiver.url()
    );
    let program = folder.program(&arguments);
    let mut running = program.variable("PTOLEMY_WEBHOOK_SECRET", SECRET).start();
    while count(&receiver) < 3 {
        assert!(running.0.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(5));
    }
    let stderr = running.interrupt();
    let mut stdout = String::new();
    let mut pipe = running.0.stdout.take().unwrap();
    pipe.read_to_string(&mut stdout).unwrap();
    assert_eq!(crate::signals::exit_code(&mut running), Some(130));
    assert!(stdout.starts_with("RESULT "), "{stdout}");
    assert!(stdout.contains("\npass    good-delivery "), "{stdout}");
    assert!(
        stderr.contains(" probes: ") && stderr.contains("more probes did not run"),
        "{stderr}"
    );
    assert!(stderr.ends_with("error: interrupted\n"), "{stderr}");
}

#[test]
fn without_stored_events_a_right_receiver_accepts_nothing() {
    let receiver = Receiver::start(Flaw::None);
    let ended = program(&Folder::new(), &receiver, "--no-stored")
        .run()
        .with_code(0);
    assert!(
        ended.stderr.contains("good-delivery is left out"),
        "{}",
        ended.stderr
    );
    assert!(receiver.log.requests.load(Ordering::SeqCst) > 50);
    assert_eq!(receiver.log.accepted.load(Ordering::SeqCst), 0);
    // Nor does one that is as lenient as the language of the guide's sample.
    let receiver = Receiver::start(Flaw::ReadsNumbersLikePython);
    program(&Folder::new(), &receiver, "--no-stored")
        .run()
        .with_code(0);
    assert_eq!(receiver.log.accepted.load(Ordering::SeqCst), 0);
}

#[test]
fn every_request_goes_to_the_url_and_no_redirect_is_followed() {
    for flaw in [Flaw::None, Flaw::Redirects] {
        let receiver = Receiver::start(flaw);
        let proxy = Receiver::start(Flaw::None);
        let folder = Folder::new();
        let proxy_url = format!("http://{}", proxy.address);
        let program = program(&folder, &receiver, "").variable("HTTP_PROXY", &proxy_url);
        program
            .variable("http_proxy", &proxy_url)
            .variable("ALL_PROXY", &proxy_url)
            .run();
        let targets = set(receiver.log.targets.lock().unwrap().iter());
        assert_eq!(targets, set(["/hooks"]), "{flaw:?}");
        assert_eq!(proxy.log.requests.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_receiver_that_is_not_there_is_one_error() {
    let folder = Folder::new();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let program = folder.program(&format!("check http://127.0.0.1:{port}/hooks"));
    let ended = program
        .variable("PTOLEMY_WEBHOOK_SECRET", SECRET)
        .run()
        .with_code(1);
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.lines().count()),
        ("", 1),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stderr
            .starts_with("error: no connection to the receiver: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_receiver_with_another_secret_is_diagnosed_and_says_nothing_about_forgeries() {
    let receiver = Receiver::start(Flaw::HasAnotherSecret);
    let ended = program(&Folder::new(), &receiver, "").run().with_code(1);
    let results = lines(&ended);
    assert!(ids(&results, "result", "skipped").contains("body-tampered"));
    assert!(ids(&results, "result", "skipped").contains("exact-unicode"));
    assert!(
        ended
            .stderr
            .contains("The secret here may not be the receiver's"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_receiver_that_dies_during_the_check_is_an_error() {
    let receiver = Receiver::start(Flaw::DiesAfterOne);
    let ended = program(&Folder::new(), &receiver, "").run().with_code(1);
    let skipped = ids(&lines(&ended), "result", "skipped");
    assert!(skipped.len() > 100 && skipped.contains("50-at-once"));
    let last = ended.stderr.lines().last().unwrap();
    assert!(
        last.starts_with("error: the receiver stopped answering"),
        "{last}"
    );
    assert!(
        last.contains("that it answered is good-delivery, the first one without an answer is ")
    );
}

#[test]
fn what_cannot_be_asked_is_a_usage_error() {
    let folder = Folder::new();
    folder.secret_file("secret", SECRET);
    for (arguments, word) in [
        ("check http://127.0.0.1:1/ --only no-such-probe", "--list"),
        ("check http://127.0.0.1:1/ --skip no-such-probe", "--list"),
        (
            "check http://127.0.0.1:1/ --only good-delivery --no-stored",
            "no probe",
        ),
        ("check ftp://127.0.0.1/", "http://"),
        ("check 127.0.0.1:3000", "http"),
        ("check http://user@127.0.0.1/", "user"),
        ("check", "URL"),
        ("check http://127.0.0.1:1/ --rate 0", "--rate"),
        ("check http://127.0.0.1:1/ --requests 0", "--requests"),
    ] {
        let program = folder.program(arguments);
        let ended = program
            .variable("PTOLEMY_WEBHOOK_SECRET_FILE", "secret")
            .run()
            .with_code(2);
        assert!(
            ended.stdout.is_empty() && ended.stderr.contains(word),
            "{}",
            ended.stderr
        );
    }
    let ended = folder
        .program("check http://127.0.0.1:1/")
        .run()
        .with_code(2);
    assert!(
        ended.stderr.contains("PTOLEMY_WEBHOOK_SECRET"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_secret_comes_from_a_file_that_a_variable_names_or_from_standard_input() {
    let receiver = Receiver::start(Flaw::None);
    let folder = Folder::new();
    folder.secret_file("secret", &format!("{SECRET}\n"));
    let arguments = format!(
        "check {} --only good-delivery,key-with-newline",
        receiver.url()
    );
    let from_variable = folder.program(&arguments);
    from_variable
        .variable("PTOLEMY_WEBHOOK_SECRET_FILE", "secret")
        .run()
        .with_code(0);
    folder
        .program(&format!("{arguments} --secret-file secret"))
        .run()
        .with_code(0);
    let from_input = folder.program(&format!("{arguments} --secret-file -"));
    from_input.input(format!("{SECRET}\n")).run().with_code(0);
    let both = folder
        .program(&arguments)
        .variable("PTOLEMY_WEBHOOK_SECRET_FILE", "secret");
    let ended = both
        .variable("PTOLEMY_WEBHOOK_SECRET", SECRET)
        .run()
        .with_code(2);
    assert!(
        ended.stderr.contains("secret is set twice"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_table_shows_what_was_expected_and_what_came() {
    let receiver = Receiver::start(Flaw::TriesEmptySecret);
    let folder = Folder::new();
    let arguments = format!("check {} --only good-delivery,key-empty", receiver.url());
    let program = folder
        .program(&arguments)
        .variable("PTOLEMY_WEBHOOK_SECRET", SECRET);
    let ended = program.run().with_code(1);
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let rows: Vec<_> = ended.stdout.lines().map(words).collect();
    assert_eq!(rows[0], ["RESULT", "ID", "WEIGHT", "EXPECTED", "ACTUAL"]);
    assert_eq!(rows[2], ["FAIL", "key-empty", "security", "4xx", "204"]);
    assert!(
        ended
            .stderr
            .ends_with("2 probes: 1 passed, 1 failed, 0 with advice, 0 skipped\n")
    );
}

#[test]
fn the_examples_of_check_work() {
    let receiver = Receiver::start(Flaw::None);
    let variables = [("PTOLEMY_WEBHOOK_SECRET", SECRET)];
    let address = format!("http://{}", receiver.address);
    run_examples(&Folder::new(), "check", &address, &variables);
    assert!(receiver.log.accepted.load(Ordering::SeqCst) > 50);
    for id in receiver.log.ids.lock().unwrap().iter() {
        assert!(id.starts_with("c4ec4c4e-") && id.len() == 36, "{id}");
    }
    let types = receiver.log.types.lock().unwrap();
    assert!(types.len() > 7);
    for event_type in types.iter() {
        let asks_for_removal = [".archived", ".deleted"]
            .iter()
            .any(|it| event_type.ends_with(it));
        assert!(!asks_for_removal, "{event_type}");
    }
}

#[test]
fn requests_come_at_the_rate() {
    let receiver = Receiver::start(Flaw::None);
    let folder = Folder::new();
    let arguments = format!(
        "check {} --only good-delivery,each-resource",
        receiver.url()
    );
    let program = folder
        .program(&arguments)
        .variable("PTOLEMY_WEBHOOK_SECRET", SECRET);
    program.run().with_code(0);
    let arrivals = receiver.log.arrivals.lock().unwrap();
    assert_eq!(arrivals.len(), 8);
    // 7 pauses of 50 ms, minus the delay of the first request.
    assert!(arrivals[7] - arrivals[0] >= Duration::from_millis(200));
}
