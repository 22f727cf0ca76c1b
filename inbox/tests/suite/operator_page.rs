//! The page `docs/what-can-go-wrong.md` quotes texts that the library has, and has a row for each
//! warning and error.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::log_table::{Line, fits, lines};

const PAGE: &str = include_str!("../../docs/what-can-go-wrong.md");

/// Texts in the first column that come from elsewhere: Rust, PostgreSQL, sqlx or PgBouncer.
const TEXTS_OF_OTHERS: [&str; 8] = [
    "panic in a destructor during cleanup",
    "queue = 'suspect'",
    "does not exist",
    "lock timeout",
    "canceling statement due to statement timeout",
    "prepared statement \"sqlx_s_1\" already exists",
    "unsupported startup parameter: extra_float_digits",
    "unsupported startup parameter: options",
];

/// A text between backquotes, and the word before it.
#[derive(Debug)]
struct Quote {
    before: String,
    text: String,
}

/// The texts between backquotes, single or double.
fn quotes(text: &str) -> Vec<Quote> {
    let (mut quotes, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find('`') {
        let (before, quoted) = rest.split_at(start);
        let marks = quoted.len() - quoted.trim_start_matches('`').len();
        let (mark, quoted) = quoted.split_at(marks);
        let (text, after) = quoted.split_once(mark).unwrap_or_else(|| panic!("{rest}"));
        let word = before.split_whitespace().next_back().unwrap_or_default();
        quotes.push(Quote {
            before: word.to_owned(),
            text: text.trim().to_owned(),
        });
        rest = after;
    }
    quotes
}

/// The first cells of all tables, without their heads.
fn signs() -> Vec<&'static str> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|row| row.split(" | ").next().unwrap().trim_start_matches("| "));
    let is_head = |cell: &&str| *cell == "log line or sign" || cell.starts_with("---");
    cells.filter(|cell| !is_head(cell)).collect()
}

/// Whether the page quotes this text: `…` stands for a value, or for the rest.
fn is_quoted_as(text: &str, quote: &str) -> bool {
    let pattern = quote.replace('…', "{}");
    fits(text, quote) || fits(&pattern, text)
}

/// The string literals in the sources of a folder, each on one line.
fn literals(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            literals(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let lines = source.lines().map(str::trim_start);
            let code: Vec<_> = lines.filter(|line| !line.starts_with("//")).collect();
            let code = code.join("\n").replace("\\\n", "");
            // Quotation marks that do not begin or end a text.
            let code = code.replace("\\\"", "'").replace("'\"'", "' '");
            found.extend(code.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
}

/// The number of bytes of a format string that it has in any case.
fn fixed_len(format: &str) -> usize {
    let parts = format.split('{');
    let fixed = parts.map(|part| part.split_once('}').map_or(part, |(_, after)| after));
    fixed.map(str::len).sum()
}

#[test]
fn each_quoted_text_is_one_of_the_library() {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    literals(&root.join("src"), &mut found);
    // A format string such as `{}: {}` fits any text.
    let is_format_of = |format: &str, text: &str| {
        !format.contains('\n') && fixed_len(format) * 2 > text.len() && is_quoted_as(format, text)
    };
    let is_known = |text: &str| {
        let mut literals = found.iter();
        TEXTS_OF_OTHERS.contains(&text)
            || literals.any(|literal| literal.contains(text) || is_format_of(literal, text))
    };
    let mut seen = 0;
    for sign in signs() {
        for quote in quotes(sign) {
            // One word is a name: of a field, a column or a function.
            if quote.text.contains(' ') {
                assert!(is_known(&quote.text), "{}", quote.text);
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn each_log_line_has_its_level_and_its_fields() {
    let table = lines();
    let levels: BTreeSet<_> = table.iter().map(|line| line.level.as_str()).collect();
    let mut seen = 0;
    for sign in signs() {
        let quotes = quotes(sign);
        let logged = |quote: &Quote, line: &Line| is_quoted_as(&line.message, &quote.text);
        let Some(quote) = quotes
            .iter()
            .find(|quote| table.iter().any(|line| logged(quote, line)))
        else {
            let names_a_level = quotes
                .iter()
                .any(|quote| levels.contains(quote.before.as_str()));
            assert!(!names_a_level, "not a log line: {sign}");
            continue;
        };
        let mut same = table.iter().filter(|line| logged(quote, line));
        let line = same.find(|line| line.level == quote.before);
        let line = line.unwrap_or_else(|| panic!("not with this level: {sign}"));
        // "…`, with `field`, `field` and `field`", up to a semicolon.
        let Some((_, fields)) = sign.split_once("`, with ") else {
            continue;
        };
        let fields = fields.split(';').next().unwrap();
        for field in self::quotes(fields) {
            assert!(line.fields.contains(&field.text), "{sign}: {}", field.text);
        }
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn each_warning_and_error_has_a_row() {
    let quotes: Vec<_> = signs().into_iter().flat_map(quotes).collect();
    let mut seen = 0;
    for line in lines() {
        let is_here = line.target.starts_with("ptolemy_webhooks_inbox");
        if is_here && ["ERROR", "WARN"].contains(&line.level.as_str()) {
            let mut rows = quotes.iter();
            let has_row = rows.any(|quote| is_quoted_as(&line.message, &quote.text));
            assert!(has_row, "{}", line.message);
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}
