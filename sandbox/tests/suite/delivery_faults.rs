//! Every fault of a delivery, by name.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Log, Outcome, Retries, Sandbox, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::call;
use crate::receiver::{Receiver, raw_receiver, receiver};

/// Emits one event and settles.
async fn emitted(sandbox: &Sandbox) -> Log {
    sandbox.emit(samples::instrument_created()).await;
    sandbox.settle().await
}

fn outcomes(log: &Log) -> Vec<Outcome> {
    let attempts = log.deliveries()[0].attempts();
    attempts.iter().map(|attempt| attempt.outcome()).collect()
}

/// Asserts that the first attempt was rejected with a code, and that the retry was accepted.
fn assert_rejected_once(log: &Log, receiver: &Receiver, code: &str) {
    assert_eq!(receiver.seen.rejections(), [code]);
    assert_eq!(
        outcomes(log),
        [Outcome::Answered(401), Outcome::Answered(204)]
    );
    assert_eq!((log.attempts(), receiver.seen.handled()), (2, 1));
}

#[tokio::test]
async fn lose_answer() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().lose_answer();
    let log = emitted(&sandbox).await;
    assert_eq!((log.attempts(), receiver.seen.handled()), (2, 1));
    assert_eq!(receiver.seen.accepted(), 2);
    assert_eq!(
        outcomes(&log),
        [Outcome::AnswerLost(204), Outcome::Answered(204)]
    );
    assert_eq!(
        log.deliveries()[0].attempts()[0].fault(),
        Some("lose_answer")
    );
}

#[tokio::test]
async fn slow_and_drip() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    for drip in [false, true] {
        let time = Duration::from_millis(200);
        if drip {
            sandbox.next_delivery().drip(time);
        } else {
            sandbox.next_delivery().slow(time);
        }
        let begun = Instant::now();
        emitted(&sandbox).await;
        assert!(begun.elapsed() >= time, "{:?}", begun.elapsed());
    }
    assert_eq!(receiver.seen.handled(), 2);
    let sandbox = Sandbox::builder()
        .attempt_timeout(Duration::from_millis(700))
        .start()
        .await
        .unwrap();
    let receiver = crate::receiver::receiver(&sandbox).await;
    sandbox.next_delivery().slow(Duration::from_secs(5));
    let log = emitted(&sandbox).await;
    assert_eq!(outcomes(&log), [Outcome::TimedOut, Outcome::Answered(204)]);
    assert_eq!(receiver.seen.handled(), 1);
}

#[tokio::test]
async fn break_off() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().break_off();
    let log = emitted(&sandbox).await;
    assert_eq!(outcomes(&log), [Outcome::BrokenOff, Outcome::Answered(204)]);
    assert_eq!((receiver.seen.accepted(), receiver.seen.handled()), (1, 1));
    let (url, requests) = raw_receiver("").await;
    sandbox.register(&url).await;
    sandbox.next_deliveries(2).break_off();
    sandbox.emit_json("0123456789").await;
    let request = loop {
        if let Some(request) = requests.lock().unwrap().first() {
            break String::from_utf8(request.clone()).unwrap();
        }
        tokio::task::yield_now().await;
    };
    assert!(request.ends_with("\r\n\r\n01234"), "{request}");
}

#[tokio::test]
async fn duplicate_now() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    receiver.seen.take_a_while();
    sandbox.next_delivery().duplicate();
    sandbox.emit(samples::instrument_created()).await;
    assert_eq!(receiver.seen.most_at_once.load(Ordering::SeqCst), 2);
    let log = sandbox.settle().await;
    assert_eq!(
        (
            log.attempts(),
            receiver.seen.accepted(),
            receiver.seen.handled()
        ),
        (2, 2, 1)
    );
    assert_eq!(log.deliveries().len(), 1);
}

#[tokio::test]
async fn duplicate_later() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox
        .next_delivery()
        .duplicate_later(Duration::from_secs(3600));
    sandbox.emit(samples::instrument_created()).await;
    assert_eq!(sandbox.log().deliveries()[0].status(), Status::Succeeded);
    sandbox.advance(Duration::from_secs(3599)).await;
    assert_eq!(receiver.seen.accepted(), 1);
    sandbox.advance(Duration::from_secs(1)).await;
    assert_eq!((receiver.seen.accepted(), receiver.seen.handled()), (2, 1));
}

#[tokio::test]
async fn hold() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().hold(Duration::from_secs(3600));
    sandbox
        .emit(samples::instrument_created().with_id("first"))
        .await;
    sandbox
        .emit(samples::instrument_updated().with_id("second"))
        .await;
    sandbox.settle().await;
    let bodies = receiver.seen.bodies.lock().unwrap();
    assert!(
        bodies[0].contains("second") && bodies[1].contains("first"),
        "{bodies:?}"
    );
}

