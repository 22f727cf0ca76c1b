//! One test under every shape.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::builder::Builder;
use crate::sandbox::Sandbox;
use crate::shape::Shape;

/// Runs a test under the default shape, under each [`Shape`] alone, and under all of them together,
/// each time with a new sandbox. [`Builder::every_shape`] does the same with other settings.
///
/// A receiver passes it if it does not depend on the assumptions that the shapes change: it
/// extracts a `Delivery`, stores it, and does not fail for an event that it cannot decode. A
/// receiver that extracts an `Event` answers with 422 under [`Shape::BareResource`], whose bodies
/// do not name their event type. Under [`Shape::NoEventId`] too, a receiver may handle an event
/// twice: if it is sent again with other bytes, nothing shows that it is the same event.
///
/// # Panics
///
/// Panics if the test panics. The message names the shape and the seed.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks::samples;
/// use ptolemy_webhooks_sandbox::every_shape;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// every_shape(|sandbox| async move {
///     sandbox.register("http://127.0.0.1:9/").await; // your receiver
///     sandbox.emit(samples::instrument_created()).await;
///     assert_eq!(sandbox.settle().await.deliveries().len(), 1);
/// })
/// .await;
/// # }
/// ```
pub async fn every_shape<F, Fut>(test: F)
where
    F: Fn(Sandbox) -> Fut,
    Fut: Future<Output = ()>,
{
    Sandbox::builder().every_shape(test).await;
}

impl Builder {
    /// Runs a test under the shapes of this builder, and under each [`Shape`] and all of them in
    /// addition. See the function [`every_shape`].
    ///
    /// # Panics
    ///
    /// Panics if the test panics, or if a sandbox cannot be started. The message names the shape
    /// and the seed.
    #[expect(clippy::panic, reason = "documented, for tests")]
    pub async fn every_shape<F, Fut>(mut self, test: F)
    where
        F: Fn(Sandbox) -> Fut,
        Fut: Future<Output = ()>,
    {
        let seed = *self.settings.seed.get_or_insert_with(|| fastrand::u64(..));
        let alone = Shape::ALL.iter().map(|shape| (shape.name(), vec![*shape]));
        let runs = [("default", Vec::new())]
            .into_iter()
            .chain(alone)
            .chain([("all", Shape::ALL.to_vec())]);
        for (name, shapes) in runs {
            let sandbox = match self.clone().shapes(shapes).start().await {
                Ok(sandbox) => sandbox,
                Err(error) => panic!("under the shape {name} (seed {seed}): {error}"),
            };
            if let Err(cause) = caught(|| test(sandbox)).await {
                panic!("under the shape {name} (seed {seed}): {}", text(&*cause));
            }
        }
    }
}

/// Runs a future until it ends or panics.
async fn caught<Fut>(start: impl FnOnce() -> Fut) -> Result<(), Box<dyn Any + Send>>
where
    Fut: Future<Output = ()>,
{
    // After a panic only its message is used, so no inconsistent state is visible.
    let mut future = pin!(catch_unwind(AssertUnwindSafe(start))?);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
            Err(cause) => Poll::Ready(Err(cause)),
        },
    )
    .await
}

fn text(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<&str>().copied();
    text.or_else(|| cause.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("the test panicked")
}
