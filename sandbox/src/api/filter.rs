//! The documented filter grammar: `and` of `eq`, sort, limit and cursor.

use std::cmp::Reverse;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::reply::Reply;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// One item of a list: as the filter sees it, and as it is shown.
pub(crate) struct Item {
    pub(crate) number: u64,
    pub(crate) fields: Value,
    pub(crate) shown: Value,
}

/// The parameters of a list call.
pub(crate) struct Query {
    conditions: Vec<(String, Value)>,
    /// The fields to sort by, each descending.
    sort: Vec<String>,
    pub(crate) limit: usize,
    pub(crate) after: Option<String>,
}

impl Query {
    fn everything() -> Self {
        Self {
            conditions: Vec::new(),
            sort: Vec::new(),
            limit: DEFAULT_LIMIT,
            after: None,
        }
    }

    /// Reads the query of a `GET`.
    pub(crate) fn from_query(query: &str) -> Result<Self, Reply> {
        let mut read = Self::everything();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "limit" => read.limit = limit(value.parse().ok())?,
                // The cursors that are issued here are hex and need no decoding.
                "after" => read.after = Some(value.to_owned()),
                _ => return Err(Reply::not_documented("this query parameter")),
            }
        }
        Ok(read)
    }

    /// Reads a filter body. `fields` are those that the records have.
    pub(crate) fn from_body(body: &[u8], fields: &[&str]) -> Result<Self, Reply> {
        let mut read = Self::everything();
        for (name, value) in object(body)? {
            match &*name {
                "filter" => read.conditions = conditions(&value, fields)?,
                "sort" => read.sort = sort(&value, fields)?,
                "limit" => read.limit = limit(value.as_u64())?,
                "after" if value.is_null() => {}
                "after" => read.after = Some(text(&value, "after")?.to_owned()),
                _ => return Err(Reply::not_documented("a field of the filter body")),
            }
        }
        Ok(read)
    }

    /// Reads the body of a count, which the documentation shows with only a filter.
    pub(crate) fn from_count(body: &[u8], fields: &[&str]) -> Result<Self, Reply> {
        let mut read = Self::everything();
        for (name, value) in object(body)? {
            match &*name {
                "filter" => read.conditions = conditions(&value, fields)?,
                _ => {
                    return Err(Reply::not_documented(
                        "a field of a count other than `filter`",
                    ));
                }
            }
        }
        Ok(read)
    }

    /// Keeps the items that meet the conditions, in the requested order.
    pub(crate) fn apply(&self, mut items: Vec<Item>) -> Vec<Item> {
        items.retain(|item| {
            let mut conditions = self.conditions.iter();
            conditions.all(|(field, wanted)| equals(item.fields.get(field), wanted))
        });
        items.sort_by_cached_key(|item| {
            let keys = self.sort.iter().map(|field| item.fields.get(field));
            keys.map(|value| Reverse(Key::of(value)))
                .collect::<Vec<_>>()
        });
        items
    }

    /// Returns a text that is the same for all pages of one list, and differs for another list.
    pub(crate) fn list(&self) -> String {
        format!("{:?} {:?}", self.conditions, self.sort)
    }
}

/// Reads a body that must be one JSON object.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Reply> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Reply::invalid("the body is not a JSON object")),
        Err(_) => Err(Reply::invalid("the body is not JSON")),
    }
}

fn conditions(filter: &Value, fields: &[&str]) -> Result<Vec<(String, Value)>, Reply> {
    let Some(map) = filter.as_object() else {
        return Err(Reply::invalid("`filter` is not an object"));
    };
    if map.keys().any(|name| name != "and") {
        return Err(Reply::not_documented("a combinator other than `and`"));
    }
    let Some(list) = map.get("and") else {
        return Err(Reply::not_documented("a filter without `and`"));
    };
    let Some(list) = list.as_array() else {
        return Err(Reply::invalid("`and` is not an array"));
    };
    list.iter()
        .map(|condition| one_condition(condition, fields))
        .collect()
}

fn one_condition(condition: &Value, fields: &[&str]) -> Result<(String, Value), Reply> {
    let part = |name| condition.get(name);
    only(condition, &["field", "op", "value"])?;
    let (Some(field), Some(op), Some(value)) = (part("field"), part("op"), part("value")) else {
        return Err(Reply::invalid(
            "a condition needs `field`, `op` and `value`",
        ));
    };
    if text(op, "op")? != "eq" {
        return Err(Reply::not_documented("an operator other than `eq`"));
    }
    Ok((known(text(field, "field")?, fields)?, value.clone()))
}

fn sort(sort: &Value, fields: &[&str]) -> Result<Vec<String>, Reply> {
    let Some(list) = sort.as_array() else {
        return Err(Reply::invalid("`sort` is not an array"));
    };
    list.iter()
        .map(|key| {
            only(key, &["field", "direction"])?;
            if key.get("direction").and_then(Value::as_str) != Some("desc") {
                return Err(Reply::not_documented("a direction other than `desc`"));
            }
            let field = key.get("field").unwrap_or(&Value::Null);
            known(text(field, "field")?, fields)
        })
        .collect()
}

/// Checks that an entry of a filter body is an object with only these keys.
fn only(entry: &Value, names: &[&str]) -> Result<(), Reply> {
    let Some(map) = entry.as_object() else {
        return Err(Reply::invalid("an entry of the filter is not an object"));
    };
    if map.keys().all(|name| names.contains(&&**name)) {
        return Ok(());
    }
    Err(Reply::not_documented("a key of an entry of the filter"))
}

fn known(field: &str, fields: &[&str]) -> Result<String, Reply> {
    if fields.contains(&field) {
        Ok(field.to_owned())
    } else {
        Err(Reply::invalid("`field` is not a field of these records"))
    }
}

fn limit(limit: Option<u64>) -> Result<usize, Reply> {
    limit
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| Reply::invalid("`limit` is not a number from 1 to 200"))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Reply> {
    value
        .as_str()
        .ok_or_else(|| Reply::invalid(format!("`{name}` is not a string")))
}

/// Returns whether a field has the requested value. Requests accept a number or a string
/// (documented), so scalars are compared by their text.
fn equals(field: Option<&Value>, wanted: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    field.is_some_and(|field| match (text(field), text(wanted)) {
        (None, None) => field == wanted,
        (field, wanted) => field == wanted,
    })
}

/// Returns the value of a field, in the form by which lists are sorted.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Nothing,
    Bool(bool),
    Number(u64),
    Text(String),
    /// A time, which cannot be sorted as text because it may have a fraction or an offset.
    Time(OffsetDateTime),
}

impl Key {
    fn of(value: Option<&Value>) -> Self {
        match value {
            Some(Value::Bool(value)) => Self::Bool(*value),
            Some(Value::Number(number)) => Self::Number(number.as_u64().unwrap_or_default()),
            Some(Value::String(text)) => match OffsetDateTime::parse(text, &Rfc3339) {
                Ok(time) => Self::Time(time),
                Err(_) => Self::Text(text.clone()),
            },
            _ => Self::Nothing,
        }
    }
}