#[tokio::test]
async fn reorder() {
    for complete in [true, false] {
        let sandbox = Sandbox::start().await;
        let receiver = receiver(&sandbox).await;
        sandbox.reorder_deliveries(if complete { 3 } else { 4 });
        for id in ["1", "2", "3"] {
            sandbox
                .emit(samples::instrument_created().with_id(id))
                .await;
        }
        assert_eq!(receiver.seen.accepted(), if complete { 3 } else { 0 });
        sandbox.settle().await;
        let bodies = receiver.seen.bodies.lock().unwrap();
        let ids: String = bodies.iter().map(|body| &body[7..8]).collect();
        assert_eq!(ids, "321");
    }
}

#[tokio::test]
async fn burst() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    receiver.seen.take_a_while();
    sandbox.burst_deliveries(20);
    for _ in 0..20 {
        assert_eq!(receiver.seen.accepted(), 0);
        sandbox.emit(samples::instrument_created()).await;
    }
    assert_eq!(receiver.seen.handled(), 20);
    assert_eq!(receiver.seen.most_at_once.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn wrong_secret() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().wrong_secret();
    let log = emitted(&sandbox).await;
    assert_rejected_once(&log, &receiver, "signature_mismatch");
}

#[tokio::test]
async fn previous_secret_and_both_secrets() {
    let sandbox = Sandbox::builder()
        .retries(Retries::new().attempts(1))
        .start()
        .await
        .unwrap();
    let receiver = receiver(&sandbox).await;
    let path = format!("/webhooks/{}/rotate-secret", receiver.registration.id());
    call(&sandbox, "POST", &path, "").await;
    // The receiver knows only the secret from before the rotation.
    emitted(&sandbox).await;
    assert_eq!(receiver.seen.rejections(), ["signature_mismatch"]);
    sandbox.next_delivery().previous_secret();
    emitted(&sandbox).await;
    sandbox.next_delivery().both_secrets();
    emitted(&sandbox).await;
    assert_eq!(receiver.seen.rejections().len(), 1);
    assert_eq!(receiver.seen.accepted(), 2);
    let (url, requests) = raw_receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    sandbox.register(&url).await;
    sandbox.next_deliveries(2).both_secrets();
    emitted(&sandbox).await;
    let request = String::from_utf8(requests.lock().unwrap()[0].clone()).unwrap();
    assert_eq!(request.matches(",v1=").count(), 2, "{request}");
    assert_eq!(request.matches("t=").count(), 1, "{request}");
}

#[tokio::test]
async fn tampered() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().tampered();
    let log = emitted(&sandbox).await;
    assert_rejected_once(&log, &receiver, "signature_mismatch");
}

#[tokio::test]
async fn stale_future_and_milliseconds() {
    for (fault, code) in [
        ("stale", "timestamp_too_old"),
        ("future", "timestamp_too_far_ahead"),
        ("milliseconds", "timestamp_too_far_ahead"),
    ] {
        let sandbox = Sandbox::start().await;
        let receiver = receiver(&sandbox).await;
        match fault {
            "stale" => sandbox.next_delivery().stale(),
            "future" => sandbox.next_delivery().future(),
            _ => sandbox.next_delivery().milliseconds(),
        }
        let log = emitted(&sandbox).await;
        assert_rejected_once(&log, &receiver, code);
    }
}

#[tokio::test]
async fn no_header_and_header_twice() {
    for (twice, code) in [(false, "missing_header"), (true, "repeated_header")] {
        let sandbox = Sandbox::start().await;
        let receiver = receiver(&sandbox).await;
        if twice {
            sandbox.next_delivery().header_twice();
        } else {
            sandbox.next_delivery().no_header();
        }
        let log = emitted(&sandbox).await;
        assert_rejected_once(&log, &receiver, code);
    }
}

#[tokio::test]
async fn large_body() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().large_body(1024 * 1024);
    let log = emitted(&sandbox).await;
    assert_eq!(outcomes(&log), [Outcome::Answered(204)]);
    assert_eq!(receiver.seen.bodies.lock().unwrap()[0].len(), 1024 * 1024);
    sandbox.next_delivery().large_body(1024 * 1024 + 1);
    sandbox.emit(samples::instrument_created()).await;
    assert_eq!(receiver.seen.rejections(), ["body_too_large"]);
}

#[tokio::test]
async fn planned_faults_are_used_up_in_order() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().no_header();
    sandbox.next_deliveries(2).tampered();
    let log = emitted(&sandbox).await;
    assert_eq!(log.attempts(), 4);
    let expected = ["missing_header", "signature_mismatch", "signature_mismatch"];
    assert_eq!(receiver.seen.rejections(), expected);
}

