use std::sync::Arc;

use crate::store::Store;
#[cfg(feature = "catch-up")]
use crate::store::catch_up::CatchUpStore;
#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
use crate::store::sqlite::SqliteStore;

/// The store of an inbox.
#[derive(Clone)]
pub(crate) enum Engine {
    #[cfg(feature = "sqlite")]
    Sqlite(Arc<SqliteStore>),
    #[cfg(feature = "postgres")]
    Postgres(Arc<PostgresStore>),
    /// For the simulation.
    #[cfg(test)]
    Fake(Arc<dyn Store>),
}

impl Engine {
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(ref store) => store.clone(),
            #[cfg(feature = "postgres")]
            Self::Postgres(ref store) => store.clone(),
            #[cfg(test)]
            Self::Fake(ref store) => store.clone(),
        }
    }

    pub(crate) async fn close(&self) {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(ref store) => store.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(ref store) => store.close().await,
            #[cfg(test)]
            Self::Fake(_) => {}
        }
    }

    /// `None` in the simulation, which has no catch-up.
    #[cfg(feature = "catch-up")]
    pub(crate) fn catch_up_store(&self) -> Option<Arc<dyn CatchUpStore>> {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(ref store) => Some(store.clone()),
            #[cfg(feature = "postgres")]
            Self::Postgres(ref store) => Some(store.clone()),
            #[cfg(test)]
            Self::Fake(_) => None,
        }
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite(&self) -> Option<Arc<SqliteStore>> {
        match self {
            Self::Sqlite(store) => Some(store.clone()),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
            #[cfg(test)]
            Self::Fake(_) => None,
        }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(&self) -> Option<Arc<PostgresStore>> {
        match self {
            Self::Postgres(store) => Some(store.clone()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => None,
            #[cfg(test)]
            Self::Fake(_) => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "SQLite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "PostgreSQL",
            #[cfg(test)]
            Self::Fake(_) => "memory",
        }
    }
}
