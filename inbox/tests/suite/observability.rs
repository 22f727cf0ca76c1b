//! The page `docs/observability.md` of the core lists what the sources log, and the alert rules
//! name metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::log_table::{Line, lines};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The parts of a macro's arguments, up to its closing bracket.
fn arguments(source: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut depth, mut is_text) = (0, false);
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_text => {
                part.push(c);
                part.extend(chars.next());
                continue;
            }
            '"' => is_text = !is_text,
            _ if is_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    let without_comments = |part: String| {
        let lines = part.lines().map(str::trim);
        let lines = lines.filter(|line| !line.starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let parts = parts.into_iter().map(without_comments);
    parts.filter(|part| !part.is_empty()).collect()
}

/// Returns the text of a literal that may continue on the next line.
fn literal(part: &str) -> Option<String> {
    let text = part.trim().strip_prefix('"')?.strip_suffix('"')?;
    Some(text.replace("\\\n", ""))
}

/// Returns the line that a macro logs.
fn line(macro_name: &str, target: &str, arguments: &[String]) -> Line {
    let level = macro_name.trim_end_matches("_span").to_uppercase();
    let message = arguments.iter().position(|part| literal(part).is_some());
    let mut fields = arguments.to_vec();
    let message = match message {
        Some(position) => {
            let message = literal(&fields.remove(position)).unwrap();
            if !macro_name.ends_with("_span") {
                fields.truncate(position);
            }
            message
        }
        None => String::new(),
    };
    let name = |field: &String| {
        let (name, _) = field.split_once('=').unwrap_or((field, ""));
        name.trim().trim_start_matches(['%', '?']).to_owned()
    };
    let (target, fields) = (target.to_owned(), fields.iter().map(name).collect());
    Line {
        level,
        target,
        message,
        fields,
    }
}

/// Returns the lines that the sources of a package log, without its unit tests.
fn logged_by(folder: &str, package: &str) -> Vec<Line> {
    let src = root().join(folder);
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut lines = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        let path = file.strip_prefix(&src).unwrap().with_extension("");
        let module = path.to_str().unwrap().replace('/', "::");
        let target = format!("{package}::{module}");
        for call in source.split("tracing::").skip(1) {
            let Some((name, rest)) = call.split_once("!(") else {
                continue;
            };
            let levels = [
                "error",
                "warn",
                "info",
                "debug",
                "trace",
                "info_span",
                "debug_span",
            ];
            if !levels.contains(&name) {
                continue;
            }
            let line = line(name, &target, &arguments(rest));
            if line.message != "{}" {
                lines.push(line);
                continue;
            }
            // `reach` has one text for each of its users.
            let field = rest.split("self.lines.").nth(1).unwrap();
            let field = field.split(')').next().unwrap();
            let start = format!("{field}: \"");
            for text in source.split(&start).skip(1) {
                let message = text.split('"').next().unwrap().to_owned();
                lines.push(Line {
                    message,
                    ..line.clone()
                });
            }
        }
    }
    lines
}

#[test]
fn the_page_has_each_line_of_the_sources_and_no_other() {
    let mut logged = logged_by("inbox/src", "ptolemy_webhooks_inbox");
    logged.extend(logged_by("client/src", "ptolemy_webhooks_client"));
    assert!(logged.len() > 50, "{}", logged.len());
    assert!(logged_by("src", "ptolemy_webhooks").is_empty());
    let logged: BTreeSet<_> = logged.into_iter().collect();
    let page: BTreeSet<_> = lines().into_iter().collect();
    let missing: Vec<_> = logged.difference(&page).collect();
    let wrong: Vec<_> = page.difference(&logged).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "not in the page: {missing:#?}\nonly in the page: {wrong:#?}"
    );
}

/// Returns the names in a text that begin like metrics.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let prefixes = ["ptolemy_webhooks_", "ptolemy_inbox_"];
    let is_metric = |word: &&str| prefixes.iter().any(|prefix| word.starts_with(prefix));
    words.filter(is_metric).map(str::to_owned).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn each_metric_and_label_of_the_alert_rules_exists() {
    let page = read("docs/observability.md");
    let rows: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| `ptolemy_"))
        .filter_map(|line| Some((line.split('`').nth(1)?, line)))
        .collect();
    let alerts = read("docs/alerts.yml");
    let expressions: Vec<_> = alerts
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    let used = metrics_in(&expressions.join("\n"));
    assert!(used.len() >= 8, "{used:?}");
    for name in &used {
        // A histogram has several series.
        let ends = ["", "_bucket", "_count", "_sum"];
        let row = rows
            .iter()
            .find(|(metric, _)| ends.iter().any(|end| *name == format!("{metric}{end}")));
        assert!(row.is_some(), "{name} does not exist");
    }
    // `metric{label="value"}`, also with `!=`, `=~` and `!~`, and several values.
    let mut selectors = 0;
    for part in alerts.split('{').skip(1) {
        let Some((labels, _)) = part.split_once('}') else {
            continue;
        };
        for pair in labels.split(',').filter(|pair| pair.contains('"')) {
            let (label, values) = pair.split_once('"').unwrap();
            let label = label.trim().trim_end_matches(['=', '!', '~']);
            // Prometheus adds this one.
            if label == "job" {
                continue;
            }
            for value in values.trim_end_matches('"').split('|') {
                let is_known = rows.iter().any(|(_, row)| {
                    row.contains(&format!("`{label}`:")) && row.contains(&format!("`{value}`"))
                });
                assert!(is_known, "{label}={value}");
                selectors += 1;
            }
        }
    }
    assert!(selectors >= 4, "{selectors}");
}

#[test]
#[ignore = "needs promtool"]
fn the_alerts_fire_and_end_as_their_tests_say() {
    let promtool = |arguments: &[&str]| {
        let mut command = Command::new("promtool");
        let output = command.args(arguments).current_dir(root().join("docs"));
        let output = output.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
}

#[test]
fn each_alert_fires_in_a_test() {
    let tests = read("docs/alerts.test.yml");
    let fires = |name: &str| {
        let start = format!("alertname: {name}\n");
        let mut uses = tests.split(&start).skip(1);
        uses.any(|rest| rest.trim_start().starts_with("exp_alerts:"))
    };
    let alerts = read("docs/alerts.yml");
    let names = alerts.split("- alert: ").skip(1);
    let names: Vec<_> = names.filter_map(|rule| rule.lines().next()).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        assert!(fires(name), "{name}");
    }
}

#[test]
fn each_alert_says_what_to_do() {
    let alerts = read("docs/alerts.yml");
    let rules: Vec<_> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() >= 8, "{}", rules.len());
    for rule in rules {
        let name = rule.lines().next().unwrap();
        for key in ["expr:", "for:", "severity:", "summary:", "description:"] {
            assert!(rule.contains(key), "{name} has no {key}");
        }
    }
}
