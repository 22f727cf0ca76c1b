//! Random steps on a store and on a plain model of it: after each step both must be equal.

use std::collections::{BTreeMap, HashSet};
use std::env;
use std::time::Duration;

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::postgres::PostgresStore;
use super::postgres::scratch::Scratch;
use super::sqlite::SqliteStore;
use super::{Ids, Store};
use crate::accepted::{Accepted, EventState};
use crate::arrival::{Arrival, Labels};
use crate::event_order::EventOrder;
use crate::retry::Retry;
use crate::turn::{
    Claim, Lease, Queue, Running, Stamped, Take, Turn, Turned, Upkeep, Verdict, WorkerId,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// How many kinds of steps have an effect in a walk.
const KINDS_OF_STEPS: usize = 18;

/// No event comes due by itself, only by the step for that.
const RETRY: Retry = Retry {
    attempts: 3,
    first: HOUR,
    longest: Duration::from_secs(7_200),
};

#[derive(Clone, Debug, PartialEq)]
struct Row {
    key: String,
    resource: Option<String>,
    state: EventState,
    attempts: u32,
    token: i64,
    /// Waiting: its time has come.
    due: bool,
    /// Running: its lease is over.
    expired: bool,
    /// Done: long enough ago to be pruned.
    old: bool,
    malformed: bool,
    source: Option<String>,
    queue: Queue,
    postponed: bool,
    /// Running: its worker.
    worker: Option<WorkerId>,
}

enum Pool {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

struct World {
    store: Box<dyn Store>,
    pool: Pool,
    rows: BTreeMap<i64, Row>,
    /// Every lease that was ever given, including lost ones.
    leases: Vec<Lease>,
    /// The events that ran at the last turn with upkeep.
    seen: Vec<Stamped>,
    order: EventOrder,
    /// How often each kind of step had an effect.
    did: BTreeMap<&'static str, u32>,
}

impl World {
    async fn execute(&self, sql: String) {
        let sql = AssertSqlSafe(sql);
        match &self.pool {
            Pool::Sqlite(pool) => drop(pool.execute(sql).await.unwrap()),
            Pool::Postgres(pool) => drop(pool.execute(sql).await.unwrap()),
        }
    }

    async fn table(&self) -> Vec<(i64, String, String, i64, i64)> {
        let sql = "SELECT id, dedup_key, state, CAST(attempts AS BIGINT), lease_token
                   FROM ptolemy_inbox ORDER BY id";
        macro_rules! rows {
            ($pool:expr) => {
                $pool
                    .fetch_all(sql)
                    .await
                    .unwrap()
                    .iter()
                    .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)))
                    .collect()
            };
        }
        match &self.pool {
            Pool::Sqlite(pool) => rows!(pool),
            Pool::Postgres(pool) => rows!(pool),
        }
    }

    fn past(&self) -> &'static str {
        match self.pool {
            Pool::Sqlite(_) => "'2020-01-01T00:00:00.000Z'",
            Pool::Postgres(_) => "timestamptz '2020-01-01'",
        }
    }

    fn ids(&self, holds: impl Fn(&Row) -> bool) -> Vec<i64> {
        let rows = self.rows.iter().filter(|(_, row)| holds(row));
        rows.map(|(id, _)| *id).collect()
    }

    fn did(&mut self, what: &'static str) {
        *self.did.entry(what).or_default() += 1;
    }

    /// Whether a worker may take this row, according to the documented promise.
    fn is_eligible(&self, id: i64) -> bool {
        let row = &self.rows[&id];
        let blocked = self.order == EventOrder::ByResource
            && row.resource.is_some()
            && self.rows.iter().any(|(other, earlier)| {
                earlier.resource == row.resource
                    && *other != id
                    && (earlier.state == EventState::Running
                        || *other < id && earlier.state == EventState::Waiting)
            });
        row.state == EventState::Waiting && row.due && !blocked
    }

    async fn accept(&mut self, random: &mut fastrand::Rng) {
        let arrivals: Vec<_> = (0..random.usize(1..5))
            .map(|_| {
                let key = format!("k{}", random.u32(0..200));
                let resource = (random.u8(0..4) > 0).then(|| format!("r{}", random.u8(0..10)));
                // Sources share the order by resource.
                let source = random.bool().then(|| format!("s{}", random.u8(0..3)));
                Arrival {
                    key,
                    source,
                    labels: Labels {
                        resource: resource.map(|id| ("instrument".to_owned(), id)),
                        ..Labels::default()
                    },
                    body: Bytes::from_static(b"{}"),
                }
            })
            .collect();
        let accepted = self.store.insert(&arrivals).await.unwrap();
        let mut added: HashSet<String> = HashSet::new();
        let mut new = Vec::new();
        for (arrival, accepted) in arrivals.into_iter().zip(accepted) {
            let known = self.rows.values().find(|row| row.key == arrival.key);
            match (known, added.contains(&arrival.key)) {
                (Some(row), _) => {
                    assert_eq!(accepted, Accepted::Duplicate { state: row.state });
                    self.did("duplicate");
                }
                (None, true) => {
                    let state = EventState::Waiting;
                    assert_eq!(accepted, Accepted::Duplicate { state });
                }
                (None, false) => {
                    assert_eq!(accepted, Accepted::New);
                    added.insert(arrival.key.clone());
                    new.push(arrival);
                }
            }
        }
        for (id, key, ..) in self.table().await {
            if let Some(arrival) = new.iter().find(|arrival| arrival.key == key) {
                let row = Row {
                    key,
                    resource: arrival.labels.resource.clone().map(|(_, id)| id),
                    state: EventState::Waiting,
                    attempts: 0,
                    token: 0,
                    due: true,
                    expired: false,
                    old: false,
                    malformed: false,
                    source: arrival.source.clone(),
                    queue: Queue::First,
                    postponed: false,
                    worker: None,
                };
                assert_eq!(self.rows.insert(id, row), None);
                self.did("new");
            }
        }
    }

    async fn turn(&mut self, random: &mut fastrand::Rng) {
        let mut settle: Vec<(Lease, Verdict)> = Vec::new();
        let mut renew = Vec::new();
        for _ in 0..random.usize(0..4) {
            // The last leases are those most likely to be valid.
            let recent = self.leases.len().saturating_sub(8);
            let Some(lease) = random.choice(&self.leases[recent..]).copied() else {
                break;
            };
            let error = "failed".to_owned();
            let taken = settle.iter().any(|(settled, _)| settled.id == lease.id)
                || renew.iter().any(|renewed: &Lease| renewed.id == lease.id);
            match random.u8(0..9) {
                _ if taken => {}
                0..3 => settle.push((lease, Verdict::Done)),
                3 => settle.push((lease, Verdict::Again { delay: HOUR, error })),
                4 => settle.push((
                    lease,
                    Verdict::Dead {
                        error,
                        malformed: random.bool(),
                    },
                )),
                5 => settle.push((
                    lease,
                    Verdict::Returned {
                        delay: Duration::ZERO,
                    },
                )),
                6 => settle.push((
                    lease,
                    Verdict::Postponed {
                        delay: HOUR,
                        reason: error,
                    },
                )),
                _ => renew.push(lease),
            }
        }
        let rows = random.usize(0..4);
        let take = match random.u8(0..4) {
            0 => Take::Suspects {
                rows,
                cleared: random.usize(0..3),
            },
            _ => Take::Due {
                rows,
                begin: random.usize(0..=rows),
                prefer: [Queue::First, Queue::Again][random.usize(0..2)],
            },
        };
        // Two of one process, and one of another.
        let worker = [(1, 0), (1, 1), (2, 0)][random.usize(0..3)];
        let worker = WorkerId::of(worker.0, worker.1);
        // The worker may not know of a lease that it took.
        let mut held = self.held_by(worker);
        held.retain(|_| random.u8(0..8) > 0);
        held.extend(&renew);
        let silent = if random.bool() {
            self.seen.clone()
        } else {
            Vec::new()
        };
        let upkeep = random.bool().then_some(Upkeep {
            held: &held,
            silent: &silent,
            mends: true,
        });
        let turned = self
            .store
            .turn(Turn {
                worker,
                settle: &settle,
                renew: &renew,
                take,
                upkeep,
                lease: HOUR,
                retry: &RETRY,
            })
            .await
            .unwrap();

        let mut lost = Vec::new();
        for (lease, verdict) in &settle {
            match self.held(*lease) {
                None => lost.push(*lease),
                Some(row) => {
                    row.state = verdict.state();
                    row.due = verdict.delay() == Some(Duration::ZERO);
                    row.attempts -= u32::from(!verdict.counts());
                    row.expired = false;
                    row.queue = verdict.queue().unwrap_or(row.queue);
                    row.postponed = verdict.is_postponed();
                    row.malformed = verdict.is_malformed();
                    self.did(match verdict {
                        Verdict::Postponed { .. } => "postponed",
                        _ => "settled",
                    });
                }
            }
        }
        for &lease in &renew {
            if self.is_done(lease) {
                continue;
            }
            match self.held(lease) {
                None => lost.push(lease),
                Some(row) => {
                    row.expired = false;
                    self.did("renewed");
                }
            }
        }
        assert_eq!(turned.lost, lost);
        for _ in lost {
            self.did("lost");
        }
        if upkeep.is_some() {
            self.crashed(&turned, worker, &held, &silent);
            self.seen = turned.running.iter().map(|one| one.stamped).collect();
            // A lease that was renewed or taken since has another time, but perhaps within the
            // resolution.
            self.seen.retain(|seen| !renew.contains(&seen.lease));
        }
        let looked_at_all = upkeep.is_some();
        self.claimed(turned.claims, take, worker, looked_at_all);
    }

    /// The leases of a worker.
    fn held_by(&self, worker: WorkerId) -> Vec<Lease> {
        let held = self
            .rows
            .iter()
            .filter(|(_, row)| row.state == EventState::Running && row.worker == Some(worker));
        held.map(|(id, row)| Lease {
            id: *id,
            token: row.token,
        })
        .collect()
    }

    /// Returns the events whose workers died, according to the documented promise.
    fn crashed(&mut self, turned: &Turned, worker: WorkerId, held: &[Lease], silent: &[Stamped]) {
        let is_silent = |one: &&Running| {
            silent.contains(&one.stamped) && self.rows[&one.stamped.lease.id].expired
        };
        // A worker dies as a whole.
        let living = turned.running.iter().filter(|one| !is_silent(one));
        let living: HashSet<_> = living.map(|one| one.worker).collect();
        let mut expected: Vec<_> = turned.running.iter().collect();
        expected.retain(|one| {
            let Stamped { lease, .. } = one.stamped;
            if one.worker == Some(worker) {
                silent.contains(&one.stamped) && !held.contains(&lease)
            } else {
                !living.contains(&one.worker)
            }
        });
        let mut expected: Vec<_> = expected.iter().map(|one| one.stamped.lease.id).collect();
        let mut found: Vec<_> = turned
            .crashed
            .iter()
            .map(|(one, _)| one.stamped.lease.id)
            .collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
        for (one, verdict) in &turned.crashed {
            let row = self.rows.get_mut(&one.stamped.lease.id).unwrap();
            row.expired = false;
            row.state = verdict.state();
            row.due = verdict.delay() == Some(Duration::ZERO);
            row.attempts -= u32::from(!verdict.counts());
            row.queue = verdict.queue().unwrap_or(row.queue);
            row.postponed = false;
            let what = match verdict {
                Verdict::Crashed { alone: false, .. } => "crashed",
                Verdict::Crashed { .. } | Verdict::Dead { .. } => "crashed alone",
                _ => "returned",
            };
            self.did(what);
        }
    }

    fn held(&mut self, lease: Lease) -> Option<&mut Row> {
        let row = self.rows.get_mut(&lease.id)?;
        (row.state == EventState::Running && row.token == lease.token).then_some(row)
    }

    /// Whether the lease ended with the event: its task ends soon too, and the lease was not lost.
    fn is_done(&self, lease: Lease) -> bool {
        let row = self.rows.get(&lease.id);
        row.is_some_and(|row| row.state == EventState::Done && row.token == lease.token)
    }

    fn claimed(&mut self, claims: Vec<Claim>, take: Take, worker: WorkerId, looked_at_all: bool) {
        let count = claims.len();
        let of_suspects = matches!(take, Take::Suspects { .. });
        let in_queue = |queue| (queue == Queue::Suspect) == of_suspects;
        // There is one group of suspects in a process at a time.
        let is_tested = |row: &Row| {
            let here = row.worker.map(WorkerId::process) == Some(worker.process());
            row.state == EventState::Running && row.queue == Queue::Suspect && here
        };
        if of_suspects && self.rows.values().any(is_tested) {
            assert_eq!(count, 0);
            self.did("not probed");
            return;
        }
        for claim in claims {
            let id = claim.lease.id;
            assert!(self.is_eligible(id), "{id}");
            let row = self.rows.get_mut(&id).unwrap();
            assert!(in_queue(row.queue), "{:?}", row.queue);
            row.state = EventState::Running;
            row.attempts += 1;
            row.token += 1;
            row.worker = Some(worker);
            assert_eq!(
                (claim.lease.token, claim.attempts, claim.source),
                (row.token, row.attempts, row.source.clone())
            );
            self.leases.push(claim.lease);
            self.did(if of_suspects { "probed" } else { "claimed" });
        }
        // A group of suspects may be smaller than what there is room for.
        let enough = if of_suspects { 1 } else { take.rows() };
        // Without upkeep, a turn on PostgreSQL reads a queue from where its front was.
        if looked_at_all && count < enough.min(take.rows()) {
            let left: Vec<_> = self.ids(|row| row.state == EventState::Waiting);
            let left: Vec<_> = left
                .into_iter()
                .filter(|id| in_queue(self.rows[id].queue) && self.is_eligible(*id))
                .collect();
            // An event that was marked to wait and then forgotten would show up here.
            assert!(left.is_empty(), "{left:?}");
        }
    }

    async fn step(&mut self, random: &mut fastrand::Rng) {
        match random.u8(0..21) {
            20 => {
                let order = self.store.order().await.unwrap();
                assert_eq!(order, self.order);
                if random.u8(0..8) == 0 {
                    let next = match order {
                        EventOrder::AsDue => EventOrder::ByResource,
                        EventOrder::ByResource => EventOrder::AsDue,
                    };
                    let before = self.store.set_order(next).await.unwrap();
                    assert_eq!(before, Some(order));
                    self.order = next;
                    self.did("reordered");
                }
            }
            0..6 => self.accept(random).await,
            6..14 => self.turn(random).await,
            14 => {
                // All events of a worker, as when it dies.
                if let Some(id) = random.choice(self.ids(|row| row.state == EventState::Running)) {
                    let (past, worker) = (self.past(), self.rows[&id].worker);
                    let its = |row: &Row| row.state == EventState::Running && row.worker == worker;
                    for id in self.ids(its) {
                        self.execute(format!(
                            "UPDATE ptolemy_inbox SET lease_until = {past} WHERE id = {id}"
                        ))
                        .await;
                        self.rows.get_mut(&id).unwrap().expired = true;
                        self.did("expired");
                    }
                }
            }
            15 | 16 => {
                if let Some(id) = random.choice(self.ids(|row| row.state == EventState::Waiting)) {
                    let past = self.past();
                    self.execute(format!(
                        "UPDATE ptolemy_inbox SET run_at = {past} WHERE id = {id}"
                    ))
                    .await;
                    self.rows.get_mut(&id).unwrap().due = true;
                    self.did("due");
                }
            }
            17 => {
                let dead = self.ids(|row| row.state == EventState::Dead);
                let one = random.bool();
                let ids = match random.choice(&dead) {
                    Some(id) if one => Ids::one(*id),
                    _ => Ids::ALL,
                };
                let affected: Vec<_> = dead
                    .into_iter()
                    .filter(|id| *id > ids.after && *id <= ids.up_to)
                    .collect();
                let discard = random.u8(0..4) == 0;
                let mut changed = if discard {
                    self.store.discard(ids).await.unwrap()
                } else {
                    self.store.replay(ids).await.unwrap()
                };
                changed.sort_unstable();
                assert_eq!(changed, affected);
                for id in affected {
                    let row = self.rows.get_mut(&id).unwrap();
                    if discard {
                        row.state = EventState::Done;
                        self.did("discarded");
                    } else {
                        row.state = EventState::Waiting;
                        row.attempts = 0;
                        row.due = true;
                        row.malformed = false;
                        row.queue = Queue::Again;
                        row.postponed = false;
                        self.did("replayed");
                    }
                }
            }
            18 => {
                if let Some(id) = random.choice(self.ids(|row| row.state == EventState::Done)) {
                    let past = self.past();
                    self.execute(format!(
                        "UPDATE ptolemy_inbox SET finished_at = {past} WHERE id = {id}"
                    ))
                    .await;
                    self.rows.get_mut(&id).unwrap().old = true;
                }
            }
            _ => {
                let pruned = self.store.prune(HOUR).await.unwrap();
                let old = self.ids(|row| row.state == EventState::Done && row.old);
                assert_eq!(pruned, old.len() as u64);
                for id in old {
                    self.rows.remove(&id);
                    self.did("pruned");
                }
            }
        }
        let table = self.table().await;
        let model: Vec<_> = self
            .rows
            .iter()
            .map(|(id, row)| {
                let state = row.state.as_str().to_owned();
                (
                    *id,
                    row.key.clone(),
                    state,
                    i64::from(row.attempts),
                    row.token,
                )
            })
            .collect();
        assert_eq!(table, model);
        let stats = self.store.stats().await.unwrap();
        let count = |state| self.ids(|row| row.state == state).len() as u64;
        assert_eq!(
            (stats.waiting(), stats.running, stats.dead),
            (
                count(EventState::Waiting),
                count(EventState::Running),
                count(EventState::Dead)
            )
        );
        assert_eq!(stats.oldest_due.is_some(), stats.due > 0);
        // A blocked event was marked by a turn that looked at it.
        let waits = |row: &Row, due, postponed| {
            row.state == EventState::Waiting && row.due == due && row.postponed == postponed
        };
        let not_due = self.ids(|row| waits(row, false, false) || waits(row, false, true));
        assert!(stats.retrying + stats.postponed <= not_due.len() as u64);
        assert!(stats.postponed <= self.ids(|row| waits(row, false, true)).len() as u64);
        let malformed = self.ids(|row| row.state == EventState::Dead && row.malformed);
        assert_eq!(stats.malformed, malformed.len() as u64);
    }
}

