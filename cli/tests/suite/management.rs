//! The stand-in for the API that the tests of the management commands share.

use std::thread;
use std::time::{Duration, Instant};

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Retries, Sandbox, Shape};
use serde_json::Value;

use crate::program::{Ended, Folder, Program};

/// Nothing listens there, so deliveries to it fail.
pub(crate) const DEAD_URL: &str = "http://127.0.0.1:9/hook";

/// A folder, and a stand-in for Ptolemy whose deliveries are attempted once.
pub(crate) struct Account {
    pub(crate) folder: Folder,
    pub(crate) sandbox: Sandbox,
}

impl Account {
    pub(crate) async fn open() -> Self {
        Self::with_shapes([]).await
    }

    pub(crate) async fn with_shapes(shapes: impl IntoIterator<Item = Shape>) -> Self {
        let sandbox = Sandbox::builder()
            .retries(Retries::new().attempts(1))
            .shapes(shapes)
            .start()
            .await
            .unwrap();
        Self::of(sandbox)
    }

    pub(crate) fn of(sandbox: Sandbox) -> Self {
        Self {
            folder: Folder::new(),
            sandbox,
        }
    }

    /// A command with the environment of the stand-in.
    pub(crate) fn program(&self, arguments: &str) -> Program<'_> {
        self.with_environment(self.folder.program(arguments))
    }

    pub(crate) fn with_environment<'a>(&self, program: Program<'a>) -> Program<'a> {
        program
            .variable("PTOLEMY_API_URL", self.sandbox.url())
            .variable("PTOLEMY_API_TOKEN", self.sandbox.token())
            .variable("PTOLEMY_WORKSPACE", self.sandbox.workspace())
    }

    pub(crate) fn run(&self, arguments: &str) -> Ended {
        self.program(arguments).run()
    }

    /// Registers a receiver that does not exist and has this many deliveries to it fail, an hour
    /// apart.
    pub(crate) async fn fail(&self, deliveries: usize) -> Vec<String> {
        self.sandbox.register(DEAD_URL).await;
        for _ in 0..deliveries {
            self.sandbox.emit(samples::instrument_created()).await;
            self.sandbox.settle().await;
            self.sandbox.advance(Duration::from_secs(3_600)).await;
        }
        let log = self.sandbox.log();
        log.deliveries()
            .iter()
            .map(|it| it.id().to_owned())
            .collect()
    }

    /// How many calls were made whose method and path are these; `{}` stands for one segment.
    pub(crate) fn calls(&self, method: &str, template: &str) -> usize {
        let fits = |path: &str| {
            let (path, template) = (path.split('/'), template.split('/'));
            path.clone().count() == template.clone().count()
                && path
                    .zip(template)
                    .all(|(path, it)| it == "{}" || it == path)
        };
        let calls = self.sandbox.calls();
        let calls = calls.iter().filter(|call| call.method() == method);
        calls.filter(|call| fits(call.path())).count()
    }

    /// Waits until something is so, for 60 s at most.
    pub(crate) fn until(&self, is_so: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "{:?}",
                self.sandbox.calls()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many calls were made that send a delivery again.
    pub(crate) fn redeliveries(&self) -> usize {
        self.calls("POST", "/webhook-deliveries/{}/redeliver")
    }
}

/// The lines of standard output as JSON.
pub(crate) fn lines(ended: &Ended) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    ended.stdout.lines().map(line).collect()
}

/// The names of the fields of an object, sorted.
pub(crate) fn names(object: &Value) -> Vec<String> {
    let mut names: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}
