//! Secrets in arguments, which other users of the machine and the shell's history can see.

use std::ffi::OsString;

use crate::stop::Stop;

/// Returns an error if an argument holds a secret, a token or a URL with a password. The error does not
/// quote it.
pub(crate) fn reject_secrets(arguments: &[OsString]) -> Result<(), Stop> {
    for (number, argument) in arguments.iter().enumerate().skip(1) {
        let text = argument.to_string_lossy();
        let found = if has_long(&text, "whsec_") {
            "a webhook secret: pass it in PTOLEMY_WEBHOOK_SECRET, or in a file whose path is in \
             PTOLEMY_WEBHOOK_SECRET_FILE"
        } else if has_long(&text, "ptk_") {
            "an API token: pass it in PTOLEMY_API_TOKEN, or in a file whose path is in \
             PTOLEMY_API_TOKEN_FILE"
        } else if has_password(&text) {
            "a URL with a password: pass the URL of a database in DATABASE_URL; other URLs must not \
             have one"
        } else {
            continue;
        };
        return Err(Stop::usage(format!(
            "argument {number} contains {found}. Other users can see arguments, and the shell may have \
             saved them: replace what was shown"
        )));
    }
    Ok(())
}

/// Whether something follows the prefix that could be secret: not a mere mention such as `whsec_…`.
fn has_long(text: &str, prefix: &str) -> bool {
    text.match_indices(prefix).any(|(at, _)| {
        let rest = text.get(at + prefix.len()..).unwrap_or_default();
        rest.chars().take_while(char::is_ascii_alphanumeric).count() >= 4
    })
}

/// Whether a URL in the text has `user:password@` before its host.
fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| {
            user.split_once(':')
                .is_some_and(|(_, password)| !password.is_empty())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejects(argument: &str) -> bool {
        let arguments = ["ptolemy-webhooks", argument].map(OsString::from);
        match reject_secrets(&arguments) {
            Ok(()) => false,
            Err(stop) => {
                assert_eq!(stop.code(), 2);
                assert!(!format!("{stop:?}").contains(argument));
                true
            }
        }
    }

    #[test]
    fn secrets_tokens_and_passwords_are_rejected_wherever_they_stand() {
        for argument in [
            "whsec_a3f9b2c1",
            "--secret=whsec_a3f9b2c1",
            "ptk_live_0123456789abcdef",
            "--token=ptk_test_0123",
            "postgres://app:hunter2@db/inbox",
            "--database=postgres://app:p%40ss@db:5432/inbox?x=y",
            "https://user:pass@hooks.example.com/webhooks",
        ] {
            assert!(rejects(argument), "{argument}");
        }
    }

    #[test]
    fn what_is_not_secret_passes() {
        for argument in [
            "webhook.secret",
            "whsec_…",
            "whsec_",
            "postgres://app@db/inbox",
            "postgres://app:@db/inbox",
            "https://hooks.example.com:8443/a@b:c",
            "https://hooks.example.com/?a=b:c@d",
            "sqlite://inbox.db",
        ] {
            assert!(!rejects(argument), "{argument}");
        }
    }
}
