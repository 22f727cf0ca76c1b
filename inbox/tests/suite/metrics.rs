//! The metrics of an inbox on a real database; `worker::metered` has all of them over a store in
//! memory.

use std::time::Duration;

use metrics_util::debugging::DebuggingRecorder;
use ptolemy_webhooks::Event;
use ptolemy_webhooks_inbox::{Failure, Inbox, sqlx};
use sqlx::Executor as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::database::Database;
use crate::delivery;

// `worker::metered` compares with the table.
#[allow(dead_code)]
#[path = "../../../tests/suite/metrics/table.rs"]
mod table;
use table::{Series, series};

fn value(series: &Series, name: &str) -> f64 {
    series.get(name).map_or(0.0, |it| it.value)
}

fn errors(series: &Series, class: &str) -> f64 {
    let name = format!("ptolemy_inbox_database_errors_total{{class={class}}}");
    value(series, &name)
}

/// Returns the metrics that are recorded while this runs, in a runtime with one thread, since the
/// recorder belongs to a thread.
async fn recorded(run: impl Future<Output = ()>) -> Series {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _local = metrics::set_default_local_recorder(&recorder);
    run.await;
    series(&snapshotter)
}

async fn accepts_attempts_and_states_are_recorded(database: &Database) {
    let inbox = database.inbox().await;
    let series = recorded(async {
        for id in ["done", "fails", "dies", "waits", "done"] {
            inbox.accept(&delivery::event(id)).await.unwrap();
        }
        let handler = |event: Event, _| async move {
            match event.id.as_deref() {
                Some("fails") => Err(Failure::retry_in(Duration::from_secs(600), "e")),
                Some("dies") => Err(Failure::permanent("e")),
                Some("waits") => Err(Failure::postpone(Duration::from_secs(600), "e")),
                _ => Ok(()),
            }
        };
        inbox.worker().run_until_idle(handler).await;
        inbox.accept(&delivery::event("due")).await.unwrap();
        let stats = inbox.record_stats().await.unwrap();
        assert_eq!((stats.due, stats.waiting(), stats.dead), (1, 3, 1));
    })
    .await;
    assert_eq!(
        value(&series, "ptolemy_inbox_accepts_total{outcome=new}"),
        5.0
    );
    assert_eq!(
        value(&series, "ptolemy_inbox_accepts_total{outcome=duplicate}"),
        1.0
    );
    for (state, events) in [
        ("due", 1.0),
        ("retrying", 1.0),
        ("postponed", 1.0),
        ("blocked", 0.0),
        ("running", 0.0),
        ("dead", 1.0),
    ] {
        let name = format!("ptolemy_inbox_events{{state={state}}}");
        assert_eq!(value(&series, &name), events, "{state}");
    }
    for outcome in ["succeeded", "failed", "postponed"] {
        let attempts = format!(
            "ptolemy_inbox_attempts_total{{event_type=instrument.updated,outcome={outcome}}}"
        );
        let expected = if outcome == "failed" { 2.0 } else { 1.0 };
        assert_eq!(value(&series, &attempts), expected, "{outcome}");
    }
    let deaths = "ptolemy_inbox_deaths_total{event_type=instrument.updated}";
    assert_eq!(value(&series, deaths), 1.0);
    assert_eq!(value(&series, "ptolemy_inbox_retries_total{}"), 1.0);
    for class in [
        "connection",
        "busy",
        "full",
        "read_only",
        "timeout",
        "other",
    ] {
        assert_eq!(errors(&series, class), 0.0, "{class}");
    }
}

#[tokio::test]
async fn accepts_attempts_and_states_are_recorded_on_sqlite() {
    accepts_attempts_and_states_are_recorded(&Database::sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn accepts_attempts_and_states_are_recorded_on_postgres() {
    accepts_attempts_and_states_are_recorded(&Database::postgres().await).await;
}

#[tokio::test]
async fn errors_of_sqlite_have_their_class() {
    let database = Database::sqlite().await;
    drop(database.inbox().await);
    let Database::Sqlite { file, .. } = &database else {
        unreachable!()
    };
    let options = SqliteConnectOptions::new().filename(file);
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect_with(options).await.unwrap();
    let inbox = Inbox::from_sqlite_pool(pool.clone()).await.unwrap();
    for (pragma, class) in [
        ("PRAGMA query_only = ON", "read_only"),
        ("PRAGMA query_only = OFF; PRAGMA max_page_count = 1", "full"),
    ] {
        pool.execute(pragma).await.unwrap();
        let series = recorded(async {
            let filler = "x".repeat(100_000);
            let body = format!(r#"{{"event_type":"a.b","data":{{"f":"{filler}"}}}}"#);
            inbox.accept(&delivery::of(&body)).await.unwrap_err();
        })
        .await;
        assert_eq!(errors(&series, class), 1.0, "{series:?}");
        assert_eq!(
            value(&series, "ptolemy_inbox_accepts_total{outcome=unavailable}"),
            1.0
        );
    }
    pool.close().await;
    let series = recorded(async { drop(inbox.stats().await.unwrap_err()) }).await;
    assert_eq!(errors(&series, "connection"), 1.0, "{series:?}");
}

#[tokio::test]
async fn a_sqlite_file_that_was_removed_is_an_error_of_the_connection() {
    let database = Database::sqlite().await;
    let inbox = database.inbox().await;
    let Database::Sqlite { file, .. } = &database else {
        unreachable!()
    };
    let away = file.with_extension("away");
    std::fs::rename(file, &away).unwrap();
    let series = recorded(async { drop(inbox.stats().await.unwrap_err()) }).await;
    assert_eq!(errors(&series, "connection"), 1.0, "{series:?}");
    assert_eq!(errors(&series, "other"), 0.0, "{series:?}");
    std::fs::rename(&away, file).unwrap();
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn errors_of_postgres_have_their_class() {
    let database = Database::postgres().await;
    let inbox = database.inbox().await;
    for (code, class) in [
        ("53100", "full"),
        ("40001", "busy"),
        ("25006", "read_only"),
        ("42P01", "other"),
        ("57P01", "connection"),
    ] {
        let fail = format!(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
                 $$BEGIN RAISE EXCEPTION SQLSTATE '{code}'; END$$;
             CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON ptolemy_inbox
                 FOR EACH ROW EXECUTE FUNCTION fail()"
        );
        database.execute(&fail).await;
        let series = recorded(async {
            inbox.accept(&delivery::event(code)).await.unwrap_err();
        })
        .await;
        // Those of the connection are counted once, after the tries on new ones.
        assert_eq!(errors(&series, class), 1.0, "{code}: {series:?}");
    }
}

#[test]
fn the_list_of_buckets_and_its_table_have_each_histogram_of_the_page() {
    let listed = table::buckets_in(ptolemy_webhooks_inbox::histogram_buckets());
    assert_eq!(listed, table::buckets_of(&table::rows("ptolemy_")));
    assert_eq!(listed.len(), 5);
}
