//! The body of a filter: `and` of `eq`, and a sort.

use serde_json::{Value, json};

use crate::id::{DeliveryId, EventId, WebhookId};

/// Which records a filter returns, and in which order.
///
/// Ptolemy's public pages show one combinator, `and`, and one operator, `eq`, so there are no
/// others here. Compare times in your own program.
///
/// # Examples
///
/// ```
/// use ptolemy_webhooks_client::Filter;
///
/// let filter = Filter::new().eq("status", "failed").sort_descending("delivered_at");
/// assert_eq!(
///     filter.to_json(),
///     r#"{"filter":{"and":[{"field":"status","op":"eq","value":"failed"}]},"sort":[{"direction":"desc","field":"delivered_at"}]}"#,
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Filter {
    clauses: Vec<Value>,
    sort: Vec<Value>,
}

impl Filter {
    /// Returns a filter that every record passes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the condition that a field equals a value.
    pub fn eq(mut self, field: &str, value: impl Into<FilterValue>) -> Self {
        let value = value.into().0;
        self.clauses
            .push(json!({"field": field, "op": "eq", "value": value}));
        self
    }

    /// Sorts by a field, the largest first, which is the only direction that Ptolemy's guide shows.
    /// A second field decides between records that are equal in the first.
    pub fn sort_descending(mut self, field: &str) -> Self {
        self.sort.push(json!({"field": field, "direction": "desc"}));
        self
    }

    /// Returns the JSON of the request without its page.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.body(None, None).to_string()
    }

    pub(crate) fn body(&self, limit: Option<u32>, after: Option<&str>) -> Value {
        let mut body = serde_json::Map::new();
        if !self.clauses.is_empty() {
            body.insert("filter".to_owned(), json!({"and": self.clauses}));
        }
        if !self.sort.is_empty() {
            body.insert("sort".to_owned(), Value::from(self.sort.clone()));
        }
        if let Some(limit) = limit {
            body.insert("limit".to_owned(), Value::from(limit));
        }
        if let Some(after) = after {
            body.insert("after".to_owned(), Value::from(after));
        }
        Value::Object(body)
    }
}

/// A value that a [`Filter`] compares with: text, a whole number, a boolean or an id.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterValue(Value);

impl From<&str> for FilterValue {
    fn from(text: &str) -> Self {
        Self(Value::from(text))
    }
}

impl From<String> for FilterValue {
    fn from(text: String) -> Self {
        Self(Value::from(text))
    }
}

impl From<bool> for FilterValue {
    fn from(flag: bool) -> Self {
        Self(Value::from(flag))
    }
}

impl From<i64> for FilterValue {
    fn from(number: i64) -> Self {
        Self(Value::from(number))
    }
}

impl From<&WebhookId> for FilterValue {
    fn from(id: &WebhookId) -> Self {
        Self::from(id.as_str())
    }
}

impl From<&EventId> for FilterValue {
    fn from(id: &EventId) -> Self {
        Self::from(id.as_str())
    }
}

impl From<&DeliveryId> for FilterValue {
    fn from(id: &DeliveryId) -> Self {
        Self::from(id.as_str())
    }
}
