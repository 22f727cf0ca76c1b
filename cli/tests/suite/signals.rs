//! Signals to programs that run, and their ends.
#![cfg(unix)]

use std::io::Read as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{Folder, Running};

/// Ten times what the slowest end takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The signals that end a command, their exit codes, and the last line of its messages.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, i32, &'static str)> {
    [
        ("INT", 130, "error: interrupted\n"),
        ("TERM", 143, "error: interrupted by SIGTERM\n"),
        ("HUP", 129, "error: interrupted by SIGHUP\n"),
    ]
    .into_iter()
    .filter(|(signal, ..)| *signal != "HUP" || !is_hangup_ignored())
}

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

#[test]
fn a_signal_ends_a_command_whose_output_nobody_reads() {
    let folder = Folder::new();
    for (signal, code, _) in all() {
        let program = folder.program("send --print --count 1000000");
        let program = program.variable("PTOLEMY_WEBHOOK_SECRET", "whsec_test_secret");
        let mut running = program.start();
        // Far more than this is on its way, and the pipe is full soon.
        let mut stdout = running.0.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 1024]).unwrap();
        thread::sleep(Duration::from_millis(200));
        send(&running, signal);
        assert_eq!(exit_code(&mut running), Some(code), "{signal}");
    }
}
