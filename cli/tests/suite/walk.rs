//! The walk in the README: its commands are run as they stand there, and print what stands there.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::examples::example;
use crate::program::{Folder, assert_no_secret};

const README: &str = include_str!("../../README.md");

/// Ten times what a step takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// What is typed and printed in one terminal.
struct Block {
    /// The name of a terminal of its own, in which the last command runs on.
    terminal: Option<String>,
    steps: Vec<Step>,
}

struct Step {
    /// Empty for a block that shows what a terminal prints later.
    command: String,
    output: Vec<String>,
}

/// The blocks of the walk.
fn blocks() -> Vec<Block> {
    let (_, walk) = README.split_once("\n## A walk in ten commands\n").unwrap();
    let walk = walk.split("\n## ").next().unwrap();
    let mut blocks = Vec::new();
    let mut terminal = None;
    let mut lines = walk.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("<!-- terminal: ") {
            terminal = name.strip_suffix(" -->").map(str::to_owned);
        } else if line == "```console" || line == "```text" {
            let body = lines.by_ref().take_while(|line| *line != "```");
            blocks.push(Block {
                terminal: terminal.take(),
                steps: steps(body),
            });
        }
    }
    blocks
}

fn steps<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in lines {
        let command = line.strip_prefix("$ ");
        if command.is_some() || steps.is_empty() {
            steps.push(Step {
                command: command.unwrap_or_default().to_owned(),
                output: Vec::new(),
            });
        }
        if command.is_none() {
            steps.last_mut().unwrap().output.push(line.to_owned());
        }
    }
    steps
}

/// A shell, which keeps its variables from one command to the next.
struct Shell {
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Shell {
    fn start(folder: &Path) -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_ptolemy-webhooks"));
        let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
        let mut child = Command::new("sh")
            .env_clear()
            .env("PATH", path)
            .env("HOME", folder)
            .env("TMPDIR", folder)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (out, lines) = (child.stdout.take().unwrap(), printed.clone());
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut shell = Self { child, printed };
        // What is printed in a terminal is one stream.
        shell.types("exec 2>&1");
        shell
    }

    fn types(&mut self, command: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{command}").unwrap();
    }

    fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap().clone()
    }

    /// Runs a command to its end, and returns the lines that it printed.
    fn runs(&mut self, command: &str) -> Vec<String> {
        let before = self.printed().len();
        self.types(command);
        let end = format!("end of the command after line {before}");
        self.types(&format!("echo {end}"));
        let begin = Instant::now();
        loop {
            let printed = self.printed();
            if printed.last().is_some_and(|line| *line == end) {
                return printed[before..printed.len() - 1].to_vec();
            }
            assert!(begin.elapsed() < LIMIT, "{command}: {printed:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The last command has replaced the shell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What differs from run to run, and from place to place.
struct Place {
    folder: Folder,
    ports: [(&'static str, String); 2],
}

impl Place {
    fn new() -> Self {
        let port = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port().to_string()
        };
        Self {
            folder: Folder::new(),
            ports: [("3000", port()), ("4010", port())],
        }
    }

    /// A command of the README as it runs here.
    fn command(&self, text: &str) -> String {
        let receiver = format!(
            "PTOLEMY_LISTEN=127.0.0.1:{} exec {}",
            self.ports[0].1,
            example("axum_receiver").display()
        );
        let mut command = text.replace(
            "cargo run --example axum_receiver --features axum",
            &receiver,
        );
        for (readme, here) in &self.ports {
            command = command.replace(&format!("127.0.0.1:{readme}"), &format!("127.0.0.1:{here}"));
            command = command.replace(&format!("--port {readme}"), &format!("--port {here}"));
        }
        command
    }

    /// A line without what differs: the folder, ports, ids, times and counts.
    fn plain(&self, line: &str) -> String {
        let folder = self.folder.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        let mut line = line.replace(folder, "/home/you");
        for (readme, here) in &self.ports {
            line = line.replace(&format!("127.0.0.1:{here}"), &format!("127.0.0.1:{readme}"));
        }
        let words = line.split_whitespace().map(|word| {
            let bare = word.trim_matches([',', ';', ':']);
            let is_time = bare.len() >= 20 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T';
            let is_id = bare.len() == 36 && bare.matches('-').count() == 4;
            // A status is not a count.
            let is_count = bare
                .parse::<u64>()
                .is_ok_and(|it| !(100..600).contains(&it));
            match (is_time, is_id, is_count) {
                (true, _, _) => word.replace(bare, "<time>"),
                (_, true, _) => word.replace(bare, "<id>"),
                (_, _, true) => word.replace(bare, "<number>"),
                _ => word
                    .replace("deliveries", "delivery")
                    .replace("calls", "call"),
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// The lines without what differs; how often one is repeated differs too.
    fn all_plain(&self, lines: &[String]) -> Vec<String> {
        let mut plain: Vec<String> = lines.iter().map(|line| self.plain(line)).collect();
        plain.dedup();
        plain
    }

    /// Waits until the lines were printed, in this order, whatever was printed between them.
    fn wait_for(&self, shell: &Shell, expected: &[String]) {
        let begin = Instant::now();
        loop {
            let printed = self.all_plain(&shell.printed());
            let mut rest = printed.iter();
            let expected = self.all_plain(expected);
            if expected.iter().all(|line| rest.any(|it| it == line)) {
                return;
            }
            assert!(
                begin.elapsed() < LIMIT,
                "expected {expected:#?} in {printed:#?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(unix)]
#[test]
fn the_walk_of_the_readme_prints_what_stands_there() {
    let place = Place::new();
    for named in ["ptolemy/token", "webhook.secret", "webhook.secret.previous"] {
        place.folder.names(named);
    }
    let mut main = Shell::start(&place.folder.path(""));
    let mut terminals: HashMap<String, Shell> = HashMap::new();
    let mut commands = 0;
    for Block { terminal, steps } in blocks() {
        for Step { command, output } in steps {
            let runs = place.command(&command);
            commands += usize::from(!command.is_empty() && !command.starts_with("export "));
            match &terminal {
                Some(name) if command.is_empty() => {
                    place.wait_for(&terminals[name], &output);
                }
                Some(name) => {
                    // As Ctrl-C would.
                    terminals.remove(name);
                    let mut shell = Shell::start(&place.folder.path(""));
                    let exec = if runs.contains("exec ") { "" } else { "exec " };
                    shell.types(&format!("{exec}{runs}"));
                    place.wait_for(&shell, &output);
                    terminals.insert(name.clone(), shell);
                }
                None => {
                    let begin = Instant::now();
                    let expected = place.all_plain(&output);
                    // The log of deliveries follows the deliveries; everything else is right at
                    // once.
                    let waits = command.contains(" deliveries");
                    let mut printed = place.all_plain(&main.runs(&runs));
                    while waits && printed != expected && begin.elapsed() < LIMIT {
                        printed = place.all_plain(&main.runs(&runs));
                    }
                    assert_eq!(printed, expected, "{command}");
                }
            }
        }
    }
    assert_eq!(commands, 10);
    for shell in terminals.values().chain([&main]) {
        assert_no_secret("a terminal", shell.printed().join("\n").as_bytes());
    }
    place.folder.scan_files();
    assert!(
        fs::read_to_string(place.folder.path("request.http"))
            .unwrap()
            .starts_with("POST ")
    );
}
