//! Whether events look as this project assumes.

use ptolemy_webhooks::{Observation, Observations, Secret, Signer, Verifier};
use ptolemy_webhooks_client::{ApiError, Client, EventRecord};

use crate::commands::doctor::finding::Report;
use crate::stop::{Stop, chain};

/// How many events are read, in one call.
const PAGE: u32 = 50;

/// Observes the events of one page. The log of deliveries has no bodies, so they stand in for
/// those.
pub(super) async fn check(client: &Client, report: &mut Report) -> Result<(), Stop> {
    let events = match page(client).await {
        Ok(events) => events,
        Err(error) => return report.unknown("assumptions", &chain(&error), "try again"),
    };
    let observations = observe(&events);
    let observed = observations.deliveries();
    if observed == 0 {
        let fix = "run `doctor` again after the first events";
        return report.unknown("assumptions", "the workspace has no event yet", fix);
    }
    let deviations = observations.iter().filter(deviates);
    let count = deviations.count();
    let note = "whether deliveries have the same JSON as GET /events is not documented";
    if count == 0 {
        let text = format!("{observed} events are as this project assumes; {note}");
        return report.ok("assumptions", &text);
    }
    for observation in observations.iter().filter(deviates) {
        let Observation {
            assumption,
            missing,
            another_shape,
            ..
        } = observation;
        let text = format!(
            "{assumption}: missing from {missing} and of another shape in {another_shape} of {observed} \
             events of GET /events; {}",
            assumption.cost()
        );
        let fix = "deliveries may have other JSON: print `Observations` in the receiver, and report what it shows";
        report.warning("assumptions", &text, fix)?;
    }
    Ok(())
}

fn deviates(observation: &Observation) -> bool {
    observation.missing + observation.another_shape > 0
}

async fn page(client: &Client) -> Result<Vec<EventRecord>, ApiError> {
    let mut pages = client.events().list().page_size(PAGE);
    let mut events = Vec::new();
    while events.len() < PAGE as usize {
        match pages.try_next().await? {
            Some(event) => events.push(event),
            None => break,
        }
    }
    Ok(events)
}

/// Observes events as if they were delivered. Observations take deliveries, so they are signed
/// here.
fn observe(events: &[EventRecord]) -> Observations {
    let observations = Observations::new();
    let Ok(secret) = Secret::from_bytes(b"of doctor alone".as_slice()) else {
        return observations;
    };
    let signer = Signer::new(&secret);
    let verifier = Verifier::new(secret);
    for event in events {
        let body = event.raw.clone().into_bytes();
        if let Ok(delivery) = verifier.receive(signer.sign(&body), body) {
            observations.observe(&delivery);
        }
    }
    observations
}
