//! The causes that `docs/rejected.md` of the library lists for a rejection.

use ptolemy_webhooks::_REJECTED;

/// Returns the section and the heading of `docs/rejected.md` for this response text.
pub(crate) fn heading(reason: &str) -> Option<(&'static str, &'static str)> {
    let mut section = "";
    for line in _REJECTED.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            section = name;
        }
        let heading = line.strip_prefix("## ");
        if let Some(heading) = heading.filter(|pattern| matches(pattern, reason)) {
            return Some((section, heading));
        }
    }
    None
}

/// Returns the causes under the heading of this response text, one string each.
pub(crate) fn causes(reason: &str) -> Vec<String> {
    let mut lines = _REJECTED.lines();
    let found = heading(reason)
        .and_then(|(_, heading)| lines.find(|line| line.strip_prefix("## ") == Some(heading)));
    if found.is_none() {
        return Vec::new();
    }
    let section = lines.take_while(|line| !line.starts_with('#'));
    let mut causes: Vec<String> = Vec::new();
    for line in section {
        match (line.strip_prefix("- "), causes.last_mut()) {
            (Some(first), _) => causes.push(first.to_owned()),
            (None, Some(cause)) if line.starts_with("  ") => {
                cause.push(' ');
                cause.push_str(line.trim());
            }
            _ => {}
        }
    }
    causes.iter().map(|cause| plain(cause)).collect()
}

/// Whether `text` is `pattern` with something in place of each `…`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        // The shortest match; at the end, the whole rest.
        let found = match parts.peek() {
            None => rest.strip_suffix(part).map(str::len),
            Some(_) => rest.find(part),
        };
        let Some(after) = found
            .filter(|length| *length > 0)
            .and_then(|length| rest.get(length + part.len()..))
        else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

/// A text without the marks of Markdown for strong words and links.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    // `[words](address)` becomes `words`.
    while let Some((before, link)) = rest.split_once('[') {
        text.push_str(before);
        match link.split_once("](").and_then(|(words, after)| {
            let (_, after) = after.split_once(')')?;
            Some((words, after))
        }) {
            Some((words, after)) => {
                text.push_str(words);
                rest = after;
            }
            None => {
                text.push('[');
                rest = link;
            }
        }
    }
    text.push_str(rest);
    text.replace("**", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_in_the_table_has_causes() {
        let rows = _REJECTED.lines().filter(|line| line.ends_with("` |"));
        let texts: Vec<_> = rows.filter_map(|row| row.split(" | ").next()).collect();
        assert_eq!(texts.len(), 31);
        for text in texts {
            let text = text.trim_start_matches("| ").replace('…', "7");
            let causes = causes(&text);
            assert!(!causes.is_empty(), "{text}");
            assert!(causes.iter().all(|it| it.contains(" Fix: ")), "{causes:?}");
            assert!(heading(&text).is_some_and(|(section, _)| !section.is_empty()));
            for cause in causes {
                assert!(!cause.contains("**") && !cause.contains("]("), "{cause}");
                // Here, nothing is above it.
                assert!(!cause.to_lowercase().contains("as above"), "{cause}");
            }
        }
    }

    #[test]
    fn an_unknown_text_has_none_and_links_become_words() {
        assert!(causes("something else").is_empty());
        assert_eq!(plain("a **b** [`c`](https://d.e/) [f] g"), "a b `c` [f] g");
    }
}
