//! Signals to programs that run, and their ends.
#![cfg(unix)]

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::program::Running;

/// Ten times what the slowest end takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends a signal, such as `INT`.
pub(crate) fn send(running: &Running<'_>, signal: &str) {
    let id = running.0.id().to_string();
    let mut kill = Command::new("kill");
    let sent = kill.args([&format!("-{signal}"), &id]).status().unwrap();
    assert!(sent.success());
}

/// Waits for the end of a program, and returns its exit code.
pub(crate) fn exit_code(running: &mut Running<'_>) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = running.0.try_wait().unwrap() {
            return status.code();
        }
        assert!(begin.elapsed() < LIMIT, "it did not end within {LIMIT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
