//! The senders of deliveries.

use std::sync::Arc;
use std::time::Duration;

use ptolemy_webhooks::Delivery;
use tokio::time::{Instant, sleep, timeout};

use super::run::Run;
use super::world::{Plan, lock};
use crate::accept::Accept;
use crate::accepted::Accepted;
use crate::store::fake::REJECTED_KEY;

impl Run {
    /// Accepts a delivery beside one that the store rejects.
    pub(super) async fn accepts_in_time(&self, number: usize) {
        let (key, delivery) = self.delivery(1_000 + number, 1_000 + number);
        let (place, began) = (number % 2, Instant::now());
        let (answer, rejected) = tokio::join!(
            self.accept(place, &key, &delivery),
            self.accept(place, REJECTED_KEY, &delivery)
        );
        let in_time = began.elapsed() <= Duration::from_secs(1);
        if answer != Some(true) || rejected != Some(false) || !in_time {
            let wrong = "(4) an accept failed although nothing goes wrong";
            self.world.wrong(wrong);
        }
    }

    /// Sends one delivery until it is acknowledged or the sender stops retrying.
    pub(super) async fn client(self: Arc<Self>, number: usize) {
        let world = self.world.clone();
        let most = u64::try_from(world.setup.trouble.as_millis()).unwrap_or(u64::MAX);
        sleep(world.millis(0..=most)).await;
        // Some deliveries are repetitions of others.
        let key = if world.chance(20) { number / 2 } else { number };
        let (key, delivery) = self.delivery(key, number);
        for _ in 0..world.draw(|rng| rng.u32(1..=4)) {
            let place = world.draw(|rng| rng.usize(..2));
            if self.accept(place, &key, &delivery).await == Some(true) && !world.chance(10) {
                return;
            }
            sleep(world.millis(0..=3_000)).await;
        }
    }

    fn delivery(&self, key: usize, number: usize) -> (String, Delivery) {
        let world = &self.world;
        let key = if number < 1_000 && world.chance(5) {
            REJECTED_KEY.to_owned()
        } else {
            format!("e{key}")
        };
        let resource = world.draw(|rng| rng.u32(..4));
        let id = if resource > 0 {
            format!(r#""id":"{resource}","#)
        } else {
            String::new()
        };
        let body = match world.plan(&key) {
            Plan::Unreadable if number.is_multiple_of(2) => "[]".to_owned(),
            Plan::Unreadable => market(&format!(r#"{id}"name":7"#)),
            _ => market(&format!(r#"{id}"name":"m""#)),
        };
        let header = world.signer.sign(body.as_bytes());
        (key, world.verifier.receive(header, body).unwrap())
    }

    /// One accept, which may be dropped and dies with its process. Returns whether it was
    /// acknowledged, or `None` if there was no answer.
    async fn accept(&self, place: usize, key: &str, delivery: &Delivery) -> Option<bool> {
        let (world, limit) = (&self.world, self.world.setup.accept_limit);
        let patience = if !world.is_quiet() && world.chance(10) {
            world.millis(0..=1_000)
        } else {
            limit * 2
        };
        let began = Instant::now();
        let accept = {
            let place = lock(&self.places[place]);
            let process = place.as_ref()?;
            let (inbox, delivery) = (process.inbox.clone(), delivery.clone());
            let with = Accept::new().key(key);
            let accept = async move { timeout(patience, inbox.accept_with(&delivery, with)).await };
            let accept = tokio::spawn(accept);
            lock(&process.accepts).push(accept.abort_handle());
            accept
        };
        let answer = accept.await.ok()?;
        if began.elapsed() > limit + Duration::from_millis(5) {
            world.wrong(format!("an accept took {:?}", began.elapsed()));
        }
        let accepted = match answer {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(_)) => return Some(false),
            Err(_) => return None,
        };
        self.acknowledged(key.to_owned(), accepted);
        Some(true)
    }

    fn acknowledged(&self, key: String, accepted: Accepted) {
        let world = &self.world;
        let rows = world.store.rows();
        let rows = rows.iter().filter(|row| row.arrival.key == key).count();
        if rows == 0 {
            world.wrong(format!("(1) {key} is acknowledged and not in the store"));
        }
        let mut acknowledged = lock(&world.acknowledged);
        let new = acknowledged.entry(key).or_default();
        *new += usize::from(accepted == Accepted::New);
        // It is new again after its row was pruned.
        if *new > rows {
            world.wrong("(5) an event was new twice");
        }
    }
}

fn market(data: &str) -> String {
    format!(r#"{{"event_type":"market.created","data":{{{data}}}}}"#)
}
