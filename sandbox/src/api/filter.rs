//! The documented filter grammar: `and` of `eq`, sort, limit and cursor.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::reply::Reply;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// One thing of a list: as the filter sees it, and as it is shown.
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) fields: Value,
    pub(crate) shown: Value,
}

/// The parameters of a list call.
pub(crate) struct Query {
    conditions: Vec<(String, Value)>,
    sort: Vec<(String, bool)>,
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
                // The cursors given out here are hex and need no decoding.
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

    /// Keeps the items that meet the conditions, in the order asked for.
    pub(crate) fn apply(&self, mut items: Vec<Item>) -> Vec<Item> {
        items.retain(|item| {
            let mut conditions = self.conditions.iter();
            conditions.all(|(field, wanted)| item.fields.get(field) == Some(wanted))
        });
        items.sort_by(|one, other| {
            self.sort
                .iter()
                .map(|(field, descending)| {
                    let order = compare(one.fields.get(field), other.fields.get(field));
                    if *descending { order.reverse() } else { order }
                })
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        items
    }

    /// Returns a text that is the same for all pages of one list, and differs for another list.
    pub(crate) fn list(&self) -> String {
        format!("{:?} {:?}", self.conditions, self.sort)
    }
}

/// Reads a body that must be one JSON object; an empty one counts as `{}`.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Reply> {
    if body.is_empty() {
        return Ok(Map::new());
    }
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
        return Ok(Vec::new());
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
    if part("and").is_some() || part("or").is_some() || part("not").is_some() {
        return Err(Reply::not_documented("a combinator inside `and`"));
    }
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

fn sort(sort: &Value, fields: &[&str]) -> Result<Vec<(String, bool)>, Reply> {
    let Some(list) = sort.as_array() else {
        return Err(Reply::invalid("`sort` is not an array"));
    };
    list.iter()
        .map(|key| {
            let field = key.get("field").unwrap_or(&Value::Null);
            let descending = match key.get("direction").and_then(Value::as_str) {
                Some("desc") => true,
                Some("asc") => false,
                _ => return Err(Reply::invalid("`direction` is neither `asc` nor `desc`")),
            };
            Ok((known(text(field, "field")?, fields)?, descending))
        })
        .collect()
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

/// Orders values of one type; anything else comes before text. Times in RFC 3339 sort as text.
fn compare(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let number = |value: Option<&Value>| value.and_then(Value::as_u64);
    text(one)
        .cmp(&text(other))
        .then(number(one).cmp(&number(other)))
}
