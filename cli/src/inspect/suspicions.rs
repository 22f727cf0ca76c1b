//! What may be the cause of a rejection, and what to do about it.

use serde::Serialize;

/// What may be a cause, and how to find out whether it is one.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Suspicion {
    cause: String,
    check: Option<String>,
}

/// Splits each text into cause, check and fix, such as `It is cut. Check: its length. Fix: send it
/// whole.`, and leaves out fixes that are there.
pub(crate) fn add(texts: Vec<String>, suspicions: &mut Vec<Suspicion>, fixes: &mut Vec<String>) {
    for text in texts {
        let (rest, fix) = split(&text, " Fix: ");
        let (cause, check) = split(rest, " Check: ");
        suspicions.push(Suspicion {
            cause: cause.to_owned(),
            check: check.map(str::to_owned),
        });
        if let Some(fix) = fix.filter(|fix| !fixes.iter().any(|it| it == fix)) {
            fixes.push(fix.to_owned());
        }
    }
}

fn split<'a>(text: &'a str, mark: &str) -> (&'a str, Option<&'a str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Returns why a receiver may have answered a valid request with this status; `of_key` are the
/// suspicions about the secret and the bytes.
pub(crate) fn of_status(status: u16, of_key: Vec<String>) -> Vec<String> {
    let text = match status {
        400 | 401 | 403 => return of_key,
        300..400 => {
            "the receiver redirects; whether Ptolemy follows redirects is not documented. Fix: use the final \
             URL"
        }
        404 | 405 => {
            "the receiver has no route with this path and method. Fix: compare the path of the receiver's URL \
             (`--forward`) and the method with its route"
        }
        413 => {
            "the body is longer than a limit of the receiver, or of a layer or proxy in front of it. Fix: raise \
             this limit"
        }
        422 => {
            "the receiver does not know this event or its data. Check: the text of its answer. Fix: take \
             `Delivery` instead of `Event`, or handle the error in `event.payload`"
        }
        429 => {
            "a rate limit of the receiver, or of a layer or proxy in front of it. Fix: raise the limit for this \
             path"
        }
        500.. => {
            "the receiver failed while it handled the request. Check: its log at this time. Fix: correct the \
             failure that its log shows, and send the request again"
        }
        _ => {
            "the receiver has its own reason. Check: the text of its answer, and its log. Fix: have it answer \
             2xx to what it accepts"
        }
    };
    vec![text.to_owned()]
}

/// Says what is wrong with the field at this path.
pub(crate) fn malformed(path: &str, reason: &str) -> String {
    let problem = match reason {
        "missing" => {
            "is missing; this crate expects it in every such event, and that is an assumption"
        }
        _ if reason.contains("ISO 8601") => {
            "is not an ISO 8601 time with an offset from UTC (such as `Z` or `+10:00`)"
        }
        _ if reason.contains("lone surrogate") => "contains half of a surrogate pair",
        _ if reason.contains("within the years") => {
            "is a time that cannot be represented in UTC within the years -9999 to 9999"
        }
        _ if reason.contains("lost digits") => {
            "is a number that may have lost digits, so this crate expects a string"
        }
        _ => "has another JSON type than this crate expects",
    };
    format!("`{path}` {problem}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_into_cause_check_and_fix() {
        let (mut suspicions, mut fixes) = (Vec::new(), Vec::new());
        let texts = ["A. Check: b. Fix: c.", "D. Fix: c.", "e Check: f."];
        add(
            texts.map(str::to_owned).to_vec(),
            &mut suspicions,
            &mut fixes,
        );
        let shown: Vec<_> = suspicions
            .iter()
            .map(|it| (&*it.cause, it.check.as_deref()))
            .collect();
        assert_eq!(shown, [("A.", Some("b.")), ("D.", None), ("e", Some("f."))]);
        assert_eq!(fixes, ["c."]);
    }

    #[test]
    fn only_400_401_and_403_make_the_secret_suspect() {
        for status in [400, 401, 403] {
            let of_key = vec!["it has another secret".to_owned()];
            assert_eq!(of_status(status, of_key.clone()), of_key, "{status}");
        }
        for status in [100, 302, 404, 405, 413, 418, 422, 429, 500, 503, 999] {
            let [text] = &of_status(status, vec!["secret".to_owned()])[..] else {
                panic!("{status}");
            };
            assert!(
                !text.contains("secret") && text.contains(" Fix: "),
                "{text}"
            );
        }
    }
}
