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

#[cfg(test)]
mod tests {
    use super::*;

    /// An event of this resource.
    fn of(id: i64, resource: Option<&str>, earlier: Option<i64>) -> Due<i64> {
        let resource = resource.map(|id| ("market".to_owned(), id.to_owned()));
        let (kind, name) = resource.unzip();
        (id * 10, id, kind, name, earlier)
    }

    /// Reads a page with so many events that must wait.
    fn page(choice: &mut Choice, rows: usize) {
        choice.page(rows);
        for id in (0..).take(rows) {
            choice.consider(of(id, Some("m"), Some(id - 1)));
        }
    }

    #[test]
    fn the_first_page_has_what_is_wanted_and_the_others_128_rows() {
        for (take, first) in [(0, 1), (1, 1), (5, 5), (128, 128), (500, 128)] {
            let mut choice = Choice::new(take, []);
            assert_eq!(choice.page_size(), first, "{take}");
            page(&mut choice, 1);
            assert_eq!(choice.page_size(), 128);
        }
    }

    #[test]
    fn pages_are_read_until_one_is_short() {
        let mut choice = Choice::new(2, []);
        for rows in [2, 128, 129] {
            assert!(choice.goes_on());
            page(&mut choice, rows);
        }
        assert!(choice.goes_on());
        page(&mut choice, 127);
        assert!(!choice.goes_on());
        assert_eq!(choice.next(), Look::Later);
        assert!(!Choice::new(0, []).goes_on());
    }

    #[test]
    fn after_16_pages_the_next_turn_goes_on_at_once() {
        let mut choice = Choice::new(200, []);
        for number in 0..16 {
            assert!(choice.goes_on(), "{number}");
            page(&mut choice, 128);
        }
        assert!(!choice.goes_on());
        assert_eq!(choice.next(), Look::AtOnce);
    }

    #[test]
    fn no_more_is_taken_than_is_wanted() {
        let mut choice = Choice::new(2, []);
        choice.page(3);
        for id in 1..=3 {
            assert_eq!(choice.consider(of(id, None, None)), (id * 10, id));
        }
        assert_eq!(choice.taken, [1, 2]);
        assert!(!choice.goes_on());
        assert_eq!(choice.next(), Look::AtOnce);

        // The page was short, and has as many as are wanted.
        let mut choice = Choice::new(1, []);
        choice.page(0);
        choice.consider(of(1, None, None));
        assert_eq!(choice.next(), Look::AtOnce);
    }

    #[test]
    fn one_event_of_a_resource_is_taken_and_those_behind_an_earlier_one_are_marked() {
        let busy = [("market".to_owned(), "busy".to_owned())];
        let mut choice = Choice::new(10, busy);
        choice.page(6);
        for due in [
            of(1, Some("a"), None),
            of(2, Some("a"), Some(1)),
            // A later one of the resource runs, or was taken just now.
            of(3, Some("busy"), None),
            of(4, Some("b"), None),
            of(5, Some("b"), None),
            of(6, None, None),
        ] {
            let place = (due.0, due.1);
            assert_eq!(choice.consider(due), place);
        }
        assert_eq!(choice.taken, [1, 4, 6]);
        assert_eq!(choice.waiting, [(2, 1)]);
        assert_eq!(choice.next(), Look::Later);
    }
}
