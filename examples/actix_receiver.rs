//! A receiver on actix-web that runs as it is; see `--help`.

mod receiver;

use std::process::ExitCode;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::ErrorRequestTimeout;
use actix_web::http::header::RETRY_AFTER;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, rt, web};
use ptolemy_webhooks::{Event, Rejection};
use receiver::{Queue, Settings, Stop};
use tokio::time::timeout;

async fn receive(
    queue: web::Data<Queue>,
    event: Result<Event, Rejection>,
) -> Result<HttpResponse, Rejection> {
    let event = event.inspect_err(receiver::log_refusal)?;
    Ok(match queue.offer(event) {
        Ok(()) => HttpResponse::Accepted().finish(),
        Err(reason) => HttpResponse::ServiceUnavailable()
            .insert_header((RETRY_AFTER, receiver::RETRY_AFTER))
            .content_type("text/plain; charset=utf-8")
            .body(reason),
    })
}

/// Gives a request up that takes too long.
async fn limit_time<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    timeout(receiver::REQUEST_TIMEOUT, next.call(request))
        .await
        .unwrap_or_else(|_| Err(ErrorRequestTimeout("")))
}

#[actix_web::main]
async fn main() -> ExitCode {
    let Settings { verifier, listen } = match Settings::read() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let queue = Queue::start();
    let stop = match Stop::listen(queue.clone()) {
        Ok(stop) => stop,
        Err(error) => return receiver::misconfigured(error),
    };
    let data = web::Data::from(queue.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(verifier.clone())
            .app_data(data.clone())
            .wrap(from_fn(limit_time))
            .service(web::resource(receiver::PATH).route(web::post().to(receive)))
    })
    .disable_signals()
    .shutdown_timeout(receiver::GRACE.as_secs());
    let server = match server.bind(listen) {
        Ok(server) => server,
        Err(error) => return receiver::misconfigured(format_args!("{listen}: {error}")),
    };
    receiver::announce(server.addrs().first().copied().unwrap_or(listen));

    let server = server.run();
    let handle = server.handle();
    let server = rt::spawn(server);
    stop.requested().await;
    let begin = Instant::now();
    handle.stop(true).await;
    if begin.elapsed() >= receiver::GRACE {
        receiver::log_cut();
    }
    if let Ok(Err(error)) = server.await {
        receiver::log_error(error);
    }
    queue.finish()
}
