//! The example receivers of the core, as binaries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The path of an example receiver. `cargo test --all-features` has built it; otherwise Cargo
/// builds it now, which takes a minute or two.
pub(crate) fn example(name: &str) -> PathBuf {
    folder().join(name)
}

fn folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        // target/debug/deps/suite-…
        let test = env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let folder = profile.join("examples");
        if !is_current(&folder) {
            build(profile);
        }
        folder
    };
    FOLDER.get_or_init(find).clone()
}

/// Whether the three are there, and newer than what they are made of.
fn is_current(folder: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = ["src", "examples"].map(|folder| latest(&core.join(folder)));
    let names = ["actix_receiver", "axum_receiver", "hyper_receiver"];
    names.iter().all(|name| {
        let built = modified(&folder.join(name));
        built.is_some_and(|built| sources.iter().all(|source| built > *source))
    })
}

/// When the last change was in a folder.
fn latest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).unwrap();
    let times = entries.map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return latest(&path);
        }
        path.metadata().unwrap().modified().unwrap()
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn build(profile: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--package", "ptolemy-webhooks"])
        .args(["--features", "actix-web,axum"])
        .args(["--example", "actix_receiver", "--example", "axum_receiver"])
        .args(["--example", "hyper_receiver", "--target-dir"])
        .arg(profile.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.status().unwrap().success();
    assert!(built, "the examples do not build");
}
