//! The answers that contain a secret.

use bytes::Bytes;
use ptolemy_webhooks::{RawJson, Secret};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::webhook::Webhook;
use crate::issued_secret::IssuedSecret;

const PREFIX: &str = "whsec_";

/// The minimum number of characters after the prefix, outside the documented field: a shorter text
/// may be the beginning of a secret. The secrets in the documentation have 24.
const MIN_KEY_CHARS: usize = 16;
const MAX_KEY_CHARS: usize = 1024;

/// A webhook that was just created, and its secret, which is shown only this once.
#[derive(Debug)]
#[non_exhaustive]
pub struct CreatedWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// Its secret. Store it before the webhook is subscribed to anything.
    pub secret: IssuedSecret,
}

/// Finds the secret in an answer: the string `secret` of the object, otherwise the only string at
/// any depth that is `whsec_` followed by a possible key. Ptolemy documents the first for a
/// creation, and nothing for a rotation.
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

    /// Takes the secret out of the tree, with every text that contains it or looks like another
    /// one.
    fn secret(&mut self) -> Result<String, &'static str> {
        let secret = self.find()?;
        each_text(&mut self.0, &mut |text| {
            if text.contains(secret.as_str()) || text.contains(PREFIX) {
                text.zeroize();
                *text = "(removed)".to_owned();
            }
        });
        if let Value::Object(fields) = &mut self.0 {
            fields.remove("secret");
        }
        Ok(secret)
    }

    fn find(&mut self) -> Result<String, &'static str> {
        if let Some(Value::String(text)) = self.0.get("secret") {
            // If this secret is masked, another one must not be taken instead, such as the previous
            // one.
            return if is_secret(text, 1) {
                Ok(text.clone())
            } else {
                Err("the field `secret` is not a secret")
            };
        }
        let mut found: Vec<Zeroizing<String>> = Vec::new();
        each_text(&mut self.0, &mut |text| {
            if is_secret(text, MIN_KEY_CHARS) && !found.iter().any(|found| **found == *text) {
                found.push(Zeroizing::new(text.clone()));
            }
        });
        match found.as_mut_slice() {
            [] => Err("no field `secret` and no secret (whsec_…) elsewhere"),
            [only] => Ok(std::mem::take(&mut **only)),
            _ => Err("several texts that begin with whsec_"),
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        each_text(&mut self.0, &mut |text| text.zeroize());
    }
}

/// Returns whether a text can be a secret; otherwise a masked or cut text would be stored as one.
fn is_secret(text: &str, min_key_chars: usize) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|key| {
        (min_key_chars..=MAX_KEY_CHARS).contains(&key.len())
            && key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_+/=.~".contains(&byte))
            && !key.contains("...")
    }) && Secret::new(text).is_ok()
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

    const A: &str = "whsec_a3f9b2c1d4e5f6a7b8c9d0e1";
    const B: &str = "whsec_00112233445566778899";

    fn body(template: &str) -> String {
        template.replace("$A", A).replace("$B", B)
    }

    #[test]
    fn a_secret_is_found_wherever_it_is_if_it_is_the_only_one() {
        for template in [
            r#"{"secret":"$A"}"#,
            r#"{"data":{"signing":[{"key":"$A"}]}}"#,
            r#"{"secret":{"value":"whs\u0065c_a3f9b2c1d4e5f6a7b8c9d0e1"}}"#,
            r#""$A""#,
            r#"{"secret":"$A","previous":"$B"}"#,
            r#"{"secret":null,"new_secret":"$A"}"#,
            r#"{"a":"$A","b":"$A"}"#,
            r#"{"a":"$A","old":"whsec_****************"}"#,
        ] {
            let secret = issued_secret(body(template).as_bytes());
            assert_eq!(
                secret.as_ref().map(IssuedSecret::expose),
                Ok(A),
                "{template}"
            );
        }
        for template in [
            "",
            "{}",
            "7",
            "<html>",
            r#"{"a":"$A","b":"$B"}"#,
            r#"{"secret":""}"#,
        ] {
            assert!(
                issued_secret(body(template).as_bytes()).is_err(),
                "{template}"
            );
        }
    }

    #[test]
    fn a_masked_or_cut_secret_is_not_one() {
        for text in [
            "whsec_",
            "whsec_********************",
            "whsec_a3f9b2c1d4e5f6a7…",
            "whsec_a3f9b2c1d4e5f6a7...",
            "whsec_a3f9 b2c1d4e5f6a7b8c9",
            "a3f9b2c1d4e5f6a7b8c9d0e1",
        ] {
            for json in [
                format!(r#"{{"secret":"{text}"}}"#),
                format!(r#"{{"secret":"{text}","previous":"{B}"}}"#),
                format!(r#"{{"key":"{text}"}}"#),
            ] {
                assert!(issued_secret(json.as_bytes()).is_err(), "{json}");
            }
        }
        // A short text may be the beginning of a secret, unless it is in the documented field.
        assert!(issued_secret(br#"{"key":"whsec_a3f9"}"#).is_err());
        assert!(issued_secret(br#"{"secret":"whsec_a3f9"}"#).is_ok());
    }

    #[test]
    fn the_json_of_a_created_webhook_has_no_secret() {
        let body = body(
            r#"{"id":"w","secret":"$A","again":["$A"],"env":"SECRET=$A","old":"x $B","label":"a"}"#,
        );
        let CreatedWebhook { webhook, secret } = created(body.as_bytes()).unwrap();
        assert_eq!(secret.expose(), A);
        assert_eq!(webhook.label.as_deref(), Some("a"));
        assert_eq!(
            webhook.raw.as_str(),
            r#"{"again":["(removed)"],"env":"(removed)","id":"w","label":"a","old":"(removed)"}"#
        );
    }
}
