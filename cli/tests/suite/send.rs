//! `send`: its requests, its output and its exit codes.

use std::net::TcpListener;
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::Value;

use crate::help_examples::run_examples;
use crate::program::{Ended, Folder};
use crate::recorder::{Behaviour, Recorder, SECRET};

const VARIABLE: &str = "PTOLEMY_WEBHOOK_SECRET";

fn send(folder: &Folder, recorder: &Recorder, arguments: &str) -> Ended {
    let program = folder.program(&format!("send {} {arguments}", recorder.url()));
    program.variable(VARIABLE, SECRET).run()
}

fn object(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn every_known_event_and_an_unknown_one_is_signed_and_accepted() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let help = folder.program("send --help").run().with_code(0).stdout;
    let (_, known) = help.split_once("Known event types:\n").unwrap();
    let mut known: Vec<_> = known.lines().map(str::trim).collect();
    assert_eq!(known.len(), 25);
    known.push("robot.created");
    for event_type in &known {
        let ended = send(&folder, &recorder, &format!("--event {event_type}")).with_code(0);
        assert_eq!(
            (&*ended.stdout, &*ended.stderr),
            ("202 Accepted\n", ""),
            "{event_type}"
        );
    }
    let received = recorder.received();
    assert_eq!(received.len(), known.len());
    let mut ids = Vec::new();
    for (request, event_type) in received.iter().zip(known) {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["event_type"], event_type);
        // As documented: a receiver may keep it in a column for UUIDs.
        let id = body["id"].as_str().unwrap();
        assert!(id.starts_with("5e4d5e4d-") && id.len() == 36, "{id}");
        ids.push(id.to_owned());
        assert!(
            request
                .head
                .starts_with("POST /webhooks/ptolemy HTTP/1.1\r\n"),
            "{}",
            request.head
        );
        assert_eq!(request.headers("content-type"), ["application/json"]);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), received.len(), "each event has a new id");
}

#[test]
fn each_fault_is_rejected_for_its_own_reason() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    for (fault, answer) in [
        ("tampered", "does not match"),
        ("stale", "s old"),
        ("future", "s ahead"),
        ("age:301s", "s old"),
        ("age:-310s", "s ahead"),
        ("wrong-secret", "does not match"),
        ("previous-secret", "does not match"),
        ("no-header", "is missing"),
        ("header-twice", "is repeated"),
        ("milliseconds", "looks like milliseconds"),
        ("truncate-signature", "is not 64 hex digits"),
    ] {
        let url = recorder.url();
        let ended = folder
            .program(&format!("send {url} --fault {fault}"))
            .variable(VARIABLE, SECRET)
            .variable("PTOLEMY_WEBHOOK_SECRET_PREVIOUS", "whsec_previous")
            .run()
            .with_code(1);
        assert!(
            ended.stdout.starts_with("401 Unauthorized ") && ended.stdout.contains(answer),
            "{fault}: {}",
            ended.stdout
        );
        assert_eq!(ended.stderr, "", "{fault}");
    }
    let received = recorder.received();
    assert_eq!(received[8].headers("ptolemy-signature").len(), 2);
    assert_eq!(received[7].headers("ptolemy-signature").len(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_without_an_end_is_not_read_forever() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let ended = send(&folder, &recorder, "--file /dev/zero").with_code(2);
    let text = "error: /dev/zero: longer than 67108864 bytes";
    assert!(ended.stderr.starts_with(text), "{}", ended.stderr);
    assert!(recorder.received().is_empty());
}

#[test]
fn what_a_receiver_must_survive_is_accepted() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    for fault in [
        "chunked",
        "both-secrets",
        "large-body:5000",
        "age:290s",
        "pause:1s",
    ] {
        send(&folder, &recorder, &format!("--fault {fault}")).with_code(0);
    }
    let received = recorder.received();
    assert_eq!(received[0].headers("transfer-encoding"), ["chunked"]);
    assert!(received[0].headers("content-length").is_empty());
    let several = &received[1].headers("ptolemy-signature")[0];
    assert_eq!(several.matches("v1=").count(), 2);
    assert_eq!(received[2].body.len(), 5_000);
    assert!(received[4].headers("transfer-encoding").is_empty());
}

