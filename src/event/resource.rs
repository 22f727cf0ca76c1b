//! Resources, whose fields are each defined once.

use super::from_json::FromJson;

/// A type that `resource!` defines.
pub(crate) trait Resource: FromJson {
    /// The names of the fields, as they are in the JSON.
    const FIELDS: &'static [&'static str];
}

/// Defines a struct that is read from a JSON object.
///
/// A field's name is its key and its type says what is read. `Option` allows the member to be
/// absent or null; any other type requires it.
macro_rules! resource {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$field_about:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)*
        }

        impl $crate::event::from_json::FromJson for $name {
            fn from_json(
                json: $crate::event::json::Json<'_>,
            ) -> Result<Self, $crate::event::fault::Fault> {
                let [$($field),*] = json.fields([$(stringify!($field)),*])?;
                Ok(Self { $($field: $field.read()?),* })
            }

            fn quick<'de, D: serde::Deserializer<'de>>(
                json: D,
                body: &'de bytes::Bytes,
            ) -> Result<Self, D::Error> {
                struct Members<'de>(&'de bytes::Bytes);

                impl<'de> serde::de::Visitor<'de> for Members<'de> {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut members: A,
                    ) -> Result<$name, A::Error> {
                        use $crate::event::from_json::{FromJson, Quick};
                        use $crate::event::json::Key;

                        $(let mut $field = None;)*
                        while let Some(Key(key)) = members.next_key()? {
                            $(
                                if key == stringify!($field) {
                                    // The last of a repeated key counts, even if an earlier value
                                    // does not fit.
                                    if $field.is_some() {
                                        return Err(serde::de::Error::duplicate_field(""));
                                    }
                                    $field = Some(members.next_value_seed(Quick::new(self.0))?);
                                    continue;
                                }
                            )*
                            members.next_value::<serde::de::IgnoredAny>()?;
                        }
                        $(
                            let $field = match $field {
                                Some(value) => value,
                                None => <$type>::absent()
                                    .map_err(|_| serde::de::Error::missing_field(""))?,
                            };
                        )*
                        Ok($name { $($field),* })
                    }
                }

                json.deserialize_map(Members(body))
            }
        }

        impl $crate::event::resource::Resource for $name {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    };
}

pub(super) use resource;
