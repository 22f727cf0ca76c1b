//! A receiver with TLS, whose certificate an unknown CA has signed.
//!
//! The CA was made for these tests with OpenSSL, is valid from 2020 to 2120, and its own key was
//! thrown away.

use std::io::{BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::flawed_http::{read_body, read_head};

/// The certificate of the CA, for `SSL_CERT_FILE`.
pub(crate) const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/ca.pem");

const CERTIFICATE: &[u8] = include_bytes!("../tls/server.pem");
const KEY: &[u8] = include_bytes!("../tls/server.key");

/// Starts a receiver that answers 204 on threads that end with the process, and returns its URL.
pub(crate) fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config());
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let server = ServerConnection::new(Arc::clone(&config)).unwrap();
            thread::spawn(move || {
                let mut reader = BufReader::new(StreamOwned::new(server, connection));
                while let Some(Ok(head)) = read_head(&mut reader) {
                    if read_body(&mut reader, &head).is_none() {
                        return;
                    }
                    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                    if reader.get_mut().write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("https://localhost:{port}/hook")
}

fn config() -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE);
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}
