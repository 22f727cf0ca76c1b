//! Members of an object that are looked up by their names.

use super::fault::{Cause, Fault};
use super::json::Json;
use super::raw_json::RawJson;

/// A member that was looked up by its name, present or not.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'static str,
    pub(crate) value: Option<Json<'a>>,
}

impl<'a> Field<'a> {
    pub(super) fn new(name: &'static str, value: Option<Json<'a>>) -> Self {
        Self { name, value }
    }

    pub(super) fn keep(self) -> Option<RawJson> {
        self.value.map(Json::keep)
    }

    pub(super) fn present(self) -> Result<Json<'a>, Fault> {
        self.value
            .ok_or_else(|| Fault::new(Cause::Missing).under(self.name))
    }
}

impl<'a> Json<'a> {
    /// Looks the named members up in an object; the last of a repeated key counts.
    pub(crate) fn fields<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[Field<'a>; N], Fault> {
        let mut fields = names.map(|name| Field::new(name, None));
        self.members(|key, value| set(&mut fields, key, value))?;
        Ok(fields)
    }

    /// The member of an object with this name.
    pub(crate) fn member(self, name: &'static str) -> Option<Json<'a>> {
        let [field] = self.fields([name]).ok()?;
        field.value
    }

    /// Returns the names that the object has no member for; all of them if the value is not an
    /// object.
    pub(crate) fn missing(self, names: &[&'static str]) -> Vec<&'static str> {
        let mut missing = names.to_vec();
        let _ = self.members(|key, _| missing.retain(|&name| Some(name) != key));
        missing
    }

    /// Returns the names that some element of the array lacks; none of them if the value is not an
    /// array.
    pub(crate) fn missing_from_elements(self, names: &[&'static str]) -> Vec<&'static str> {
        let mut missing = Vec::new();
        let _ = self.elements(|element| {
            // Each name is kept once, because an array may be long.
            let lacking = element.missing(names).into_iter();
            let new: Vec<_> = lacking.filter(|name| !missing.contains(name)).collect();
            missing.extend(new);
        });
        missing
    }
}

/// Puts a value into the field that has the name `key`, if there is one.
fn set<'a>(fields: &mut [Field<'a>], key: Option<&str>, value: Json<'a>) {
    if let Some(field) = fields.iter_mut().find(|field| Some(field.name) == key) {
        field.value = Some(value);
    }
}
