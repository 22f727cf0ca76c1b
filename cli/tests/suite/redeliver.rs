//! `redeliver`: one and many, plan, limits, outcomes.

use std::io::{BufRead as _, BufReader, Read as _};

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::Shape;
use serde_json::json;

use crate::management::{Account, lines};

const CALL: (&str, &str) = ("POST", "/webhook-deliveries/{id}/redeliver");

#[tokio::test]
async fn one_delivery_is_sent_without_a_question() {
    let account = Account::open().await;
    let id = account.fail(1).await.remove(0);
    let ended = account.run(&format!("redeliver {id} --json")).with_code(0);
    assert_eq!(lines(&ended), [json!({"id": id, "outcome": "accepted"})]);
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
        .map(|id| json!({"id": id, "outcome": "planned"}))
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
    assert_eq!(lines(&ended)[0]["status"], 500);
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
        json!({"id": "e", "outcome": "failed", "status": 404})
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
    assert_eq!(lines(&ended), [json!({"id": id, "outcome": "unknown"})]);
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
