//! The ids of records.

use std::fmt;

use serde::{Serialize, Serializer};

/// Implements one id over its text.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Any text is accepted here. A call whose path contains the id returns an error with the
        /// outcome [`NotSent`](crate::Outcome::NotSent) if the id is empty, `.` or `..`; every
        /// other text is percent-encoded.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Returns the id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&$name> for $name {
            fn from(id: &$name) -> Self {
                id.clone()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.0 == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.0 == *text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                ptolemy_webhooks::LogText::new(&self.0).fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

id! {
    /// The id of a webhook, a UUID.
    WebhookId
}
id! {
    /// The id of a subscription of a webhook, a UUID.
    SubscriptionId
}
id! {
    /// The id of an entry in the delivery log.
    DeliveryId
}
id! {
    /// The id of an event.
    EventId
}

/// Encodes one segment of a path. Everything except RFC 3986's unreserved characters is encoded, so
/// that no text can change which path is called.
///
/// # Errors
///
/// Returns what is wrong with a text that no encoding can protect.
pub(crate) fn segment(text: &str) -> Result<String, &'static str> {
    match text {
        "" => return Err("is empty"),
        "." | ".." => return Err("is a dot segment of a path"),
        _ => {}
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one_segment() {
        assert_eq!(segment("0198c7a2-4a54").as_deref(), Ok("0198c7a2-4a54"));
        assert_eq!(
            segment("a/../b?c#d%e\nf é").as_deref(),
            Ok("a%2F..%2Fb%3Fc%23d%25e%0Af%20%C3%A9")
        );
        assert_eq!(segment("...").as_deref(), Ok("..."));
        for text in ["", ".", ".."] {
            assert!(segment(text).is_err());
        }
    }
}
