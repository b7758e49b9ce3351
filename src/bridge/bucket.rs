//! A key-value bucket as the bridge needs it, and the two ways to have one: JetStream's, and memory for tests.

use async_nats::jetstream::{self, kv};
use bytes::Bytes;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{OnceCell, broadcast};

/// The bucket can't be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bucket {bucket}: {reason}")]
pub struct BucketError {
    pub bucket: String,
    pub reason: String,
}

/// What is done with a bucket. Keys are order ids, `{id}.{suffix}`, or digests.
pub trait Bucket: Send + Sync + std::fmt::Debug + 'static {
    /// The value and its revision.
    fn get(&self, key: &str) -> BoxFuture<'static, Result<Option<(u64, Bytes)>, BucketError>>;
    /// Writes what isn't there; gives its revision, or `None` if something is.
    fn create(&self, key: &str, value: Bytes) -> BoxFuture<'static, Result<Option<u64>, BucketError>>;
    fn put(&self, key: &str, value: Bytes) -> BoxFuture<'static, Result<(), BucketError>>;
    /// Writes over the value of `revision`; does nothing if that is not the newest any more.
    fn replace(&self, key: &str, value: Bytes, revision: u64) -> BoxFuture<'static, Result<(), BucketError>>;
    /// Every entry as it stands, then every change; a value that is gone is `None`. Ends with an error or never.
    fn watch(&self) -> BoxStream<'static, Result<(String, Option<Bytes>), BucketError>>;
    /// Removes the value and its history; with `revision`, only if it is still that one. Whether this removed it: of those who
    /// purge one revision, one is told so. (Without `revision` it is always true.)
    fn purge(&self, key: &str, revision: Option<u64>) -> BoxFuture<'static, Result<bool, BucketError>>;
    /// Removes whatever stands under the keys that a filter takes, as [`Self::keys`] does, and leaves no trace of the keys.
    fn purge_all(&self, filter: &str) -> BoxFuture<'static, Result<(), BucketError>>;
    /// Removes whatever stands under `{key}.…`, with its history.
    fn purge_below(&self, key: &str) -> BoxFuture<'static, Result<(), BucketError>> {
        self.purge_all(&format!("{key}.>"))
    }
    /// Keys that a filter takes, in no order and at most so many: `*` stands for a token, `>` at the end for one or more. One
    /// that was purged may still be named.
    fn keys(&self, filter: &str, most: usize) -> BoxFuture<'static, Result<Vec<String>, BucketError>>;
}

/// A JetStream bucket, looked up when it is first needed: it may be made after this node starts.
#[derive(Clone, Debug)]
pub struct NatsBucket {
    js: jetstream::Context,
    name: &'static str,
    store: Arc<OnceCell<kv::Store>>,
}

impl NatsBucket {
    pub fn new(js: jetstream::Context, name: &'static str) -> Self {
        Self { js, name, store: Arc::default() }
    }

    async fn store(&self) -> Result<&kv::Store, BucketError> {
        self.store.get_or_try_init(|| self.js.get_key_value(self.name)).await.map_err(|e| self.error(e))
    }

    fn error(&self, reason: impl ToString) -> BucketError {
        BucketError { bucket: self.name.into(), reason: reason.to_string() }
    }
}

impl Bucket for NatsBucket {
    fn get(&self, key: &str) -> BoxFuture<'static, Result<Option<(u64, Bytes)>, BucketError>> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let entry = this.store().await?.entry(key).await.map_err(|e| this.error(e))?;
            Ok(entry.filter(|e| e.operation == kv::Operation::Put).map(|e| (e.revision, e.value)))
        })
    }

    fn create(&self, key: &str, value: Bytes) -> BoxFuture<'static, Result<Option<u64>, BucketError>> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            match this.store().await?.create(key, value).await {
                Ok(revision) => Ok(Some(revision)),
                Err(e) if e.kind() == kv::CreateErrorKind::AlreadyExists => Ok(None),
                Err(e) => Err(this.error(e)),
            }
        })
    }

    fn put(&self, key: &str, value: Bytes) -> BoxFuture<'static, Result<(), BucketError>> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move { this.store().await?.put(key, value).await.map(drop).map_err(|e| this.error(e)) })
    }

    fn replace(&self, key: &str, value: Bytes, revision: u64) -> BoxFuture<'static, Result<(), BucketError>> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            match this.store().await?.update(key, value, revision).await {
                Err(e) if e.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(()),
                updated => updated.map(drop).map_err(|e| this.error(e)),
            }
        })
    }

    fn watch(&self) -> BoxStream<'static, Result<(String, Option<Bytes>), BucketError>> {
        let this = self.clone();
        let entries = async move {
            let watch = this.store().await?.watch_with_history(">").await.map_err(|e| this.error(e))?;
            let entries = watch.map(move |entry| {
                let entry = entry.map_err(|e| this.error(e))?;
                Ok((entry.key, (entry.operation == kv::Operation::Put).then_some(entry.value)))
            });
            Ok::<_, BucketError>(entries)
        };
        stream::once(entries)
            .flat_map(|entries| match entries {
                Ok(entries) => entries.boxed(),
                Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
            })
            .boxed()
    }

    fn purge(&self, key: &str, revision: Option<u64>) -> BoxFuture<'static, Result<bool, BucketError>> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            match this.store().await?.purge_expect_revision(key, revision).await {
                // Somebody's newer value stands there: not what was to go.
                Err(e) if revision.is_some() && e.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(false),
                purged => purged.map(|()| true).map_err(|e| this.error(e)),
            }
        })
    }

    fn purge_all(&self, filter: &str) -> BoxFuture<'static, Result<(), BucketError>> {
        let (this, filter) = (self.clone(), filter.to_owned());
        Box::pin(async move {
            let store = this.store().await?;
            let filter = format!("{}{filter}", store.prefix);
            store.stream.purge().filter(filter).await.map(drop).map_err(|e| this.error(e))
        })
    }

    fn keys(&self, filter: &str, most: usize) -> BoxFuture<'static, Result<Vec<String>, BucketError>> {
        let (this, filter) = (self.clone(), filter.to_owned());
        Box::pin(async move {
            let store = this.store().await?;
            let filter = format!("{}{filter}", store.prefix);
            let subjects = store.stream.info_with_subjects(filter).await.map_err(|e| this.error(e))?;
            let mut subjects = subjects.take(most);
            let mut keys = Vec::new();
            while let Some(subject) = subjects.next().await {
                let (subject, _) = subject.map_err(|e| this.error(e))?;
                keys.extend(subject.strip_prefix(&store.prefix).map(str::to_owned));
            }
            Ok(keys)
        })
    }
}

