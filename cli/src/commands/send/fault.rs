//! The mistakes that `send` can make.

use std::mem::discriminant;

use crate::stop::Stop;

/// The longest body that can be asked for: 1 GiB.
const MAX_LARGE_BYTES: usize = 1 << 30;

/// A pause is shorter than the time that an answer may take.
const MAX_PAUSE_SECONDS: u64 = 9;

/// The names, with the form of the value, and what each does.
pub(crate) const HELP: &[(&str, &str)] = &[
    ("tamper", "change one byte of the body after it was signed"),
    (
        "age:SECONDS",
        "sign with a `t` this far in the past; negative: in the future",
    ),
    ("wrong-secret", "sign with another secret"),
    ("previous", "sign with the previous secret"),
    (
        "several",
        "put a signature under another secret before the right one",
    ),
    ("no-signature", "send no signature"),
    ("header-twice", "send the signature header twice"),
    ("milliseconds", "sign with a `t` in milliseconds"),
    ("truncate-signature", "send half of the signature"),
    (
        "chunked",
        "send the body in chunks, without a Content-Length",
    ),
    ("pause:SECONDS", "wait in the middle of the body, up to 9 s"),
    (
        "break-off",
        "close the connection in the middle of the body",
    ),
    (
        "large:BYTES",
        "append spaces to the body until it has this length",
    ),
];

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Tamper,
    Age(i64),
    WrongSecret,
    Previous,
    Several,
    NoSignature,
    HeaderTwice,
    Milliseconds,
    TruncateSignature,
    Chunked,
    Pause(u64),
    BreakOff,
    Large(usize),
}

/// Reads `NAME` or `NAME:VALUE`.
pub(crate) fn parse(text: &str) -> Result<Fault, String> {
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let fault = match (name, value) {
        ("age", Some(value)) => Fault::Age(number(value)?),
        ("pause", Some(value)) => match number(value)? {
            seconds @ ..=MAX_PAUSE_SECONDS => Fault::Pause(seconds),
            _ => return Err(format!("a pause is at most {MAX_PAUSE_SECONDS} s long")),
        },
        ("large", Some(value)) => match number(value)? {
            bytes @ ..=MAX_LARGE_BYTES => Fault::Large(bytes),
            _ => return Err(format!("at most {MAX_LARGE_BYTES} bytes")),
        },
        ("age" | "pause" | "large", None) => {
            return Err(format!("expected `{name}:` and a number"));
        }
        (_, Some(_)) if plain(name).is_some() => return Err(format!("`{name}` takes no value")),
        _ => plain(name).ok_or_else(|| format!("expected one of: {}", names()))?,
    };
    Ok(fault)
}

fn plain(name: &str) -> Option<Fault> {
    Some(match name {
        "tamper" => Fault::Tamper,
        "wrong-secret" => Fault::WrongSecret,
        "previous" => Fault::Previous,
        "several" => Fault::Several,
        "no-signature" => Fault::NoSignature,
        "header-twice" => Fault::HeaderTwice,
        "milliseconds" => Fault::Milliseconds,
        "truncate-signature" => Fault::TruncateSignature,
        "chunked" => Fault::Chunked,
        "break-off" => Fault::BreakOff,
        _ => return None,
    })
}

fn names() -> String {
    let names: Vec<_> = HELP.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| "expected a whole number after the colon".to_owned())
}

impl Fault {
    /// The name that it has on the command line.
    fn name(self) -> &'static str {
        let named = HELP.iter().find_map(|(form, _)| {
            let (name, value) = form.split_once(':').unwrap_or((form, ""));
            let text = if value.is_empty() {
                name.to_owned()
            } else {
                format!("{name}:1")
            };
            let fault = parse(&text).ok()?;
            (discriminant(&fault) == discriminant(&self)).then_some(name)
        });
        named.unwrap_or_default()
    }
}

/// Returns a fault that would be ignored, and the one because of which.
fn ignored(faults: &[Fault]) -> Option<(Fault, Fault)> {
    let is_about_signature = |fault: &Fault| {
        matches!(
            fault,
            Fault::Age(_)
                | Fault::Several
                | Fault::HeaderTwice
                | Fault::Milliseconds
                | Fault::TruncateSignature
        )
    };
    if faults.contains(&Fault::NoSignature)
        && let Some(fault) = faults.iter().copied().find(is_about_signature)
    {
        return Some((fault, Fault::NoSignature));
    }
    // Without a right signature, none can stand before it; and `tamper` changes the last byte.
    let pairs = [
        (Fault::Several, Fault::WrongSecret),
        (Fault::Tamper, Fault::BreakOff),
    ];
    pairs
        .into_iter()
        .find(|(ignored, by)| faults.contains(ignored) && faults.contains(by))
}

/// The mistakes of one request, which can be made together.
#[derive(Debug)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn new(faults: &[Fault]) -> Result<Self, Stop> {
        for (at, fault) in faults.iter().enumerate() {
            let before = faults.get(..at).unwrap_or_default();
            let repeated = |other: &Fault| discriminant(other) == discriminant(fault);
            if before.iter().any(repeated) {
                return Err(Stop::usage(format!(
                    "the fault `{}` is given twice",
                    fault.name()
                )));
            }
        }
        let signers = [Fault::WrongSecret, Fault::Previous, Fault::NoSignature];
        if signers.iter().filter(|it| faults.contains(it)).count() > 1 {
            return Err(Stop::usage(
                "only one of the faults wrong-secret, previous and no-signature can be made at once",
            ));
        }
        if let Some((ignored, by)) = ignored(faults) {
            let (ignored, by) = (ignored.name(), by.name());
            return Err(Stop::usage(format!(
                "the fault `{ignored}` has no effect together with `{by}`: leave one of them out"
            )));
        }
        Ok(Self(faults.to_vec()))
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    pub(crate) fn is_unsigned(&self) -> bool {
        self.has(Fault::NoSignature)
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.has(Fault::WrongSecret)
    }

    pub(crate) fn is_previous(&self) -> bool {
        self.has(Fault::Previous)
    }

    /// By how many seconds `t` is in the past.
    pub(crate) fn age(&self) -> i64 {
        let age = self.0.iter().find_map(|fault| match fault {
            Fault::Age(seconds) => Some(*seconds),
            _ => None,
        });
        age.unwrap_or_default()
    }

    pub(crate) fn pause(&self) -> Option<u64> {
        self.0.iter().find_map(|fault| match fault {
            Fault::Pause(seconds) => Some(*seconds),
            _ => None,
        })
    }

    pub(crate) fn length(&self) -> Option<usize> {
        self.0.iter().find_map(|fault| match fault {
            Fault::Large(bytes) => Some(*bytes),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_in_the_help_is_read_and_no_other() {
        for (name, _) in HELP {
            let text = name.replace("SECONDS", "-3").replace("BYTES", "9");
            let text = text.replace("pause:-3", "pause:3");
            assert!(parse(&text).is_ok(), "{text}");
        }
        assert_eq!(parse("age:-310"), Ok(Fault::Age(-310)));
        for wrong in [
            "",
            "tampered",
            "age",
            "age:",
            "age:x",
            "tamper:1",
            "pause:10",
            "large:-1",
            "large:99999999999",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn faults_that_exclude_each_other_are_a_usage_error() {
        assert!(Faults::new(&[Fault::Tamper, Fault::Chunked, Fault::Age(1)]).is_ok());
        assert!(Faults::new(&[Fault::Age(1), Fault::Age(2)]).is_err());
        assert!(Faults::new(&[Fault::WrongSecret, Fault::NoSignature]).is_err());
    }
}
