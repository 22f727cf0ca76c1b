//! Probes of the grammar of the signature header.

use super::forge::{Forge, Request, Via};
use super::probe::{Basis, Expected, Plan, Probe};

const SEVERAL: &str = "Accept the request if any `v1` is right: during a rotation a sender may sign with two secrets.";
const LENIENT: &str = "Split the header on commas and each part on its first `=`, ignore other keys, and accept hex \
                       digits of either case.";
const LOWER_CASE: &str = "Read the keys `t` and `v1` as Ptolemy documents them, in lower case.";
const ONE_HEADER: &str = "Reject a request with more than one `Ptolemy-Signature`: which one counts depends on the \
                          library, and a proxy may check another one.";
const BOUNDED: &str =
    "Bound the length of the header and the number of its parts before any HMAC is computed.";
const FAULT: &str = "Answer with a 4xx: a bad header is the request's fault and not the server's.";

fn delivery(forge: &Forge, label: &str, header: impl FnOnce(&str, &str) -> String) -> Plan {
    forge.with_header(label, header).into()
}

/// A header that should be accepted although the documentation does not mention it.
const fn assumed(
    id: &'static str,
    title: &'static str,
    fix: &'static str,
    plan: fn(&Forge) -> Plan,
) -> Probe {
    Probe::delivery(id, title, fix, plan).advice(Basis::Assumed)
}

/// A request that our receivers reject, by our own choice.
const fn strict(
    id: &'static str,
    title: &'static str,
    fix: &'static str,
    plan: fn(&Forge) -> Plan,
) -> Probe {
    Probe::forged(id, title, fix, plan)
        .advice(Basis::OwnChoice)
        .expect(Expected::Rejected, true)
}

/// Two header lines, made from the right one.
fn repeated(forge: &Forge, label: &str, lines: impl FnOnce(Vec<u8>) -> [Vec<u8>; 2]) -> Plan {
    let mut request: Request = forge.signed(forge.body(label));
    let good = request.signatures.pop().unwrap_or_default();
    request.signatures = lines(good).into();
    request.into()
}

fn wrong() -> Vec<u8> {
    format!("t=1,v1={}", "0".repeat(64)).into_bytes()
}

pub(super) const PROBES: &[Probe] = &[
    Probe::delivery(
        "header-name-lower-case",
        "the name of the header in lower case",
        "Look the header up without regard to case, as HTTP says.",
        |f| {
            f.signed(f.body("header-name-lower-case"))
                .via(Via::LowerCase)
                .into()
        },
    )
    .basis(Basis::Standard),
    assumed(
        "v1-upper-case",
        "the signature in capital hex digits",
        LENIENT,
        |f| {
            delivery(f, "v1-upper-case", |t, tag| {
                format!("t={t},v1={}", tag.to_uppercase())
            })
        },
    ),
    assumed("v1-before-t", "`v1` before `t`", LENIENT, |f| {
        delivery(f, "v1-before-t", |t, tag| format!("v1={tag},t={t}"))
    }),
    assumed(
        "v1-twice-right-first",
        "two `v1`, the first is right",
        SEVERAL,
        |f| {
            delivery(f, "v1-twice-right-first", |t, tag| {
                format!("t={t},v1={tag},v1={}", "0".repeat(64))
            })
        },
    ),
    assumed(
        "v1-twice-right-last",
        "two `v1`, the last is right",
        SEVERAL,
        |f| {
            delivery(f, "v1-twice-right-last", |t, tag| {
                format!("t={t},v1={},v1={tag}", "0".repeat(64))
            })
        },
    ),
    assumed(
        "v1-beside-no-hex",
        "a `v1` that is not hex beside the right one",
        SEVERAL,
        |f| {
            delivery(f, "v1-beside-no-hex", |t, tag| {
                format!("t={t},v1=no-hex,v1={tag}")
            })
        },
    ),
    assumed("unknown-key", "a key that is not known", LENIENT, |f| {
        delivery(f, "unknown-key", |t, tag| format!("t={t},v1={tag},v2=a=b"))
    }),
    assumed("trailing-comma", "a comma at the end", LENIENT, |f| {
        delivery(f, "trailing-comma", |t, tag| format!("t={t},v1={tag},"))
    }),
    assumed("spaces", "spaces after the commas", LENIENT, |f| {
        delivery(f, "spaces", |t, tag| format!("t={t}, v1={tag}"))
    }),
    strict("key-case", "the keys in capital letters", LOWER_CASE, |f| {
        delivery(f, "key-case", |t, tag| format!("T={t},V1={tag}"))
    }),
    strict(
        "header-twice-same",
        "the same header twice",
        ONE_HEADER,
        |f| repeated(f, "header-twice-same", |good| [good.clone(), good]),
    ),
    strict(
        "header-twice-right-first",
        "two headers, the first is right",
        ONE_HEADER,
        |f| repeated(f, "header-twice-right-first", |good| [good, wrong()]),
    ),
    strict(
        "header-twice-right-last",
        "two headers, the last is right",
        ONE_HEADER,
        |f| repeated(f, "header-twice-right-last", |good| [wrong(), good]),
    ),
    strict(
        "v1-101-times",
        "101 `v1`, the last is right",
        BOUNDED,
        |f| {
            delivery(f, "v1-101-times", |t, tag| {
                let wrong = format!("v1={},", "0".repeat(64)).repeat(100);
                format!("t={t},{wrong}v1={tag}")
            })
        },
    ),
    strict(
        "header-8-kib",
        "8 KiB of unknown keys beside the right signature",
        BOUNDED,
        |f| {
            delivery(f, "header-8-kib", |t, tag| {
                format!("t={t},{}v1={tag}", "x=y,".repeat(2_000))
            })
        },
    )
    .expect(Expected::NoFault, true),
    strict("header-1-mib", "a header of 1 MiB", BOUNDED, |f| {
        delivery(f, "header-1-mib", |t, _| {
            format!("t={t},v1={}", "0".repeat(1 << 20))
        })
    })
    .expect(Expected::RejectedOrClosed, false),
    strict(
        "header-bytes",
        "bytes that are not ASCII in the header",
        FAULT,
        |f| {
            let request = f.signed(f.body("header-bytes"));
            request
                .signature(b"t=\xff\xfe,v1=\x80\xc3\x28".to_vec())
                .into()
        },
    )
    .expect(Expected::Rejected, false),
];
