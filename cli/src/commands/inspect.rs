//! `inspect`: a proxy in front of a receiver, and a local page that shows what passes it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ptolemy_webhooks_inbox::Inbox;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::database;
use crate::inspect::accept;
use crate::inspect::api::PageServer;
use crate::inspect::app::{App, InboxState};
use crate::inspect::checker::{Checker, NOT_CHECKED};
use crate::inspect::forward::Forwarder;
use crate::inspect::guard::{Hosts, Token};
use crate::inspect::log::Log;
use crate::inspect::target::Target;
use crate::notice;
use crate::output::Output;
use crate::private_file::TokenFile;
use crate::receiver_url;
use crate::secret::{PreviousSecretSource, SecretSource};
use crate::since;
use crate::stop::Stop;

/// Show every delivery on a local page, with the reason of a rejection and the receiver's answer.
///
/// Listens in front of a receiver, forwards each request byte for byte, and returns the receiver's
/// answer. The page is on another port and needs the token in its printed URL. It keeps the last
/// 500 requests, at most 64 MiB, in memory; the secret and the values of Authorization and cookies
/// stay out of it. With DATABASE_URL, or DATABASE_URL_FILE, it shows the inbox too.
#[derive(Args, Debug)]
#[command(after_help = "\
Let the sender, or the tunnel that it reaches, post to port 4040. Requests go to the URL of --forward \
whatever their path is. A request is logged on standard error or, with --json, on standard output; \
Ctrl-C, SIGTERM and SIGHUP end the command. Without a secret, signatures are not checked. If \
the certificate of the receiver is not trusted, SSL_CERT_FILE can name a PEM file with its CA (not on macOS \
and Windows, where the system's own list counts).

Examples:
  ptolemy-webhooks inspect --forward http://127.0.0.1:3000/webhooks/ptolemy
  ptolemy-webhooks inspect --forward http://127.0.0.1:3000/ --port 0 --page-port 0 --json")]
pub(crate) struct Inspect {
    /// The receiver: an http or https URL
    #[arg(long, value_name = "URL")]
    forward: String,
    /// The port for the sender; 0 lets the system choose a free one
    #[arg(long, value_name = "N", default_value_t = 4040)]
    port: u16,
    /// The port of the page; 0 lets the system choose a free one
    #[arg(long, value_name = "N", default_value_t = 4041)]
    page_port: u16,
    /// The address for the sender. Other machines can reach an address other than loopback
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// The address of the page. Other machines can reach an address other than loopback
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind_page: IpAddr,
    /// How long to wait for the receiver's answer: a number and s, m, h or d
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = since::interval)]
    timeout: Duration,
    #[command(flatten)]
    secret: SecretSource,
    #[command(flatten)]
    previous: PreviousSecretSource,
}

/// The first line of the output with `--json`, when both ports are open.
#[derive(Serialize)]
struct Ready<'a> {
    kind: &'static str,
    url: &'a str,
    forward: &'a str,
    page: &'a str,
    /// The file with the URL of the page, whose token nobody else may read.
    page_url_file: &'a str,
}

impl Inspect {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Stop> {
        let url = receiver_url::parse(&self.forward)
            .map_err(|fault| Stop::usage(format!("--forward: the URL {fault}")))?;
        let checker = self.checker()?;
        let inbox = inbox().await;
        self.warn(&checker, &inbox);
        let target = Target::new(url, self.timeout)?;
        let forward = target.url().to_string();
        let (senders, sender) = accept::bind(SocketAddr::new(self.bind, self.port)).await?;
        let (pages, page) = accept::bind(SocketAddr::new(self.bind_page, self.page_port)).await?;
        target.check_addresses(&[sender, page]).await?;
        let token = Token::random()?;
        let page_url = token.url(page);
        let (log, printer) = Log::new(*output);
        let hosts = Hosts::of(page);
        let app = Arc::new(App::new(token, hosts, checker, Some(target), inbox, log));
        let _ = app.sender_url.set(format!("http://{sender}"));
        let _file = announce(output, sender, page, &page_url, &forward)?;
        let forwarder = Arc::new(Forwarder::new(Arc::clone(&app)));
        let page_server = PageServer::new(Arc::clone(&app));
        // The tasks end with the set.
        let mut serving = JoinSet::new();
        serving.spawn(accept::serve(
            senders,
            move |request| {
                let forwarder = Arc::clone(&forwarder);
                async move { forwarder.serve(request).await }
            },
            move || app.log.push_invalid(),
        ));
        serving.spawn(accept::serve(
            pages,
            move |request| {
                let page_server = page_server.clone();
                async move { page_server.serve(request).await }
            },
            || {},
        ));
        let printing = tokio::task::spawn_blocking(move || printer.run());
        // It ends early if nobody reads the output any more.
        printing.await.unwrap_or(Ok(()))
    }

    fn checker(&self) -> Result<Checker, Stop> {
        if self.secret.place()?.is_none() {
            return Ok(Checker::without_secret());
        }
        let secret = self.secret.read_as_it_is()?;
        Checker::new(secret, self.previous.read_as_it_is()?)
    }

    fn warn(&self, checker: &Checker, inbox: &InboxState) {
        if checker.secrets().is_none() {
            notice::warning(&format!(
                "{NOT_CHECKED}; set PTOLEMY_WEBHOOK_SECRET or pass --secret-file"
            ));
        } else if !checker.can_sign() {
            notice::warning("no webhook can have this secret; the page says why");
        }
        if let InboxState::Failed(fault) = inbox {
            notice::warning(&format!("the inbox is not shown: {fault}"));
        }
        for (option, address) in [("--bind", self.bind), ("--bind-page", self.bind_page)] {
            if !address.to_canonical().is_loopback() {
                notice::warning(&format!(
                    "{option} {address}: other machines can reach this port, and nothing encrypts what they \
                     send"
                ));
            }
        }
    }
}

/// Opens the inbox of the environment. A failure is shown on the page.
async fn inbox() -> InboxState {
    let url = match database::from_env() {
        Ok(None) => return InboxState::None,
        Ok(Some((url, _))) => url,
        Err(stop) => return InboxState::Failed(stop.text()),
    };
    match Inbox::open_existing(&url).await {
        Ok(inbox) => InboxState::Open(inbox),
        Err(error) => InboxState::Failed(database::not_opened(&error).text()),
    }
}

/// Prints the two addresses. The URL with the token goes to standard error, or into a file that is
/// removed when it is dropped.
fn announce(
    output: &Output,
    sender: SocketAddr,
    page: SocketAddr,
    page_url: &str,
    forward: &str,
) -> Result<Option<TokenFile>, Stop> {
    let url = format!("http://{sender}/");
    if output.is_json() {
        let file = TokenFile::write(page_url)?;
        output.object(&Ready {
            kind: "ready",
            url: &url,
            forward,
            page: &format!("http://{page}/"),
            page_url_file: file.shown(),
        })?;
        return Ok(Some(file));
    }
    notice::note(&format!("requests to {url} go to {forward}"));
    notice::note(&format!("page: {page_url}"));
    notice::note("Ctrl-C ends the command");
    Ok(None)
}
