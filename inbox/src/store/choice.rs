//! Chooses the events to take: how many from each queue, and which ones may run in order by
//! resource.

use std::collections::{HashSet, VecDeque};

use crate::turn::Queue;

/// How many pages of a queue one turn reads: marking the events that must wait takes time and holds
/// locks, and the events of other resources that the turn takes begin after it.
const MAX_PAGES: usize = 4;

/// How many rows each page has after the first, which has as many as are wanted.
const PAGE_ROWS: i64 = 128;

/// How many resources a turn looks at beside the pages.
pub(super) const ASIDE_ROWS: i64 = 128;

/// The kind of a resource and its id.
pub(super) type Resource = (String, String);

/// An event that is the first of its resource: since when it is due, its id, the two parts of its
/// resource, whether it may be taken, and whether a later one of the resource runs.
pub(super) type Front<Time> = (Time, i64, String, String, bool, bool);

/// The resource after which the next look beside the pages begins; the first one if there is none.
pub(super) type Rotation = Option<Resource>;

/// Returns those of these events that may be taken. The next look begins after the last one, if
/// there were as many as wanted.
pub(super) fn fronts<Time>(
    fronts: Vec<Front<Time>>,
    rows: i64,
    rotation: &mut Rotation,
) -> Vec<Due<Time>> {
    let last = fronts.last().filter(|_| is_full(&fronts, rows));
    *rotation = last.map(|(_, _, kind, name, ..)| (kind.clone(), name.clone()));
    let free = fronts.into_iter().filter(|front| front.4);
    free.map(|(at, id, kind, name, _, later_runs)| {
        (at, id, Some(kind), Some(name), None, later_runs)
    })
    .collect()
}

/// An event without a resource.
pub(super) fn unnamed<Time>((at, id): (Time, i64)) -> Due<Time> {
    (at, id, None, None, None, false)
}

/// An event that is due: since when, its id, the two parts of its resource, the last unfinished
/// event of the resource before it, and whether a later one of the resource runs.
pub(super) type Due<Time> = (Time, i64, Option<String>, Option<String>, Option<i64>, bool);

/// Returns whether there are as many of them as were wanted, so that there may be more.
pub(super) fn is_full<T>(read: &[T], rows: i64) -> bool {
    i64::try_from(read.len()).is_ok_and(|read| read >= rows)
}

/// Splits `take` between the preferred queue and the other one, given how many events are due in
/// each: half for each, the odd one for the preferred queue, and what one queue leaves for the
/// other.
pub(super) fn shares(take: usize, preferred: usize, other: usize) -> (usize, usize) {
    let half = take.div_ceil(2);
    let preferred = preferred.min(half.max(take.saturating_sub(other)));
    (preferred, other.min(take.saturating_sub(preferred)))
}

/// A queue that is read page by page, longest due first.
pub(super) struct Pages<Time> {
    pub(super) queue: Queue,
    /// The last event that was looked at.
    pub(super) after: Option<(Time, i64)>,
    /// Events that were read but not considered yet.
    left: VecDeque<Due<Time>>,
    count: usize,
    /// Whether there may be more pages.
    more: bool,
}

impl<Time> Pages<Time> {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue,
            after: None,
            left: VecDeque::new(),
            count: 0,
            more: true,
        }
    }

    /// Returns how many rows the next page should have; `None` if no page is needed.
    pub(super) fn next_page(&self, wanted: usize) -> Option<i64> {
        if !self.more || self.count >= MAX_PAGES {
            return None;
        }
        let wanted = i64::try_from(wanted).unwrap_or(PAGE_ROWS);
        Some(match self.count {
            0 => wanted.clamp(1, PAGE_ROWS),
            _ => PAGE_ROWS,
        })
    }

    /// Adds a page that was requested with this many rows.
    pub(super) fn add(&mut self, page: Vec<Due<Time>>, rows: i64) {
        self.count += 1;
        self.more = is_full(&page, rows);
        self.left.extend(page);
    }

    pub(super) fn has_more(&self) -> bool {
        self.more || !self.left.is_empty()
    }
}

/// Goes through the due events, and takes those that need not wait for an earlier event of their
/// resource.
#[derive(Default)]
pub(super) struct Choice {
    /// Events that cannot be taken now.
    skipped: HashSet<i64>,
    /// Resources of events that were taken or skipped.
    busy: HashSet<Resource>,
    pub(super) taken: Vec<i64>,
    /// Events that must wait, and the earlier event of the resource that each waits for. Its id is
    /// always smaller, so no two can wait for each other.
    pub(super) waiting: Vec<(i64, i64)>,
}

impl Choice {
    pub(super) fn without(skipped: &HashSet<i64>) -> Self {
        Self {
            skipped: skipped.clone(),
            ..Self::default()
        }
    }

    /// Considers the events that were read from a queue, until it has taken this many events in
    /// total; returns whether it has.
    pub(super) fn look<Time>(&mut self, pages: &mut Pages<Time>, up_to: usize) -> bool {
        while self.taken.len() < up_to {
            let Some(due) = pages.left.pop_front() else {
                return false;
            };
            pages.after = Some(self.consider(due));
        }
        true
    }

