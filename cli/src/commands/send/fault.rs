//! The mistakes that `send` can make.

use std::mem::discriminant;
use std::time::Duration;

use crate::since;
use crate::stop::Stop;

/// The longest body that can be asked for: 1 GiB.
const MAX_LARGE_BYTES: usize = 1 << 30;

/// A pause is shorter than the time that an answer may take.
const MAX_PAUSE: Duration = Duration::from_secs(9);

/// How far a stale or future signature is from now, in seconds: twice the tolerance, as in the
/// sandbox.
const TOO_FAR: i64 = 600;

/// The names, with the form of the value, and what each does. `sandbox` has the same names for the
/// same faults.
pub(crate) const HELP: &[(&str, &str)] = &[
    (
        "tampered",
        "change one byte of the body after it was signed",
    ),
    ("stale", "sign with a `t` of 10 minutes ago"),
    ("future", "sign with a `t` in 10 minutes"),
    (
        "age:SPAN",
        "sign with a `t` this long ago, such as age:290s; with a `-`, in the future",
    ),
    ("wrong-secret", "sign with another secret"),
    ("previous-secret", "sign with the previous secret"),
    (
        "both-secrets",
        "put a signature under another secret before the right one",
    ),
    ("no-header", "send no signature"),
    ("header-twice", "send the signature header twice"),
    ("milliseconds", "sign with a `t` in milliseconds"),
    ("truncate-signature", "send half of the signature"),
    (
        "chunked",
        "send the body in chunks, without a Content-Length",
    ),
    ("pause:SPAN", "wait in the middle of the body, up to 9s"),
    (
        "break-off",
        "close the connection in the middle of the body",
    ),
    (
        "large-body:BYTES",
        "append spaces to the body until it has this length",
    ),
];

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Tampered,
    /// In seconds; negative in the future.
    Age(i64),
    WrongSecret,
    PreviousSecret,
    BothSecrets,
    NoHeader,
    HeaderTwice,
    Milliseconds,
    TruncateSignature,
    Chunked,
    Pause(Duration),
    BreakOff,
    LargeBody(usize),
}

/// Reads `NAME` or `NAME:VALUE`.
pub(crate) fn parse(text: &str) -> Result<Fault, String> {
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let fault = match (name, value) {
        ("age", Some(value)) => Fault::Age(age(value)?),
        ("pause", Some(value)) => match since::span(value)? {
            pause if pause <= MAX_PAUSE => Fault::Pause(pause),
            _ => return Err(format!("a pause is at most {} s long", MAX_PAUSE.as_secs())),
        },
        ("large-body", Some(value)) => match value.parse() {
            Ok(bytes @ ..=MAX_LARGE_BYTES) => Fault::LargeBody(bytes),
            Ok(_) => return Err(format!("at most {MAX_LARGE_BYTES} bytes")),
            Err(_) => return Err("expected a number of bytes after the colon".to_owned()),
        },
        ("age" | "pause", None) => {
            return Err(format!("expected a span after it, such as {name}:5s"));
        }
        ("large-body", None) => {
            return Err(format!(
                "expected a number of bytes after it, such as {name}:1000000"
            ));
        }
        (_, Some(_)) if plain(name).is_some() => return Err(format!("`{name}` takes no value")),
        _ => plain(name).ok_or_else(|| format!("expected one of: {}", names()))?,
    };
    Ok(fault)
}