async fn walk(store: Box<dyn Store>, pool: Pool, order: EventOrder, steps: u32) {
    assert_eq!(store.set_order(order).await.unwrap(), None);
    let seed = match env::var("PTOLEMY_INBOX_MODEL_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    println!("PTOLEMY_INBOX_MODEL_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World {
        store,
        pool,
        rows: BTreeMap::new(),
        leases: Vec::new(),
        seen: Vec::new(),
        order,
        did: BTreeMap::new(),
    };
    // Some kinds of steps are rare, so a few walks need more of them.
    for step in 0..steps * 4 {
        if step >= steps && world.did.len() == KINDS_OF_STEPS {
            break;
        }
        world.step(&mut random).await;
    }
    println!("{:?}", world.did);
    assert_eq!(
        world.did.len(),
        KINDS_OF_STEPS,
        "a kind of step did nothing: {:?}",
        world.did
    );
}

/// Events that begin at once are not marked; the others are marked until they end or are taken
/// again.
async fn marks_what_is_taken_ahead(store: Box<dyn Store>, pool: Pool) {
    let arrivals: Vec<_> = (0..5)
        .map(|number| Arrival {
            key: number.to_string(),
            source: None,
            labels: Labels::default(),
            body: Bytes::from_static(b"{}"),
        })
        .collect();
    let _ = store.insert(&arrivals).await.unwrap();
    let turn = async |settle: &[_], rows, begin| {
        let turn = Turn {
            worker: WorkerId::of(1, 0),
            settle,
            renew: &[],
            take: Take::Due {
                rows,
                begin,
                prefer: Queue::First,
            },
            upkeep: None,
            lease: HOUR,
            retry: &RETRY,
        };
        store.turn(turn).await.unwrap().claims
    };
    let marks = async || -> Vec<i64> {
        let sql = "SELECT CAST(coalesce(crash_group, -1) AS BIGINT) FROM ptolemy_inbox ORDER BY id";
        match &pool {
            Pool::Sqlite(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
            Pool::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
        }
    };
    let claims = turn(&[], 4, 2).await;
    assert_eq!(marks().await, [-1, -1, 0, 0, -1]);
    let delay = Duration::ZERO;
    let settle = [
        (claims[0].lease, Verdict::Done),
        (claims[2].lease, Verdict::Done),
        (claims[3].lease, Verdict::Returned { delay }),
    ];
    turn(&settle, 2, 2).await;
    assert_eq!(marks().await, [-1; 5]);
}

async fn sqlite_store(name: &str) -> (SqliteStore, std::path::PathBuf) {
    let file = env::temp_dir().join(format!("ptolemy-model-{}-{name}.db", std::process::id()));
    let url = format!("sqlite://{}", file.display());
    (SqliteStore::connect(&url).await.unwrap(), file)
}

fn remove(file: &std::path::Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
}

async fn postgres_store(name: &str) -> PostgresStore {
    let database = Scratch::create(&format!("model_{name}")).await;
    PostgresStore::connect(&database.url).await.unwrap()
}

async fn sqlite(order: EventOrder) {
    let (store, file) = sqlite_store(&order.to_string()).await;
    let pool = Pool::Sqlite(store.pool.clone());
    walk(Box::new(store), pool, order, 2_000).await;
    remove(&file);
}

async fn postgres(order: EventOrder) {
    let store = postgres_store(&order.to_string()).await;
    let pool = Pool::Postgres(store.pool.clone());
    walk(Box::new(store), pool, order, 2_000).await;
}

#[tokio::test]
async fn what_is_taken_ahead_is_marked_in_sqlite() {
    let (store, file) = sqlite_store("ahead").await;
    let pool = Pool::Sqlite(store.pool.clone());
    marks_what_is_taken_ahead(Box::new(store), pool).await;
    remove(&file);
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn what_is_taken_ahead_is_marked_in_postgres() {
    let store = postgres_store("ahead").await;
    let pool = Pool::Postgres(store.pool.clone());
    marks_what_is_taken_ahead(Box::new(store), pool).await;
}

#[tokio::test]
async fn sqlite_does_what_the_model_does() {
    sqlite(EventOrder::AsDue).await;
}

#[tokio::test]
async fn sqlite_does_what_the_model_does_in_order() {
    sqlite(EventOrder::ByResource).await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn postgres_does_what_the_model_does() {
    postgres(EventOrder::AsDue).await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn postgres_does_what_the_model_does_in_order() {
    postgres(EventOrder::ByResource).await;
}
