//! Secrets: which ones are accepted, and that they are never shown.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use ptolemy_webhooks::{Secret, SecretErrorKind as Kind, Verifier};

use crate::{NOW, at, signed};

const WHITESPACE: &str =
    "secret contains white space or a control character; a trailing newline is the usual cause";
const NOT_VISIBLE_ASCII: &str =
    "secret contains a character that is not visible ASCII, such as a byte order mark";
const MASKED: &str = "secret is masked, as dashboards and logs show it; copy the whole secret";
const PLACEHOLDER: &str = "secret is a placeholder that was not replaced";
const QUOTED: &str = "secret begins or ends with a quotation mark";
const PUNCTUATION: &str = "secret ends with punctuation, such as a comma";
const ESCAPED: &str = r"secret ends with white space that is written out, such as `\n`";
const NO_PREFIX: &str =
    "secret does not begin with `whsec_`; did you pass an API token (`ptk_live_…`)?";

/// Text that cannot be a secret, the kind of the mistake, and the message.
const MISTAKES: &[(&str, Kind, &str)] = &[
    ("", Kind::Empty, "secret is empty"),
    (" ", Kind::Blank, "secret is blank"),
    ("\n", Kind::Blank, "secret is blank"),
    ("\u{a0}\t", Kind::Blank, "secret is blank"),
    ("whsec_abc\n", Kind::Whitespace, WHITESPACE),
    ("whsec_abc\r\n", Kind::Whitespace, WHITESPACE),
    (" whsec_abc", Kind::Whitespace, WHITESPACE),
    ("whsec_a bc", Kind::Whitespace, WHITESPACE),
    ("whsec_a\u{2003}bc", Kind::Whitespace, WHITESPACE),
    ("whsec_a\0bc", Kind::Whitespace, WHITESPACE),
    ("whsec_a\u{7f}bc", Kind::Whitespace, WHITESPACE),
    ("whsec_a\u{9b}bc", Kind::Whitespace, WHITESPACE),
    ("Bearer whsec_abc", Kind::Whitespace, WHITESPACE),
    ("whsec_é", Kind::NotVisibleAscii, NOT_VISIBLE_ASCII),
    (
        "whsec_a\u{200b}bc",
        Kind::NotVisibleAscii,
        NOT_VISIBLE_ASCII,
    ),
    (
        "whsec_abc\u{202e}",
        Kind::NotVisibleAscii,
        NOT_VISIBLE_ASCII,
    ),
    (
        "\u{feff}whsec_abc",
        Kind::NotVisibleAscii,
        NOT_VISIBLE_ASCII,
    ),
    ("whsec_••••", Kind::Masked, MASKED),
    ("whsec_a3f9••••d0e1", Kind::Masked, MASKED),
    ("whsec_●●●●", Kind::Masked, MASKED),
    ("whsec_…", Kind::Masked, MASKED),
    ("whsec_a3f9…", Kind::Masked, MASKED),
    ("whsec_...", Kind::Masked, MASKED),
    ("whsec_a3f9...d0e1", Kind::Masked, MASKED),
    ("whsec_****", Kind::Masked, MASKED),
    ("whsec_a3f9****", Kind::Masked, MASKED),
    ("whsec_***", Kind::Masked, MASKED),
    ("whsec_xxxx", Kind::Masked, MASKED),
    ("whsec_XXX", Kind::Masked, MASKED),
    ("whsec_a3f9xxxxxxxxxxxx", Kind::Masked, MASKED),
    ("\"whsec_****\"", Kind::Masked, MASKED),
    ("••••••••", Kind::Masked, MASKED),
    ("whsec_######", Kind::Masked, MASKED),
    ("whsec_------", Kind::Masked, MASKED),
    ("whsec_??????", Kind::Masked, MASKED),
    ("whsec_______", Kind::Masked, MASKED),
    ("whsec_REDACTED", Kind::Masked, MASKED),
    ("whsec_Redacted1", Kind::Masked, MASKED),
    ("whsec_your_secret_here", Kind::Placeholder, PLACEHOLDER),
    ("whsec_CHANGEME", Kind::Placeholder, PLACEHOLDER),
    (r"whsec_abc\t", Kind::EscapedNewline, ESCAPED),
    ("whsec_abc)", Kind::TrailingPunctuation, PUNCTUATION),
    ("whsec_abc}", Kind::TrailingPunctuation, PUNCTUATION),
    ("whsec_abc]", Kind::TrailingPunctuation, PUNCTUATION),
    ("${X}", Kind::Placeholder, PLACEHOLDER),
    (
        "${PTOLEMY_WEBHOOK_SECRET:-}",
        Kind::Placeholder,
        PLACEHOLDER,
    ),
    ("$(cat secret)", Kind::Placeholder, PLACEHOLDER),
    ("$X", Kind::Placeholder, PLACEHOLDER),
    ("%PTOLEMY_WEBHOOK_SECRET%", Kind::Placeholder, PLACEHOLDER),
    ("<secret>", Kind::Placeholder, PLACEHOLDER),
    ("<your secret>", Kind::Placeholder, PLACEHOLDER),
    ("[REDACTED]", Kind::Placeholder, PLACEHOLDER),
    ("{{x}}", Kind::Placeholder, PLACEHOLDER),
    ("{{ secrets.WEBHOOK }}\n", Kind::Placeholder, PLACEHOLDER),
    ("{secret}", Kind::Placeholder, PLACEHOLDER),
    ("\"${X}\"", Kind::Placeholder, PLACEHOLDER),
    ("whsec_${X}", Kind::Placeholder, PLACEHOLDER),
    ("whsec_<secret>", Kind::Placeholder, PLACEHOLDER),
    ("whsec_{{x}}", Kind::Placeholder, PLACEHOLDER),
    ("whsec_a3f9${X}", Kind::Placeholder, PLACEHOLDER),
    ("\"whsec_abc\"", Kind::Quoted, QUOTED),
    ("'whsec_abc'", Kind::Quoted, QUOTED),
    ("`whsec_abc`", Kind::Quoted, QUOTED),
    ("“whsec_abc”", Kind::Quoted, QUOTED),
    ("whsec_abc\"", Kind::Quoted, QUOTED),
    ("whsec_abc'", Kind::Quoted, QUOTED),
    ("\"whsec_abc", Kind::Quoted, QUOTED),
    ("whsec_abc\"\n", Kind::Quoted, QUOTED),
    ("\"whsec_abc\",", Kind::Quoted, QUOTED),
    ("whsec_abc,", Kind::TrailingPunctuation, PUNCTUATION),
    ("whsec_abc;", Kind::TrailingPunctuation, PUNCTUATION),
    ("whsec_abc\",", Kind::TrailingPunctuation, PUNCTUATION),
    (r"whsec_abc\n", Kind::EscapedNewline, ESCAPED),
    (r"whsec_abc\r", Kind::EscapedNewline, ESCAPED),
    (r"whsec_abc\r\n", Kind::EscapedNewline, ESCAPED),
    ("abc", Kind::NoPrefix, NO_PREFIX),
    ("ptk_live_abc", Kind::NoPrefix, NO_PREFIX),
    ("WHSEC_abc", Kind::NoPrefix, NO_PREFIX),
    ("whsecabc", Kind::NoPrefix, NO_PREFIX),
    (
        "PTOLEMY_WEBHOOK_SECRET=whsec_abc",
        Kind::NoPrefix,
        NO_PREFIX,
    ),
    (
        "whsec_",
        Kind::PrefixOnly,
        "secret is nothing but the prefix `whsec_`",
    ),
];

