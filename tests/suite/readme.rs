//! `tests/README.md` names tests, vectors and requests, and all of them exist.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::vectors;

const MAP: &str = include_str!("../README.md");

/// Returns each text between `open` and `close`.
fn between<'a>(open: &str, close: &str) -> Vec<&'a str> {
    let quoted = MAP.split(open).skip(1);
    quoted
        .map(|rest| rest.split_once(close).unwrap().0)
        .collect()
}

/// Returns the functions under `#[test]` or a similar attribute in a file, as `file::function`.
fn tests_in(path: &Path) -> Vec<String> {
    let module = path.file_stem().unwrap().to_str().unwrap();
    let source = fs::read_to_string(path).unwrap();
    let mut is_test = false;
    let mut tests = Vec::new();
    for line in source.lines().map(str::trim) {
        let name = line
            .strip_prefix("async ")
            .unwrap_or(line)
            .strip_prefix("fn ")
            .and_then(|rest| rest.split_once('('));
        match name {
            Some((name, _)) if is_test => tests.push(format!("{module}::{name}")),
            _ if line.starts_with('#') => {
                is_test |= line.starts_with("#[") && line.contains("test]");
                continue;
            }
            _ => {}
        }
        is_test = false;
    }
    tests
}

#[test]
fn every_test_that_the_map_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![
        root.join("tests/allocations.rs"),
        root.join("tests/proxy.rs"),
        root.join("tests/receiver.rs"),
        root.join("tests/receiver/memory.rs"),
        root.join("src/mac.rs"),
        root.join("src/tag.rs"),
    ];
    for entry in fs::read_dir(root.join("tests/suite")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    let tests: HashSet<_> = files.iter().flat_map(|path| tests_in(path)).collect();
    assert!(tests.len() > 150, "{}", tests.len());
    let code = MAP.split('`').skip(1).step_by(2);
    let named: Vec<_> = code.filter(|name| is_test_name(name)).collect();
    assert!(named.len() > 60, "{}", named.len());
    for name in named {
        assert!(tests.contains(name), "{name}");
    }
}

fn is_test_name(text: &str) -> bool {
    text.split_once("::").is_some_and(|(module, name)| {
        let is_snake = |text: &str| {
            text.bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        };
        is_snake(module) && is_snake(name) && module != "suite"
    })
}

#[test]
fn every_vector_that_the_map_names_exists() {
    let names: HashSet<_> = vectors::load()
        .into_iter()
        .map(|vector| vector.name)
        .collect();
    let named = between("vector \"", "\"");
    assert!(named.len() > 60, "{}", named.len());
    for name in named {
        assert!(names.contains(name), "{name}");
    }
}

#[cfg(all(feature = "actix-web", feature = "axum"))]
#[test]
fn every_request_that_the_map_names_exists() {
    let names: HashSet<_> = crate::transport::names().into_iter().collect();
    let named = between("request \"", "\"");
    assert!(named.len() > 10, "{}", named.len());
    for name in named {
        assert!(names.contains(name), "{name}");
    }
}
