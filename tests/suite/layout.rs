//! `src/` reads top to bottom: a file imports only from files above it in `lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of `lib.rs`, in its order.
fn modules(root: &Path) -> Vec<String> {
    let lib = fs::read_to_string(root.join("lib.rs")).unwrap();
    lib.lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

fn files_of(root: &Path, module: &str) -> Vec<PathBuf> {
    let mut files = vec![root.join(format!("{module}.rs"))];
    if let Ok(entries) = fs::read_dir(root.join(module)) {
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files
}

/// The modules that a file imports, apart from its unit tests.
fn imports(file: &Path) -> Vec<String> {
    let source = fs::read_to_string(file).unwrap();
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code = code.lines().filter(|line| !line.trim().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

#[test]
fn a_file_imports_only_from_files_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = modules(&root);
    assert!(modules.len() > 10, "{modules:?}");
    let mut seen = 0;
    for (position, module) in modules.iter().enumerate() {
        for file in files_of(&root, module) {
            for import in imports(&file) {
                seen += 1;
                assert!(
                    import == *module || modules[..position].contains(&import),
                    "{} imports {import}, which is not above it",
                    file.display()
                );
            }
        }
    }
    assert!(seen > 30, "{seen}");
}
