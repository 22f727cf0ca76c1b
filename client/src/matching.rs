//! Which of the listed webhooks is the endpoint that `ensure` is asked for.

use reqwest::Url;

use crate::client::Client;
use crate::records::Webhook;
use crate::registration_error::RegistrationError;
use crate::setup_label::split;

/// The webhook that stands for an endpoint.
#[derive(Debug)]
pub(crate) enum Match {
    /// The one that a run before this one created, by its nonce. Its secret was never stored.
    Begun(Webhook),
    Existing(Webhook),
    None,
}

/// Lists all webhooks and looks for the one with this URL.
pub(crate) async fn find(
    client: &Client,
    url: &Url,
    label: Option<&str>,
    nonce: Option<&str>,
) -> Result<Match, RegistrationError> {
    let mut listed = Vec::new();
    let mut list = client.webhooks().list();
    while let Some(webhook) = list.try_next().await? {
        listed.push(webhook);
    }
    choose(listed, url, label, nonce)
}

fn choose(
    listed: Vec<Webhook>,
    url: &Url,
    label: Option<&str>,
    nonce: Option<&str>,
) -> Result<Match, RegistrationError> {
    let without_url = listed.iter().find(|webhook| webhook.url.is_none());
    let without_url = without_url.map(|webhook| webhook.id.clone());
    let same_url: Vec<Webhook> = listed
        .into_iter()
        .filter(|webhook| has_url(webhook, url))
        .collect();
    if let Some(begun) = one(&same_url, |webhook| {
        nonce.is_some() && labels(webhook).1 == nonce
    })? {
        return Ok(Match::Begun(begun.clone()));
    }
    let found = match same_url.as_slice() {
        [only] => Some(only.clone()),
        [] => None,
        several => {
            let wanted = label.unwrap_or_default();
            match one(several, |webhook| labels(webhook).0 == wanted)? {
                Some(webhook) => Some(webhook.clone()),
                None => {
                    return Err(RegistrationError::several_match(
                        &several.iter().collect::<Vec<_>>(),
                    ));
                }
            }
        }
    };
    match (found, without_url) {
        (Some(webhook), _) => Ok(Match::Existing(webhook)),
        (None, Some(id)) => Err(RegistrationError::url_unknown(&id)),
        (None, None) => Ok(Match::None),
    }
}

fn one(
    webhooks: &[Webhook],
    is_match: impl Fn(&Webhook) -> bool,
) -> Result<Option<&Webhook>, RegistrationError> {
    let matching: Vec<&Webhook> = webhooks
        .iter()
        .filter(|&webhook| is_match(webhook))
        .collect();
    match matching.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        several => Err(RegistrationError::several_match(several)),
    }
}

fn labels(webhook: &Webhook) -> (&str, Option<&str>) {
    split(webhook.label.as_deref().unwrap_or_default())
}

/// Parsed, so that `https://Example.com:443` equals `https://example.com/`.
fn has_url(webhook: &Webhook, url: &Url) -> bool {
    let listed = webhook.url.as_deref();
    listed.is_some_and(|listed| Url::parse(listed).is_ok_and(|listed| listed == *url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration_error::RegistrationErrorKind;
    use ptolemy_webhooks::RawJson;

    fn listed(webhooks: &[(&str, &str, &str)]) -> Vec<Webhook> {
        let parse = |(id, url, label): &(&str, &str, &str)| {
            let url = if url.is_empty() {
                String::new()
            } else {
                format!(r#","url":"{url}""#)
            };
            let json = format!(r#"{{"id":"{id}","label":"{label}"{url}}}"#);
            Webhook::parse(RawJson::parse(json).unwrap()).unwrap()
        };
        webhooks.iter().map(parse).collect()
    }

    const HOOK: &str = "https://a.example/hook";
    const NONCE: &str = "0123456789abcdef";

    fn chosen(
        webhooks: &[(&str, &str, &str)],
        label: Option<&str>,
    ) -> Result<String, RegistrationErrorKind> {
        let url = Url::parse(HOOK).unwrap();
        match choose(listed(webhooks), &url, label, Some(NONCE)) {
            Ok(Match::Begun(webhook)) => Ok(format!("begun {}", webhook.id)),
            Ok(Match::Existing(webhook)) => Ok(webhook.id.to_string()),
            Ok(Match::None) => Ok("none".to_owned()),
            Err(error) => Err(error.kind()),
        }
    }

    #[test]
    fn the_url_decides_then_the_nonce_then_the_label() {
        let found = |id: &str| Ok(id.to_owned());
        let other = ("o", "https://a.example/other", "p");
        assert_eq!(chosen(&[other], Some("p")), found("none"));
        assert_eq!(
            chosen(
                &[other, ("a", "https://A.example:443/hook", "x")],
                Some("p")
            ),
            found("a")
        );
        assert_eq!(
            chosen(&[("a", HOOK, "p"), ("b", HOOK, "q")], Some("q")),
            found("b")
        );
        assert_eq!(
            chosen(&[("a", HOOK, ""), ("b", HOOK, "q")], None),
            found("a")
        );
        assert_eq!(
            chosen(
                &[("a", HOOK, "p"), ("b", HOOK, "p (setup 0123456789abcdef)")],
                Some("p")
            ),
            found("begun b")
        );
        assert_eq!(
            chosen(
                &[("a", HOOK, "p (setup aaaaaaaaaaaaaaaa)"), ("b", HOOK, "q")],
                Some("p")
            ),
            found("a")
        );
        assert_eq!(
            chosen(&[("n", "", "p"), ("a", HOOK, "q")], Some("p")),
            found("a")
        );
    }

    #[test]
    fn what_cannot_be_decided_is_an_error() {
        let several = Err(RegistrationErrorKind::SeveralMatch);
        assert_eq!(
            chosen(&[("a", HOOK, "p"), ("b", HOOK, "p")], Some("p")),
            several
        );
        assert_eq!(
            chosen(&[("a", HOOK, "p"), ("b", HOOK, "q")], Some("r")),
            several
        );
        assert_eq!(
            chosen(&[("n", "", "p")], Some("p")),
            Err(RegistrationErrorKind::UrlUnknown)
        );
    }
}