#[test]
fn faults_that_are_combined_are_all_made() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let arguments = "--fault both-secrets --fault milliseconds";
    let ended = send(&folder, &recorder, arguments).with_code(1);
    assert!(ended.stdout.contains("milliseconds"), "{}", ended.stdout);
    let request = &recorder.received()[0];
    let header = request.headers("ptolemy-signature").remove(0);
    let parts: Vec<_> = header.split(',').collect();
    let [t, foreign, own] = parts.as_slice() else {
        panic!("{header}");
    };
    assert_eq!(t.len(), "t=".len() + 13);
    let own_secret = crate::why::tag(SECRET, &[&t.as_bytes()[2..], b".", &request.body].concat());
    assert_eq!(*own, format!("v1={own_secret}"));
    assert_ne!(foreign, own);

    let arguments = "--fault both-secrets --fault truncate-signature";
    send(&folder, &recorder, arguments).with_code(1);
    let header = recorder.received()[1]
        .headers("ptolemy-signature")
        .remove(0);
    let lengths: Vec<_> = header.split(',').skip(1).map(str::len).collect();
    assert_eq!(lengths, ["v1=".len() + 64, "v1=".len() + 32]);
}

#[test]
fn the_outcome_of_a_series_with_a_broken_off_request_is_unknown() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let ended = send(&folder, &recorder, "--count 2 --fault break-off").with_code(3);
    assert_eq!(ended.stdout.lines().count(), 2, "each request is sent");
    assert!(ended.stderr.contains("0 of 2 answered"), "{}", ended.stderr);
}

#[test]
fn a_body_that_is_broken_off_is_announced_in_full_and_sent_by_half() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let ended = send(&folder, &recorder, "--json --fault break-off").with_code(3);
    let answer = object(&ended);
    assert_eq!(answer["outcome"], "broken_off");
    assert_eq!(answer["response_status"], Value::Null);
    let begin = Instant::now();
    let received = loop {
        if let [received] = &*recorder.received() {
            break received.clone();
        }
        assert!(begin.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(5));
    };
    assert!(!received.is_complete);
    let length: usize = received.headers("content-length")[0].parse().unwrap();
    assert_eq!(received.body.len(), length / 2);
}

#[test]
fn a_file_is_sent_byte_for_byte_from_a_path_or_from_standard_input() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let bytes = b"\xff\0 not JSON \r\n";
    fs::write(folder.path("body"), bytes).unwrap();
    send(&folder, &recorder, "--file body").with_code(0);
    let url = recorder.url();
    folder
        .program(&format!("send {url} --file -"))
        .variable(VARIABLE, SECRET)
        .input(bytes)
        .run()
        .with_code(0);
    for request in recorder.received() {
        assert_eq!(request.body, bytes);
    }
    assert_eq!(recorder.received().len(), 2);
    let missing = send(&folder, &recorder, "--file missing").with_code(2);
    assert!(missing.stderr.starts_with("error: missing: "));
}

#[test]
fn json_has_one_object_for_each_answer_and_a_repeated_id_is_the_same_event() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let ended = send(&folder, &recorder, "--count 3 --id evt_7 --json --rate 50").with_code(0);
    let answers: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 3);
    for (answer, number) in answers.iter().zip(1..) {
        let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "event_id",
                "number",
                "outcome",
                "response_status",
                "text",
                "took_ms"
            ]
        );
        assert_eq!(answer["number"], number);
        assert_eq!(answer["event_id"], "evt_7");
        assert_eq!(answer["response_status"], 202);
        assert_eq!(answer["outcome"], "accepted");
    }
    assert_eq!(ended.stderr, "");
    let bodies: Vec<_> = recorder.received().into_iter().map(|it| it.body).collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[test]
