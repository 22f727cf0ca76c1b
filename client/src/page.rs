//! One page of a list: the documented envelope, and the shapes that it could have instead.

use bytes::Bytes;
use ptolemy_webhooks::RawJson;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// The longest accepted cursor, in bytes.
const MAX_CURSOR_BYTES: usize = 64 * 1024;

/// The records of one page as JSON, and the cursor of the next page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<RawJson>,
    /// The cursor of the next page; `None` after the last one.
    pub(crate) next: Option<String>,
}

impl Page {
    /// Reads `{"data":[…],"meta":{"next_cursor":…,"has_more":…}}`, also without `meta` if the page
    /// is not full, and a bare array, which is the whole list.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with a page that is neither, that announces more pages without a
    /// cursor, or that is full and does not say whether there are more.
    pub(crate) fn parse(json: &RawJson, page_size: u32) -> Result<Self, PageFault> {
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
            next: next(
                &fields,
                items.len() >= usize::try_from(page_size).unwrap_or(usize::MAX),
            )?,
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

fn next(fields: &HashMap<String, &RawValue>, is_full: bool) -> Result<Option<String>, PageFault> {
    let meta: HashMap<String, &RawValue> = field(fields, "meta").unwrap_or_default();
    let has_more: Option<bool> = field(&meta, "has_more");
    let cursor = match meta.get("next_cursor") {
        None => None,
        Some(cursor) => Some(
            serde_json::from_str::<Option<String>>(cursor.get())
                .map_err(|_| PageFault::Cursor("the cursor is neither a string nor null"))?,
        ),
    };
    let says_end = has_more == Some(false) || cursor == Some(None);
    match (
        has_more,
        cursor.flatten().filter(|cursor| !cursor.is_empty()),
    ) {
        (Some(false), _) => Ok(None),
        (Some(true), None) => Err(PageFault::Cursor("there are more pages, but no cursor")),
        // The server may have left out records that do not fit.
        (None, None) if is_full && !says_end => Err(PageFault::Cursor(
            "the page is full and does not say whether there are more",
        )),
        (None, None) => Ok(None),
        (_, Some(cursor)) if cursor.len() > MAX_CURSOR_BYTES => {
            Err(PageFault::Cursor("the cursor is longer than 64 KiB"))
        }
        (_, Some(cursor)) => Ok(Some(cursor)),
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
        let page = Page::parse(&RawJson::parse(json.to_owned()).unwrap(), 3)?;
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
            (r#"{"data":[1,2,3],"meta":{"has_more":false}}"#, (3, None)),
            (r#"{"data":[1,2,3],"meta":{"next_cursor":null}}"#, (3, None)),
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
        for json in [
            r#"{"data":[1],"meta":{"has_more":true}}"#,
            &long,
            r#"{"data":[1,2,3]}"#,
            r#"{"data":[1,2,3],"meta":{}}"#,
            r#"{"data":[1,2,3],"meta":{"next_cursor":""}}"#,
            r#"{"data":[1],"meta":{"next_cursor":7}}"#,
            r#"{"data":[1],"meta":{"next_cursor":{},"has_more":false}}"#,
        ] {
            assert!(matches!(parse(json), Err(PageFault::Cursor(_))), "{json}");
        }
        for json in ["{}", "7", r#"{"data":{}}"#, r#"{"data":null}"#] {
            assert!(matches!(parse(json), Err(PageFault::Shape(_))), "{json}");
        }
    }
}
