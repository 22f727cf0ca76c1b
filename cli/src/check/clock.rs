//! Probes of `t`: a signature is valid for 300 s in both directions.
//!
//! Each one is signed with the text of `t` that it sends, so only the time is wrong.

use super::forge::Forge;
use super::probe::{Basis, Expected, Plan, Probe};

const WINDOW: &str =
    "Reject a `t` that differs by more than 300 s from the receiver's clock, in both directions.";
const WIDE_ENOUGH: &str =
    "Accept a `t` that differs by up to 300 s, and keep the clock right with NTP.";
const OVERFLOW: &str =
    "Read `t` as a 64-bit number, reject one that does not fit, and subtract without overflow.";
const DIGITS: &str =
    "Accept only ASCII digits in `t`: lenient parsers read other texts as numbers too.";
const ONE_T: &str = "Reject a header with more than one `t`: the time that is checked and the time that is signed \
                     must be the same.";

fn at(forge: &Forge, label: &str, t: &str) -> Plan {
    forge.signed_at(t, forge.body(label)).into()
}

/// A request whose `t` is this many seconds away from the receiver's clock. The event differs for
/// each clock that the receiver may have.
fn off(forge: &Forge, label: &str, seconds: i64) -> Plan {
    let label = format!("{label}-{}", forge.skew());
    at(forge, &label, &forge.receivers_time(seconds).to_string())
}

/// Two `t`, of which the receiver may check one and sign the other.
fn two(forge: &Forge, label: &str, order: impl FnOnce(&str, &str, &str) -> String) -> Plan {
    let body = forge.body(label);
    let (now, old) = (
        forge.now().to_string(),
        forge.receivers_time(-3600).to_string(),
    );
    let tag = forge.tag(&old, body.as_bytes());
    let request = forge.signed_at(&old, body);
    request.signature(order(&now, &old, &tag)).into()
}

/// A text for `t` that only a lenient parser accepts.
const fn lenient(id: &'static str, title: &'static str, plan: fn(&Forge) -> Plan) -> Probe {
    Probe::forged(id, title, DIGITS, plan)
        .advice(Basis::OwnChoice)
        .expect(Expected::Rejected, true)
}

pub(super) const PROBES: &[Probe] = &[
    Probe::forged("t-305-s-old", "signed 305 s ago", WINDOW, |f| off(f, "t-305-s-old", -305)).at_edge(),
    Probe::forged("t-305-s-ahead", "signed 305 s in the future", WINDOW, |f| {
        off(f, "t-305-s-ahead", 305)
    }).at_edge(),
    Probe::forged("t-one-hour-old", "signed an hour ago", WINDOW, |f| {
        off(f, "t-one-hour-old", -3_600)
    }),
    Probe::forged("t-one-hour-ahead", "signed an hour in the future", WINDOW, |f| {
        off(f, "t-one-hour-ahead", 3_600)
    }),
    Probe::delivery("t-295-s-old", "signed 295 s ago", WIDE_ENOUGH, |f| off(f, "t-295-s-old", -295)).at_edge(),
    Probe::delivery("t-295-s-ahead", "signed 295 s in the future", WIDE_ENOUGH, |f| {
        off(f, "t-295-s-ahead", 295)
    }).at_edge(),
    Probe::forged("t-zero", "`t` is 0", WINDOW, |f| at(f, "t-zero", "0")),
    Probe::forged("t-milliseconds", "`t` in milliseconds", "Read `t` as seconds.", |f| {
        at(f, "t-milliseconds", &format!("{}000", f.now()))
    }),
    Probe::forged("t-negative", "the time now, negative", WINDOW, |f| {
        at(f, "t-negative", &format!("-{}", f.now()))
    }),
    Probe::forged("t-wraps-32-bits", "the time now and 2^32", OVERFLOW, |f| {
        at(f, "t-wraps-32-bits", &(i128::from(f.now()) + (1 << 32)).to_string())
    }),
    Probe::forged("t-wraps-64-bits", "the time now and 2^64", OVERFLOW, |f| {
        at(f, "t-wraps-64-bits", &(i128::from(f.now()) + (1 << 64)).to_string())
    }),
    Probe::forged("t-largest", "the largest number of 64 bits", OVERFLOW, |f| {
        at(f, "t-largest", &i64::MAX.to_string())
    }),
    Probe::forged("t-smallest", "the smallest number of 64 bits", OVERFLOW, |f| {
        at(f, "t-smallest", &i64::MIN.to_string())
    }),
    Probe::forged("t-40-digits", "a number of 40 digits", OVERFLOW, |f| {
        at(f, "t-40-digits", &"9".repeat(40))
    }),
    Probe::forged("t-not-a-number", "`t` is the word `NaN`", OVERFLOW, |f| at(f, "t-not-a-number", "NaN")),
    lenient("t-plus-sign", "a plus sign before the time", |f| {
        at(f, "t-plus-sign", &format!("+{}", f.now()))
    }),
    lenient("t-underscore", "an underscore between digits", |f| {
        let now = f.now().to_string();
        let (head, tail) = now.split_at_checked(4).unwrap_or_default();
        at(f, "t-underscore", &format!("{head}_{tail}"))
    }),
    lenient("t-decimal", "the time with a fraction", |f| at(f, "t-decimal", &format!("{}.5", f.now()))),
    lenient("t-trailing-letter", "the time and a letter", |f| at(f, "t-trailing-letter", &format!("{}s", f.now()))),
    lenient("t-hexadecimal", "the time as a hexadecimal number", |f| {
        at(f, "t-hexadecimal", &format!("0x{:x}", f.now()))
    }),
    lenient("t-full-width-digits", "the time in full-width digits", |f| {
        let wide = |digit: char| char::from_u32(u32::from(digit) + 0xfee0).unwrap_or(digit);
        at(f, "t-full-width-digits", &f.now().to_string().chars().map(wide).collect::<String>())
    }),
    Probe::delivery(
        "t-leading-zeros",
        "zeros before the time, which are signed",
        "Compute the HMAC over the text of `t` as it was sent, not over the number that was read from it.",
        |f| at(f, "t-leading-zeros", &format!("00{}", f.now())),
    )
    .advice(Basis::Assumed),
    Probe::forged("t-twice-new-first", "the current `t`, then the `t` that was signed an hour ago", ONE_T, |f| {
        two(f, "t-twice-new-first", |now, old, tag| format!("t={now},t={old},v1={tag}"))
    })
    .advice(Basis::OwnChoice),
    Probe::forged("t-twice-new-last", "the `t` that was signed an hour ago, then the current `t`", ONE_T, |f| {
        two(f, "t-twice-new-last", |now, old, tag| format!("t={old},t={now},v1={tag}"))
    })
    .advice(Basis::OwnChoice),
    Probe::forged("t-twice-same", "the same `t` twice", ONE_T, |f| {
        f.with_header("t-twice-same", |t, tag| format!("t={t},t={t},v1={tag}")).into()
    })
    .advice(Basis::OwnChoice)
    .expect(Expected::Rejected, true),
];
