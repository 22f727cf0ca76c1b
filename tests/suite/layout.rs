//! `src/` reads from top to bottom: a file imports only from files above it in `lib.rs`. Comments
//! of the whole workspace wrap at 100 columns.

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

const MAX_COLUMNS: usize = 100;

/// Returns all Rust files below a folder, except build output and hidden folders.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                files.extend(rust_files(&path));
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files
}

/// Returns the text of a line that is a comment and nothing else.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.trim_start_matches(['/', '!']).trim_start())
}

/// Returns the numbers of the comment lines that are too long. Lines with a URL, rows of a table
/// and code blocks cannot be wrapped.
fn long_comments(source: &str) -> Vec<usize> {
    let mut long = Vec::new();
    let mut is_code = false;
    for (line, number) in source.lines().zip(1..) {
        let Some(text) = comment(line) else {
            // The fence of an example that depends on a feature is an attribute.
            is_code = line.contains("doc = \"```");
            continue;
        };
        if text.starts_with("```") {
            is_code = !is_code;
        } else if !is_code
            && !text.starts_with('|')
            && !text.contains("://")
            && line.chars().count() > MAX_COLUMNS
        {
            long.push(number);
        }
    }
    long
}

#[test]
fn only_comments_that_can_be_wrapped_count_as_long() {
    let words = "word ".repeat(20);
    let long = |prefix: &str| format!("{prefix} {words}");
    assert_eq!(long("//").len(), 103);
    for prefix in ["//", "///", "//!", "    //", "\t///"] {
        assert_eq!(long_comments(&long(prefix)), [1], "{prefix}");
    }
    assert!(long_comments(&format!("// {}", "é".repeat(97))).is_empty());
    assert_eq!(long_comments(&format!("// {}", "é".repeat(98))), [1]);
    for text in ["let a = b; //", "/// |", "/// https://example.com", "#"] {
        assert!(long_comments(&long(text)).is_empty(), "{text}");
    }
    let fenced = format!("/// ```text\n{}\n/// ```\n{}", long("///"), long("///"));
    assert_eq!(long_comments(&fenced), [4]);
    // A fence ends with its comment.
    let unclosed = format!("/// ```text\nfn f() {{}}\n{}", long("///"));
    assert_eq!(long_comments(&unclosed), [3]);
    let attribute = r#"#![cfg_attr(test, doc = "```")]"#;
    let opened = format!("{attribute}\n{}\n//! ```\n{}", long("//!"), long("//!"));
    assert_eq!(long_comments(&opened), [4]);
}

#[test]
fn comments_wrap_at_100_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = rust_files(root);
    assert!(files.len() > 400, "{}", files.len());
    let mut long = Vec::new();
    for file in &files {
        let source = fs::read_to_string(file).unwrap();
        let numbers = long_comments(&source).into_iter();
        long.extend(numbers.map(|number| format!("{}:{number}", file.display())));
    }
    assert!(long.is_empty(), "comments over 100 columns: {long:#?}");
}
