//! A database for one test.

use std::env;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

pub(crate) struct Scratch {
    pub(crate) url: String,
    name: String,
    admin: PgConnection,
}

impl Scratch {
    /// On the server that `PTOLEMY_INBOX_POSTGRES_URL` names.
    pub(crate) async fn create(name: &str) -> Self {
        let server = env::var("PTOLEMY_INBOX_POSTGRES_URL").unwrap();
        let name = format!("ptolemy_{name}_{}", std::process::id());
        let mut admin = PgConnection::connect(&server).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        admin.execute(create).await.unwrap();
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        Self { url, name, admin }
    }

    pub(crate) async fn remove(mut self) {
        let drop = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        self.admin.execute(drop).await.unwrap();
    }
}
