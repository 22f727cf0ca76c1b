//! A client that shares no code with the sandbox: HTTP as text, over a socket.

use std::io;
use std::time::Duration;

use ptolemy_webhooks_sandbox::Sandbox;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub(crate) fn address(sandbox: &Sandbox) -> String {
    sandbox
        .url()
        .trim_start_matches("http://")
        .trim_end_matches("/v1")
        .to_owned()
}

/// Calls `path`, relative to the workspace, with a token.
pub(crate) async fn call_as(
    sandbox: &Sandbox,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let path = format!("/v1/workspaces/{}{path}", sandbox.workspace());
    raw(&address(sandbox), token, method, &path, body.as_bytes()).await
}

/// Calls `path` with the Admin's token, and expects an answer.
pub(crate) async fn call(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> Answer {
    call_as(sandbox, sandbox.token(), method, path, body)
        .await
        .unwrap()
}

pub(crate) async fn raw(
    address: &str,
    token: &str,
    method: &str,
    path: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(String::from_utf8(answer).unwrap())
    };
    let text = tokio::time::timeout(Duration::from_secs(2), exchange)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// Creates a webhook, and returns its id and secret.
pub(crate) async fn create(sandbox: &Sandbox, url: &str) -> (String, String) {
    let body = serde_json::json!({ "url": url }).to_string();
    let created = call(sandbox, "POST", "/webhooks", &body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let text = |name: &str| created.json()[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}
