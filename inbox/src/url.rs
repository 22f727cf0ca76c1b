//! Checks the URL of a database before the driver sees it: the driver logs parameters that it does
//! not know, and if a password contains a `?` or a `#`, these are the rest of the password.
//!
//! Errors quote nothing of a URL except the plain name of a parameter.

#[cfg(feature = "postgres")]
use std::net::IpAddr;

use crate::error::{ConnectError, ConnectErrorKind};

#[cfg(feature = "postgres")]
const NOT_ENCODED: &str = "a `/`, `?`, `#` or `@` in a user, a password or a parameter has to be \
                           written as `%2F`, `%3F`, `%23` or `%40`";

/// The longest parameter name that is shown.
const MAX_NAME: usize = 40;

/// Checks the URL of a PostgreSQL database.
#[cfg(feature = "postgres")]
pub(crate) fn check_postgres(url: &str) -> Result<(), ConnectError> {
    let Some((_, rest)) = url.split_once("://") else {
        return Err(malformed("it has to begin with `postgres://`"));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // The user and the password end at the first of these, even if it was meant as a part of them.
    let after_host = rest.get(end..).unwrap_or_default();
    if after_host.contains(['@', '#']) {
        return Err(malformed(NOT_ENCODED));
    }
    for (name, value) in parameters(after_host) {
        let problem = match name {
            "sslmode" | "ssl-mode" => {
                let known = [
                    "disable",
                    "allow",
                    "prefer",
                    "require",
                    "verify-ca",
                    "verify-full",
                ];
                let known = known.iter().any(|mode| value.eq_ignore_ascii_case(mode));
                (!known).then_some(
                    "`sslmode` has to be `disable`, `allow`, `prefer`, `require`, `verify-ca` or \
                     `verify-full`",
                )
            }
            "port" => (value.parse::<u16>().is_err()).then_some("`port` has to be a number"),
            "hostaddr" => {
                (value.parse::<IpAddr>().is_err()).then_some("`hostaddr` has to be an IP address")
            }
            "statement-cache-capacity" => (value.parse::<usize>().is_err())
                .then_some("`statement-cache-capacity` has to be a number"),
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" | "sslcert" | "ssl-cert" | "sslkey"
            | "ssl-key" | "host" | "dbname" | "user" | "password" | "application_name"
            | "options" => None,
            name if name.starts_with("options[") && name.ends_with(']') => None,
            name => return Err(unknown(name, postgres_hint(name))),
        };
        if let Some(problem) = problem {
            return Err(malformed(problem));
        }
    }
    Ok(())
}

/// Returns what to do about a parameter that common hosts and other drivers add.
#[cfg(feature = "postgres")]
fn postgres_hint(name: &str) -> &'static str {
    match name {
        "channel_binding" => {
            "remove it: the driver has no channel binding; `sslmode=verify-full` checks the server"
        }
        "pgbouncer" | "prepared_statements" | "prepareThreshold" | "statement_cache_size" => {
            "remove it: a pooler in transaction mode is found out by itself, and \
             `statement-cache-capacity=0` says so in any case"
        }
        "connection_limit" | "pool_timeout" | "pool_size" | "max_connections" => {
            "remove it: the pool has 10 connections; one of another size can be passed to \
             `Inbox::from_postgres_pool`"
        }
        "schema" | "currentSchema" | "search_path" => {
            "remove it: `options[search_path]=` sets the schema"
        }
        "ssl" | "sslaccept" | "tls" => "remove it: `sslmode=require` or `verify-full` asks for TLS",
        "connect_timeout" => "remove it: connecting is given up after 5 s",
        "target_session_attrs" | "load_balance_hosts" => {
            "remove it: a DNS name or a proxy has to lead to the server that may write"
        }
        _ => "remove it",
    }
}

/// Checks the URL of a SQLite file.
#[cfg(feature = "sqlite")]
pub(crate) fn check_sqlite(url: &str) -> Result<(), ConnectError> {
    for (name, value) in parameters(url) {
        let (values, problem): (&[_], _) = match name {
            "mode" => (
                &["ro", "rw", "rwc", "memory"],
                "`mode` has to be `ro`, `rw`, `rwc` or `memory`",
            ),
            "cache" => (
                &["private", "shared"],
                "`cache` has to be `private` or `shared`",
            ),
            "immutable" => (
                &["true", "false", "1", "0"],
                "`immutable` has to be `true` or `false`",
            ),
            "vfs" => continue,
            name => return Err(unknown(name, sqlite_hint(name))),
        };
        if !values.contains(&value) {
            return Err(malformed(problem));
        }
    }
    Ok(())
}

#[cfg(feature = "sqlite")]
fn sqlite_hint(name: &str) -> &'static str {
    match name.trim_start_matches('_') {
        "journal_mode" | "journal" | "synchronous" | "sync" | "busy_timeout" | "timeout" => {
            "remove it: the inbox sets it itself"
        }
        _ => "remove it; a `?` in the name of a file has to be written as `%3F`",
    }
}