fn plain(name: &str) -> Option<Fault> {
    Some(match name {
        "tampered" => Fault::Tampered,
        "stale" => Fault::Age(TOO_FAR),
        "future" => Fault::Age(-TOO_FAR),
        "wrong-secret" => Fault::WrongSecret,
        "previous-secret" => Fault::PreviousSecret,
        "both-secrets" => Fault::BothSecrets,
        "no-header" => Fault::NoHeader,
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

/// Reads a span with or without a `-`, as seconds.
fn age(text: &str) -> Result<i64, String> {
    let (sign, span) = match text.strip_prefix('-') {
        Some(span) => (-1, span),
        None => (1, text),
    };
    let seconds = since::span(span)?.as_secs();
    // A span is at most 100 years long.
    Ok(sign * i64::try_from(seconds).unwrap_or(i64::MAX))
}

impl Fault {
    /// The name that it has on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Tampered => "tampered",
            Self::Age(_) => "age",
            Self::WrongSecret => "wrong-secret",
            Self::PreviousSecret => "previous-secret",
            Self::BothSecrets => "both-secrets",
            Self::NoHeader => "no-header",
            Self::HeaderTwice => "header-twice",
            Self::Milliseconds => "milliseconds",
            Self::TruncateSignature => "truncate-signature",
            Self::Chunked => "chunked",
            Self::Pause(_) => "pause",
            Self::BreakOff => "break-off",
            Self::LargeBody(_) => "large-body",
        }
    }
}

/// Returns a fault that would be ignored, and the one that causes this.
fn ignored(faults: &[Fault]) -> Option<(Fault, Fault)> {
    let is_about_signature = |fault: &Fault| {
        matches!(
            fault,
            Fault::Age(_)
                | Fault::BothSecrets
                | Fault::HeaderTwice
                | Fault::Milliseconds
                | Fault::TruncateSignature
        )
    };
    if faults.contains(&Fault::NoHeader)
        && let Some(fault) = faults.iter().copied().find(is_about_signature)
    {
        return Some((fault, Fault::NoHeader));
    }
    // Without a valid signature, no other can precede it; and `tampered` changes the last byte.
    let pairs = [
        (Fault::BothSecrets, Fault::WrongSecret),
        (Fault::Tampered, Fault::BreakOff),
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
                let name = fault.name();
                let same = match fault {
                    Fault::Age(_) => "; stale and future are forms of it",
                    _ => "",
                };
                return Err(Stop::usage(format!(
                    "the fault `{name}` is given twice{same}"
                )));
            }
        }
        let signers = [Fault::WrongSecret, Fault::PreviousSecret, Fault::NoHeader];
        if signers.iter().filter(|it| faults.contains(it)).count() > 1 {
            return Err(Stop::usage(
                "only one of the faults wrong-secret, previous-secret and no-header can be used at a time",
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
        self.has(Fault::NoHeader)
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.has(Fault::WrongSecret)
    }

    pub(crate) fn is_previous(&self) -> bool {
        self.has(Fault::PreviousSecret)
    }

    /// By how many seconds `t` is in the past.
    pub(crate) fn age(&self) -> i64 {
        let age = self.0.iter().find_map(|fault| match fault {
            Fault::Age(seconds) => Some(*seconds),
            _ => None,
        });
        age.unwrap_or_default()
    }

    pub(crate) fn pause(&self) -> Option<Duration> {
        self.0.iter().find_map(|fault| match fault {
            Fault::Pause(pause) => Some(*pause),
            _ => None,
        })
    }

    pub(crate) fn length(&self) -> Option<usize> {
        self.0.iter().find_map(|fault| match fault {
            Fault::LargeBody(bytes) => Some(*bytes),
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
            let text = name.replace("SPAN", "3s").replace("BYTES", "9");
            assert!(parse(&text).is_ok(), "{text}");
        }
        assert_eq!(parse("age:-310s"), Ok(Fault::Age(-310)));
        assert_eq!(parse("age:5m"), Ok(Fault::Age(300)));
        for wrong in [
            "",
            "tamper",
            "age",
            "age:",
            "age:-",
            "age:310",
            "age:--3s",
            "tampered:1",
            "pause:10s",
            "pause:-1s",
            "large-body",
            "large-body:-1",
            "large-body:99999999999",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn faults_that_exclude_each_other_are_a_usage_error() {
        assert!(Faults::new(&[Fault::Tampered, Fault::Chunked, Fault::Age(1)]).is_ok());
        assert!(Faults::new(&[Fault::Age(1), Fault::Age(2)]).is_err());
        assert!(Faults::new(&[Fault::WrongSecret, Fault::NoHeader]).is_err());
    }
}
