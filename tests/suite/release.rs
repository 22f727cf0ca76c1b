//! The packages are released together: one version, and a changelog each.

use std::fs;
use std::path::Path;

use crate::docs::packaged_names;

/// The folder and the name of each package.
const PACKAGES: [(&str, &str); 5] = [
    (".", "ptolemy-webhooks"),
    ("client", "ptolemy-webhooks-client"),
    ("inbox", "ptolemy-webhooks-inbox"),
    ("sandbox", "ptolemy-webhooks-sandbox"),
    ("cli", "ptolemy-webhooks-cli"),
];

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The lines of a text that ask for a package of this project, and the version that they ask for.
fn requirements(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter(|line| {
        line.split_once(" = ")
            .is_some_and(|(name, _)| PACKAGES.iter().any(|(_, package)| *package == name))
    });
    lines
        .filter_map(|line| {
            let (_, asked) = line.split_once(" = ")?;
            let asked = match asked.strip_prefix('{') {
                Some(table) => table.split_once("version = ")?.1,
                None => asked,
            };
            Some((line, asked.split('"').nth(1)?))
        })
        .collect()
}

#[test]
fn all_packages_have_one_version_and_ask_each_other_for_it() {
    let mut seen = 0;
    for (folder, name) in PACKAGES {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        let head = format!("[package]\nname = \"{name}\"\nversion = \"{VERSION}\"\n");
        assert!(manifest.starts_with(&head), "{name}");
        for (line, asked) in requirements(&manifest) {
            assert_eq!(asked, VERSION, "{name}: {line}");
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn the_lock_files_have_the_version_of_the_packages() {
    for (file, count) in [
        ("Cargo.lock", 5),
        ("fuzz/Cargo.lock", 1),
        ("benches/peers/Cargo.lock", 1),
    ] {
        let lock = read(file);
        let locked = PACKAGES.iter().filter(|(_, name)| {
            lock.contains(&format!("name = \"{name}\"\nversion = \"{VERSION}\"\n"))
        });
        assert_eq!(locked.count(), count, "{file}");
    }
}

#[test]
fn the_documents_ask_for_this_version() {
    let (major_and_minor, _) = VERSION.rsplit_once('.').unwrap();
    let mut seen = 0;
    for document in packaged_names() {
        let text = read(&document);
        for (line, asked) in requirements(&text) {
            assert_eq!(asked, major_and_minor, "{document}: {line}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn each_package_has_a_changelog_of_its_own_with_a_section_for_this_version() {
    for (folder, name) in PACKAGES {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        assert!(manifest.contains("\"/CHANGELOG.md\""), "{name}");
        let changelog = read(&format!("{folder}/CHANGELOG.md"));
        let head =
            format!("# Changelog\n\nAll notable changes to `{name}` are documented in this file.");
        assert!(changelog.starts_with(&head), "{name}");
        let sections: Vec<_> = changelog
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        let released = format!("[{VERSION}] - ");
        let is_released = sections.iter().any(|it| it.starts_with(&released));
        let announced = format!("this section becomes {VERSION},");
        let is_announced =
            sections.first() == Some(&"[Unreleased]") && changelog.contains(&announced);
        assert!(is_released || is_announced, "{name}: {sections:?}");
    }
}
