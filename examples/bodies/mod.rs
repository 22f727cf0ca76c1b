//! A realistic resource for every known event type, for the examples and the tests.

/// The known event types, each with the JSON of a resource that it may carry.
pub(crate) fn known() -> impl Iterator<Item = (String, &'static str)> {
    [
        (
            "instrument",
            &["created", "updated", "archived", "restored", "deleted"][..],
            include_str!("instrument.json"),
        ),
        (
            "market",
            &["created", "updated", "archived", "restored"],
            include_str!("market.json"),
        ),
        (
            "market_listing",
            &["created", "updated", "archived"],
            include_str!("market_listing.json"),
        ),
        (
            "market_listing_suspension",
            &["created", "updated", "deleted"],
            include_str!("market_listing_suspension.json"),
        ),
        (
            "time_series_value",
            &["created", "updated", "archived"],
            include_str!("time_series_value.json"),
        ),
        (
            "composite_time_series_value",
            &["created"],
            include_str!("composite_time_series_value.json"),
        ),
        (
            "webhook",
            &["created", "updated", "deleted"],
            include_str!("webhook.json"),
        ),
        (
            "membership",
            &["created", "updated", "deleted"],
            include_str!("membership.json"),
        ),
    ]
    .into_iter()
    .flat_map(|(resource, actions, json)| {
        actions
            .iter()
            .map(move |action| (format!("{resource}.{action}"), json))
    })
}

/// The body of an event, as the contract assumes its shape.
pub(crate) fn event(id: &str, event_type: &str, data: &str) -> String {
    format!(
        concat!(
            r#"{{"id":{id},"event_type":{event_type},"#,
            r#""workspace_id":"6f1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8","#,
            r#""created_at":"2026-04-15T09:30:00Z","#,
            r#""actor":{{"type":"robot","id":"5e0b1c2d-3e4f-4950-8a61-72839405a6b7"}},"#,
            r#""data":{data}}}"#,
        ),
        id = serde_json::Value::from(id),
        event_type = serde_json::Value::from(event_type),
        data = data.trim_end(),
    )
}
