//! The one thread that writes. Everything queued when it looks is one transaction (group commit), so that a busy cell
//! pays for one write of the log per group and a quiet one waits for nobody.
//!
//! A transaction that fails is rolled back and ends the writing: all that is queued behind it fails too, since a state
//! that skips a batch is no function of the log any more. Opening the store anew goes on from the last commit.

use super::{Options, checkpoint::Checkpointer, passed::Trail, read, rows};
use crate::{
    clock::Stopwatch,
    metrics::Metrics,
    ports::{Commit, StoreError},
};
use rows::WriteError;
use rusqlite::{Connection, TransactionBehavior};
use std::sync::{
    Arc,
    mpsc::{Receiver, SyncSender, sync_channel},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

type Reply = oneshot::Sender<Result<(), StoreError>>;
/// Resolves when the job is durable.
type Told = oneshot::Receiver<Result<(), StoreError>>;

/// Outbox deletions and the like that may wait beside the commits.
const CHORES: usize = 16;

/// What the thread is asked to do. `_room` is given back when the job is done.
#[derive(Debug)]
struct Job {
    task: Task,
    reply: Reply,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Task {
    Commit(Box<Commit>),
    /// Outbox entries to be deleted.
    Done(Vec<i64>),
    /// The log's creation time, nanoseconds since 1970.
    Adopt(i64),
    /// An owner begins: its epoch, and in which run of the machine.
    CarryOn(u64, Option<String>),
    Close,
}

/// The queue to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: SyncSender<Job>,
    /// Room for commits. Closed once one was refused: what comes later must not overtake it.
    commits: Arc<Semaphore>,
    chores: Arc<Semaphore>,
}

impl Writer {
    /// Starts the thread on a connection whose file stands at `cursor`.
    pub(super) fn start(
        connection: Connection,
        checkpointer: Checkpointer,
        cell: String,
        options: Options,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let cursor = connection.query_one("SELECT cursor FROM cell_state", [], |row| read::unsigned(row, 0))?;
        let waiting: i64 = connection.query_one("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
        metrics.outbox_entries.set(waiting);
        // Never full: each job holds a permit.
        let (jobs, queue) = sync_channel(options.queued_commits + CHORES);
        let commits = Arc::new(Semaphore::new(options.queued_commits));
        let thread = Thread {
            connection,
            cell,
            cursor,
            trail: Trail::default(),
            queue,
            next: None,
            checkpointer,
            failed: None,
            options,
            metrics,
        };
        std::thread::Builder::new().name("store-writer".into()).spawn(move || thread.run())?;
        Ok(Self { jobs, commits, chores: Arc::new(Semaphore::new(CHORES)) })
    }

    /// Queues a commit at once, so that commits keep the order of the calls whatever becomes of the futures.
    pub(super) fn commit(&self, commit: Commit) -> Result<Told, StoreError> {
        let room = Arc::clone(&self.commits).try_acquire_owned().map_err(|_| {
            self.commits.close();
            StoreError("more commits in flight than its queue holds, or closed after that".into())
        })?;
        self.push(Task::Commit(Box::new(commit)), room)
    }

    /// Deletes outbox entries.
    pub(super) async fn done(&self, ids: Vec<i64>) -> Result<(), StoreError> {
        self.chore(Task::Done(ids)).await
    }

    /// Records the log's creation time, or checks it against the one recorded.
    pub(super) async fn adopt(&self, created_ns: i64) -> Result<(), StoreError> {
        self.chore(Task::Adopt(created_ns)).await
    }

    /// Records from which epoch on versions mean what they mean now.
    pub(super) async fn carry_on(&self, epoch: u64, run: Option<String>) -> Result<(), StoreError> {
        self.chore(Task::CarryOn(epoch, run)).await
    }

    /// Writes what is queued, closes the file and ends the thread.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        self.chore(Task::Close).await
    }

    async fn chore(&self, task: Task) -> Result<(), StoreError> {
        let room = Arc::clone(&self.chores).acquire_owned().await.map_err(|_| gone())?;
        told(self.push(task, room)?).await
    }

    fn push(&self, task: Task, room: OwnedSemaphorePermit) -> Result<Told, StoreError> {
        let (reply, told) = oneshot::channel();
        self.jobs.try_send(Job { task, reply, _room: room }).map_err(|_| gone())?;
        Ok(told)
    }
}

/// Waits for a job's end.
pub(super) async fn told(told: Told) -> Result<(), StoreError> {
    told.await.unwrap_or_else(|_| Err(gone()))
}

fn gone() -> StoreError {
    StoreError("the writer has ended".into())
}

/// The thread could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Thread(#[from] std::io::Error),
}