#[test]
fn a_secret_in_the_documented_form_is_accepted() {
    for text in [
        "whsec_a3f9b2c1d4e5f6a7b8c9d0e1",
        "whsec_x",
        "whsec_xx",
        "whsec_+/=",
        "whsec_-_",
        "whsec_Zm9vYmFyYmF6cXV4eHh4eA==",
        "whsec_a$b%c{d}e<f>g[h]i",
        "whsec_a..b**c\\d'e,f;g",
    ] {
        assert!(Secret::new(text).is_ok(), "{text}");
        assert!(Secret::new(text.to_owned()).is_ok(), "{text}");
    }
}

#[test]
fn a_secret_that_cannot_be_right_is_an_error_with_its_reason() {
    for &(text, kind, message) in MISTAKES {
        let error = Secret::new(text).unwrap_err();
        assert_eq!(error.kind(), kind, "{text:?}");
        assert_eq!(error.to_string(), message, "{text:?}");
        assert_eq!(error.kind().to_string(), message, "{text:?}");
        assert_eq!((error.variable(), error.path()), (None, None));
        assert!(error.source().is_none());
    }
}

#[test]
fn a_key_of_bytes_may_be_anything_but_empty() {
    assert_eq!(Secret::from_bytes([]).unwrap_err().kind(), Kind::Empty);
    for bytes in [&b" "[..], b"\n", b"\xff\0", b"no prefix"] {
        assert!(Secret::from_bytes(bytes).is_ok());
    }
    let key = Secret::from_bytes(*b"whsec_test_secret").unwrap();
    let verified = Verifier::new(key).verify_at(signed("body"), b"body", at(NOW));
    assert_eq!(verified.unwrap().secret_index(), 0);
}

