//! A TCP proxy in front of a server, which can forget its connections as a firewall does.

use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct Proxy {
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
        let task = tokio::spawn(serve(listener, server.to_owned(), forgot.clone()));
        let proxy = Self { forgot, task };
        (proxy, format!("{start}@{address}/{database}"))
    }

    /// Forwards nothing more on the connections that are open, and tells neither side; new ones work.
    pub(crate) fn forget_connections(&self) {
        self.forgot.send_modify(|forgot| *forgot += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: String, forgot: watch::Sender<u32>) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let target = target.clone();
        let mut forgot = forgot.subscribe();
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(&target).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                // Both sides stay open, for longer than any test.
                _ = forgot.changed() => tokio::time::sleep(Duration::from_secs(600)).await,
            }
        });
    }
}
