//! The extractors behind nginx: a rejection reaches the sender unchanged, and no good delivery
//! fails because of it.
//!
//! nginx reports 502 for a response whose connection is reset while it still sends the body, and
//! sends nothing to that server for 10 s (`fail_timeout`).
#![cfg(all(unix, feature = "actix-web", feature = "axum"))]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use ptolemy_webhooks::{Delivery, Secret, Signer, Verifier};

const SECRET: &str = "whsec_test_secret";
const PATIENCE: Duration = Duration::from_secs(20);
const MEBIBYTE: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug)]
enum Framework {
    Axum,
    Actix,
}

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

/// Starts a receiver that runs until the process ends.
fn start(framework: Framework) -> SocketAddr {
    let (sender, address) = mpsc::channel();
    thread::spawn(move || match framework {
        Framework::Axum => run_axum(&sender),
        Framework::Actix => run_actix(&sender),
    });
    address.recv().unwrap()
}

fn run_axum(address: &mpsc::Sender<SocketAddr>) {
    let app = axum::Router::new()
        .route("/", axum::routing::post(|_: Delivery| async {}))
        .with_state(Verifier::new(secret()));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        address.send(listener.local_addr().unwrap()).unwrap();
        axum::serve(listener, app).await.unwrap();
    });
}

fn run_actix(address: &mpsc::Sender<SocketAddr>) {
    use actix_web::{App, HttpResponse, HttpServer, rt, web};

    let verifier = Verifier::new(secret());
    let app = move || {
        let post = web::post().to(|_: Delivery| async { HttpResponse::Ok().finish() });
        App::new()
            .app_data(verifier.clone())
            .service(web::resource("/").route(post))
    };
    let server = HttpServer::new(app).workers(2).disable_signals();
    let server = server.bind("127.0.0.1:0").unwrap();
    address.send(server.addrs()[0]).unwrap();
    rt::System::new().block_on(server.run()).unwrap();
}

/// How nginx connects to the receivers.
#[derive(Clone, Copy, Debug)]
struct Settings {
    buffers_requests: bool,
    keeps_alive: bool,
}

fn all_settings() -> impl Iterator<Item = Settings> {
    [false, true].into_iter().flat_map(|buffers_requests| {
        [false, true].map(|keeps_alive| Settings {
            buffers_requests,
            keeps_alive,
        })
    })
}

/// An nginx and its folder, which is removed with it.
struct Nginx {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Nginx {
    fn start(upstreams: &[SocketAddr], settings: Settings) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("ptolemy-proxy-{}-{number}", process::id()));
        fs::create_dir(&folder).unwrap();
        // nginx does not report which port it was given, so this one is chosen here: free, but not
        // reserved.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(&folder, address, upstreams, settings)).unwrap();
        let debian = Path::new("/usr/sbin/nginx");
        let program = if debian.exists() {
            debian
        } else {
            Path::new("nginx")
        };
        let child = Command::new(program)
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let nginx = Self {
            child,
            folder,
            address,
        };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < PATIENCE, "nginx does not start");
            thread::sleep(Duration::from_millis(10));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One process, so that killing it leaves nothing behind; otherwise the defaults, except for a
/// larger body limit.
fn configuration(
    folder: &Path,
    address: SocketAddr,
    upstreams: &[SocketAddr],
    settings: Settings,
) -> String {
    let folder = folder.display();
    let mut servers = String::new();
    for upstream in upstreams {
        writeln!(servers, "server {upstream};").unwrap();
    }
    let mut location = String::new();
    if settings.keeps_alive {
        servers.push_str("keepalive 16;");
        location.push_str("proxy_http_version 1.1; proxy_set_header Connection '';");
    }
    if !settings.buffers_requests {
        location.push_str("proxy_request_buffering off;");
    }
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            client_body_temp_path {folder}/client_body;
            proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            upstream receivers {{ {servers} }}
            server {{
                listen {address};
                client_max_body_size 20m;
                location / {{ proxy_pass http://receivers; {location} }}
            }}
        }}"
    )
}

/// Sends a request as a proxy's client does, reads while it sends, and returns the status.
fn post(address: SocketAddr, signed: Option<&[u8]>, body: Vec<u8>, is_chunked: bool) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut head = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".to_owned();
    if let Some(signed) = signed {
        let signature = Signer::new(&secret()).sign(signed);
        write!(head, "Ptolemy-Signature: {signature}\r\n").unwrap();
    }
    let body = if is_chunked {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        let size = format!("{:x}\r\n", body.len()).into_bytes();
        [size, body, b"\r\n0\r\n\r\n".to_vec()].concat()
    } else {
        write!(head, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
        body
    };
    let mut sender = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        // nginx may close once it has sent the response.
        let _ = sender.write_all(head.as_bytes());
        let _ = sender.write_all(&body);
    });
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    let _ = stream.shutdown(Shutdown::Both);
    sender.join().unwrap();
    std::str::from_utf8(&status[9..]).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs nginx"]
fn a_rejection_reaches_the_sender_whatever_the_length_of_the_body() {
    for framework in [Framework::Axum, Framework::Actix] {
        let receiver = start(framework);
        for settings in all_settings() {
            let nginx = Nginx::start(&[receiver], settings);
            for length in [MEBIBYTE / 5, MEBIBYTE + 1, 3 * MEBIBYTE, 16 * MEBIBYTE] {
                for is_chunked in [false, true] {
                    for _ in 0..5 {
                        let status =
                            |signed| post(nginx.address, signed, vec![b'x'; length], is_chunked);
                        let name = format!("{framework:?} {settings:?} {length} {is_chunked}");
                        assert_eq!(status(None), 401, "{name}");
                        let expected = if length > MEBIBYTE { 413 } else { 401 };
                        assert_eq!(status(Some(b"another body")), expected, "{name}");
                    }
                }
            }
        }
    }
}

/// Returns the statuses of six unsigned bodies of 3 MiB that are sent at the same time.
fn six_at_once(address: SocketAddr) -> Vec<u16> {
    thread::scope(|scope| {
        let senders: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| post(address, None, vec![b'x'; 3 * MEBIBYTE], false)))
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap_or(0))
            .collect()
    })
}

#[test]
#[ignore = "needs nginx"]
fn good_deliveries_beside_a_flood_of_rejected_ones_are_never_502() {
    const BODY: &[u8] = b"a good delivery";
    for framework in [Framework::Axum, Framework::Actix] {
        let receivers = [start(framework), start(framework)];
        for settings in all_settings() {
            let nginx = Nginx::start(&receivers, settings);
            let is_flooded = AtomicBool::new(true);
            let (good, flood) = thread::scope(|scope| {
                let good = scope.spawn(|| {
                    let mut statuses = Vec::new();
                    while is_flooded.load(Ordering::Relaxed) {
                        statuses.push(post(nginx.address, Some(BODY), BODY.into(), false));
                    }
                    statuses
                });
                let flood: Vec<_> = (0..5).flat_map(|_| six_at_once(nginx.address)).collect();
                is_flooded.store(false, Ordering::Relaxed);
                (good.join().unwrap(), flood)
            });
            assert_eq!(flood, [401; 30], "{framework:?} {settings:?}");
            let name = format!("{framework:?} {settings:?}: {good:?}");
            assert!(good.len() >= 5, "{name}");
            assert!(good.iter().all(|status| *status == 200), "{name}");
        }
    }
}
