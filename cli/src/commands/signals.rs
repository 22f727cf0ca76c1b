//! The signals that end a command: Ctrl-C and, on Unix, SIGTERM and SIGHUP.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind};

use crate::stop::{Code, Stop};

/// The signals that end a command.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
    /// `None` if a hangup is ignored.
    #[cfg(unix)]
    hangup: Option<Signal>,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on.
    pub(crate) fn listen(is_service: bool) -> Result<Self, Stop> {
        let listen = |kind, name| {
            let signal = tokio::signal::unix::signal(kind);
            signal.map_err(|error| Stop::failed(format!("could not listen to {name}: {error}")))
        };
        // Where this is not known, a command that takes long may run under `nohup`. A service has
        // files to remove.
        let hangup = match is_hangup_ignored().unwrap_or(!is_service) {
            true => None,
            false => Some(listen(SignalKind::hangup(), "SIGHUP")?),
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt(), "Ctrl-C")?,
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            hangup,
        })
    }

    /// Waits for the first signal, and returns its exit code.
    pub(crate) async fn received(mut self) -> Code {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Code::Interrupted,
            _ = self.terminate.recv() => Code::Terminated,
            _ = hangup => Code::HungUp,
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    /// Ctrl-C is listened to from the first poll of [`received`](Self::received) on.
    pub(crate) fn listen(_is_service: bool) -> Result<Self, Stop> {
        Ok(Self {})
    }

    pub(crate) async fn received(self) -> Code {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Code::Interrupted,
            // The system ends the command without notes then.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Whether `nohup` started the command, which must then ignore a hangup; `None` where the system
/// does not show it: only Linux does.
#[cfg(unix)]
fn is_hangup_ignored() -> Option<bool> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is signal 1, the lowest bit.
    mask.map(|mask| mask & 1 == 1)
}
