//! Which events may run when those of one resource run in order.

use std::collections::HashSet;

use crate::turn::Look;

/// How many pages one turn looks at: marking what must wait takes time, and holds locks.
const MAX_PAGES: usize = 16;

/// How many rows a page has after the first, which has as many as are wanted.
const PAGE_ROWS: i64 = 128;

/// The kind of a resource and its id.
pub(super) type Resource = (String, String);

/// An event that is due: since when, its id, the two parts of its resource, and the last unfinished event
/// of the resource before it.
pub(super) type Due<Time> = (Time, i64, Option<String>, Option<String>, Option<i64>);

/// Goes through what is due, page by page, the longest due first.
pub(super) struct Choice {
    take: usize,
    /// Resources with an event that runs.
    busy: HashSet<Resource>,
    pages: usize,
    pub(super) taken: Vec<i64>,
    /// Events that must wait, and the earlier event of the resource that each waits for. Its id is
    /// always smaller, so no two can wait for each other.
    pub(super) waiting: Vec<(i64, i64)>,
    /// Whether there may be more than was looked at.
    more: bool,
}

impl Choice {
    pub(super) fn new(take: usize, busy: impl IntoIterator<Item = Resource>) -> Self {
        Self {
            take,
            busy: busy.into_iter().collect(),
            pages: 0,
            taken: Vec::new(),
            waiting: Vec::new(),
            more: take > 0,
        }
    }

    pub(super) fn next(&self) -> Look {
        // A page may hold more than was wanted of it.
        Look::at_once(self.more || self.taken.len() == self.take)
    }

    /// Whether another page is to be looked at.
    pub(super) fn goes_on(&self) -> bool {
        self.more && self.taken.len() < self.take && self.pages < MAX_PAGES
    }

    /// How many rows the next page is to have.
    pub(super) fn page_size(&self) -> i64 {
        match self.pages {
            0 => i64::try_from(self.take)
                .unwrap_or(PAGE_ROWS)
                .clamp(1, PAGE_ROWS),
            _ => PAGE_ROWS,
        }
    }

    /// Notes that the page was read, and how many rows it has.
    pub(super) fn page(&mut self, rows: usize) {
        self.more = i64::try_from(rows).is_ok_and(|rows| rows >= self.page_size());
        self.pages += 1;
    }

    /// Takes an event or notes why not; returns its place in the queue.
    pub(super) fn consider<Time>(
        &mut self,
        (at, id, kind, name, earlier): Due<Time>,
    ) -> (Time, i64) {
        if self.taken.len() == self.take {
            return (at, id);
        }
        if let Some(earlier) = earlier {
            self.waiting.push((id, earlier));
            return (at, id);
        }
        // Of a resource that is busy without an earlier event, a later one runs: this one was
        // replayed, or came into view late. It stays in the queue as it is, and its turn comes.
        if kind
            .zip(name)
            .is_none_or(|resource| self.busy.insert(resource))
        {
            self.taken.push(id);
        }
        (at, id)
    }
}
