//! A TCP proxy in front of a server, which counts round trips, and can forget its connections as a
//! firewall does, lead to another server, and stop.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) struct Proxy {
    address: SocketAddr,
    server: Arc<Mutex<String>>,
    /// How often its connections were forgotten.
    forgot: watch::Sender<u32>,
    cut: Cut,
    round_trips: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// What happens to a connection after the server was sent a text.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// It is silently no longer forwarded.
    Forgotten,
    Closed,
}

/// The next text after which a connection is cut.
type Cut = Arc<Mutex<Option<(&'static str, Then)>>>;

impl Proxy {
    /// Starts it in front of the server of this URL; returns it and the URL through it.
    pub(crate) async fn before(url: &str) -> (Self, String) {
        let (start, rest) = url.split_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (forgot, _) = watch::channel(0);
        let server = Arc::new(Mutex::new(server.to_owned()));
        let (round_trips, cut) = (Arc::default(), Cut::default());
        let serve = serve(
            listener,
            server.clone(),
            forgot.clone(),
            cut.clone(),
            Arc::clone(&round_trips),
        );
        let proxy = Self {
            address,
            server,
            forgot,
            cut,
            round_trips,
            task: tokio::spawn(serve),
        };
        (proxy, format!("{start}@{address}/{database}"))
    }

    /// Silently stops forwarding on the open connections; new ones work.
    pub(crate) fn forget_connections(&self) {
        self.forgot.send_modify(|forgot| *forgot += 1);
    }

    /// Cuts the connection on which the server is sent this text next.
    pub(crate) fn cut_after(&self, text: &'static str, then: Then) {
        *self.cut.lock().unwrap() = Some((text, then));
    }

    /// Whether that has happened.
    pub(crate) fn has_cut(&self) -> bool {
        self.cut.lock().unwrap().is_none()
    }

    /// How often a client has sent something since the server's last answer.
    pub(crate) fn round_trips(&self) -> usize {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// Lets new connections lead to the server of this URL.
    pub(crate) fn lead_to(&self, url: &str) {
        let (_, rest) = url.split_once('@').unwrap();
        let (server, _) = rest.split_once('/').unwrap();
        *self.server.lock().unwrap() = server.to_owned();
    }

    /// Closes everything, as a stopped server does.
    pub(crate) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Starts it again, at the same address.
    pub(crate) async fn start(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (server, forgot) = (self.server.clone(), self.forgot.clone());
        let (cut, round_trips) = (self.cut.clone(), self.round_trips.clone());
        let serve = serve(listener, server, forgot, cut, round_trips);
        self.task = tokio::spawn(serve);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    server: Arc<Mutex<String>>,
    forgot: watch::Sender<u32>,
    cut: Cut,
    round_trips: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = server.lock().unwrap().clone();
        let (cut, round_trips) = (cut.clone(), round_trips.clone());
        connections.spawn(forward(
            client,
            server,
            forgot.subscribe(),
            cut,
            round_trips,
        ));
    }
}

async fn forward(
    mut client: TcpStream,
    server: String,
    mut forgot: watch::Receiver<u32>,
    cut: Cut,
    round_trips: Arc<AtomicUsize>,
) {
    let Ok(mut server) = TcpStream::connect(&server).await else {
        return;
    };
    tokio::select! {
        _ = copy(&mut client, &mut server, &cut, &round_trips) => {}
        // Both sides stay open, for longer than any test.
        _ = forgot.changed() => tokio::time::sleep(Duration::from_secs(600)).await,
    }
}

/// Copies in both directions until one side closes, and counts how often the client begins to send.
async fn copy(
    client: &mut TcpStream,
    server: &mut TcpStream,
    cut: &Cut,
    round_trips: &AtomicUsize,
) -> io::Result<()> {
    let (mut asks, mut answers) = ([0; 16 * 1024], [0; 16 * 1024]);
    let mut answered = true;
    loop {
        tokio::select! {
            read = client.read(&mut asks) => match read? {
                0 => return server.shutdown().await,
                read => {
                    round_trips.fetch_add(usize::from(answered), Ordering::Relaxed);
                    answered = false;
                    server.write_all(&asks[..read]).await?;
                    match then(cut, &asks[..read]) {
                        None => {}
                        Some(Then::Forgotten) => tokio::time::sleep(Duration::from_secs(600)).await,
                        Some(Then::Closed) => return Ok(()),
                    }
                }
            },
            read = server.read(&mut answers) => match read? {
                0 => return client.shutdown().await,
                read => {
                    answered = true;
                    client.write_all(&answers[..read]).await?;
                }
            },
        }
    }
}

/// Returns what happens now that this was sent; once.
fn then(cut: &Cut, sent: &[u8]) -> Option<Then> {
    let mut cut = cut.lock().unwrap();
    let (text, then) = (*cut)?;
    let found = sent.windows(text.len()).any(|part| part == text.as_bytes());
    found.then(|| {
        *cut = None;
        then
    })
}
