//! The search for changes that make the signature valid.

use crate::mac;
use crate::notice::Progress;
use crate::why::body::{Change, SignedBody};
use crate::why::form::{Form, SignedT};
use crate::why::header::Reading;
use crate::why::keys::Key;

/// The most changes that are tried together.
const MAX_CHANGES: usize = 2;

/// How much work a search may be.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// How many bytes are hashed before the search ends.
    max_hashed_bytes: usize,
    /// The longest body whose accidents are tried: each of them is a copy.
    max_changed_bytes: usize,
    shows_progress: bool,
}

impl Effort {
    /// For a command: about a second, with its progress.
    pub(crate) fn shown() -> Self {
        Self {
            max_hashed_bytes: 256 * 1024 * 1024,
            max_changed_bytes: usize::MAX,
            shows_progress: true,
        }
    }

    /// For a server: a fraction of a second and a few MiB of copies, whatever the body is.
    pub(crate) fn bounded() -> Self {
        Self {
            max_hashed_bytes: 64 * 1024 * 1024,
            max_changed_bytes: 1024 * 1024,
            shows_progress: false,
        }
    }

    /// Whether the accidents of a body of this length are tried.
    pub(crate) fn covers_changes(self, body_len: usize) -> bool {
        body_len <= self.max_changed_bytes
    }
}

/// The variants of each part that are tried.
pub(crate) struct Search<'a> {
    pub(crate) readings: &'a [Reading],
    pub(crate) keys: &'a [Key],
    pub(crate) forms: &'a [Form],
    pub(crate) bodies: &'a [SignedBody<'a>],
    pub(crate) effort: Effort,
}

/// How the search ended.
pub(crate) struct Searched {
    pub(crate) found: Option<Found>,
    /// How many variants were tried.
    pub(crate) tried: u64,
    /// Whether there were more than could be tried.
    pub(crate) is_cut_short: bool,
}

/// What makes the signature valid.
pub(crate) struct Found {
    /// Empty if it is valid as it is.
    pub(crate) changes: Vec<Change>,
    /// The name of the secret.
    pub(crate) secret: String,
    pub(crate) signed_t: SignedT,
    /// The length of the signed body.
    pub(crate) body_len: usize,
}

impl Search<'_> {
    /// Tries everything with no change, then with one, then with two, so that the plainest cause is
    /// found.
    pub(crate) fn run(&self) -> Searched {
        let shown = self.effort.shows_progress;
        let progress = shown.then(|| Progress::new("variants tried:", None));
        let mut searched = Searched {
            found: None,
            tried: 0,
            is_cut_short: false,
        };
        let mut hashed = 0;
        for count in 0..=MAX_CHANGES {
            for (reading, key, form) in self.outer(count) {
                let outer = changes(reading, key, form).count();
                let bodies = self.bodies.iter();
                for body in bodies.filter(|it| outer + usize::from(it.change.is_some()) == count) {
                    let Some(parts) = form.parts(&reading.t, &body.bytes) else {
                        continue;
                    };
                    if hashed > self.effort.max_hashed_bytes {
                        searched.is_cut_short = true;
                        return searched;
                    }
                    hashed += body.bytes.len();
                    searched.tried += 1;
                    if let Some(progress) = &progress {
                        progress.add(1);
                    }
                    if reading.has(&mac::tag(&key.bytes, &parts)) {
                        let changes = changes(reading, key, form).chain(&body.change);
                        searched.found = Some(Found {
                            changes: changes.cloned().collect(),
                            secret: key.name.clone(),
                            signed_t: form.signed_t(),
                            body_len: body.bytes.len(),
                        });
                        return searched;
                    }
                }
            }
        }
        searched
    }

    /// All combinations of the rest that have at most so many changes.
    fn outer(&self, count: usize) -> impl Iterator<Item = (&Reading, &Key, &Form)> {
        let readings = self.readings.iter();
        let keys = readings.flat_map(|reading| self.keys.iter().map(move |key| (reading, key)));
        let forms =
            keys.flat_map(|(reading, key)| self.forms.iter().map(move |form| (reading, key, form)));
        forms.filter(move |(reading, key, form)| changes(reading, key, form).count() <= count)
    }
}

fn changes<'a>(
    reading: &'a Reading,
    key: &'a Key,
    form: &'a Form,
) -> impl Iterator<Item = &'a Change> {
    reading
        .change
        .iter()
        .chain(&key.changes)
        .chain(&form.change)
}

#[cfg(test)]
mod tests {
    use ptolemy_webhooks::{Secret, Signer};
    use time::OffsetDateTime;

    use super::*;
    use crate::secret::GivenSecret;
    use crate::why::{body, form, header, keys};

    const SECRET: &str = "whsec_a3f9b2c1d4e5f6a7b8c9d0e1";
    // With its keys in order: `serde_json` sorts them.
    const BODY: &str = r#"{"data":{"list":[1,2.5],"name":"Zürich"},"event_type":"a.b"}"#;

