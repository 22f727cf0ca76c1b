//! A server in place of the API whose answers a test chooses, for what the stand-in does not do.

use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use crate::flawed_http::{read_body, read_head};
use crate::program::{Folder, Program};

pub(crate) struct Answers {
    url: String,
}

impl Answers {
    /// Answers with the status and the JSON that the function returns for a method, a path behind
    /// the workspace, and a body.
    pub(crate) fn start(
        answer: impl Fn(&str, &str, &Value) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(&connection, &*answer));
            }
        });
        Self { url }
    }

    pub(crate) fn program<'a>(&self, folder: &'a Folder, arguments: &str) -> Program<'a> {
        folder
            .program(arguments)
            .variable("PTOLEMY_API_URL", &self.url)
            .variable(
                "PTOLEMY_API_TOKEN",
                "ptk_live_0123456789abcdef0123456789abcdef",
            )
            .variable("PTOLEMY_WORKSPACE", "acme-capital")
    }
}

fn serve(connection: &TcpStream, answer: &dyn Fn(&str, &str, &Value) -> (u16, Value)) {
    let mut reader = BufReader::new(connection);
    let Some(Ok(head)) = read_head(&mut reader) else {
        return;
    };
    let Some(body) = read_body(&mut reader, &head) else {
        return;
    };
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let path = head.target.split("/acme-capital").nth(1);
    let (status, json) = answer(&head.method, path.unwrap_or(&head.target), &body);
    let json = json.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{json}",
        json.len()
    );
    // The tool may have been interrupted.
    let _ = (&*connection).write_all(answer.as_bytes());
}