    /// Takes an event or records why it cannot; returns its place in the queue.
    fn consider<Time>(
        &mut self,
        (at, id, kind, name, earlier, later_runs): Due<Time>,
    ) -> (Time, i64) {
        // It may be in a page and beside the pages.
        if self.taken.contains(&id) {
            return (at, id);
        }
        if let Some(earlier) = earlier {
            self.waiting.push((id, earlier));
            return (at, id);
        }
        // If a later event of the resource runs or was taken just now, this one was replayed or
        // became visible late. It stays in the queue and is taken later.
        let is_free = |resource| self.busy.insert(resource);
        let may_run = kind.zip(name).is_none_or(is_free) && !later_runs;
        if may_run && !self.skipped.contains(&id) {
            self.taken.push(id);
        }
        (at, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_queue_has_half_of_what_is_taken_and_what_the_other_leaves() {
        for (take, preferred, other, shared) in [
            (4, 9, 9, (2, 2)),
            (5, 9, 9, (3, 2)),
            (1, 9, 9, (1, 0)),
            (1, 0, 9, (0, 1)),
            (4, 9, 0, (4, 0)),
            (4, 9, 1, (3, 1)),
            (4, 1, 9, (1, 3)),
            (4, 1, 1, (1, 1)),
            (0, 9, 9, (0, 0)),
        ] {
            assert_eq!(
                shares(take, preferred, other),
                shared,
                "{take} {preferred} {other}"
            );
        }
    }

    /// An event of this resource that is due.
    fn of(id: i64, resource: Option<&str>, earlier: Option<i64>) -> Due<i64> {
        let resource = resource.map(|id| ("market".to_owned(), id.to_owned()));
        let (kind, name) = resource.unzip();
        (id * 10, id, kind, name, earlier, false)
    }

    /// This many events that can all be taken.
    fn free(events: usize) -> Vec<Due<i64>> {
        (1..).take(events).map(|id| of(id, None, None)).collect()
    }

    #[test]
    fn the_first_page_has_what_is_wanted_and_the_others_128_rows() {
        for (wanted, first) in [(0, 1), (1, 1), (5, 5), (128, 128), (500, 128)] {
            let mut pages = Pages::new(Queue::First);
            assert_eq!(pages.next_page(wanted), Some(first));
            pages.add(free(128), first);
            assert_eq!(pages.next_page(wanted), Some(128));
        }
    }

    #[test]
    fn pages_are_read_until_one_is_short_or_4_are_read() {
        let mut pages = Pages::new(Queue::First);
        pages.add(free(2), 2);
        assert_eq!(pages.next_page(2), Some(128));
        pages.add(free(127), 128);
        assert_eq!(pages.next_page(2), None);

        let mut pages = Pages::new(Queue::First);
        for number in 0..4 {
            assert!(pages.next_page(128).is_some(), "{number}");
            pages.add(free(128), 128);
        }
        assert_eq!(pages.next_page(128), None);
    }

    #[test]
    fn a_queue_has_more_until_all_was_read_and_looked_at() {
        let mut pages = Pages::new(Queue::First);
        assert!(pages.has_more());
        pages.add(free(2), 3);
        assert!(pages.has_more());
        assert!(!Choice::default().look(&mut pages, 9));
        assert!(!pages.has_more());

        let mut pages = Pages::new(Queue::First);
        pages.add(free(3), 3);
        Choice::default().look(&mut pages, 9);
        assert!(pages.has_more());
    }

    #[test]
    fn events_are_looked_at_until_there_are_as_many_as_are_wanted() {
        let mut pages = Pages::new(Queue::First);
        pages.add(free(3), 3);
        let mut choice = Choice::default();
        assert!(choice.look(&mut pages, 2));
        assert_eq!(
            (&choice.taken[..], pages.after),
            (&[1, 2][..], Some((20, 2)))
        );
        assert!(choice.look(&mut pages, 3));
        assert_eq!(
            (&choice.taken[..], pages.after),
            (&[1, 2, 3][..], Some((30, 3)))
        );
        assert!(!choice.look(&mut pages, 4));
    }

    #[test]
    fn one_event_of_a_resource_is_taken_and_those_behind_an_earlier_one_are_marked() {
        let mut later_runs = of(3, Some("c"), None);
        later_runs.5 = true;
        let due = vec![
            of(1, Some("a"), None),
            of(2, Some("a"), Some(1)),
            later_runs,
            of(4, Some("b"), None),
            // A later one was taken just now.
            of(5, Some("b"), None),
            of(6, None, None),
        ];
        let (mut choice, mut pages) = (Choice::default(), Pages::new(Queue::First));
        pages.add(due, 128);
        assert!(!choice.look(&mut pages, 9));
        assert_eq!(choice.taken, [1, 4, 6]);
        assert_eq!(choice.waiting, [(2, 1)]);
    }
}
