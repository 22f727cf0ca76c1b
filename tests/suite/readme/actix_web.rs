use actix_web::{App, HttpResponse, HttpServer, web};
use ptolemy_webhooks::{Action, Event, Instrument, Payload, Verifier};

async fn receive(event: Event) -> HttpResponse {
    match event.payload {
        Ok(Payload::Instrument(
            Action::Created | Action::Updated | Action::Restored,
            instrument,
        )) => upsert(&instrument),
        Ok(Payload::Instrument(Action::Archived | Action::Deleted, instrument)) => {
            remove(&instrument);
        }
        Ok(Payload::TimeSeriesValue(_, point)) => println!("{}", point.value),
        // An event type that this version does not know: its JSON is in `event.raw`.
        Ok(Payload::Unknown) => eprintln!("unknown: {}", event.event_type),
        // Event types and actions that you did not ask for.
        Ok(_) => {}
        // A documented event type in an unknown shape.
        Err(malformed) => eprintln!("{malformed}"),
    }
    HttpResponse::NoContent().finish()
}

fn upsert(instrument: &Instrument) {
    println!("upsert {:?}", instrument.identifier); // your database
}

fn remove(instrument: &Instrument) {
    println!("remove {:?}", instrument.identifier);
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/webhooks/ptolemy").route(web::post().to(receive)));
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let verifier = Verifier::from_env()?; // PTOLEMY_WEBHOOK_SECRET
    let app = move || App::new().app_data(verifier.clone()).configure(routes);
    Ok(HttpServer::new(app).bind("127.0.0.1:3000")?.run().await?)
}