#[test]
fn debug_and_errors_never_show_the_secret() {
    let secret = Secret::new("whsec_SENTINEL").unwrap();
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert_eq!(format!("{secret:#?}"), "Secret(..)");
    for text in [
        "SENTINEL",
        "whsec_SENTINEL\n",
        "SENTINEL whsec_",
        "${SENTINEL}",
        "whsec_SENTINEL…",
        "\"whsec_SENTINEL\"",
        "whsec_SENTINEL,",
        "whsec_SENTINELé",
    ] {
        let error = Secret::new(text).unwrap_err();
        let shown = format!("{error}{error:?}{:?}", error.kind());
        assert!(!shown.contains("SENTINEL"), "{text:?}");
    }
}

/// A file that is removed at the end of the test.
pub(crate) struct TestFile(PathBuf);

impl TestFile {
    pub(crate) fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
        let name = format!("ptolemy-webhooks-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_secret_in_a_file_loses_one_line_end() {
    for content in [
        "whsec_test_secret",
        "whsec_test_secret\n",
        "whsec_test_secret\r\n",
    ] {
        let file = TestFile::new("line-end", content);
        let verifier = Verifier::new(Secret::from_file(file.path()).unwrap());
        let verified = verifier.verify_at(signed("body"), b"body", at(NOW));
        assert!(verified.is_ok(), "{content:?}");
    }
}

#[test]
fn a_mistake_in_a_file_is_named_with_the_file() {
    let in_files = [
        ("\n", Kind::Empty, "secret is empty"),
        ("\r\n", Kind::Empty, "secret is empty"),
        ("\n\n", Kind::Blank, "secret is blank"),
        ("whsec_abc\n\n", Kind::Whitespace, WHITESPACE),
        ("whsec_abc\r\n\r\n", Kind::Whitespace, WHITESPACE),
        ("whsec_abc\r", Kind::Whitespace, WHITESPACE),
        ("\nwhsec_abc", Kind::Whitespace, WHITESPACE),
        ("whsec_abc\n\0", Kind::Whitespace, WHITESPACE),
    ];
    let one_line = |text: &str| !text.ends_with('\n');
    let also = MISTAKES.iter().filter(|(text, ..)| one_line(text));
    for &(content, kind, message) in in_files.iter().chain(also) {
        let file = TestFile::new("mistake", content);
        let error = Secret::from_file(file.path()).unwrap_err();
        assert_eq!(error.kind(), kind, "{content:?}");
        let expected = format!("file {}: {message}", file.path().display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(format!("{error:?}"), expected);
        assert_eq!((error.variable(), error.path()), (None, Some(file.path())));
        assert!(error.source().is_none());
    }
    // UTF-16, as a redirection in an old PowerShell writes it.
    let file = TestFile::new("utf-16", b"\xff\xfew\0h\0s\0e\0c\0_\0a\0");
    let error = Secret::from_file(file.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotUnicode);
    assert!(error.to_string().ends_with(": secret is not valid Unicode"));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_with_its_cause() {
    let missing = Path::new("/no/such/file");
    let error = Secret::from_file(missing).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreadable);
    assert_eq!(error.path(), Some(missing));
    assert_eq!(
        error.to_string(),
        "file /no/such/file: secret cannot be read"
    );
    let cause = error.source().unwrap();
    assert_eq!(format!("{error:?}"), format!("{error}: {cause}"));
    let cause = cause.downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);

    let folder = std::env::temp_dir();
    assert_eq!(
        Secret::from_file(folder).unwrap_err().kind(),
        Kind::Unreadable
    );
}

#[test]
fn no_more_than_64_kib_of_a_file_are_read() {
    let mut content = "whsec_".to_owned() + &"a1".repeat(32 * 1024 - 3);
    assert_eq!(content.len(), 64 * 1024);
    let file = TestFile::new("longest", &content);
    assert!(Secret::from_file(file.path()).is_ok());
    content.push('\n');
    let file = TestFile::new("too-long", &content);
    let mut too_long = vec![file.path()];
    if cfg!(unix) {
        too_long.push(Path::new("/dev/zero"));
    }
    for path in too_long {
        let error = Secret::from_file(path).unwrap_err();
        assert_eq!(error.kind(), Kind::Unreadable);
        let cause = error.source().unwrap().to_string();
        assert_eq!(cause, "longer than 65536 bytes");
    }
}
