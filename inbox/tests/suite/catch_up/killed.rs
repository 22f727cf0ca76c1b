//! Runs in separate processes: killed at random moments and continued, and measured.

use std::env;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ptolemy_webhooks_client::Client;
use ptolemy_webhooks_inbox::{Inbox, MissingReason};
use ptolemy_webhooks_sandbox::Sandbox;
use time::OffsetDateTime;
use tokio::process::{Child, Command};

use super::scene::{Mode, Scene};
use crate::database::{Database, on_both_engines};

on_both_engines! {
    a_process_that_is_killed_at_any_moment_is_continued_by_the_next
    missed_events_of_each_kind_are_brought_or_counted
}

/// Starts a process that catches up with the scene's webhook.
fn start(scene: &Scene<'_>) -> Child {
    command(&scene.database.url())
        .env("CATCH_UP_API", scene.sandbox.url())
        .env("CATCH_UP_TOKEN", scene.sandbox.token())
        .env("CATCH_UP_WORKSPACE", scene.sandbox.workspace())
        .env("CATCH_UP_WEBHOOK", &scene.webhook)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// This program again, with the one test that catches up if the environment names a database.
fn command(database: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "catch_up::killed::a_process_catches_up_with_an_inbox_that_is_there",
            "--nocapture",
        ])
        .env("CATCH_UP_DATABASE", database)
        .kill_on_drop(true);
    command
}

/// As a test it starts itself with a database that does not exist. With the database of another
/// test that started it, it catches up.
#[tokio::test]
async fn a_process_catches_up_with_an_inbox_that_is_there() {
    if let Ok(database) = env::var("CATCH_UP_DATABASE") {
        return catch_up(&database).await;
    }
    let nowhere = env::temp_dir().join("ptolemy-nowhere/inbox.db");
    let mut command = command(&format!("sqlite://{}", nowhere.display()));
    let ended = command.stdin(Stdio::null()).output().await.unwrap();
    assert!(!ended.status.success());
}

async fn catch_up(database: &str) {
    let inbox = Inbox::open_existing(database).await.unwrap();
    let [api, token, workspace, webhook] = ["API", "TOKEN", "WORKSPACE", "WEBHOOK"]
        .map(|name| env::var(format!("CATCH_UP_{name}")).unwrap());
    let client = Client::builder(token, workspace).url(api).build().unwrap();
    let now = OffsetDateTime::now_utc();
    let begun = Instant::now();
    let catch_up = inbox.catch_up(&client, webhook).quota_floor(0);
    let catch_up = catch_up.since(now - time::Duration::hours(1)).until(now);
    let plan = catch_up.plan().await.unwrap();
    let planned = begun.elapsed();
    let report = plan.run().await.unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find(|line| line.starts_with("VmHWM"));
    println!(
        "FIGURES redelivered {} missing {} unreachable {} calls {} plan {planned:?} all {:?} {}",
        report.redelivered,
        report.missing_events,
        report.unreachable_events,
        report.calls,
        begun.elapsed(),
        memory.unwrap_or_default(),
    );
}

/// `CATCH_UP_KILLS` says how often; 10 times unless set.
async fn a_process_that_is_killed_at_any_moment_is_continued_by_the_next(database: &Database) {
    let scene = Scene::new(database).await;
    let kills = env::var("CATCH_UP_KILLS").ok();
    let kills: u32 = kills.map_or(10, |kills| kills.parse().unwrap());
    let (mut events, mut ended) = (0, 0);
    for kill in 0..kills {
        scene.set(Mode::Down);
        for number in 0..20 {
            scene.emit(&format!("{kill}-{number}")).await;
        }
        scene.set(Mode::Up);
        events += 20;
        let mut child = start(&scene);
        let moment = Duration::from_micros(fastrand::u64(0..1_500_000));
        match tokio::time::timeout(moment, child.wait()).await {
            Ok(status) => {
                assert!(status.unwrap().success());
                ended += 1;
            }
            Err(_) => child.kill().await.unwrap(),
        }
        // As if a minute had passed.
        let past = database.time(-1);
        let sql = format!(
            "UPDATE ptolemy_inbox_catch_up SET lease_until = {past} WHERE lease_until IS NOT NULL"
        );
        database.execute(&sql).await;
    }
    let arrived = scene.events().await;
    let report = scene.run(scene.since_an_hour()).await;
    // A kill between a try and its call can use up tries, which a person gives back.
    let used_up = |why| matches!(why, MissingReason::NotArrived { tries: 3, .. });
    assert!(
        report.missing.iter().all(|event| used_up(event.why)),
        "{report:?}"
    );
    println!(
        "{kills} kills, {ended} ended before, {arrived} of {events} arrived before, {} used up",
        report.missing_events
    );
    let report = scene.run(scene.since_an_hour().retry_missing()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((scene.events().await, scene.repeated().await), (events, 0));
}

/// Missed events, of which a tenth was handled before and a tenth never had a delivery.
/// `CATCH_UP_EVENTS` says how many; 100 unless set. The figures are printed.
async fn missed_events_of_each_kind_are_brought_or_counted(database: &Database) {
    let tenth =
        env::var("CATCH_UP_EVENTS").map_or(10, |events| events.parse::<usize>().unwrap() / 10);
    let scene = Scene::with(database, Sandbox::builder().keep(20_000)).await;
    scene.outage(tenth, 8 * tenth).await;
    let webhooks = scene.client.webhooks();
    let off = ptolemy_webhooks_client::WebhookChanges::new().deactivate();
    webhooks.update(&*scene.webhook, off).await.unwrap();
    for number in 0..tenth {
        scene.emit(&format!("off-{number}")).await;
    }
    let on = ptolemy_webhooks_client::WebhookChanges::new().activate();
    webhooks.update(&*scene.webhook, on).await.unwrap();
    let output = start(&scene).wait_with_output().await.unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let figures = text.lines().find(|line| line.contains("FIGURES")).unwrap();
    println!("{figures}");
    let expected = format!("redelivered {} missing 0 unreachable {tenth}", 8 * tenth);
    assert!(figures.contains(&expected), "{figures}");
    assert_eq!(
        (scene.events().await, scene.repeated().await),
        (i64::try_from(9 * tenth).unwrap(), 0)
    );
}
