//! A receiver that records requests and answers with a status.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// The values of the signature headers.
    pub(crate) signatures: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// A receiver on its own threads, which end with the process.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Endpoint {
    /// A receiver whose answer a function chooses.
    pub(crate) fn start(answer: impl Fn(&Request) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let seen = Arc::clone(&requests);
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || serve(connection, &seen, &*answer));
            }
        });
        Self { url, requests }
    }

    pub(crate) fn answering(status: u16) -> Self {
        Self::start(move |_| status)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Answers one request, and closes the connection. A request that is cut off is not answered.
fn serve(connection: TcpStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> u16) {
    let mut reader = BufReader::new(&connection);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line == "\r\n" => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let values = |name: &str| {
        let headers = lines.iter().filter_map(|line| line.split_once(": "));
        let named = headers.filter(|(header, _)| header.eq_ignore_ascii_case(name));
        named
            .map(|(_, value)| value.to_owned())
            .collect::<Vec<String>>()
    };
    let length = values("content-length").first().map(|it| it.parse());
    let mut body = vec![0; length.unwrap_or(Ok(0)).unwrap()];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let request = Request {
        path: lines[0].split(' ').nth(1).unwrap().to_owned(),
        signatures: values("ptolemy-signature"),
        body,
    };
    let status = answer(&request);
    seen.lock().unwrap().push(request);
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    // The sender may have closed the connection.
    let _ = (&connection).write_all(answer.as_bytes());
}