fn the_count_of_answers_is_for_people_and_stands_on_standard_error() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let ended = send(&folder, &recorder, "--count 3").with_code(0);
    assert_eq!(ended.stdout, "202 Accepted\n".repeat(3));
    assert_eq!(ended.stderr, "3 of 3 answered: 3 × 202\n");
    let ended = send(&folder, &recorder, "--count 2 --fault tampered").with_code(1);
    assert_eq!(ended.stderr, "2 of 2 answered: 2 × 401\n");
}

#[test]
fn a_rate_spreads_the_requests() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let begin = Instant::now();
    send(&folder, &recorder, "--count 4 --rate 10").with_code(0);
    // Three intervals of 100 ms lie between four requests.
    assert!(begin.elapsed() >= Duration::from_millis(300));
    send(&folder, &recorder, "--rate 0").with_code(2);
}

#[test]
fn a_receiver_that_is_not_there_is_a_failure_and_nothing_more_is_sent() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let ended = folder
        .program(&format!("send {url} --count 5 --json"))
        .variable(VARIABLE, SECRET)
        .run()
        .with_code(1);
    assert_eq!(object(&ended)["outcome"], "not_connected");
    assert!(ended.stderr.starts_with(&format!("error: {url}: ")));
}

#[test]
fn a_request_without_an_answer_may_have_been_handled() {
    let folder = Folder::new();
    for (behaviour, text) in [
        (Behaviour::HangUp, "no answer: "),
        (Behaviour::Silence, "no answer within 10 s"),
    ] {
        let recorder = Recorder::start(behaviour);
        let ended = send(&folder, &recorder, "--count 3 --json").with_code(3);
        let answer = object(&ended);
        assert_eq!(answer["outcome"], "no_answer");
        assert!(
            answer["text"].as_str().unwrap().starts_with(text),
            "{answer}"
        );
        assert!(
            ended.stderr.contains("may have handled"),
            "{}",
            ended.stderr
        );
        assert_eq!(recorder.received().len(), 1, "nothing is sent again");
    }
}

#[test]
fn an_answer_is_shown_escaped_and_cut_and_a_redirect_is_not_followed() {
    let folder = Folder::new();
    let recorder = Recorder::start(Behaviour::Answer(
        "HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\na\x1b[31m\nb\n",
    ));
    let ended = send(&folder, &recorder, "").with_code(1);
    assert_eq!(
        ended.stdout,
        "500 Internal Server Error a\\u{1b}[31m\\u{a}b\n"
    );

    let target = Recorder::start(Behaviour::Verify);
    let redirect = format!(
        "HTTP/1.1 307 x\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        target.url()
    );
    let recorder = Recorder::start(Behaviour::Answer(redirect.leak()));
    let ended = send(&folder, &recorder, "").with_code(1);
    assert_eq!(ended.stdout, "307 Temporary Redirect\n");
    assert!(target.received().is_empty());
}

#[test]
fn a_printed_request_is_what_is_sent() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    for fault in [
        "",
        "--fault chunked",
        "--fault header-twice",
        "--fault milliseconds",
    ] {
        let arguments = format!("--id evt_1 {fault}");
        let printed = send(&folder, &recorder, &format!("{arguments} --print")).with_code(0);
        let sent_before = recorder.received().len();
        send(&folder, &recorder, &arguments);
        let received = recorder.received();
        assert_eq!(received.len(), sent_before + 1, "--print sends nothing");
        let sent = received.last().unwrap();
        let (head, body) = printed.stdout.split_once("\r\n\r\n").unwrap();
        assert!(!head.replace("\r\n", "").contains(['\r', '\n']));
        let headers = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let found = lines.filter(|(it, _)| it.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
        };
        for name in [
            "host",
            "content-type",
            "content-length",
            "transfer-encoding",
        ] {
            assert_eq!(headers(name), sent.headers(name), "{name} {fault}");
        }
        let count = sent.headers("ptolemy-signature").len();
        assert_eq!(headers("ptolemy-signature").len(), count);
        if fault != "--fault chunked" {
            assert_eq!(body.as_bytes(), sent.body);
        }
    }
}

