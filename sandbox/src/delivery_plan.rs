//! Faults that a test plans for the next deliveries.

use std::time::Duration;

use crate::delivery_fault::{DeliveryFault, When};
use crate::state::Shared;

/// The next deliveries, for which a fault can be planned.
///
/// Each method plans one fault. A fault belongs to one POST: the first attempt of a delivery, a
/// retry or a redelivery. Planned faults are used up in the order in which they were planned, one
/// per POST; [`hold`](Self::hold) is separate, for first attempts only.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use ptolemy_webhooks_sandbox::Sandbox;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let sandbox = Sandbox::start().await;
/// sandbox.next_delivery().lose_answer();
/// sandbox.next_deliveries(3).slow(Duration::from_millis(200));
/// sandbox.random_deliveries(0.1).duplicate(); // one in ten, from the seed
/// # }
/// ```
#[derive(Clone, Copy)]
#[must_use = "a plan does nothing until a fault is chosen"]
pub struct NextDeliveries<'a> {
    shared: &'a Shared,
    when: When,
}

impl<'a> NextDeliveries<'a> {
    pub(crate) fn new(shared: &'a Shared, when: When) -> Self {
        Self { shared, when }
    }

    /// The receiver answers, and the answer is lost: the attempt has failed, and is made again.
    pub fn lose_answer(self) {
        self.plan(DeliveryFault::LoseAnswer);
    }

    /// Waits this long, on the host's clock, between the head and the body.
    pub fn slow(self, delay: Duration) {
        self.plan(DeliveryFault::Slow(delay));
    }

    /// Sends the body in small pieces, over this time on the host's clock.
    pub fn drip(self, time: Duration) {
        self.plan(DeliveryFault::Drip(time));
    }

    /// Closes the connection after half of the body.
    pub fn break_off(self) {
        self.plan(DeliveryFault::BreakOff);
    }

    /// Sends the delivery twice at the same time.
    pub fn duplicate(self) {
        self.plan(DeliveryFault::Duplicate);
    }

    /// Sends the delivery again after this time on the virtual clock, even if it has succeeded.
    pub fn duplicate_later(self, delay: Duration) {
        self.plan(DeliveryFault::DuplicateLater(delay));
    }

    /// Makes the first attempt only after this time on the virtual clock.
    pub fn hold(self, delay: Duration) {
        self.plan(DeliveryFault::Hold(delay));
    }

    /// Signs with a secret that the receiver does not have.
    pub fn wrong_secret(self) {
        self.plan(DeliveryFault::WrongSecret);
    }

    /// Signs with the secret before the last rotation; if there was none, with one that the
    /// receiver does not have.
    pub fn previous_secret(self) {
        self.plan(DeliveryFault::PreviousSecret);
    }

    /// Signs with the previous secret and the current one, as two `v1` of one header.
    pub fn both_secrets(self) {
        self.plan(DeliveryFault::BothSecrets);
    }

    /// Changes one byte of the body after it was signed.
    pub fn tampered(self) {
        self.plan(DeliveryFault::Tampered);
    }

    /// Signs with a time ten minutes in the past.
    pub fn stale(self) {
        self.plan(DeliveryFault::Stale);
    }

    /// Signs with a time ten minutes in the future.
    pub fn future(self) {
        self.plan(DeliveryFault::Future);
    }

    /// Signs with milliseconds as `t`.
    pub fn milliseconds(self) {
        self.plan(DeliveryFault::Milliseconds);
    }

    /// Sends no signature header.
    pub fn no_header(self) {
        self.plan(DeliveryFault::NoHeader);
    }

    /// Sends the signature header twice.
    pub fn header_twice(self) {
        self.plan(DeliveryFault::HeaderTwice);
    }

    /// Sends the same JSON followed by white space, so that the body has this many bytes: at most
    /// 16 MiB.
    pub fn large_body(self, bytes: usize) {
        self.plan(DeliveryFault::LargeBody(bytes));
    }

    fn plan(self, fault: DeliveryFault) {
        self.shared.lock().delivery_faults.plan(fault, self.when);
    }
}
