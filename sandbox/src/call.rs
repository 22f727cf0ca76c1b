//! The calls of the API, for tests to read.

/// How a call of the API ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallEnd {
    /// With an answer of this status.
    Answered(u16),
    /// Without an answer: the connection was left open.
    Hung,
    /// Without an answer: the connection was reset.
    Reset,
}

/// One call of the API, with a token of the sandbox.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) end: CallEnd,
    pub(crate) applied: bool,
}

/// How much of a path is kept, in bytes.
const PATH_BYTES: usize = 1024;

impl Call {
    pub(crate) fn new(method: &str, path: &str, end: CallEnd, applied: bool) -> Self {
        Self {
            method: cut(method),
            path: cut(path),
            end,
            applied,
        }
    }

    /// Returns the method, such as `POST`.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the path relative to the workspace, such as `/webhooks`, without the query. It is
    /// cut after 1 KiB.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns how the call ended.
    #[must_use]
    pub fn end(&self) -> CallEnd {
        self.end
    }

    /// Returns the status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.end {
            CallEnd::Answered(status) => Some(status),
            CallEnd::Hung | CallEnd::Reset => None,
        }
    }

    /// Returns whether the call was carried out successfully, even if the answer was an error or
    /// was lost.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.applied
    }
}

fn cut(text: &str) -> String {
    let chars = text.char_indices();
    chars
        .take_while(|(at, char)| at + char.len_utf8() <= PATH_BYTES)
        .map(|(_, char)| char)
        .collect()
}
