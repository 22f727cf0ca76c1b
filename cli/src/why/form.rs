//! Forms that senders sign which do not follow the documentation.

use crate::why::body::Change;

const FIX: &str = "sign the text of `t`, a full stop and the body, as Ptolemy documents it";

/// A way to make the signed bytes of `t` and the body.
pub(crate) struct Form {
    shape: Shape,
    /// What is wrong with it; `None` for the documented one.
    pub(crate) change: Option<Change>,
}

#[derive(Clone, Copy)]
enum Shape {
    /// A prefix, `t`, a separator and the body.
    Joined(&'static str, &'static str),
    Reversed(&'static str),
    BodyAlone,
    /// `t` without its last three digits.
    Seconds,
}

/// Which `t` was signed.
#[derive(Clone, Copy)]
pub(crate) enum SignedT {
    AsSent,
    /// Without the milliseconds that were sent.
    InSeconds,
    None,
}

impl Form {
    pub(crate) fn signed_t(&self) -> SignedT {
        match self.shape {
            Shape::Joined(..) | Shape::Reversed(_) => SignedT::AsSent,
            Shape::BodyAlone => SignedT::None,
            Shape::Seconds => SignedT::InSeconds,
        }
    }

    /// The parts that were signed, one after the other; `None` if this `t` has no such form.
    pub(crate) fn parts<'a>(&self, t: &'a [u8], body: &'a [u8]) -> Option<[&'a [u8]; 4]> {
        Some(match self.shape {
            Shape::Joined(prefix, separator) => [prefix.as_bytes(), t, separator.as_bytes(), body],
            Shape::Reversed(separator) => [body, separator.as_bytes(), t, b""],
            Shape::BodyAlone => [body, b"", b"", b""],
            Shape::Seconds => [t.get(..t.len().checked_sub(3)?)?, b".", body, b""],
        })
    }
}

/// Returns the documented form and the others that are tried.
pub(crate) fn forms() -> Vec<Form> {
    let wrong = |shape, cause: String| Form {
        shape,
        change: Some(Change::new(cause, FIX)),
    };
    let mut forms = vec![
        Form {
            shape: Shape::Joined("", "."),
            change: None,
        },
        wrong(
            Shape::BodyAlone,
            "the body was signed without `t`".to_owned(),
        ),
        wrong(
            Shape::Joined("", ""),
            "nothing was signed between `t` and the body".to_owned(),
        ),
        Form {
            shape: Shape::Seconds,
            change: Some(Change::new(
                "`t` in seconds was signed, and `t` in milliseconds was sent",
                "send the `t` that was signed, in seconds",
            )),
        },
        wrong(
            Shape::Joined("t=", "."),
            "`t=` was signed before the time".to_owned(),
        ),
        wrong(
            Shape::Joined("v1.", "."),
            "`v1.` was signed before `t`".to_owned(),
        ),
        wrong(
            Shape::Joined("v1:", ":"),
            "`v1:` was signed before `t`, and `:` after it".to_owned(),
        ),
    ];
    for (separator, name) in [
        (":", "a colon"),
        (",", "a comma"),
        ("\n", "a line feed"),
        ("|", "a vertical bar"),
        ("-", "a hyphen"),
        ("_", "an underscore"),
        (" ", "a space"),
    ] {
        let cause = format!("{name} was signed between `t` and the body instead of a full stop");
        forms.push(wrong(Shape::Joined("", separator), cause));
    }
    for separator in [".", "", ":"] {
        let cause = "the body was signed before `t` instead of after it".to_owned();
        forms.push(wrong(Shape::Reversed(separator), cause));
    }
    forms
}
