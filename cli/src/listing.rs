//! Lists that are printed while their pages are read.

use ptolemy_webhooks_client::Pages;

use crate::notice::{self, Progress};
use crate::output::{Output, Record};
use crate::stop::Stop;

/// How to treat one record of a list.
pub(crate) enum Step<R> {
    Print(R),
    Skip,
    /// Skip this record and all later ones.
    End,
}

/// Prints the records of a list, at most `limit`, and notes on standard error if there are more.
///
/// If a page cannot be read, the records before it are still printed.
pub(crate) async fn print<T: 'static, R: Record>(
    output: &Output,
    pages: Pages<T>,
    limit: Option<usize>,
    mut step: impl FnMut(T) -> Step<R>,
) -> Result<usize, Stop> {
    // A page can have one record only, so a high limit allows more pages.
    let wanted = limit.map_or(0, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let mut pages = pages.max_pages(MAX_PAGES.saturating_add(wanted));
    let mut rows = output.records();
    let progress = Progress::new("records read:", None);
    let mut printed = 0;
    let mut has_more = false;
    let ended = loop {
        let record = match progress.during(pages.try_next()).await {
            Ok(Some(record)) => record,
            Ok(None) => break Ok(()),
            Err(error) => break Err(Stop::from(error)),
        };
        progress.add(1);
        match step(record) {
            Step::Skip => {}
            Step::End => break Ok(()),
            Step::Print(_) if Some(printed) == limit => {
                has_more = true;
                break Ok(());
            }
            Step::Print(row) => {
                rows.push(row)?;
                printed += 1;
            }
        }
    };
    drop(progress);
    let printed_rows = rows.finish();
    // A closed pipe does not make the list complete.
    ended.and(printed_rows)?;
    if has_more {
        notice::note(&format!(
            "there are more than these {printed}: pass a larger --limit"
        ));
    }
    Ok(printed)
}

/// The size of a page for a list that is read up to a limit, and one record further.
pub(crate) fn page_size(limit: usize) -> u32 {
    u32::try_from(limit.saturating_add(1)).map_or(MAX_PAGE_SIZE, |size| size.min(MAX_PAGE_SIZE))
}

/// How many pages a list may have that is read to its end: a server that sends ever new cursors
/// would use up the month's quota.
pub(crate) const MAX_PAGES: u32 = 1_000;

/// The longest page that Ptolemy documents.
pub(crate) const MAX_PAGE_SIZE: u32 = 200;

/// Reads a limit: a whole number from 1.
pub(crate) fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number from 1".to_owned()),
        Ok(number) => Ok(number),
    }
}
