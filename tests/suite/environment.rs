//! Secrets from the environment.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use ptolemy_webhooks::{Signer, Verifier};

use crate::secret::TestFile;
use crate::{NOW, at, signed};

const CURRENT: &str = "PTOLEMY_WEBHOOK_SECRET";
const CURRENT_FILE: &str = "PTOLEMY_WEBHOOK_SECRET_FILE";
const PREVIOUS: &str = "PTOLEMY_WEBHOOK_SECRET_PREVIOUS";
const PREVIOUS_FILE: &str = "PTOLEMY_WEBHOOK_SECRET_PREVIOUS_FILE";
const EXPECTED: &str = "PTOLEMY_TEST_EXPECTED";

/// Runs the test `name` in a new process of this binary with other environment variables, because
/// changing the environment of a running process is not safe.
fn rerun(name: &str, variables: &[(&str, &OsStr)], expected: &str) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]);
    for name in [CURRENT, CURRENT_FILE, PREVIOUS, PREVIOUS_FILE] {
        command.env_remove(name);
    }
    command
        .envs(variables.iter().copied())
        .env(EXPECTED, expected);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{variables:?}: {text}{errors}"
    );
}

#[test]
fn the_verifier_reads_both_variables_and_names_the_one_that_is_wrong() {
    let name = "environment::the_verifier_reads_both_variables_and_names_the_one_that_is_wrong";
    if is_rerun() {
        return check();
    }
    let not_unicode = OsStr::from_bytes(b"whsec_\xff");
    let good = OsStr::new("whsec_test_secret");
    let old = OsStr::new("whsec_old");
    let os = OsStr::new;
    let in_current = |message: &str| format!("environment variable {CURRENT}: {message}");
    let in_previous = |message: &str| format!("environment variable {PREVIOUS}: {message}");
    let whitespace =
        "secret contains white space or a control character; a trailing newline is the usual cause";
    for (variables, expected) in [
        (vec![], in_current("secret is not set")),
        (vec![(CURRENT, os(""))], in_current("secret is empty")),
        (vec![(CURRENT, os(" "))], in_current("secret is blank")),
        (vec![(CURRENT, os("whsec_x\n"))], in_current(whitespace)),
        (
            vec![(CURRENT, not_unicode)],
            in_current("secret is not valid Unicode"),
        ),
        (vec![(PREVIOUS, good)], in_current("secret is not set")),
        (vec![(CURRENT, good)], "1 secret".into()),
        (vec![(CURRENT, good), (PREVIOUS, os(""))], "1 secret".into()),
        (vec![(CURRENT, good), (PREVIOUS, old)], "2 secrets".into()),
        (
            vec![(CURRENT, good), (PREVIOUS, os("whsec_"))],
            in_previous("secret is nothing but the prefix `whsec_`"),
        ),
        (
            vec![(CURRENT, good), (PREVIOUS, os(" "))],
            in_previous("secret is blank"),
        ),
        (
            vec![(CURRENT, good), (PREVIOUS, not_unicode)],
            in_previous("secret is not valid Unicode"),
        ),
    ] {
        rerun(name, &variables, &expected);
    }
}

#[test]
fn the_verifier_reads_both_files_and_names_the_variable_and_the_file_that_is_wrong() {
    let name = "environment::the_verifier_reads_both_files_and_names_the_variable_and_the_file_that_is_wrong";
    if is_rerun() {
        return check();
    }
    let files = [
        "whsec_test_secret\n",
        "whsec_old\r\n",
        "\n",
        "whsec_old\n\n",
    ];
    let files = files.map(|text| {
        let name = format!("environment-{}", text.escape_debug());
        TestFile::new(&name, text)
    });
    let [good, old, empty, two_ends] = files.each_ref().map(|file| file.path().as_os_str());
    let os = OsStr::new;
    let plain = os("whsec_test_secret");
    let missing = os("/no/such/file");
    let wrong = |variable: &str, file: &OsStr, message: &str| {
        let file = file.to_str().unwrap();
        format!("environment variable {variable}: file {file}: {message}")
    };
    let twice = |variable: &str| {
        format!(
            "environment variable {variable}: secret is set twice, in this variable and in the one \
             that ends in `_FILE`; unset one"
        )
    };
    let whitespace =
        "secret contains white space or a control character; a trailing newline is the usual cause";
    for (variables, expected) in [
        (vec![(CURRENT_FILE, good)], "1 secret".into()),
        (
            vec![(CURRENT_FILE, good), (CURRENT, os(""))],
            "1 secret".into(),
        ),
        (
            vec![(CURRENT_FILE, os("")), (CURRENT, plain)],
            "1 secret".into(),
        ),
        (
            vec![(CURRENT_FILE, os(""))],
            format!("environment variable {CURRENT}: secret is not set"),
        ),
        (
            vec![(CURRENT_FILE, missing)],
            wrong(CURRENT_FILE, missing, "secret cannot be read"),
        ),
        (
            vec![(CURRENT_FILE, empty)],
            wrong(CURRENT_FILE, empty, "secret is empty"),
        ),
        (
            vec![(CURRENT_FILE, two_ends)],
            wrong(CURRENT_FILE, two_ends, whitespace),
        ),
        (vec![(CURRENT_FILE, good), (CURRENT, plain)], twice(CURRENT)),
        (
            vec![(CURRENT_FILE, good), (PREVIOUS_FILE, old)],
            "2 secrets".into(),
        ),
        (
            vec![(CURRENT, plain), (PREVIOUS_FILE, old)],
            "2 secrets".into(),
        ),
        (
            vec![(CURRENT_FILE, good), (PREVIOUS, os("whsec_old"))],
            "2 secrets".into(),
        ),
        (
            vec![(CURRENT, plain), (PREVIOUS_FILE, os(""))],
            "1 secret".into(),
        ),
        (
            vec![(CURRENT, plain), (PREVIOUS_FILE, empty)],
            "1 secret".into(),
        ),
        (
            vec![(CURRENT, plain), (PREVIOUS_FILE, missing)],
            wrong(PREVIOUS_FILE, missing, "secret cannot be read"),
        ),
        (
            vec![(CURRENT, plain), (PREVIOUS_FILE, two_ends)],
            wrong(PREVIOUS_FILE, two_ends, whitespace),
        ),
        (
            vec![
                (CURRENT, plain),
                (PREVIOUS_FILE, old),
                (PREVIOUS, os("whsec_old")),
            ],
            twice(PREVIOUS),
        ),
    ] {
        rerun(name, &variables, &expected);
    }
}

fn is_rerun() -> bool {
    env::var_os(EXPECTED).is_some()
}

/// Compares the verifier from this process's environment with what the parent process expects.
fn check() {
    let seen = match Verifier::from_env() {
        Err(error) => {
            assert!(error.to_string().contains(error.variable().unwrap()));
            error.to_string()
        }
        Ok(verifier) => {
            let body = b"body";
            assert!(verifier.verify_at(signed(body), body, at(NOW)).is_ok());
            let old = Signer::new(&crate::secret("whsec_old")).sign_at(body, at(NOW));
            match verifier.verify_at(old, body, at(NOW)) {
                Ok(verified) => format!("{} secrets", verified.secret_index() + 1),
                Err(_) => "1 secret".to_owned(),
            }
        }
    };
    assert_eq!(seen, env::var(EXPECTED).unwrap());
}