    /// A small generator: the same numbers in each run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % limit
        }

        fn bytes(&mut self, longest: usize) -> Vec<u8> {
            // Mostly what the parsers look for.
            const COMMON: &[u8] = b"t=1776243600,v1:{}[]\"' %\r\n\\0af\xef\xbb\xbf\xff\0";
            let length = self.below(longest);
            let byte = |random: &mut Self| match random.below(4) {
                0 => u8::try_from(random.below(256)).unwrap(),
                _ => COMMON[random.below(COMMON.len())],
            };
            (0..length).map(|_| byte(self)).collect()
        }
    }

    fn search(header: &str, secret: &[u8], received: &[u8]) -> Searched {
        search_with(Effort::shown(), header, secret, received)
    }

    fn search_with(effort: Effort, header: &str, secret: &[u8], received: &[u8]) -> Searched {
        let given = GivenSecret {
            bytes: secret.to_vec().into(),
            place: "test".to_owned(),
            had_line_end: false,
        };
        Search {
            readings: &header::readings(&[header.as_bytes().to_vec()]),
            keys: &keys::accepted(&given, "the secret"),
            forms: &form::forms(),
            bodies: &body::signed_bodies(received, b"", effort),
            effort,
        }
        .run()
    }

    type Accident = (&'static str, fn(Vec<u8>) -> Vec<u8>);

    const BODY_ACCIDENTS: &[Accident] = &[
        ("line feed", |it| [&it[..], b"\n"].concat()),
        ("byte order mark", |it| [b"\xef\xbb\xbf", &it[..]].concat()),
        ("JSON string", |it| {
            serde_json::to_vec(&String::from_utf8(it).unwrap()).unwrap()
        }),
        ("written again", |it| {
            let value: serde_json::Value = serde_json::from_slice(&it).unwrap();
            serde_json::to_vec_pretty(&value).unwrap()
        }),
        ("second time", |it| {
            it.into_iter().map(char::from).collect::<String>().into()
        }),
        ("NUL", |it| [&it[..], b"\0"].concat()),
    ];

    const SECRET_ACCIDENTS: &[Accident] = &[
        ("white space", |it| [&it[..], b"\n"].concat()),
        ("quotation marks", |it| [b"\"", &it[..], b"\""].concat()),
        ("prefix", |it| it[6..].to_vec()),
        ("punctuation", |it| [&it[..], b","].concat()),
    ];

    const HEADER_ACCIDENTS: &[Accident] = &[
        ("quotation marks around its value", |it| {
            [b"'", &it[..], b"'"].concat()
        }),
        ("cut", |it| it[..it.len() - 20].to_vec()),
        ("upper case", |it| it.to_ascii_uppercase()),
        ("folded", |it| [&it[..], b",", &it[..]].concat()),
    ];

    #[test]
    fn two_accidents_at_once_are_both_named() {
        let mut random = Random(0x1234_5678_9abc_def1);
        let signer = Signer::new(&Secret::new(SECRET).unwrap());
        let signed_at = OffsetDateTime::from_unix_timestamp(1_776_243_600).unwrap();
        for _ in 0..60 {
            let mut parts = [
                BODY.as_bytes().to_vec(),
                SECRET.as_bytes().to_vec(),
                signer.sign_at(BODY.as_bytes(), signed_at).into_bytes(),
            ];
            let lists = [BODY_ACCIDENTS, SECRET_ACCIDENTS, HEADER_ACCIDENTS];
            let spared = random.below(3);
            let mut expected = Vec::new();
            for (at, (part, list)) in parts.iter_mut().zip(lists).enumerate() {
                if at != spared {
                    let (words, accident) = list[random.below(list.len())];
                    *part = accident(std::mem::take(part));
                    expected.push(words);
                }
            }
            let header = String::from_utf8(parts[2].clone()).unwrap();
            let found = search(&header, &parts[1], &parts[0]).found;
            let changes = found.unwrap_or_else(|| panic!("{expected:?}")).changes;
            let causes: Vec<_> = changes.iter().map(|change| change.cause.as_str()).collect();
            let causes = causes.join("; ");
            assert_eq!(changes.len(), 2, "{causes}");
            for words in expected {
                assert!(causes.contains(words), "{words}: {causes}");
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_none_of_them_is_proven() {
        let mut random = Random(0xfeed_5678_9abc_def1);
        for _ in 0..300 {
            let header = String::from_utf8_lossy(&random.bytes(120)).into_owned();
            let (secret, body) = (random.bytes(40), random.bytes(200));
            let searched = search(&header, &secret, &body);
            assert!(searched.found.is_none(), "{header:?} {secret:?} {body:?}");
        }
    }

    #[test]
    fn a_long_body_ends_the_search_and_says_so() {
        let tag = "0".repeat(64);
        let searched = search(
            &format!("t=1,v1={tag}"),
            SECRET.as_bytes(),
            &vec![b'x'; 8 << 20],
        );
        assert!(searched.found.is_none() && searched.is_cut_short);
        assert!((32..64).contains(&searched.tried), "{}", searched.tried);
    }

    #[test]
    fn a_bounded_search_copies_and_hashes_a_long_body_a_few_times_at_most() {
        let tag = "0".repeat(64);
        let header = format!("t=1,v1={tag}");
        let long = vec![b'x'; 8 << 20];
        let bodies = body::signed_bodies(&long, b"", Effort::bounded());
        assert_eq!(bodies.len(), 1);
        let searched = search_with(Effort::bounded(), &header, SECRET.as_bytes(), &long);
        assert!(searched.found.is_none() && searched.is_cut_short);
        assert!((8..16).contains(&searched.tried), "{}", searched.tried);
        let short = vec![b'x'; 1 << 20];
        let bodies = body::signed_bodies(&short, b"", Effort::bounded());
        assert!(bodies.len() > 1 && bodies.len() < 64, "{}", bodies.len());
    }
}
