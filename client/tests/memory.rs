//! Memory while a server sends endlessly, measured on this process, which does nothing else.
#![cfg(target_os = "linux")]

use std::fs;
use std::time::{Duration, Instant};

use ptolemy_webhooks_client::{ApiErrorKind, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const MIB: usize = 1024 * 1024;

fn peak_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap()
        * 1024
}

/// Sends the head, and then 10 GB or until the client stops reading.
async fn endless(head: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(head.as_bytes()).await;
            for _ in 0..10_000 * MIB / 0x10000 {
                if stream.write_all(&chunk).await.is_err() {
                    break;
                }
            }
        }
    });
    url
}

#[tokio::test]
async fn a_body_of_10_gb_is_read_to_the_limit_and_not_further() {
    let begin = Instant::now();
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    for (head, kind) in [
        (
            format!("HTTP/1.1 200 OK\r\n{chunked}"),
            ApiErrorKind::TooLarge,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n".to_owned(),
            ApiErrorKind::TooLarge,
        ),
        (
            format!("HTTP/1.1 500 Oops\r\n{chunked}"),
            ApiErrorKind::Server,
        ),
        ("HTTP/1.1 200 OK\r\nx: ".to_owned(), ApiErrorKind::Broken),
    ] {
        let url = endless(head).await;
        let client = Client::builder("ptk_live_0", "acme")
            .url(url)
            .attempts(1)
            .build()
            .unwrap();
        let error = client.webhooks().list().try_next().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().is_none_or(|text| text.len() <= 64 * 1024));
    }
    let (peak, time) = (peak_bytes() / MIB, begin.elapsed());
    println!("peak {peak} MiB in {time:?}");
    assert!(peak < 160, "{peak} MiB");
    assert!(time < Duration::from_secs(30), "{time:?}");
}