#[test]
fn a_command_line_that_cannot_work_is_a_usage_error_and_nothing_is_sent() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    for arguments in [
        "--count 0",
        "--rate x",
        "--rate 5000",
        "--fault nothing",
        "--fault age",
        "--fault tampered:1",
        "--fault tampered --fault tampered",
        "--fault stale --fault age:5m",
        "--fault wrong-secret --fault no-header",
        "--fault previous-secret",
        "--fault age:9223372036854775807s",
        "--fault age:290",
        "--file a --event b",
        "--file - --secret-file -",
        "--fault previous-secret --previous-secret-file -",
        "--fault no-header --fault header-twice",
        "--fault no-header --fault both-secrets",
        "--fault no-header --fault milliseconds",
        "--fault no-header --fault truncate-signature",
        "--fault no-header --fault age:301s",
        "--fault wrong-secret --fault both-secrets",
        "--fault break-off --fault tampered",
        "--print --fault pause:1s",
        "--print --json",
    ] {
        let ended = send(&folder, &recorder, arguments).with_code(2);
        assert_eq!(ended.stdout, "", "{arguments}");
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    }
    let twice = send(&folder, &recorder, "--fault age:1s --fault age:2s").with_code(2);
    assert!(twice.stderr.contains("fault `age` is given twice"));
    for url in [
        "ftp://127.0.0.1/",
        "127.0.0.1:3000",
        "http://",
        "http://bob@127.0.0.1/",
    ] {
        let ended = folder
            .program(&format!("send {url}"))
            .variable(VARIABLE, SECRET);
        ended.run().with_code(2);
    }
    let url = recorder.url();
    let unset = folder.program(&format!("send {url}")).run().with_code(2);
    assert!(
        unset
            .stderr
            .contains("PTOLEMY_WEBHOOK_SECRET: secret is not set")
    );
    let masked = folder
        .program(&format!("send {url}"))
        .variable(VARIABLE, "whsec_••••");
    assert!(masked.run().with_code(2).stderr.contains("masked"));
    assert!(recorder.received().is_empty());
}

#[test]
fn the_secret_is_read_from_each_of_its_places() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    let url = recorder.url();
    let path = folder.secret_file("secret", &format!("{SECRET}\n"));
    let by_option = folder.program(&format!("send {url} --secret-file secret"));
    by_option.run().with_code(0);
    let by_variable = folder.program(&format!("send {url}"));
    by_variable
        .variable("PTOLEMY_WEBHOOK_SECRET_FILE", path.clone())
        .run()
        .with_code(0);
    let by_input = folder.program(&format!("send {url} --secret-file -"));
    by_input.input(format!("{SECRET}\n")).run().with_code(0);
    let both = folder.program(&format!("send {url}"));
    let both = both
        .variable(VARIABLE, SECRET)
        .variable("PTOLEMY_WEBHOOK_SECRET_FILE", path);
    assert!(both.run().with_code(2).stderr.contains("set twice"));
    // A previous secret is enough for a delivery that is signed with it.
    let previous = folder.program(&format!("send {url} --fault previous-secret"));
    previous
        .variable("PTOLEMY_WEBHOOK_SECRET_PREVIOUS", SECRET)
        .run()
        .with_code(0);
}

#[test]
fn the_examples_in_the_help_work() {
    let (folder, recorder) = (Folder::new(), Recorder::start(Behaviour::Verify));
    run_examples(&folder, "send", &recorder.origin(), &[(VARIABLE, SECRET)]);
    assert!(recorder.received().len() > 5);
}
