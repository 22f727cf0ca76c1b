//! `tests/README.md` names tests for each promise; all of them exist.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

const MAP: &str = include_str!("../README.md");

/// The functions of a file, as `file::function`.
fn functions_in(path: &Path) -> Vec<String> {
    let module = path.file_stem().unwrap().to_str().unwrap();
    let source = fs::read_to_string(path).unwrap();
    source
        .lines()
        .filter_map(|line| {
            let line = line.trim();
            let name = line
                .strip_prefix("async ")
                .unwrap_or(line)
                .strip_prefix("fn ")?;
            Some(format!("{module}::{}", name.split_once('(')?.0))
        })
        .collect()
}

#[test]
fn every_test_that_the_map_names_exists() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut functions = HashSet::new();
    for folder in [
        "src",
        "src/batch",
        "src/store",
        "src/store/postgres",
        "src/store/postgres/catch_up",
        "src/store/postgres/floors",
        "src/store/postgres/steps",
        "src/store/postgres/steps/in_order",
        "src/store/sqlite",
        "src/store/sqlite/catch_up",
        "src/worker",
        "tests",
        "tests/suite",
        "tests/suite/catch_up",
    ] {
        for entry in fs::read_dir(package.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                functions.extend(functions_in(&path));
            }
        }
    }
    let named: Vec<_> = MAP
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.contains("::") && !code.contains(' '))
        .collect();
    assert!(named.len() > 60, "{}", named.len());
    for name in named {
        assert!(functions.contains(name), "{name}");
    }
    for promise in 1..=9 {
        assert!(MAP.contains(&format!("| **{promise}. ")), "{promise}");
    }
}
