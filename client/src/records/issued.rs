//! The answers that contain a secret.

use bytes::Bytes;
use ptolemy_webhooks::RawJson;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::webhook::Webhook;
use crate::issued_secret::IssuedSecret;

const PREFIX: &str = "whsec_";

/// A webhook that was just created, and its secret, which is shown this once.
#[derive(Debug)]
#[non_exhaustive]
pub struct CreatedWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// Its secret. It has to be stored before the webhook is subscribed to anything.
    pub secret: IssuedSecret,
}

/// Finds the secret in an answer: the string `secret` of the object, else the only string at any depth
/// that begins with `whsec_`. Ptolemy documents the first for a creation, and nothing for a rotation.
pub(crate) fn issued_secret(body: &[u8]) -> Result<IssuedSecret, &'static str> {
    let mut tree = Tree::parse(body)?;
    let found = tree.secret();
    found.map(|secret| IssuedSecret::new(Zeroizing::new(secret)))
}

/// Reads the answer to a creation.
pub(crate) fn created(body: &[u8]) -> Result<CreatedWebhook, &'static str> {
    let mut tree = Tree::parse(body)?;
    let secret = IssuedSecret::new(Zeroizing::new(tree.secret()?));
    let json =
        RawJson::parse(Bytes::from(tree.0.to_string())).map_err(|_| "the webhook is not JSON")?;
    let webhook = Webhook::parse(json)?;
    Ok(CreatedWebhook { webhook, secret })
}

/// A decoded answer whose strings are wiped on drop.
struct Tree(Value);

impl Tree {
    fn parse(body: &[u8]) -> Result<Self, &'static str> {
        // Messages of serde_json can quote the text.
        serde_json::from_slice(body)
            .map(Self)
            .map_err(|_| "it is not JSON")
    }

    /// Takes the secret out of the tree.
    fn secret(&mut self) -> Result<String, &'static str> {
        let top = match &mut self.0 {
            Value::Object(fields) if fields.get("secret").is_some_and(is_text) => {
                match fields.remove("secret") {
                    Some(Value::String(text)) => Some(text),
                    _ => None,
                }
            }
            _ => None,
        };
        let mut others = Vec::new();
        take_secrets(&mut self.0, &mut others);
        let mut others = others.into_iter();
        match (top, others.next(), others.next()) {
            (Some(top), one, another) => {
                // Fields of other names can repeat it, or show the one before it.
                one.into_iter().chain(another).chain(others).for_each(wipe);
                Ok(top)
            }
            (None, Some(only), None) => Ok(only),
            (None, None, _) => Err("no field `secret` and no text that begins with whsec_"),
            (None, one, another) => {
                one.into_iter().chain(another).chain(others).for_each(wipe);
                Err("several texts that begin with whsec_")
            }
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        each_text(&mut self.0, &mut |text| text.zeroize());
    }
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn wipe(mut text: String) {
    text.zeroize();
}

fn take_secrets(value: &mut Value, found: &mut Vec<String>) {
    each_text(value, &mut |text| {
        if text.starts_with(PREFIX) {
            found.push(std::mem::replace(text, "(removed)".to_owned()));
        }
    });
}

/// serde_json reads at most 128 levels, so the recursion is bounded.
fn each_text(value: &mut Value, visit: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, visit)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|value| each_text(value, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_is_if_it_is_the_only_one() {
        for body in [
            r#"{"secret":"whsec_1"}"#,
            r#"{"data":{"signing":[{"key":"whsec_1"}]}}"#,
            r#"{"secret":{"value":"whs\u0065c_1"}}"#,
            r#""whsec_1""#,
            r#"{"secret":"whsec_1","previous":"whsec_0"}"#,
            r#"{"secret":null,"new_secret":"whsec_1"}"#,
        ] {
            let secret = issued_secret(body.as_bytes());
            assert_eq!(
                secret.as_ref().map(IssuedSecret::expose),
                Ok("whsec_1"),
                "{body}"
            );
        }
        for body in [
            "",
            "{}",
            "7",
            "<html>",
            r#"{"a":"whsec_1","b":"whsec_2"}"#,
            r#"{"secret":""}"#,
        ] {
            assert!(issued_secret(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_json_of_a_created_webhook_has_no_secret() {
        let body = br#"{"id":"w","secret":"whsec_1","again":["whsec_1"],"label":"a"}"#;
        let CreatedWebhook { webhook, secret } = created(body).unwrap();
        assert_eq!(secret.expose(), "whsec_1");
        assert_eq!(webhook.label.as_deref(), Some("a"));
        assert_eq!(
            webhook.raw.as_str(),
            r#"{"again":["(removed)"],"id":"w","label":"a"}"#
        );
    }
}
