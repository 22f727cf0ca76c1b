//! A receiver on actix-web that runs as it is; see `--help`.

mod receiver;

use std::process::ExitCode;

use actix_web::http::header::RETRY_AFTER;
use actix_web::{App, HttpResponse, HttpServer, rt, web};
use ptolemy_webhooks::{Event, Rejection};
use receiver::{Queue, Settings};
use tokio::time::timeout;

async fn receive(
    queue: web::Data<Queue>,
    event: Result<Event, Rejection>,
) -> Result<HttpResponse, Rejection> {
    let event = event.inspect_err(receiver::log_refusal)?;
    Ok(if queue.offer(event) {
        HttpResponse::Accepted().finish()
    } else {
        HttpResponse::ServiceUnavailable()
            .insert_header((RETRY_AFTER, receiver::RETRY_AFTER))
            .content_type("text/plain; charset=utf-8")
            .body(receiver::QUEUE_IS_FULL)
    })
}

#[actix_web::main]
async fn main() -> ExitCode {
    let Settings { verifier, listen } = match Settings::read() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let (queue, worker) = Queue::start();
    let data = web::Data::from(queue.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(verifier.clone())
            .app_data(data.clone())
            .route(receiver::PATH, web::post().to(receive))
    })
    .disable_signals()
    // Later than the cut below, which tells that it cuts.
    .shutdown_timeout(2 * receiver::GRACE.as_secs());
    let server = match server.bind(listen) {
        Ok(server) => server,
        Err(error) => return receiver::misconfigured(format_args!("{listen}: {error}")),
    };
    receiver::announce(server.addrs().first().copied().unwrap_or(listen));

    let server = server.run();
    let handle = server.handle();
    let server = rt::spawn(server);
    receiver::stop_signal().await;
    if timeout(receiver::GRACE, handle.stop(true)).await.is_err() {
        receiver::log_cut();
    }
    drop(server);
    queue.finish(&worker)
}
