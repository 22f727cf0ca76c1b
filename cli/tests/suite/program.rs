//! Runs the binary in a separate folder, and looks for secrets in all of its output and files.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Ten times what the slowest command takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A folder in which programs run. Files that hold a secret on purpose are named; any other that
/// does fails the test.
pub(crate) struct Folder {
    folder: TempDir,
    named: Mutex<Vec<PathBuf>>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            named: Mutex::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names a file that holds a secret because the user asked for it, and returns its path.
    pub(crate) fn names(&self, name: &str) -> PathBuf {
        self.named.lock().unwrap().push(self.path(name));
        self.path(name)
    }

    /// Writes a named file that only its owner may read.
    pub(crate) fn secret_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.names(name);
        fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }

    /// The binary with these arguments, separated by spaces.
    pub(crate) fn program(&self, arguments: &str) -> Program<'_> {
        self.program_with(arguments.split_whitespace())
    }

    pub(crate) fn program_with<A: Into<OsString>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Program<'_> {
        Program {
            folder: self,
            arguments: arguments.into_iter().map(Into::into).collect(),
            variables: Vec::new(),
            input: Vec::new(),
            may_show_secrets: false,
        }
    }

    /// Fails if a file that was not named holds a secret or a token.
    pub(crate) fn scan_files(&self) {
        let named = self.named.lock().unwrap();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !named.contains(&path)
                    && let Ok(bytes) = fs::read(&path)
                {
                    assert_no_secret(&path.display().to_string(), &bytes);
                }
            }
        }
    }
}

/// Fails if the bytes hold something that looks like a secret or a token.
#[track_caller]
pub(crate) fn assert_no_secret(place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for prefix in ["whsec_", "ptk_live_"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let length = rest.chars().take_while(char::is_ascii_alphanumeric).count();
            assert!(length < 4, "{place} holds {prefix} and {length} more");
        }
    }
}

/// A run of the binary: only the variables that are set here are in its environment.
pub(crate) struct Program<'a> {
    folder: &'a Folder,
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    input: Vec<u8>,
    may_show_secrets: bool,
}

impl<'a> Program<'a> {
    pub(crate) fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// For `--print-secret`, and for tests of what is rejected.
    pub(crate) fn may_show_secrets(mut self) -> Self {
        self.may_show_secrets = true;
        self
    }

    fn command(&self) -> Command {
        if !self.may_show_secrets {
            for argument in &self.arguments {
                assert_no_secret("an argument", argument.as_encoded_bytes());
            }
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_ptolemy-webhooks"));
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("HOME", self.folder.folder.path())
            .env("TMPDIR", self.folder.folder.path())
            .current_dir(self.folder.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a program that does not end by itself. Dropping it kills the program and scans its
    /// files.
    pub(crate) fn start(self) -> Running<'a> {
        let mut child = self.command().spawn().unwrap();
        child.stdin.take().unwrap().write_all(&self.input).unwrap();
        Running(child, self.folder)
    }

    /// Runs the program to its end, scans its files, and returns its output.
    pub(crate) fn run(self) -> Ended {
        let mut child = self.command().spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let bytes = self.input.clone();
        // The program may end without reading all.
        let writer = thread::spawn(move || drop(input.write_all(&bytes)));
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > LIMIT {
                child.kill().unwrap();
                panic!("{:?} did not end within {LIMIT:?}", self.arguments);
            }
            thread::sleep(Duration::from_millis(5));
        };
        writer.join().unwrap();
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        if !self.may_show_secrets {
            assert_no_secret("standard output", &stdout);
            assert_no_secret("standard error", &stderr);
        }
        self.folder.scan_files();
        Ended {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            bytes: stdout,
        }
    }
}

/// The output of a program, and its exit code.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) bytes: Vec<u8>,
}

impl Ended {
    /// Fails if the exit code is another one.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// A program that runs, and its folder.
pub(crate) struct Running<'a>(pub(crate) Child, &'a Folder);

impl Running<'_> {
    /// Takes standard output. Everything that is read from it is scanned for secrets.
    pub(crate) fn stdout(&mut self) -> Scanned {
        Scanned {
            pipe: self.0.stdout.take().unwrap(),
            bytes: Vec::new(),
        }
    }

    /// Interrupts the program as Ctrl-C does, and returns what it prints to standard error until
    /// its end.
    #[cfg(unix)]
    pub(crate) fn interrupt(&mut self) -> String {
        self.end_by("INT")
    }

    /// Same as [`interrupt`](Self::interrupt), with any signal.
    #[cfg(unix)]
    pub(crate) fn end_by(&mut self, signal: &str) -> String {
        crate::signals::send(self, signal);
        let mut stderr = String::new();
        let mut pipe = self.0.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        assert_no_secret("standard error", stderr.as_bytes());
        stderr
    }

    /// Waits until a file is there that is not empty, and returns its text.
    pub(crate) fn wait_for_file(&mut self, path: &Path) -> String {
        let begin = Instant::now();
        loop {
            if let Ok(text) = fs::read_to_string(path)
                && !text.is_empty()
            {
                return text;
            }
            if let Some(status) = self.0.try_wait().unwrap() {
                panic!("it ended with {status}");
            }
            assert!(begin.elapsed() < LIMIT, "no file within {LIMIT:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if thread::panicking() {
            return;
        }
        // The output that the test has not taken.
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        if let Some(mut pipe) = self.0.stdout.take() {
            pipe.read_to_end(&mut stdout).unwrap();
        }
        if let Some(mut pipe) = self.0.stderr.take() {
            pipe.read_to_end(&mut stderr).unwrap();
        }
        assert_no_secret("standard output", &stdout);
        assert_no_secret("standard error", &stderr);
        self.1.scan_files();
    }
}

/// Standard output of a program that runs. All that was read is scanned for secrets.
pub(crate) struct Scanned {
    pipe: ChildStdout,
    bytes: Vec<u8>,
}

impl Read for Scanned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        self.bytes.extend_from_slice(&buffer[..count]);
        assert_no_secret("standard output", &self.bytes);
        Ok(count)
    }
}

#[test]
#[should_panic(expected = "standard output holds ptk_live_")]
fn a_program_that_runs_is_scanned_when_it_is_dropped() {
    let folder = Folder::new();
    let child = Command::new("printf")
        .arg("ptk_live_0123")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = Running(child.unwrap(), &folder);
    running.0.wait().unwrap();
    drop(running);
}

#[test]
#[should_panic(expected = "holds whsec_")]
fn the_folder_of_a_program_that_runs_is_scanned_when_it_is_dropped() {
    let folder = Folder::new();
    fs::write(folder.path("left"), "whsec_0123").unwrap();
    drop(folder.program("--version").start());
}
