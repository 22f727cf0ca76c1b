//! Classes of database errors, by what an operator does about them.

use std::error::Error;

use sqlx::Error as SqlxError;

/// The classes of errors, in the order of the documentation.
pub(super) const CLASSES: [&str; 6] = [CONNECTION, BUSY, FULL, READ_ONLY, TIMEOUT, OTHER];

/// The database cannot be reached.
pub(super) const CONNECTION: &str = "connection";

/// A lock, or a transaction that could not be serialized.
const BUSY: &str = "busy";

/// The disk is full.
const FULL: &str = "full";

/// The database is read-only.
const READ_ONLY: &str = "read_only";

/// No answer in time.
pub(super) const TIMEOUT: &str = "timeout";

const OTHER: &str = "other";

/// Returns the class of an error.
pub(super) fn class_of(error: &(dyn Error + 'static)) -> &'static str {
    match error.downcast_ref() {
        Some(SqlxError::Database(error)) => match error.code() {
            // The codes of PostgreSQL have five characters, and those of SQLite are shorter
            // numbers.
            Some(code) if code.len() == 5 => of_postgres(&code),
            Some(code) => code.parse().map_or(OTHER, of_sqlite),
            None => OTHER,
        },
        Some(
            SqlxError::Io(_)
            | SqlxError::Protocol(_)
            | SqlxError::Tls(_)
            | SqlxError::PoolTimedOut
            | SqlxError::PoolClosed
            | SqlxError::WorkerCrashed,
        ) => CONNECTION,
        _ => OTHER,
    }
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn of_postgres(code: &str) -> &'static str {
    match code {
        "25006" => READ_ONLY,
        "53100" => FULL,
        "57014" => TIMEOUT,
        "40001" | "40P01" | "55P03" => BUSY,
        // Too many connections; closed after too long without a statement; shut down; no login.
        "53300" | "25P03" | "25P04" => CONNECTION,
        _ if ["08", "28", "57"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            CONNECTION
        }
        _ => OTHER,
    }
}

/// By the lower byte of an extended code: <https://www.sqlite.org/rescode.html>.
fn of_sqlite(code: u32) -> &'static str {
    match code & 0xff {
        5 | 6 => BUSY,
        8 => READ_ONLY,
        13 => FULL,
        14 => CONNECTION,
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_engines_have_their_class() {
        for (code, class) in [
            ("25006", READ_ONLY),
            ("53100", FULL),
            ("57014", TIMEOUT),
            ("40001", BUSY),
            ("40P01", BUSY),
            ("55P03", BUSY),
            ("53300", CONNECTION),
            ("08006", CONNECTION),
            ("57P01", CONNECTION),
            ("28P01", CONNECTION),
            ("25P03", CONNECTION),
            ("42P01", OTHER),
            ("23505", OTHER),
        ] {
            assert_eq!(of_postgres(code), class, "{code}");
        }
        for (code, class) in [
            (5, BUSY),
            (517, BUSY),
            (6, BUSY),
            (8, READ_ONLY),
            (1032, READ_ONLY),
            (13, FULL),
            (14, CONNECTION),
            (10, OTHER),
            (2067, OTHER),
        ] {
            assert_eq!(of_sqlite(code), class, "{code}");
        }
    }

    #[test]
    fn an_error_of_the_connection_has_its_class_and_any_other_error_is_other() {
        let closed: Box<dyn Error> = SqlxError::PoolClosed.into();
        assert_eq!(class_of(&*closed), CONNECTION);
        let io: Box<dyn Error> = SqlxError::Io(std::io::ErrorKind::BrokenPipe.into()).into();
        assert_eq!(class_of(&*io), CONNECTION);
        let row: Box<dyn Error> = SqlxError::RowNotFound.into();
        assert_eq!(class_of(&*row), OTHER);
        let text: Box<dyn Error> = "text".into();
        assert_eq!(class_of(&*text), OTHER);
    }
}
