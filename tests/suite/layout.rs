//! `src/` reads top to bottom: a file imports only from files above it in `lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the modules of `lib.rs`, in its order.
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
        let paths = entries.map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|it| it == "rs")));
    }
    files
}

/// Returns the modules that a file imports, apart from its unit tests.
fn imports(file: &Path) -> Vec<String> {
    names_after(file, "crate::")
}

/// Returns the first names of the paths that begin with `root`.
fn names_after(file: &Path, root: &str) -> Vec<String> {
    let source = fs::read_to_string(file).unwrap();
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code = code.lines().filter(|line| !line.trim().starts_with("//"));
    code.flat_map(|line| line.split(root).skip(1))
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

#[test]
fn no_two_files_of_the_events_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files_of(&root, "event");
    let name = |file: &Path| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut imports: Vec<(String, Vec<String>)> = files[1..]
        .iter()
        .map(|file| {
            let mut imports = names_after(file, " super::");
            imports.extend(names_after(file, "$crate::event::"));
            // A macro's path to its own file is not an import.
            imports.retain(|import| *import != name(file));
            (name(file), imports)
        })
        .collect();
    assert!(imports.iter().map(|(_, it)| it.len()).sum::<usize>() > 30);
    // Repeatedly removes the files that import none of the others.
    while !imports.is_empty() {
        let left: Vec<_> = imports.iter().map(|(file, _)| file.clone()).collect();
        let count = left.len();
        imports.retain(|(_, imports)| imports.iter().any(|import| left.contains(import)));
        assert!(imports.len() < count, "a circle among {left:?}");
    }
}
