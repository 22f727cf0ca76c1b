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

/// Whether these tests run under `nohup`, and so the programs that they start: a hangup then ends
/// none.
pub(crate) fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    mask.is_some_and(|mask| mask & 1 == 1)
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
