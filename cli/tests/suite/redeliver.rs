//! `redeliver`: one and many, plan, limits, outcomes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::Shape;
use serde_json::{Value, json};

use crate::answers::Answers;
use crate::management::{Account, lines};
use crate::program::Folder;

const CALL: (&str, &str) = ("POST", "/webhook-deliveries/{id}/redeliver");

#[tokio::test]
async fn one_delivery_is_sent_without_a_question() {
    let account = Account::open().await;
    let id = account.fail(1).await.remove(0);
    let ended = account.run(&format!("redeliver {id} --json")).with_code(0);
    assert_eq!(
        lines(&ended),
        [json!({"delivery_id": id, "outcome": "accepted", "response_status": null})]
    );
    assert!(!ended.stderr.contains("plan"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("Accepted is not delivered"),
        "{}",
        ended.stderr
    );
    assert_eq!(account.redeliveries(), 1);
}

#[tokio::test]
async fn many_deliveries_need_a_terminal_or_yes() {
    let account = Account::open().await;
    let ids = account.fail(2).await;
    for arguments in [
        "redeliver --failed".to_owned(),
        format!("redeliver {}", ids.join(" ")),
    ] {
        let ended = account.run(&arguments).with_code(2);
        assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
        assert_eq!((ended.stdout.as_str(), account.redeliveries()), ("", 0));
        assert!(
            ended
                .stderr
                .contains("plan: send 2 deliveries again with 2 calls")
        );
        assert!(
            ended
                .stderr
                .contains("calls are left in the month's quota, the floor is 1000")
        );
    }
    assert_eq!(account.run("redeliver").with_code(2).stdout, "");
    account.run("redeliver x --failed").with_code(2);
    account.run("redeliver x --since 2h").with_code(2);
}

#[tokio::test]
async fn a_dry_run_prints_the_plan_and_sends_nothing() {
    let account = Account::open().await;
    let ids = account.fail(3).await;
    let ended = account
        .run("redeliver --failed --dry-run --json")
        .with_code(0);
    let planned: Vec<_> = ids
        .iter()
        .map(|id| json!({"delivery_id": id, "outcome": "planned", "response_status": null}))
        .collect();
    assert_eq!(lines(&ended), planned, "the oldest first");
    assert!(
        ended.stderr.contains("plan: the oldest is from "),
        "{}",
        ended.stderr
    );
    let ended = account
        .run("redeliver --failed --dry-run --limit 1 --json")
        .with_code(0);
    assert_eq!(lines(&ended), planned[2..], "the latest one");
    let one = format!("redeliver {} --dry-run", ids[0]);
    assert!(
        account
            .run(&one)
            .with_code(0)
            .stderr
            .contains("plan: send 1 delivery again with 1 call,")
    );
    assert_eq!(account.redeliveries(), 0);
}

#[tokio::test]
async fn all_failed_deliveries_are_sent_the_oldest_first() {
    let account = Account::open().await;
    let ids = account.fail(3).await;
    let ended = account.run("redeliver --failed --yes").with_code(0);
    let printed: Vec<&str> = ended
        .stdout
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(printed, ids);
    assert!(
        ended.stderr.contains("of 3 deliveries, 3 accepted."),
        "{}",
        ended.stderr
    );
    assert_eq!(account.redeliveries(), 3);
    let ids = ids.join(" ");
    account
        .run(&format!("redeliver {ids} {ids} --yes"))
        .with_code(0);
    assert_eq!(account.redeliveries(), 6, "each id once");
}

#[tokio::test]
async fn the_webhook_and_the_time_are_part_of_the_selection() {
    let account = Account::open().await;
    account.fail(2).await;
    let other = account.sandbox.register("http://127.0.0.1:9/other").await;
    account.sandbox.emit(samples::instrument_updated()).await;
    account.sandbox.settle().await;
    let count = |arguments: &str| {
        let ended = account.run(&format!("redeliver --failed --dry-run --json {arguments}"));
        lines(&ended.with_code(0)).len()
    };
    assert_eq!(count(""), 4);
    assert_eq!(count(&format!("--webhook {}", other.id())), 1);
    assert_eq!(count("--since 2100-01-01T00:00:00Z"), 0);
    assert_eq!(count("--since 2000-01-01T00:00:00Z"), 4);
    let latest = account.sandbox.now() - time::Duration::minutes(30);
    let since = latest
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    assert_eq!(
        count(&format!("--since {since}")),
        2,
        "emitted now, to both"
    );
}

#[tokio::test]
async fn a_failure_does_not_stop_the_others_and_five_in_a_row_do() {
    let account = Account::open().await;
    account.fail(8).await;
    let plan = || account.sandbox.next_call().of(CALL.0, CALL.1);
    plan().internal_error_before();
    let ended = account.run("redeliver --failed --yes --json").with_code(3);
    let outcomes: Vec<_> = lines(&ended)
        .iter()
        .map(|line| line["outcome"].clone())
        .collect();
    assert_eq!(outcomes[0], "unknown");
    assert_eq!(lines(&ended)[0]["response_status"], 500);
    assert_eq!(outcomes.iter().filter(|it| *it == "accepted").count(), 7);
    assert!(
        ended
            .stderr
            .contains("7 accepted, 1 with an unknown outcome"),
        "{}",
        ended.stderr
    );

    // Unknown ids are rejected with 404.
    let ids = "a b c d e f g";
    let before = account.redeliveries();
    let ended = account
        .run(&format!("redeliver {ids} --yes --json"))
        .with_code(1);
    assert_eq!(account.redeliveries() - before, 5);
    assert_eq!(
        lines(&ended)[4],
        json!({"delivery_id": "e", "outcome": "failed", "response_status": 404})
    );
    assert!(
        ended.stderr.contains("5 failures in a row"),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stderr
            .contains("of 7 deliveries, 0 accepted, 5 failed, 2 not sent"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn failures_that_are_not_in_a_row_do_not_stop() {
    let account = Account::open().await;
    let good = account.fail(1).await.remove(0);
    let ids = format!("a b c d {good} f g h i");
    let ended = account
        .run(&format!("redeliver {ids} --yes --json"))
        .with_code(1);
    assert_eq!(lines(&ended).len(), 9);
    assert!(
        ended
            .stderr
            .contains("of 9 deliveries, 1 accepted, 8 failed"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn an_unknown_outcome_has_the_exit_code_3() {
    let account = Account::open().await;
    let id = account.fail(1).await.remove(0);
    account.sandbox.next_call().of(CALL.0, CALL.1).reset_after();
    let ended = account.run(&format!("redeliver {id} --json")).with_code(3);
    assert_eq!(
        lines(&ended),
        [json!({"delivery_id": id, "outcome": "unknown", "response_status": null})]
    );
    assert!(
        ended.stderr.contains("it may have been carried out"),
        "{}",
        ended.stderr
    );
    assert_eq!(account.redeliveries(), 1, "not repeated");
}

#[tokio::test]
async fn a_role_that_is_too_low_stops_at_once_with_the_exit_code_4() {
    let account = Account::open().await;
    account.fail(3).await;
    account.sandbox.next_calls(9).of(CALL.0, CALL.1).as_viewer();
    let ended = account.run("redeliver --failed --yes --json").with_code(4);
    assert_eq!(account.redeliveries(), 1);
    assert!(ended.stderr.contains("the role Admin"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("1 failed, 2 not sent"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn the_floor_of_the_quota_is_kept() {
    let account = Account::open().await;
    let ids = account.fail(5).await;
    let read = format!("redeliver {} {} {} --yes --json", ids[0], ids[1], ids[2]);
    // One read, then calls until 1,000 are left.
    account.sandbox.set_quota(1_003);
    let ended = account.run(&read).with_code(1);
    assert_eq!(lines(&ended).len(), 2);
    assert!(
        ended
            .stderr
            .contains("it stops after 2 calls: the floor is 1000"),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stderr
            .contains("stopped at the floor of the quota: 1000 calls are left"),
        "{}",
        ended.stderr
    );
    let sent = account.redeliveries();

    account.sandbox.set_quota(1_001);
    let ended = account.run(&read).with_code(1);
    assert!(
        ended
            .stderr
            .contains("nothing was sent: 1000 calls are left"),
        "{}",
        ended.stderr
    );
    assert_eq!(account.redeliveries(), sent);

    account.sandbox.set_quota(5);
    let ended = account.run(&format!("{read} --quota-floor 3")).with_code(1);
    assert_eq!(lines(&ended).len(), 1);
    account.sandbox.set_quota(4);
    assert_eq!(
        lines(&account.run(&format!("{read} --quota-floor 0")).with_code(0)).len(),
        3
    );
}

#[tokio::test]
async fn a_delivery_that_cannot_be_checked_is_not_sent() {
    for (shape, arguments, option) in [
        (Shape::BareDeliveries, "", "--failed"),
        (Shape::DeliveriesWithoutTimes, "--since 2h", "--since"),
        (
            Shape::BareDeliveries,
            "--webhook http://127.0.0.1:9/hook",
            "--webhook",
        ),
    ] {
        let account = Account::with_shapes([shape]).await;
        account.fail(2).await;
        let ended = account
            .run(&format!("redeliver --failed --yes {arguments}"))
            .with_code(1);
        let warning =
            format!("could not be checked against {option}: not sent again; name them by id");
        assert!(
            ended.stderr.contains(&warning),
            "{shape:?}: {}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("2 deliveries without"),
            "{}",
            ended.stderr
        );
        assert_eq!(
            (account.redeliveries(), ended.stdout.as_str()),
            (0, ""),
            "{shape:?}"
        );
    }
    let account = Account::with_shapes([Shape::DeliveriesWithoutTimes]).await;
    account.fail(2).await;
    account.run("redeliver --failed --yes").with_code(0);
    assert_eq!(account.redeliveries(), 2, "the time is not needed");
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_says_how_many_were_sent() {
    let account = Account::open().await;
    let ids = account.fail(3).await;
    // The second call gets no answer.
    account.sandbox.next_call().of(CALL.0, CALL.1).bad_gateway();
    account.sandbox.next_call().of(CALL.0, CALL.1).hang_after();
    let mut running = account.program("redeliver --failed --yes --json").start();
    let mut line = String::new();
    let mut stdout = BufReader::new(running.stdout());
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("unknown"), "{line}");
    account.until(|| account.redeliveries() == 2);
    let stderr = running.interrupt();
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
    assert!(
        stderr.contains(
            "interrupted: of 3 deliveries, 0 accepted, 1 with an unknown outcome, 1 not sent; "
        ),
        "{stderr}"
    );
    assert!(
        stderr.contains(&format!("{} may have been sent or not", ids[1])),
        "{stderr}"
    );
    assert!(stderr.ends_with("error: interrupted\n"), "{stderr}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_closed_output_stops_the_run_and_says_so() {
    let account = Account::open().await;
    account.fail(3).await;
    let mut running = account.program("redeliver --failed --yes --json").start();
    drop(running.0.stdout.take());
    let mut stderr = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
    assert!(
        stderr.contains("standard output was closed; of 3 deliveries, 1 accepted, 2 not sent"),
        "{stderr}"
    );
}

/// Pages of failed deliveries: their ids, and the hours of their times.
fn failures(pages: Vec<Vec<(&'static str, Option<u32>)>>) -> Answers {
    Answers::start(move |_, path, body| {
        if path.ends_with("/redeliver") {
            return (202, json!({}));
        }
        let cursor = |body: &Value| {
            body["after"]
                .as_str()
                .map(|it| it.parse::<usize>().unwrap())
        };
        let at = cursor(body)
            .or_else(|| cursor(&body["page"]))
            .unwrap_or_else(|| {
                assert!(!body.to_string().contains("\"after\""), "{body}");
                0
            });
        let data: Vec<Value> = pages[at]
            .iter()
            .map(|(id, hour)| {
                let time = hour.map(|hour| format!("2026-04-15T{hour:02}:00:00Z"));
                json!({"id": id, "status": "failed", "delivered_at": time})
            })
            .collect();
        let next = (at + 1 < pages.len()).then(|| (at + 1).to_string());
        let meta = json!({"has_more": next.is_some(), "next_cursor": next});
        (200, json!({"data": data, "meta": meta}))
    })
}

fn planned(answers: &Answers, arguments: &str) -> (Vec<String>, String) {
    let folder = Folder::new();
    let ended = answers.program(&folder, &format!("{arguments} --json"));
    let ended = ended.run().with_code(0);
    let ids = lines(&ended).into_iter().map(|line| {
        let id = line.get("delivery_id").or(line.get("id")).unwrap();
        id.as_str().unwrap().to_owned()
    });
    (ids.collect(), ended.stderr)
}

#[test]
fn a_delivery_that_stands_on_two_pages_is_sent_and_listed_once() {
    let answers = failures(vec![
        vec![("c", Some(9)), ("b", Some(8))],
        vec![("b", Some(8)), ("a", Some(7))],
    ]);
    let (ids, stderr) = planned(&answers, "redeliver --failed --yes");
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(stderr.contains("of 3 deliveries, 3 accepted"), "{stderr}");
    assert_eq!(planned(&answers, "deliveries").0, ["c", "b", "a"]);
    let (ids, stderr) = planned(&answers, "deliveries --limit 3");
    assert_eq!(ids, ["c", "b", "a"]);
    assert!(!stderr.contains("there are more"), "{stderr}");
}

#[test]
fn deliveries_are_sorted_by_their_times_before_the_limit_applies() {
    let unsorted = failures(vec![
        vec![("b", Some(2)), ("d", Some(4)), ("a", Some(1))],
        vec![("e", Some(5)), ("c", Some(3))],
    ]);
    let dry = "redeliver --failed --dry-run";
    let (ids, stderr) = planned(&unsorted, dry);
    assert_eq!(ids, ["a", "b", "c", "d", "e"]);
    assert!(!stderr.contains("warning"), "{stderr}");
    let (ids, _) = planned(&unsorted, &format!("{dry} --limit 2"));
    assert_eq!(ids, ["d", "e"]);

    let without = failures(vec![vec![
        ("b", Some(2)),
        ("x", None),
        ("a", Some(1)),
        ("y", None),
    ]]);
    let (ids, stderr) = planned(&without, dry);
    assert_eq!(ids, ["y", "x", "a", "b"]);
    let warning = "warning: 2 deliveries without a readable `delivered_at`: the order is not known, \
                   taken as the oldest\n";
    assert!(stderr.contains(warning), "{stderr}");
    let (ids, stderr) = planned(&without, &format!("{dry} --limit 2"));
    assert_eq!(ids, ["a", "b"]);
    assert!(
        stderr.contains("which --limit leaves out first"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_floor_that_was_asked_for_is_kept_for_one_delivery_too() {
    let account = Account::open().await;
    let id = account.fail(1).await.remove(0);
    account.sandbox.set_quota(501);
    let ended = account
        .run(&format!("redeliver {id} --quota-floor 500"))
        .with_code(1);
    assert!(
        ended
            .stderr
            .contains("nothing was sent: 500 calls are left"),
        "{}",
        ended.stderr
    );
    assert_eq!(account.redeliveries(), 0);
    account
        .run(&format!("redeliver {id} --quota-floor 400"))
        .with_code(0);
    account.run(&format!("redeliver {id}")).with_code(0);
    assert_eq!(account.redeliveries(), 2);

    // This server does not say how many calls are left.
    let (_, stderr) = planned(&failures(vec![vec![]]), "redeliver x --quota-floor 5");
    assert!(
        stderr.contains("are not known, so it cannot be said that the floor of 5 is kept"),
        "{stderr}"
    );
}

#[test]
fn the_quota_is_read_from_a_list_that_does_not_say_whether_it_ends() {
    for meta in [json!(null), json!({"has_more": true, "next_cursor": "a"})] {
        let answers = Answers::start(move |_, path, _| match path.ends_with("/redeliver") {
            true => (202, json!({})),
            false => (200, json!({"data": [{"id": "w"}], "meta": meta})),
        });
        assert_eq!(planned(&answers, "redeliver a b --yes").0, ["a", "b"]);
        assert_eq!(planned(&answers, "redeliver a --quota-floor 5").0, ["a"]);
    }
}

#[test]
fn lists_of_a_server_that_never_ends_them_end_with_an_error() {
    let number = AtomicUsize::new(0);
    let answers = Answers::start(move |_, _, _| {
        let next = number.fetch_add(1, Ordering::SeqCst);
        let meta = json!({"has_more": true, "next_cursor": next.to_string()});
        let time = "2026-04-15T09:00:00Z";
        let record = json!({"id": next.to_string(), "status": "failed", "delivered_at": time});
        (200, json!({"data": [record], "meta": meta}))
    });
    let folder = Folder::new();
    for arguments in [
        "webhooks",
        "webhooks show production",
        "subscribe 7 market.created",
        "deliveries --since 1h",
        "redeliver --failed --dry-run",
    ] {
        let ended = answers.program(&folder, arguments).run().with_code(1);
        let part = "the list cannot be read to its end: it has more than 10";
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    let doctor = answers.program(&folder, "doctor").run().with_code(1);
    assert!(doctor.stdout.contains("1000 pages"), "{}", doctor.stdout);
}

#[tokio::test]
async fn the_floor_is_kept_while_deliveries_are_read() {
    let account = Account::open().await;
    // More than a page.
    account.fail(201).await;
    account.sandbox.set_quota(11);
    for option in ["--dry-run", "--yes"] {
        let ended = account
            .run(&format!("redeliver --failed {option} --quota-floor 10"))
            .with_code(1);
        let part = "nothing was sent: 10 calls are left";
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
        account.sandbox.set_quota(11);
    }
    assert_eq!(account.redeliveries(), 0);
}

#[test]
fn a_selection_that_is_missing_or_empty_is_named() {
    let folder = Folder::new();
    let ended = folder.program("redeliver --dry-run").run().with_code(2);
    for part in ["--failed", "ID"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    let program = folder.program_with(["redeliver", ""]);
    let ended = program.run().with_code(2);
    assert!(
        ended.stderr.contains("a value is required"),
        "{}",
        ended.stderr
    );
}