/// Returns the value of a parameter.
#[cfg(feature = "postgres")]
pub(crate) fn parameter<'u>(url: &'u str, name: &str) -> Option<&'u str> {
    let mut parameters = parameters(url);
    parameters.find_map(|(other, value)| (other == name).then_some(value))
}

/// Returns the parameters after the first `?`.
fn parameters(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let parameters = query.split('&').filter(|one| !one.is_empty());
    parameters.map(|one| one.split_once('=').unwrap_or((one, "")))
}

fn malformed(reason: &'static str) -> ConnectError {
    ConnectError::new(ConnectErrorKind::MalformedUrl { reason })
}

fn unknown(name: &str, hint: &'static str) -> ConnectError {
    let is_plain = name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let name = if is_plain { name } else { "…" };
    ConnectError::new(ConnectErrorKind::UnknownParameter {
        name: name.to_owned(),
        hint,
    })
}

#[cfg(all(test, feature = "postgres", feature = "sqlite"))]
mod tests {
    use super::*;

    fn text(checked: Result<(), ConnectError>) -> String {
        checked.map_or_else(|error| format!("{error} {error:?}"), |()| "ok".to_owned())
    }

    #[test]
    fn a_url_of_postgres_with_what_the_driver_knows_is_valid() {
        for url in [
            "postgres://u@h/d",
            "postgresql://u:p@h:5432/d?sslmode=require&application_name=inbox",
            "postgres:///d?host=/var/run/postgresql&user=u&password=p&port=5433",
            "postgres://u%40server:p%3F%2F%23%40@h/d?statement-cache-capacity=0",
            "postgres://u:p@ssw0rd@h/d?options[search_path]=inbox&hostaddr=::1&",
            "postgres://%2Fvar%2Flib%2Fpostgres/d?sslmode=VERIFY-FULL&sslrootcert=/etc/ca.pem",
        ] {
            assert_eq!(text(check_postgres(url)), "ok", "{url}");
        }
    }

    #[test]
    fn a_password_that_is_not_encoded_is_an_error_that_shows_nothing_of_it() {
        for url in [
            "postgres://u:5?sesame@h/d",
            "postgres://u:5?sesame=xyzzy@h/d",
            "postgres://u:5#sesame@h/d",
            "postgres://u:5/sesame@h/d",
            "postgres://u:5/6?sesame@h/d",
            "postgres://u@server:5?sesame@h/d",
            "postgres://u:5?a&sesame=1@h/d?sslmode=require",
            "postgres://h/d?password=sesame#xyzzy",
        ] {
            let text = text(check_postgres(url));
            assert!(text.contains("`%2F`, `%3F`, `%23`"), "{url}: {text}");
            for part in ["sesame", "xyzzy", "server"] {
                assert!(!text.contains(part), "{url}: {text}");
            }
        }
    }

    #[test]
    fn an_unknown_parameter_is_named_alone_with_what_to_do() {
        for (name, hint) in [
            ("channel_binding", "sslmode=verify-full"),
            ("pgbouncer", "statement-cache-capacity=0"),
            ("connection_limit", "Inbox::from_postgres_pool"),
            ("schema", "options[search_path]="),
            ("ssl", "sslmode=require"),
            ("target_session_attrs", "may write"),
            ("anything", "remove it"),
        ] {
            let url = format!("postgres://u:sesame@h/d?sslmode=require&{name}=xyzzy");
            let text = text(check_postgres(&url));
            assert!(text.contains(&format!("`{name}`")), "{text}");
            assert!(text.contains(hint), "{text}");
            assert!(
                !text.contains("xyzzy") && !text.contains("sesame"),
                "{text}"
            );
        }
        for url in ["postgres://h/d?se%73ame=1", "postgres://h/d?sesame%0A"] {
            assert!(!text(check_postgres(url)).contains("same"), "{url}");
        }
    }

    #[test]
    fn a_value_that_the_driver_does_not_take_is_not_shown() {
        for parameter in [
            "sslmode=sesame",
            "port=sesame",
            "hostaddr=sesame",
            "statement-cache-capacity=sesame",
        ] {
            let text = text(check_postgres(&format!("postgres://h/d?{parameter}")));
            assert!(text.contains("has to be"), "{text}");
            assert!(!text.contains("sesame"), "{text}");
        }
        assert_ne!(text(check_postgres("postgres:h/d")), "ok");
    }

    #[test]
    fn the_url_of_a_file_has_the_parameters_that_the_driver_knows() {
        for url in [
            "sqlite://inbox.db",
            "sqlite::memory:",
            "sqlite://a%3Fb.db?mode=rwc&cache=private&immutable=false&vfs=unix",
        ] {
            assert_eq!(text(check_sqlite(url)), "ok", "{url}");
        }
        for (parameter, expected) in [
            ("mode=sesame", "`rwc`"),
            ("cache=sesame", "`shared`"),
            ("immutable=sesame", "`false`"),
            ("_journal_mode=sesame", "sets it itself"),
            ("other=sesame", "`other`"),
        ] {
            let text = text(check_sqlite(&format!("sqlite://inbox.db?{parameter}")));
            assert!(
                text.contains(expected) && !text.contains("sesame"),
                "{text}"
            );
        }
    }
}
