//! TLS to PostgreSQL, with the feature `tls`.

use std::path::PathBuf;
use std::process::Command;

use ptolemy_webhooks_inbox::{Accepted, ConnectErrorKind, Inbox};

use crate::database::Database;
use crate::delivery;

struct Server(PathBuf);

impl Server {
    fn run(&self, action: &str) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
        let output = Command::new(script).arg(action).arg(&self.0).output();
        let output = output.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{action}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("stop");
    }
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_server_is_reached_through_tls_and_its_certificate_checked() {
    let name = format!("ptolemy-tls-{}", std::process::id());
    let server = Server(std::env::temp_dir().join(name));
    let url = server.run("start-tls");
    let database = Database::on_server(&url).await;
    let certificate = server.0.join("server.crt");
    let root = certificate.display();

    for parameters in [
        "sslmode=require".to_owned(),
        format!("sslmode=verify-full&sslrootcert={root}"),
    ] {
        let url = format!("{}?{parameters}", database.url());
        let inbox = Inbox::connect(&url).await.unwrap();
        let delivery = delivery::event(&parameters);
        assert_eq!(inbox.accept(&delivery).await.unwrap(), Accepted::New);
        let sessions = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                        WHERE ssl AND datname = current_database() AND query LIKE '%COMMIT%'";
        assert!(database.number(sessions).await > 0, "{parameters}");
    }
    // It is not signed by a root that Mozilla trusts.
    let url = format!("{}?sslmode=verify-full", database.url());
    let error = Inbox::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), &ConnectErrorKind::Unavailable);
    assert!(format!("{error:?}").contains("certificate"), "{error:?}");
}
