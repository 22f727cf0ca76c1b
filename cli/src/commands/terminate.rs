//! The signals that end a command which runs until it is stopped.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind};

use crate::stop::Stop;

/// SIGTERM and SIGHUP, which end the command without an error.
pub(crate) struct Terminate {
    #[cfg(unix)]
    signals: [Option<Signal>; 2],
}

impl Terminate {
    /// Listens from now on.
    #[cfg(unix)]
    pub(crate) fn listen() -> Result<Self, Stop> {
        let listen = |kind, name| {
            let signal = tokio::signal::unix::signal(kind);
            signal.map_err(|error| Stop::failed(format!("could not listen to {name}: {error}")))
        };
        let terminate = listen(SignalKind::terminate(), "SIGTERM")?;
        let hangup = match is_hangup_ignored() {
            true => None,
            false => Some(listen(SignalKind::hangup(), "SIGHUP")?),
        };
        Ok(Self {
            signals: [Some(terminate), hangup],
        })
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> Result<Self, Stop> {
        Ok(Self {})
    }

    #[cfg(unix)]
    pub(crate) async fn requested(&mut self) {
        let [terminate, hangup] = &mut self.signals;
        tokio::select! {
            () = received(terminate) => {}
            () = received(hangup) => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) async fn requested(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether `nohup` started the command, which must then ignore a hangup. Only Linux shows this.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is signal 1, the lowest bit.
    mask.is_some_and(|mask| mask & 1 == 1)
}
