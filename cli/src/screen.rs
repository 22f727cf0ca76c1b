//! Secrets in arguments, which other users of the machine and the shell's history can see.

use std::ffi::OsString;

use crate::stop::Stop;

/// Returns an error if an argument holds a secret, a token or a URL with a password. The error does
/// not quote it.
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

/// Schemes of URLs that need no `//` in front of `user:password@`: parsers add it.
const WEB_SCHEMES: [&str; 5] = ["http", "https", "ws", "wss", "ftp"];

/// Whether a URL in the text has a password before its host, or as a parameter.
fn has_password(text: &str) -> bool {
    let before_host = text.match_indices(':').any(|(at, _)| {
        let (before, after) = text.split_at(at);
        let rest = after.trim_start_matches(':');
        let scheme = before
            .rsplit(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        let is_web = WEB_SCHEMES.iter().any(|it| scheme.eq_ignore_ascii_case(it));
        match rest.strip_prefix("//") {
            _ if is_web => has_password_before_host(rest.trim_start_matches(['/', '\\']), is_web),
            Some(rest) if !scheme.is_empty() => has_password_before_host(rest, is_web),
            _ => false,
        }
    });
    before_host || has_password_parameter(text)
}

/// Whether what follows `scheme://` begins with `user:password@`.
///
/// A password that is not encoded can have `/`, `?` and `#`, so that the `@` stands behind what
/// looks like the host and its port. The path of a web address can have an `@` too, so there it
/// only counts if no port is in front of it.
fn has_password_before_host(rest: &str, is_web: bool) -> bool {
    let up_to = |ends: &[char]| {
        let end = rest.find(ends).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    };
    let host = up_to(&['/', '\\', '?', '#']);
    let searched = match host.rsplit_once(':') {
        _ if host.contains('@') => host,
        // `[::1]` is an address.
        None => host,
        Some(_) if host.ends_with(']') => host,
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => match is_web {
            true => host,
            // The name of a database has no `@`, its parameters can have one.
            false => up_to(&['?', '#']),
        },
        Some(_) => rest,
    };
    searched.rsplit_once('@').is_some_and(|(user, _)| {
        user.split_once(':')
            .is_some_and(|(_, password)| !password.is_empty())
    })
}

/// Whether a query has `password=…`, which databases read.
fn has_password_parameter(text: &str) -> bool {
    let parameters = text.split(['?', '&', ';', '#']).skip(1);
    text.contains(':')
        && parameters.into_iter().any(|parameter| {
            parameter
                .split_once('=')
                .is_some_and(|(name, value)| is_password(name) && !value.is_empty())
        })
}

fn is_password(name: &str) -> bool {
    ["password", "passwd", "pwd", "sslpassword"]
        .iter()
        .any(|it| name.eq_ignore_ascii_case(it))
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
            "postgres://127.0.0.1:1/inbox?user=a&password=hunter2",
            "postgres://127.0.0.1/inbox?Password=hunter2",
            "sqlite:inbox.db?password=hunter2",
            "https:user:hunter2@example.com/x",
            "https:/user:hunter2@example.com/x",
            r"https:\\user:hunter2@example.com/x",
            r"HTTPS:\/user:hunter2@example.com/x",
            "--forward=https:user:hunter2@example.com",
            "postgres://app:pa/ss@db/inbox",
            "postgres://app:pa#ss@db/inbox",
            "postgres://app:pa?ss@db/inbox",
            "postgres://app:p@ss@db/inbox",
            "postgres://app:1/2@db/inbox",
            "redis://app:hunter2@cache",
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
            "https://hooks.example.com/?next=https://other.example.com/a@b",
            "https://[::1]/a@b:c",
            "https://[::1]:8443/a@b:c",
            "https://hooks.example.com/reset?password=",
            "postgres://app@db/inbox?passfile=/home/you/.pgpass",
            "instrument.created:a@b",
            "password=1",
            r"C:\Users\me@home\webhook.secret",
            "postgres://db:5432/inbox?user=me@corp",
            "https://hooks.example.com:8443/?a=b@c",
            "sqlite://inbox.db",
        ] {
            assert!(!rejects(argument), "{argument}");
        }
    }
}
