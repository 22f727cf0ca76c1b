//! Decides when to stop reading a list that is sorted by time, newest first.

use time::OffsetDateTime;

/// How many records a page has: the most that Ptolemy documents.
pub(super) const PAGE_ROWS: u32 = 200;

/// Whether a list has gone past the start of the gap.
///
/// A server might ignore the sort. So reading stops only after as many older records in a row as a
/// page has, if all times so far were in descending order and at least two of them differ: equal
/// times show no order.
#[derive(Debug)]
pub(super) struct Descent {
    from: OffsetDateTime,
    last: Option<OffsetDateTime>,
    is_descending: bool,
    has_descended: bool,
    older_in_a_row: u32,
}

impl Descent {
    pub(super) fn to(from: OffsetDateTime) -> Self {
        Self {
            from,
            last: None,
            is_descending: true,
            has_descended: false,
            older_in_a_row: 0,
        }
    }

    /// Whether all times so far were in descending order, and two of them differ.
    pub(super) fn is_sorted(&self) -> bool {
        self.is_descending && self.has_descended
    }

    /// Takes the time of the next record; returns whether all further records are older than the
    /// gap.
    pub(super) fn is_past(&mut self, time: Option<OffsetDateTime>) -> bool {
        let Some(time) = time else {
            // A delivery without an attempt has no time, and says nothing about the order of the
            // others.
            self.older_in_a_row = 0;
            return false;
        };
        self.is_descending &= self.last.is_none_or(|last| time <= last);
        self.has_descended |= self.last.is_some_and(|last| time < last);
        self.last = Some(time);
        self.older_in_a_row = match time < self.from {
            true => self.older_in_a_row.saturating_add(1),
            false => 0,
        };
        self.is_sorted() && self.older_in_a_row >= PAGE_ROWS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
    }

    /// Returns how many of these records are read.
    fn read(times: impl IntoIterator<Item = Option<i64>>) -> usize {
        let mut descent = Descent::to(at(1_000));
        let mut times = times.into_iter().map(|time| time.map(at));
        let past = times.position(|time| descent.is_past(time));
        past.map_or(usize::MAX, |last| last + 1)
    }

    #[test]
    fn a_descending_list_is_read_until_a_page_of_older_records() {
        assert_eq!(read((0..2_000).rev().map(Some)), 1_200);
        assert_eq!(read((0..1_000).rev().map(Some)), 200);
        assert_eq!(read((900..1_500).rev().map(Some)), usize::MAX);
    }

    #[test]
    fn a_list_that_shows_no_order_is_read_to_its_end() {
        assert_eq!(read((0..2_000).map(Some)), usize::MAX);
        assert_eq!(read([Some(5); 2_000]), usize::MAX);
        assert_eq!(read((0..2_000).rev().map(Some).chain([Some(9_999)])), 1_200);
        let pending = [Some(2_000), None].into_iter();
        assert_eq!(read(pending.chain((0..999).rev().map(Some))), 202);
        // A newer record among the older ones keeps the reading going.
        let mixed = (0..999).rev().map(|time| (time % 100 != 0).then_some(time));
        assert_eq!(read(mixed), usize::MAX);
    }
}
