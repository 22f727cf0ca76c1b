//! One page of a list: the documented envelope, and the shapes that it could have instead.

use bytes::Bytes;
use ptolemy_webhooks::RawJson;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// The longest cursor that is sent back, in bytes.
const MAX_CURSOR_BYTES: usize = 64 * 1024;

/// The records of one page as JSON, and the cursor of the next page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<RawJson>,
    /// The cursor of the next page; `None` after the last one.
    pub(crate) next: Option<String>,
}

impl Page {
    /// Reads `{"data":[…],"meta":{"next_cursor":…,"has_more":…}}`, also without `meta`, and a bare
    /// array.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with a page that is neither, or that announces more pages without a
    /// cursor.
    pub(crate) fn parse(json: &RawJson) -> Result<Self, PageFault> {
        if let Ok(items) = json.decode::<Vec<&RawValue>>() {
            let items = slices(json, &items)?;
            return Ok(Self { items, next: None });
        }
        let fields = json
            .decode::<HashMap<String, &RawValue>>()
            .map_err(|_| PageFault::Shape("the list is neither an object nor an array"))?;
        let items: Vec<&RawValue> =
            field(&fields, "data").ok_or(PageFault::Shape("the list has no array `data`"))?;
        Ok(Self {
            items: slices(json, &items)?,
            next: next(&fields)?,
        })
    }
}

/// What is wrong with a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PageFault {
    Shape(&'static str),
    Cursor(&'static str),
}

fn field<'a, T: Deserialize<'a>>(fields: &HashMap<String, &'a RawValue>, name: &str) -> Option<T> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

fn next(fields: &HashMap<String, &RawValue>) -> Result<Option<String>, PageFault> {
    let Some(meta) = field::<HashMap<String, &RawValue>>(fields, "meta") else {
        return Ok(None);
    };
    let has_more: Option<bool> = field(&meta, "has_more");
    let cursor: Option<String> = field(&meta, "next_cursor");
    match (has_more, cursor.filter(|cursor| !cursor.is_empty())) {
        (Some(false), _) | (None, None) => Ok(None),
        (Some(true), None) => Err(PageFault::Cursor("there are more pages, but no cursor")),
        (_, Some(cursor)) if cursor.len() > MAX_CURSOR_BYTES => {
            Err(PageFault::Cursor("the cursor is longer than 64 KiB"))
        }
        (_, cursor) => Ok(cursor),
    }
}

/// The items share the memory of the page.
fn slices(json: &RawJson, items: &[&RawValue]) -> Result<Vec<RawJson>, PageFault> {
    let page: Bytes = json.clone().into_bytes();
    items
        .iter()
        .map(|item| {
            RawJson::parse(page.slice_ref(item.get().as_bytes()))
                .map_err(|_| PageFault::Shape("an item of the list is not JSON"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<(usize, Option<String>), PageFault> {
        let page = Page::parse(&RawJson::parse(json.to_owned()).unwrap())?;
        Ok((page.items.len(), page.next))
    }

    #[test]
    fn a_page_is_the_envelope_or_a_bare_array() {
        let next = Some("c".to_owned());
        for (json, expected) in [
            (
                r#"{"data":[1,2],"meta":{"next_cursor":"c","has_more":true}}"#,
                (2, next.clone()),
            ),
            (
                r#"{"data":[],"meta":{"next_cursor":"c","has_more":true}}"#,
                (0, next.clone()),
            ),
            (r#"{"data":[1],"meta":{"next_cursor":"c"}}"#, (1, next)),
            (
                r#"{"data":[1],"meta":{"next_cursor":"c","has_more":false}}"#,
                (1, None),
            ),
            (
                r#"{"data":[1],"meta":{"next_cursor":null,"has_more":false}}"#,
                (1, None),
            ),
            (r#"{"data":[1],"meta":null}"#, (1, None)),
            (r#"{"data":[1]}"#, (1, None)),
            ("[1,2,3]", (3, None)),
        ] {
            assert_eq!(parse(json).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn a_page_that_could_lose_records_is_an_error() {
        let long = format!(
            r#"{{"data":[],"meta":{{"next_cursor":"{}"}}}}"#,
            "c".repeat(1 << 20)
        );
        for json in [r#"{"data":[1],"meta":{"has_more":true}}"#, &long] {
            assert!(matches!(parse(json), Err(PageFault::Cursor(_))));
        }
        for json in ["{}", "7", r#"{"data":{}}"#, r#"{"data":null}"#] {
            assert!(matches!(parse(json), Err(PageFault::Shape(_))), "{json}");
        }
    }
}
