//! A TCP proxy in front of a server, which can forget its connections as a firewall does, lead to another
//! server, and stop.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) struct Proxy {
    address: SocketAddr,
    server: Arc<Mutex<String>>,
    /// How often its connections were forgotten.
    forgot: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts it in front of the server of this URL; returns it and the URL through it.
    pub(crate) async fn before(url: &str) -> (Self, String) {
        let (start, rest) = url.split_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (forgot, _) = watch::channel(0);
        let server = Arc::new(Mutex::new(server.to_owned()));
        let task = tokio::spawn(serve(listener, server.clone(), forgot.clone()));
        let proxy = Self {
            address,
            server,
            forgot,
            task,
        };
        (proxy, format!("{start}@{address}/{database}"))
    }

    /// Forwards nothing more on the connections that are open, and tells neither side; new ones work.
    pub(crate) fn forget_connections(&self) {
        self.forgot.send_modify(|forgot| *forgot += 1);
    }

    /// Lets new connections lead to the server of this URL.
    pub(crate) fn lead_to(&self, url: &str) {
        let (_, rest) = url.split_once('@').unwrap();
        let (server, _) = rest.split_once('/').unwrap();
        *self.server.lock().unwrap() = server.to_owned();
    }

    /// Closes everything, as a server does that is stopped.
    pub(crate) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Starts it again, at the same address.
    pub(crate) async fn start(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let serve = serve(listener, self.server.clone(), self.forgot.clone());
        self.task = tokio::spawn(serve);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: Arc<Mutex<String>>, forgot: watch::Sender<u32>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = server.lock().unwrap().clone();
        connections.spawn(forward(client, server, forgot.subscribe()));
    }
}

async fn forward(mut client: TcpStream, server: String, mut forgot: watch::Receiver<u32>) {
    let Ok(mut server) = TcpStream::connect(&server).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        // Both sides stay open, for longer than any test.
        _ = forgot.changed() => tokio::time::sleep(Duration::from_secs(600)).await,
    }
}
