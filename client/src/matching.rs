//! Which of the listed webhooks is the endpoint that `ensure` looks for.

use reqwest::Url;

use crate::client::Client;
use crate::id::WebhookId;
use crate::records::Webhook;
use crate::registration_error::RegistrationError;
use crate::setup_label::split;

/// The webhook of an endpoint.
#[derive(Debug)]
pub(crate) enum Match {
    /// The one that an earlier run created, found by its nonce. Its secret was never stored.
    Begun(Webhook),
    Existing(Webhook),
    None,
}

/// The endpoint as it is known before the webhooks are listed.
pub(crate) struct Known<'a> {
    pub(crate) url: &'a Url,
    pub(crate) label: Option<&'a str>,
    /// The nonce in the label of the webhook that an earlier run may have created.
    pub(crate) nonce: Option<&'a str>,
    /// The webhook whose secret is in the place.
    pub(crate) noted: Option<&'a WebhookId>,
}

/// Lists all webhooks and looks for the one that is known.
pub(crate) async fn find(client: &Client, known: &Known<'_>) -> Result<Match, RegistrationError> {
    let mut found = Found::default();
    let mut list = client.webhooks().list().limited();
    while let Some(webhook) = list.try_next().await? {
        found.add(webhook, known);
    }
    found.choose(known)
}

/// The listed webhooks that can be the one. The others are not kept.
#[derive(Default)]
struct Found {
    begun: Vec<Webhook>,
    noted: Option<Webhook>,
    same_url: Vec<Webhook>,
    without_url: Option<WebhookId>,
}

impl Found {
    fn add(&mut self, webhook: Webhook, known: &Known<'_>) {
        // Only the nonce is compared, because a server may write the URL in another form.
        if known.nonce.is_some() && labels(&webhook).1 == known.nonce {
            self.begun.push(webhook);
        } else if known.noted == Some(&webhook.id) {
            self.noted = Some(webhook);
        } else if has_url(&webhook, known.url) {
            self.same_url.push(webhook);
        } else if webhook.url.is_none() {
            self.without_url.get_or_insert(webhook.id);
        }
    }

    fn choose(self, known: &Known<'_>) -> Result<Match, RegistrationError> {
        if let Some(begun) = one(&self.begun, |_| true)? {
            return Ok(Match::Begun(begun.clone()));
        }
        // The secret in the place belongs to the noted webhook, and the secret of another one would
        // overwrite it.
        if let Some(noted) = self.noted {
            return match noted.url.as_deref() {
                Some(url) if is_same_endpoint(url, known.url) => Ok(Match::Existing(noted)),
                Some(url) => Err(RegistrationError::other_url(&noted.id, url, known.url)),
                None => Err(RegistrationError::url_unknown(&noted.id)),
            };
        }
        let found = match self.same_url.as_slice() {
            [] => None,
            [only] => Some(only),
            several => {
                let wanted = known.label.unwrap_or_default();
                let labelled = one(several, |webhook| labels(webhook).0 == wanted)?;
                let all = || several.iter().collect::<Vec<_>>();
                Some(labelled.ok_or_else(|| RegistrationError::several_match(&all()))?)
            }
        };
        match (found, self.without_url) {
            (Some(webhook), _) => Ok(Match::Existing(webhook.clone())),
            (None, Some(id)) => Err(RegistrationError::url_unknown(&id)),
            (None, None) => Ok(Match::None),
        }
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

/// Returns whether a listed URL can be a server's form of the other one: it may leave out the user,
/// the fragment and a slash at the end.
pub(crate) fn is_same_endpoint(listed: &str, url: &Url) -> bool {
    fn parts(url: &Url) -> impl PartialEq {
        (
            url.scheme().to_owned(),
            url.host_str().map(str::to_owned),
            url.port_or_known_default(),
            url.path().trim_end_matches('/').to_owned(),
            url.query().map(str::to_owned),
        )
    }
    Url::parse(listed).is_ok_and(|listed| parts(&listed) == parts(url))
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
        chosen_if_noted(webhooks, label, None)
    }

    fn chosen_if_noted(
        webhooks: &[(&str, &str, &str)],
        label: Option<&str>,
        noted: Option<&str>,
    ) -> Result<String, RegistrationErrorKind> {
        let (url, noted) = (Url::parse(HOOK).unwrap(), noted.map(WebhookId::from));
        let known = Known {
            url: &url,
            label,
            nonce: Some(NONCE),
            noted: noted.as_ref(),
        };
        let mut found = Found::default();
        for webhook in listed(webhooks) {
            found.add(webhook, &known);
        }
        match found.choose(&known) {
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
    fn an_ambiguous_list_is_an_error() {
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

    #[test]
    fn the_nonce_decides_with_any_url() {
        let begun = ("b", "https://a.example/else", "p (setup 0123456789abcdef)");
        assert_eq!(
            chosen(&[("a", HOOK, "p"), begun], Some("p")),
            Ok("begun b".to_owned())
        );
        let without_url = ("b", "", "p (setup 0123456789abcdef)");
        assert_eq!(chosen(&[without_url], None), Ok("begun b".to_owned()));
    }

    #[test]
    fn the_noted_id_decides_before_the_url() {
        let twins = [("a", HOOK, "p"), ("b", HOOK, "p")];
        let b = Ok("b".to_owned());
        assert_eq!(chosen_if_noted(&twins, Some("p"), Some("b")), b);
        for url in [
            "https://a.example/hook/",
            "https://u:p@A.example:443/hook#f",
        ] {
            let normalised = [("a", HOOK, "p"), ("b", url, "p")];
            assert_eq!(chosen_if_noted(&normalised, None, Some("b")), b, "{url}");
        }
        for url in ["https://a.example/hook2", "http://a.example/hook", "no url"] {
            let moved = [("a", HOOK, "p"), ("b", url, "p")];
            let other = Err(RegistrationErrorKind::OtherWebhook);
            assert_eq!(chosen_if_noted(&moved, None, Some("b")), other, "{url}");
        }
        let gone = chosen_if_noted(&[("a", HOOK, "p")], None, Some("b"));
        assert_eq!(gone, Ok("a".to_owned()));
    }
}
