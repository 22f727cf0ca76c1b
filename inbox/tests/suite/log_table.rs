//! The tables of spans and log lines in the core's `docs/observability.md`.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../docs/observability.md");

/// A span or a log line, as the page or the sources have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) level: String,
    pub(crate) target: String,
    /// Empty for a line that has only fields; in the page and in sources, `{…}` stands for a value.
    pub(crate) message: String,
    pub(crate) fields: BTreeSet<String>,
}

impl Line {
    /// Whether a line that was logged is this one.
    pub(crate) fn is(&self, logged: &Self) -> bool {
        let of = |line: &Self| (line.level.clone(), line.target.clone(), line.fields.clone());
        of(self) == of(logged) && fits(&self.message, &logged.message)
    }
}

/// Whether a text is the pattern with something for each `{…}`.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else {
        return pattern == text;
    };
    let Some((_, after)) = rest.split_once('}') else {
        return false;
    };
    let Some(text) = text.strip_prefix(before) else {
        return false;
    };
    (1..=text.len()).any(|end| text.get(end..).is_some_and(|text| fits(after, text)))
}

/// The lines of the page, those of the spans included.
pub(crate) fn lines() -> Vec<Line> {
    let levels = ["| ERROR |", "| WARN |", "| INFO |", "| DEBUG |"];
    let is_row = |line: &&str| levels.iter().any(|level| line.starts_with(level));
    let rows = PAGE.lines().filter(is_row);
    // A text with backquotes stands between two of them.
    let cell = |text: &str| {
        let long = text
            .strip_prefix("`` ")
            .and_then(|it| it.strip_suffix(" ``"));
        long.unwrap_or(text.trim_matches('`')).to_owned()
    };
    rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let [level, target, message, fields] = cells[..] else {
            panic!("{row}");
        };
        let fields = fields.trim_end_matches(" |").split(", ");
        Line {
            level: level.trim_start_matches("| ").to_owned(),
            target: cell(target),
            message: match cell(message) {
                none if none == "(none)" => String::new(),
                message => message,
            },
            fields: fields.map(cell).filter(|field| field != "none").collect(),
        }
    })
    .collect()
}
