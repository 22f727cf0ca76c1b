//! Secrets from the environment.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use ptolemy_webhooks::{Signer, Verifier};

use crate::{NOW, at, signed};

/// Runs the test `name` of this binary anew with other variables in its environment: that of a
/// running process is not to be changed.
fn rerun(name: &str, variables: &[(&str, &OsStr)]) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]);
    for name in ["PTOLEMY_WEBHOOK_SECRET", "PTOLEMY_WEBHOOK_SECRET_PREVIOUS"] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
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
    let Some(expected) = env::var_os("PTOLEMY_TEST_EXPECTED") else {
        let current = "PTOLEMY_WEBHOOK_SECRET";
        let previous = "PTOLEMY_WEBHOOK_SECRET_PREVIOUS";
        let not_unicode = OsStr::from_bytes(b"whsec_\xff");
        let good = OsStr::new("whsec_test_secret");
        let os = OsStr::new;
        for (variables, expected) in [
            (
                vec![],
                "environment variable PTOLEMY_WEBHOOK_SECRET: secret is not set",
            ),
            (
                vec![(current, os(""))],
                "environment variable PTOLEMY_WEBHOOK_SECRET: secret is empty",
            ),
            (
                vec![(current, os(" "))],
                "environment variable PTOLEMY_WEBHOOK_SECRET: secret is blank",
            ),
            (
                vec![(current, os("whsec_x\n"))],
                "environment variable PTOLEMY_WEBHOOK_SECRET: secret holds white space or a control character; a trailing newline is the usual cause",
            ),
            (
                vec![(current, not_unicode)],
                "environment variable PTOLEMY_WEBHOOK_SECRET: secret is not valid Unicode",
            ),
            (
                vec![(previous, good)],
                "environment variable PTOLEMY_WEBHOOK_SECRET: secret is not set",
            ),
            (vec![(current, good)], "1 secret"),
            (vec![(current, good), (previous, os(""))], "1 secret"),
            (
                vec![(current, good), (previous, os("whsec_old"))],
                "2 secrets",
            ),
            (
                vec![(current, good), (previous, os("whsec_"))],
                "environment variable PTOLEMY_WEBHOOK_SECRET_PREVIOUS: secret is nothing but the prefix `whsec_`",
            ),
            (
                vec![(current, good), (previous, os(" "))],
                "environment variable PTOLEMY_WEBHOOK_SECRET_PREVIOUS: secret is blank",
            ),
            (
                vec![(current, good), (previous, not_unicode)],
                "environment variable PTOLEMY_WEBHOOK_SECRET_PREVIOUS: secret is not valid Unicode",
            ),
        ] {
            let mut variables = variables;
            variables.push(("PTOLEMY_TEST_EXPECTED", OsStr::new(expected)));
            rerun(name, &variables);
        }
        return;
    };
    let told = match Verifier::from_env() {
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
    assert_eq!(Some(told.as_str()), expected.to_str());
}
