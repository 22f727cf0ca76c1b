//! The thread on which a sandbox runs.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::oneshot;

use crate::server;
use crate::state::Shared;

/// A thread with a tokio runtime, on which all tasks of one sandbox run.
///
/// The sandbox works while the runtime of a test is blocked, its timers do not follow a test's
/// paused clock, and dropping the runtime ends every task and closes every socket before `drop`
/// returns. The thread never waits for anything outside itself, so joining it ends at once.
pub(crate) struct Engine {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    stopped: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    pub(crate) fn start(listener: TcpListener, shared: Arc<Shared>) -> io::Result<Self> {
        let (ready, started) = mpsc::sync_channel(1);
        let (stop, stopping) = oneshot::channel();
        let (finished, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("ptolemy-sandbox".to_owned())
            .spawn(move || {
                // The runtime is built on its own thread, because it must not be dropped in a task
                // of another runtime, as it would be after an error.
                let (runtime, listener) = match runtime(listener) {
                    Ok(built) => built,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                let _ = ready.send(Ok(runtime.handle().clone()));
                runtime.block_on(async move {
                    tokio::select! {
                        // An error means that the sender was dropped: stop too.
                        _ = stopping => {}
                        never = server::serve(listener, shared) => match never {},
                    }
                });
                // This ends all tasks, and does not wait for a name that is being resolved.
                runtime.shutdown_background();
                let _ = finished.send(());
            })?;
        let handle = started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the sandbox's thread has ended")))?;
        Ok(Self {
            handle,
            stop: Some(stop),
            stopped: Some(stopped),
            thread: Some(thread),
        })
    }

    /// Runs a future on the thread, and returns what it returns.
    #[expect(clippy::panic, reason = "propagates a panic, or reports a bug")]
    pub(crate) async fn run<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        match self.handle.spawn(future).await {
            Ok(output) => output,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => panic!("the sandbox's thread has ended"),
        }
    }

    /// Ends all tasks and closes all sockets.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(stopped) = self.stopped.take() {
            let _ = stopped.await;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Builds the runtime of a sandbox, and registers its listener there.
fn runtime(listener: TcpListener) -> io::Result<(Runtime, tokio::net::TcpListener)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _guard = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    Ok((runtime, listener))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::settings::Settings;
    use crate::state::State;

    #[tokio::test]
    async fn a_listener_that_cannot_be_registered_is_an_error() {
        // A file cannot be polled, so the error occurs after the runtime was built.
        let file = File::open(env!("CARGO_MANIFEST_PATH")).unwrap();
        let listener = TcpListener::from(OwnedFd::from(file));
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared::new(State::new(Settings::new(), 7)));
        assert!(Engine::start(listener, shared).is_err());
    }
}
