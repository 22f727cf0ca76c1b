//! The receivers of the core's examples pass all of `check`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::examples::example;
use crate::program::Folder;

const SECRET: &str = "whsec_a3f9b2c1d4e5f6a7b8c9d0e1";

/// An example as a process, which is killed at the end.
struct Receiver {
    child: Child,
    url: String,
}

impl Receiver {
    fn start(name: &str) -> Self {
        let mut child = Command::new(example(name))
            .env("PTOLEMY_WEBHOOK_SECRET", SECRET)
            .env("PTOLEMY_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        // Reads on, so that the receiver never waits for its log.
        thread::spawn(move || errors.read_to_end(&mut Vec::new()));
        let url = line.trim().strip_prefix("listening on ");
        let url = url.unwrap_or_else(|| panic!("{name}: {line}")).to_owned();
        Self { child, url }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn passes_whole(name: &str) {
    let receiver = Receiver::start(name);
    let folder = Folder::new();
    let program = folder.program(&format!("check {} --rate 1000 --hostile", receiver.url));
    let ended = program
        .variable("PTOLEMY_WEBHOOK_SECRET", SECRET)
        .run()
        .with_code(0);
    let results = ended.stdout.lines().skip(1);
    let others: Vec<_> = results.filter(|line| !line.starts_with("pass ")).collect();
    assert_eq!(others, [""; 0], "{}", ended.stderr);
    assert!(ended.stdout.lines().count() > 100);
}

#[test]
fn the_receiver_on_axum_passes() {
    passes_whole("axum_receiver");
}

#[test]
fn the_receiver_on_actix_web_passes() {
    passes_whole("actix_receiver");
}

#[test]
fn the_receiver_on_hyper_passes() {
    passes_whole("hyper_receiver");
}
