//! A receiver on actix-web that runs as it is; see `--help`.

mod receiver;

use std::io;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::ErrorRequestTimeout;
use actix_web::http::header::{ContentType, RETRY_AFTER};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, rt, web};
use ptolemy_webhooks::{Action, Event, Payload, Rejection};
use receiver::{Receiver, Settings, misconfigured, print, word};
use tokio::time::timeout;

async fn receive(
    receiver: web::Data<Receiver>,
    event: Result<Event, Rejection>,
) -> Result<HttpResponse, Rejection> {
    let event = event.inspect_err(|rejection| receiver.log_rejection(rejection))?;
    Ok(match receiver.push(&event) {
        Ok(()) => HttpResponse::Accepted().finish(),
        Err(text) => HttpResponse::ServiceUnavailable()
            .insert_header((RETRY_AFTER, receiver::RETRY_AFTER))
            .content_type(ContentType::plaintext())
            .body(text),
    })
}

/// A placeholder for your own work, which may take longer than a request.
async fn handle(event: Event) -> io::Result<()> {
    let event_type = word(Some(event.event_type.as_str()));
    let mut line = format!("accepted {event_type} {}", word(event.id.as_deref()));
    match event.payload {
        Ok(Payload::Instrument(
            Action::Created | Action::Updated | Action::Restored,
            instrument,
        )) => line += &format!(": upsert {}", word(instrument.identifier.as_deref())),
        Ok(Payload::Instrument(Action::Archived | Action::Deleted, instrument)) => {
            line += &format!(": remove {}", word(instrument.identifier.as_deref()));
        }
        Ok(Payload::TimeSeriesValue(_, point)) => {
            line += &format!(": value {}", word(Some(point.value.as_str())));
        }
        Ok(Payload::Unknown) => line += ": unknown event type",
        // Event types and actions that this program does not use.
        Ok(_) => {}
        // A documented event type in an unknown shape; its JSON is in `event.raw`.
        Err(malformed) => line += &format!(": malformed {malformed}"),
    }
    print(line).await
}

/// Responds with 408 to a request that takes too long.
async fn limit_time<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    timeout(receiver::REQUEST_TIMEOUT, next.call(request))
        .await
        .unwrap_or_else(|_| Err(ErrorRequestTimeout("")))
}

#[actix_web::main]
async fn main() {
    let Settings { verifier, listen } = Settings::read();
    let receiver = Receiver::start(handle).unwrap_or_else(|error| misconfigured(error));
    let data = web::Data::new(receiver.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(verifier.clone())
            .app_data(data.clone())
            .wrap(from_fn(limit_time))
            .service(web::resource(receiver::PATH).route(web::post().to(receive)))
    })
    .disable_signals();
    let server = match server.bind(listen) {
        Ok(server) => server,
        Err(error) => misconfigured(format_args!("{listen}: {error}")),
    };
    receiver.announce(server.addrs().first().copied().unwrap_or(listen));
    let server = server.run();
    let (handle, stopped) = (server.handle(), receiver.stopped());
    rt::spawn(async move {
        stopped.await;
        handle.stop(true).await;
    });
    receiver.run(server).await
}
