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
    name: String,
    /// The text outside the fences.
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
    fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let text = read(&name);
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

    /// Returns the targets of all links.
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

/// The documents that `cargo package` takes of all packages, apart from those in folders named
/// `docs`.
const PACKAGED: [&str; 12] = [
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "cli/CHANGELOG.md",
    "cli/README.md",
    "client/CHANGELOG.md",
    "client/README.md",
    "inbox/CHANGELOG.md",
    "inbox/README.md",
    "sandbox/CHANGELOG.md",
    "sandbox/README.md",
    "docs/rejected.md",
];

/// The names of the Markdown files in a folder, as paths from the root, in order.
fn markdown_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    names.sort();
    names
}

/// All documents that `cargo package` takes.
pub(crate) fn packaged_names() -> Vec<String> {
    let mut names: Vec<_> = PACKAGED.map(str::to_owned).into();
    names.extend(markdown_in("docs"));
    names.extend(markdown_in("docs/guide"));
    names.extend(markdown_in("inbox/docs"));
    names.sort();
    names.dedup();
    names
}

fn packaged() -> Vec<Document> {
    packaged_names().into_iter().map(Document::new).collect()
}

#[test]
fn every_fence_of_a_packaged_document_has_a_language() {
    for document in packaged() {
        for fence in &document.fences {
            let language = fence.opening.trim_start_matches('`');
            assert!(!language.is_empty(), "{}: {:?}", document.name, fence.lines);
        }
        // rustdoc runs a block as Rust if it says so, or if it names no language that rustdoc
        // knows.
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
fn no_example_ignores_payloads_with_a_bare_arm() {
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

/// Returns the anchor of a heading, as code hosts and rustdoc make it.
fn slug(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}

/// Returns the text of all files below a folder.
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
    for (reference, folder, least) in [
        (
            "https://docs.rs/ptolemy-webhooks/latest/ptolemy_webhooks/",
            "src",
            20,
        ),
        (
            "https://docs.rs/ptolemy-webhooks-inbox/latest/ptolemy_webhooks_inbox/",
            "inbox/src",
            6,
        ),
    ] {
        let seen = links_that_name_items(reference, &sources(&root().join(folder)));
        assert!(seen >= least, "{reference}: {seen}");
    }
}

/// Checks the links that begin like this, and returns their number.
fn links_that_name_items(reference: &str, sources: &str) -> usize {
    let mut seen = 0;
    for document in packaged() {
        let links = document.links().into_iter();
        for link in links.filter_map(|link| link.strip_prefix(reference)) {
            let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
            let definition = match page.trim_end_matches(".html").split_once('.') {
                Some(("constant", name)) => format!("pub const {name}:"),
                Some((kind, name)) => format!("pub {kind} {name}"),
                None => match page.strip_suffix("/index.html") {
                    Some(module) => {
                        let name = module.rsplit('/').next().unwrap_or(module);
                        format!("pub mod {name}")
                    }
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
    seen
}

/// The code of all fences of a document that open with one of these.
fn code(document: &str, openings: &[&str]) -> Vec<String> {
    let document = Document::new(document);
    let fences = document.fences.iter();
    fences
        .filter(|fence| openings.contains(&fence.opening.as_str()))
        .map(|fence| fence.lines.join("\n"))
        .collect()
}

/// The programs that a document shows, in its order. Those that the core's tests cannot compile are
/// `rs` instead of `rust`, so that rustdoc passes over them; another package compiles and runs
/// them.
const PROGRAMS: [(&str, &[&str]); 3] = [
    (
        "README.md",
        &[
            "inbox/tests/suite/front_page_program.rs",
            "tests/suite/readme/axum.rs",
        ],
    ),
    (
        "docs/guide/first-event.md",
        &[
            "tests/suite/readme/axum.rs",
            "sandbox/tests/suite/stand_in_program.rs",
            "tests/suite/readme/actix_web.rs",
        ],
    ),
    (
        "docs/guide/exactly-once.md",
        &["tests/suite/readme/store.rs"],
    ),
];

#[test]
fn the_readme_and_the_guide_quote_the_programs_that_the_suites_run() {
    for (document, programs) in PROGRAMS {
        let shown = code(document, &["```rs", "```rust", "```rust,no_run"]);
        let programs = programs.iter().map(|name| read(name).trim_end().to_owned());
        for (shown, program) in shown.iter().zip(programs.clone()) {
            assert_eq!(*shown, program, "{document}");
        }
        assert!(shown.len() >= programs.len(), "{document}");
    }
}

#[test]
fn rustdoc_passes_over_a_program_only_if_another_package_runs_it() {
    let run: Vec<_> = PROGRAMS
        .iter()
        .flat_map(|(_, programs)| *programs)
        .map(|name| read(name).trim_end().to_owned())
        .collect();
    let mut seen = 0;
    for document in packaged_names() {
        for program in code(&document, &["```rs"]) {
            assert!(run.contains(&program), "{document}: {program}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

#[test]
fn every_page_of_the_guide_is_a_module_and_is_listed() {
    let mut pages = markdown_in("docs/guide");
    assert!(pages.len() > 10, "{pages:?}");
    pages.extend(markdown_in("docs"));
    each_page_is_a_module_and_is_listed("", &pages);
    let pages = markdown_in("inbox/docs");
    assert_eq!(pages.len(), 2, "{pages:?}");
    each_page_is_a_module_and_is_listed("inbox/", &pages);
}

fn each_page_is_a_module_and_is_listed(package: &str, pages: &[String]) {
    let source = read(&format!("{package}src/guide.rs"));
    for page in pages {
        let (_, name) = page.trim_end_matches(".md").rsplit_once('/').unwrap();
        // The module has the title of the page, "Run in production".
        let name = match &**page {
            "docs/deploy.md" => "production".to_owned(),
            _ => name.replace('-', "_"),
        };
        let file = page.strip_prefix(package).unwrap();
        let module = format!("#[doc = include_str!(\"../{file}\")]\npub mod {name} {{}}");
        assert!(source.contains(&module), "{page}");
        assert!(source.contains(&format!("]({name})")), "{page}");
        assert!(read(page).starts_with("# "), "{page}");
        let prose = Document::new(page).prose;
        let level_one = prose.lines().filter(|line| line.starts_with("# "));
        assert!(
            page.ends_with("rejected.md") || level_one.count() == 1,
            "{page}"
        );
    }
    assert_eq!(source.matches("pub mod ").count(), pages.len());
}

#[test]
fn the_terms_that_people_search_for_occur() {
    let texts = packaged_names()
        .into_iter()
        .filter(|name| name == "README.md" || name.starts_with("docs/"))
        .map(|name| read(&name).split_whitespace().collect::<Vec<_>>().join(" "));
    let text = texts.collect::<String>().to_lowercase();
    for term in [
        "retry",
        "redeliver",
        "duplicate",
        "idempotent",
        "dead letter",
        "signature verification failed",
        "replay attack",
        "hmac",
    ] {
        assert!(text.contains(term), "{term}");
    }
}

#[test]
fn the_guide_shows_a_delivery_that_is_valid() {
    let guide = Document::new("docs/guide/documented-and-assumed.md");
    let mut fences = guide.fences.iter();
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
    // The example below it has the same header and the same body.
    let example = code("docs/guide/documented-and-assumed.md", &["```rust"]).remove(0);
    assert!(example.contains(header));
    assert!(example.contains(&format!(
        "r#\"{}\"#",
        String::from_utf8_lossy(delivery.body())
    )));
}