struct Thread {
    connection: Connection,
    cell: String,
    /// Of the last transaction.
    cursor: u64,
    trail: Trail,
    queue: Receiver<Job>,
    /// Taken from the queue, but for the next transaction.
    next: Option<Job>,
    checkpointer: Checkpointer,
    failed: Option<StoreError>,
    options: Options,
    metrics: Metrics,
}

/// What goes into one transaction.
#[derive(Default)]
struct Group {
    commits: Vec<Commit>,
    done: Vec<i64>,
    replies: Vec<(Reply, OwnedSemaphorePermit)>,
    rows: usize,
}

impl Thread {
    fn run(mut self) {
        while let Some(job) = self.take() {
            let Job { task, reply, _room: room } = job;
            match task {
                Task::Commit(_) | Task::Done(_) => self.write_group(Job { task, reply, _room: room }),
                Task::Adopt(created_ns) => drop(reply.send(self.adopt(created_ns))),
                Task::CarryOn(epoch, run) => drop(reply.send(self.carry_on(epoch, run.as_deref()))),
                Task::Close => {
                    self.checkpointer.stop();
                    // The last connection to close writes everything back and removes the write-ahead log.
                    let closed = self.connection.close().map_err(|(_, error)| StoreError(error.to_string()));
                    drop(reply.send(closed));
                    return;
                }
            }
        }
        self.checkpointer.stop();
    }

    /// The next job, or `None` when every handle is gone.
    fn take(&mut self) -> Option<Job> {
        self.next.take().or_else(|| self.queue.recv().ok())
    }

    fn write_group(&mut self, first: Job) {
        let mut group = Group::default();
        self.next = group.take(first);
        while self.next.is_none() && group.has_room(&self.options) {
            let Ok(job) = self.queue.try_recv() else { break };
            self.next = group.take(job);
        }
        let written = match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.transact(&group).map_err(|error| {
                tracing::error!(%error, cursor = self.cursor, "the store has failed and takes no more");
                StoreError(error.to_string())
            }),
        };
        self.failed = written.clone().err();
        for (reply, room) in group.replies {
            drop(room);
            // Nobody may be waiting any more.
            drop(reply.send(written.clone()));
        }
    }

    fn transact(&mut self, group: &Group) -> Result<(), WriteError> {
        let watch = Stopwatch::start();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let into = (self.cell.as_str(), &mut self.trail);
        let (cursor, added) = rows::write(&transaction, into, self.cursor, &group.commits)?;
        let gone = rows::dequeue(&transaction, &group.done)?;
        transaction.commit()?;
        self.cursor = cursor;
        self.checkpointer.wake();
        self.metrics.outbox_entries.inc_by(i64::try_from(added).unwrap_or(i64::MAX));
        self.metrics.outbox_entries.dec_by(i64::try_from(gone).unwrap_or(i64::MAX));
        self.metrics.commit_seconds.observe(watch.elapsed().as_secs_f64());
        Ok(())
    }

    /// A refusal here leaves the store as it is: nothing was skipped.
    fn adopt(&self, created_ns: i64) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let other: Option<i64> = self
            .connection
            .query_one(
                "UPDATE cell_state SET log_created_ns = ifnull(log_created_ns, ?1)
                 RETURNING nullif(log_created_ns, ?1)",
                [created_ns],
                |row| row.get(0),
            )
            .map_err(|error| StoreError(error.to_string()))?;
        match other {
            None => Ok(()),
            Some(known) => Err(StoreError(format!(
                "it belongs to a log created at {known} ns since 1970, not to one created at {created_ns}"
            ))),
        }
    }

    fn carry_on(&self, epoch: u64, run: Option<&str>) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let epoch = i64::try_from(epoch).map_err(|error| StoreError(error.to_string()))?;
        // A run that isn't known is none that was before: NULL equals nothing.
        let sql =
            "UPDATE cell_state SET since_epoch = iif(since_epoch IS NOT NULL AND run = ?2, since_epoch, ?1), run = ?2";
        self.connection.execute(sql, (epoch, run)).map(drop).map_err(|error| StoreError(error.to_string()))
    }
}

impl Group {
    /// Takes a job in, or gives it back if it needs a turn of its own.
    fn take(&mut self, job: Job) -> Option<Job> {
        let Job { task, reply, _room: room } = job;
        match task {
            Task::Commit(commit) => {
                self.rows += rows::weight(&commit);
                self.commits.push(*commit);
            }
            Task::Done(mut ids) => {
                self.rows += ids.len();
                self.done.append(&mut ids);
            }
            Task::Adopt(_) | Task::CarryOn(..) | Task::Close => return Some(Job { task, reply, _room: room }),
        }
        self.replies.push((reply, room));
        None
    }

    fn has_room(&self, options: &Options) -> bool {
        self.replies.len() < options.group_jobs && self.rows < options.group_rows
    }
}
