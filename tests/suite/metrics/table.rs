//! The table of metrics in `docs/observability.md`; the suite of the inbox reads it too.

use std::collections::{BTreeMap, BTreeSet};

use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, Snapshotter};

/// What was recorded of one series.
#[derive(Debug)]
pub(crate) struct Recorded {
    kind: MetricKind,
    unit: Option<String>,
    has_help: bool,
    /// The number of values of a histogram.
    pub(crate) value: f64,
}

/// Each series as `name{label=value,…}`.
pub(crate) type Series = BTreeMap<String, Recorded>;

/// What was recorded since the last call.
pub(crate) fn series(snapshotter: &Snapshotter) -> Series {
    let snapshot = snapshotter.snapshot().into_vec().into_iter();
    let series = snapshot.map(|(key, unit, help, value)| {
        let labels = key.key().labels();
        let labels = labels.map(|label| format!("{}={}", label.key(), label.value()));
        let labels: BTreeSet<_> = labels.collect();
        let labels = labels.into_iter().collect::<Vec<_>>().join(",");
        let recorded = Recorded {
            kind: key.kind(),
            unit: unit.map(|unit| unit.as_str().to_owned()),
            has_help: help.is_some(),
            value: match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(values) => values.len() as f64,
            },
        };
        (format!("{}{{{labels}}}", key.key().name()), recorded)
    });
    series.collect()
}

/// The page, from the package of either suite.
const PAGE: &str = include_str!("../../../docs/observability.md");

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    kind: String,
    unit: String,
    /// The values of each label.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The texts between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows whose names begin with the prefix.
pub(crate) fn rows(prefix: &str) -> Vec<Row> {
    let start = format!("| `{prefix}");
    let lines = PAGE.lines().filter(|line| line.starts_with(&start));
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", name, kind, unit, labels, recorded, action, ""] = cells[..] else {
            panic!("{line}");
        };
        assert!(!recorded.is_empty() && !action.is_empty(), "{line}");
        let label = |part: &str| {
            let (name, values) = part.split_once(':')?;
            let values = quoted(values).map(str::to_owned).collect();
            Some((quoted(name).next()?.to_owned(), values))
        };
        Row {
            name: name.trim_matches('`').to_owned(),
            kind: kind.to_owned(),
            unit: unit.to_owned(),
            labels: labels.split(';').filter_map(label).collect(),
        }
    };
    // The tables of spans and log lines have fewer cells.
    lines
        .filter(|line| line.matches('|').count() == 7)
        .map(row)
        .collect()
}

/// The names of the histograms in these rows, with their buckets as the table of buckets has them.
pub(crate) fn buckets_of(rows: &[Row]) -> Vec<(String, String)> {
    let histograms = rows.iter().filter(|row| row.kind == "histogram");
    let with_buckets = histograms.map(|row| {
        let start = format!("| `{}` |", row.name);
        let mut lines = PAGE.lines().filter(|line| line.starts_with(&start));
        // The table of metrics has more cells.
        let line = lines.find(|line| line.matches('|').count() == 3);
        let line = line.unwrap_or_else(|| panic!("no buckets: {}", row.name));
        let buckets = line.split('|').nth(2).unwrap().trim();
        (row.name.clone(), buckets.to_owned())
    });
    let mut with_buckets: Vec<_> = with_buckets.collect();
    with_buckets.sort();
    with_buckets
}

/// The same of a list in the code.
pub(crate) fn buckets_in<'a>(
    list: impl Iterator<Item = (&'a str, &'a [f64])>,
) -> Vec<(String, String)> {
    let texts = list.map(|(name, buckets)| {
        assert!(buckets.is_sorted_by(|a, b| a < b), "{name}: {buckets:?}");
        let buckets: Vec<_> = buckets.iter().map(f64::to_string).collect();
        (name.to_owned(), buckets.join(", "))
    });
    let mut texts: Vec<_> = texts.collect();
    texts.sort();
    texts
}

/// Compares the rows with the series of a run: name and labels, kind, unit and value. Each value of
/// each label must have been emitted with a value above zero, and no other.
pub(crate) fn compare<'a>(
    rows: &[Row],
    series: impl IntoIterator<Item = (&'a String, &'a Recorded)>,
) {
    let mut emitted: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let mut has_value = BTreeSet::new();
    for (series, recorded) in series {
        let (kind, value) = (
            format!("{:?}", recorded.kind).to_lowercase(),
            recorded.value,
        );
        assert!(recorded.has_help, "{series} has no help text");
        let (name, labels) = series.strip_suffix('}').unwrap().split_once('{').unwrap();
        let row = rows.iter().find(|row| row.name == name);
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!(row.kind, kind, "{name}");
        assert_eq!(Some(&row.unit), recorded.unit.as_ref(), "{name}");
        match &*row.unit {
            "seconds" => assert!(name.ends_with("_seconds"), "{name}"),
            "bytes" => assert!(name.ends_with("_bytes"), "{name}"),
            unit => assert_eq!(unit, "count", "{name}"),
        }
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        let pairs = labels.split(',').filter(|pair| !pair.is_empty());
        let pairs: Vec<_> = pairs.map(|pair| pair.split_once('=').unwrap()).collect();
        let names: BTreeSet<_> = pairs.iter().map(|(label, _)| label.to_string()).collect();
        assert_eq!(names, row.labels.keys().cloned().collect(), "{name}");
        // A gauge may be zero, and a counter that was only set to zero was not emitted.
        let is_emitted = value > 0.0 || kind == "gauge";
        if is_emitted {
            has_value.insert(name);
        }
        let of_name = emitted.entry(name.to_owned()).or_default();
        for (label, value_of_label) in pairs {
            let known = &row.labels[label];
            assert!(
                known.contains(value_of_label),
                "{name}: {label}={value_of_label}"
            );
            if is_emitted {
                let values = of_name.entry(label.to_owned()).or_default();
                values.insert(value_of_label.to_owned());
            }
        }
    }
    for row in rows {
        let was_emitted = has_value.contains(row.name.as_str());
        assert!(was_emitted, "{} has no value", row.name);
        let emitted = emitted.get(&row.name);
        assert_eq!(emitted, Some(&row.labels), "{}", row.name);
    }
}