/// Entries with their revisions, and the last revision given.
type Entries = (HashMap<String, (u64, Bytes)>, u64);

/// A bucket in memory, which counts its reads.
#[derive(Clone, Debug)]
pub struct MemoryBucket {
    entries: Arc<Mutex<Entries>>,
    reads: Arc<AtomicUsize>,
    changes: broadcast::Sender<(String, Option<Bytes>)>,
}

impl Default for MemoryBucket {
    fn default() -> Self {
        Self { entries: Arc::default(), reads: Arc::default(), changes: broadcast::channel(1_024).0 }
    }
}

impl MemoryBucket {
    /// Reads so far.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    fn set(&self, (entries, last): &mut Entries, key: &str, value: Bytes) -> u64 {
        *last += 1;
        entries.insert(key.to_owned(), (*last, value.clone()));
        // Without a watcher nobody hears it.
        let _ = self.changes.send((key.to_owned(), Some(value)));
        *last
    }
}

impl Bucket for MemoryBucket {
    fn get(&self, key: &str) -> BoxFuture<'static, Result<Option<(u64, Bytes)>, BucketError>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let value = self.entries.lock().0.get(key).cloned();
        Box::pin(std::future::ready(Ok(value)))
    }

    fn create(&self, key: &str, value: Bytes) -> BoxFuture<'static, Result<Option<u64>, BucketError>> {
        let entries = &mut *self.entries.lock();
        let made = (!entries.0.contains_key(key)).then(|| self.set(entries, key, value));
        Box::pin(std::future::ready(Ok(made)))
    }

    fn put(&self, key: &str, value: Bytes) -> BoxFuture<'static, Result<(), BucketError>> {
        self.set(&mut self.entries.lock(), key, value);
        Box::pin(std::future::ready(Ok(())))
    }

    fn replace(&self, key: &str, value: Bytes, revision: u64) -> BoxFuture<'static, Result<(), BucketError>> {
        let entries = &mut *self.entries.lock();
        if entries.0.get(key).is_some_and(|(at, _)| *at == revision) {
            self.set(entries, key, value);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn watch(&self) -> BoxStream<'static, Result<(String, Option<Bytes>), BucketError>> {
        let entries = self.entries.lock();
        let changes = self.changes.subscribe();
        let standing: Vec<_> = entries.0.iter().map(|(key, (_, value))| (key.clone(), Some(value.clone()))).collect();
        let changes = stream::unfold(changes, |mut changes| async move {
            let change = changes.recv().await.ok()?;
            Some((change, changes))
        });
        stream::iter(standing).chain(changes).map(Ok).boxed()
    }

    fn purge(&self, key: &str, revision: Option<u64>) -> BoxFuture<'static, Result<bool, BucketError>> {
        let entries = &mut self.entries.lock().0;
        let purged = revision.is_none_or(|r| entries.get(key).is_some_and(|(at, _)| *at == r));
        if purged {
            entries.remove(key);
            let _ = self.changes.send((key.to_owned(), None));
        }
        Box::pin(std::future::ready(Ok(purged)))
    }

    fn purge_all(&self, filter: &str) -> BoxFuture<'static, Result<(), BucketError>> {
        self.entries.lock().0.retain(|key, _| !takes(filter, key));
        Box::pin(std::future::ready(Ok(())))
    }

    fn keys(&self, filter: &str, most: usize) -> BoxFuture<'static, Result<Vec<String>, BucketError>> {
        let entries = self.entries.lock();
        let keys = entries.0.keys().filter(|key| takes(filter, key)).take(most).cloned().collect();
        Box::pin(std::future::ready(Ok(keys)))
    }
}

/// Whether a filter takes a key, as NATS says.
fn takes(filter: &str, key: &str) -> bool {
    let (mut filter, mut key) = (filter.split('.'), key.split('.'));
    loop {
        match (filter.next(), key.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            (Some(_) | None, _) => return false,
        }
    }
}