#[tokio::test]
async fn a_fault_with_a_probability_repeats_with_the_seed() {
    let mut counts = Vec::new();
    for _ in 0..2 {
        let sandbox = Sandbox::builder().seed(7).start().await.unwrap();
        let receiver = receiver(&sandbox).await;
        sandbox.random_deliveries(0.3).lose_answer();
        for _ in 0..50 {
            sandbox.emit(samples::instrument_created()).await;
        }
        let log = sandbox.settle().await;
        assert_eq!(receiver.seen.handled(), 50);
        counts.push(log.attempts());
    }
    assert_eq!(counts[0], counts[1]);
    assert!((55..110).contains(&counts[0]), "{counts:?}");
}

#[tokio::test]
async fn a_copy_uses_up_no_fault() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox
        .next_delivery()
        .duplicate_later(Duration::from_secs(60));
    sandbox.emit(samples::instrument_created()).await;
    sandbox.next_delivery().tampered();
    sandbox.settle().await;
    assert_eq!(
        (receiver.seen.accepted(), receiver.seen.rejections().len()),
        (2, 0)
    );
    sandbox.emit(samples::instrument_created()).await;
    assert_eq!(receiver.seen.rejections(), ["signature_mismatch"]);
}

#[tokio::test]
async fn a_copy_that_fails_changes_nothing() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox
        .next_delivery()
        .duplicate_later(Duration::from_secs(60));
    sandbox.emit(samples::instrument_created()).await;
    receiver.seen.fail_next(1);
    let log = sandbox.settle().await;
    assert_eq!(log.attempts(), 2);
    assert_eq!(log.deliveries()[0].status(), Status::Succeeded);
}

#[tokio::test]
async fn milliseconds_are_signed_as_they_are_sent() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let sandbox = Sandbox::start().await;
    let (url, requests) = raw_receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let registration = sandbox.register(&url).await;
    sandbox.next_delivery().milliseconds();
    sandbox.emit_json("{}").await;
    let request = String::from_utf8(requests.lock().unwrap()[0].clone()).unwrap();
    let header = request.lines().find(|line| line.contains(",v1=")).unwrap();
    let (t, tag) = header
        .split_once("t=")
        .unwrap()
        .1
        .split_once(",v1=")
        .unwrap();
    assert_eq!(t.len(), 13, "{header}");
    let mut mac =
        Hmac::<sha2::Sha256>::new_from_slice(registration.secret_text().as_bytes()).unwrap();
    mac.update(format!("{t}.{{}}").as_bytes());
    let tag = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap());
    mac.verify_slice(&tag.collect::<Vec<u8>>()).unwrap();
}

/// Accepts one delivery, and returns how many bytes of its body came with each read.
async fn pieces(plan: impl FnOnce(&Sandbox)) -> Vec<usize> {
    let sandbox = Sandbox::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    sandbox.register(url).await;
    plan(&sandbox);
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut request, mut pieces) = (Vec::with_capacity(4096), Vec::new());
        while !request.ends_with(b"!") {
            let before = request.len();
            stream.read_buf(&mut request).await.unwrap();
            pieces.push(request.len() - before);
        }
        stream.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.unwrap();
        // The first piece begins with the head.
        let head = request
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .unwrap()
            + 4;
        pieces[0] -= head;
        pieces
    };
    let body = format!("{}!", "x".repeat(199));
    tokio::join!(receive, sandbox.emit_json(body)).0
}

#[tokio::test]
async fn a_slow_body_comes_late_and_whole_and_a_dripping_one_in_pieces() {
    let time = Duration::from_millis(400);
    let slow = pieces(|sandbox| sandbox.next_delivery().slow(time)).await;
    assert_eq!(slow, [0, 200]);
    let drip = pieces(|sandbox| sandbox.next_delivery().drip(time)).await;
    assert!(drip.len() > 5, "{drip:?}");
    assert_eq!(drip.iter().sum::<usize>(), 200);
}

#[tokio::test]
async fn the_largest_body_is_bounded() {
    let sandbox = Sandbox::start().await;
    let receiver = receiver(&sandbox).await;
    sandbox.next_delivery().large_body(usize::MAX);
    let log = emitted(&sandbox).await;
    assert_eq!(log.deliveries()[0].attempts().len(), 2);
    assert_eq!(receiver.seen.handled(), 1);
}

#[tokio::test]
async fn a_probability_is_a_number_from_0_to_1() {
    let sandbox = Sandbox::start().await;
    for probability in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        let planned = std::panic::AssertUnwindSafe(|| {
            sandbox.random_deliveries(probability).tampered();
        });
        std::panic::catch_unwind(planned).unwrap_err();
    }
    sandbox.random_deliveries(1.0).lose_answer();
}
