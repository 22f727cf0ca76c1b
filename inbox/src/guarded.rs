//! Runs code that is not this crate's, such as a handler or the `Display` of its error, so that a
//! panic in it ends there.

use std::any::Any;
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Calls it; returns the text of the panic if it panics.
///
/// State that it may leave half-changed must not be used afterwards.
pub(crate) fn guard<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(text_of)
}

/// Returns the text of a panic, or `-` if it has none.
pub(crate) fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("-").to_owned();
    // A payload may have a `Drop` that panics, and so may the payload of that panic: it is leaked.
    if let Err(another) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        forget(another);
    }
    text
}

/// A future whose panics end here, including those of its `Drop`.
pub(crate) struct Guarded<F> {
    /// `None` once it has ended.
    future: Option<Pin<Box<F>>>,
}

impl<F> Guarded<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Some(Box::pin(future)),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let future = self.future.take();
        guard(|| drop(future))
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        let result = match guard(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => self.end().map(|()| output),
            Err(panic) => {
                let _another = self.end();
                Err(panic)
            }
        };
        Poll::Ready(result)
    }
}

impl<F> Drop for Guarded<F> {
    fn drop(&mut self) {
        let _panic = self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::panic::resume_unwind;

    use super::*;

    /// Panics when it is dropped, with another one.
    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            resume_unwind(Box::new(Self));
        }
    }

    #[test]
    fn a_panic_has_its_text_and_a_payload_that_panics_when_dropped_is_leaked() {
        let panicked = |payload| guard(|| resume_unwind(payload));
        assert_eq!(panicked(Box::new("a")), Err::<(), _>("a".to_owned()));
        assert_eq!(panicked(Box::new("b".to_owned())), Err("b".to_owned()));
        assert_eq!(panicked(Box::new(7)), Err("-".to_owned()));
        assert_eq!(panicked(Box::new(PanicsOnDrop)), Err("-".to_owned()));
        assert_eq!(guard(|| 7), Ok(7));
    }

    #[tokio::test]
    async fn a_future_that_panics_when_polled_or_dropped_ends_with_the_text_of_its_panic() {
        let polled = Guarded::new(async { resume_unwind(Box::new("polled")) });
        assert_eq!(polled.await, Err::<(), _>("polled".to_owned()));

        struct ReadyAndPanicsOnDrop;
        impl Future for ReadyAndPanicsOnDrop {
            type Output = u8;
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u8> {
                Poll::Ready(7)
            }
        }
        impl Drop for ReadyAndPanicsOnDrop {
            fn drop(&mut self) {
                resume_unwind(Box::new("dropped"));
            }
        }
        let ended = Guarded::new(ReadyAndPanicsOnDrop).await;
        assert_eq!(ended, Err("dropped".to_owned()));

        let task = tokio::spawn(Guarded::new(async {
            let _panics = PanicsOnDrop;
            pending::<()>().await;
        }));
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(Guarded::new(async { 7 }).await, Ok(7));
    }
}
