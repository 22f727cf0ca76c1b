//! Compares an inbox with the spool as a run does, for the tests of both engines.

use std::time::Instant;

use super::{Begun, CatchUpStore, Claim};
use crate::store::Ids;

/// Compares, takes and counts entries, of which every second one is in the inbox; prints how long
/// each took.
pub(crate) async fn compare(store: &dyn CatchUpStore, rows: u64) {
    let claim = Claim {
        webhook: "w".to_owned(),
        holder: 1,
    };
    let begun = Instant::now();
    assert!(matches!(
        store.begin(&claim).await.unwrap(),
        Begun::Held { .. }
    ));
    let ends = store.rows().await.unwrap();
    let (mut after, mut here) = (ends.after, 0);
    while after < ends.up_to {
        let up_to = store.step(Ids { after, ..ends }).await.unwrap();
        let rows = Ids { after, up_to };
        here += store.mark_here(&claim, rows, None).await.unwrap().len() as u64;
        after = up_to;
    }
    let compared = begun.elapsed();
    assert_eq!(here, rows / 2);
    let begun = Instant::now();
    let taken = store.take(&claim, 8).await.unwrap().unwrap();
    assert_eq!(taken.len(), 8);
    let took = begun.elapsed();
    let begun = Instant::now();
    let counts = store.counts(&claim).await.unwrap();
    assert_eq!(counts.iter().map(|count| count.entries).sum::<u64>(), rows);
    println!(
        "{rows} rows: compared {compared:?} taken {took:?} counted {:?}",
        begun.elapsed()
    );
}
