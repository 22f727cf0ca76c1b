//! The Markdown files that are packaged read well on a code host and on docs.rs, and quote programs
//! that run.

use std::fs;
use std::path::Path;

/// A fenced block: the line that opens it, and the lines within.
struct Fence {
    opening: String,
    lines: Vec<String>,
}

struct Document {
    name: &'static str,
    /// The text outside of the fences.
    prose: String,
    fences: Vec<Fence>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Document {
    fn new(name: &'static str) -> Self {
        let text = read(name);
        let (mut prose, mut fences) = (String::new(), Vec::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.trim_start().starts_with("```") {
                let within = lines.by_ref().take_while(|line| line.trim() != "```");
                fences.push(Fence {
                    opening: line.trim().to_owned(),
                    lines: within.map(str::to_owned).collect(),
                });
            } else {
                prose += line;
                prose += "\n";
            }
        }
        Self {
            name,
            prose,
            fences,
        }
    }

    /// The targets of all links.
    fn links(&self) -> Vec<&str> {
        let inline = self.prose.split("](").skip(1);
        let inline = inline.filter_map(|rest| Some(rest.split_once(')')?.0));
        let defined = self.prose.lines().filter_map(|line| {
            let (_, target) = line.strip_prefix('[')?.split_once("]: ")?;
            Some(target)
        });
        inline.chain(defined).collect()
    }

    fn rust(&self) -> impl Iterator<Item = &Fence> {
        let is_rust = |fence: &&Fence| fence.opening.starts_with("```rust");
        self.fences.iter().filter(is_rust)
    }
}

/// What `cargo package` takes of all packages.
fn packaged() -> Vec<Document> {
    let names = [
        "README.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/observability.md",
        "docs/recipes.md",
        "docs/rejected.md",
        "client/README.md",
        "inbox/README.md",
        "inbox/after-an-outage.md",
        "inbox/what-can-go-wrong.md",
        "sandbox/README.md",
    ];
    let guide = fs::read_dir(root().join("docs")).unwrap().count();
    // The alert rules are the fourth.
    assert_eq!(guide, 4, "a file of the guide is not in the list");
    names.map(Document::new).into()
}

#[test]
fn every_fence_of_a_packaged_document_has_a_language() {
    for document in packaged() {
        for fence in &document.fences {
            let language = fence.opening.trim_start_matches('`');
            assert!(!language.is_empty(), "{}: {:?}", document.name, fence.lines);
        }
        // rustdoc runs what has no language it knows as Rust, and what says so.
        for fence in document.rust() {
            assert!(!fence.opening.contains("ignore"), "{}", document.name);
        }
    }
}

#[test]
fn no_packaged_document_hides_a_line_from_rustdoc_that_a_code_host_shows() {
    let mut seen = 0;
    for document in packaged() {
        for line in document.rust().flat_map(|fence| &fence.lines) {
            let line = line.trim_start();
            let is_hidden = line == "#" || line.starts_with("# ");
            assert!(!is_hidden, "{}: {line}", document.name);
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn no_example_passes_over_payloads_with_a_bare_arm() {
    let front_page: Vec<_> = read("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.trim().to_owned())
        .collect();
    let documents = packaged();
    let examples = documents.iter().flat_map(Document::rust);
    for line in examples.flat_map(|fence| &fence.lines).chain(&front_page) {
        assert!(!line.trim_start().starts_with("_ =>"), "{line}");
    }
}

#[test]
fn links_of_packaged_documents_work_without_a_repository() {
    let mut seen = 0;
    for document in packaged() {
        for link in document.links() {
            let is_anchor = link.strip_prefix('#').is_some_and(|anchor| {
                let headings = document.prose.lines().filter(|line| line.starts_with('#'));
                headings.map(slug).any(|slug| slug == anchor)
            });
            let works = is_anchor || link.starts_with("https://");
            assert!(works, "{}: {link}", document.name);
            seen += 1;
        }
        for word in ["](crate::", "(crate::", "`crate::"] {
            assert!(!document.prose.contains(word), "{}", document.name);
        }
    }
    assert!(seen > 40, "{seen}");
}

/// The anchor of a heading, as code hosts and rustdoc make it.
fn slug(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}

/// The text of all files below a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

#[test]
fn links_to_the_reference_name_items_that_exist() {
    const REFERENCE: &str = "https://docs.rs/ptolemy-webhooks/latest/ptolemy_webhooks/";
    let sources = sources(&root().join("src"));
    let mut seen = 0;
    for document in packaged() {
        let links = document.links().into_iter();
        for link in links.filter_map(|link| link.strip_prefix(REFERENCE)) {
            let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
            let definition = match page.trim_end_matches(".html").split_once('.') {
                Some(("constant", name)) => format!("pub const {name}:"),
                Some((kind, name)) => format!("pub {kind} {name}"),
                None => match page.strip_suffix("/index.html") {
                    Some(module) => format!("pub mod {module}"),
                    None => String::new(),
                },
            };
            assert!(sources.contains(&definition), "{}: {link}", document.name);
            if let Some(method) = anchor.strip_prefix("method.") {
                let method = format!("fn {method}");
                assert!(sources.contains(&method), "{}: {link}", document.name);
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn the_readme_quotes_the_programs_that_the_suite_runs() {
    let readme = Document::new("README.md");
    let fences: Vec<_> = readme.rust().map(|fence| fence.lines.join("\n")).collect();
    let programs = ["axum", "actix_web", "store"].map(|name| {
        read(&format!("tests/suite/readme/{name}.rs"))
            .trim_end()
            .to_owned()
    });
    assert_eq!(fences, programs);
}

#[test]
fn the_readme_shows_a_delivery_that_is_valid() {
    let readme = Document::new("README.md");
    let mut fences = readme.fences.iter();
    let delivery = fences.find(|fence| fence.opening == "```http").unwrap();
    let mut parts = delivery.lines.splitn(2, String::is_empty);
    let (head, body) = (parts.next().unwrap(), parts.next().unwrap());
    let header = head
        .iter()
        .find_map(|line| line.strip_prefix("Ptolemy-Signature: "))
        .unwrap();
    let body = body.join("\n");
    let secret = crate::secret("whsec_a3f9b2c1d4e5f6a7b8c9d0e1");
    let signed_at = time::macros::datetime!(2026-04-15 09:30:01 UTC);
    let delivery = ptolemy_webhooks::Verifier::new(secret)
        .receive_at(header, body, signed_at)
        .unwrap_or_else(|error| panic!("{error}"));
    let observations = ptolemy_webhooks::Observations::new();
    assert_eq!(observations.observe(&delivery), []);
}
