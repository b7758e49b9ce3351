//! The streams and buckets that a cell needs, made where they are missing and looked over where they exist.
//!
//! What can be changed without touching what is stored (limits, duplicate window, subjects) is brought up to date. What
//! can't (storage, retention, what happens at the limit) is refused with its name: an operator decides.

use crate::{domain::CellId, wire::subject};
use async_nats::jetstream::{
    Context, ErrorCode,
    context::{CreateStreamErrorKind, GetStreamError, GetStreamErrorKind, PublishErrorKind},
    kv,
    message::PublishMessage,
    stream::{Config, DiscardPolicy, Info, LastRawMessageErrorKind, RawMessageError, RetentionPolicy, StorageType},
};
use std::time::Duration;

/// Sizes of what is kept in JetStream.
#[derive(Clone, Debug)]
pub struct Options {
    /// Byte limit of the cell's log, file storage. At the limit it refuses new messages; it never drops old ones.
    /// The server sets this much of its disk aside. 4 GiB hold some 15 million fixes.
    pub log_max_bytes: u64,
    /// Byte limit of the task stream, which also refuses when full.
    pub task_max_bytes: u64,
    /// Byte limit of the alerts. At the limit the oldest go: all of them are in the database, and an owner that can't say
    /// any more helps nobody. 256 MiB hold some 300,000 changes.
    pub alert_max_bytes: u64,
    /// Byte limit of the dead letters. The oldest go first: whoever sends rubbish must not stop the outbox.
    pub dead_max_bytes: u64,
    /// Servers that hold each stream: 1, or 3 on a cluster.
    pub replicas: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log_max_bytes: 4 << 30,
            task_max_bytes: 256 << 20,
            alert_max_bytes: 256 << 20,
            dead_max_bytes: 256 << 20,
            replicas: 1,
        }
    }
}

/// `Nats-Msg-Id` drops messages that never reach us, so its window is the least that the server takes. Repetition is
/// recognised by our own keys and by subjects that are used once.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);

/// The server has less storage left than a stream would set aside.
const NO_ROOM: ErrorCode = ErrorCode::STORAGE_RESOURCES_EXCEEDED;

/// How long a task that no warehouse system fetched is kept.
const TASK_MAX_AGE: Duration = Duration::from_secs(7 * 86_400);

/// How long a change of an alert is kept. An order lives for hours; an alert that stays open for longer than this is listed
/// out of the database only.
const ALERT_MAX_AGE: Duration = Duration::from_secs(7 * 86_400);

/// How long a dead letter is kept.
const DEAD_MAX_AGE: Duration = Duration::from_secs(30 * 86_400);

/// How long the stream keeps a message that the outbox publishes on `subject`; `None`: for good.
pub(crate) fn kept_for(subject: &str) -> Option<Duration> {
    match subject::outbox_target(subject) {
        subject::TASK => Some(TASK_MAX_AGE),
        subject::ALERT => Some(ALERT_MAX_AGE),
        subject::DEAD => Some(DEAD_MAX_AGE),
        _ => None,
    }
}

/// Why a stream isn't as it has to be.
#[derive(Debug, thiserror::Error)]
pub enum StreamsError {
    #[error("stream {stream}: {reason}")]
    Request { stream: String, reason: String },
    #[error(
        "stream {stream} has {field} = {found}, it must be {wanted}; this can't be changed on a stream that holds \
         messages: back it up, delete it and let Trunkline make it"
    )]
    Unfit { stream: String, field: &'static str, found: String, wanted: String },
}

/// The cell's log as it was found or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// When the stream was created, nanoseconds since 1970: with it the store recognises its log.
    pub created_ns: i64,
    /// 0 for a log that never held a message.
    pub first_seq: u64,
    pub last_seq: u64,
}

impl From<&Info> for Log {
    fn from(info: &Info) -> Self {
        Self {
            created_ns: i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX),
            first_seq: info.state.first_sequence,
            last_seq: info.state.last_sequence,
        }
    }
}

/// A key-value bucket, which all cells share, and what it says of itself.
struct BucketOf {
    name: &'static str,
    description: &'static str,
    max_age: Duration,
    storage: StorageType,
    /// At the limit it refuses new values, as all buckets do. `None`: its stream is bounded by the server's storage alone.
    max_bytes: Option<u64>,
}

/// Some 40,000 tickets, of which each is in it for a minute at most: more than a cell's clients need to come back in, and too
/// little to hurt a server's memory whoever makes them.
const TICKETS_MAX_BYTES: u64 = 16 << 20;

const fn on_disk(name: &'static str, description: &'static str, max_age: Duration) -> BucketOf {
    BucketOf { name, description, max_age, storage: StorageType::File, max_bytes: None }
}

const BUCKETS: [BucketOf; 6] = [
    on_disk(subject::DIRECTORY_BUCKET, "Order id to cell", FOR_EVER),
    on_disk(subject::PERSONAL_BUCKET, "What names a person, by order id", FOR_EVER),
    on_disk(subject::PHONES_BUCKET, "Orders by the ends of telephone numbers", FOR_EVER),
    on_disk(subject::EPOCH_BUCKET, "Owners' epochs, by cell", FOR_EVER),
    // A link lives for 30 days at most.
    on_disk(subject::SHARES_BUCKET, "Share links, by order id", Duration::from_secs(31 * 24 * 3_600)),
    // Twice their life, for clocks that differ. Who loses one asks for another: memory will do.
    BucketOf {
        name: subject::TICKETS_BUCKET,
        description: "Tickets that nobody has used yet, by digest",
        max_age: Duration::from_secs(60),
        storage: StorageType::Memory,
        max_bytes: Some(TICKETS_MAX_BYTES),
    },
];
const FOR_EVER: Duration = Duration::ZERO;

/// A stream that [`ensure`] makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub stream: String,
    /// A bucket's: not this cell's alone.
    pub shared: bool,
}

/// All that a cell keeps in JetStream, its log first.
pub fn names(cell: &CellId) -> Vec<Name> {
    let own = [
        subject::log_stream(cell),
        subject::task_stream(cell),
        subject::alert_stream(cell),
        subject::dead_stream(cell),
    ];
    let own = own.into_iter().map(|stream| Name { stream, shared: false });
    let kept = BUCKETS.iter().filter(|bucket| bucket.storage == StorageType::File);
    own.chain(kept.map(|bucket| Name { stream: subject::bucket_stream(bucket.name), shared: true })).collect()
}

/// Publishes a log's first message, unless it has one: whoever comes second finds the other's.
pub async fn begin(js: &Context, cell: &CellId, subject: String, payload: Vec<u8>) -> Result<(), StreamsError> {
    let stream = subject::log_stream(cell);
    let request = |reason: String| StreamsError::Request { stream: stream.clone(), reason };
    let first = PublishMessage::build().payload(payload.into()).expected_last_sequence(0);
    let ack = js.send_publish(subject, first).await.map_err(|e| request(e.to_string()))?;
    match ack.await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(()),
        Err(error) => Err(request(error.to_string())),
    }
}

/// Makes or checks all streams and buckets of a cell.
pub async fn ensure(js: &Context, cell: &CellId, options: &Options) -> Result<Log, StreamsError> {
    let log = ensure_stream(js, log_config(cell, options)).await?;
    let kept = |name, subjects, max_bytes, discard, max_age| Config {
        name,
        subjects: vec![subjects],
        max_bytes: bytes(max_bytes),
        discard,
        max_age,
        ..base(options)
    };
    let task = kept(
        subject::task_stream(cell),
        subject::task_subjects(cell),
        options.task_max_bytes,
        DiscardPolicy::New,
        TASK_MAX_AGE,
    );
    ensure_stream(js, task).await?;
    let alert = kept(
        subject::alert_stream(cell),
        subject::alert_subjects(cell),
        options.alert_max_bytes,
        DiscardPolicy::Old,
        ALERT_MAX_AGE,
    );
    ensure_stream(js, alert).await?;
    let dead = kept(
        subject::dead_stream(cell),
        subject::dead_subjects(cell),
        options.dead_max_bytes,
        DiscardPolicy::Old,
        DEAD_MAX_AGE,
    );
    ensure_stream(js, dead).await?;
    for bucket in &BUCKETS {
        ensure_bucket(js, bucket, options).await?;
    }
    Ok(Log::from(&log))
}

/// The cell's log as it is, for those who only read it.
pub async fn existing_log(js: &Context, cell: &CellId) -> Result<Log, StreamsError> {
    let stream = subject::log_stream(cell);
    match js.get_stream(&stream).await {
        Ok(found) => Ok(Log::from(found.cached_info())),
        Err(error) => Err(StreamsError::Request { stream, reason: error.to_string() }),
    }
}

fn base(options: &Options) -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: options.replicas,
        duplicate_window: DUPLICATE_WINDOW,
        allow_direct: true,
        ..Config::default()
    }
}

fn log_config(cell: &CellId, options: &Options) -> Config {
    Config {
        name: subject::log_stream(cell),
        subjects: subject::log_subjects(cell),
        description: Some("The cell's log: its state is a function of these messages".to_owned()),
        max_bytes: bytes(options.log_max_bytes),
        discard: DiscardPolicy::New,
        ..base(options)
    }
}

fn bytes(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

async fn ensure_stream(js: &Context, wanted: Config) -> Result<Info, StreamsError> {
    let name = wanted.name.clone();
    let request = |reason: String| StreamsError::Request { stream: name.clone(), reason };
    let found = match js.get_stream(&name).await {
        Ok(stream) => stream.cached_info().clone(),
        Err(error) if is_missing(&error) => return create(js, wanted).await,
        Err(error) => return Err(request(error.to_string())),
    };
    check(&found.config, &wanted)?;
    let updated = refreshed(&found.config, &wanted);
    if updated == found.config {
        return Ok(found);
    }
    tracing::info!(stream = name, "bringing the stream's settings up to date");
    js.update_stream(updated).await.map_err(|e| request(e.to_string()))
}

/// Whether the server says that there is no such stream, as against not saying anything.
pub(crate) fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Whether the server says that there is no such message, as against not answering.
pub(crate) fn is_gone(error: &RawMessageError) -> bool {
    match error.kind() {
        LastRawMessageErrorKind::NoMessageFound => true,
        LastRawMessageErrorKind::JetStream(error) => error.error_code() == ErrorCode::NO_MESSAGE_FOUND,
        LastRawMessageErrorKind::InvalidSubject | LastRawMessageErrorKind::Other => false,
    }
}

async fn create(js: &Context, wanted: Config) -> Result<Info, StreamsError> {
    let name = wanted.name.clone();
    tracing::info!(stream = name, max_bytes = wanted.max_bytes, "making the stream");
    match js.create_stream(wanted).await {
        Ok(stream) => Ok(stream.cached_info().clone()),
        Err(error) => {
            let hint = if matches!(error.kind(), CreateStreamErrorKind::JetStream(e) if e.error_code() == NO_ROOM) {
                " (its byte limit is more than the server's disk or max_file_store has left)"
            } else {
                ""
            };
            Err(StreamsError::Request { stream: name, reason: format!("{error}{hint}") })
        }
    }
}

/// What an existing stream must have, since it can't be changed while it holds messages.
fn check(found: &Config, wanted: &Config) -> Result<(), StreamsError> {
    let fields = [
        ("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage)),
        ("retention", format!("{:?}", found.retention), format!("{:?}", wanted.retention)),
        ("sealed", found.sealed.to_string(), wanted.sealed.to_string()),
        ("a mirror", found.mirror.is_some().to_string(), wanted.mirror.is_some().to_string()),
        ("sources", found.sources.is_some().to_string(), wanted.sources.is_some().to_string()),
    ];
    let stream = &wanted.name;
    match fields.into_iter().find(|(_, found, wanted)| found != wanted) {
        None => Ok(()),
        Some((field, found, wanted)) => Err(StreamsError::Unfit { stream: stream.clone(), field, found, wanted }),
    }
}

/// The existing settings with those of ours that may change at any time; what an operator added stays.
fn refreshed(found: &Config, wanted: &Config) -> Config {
    let mut config = found.clone();
    config.subjects.clone_from(&wanted.subjects);
    config.discard = wanted.discard;
    config.max_age = wanted.max_age;
    config.duplicate_window = wanted.duplicate_window;
    config.allow_direct = wanted.allow_direct;
    // A log that holds more than a new, smaller limit just refuses; one that an operator unbound stays unbound.
    if found.max_bytes > 0 {
        config.max_bytes = wanted.max_bytes;
    }
    config
}

async fn ensure_bucket(js: &Context, wanted: &BucketOf, options: &Options) -> Result<(), StreamsError> {
    let BucketOf { name: bucket, description, max_age, storage, max_bytes } = *wanted;
    if let Ok(found) = js.get_key_value(bucket).await {
        let config = found.stream.cached_info().config.clone();
        // Rarely needed, and large.
        return Box::pin(bound(js, config, max_bytes)).await;
    }
    let config = kv::Config {
        bucket: bucket.to_owned(),
        description: description.to_owned(),
        history: 1,
        max_age,
        storage,
        max_bytes: max_bytes.map_or(-1, bytes),
        num_replicas: options.replicas,
        ..kv::Config::default()
    };
    match js.create_key_value(config).await {
        Ok(_) => Ok(()),
        // Another node was first, perhaps with another description.
        Err(error) => match js.get_key_value(bucket).await {
            Ok(_) => Ok(()),
            Err(_) => Err(StreamsError::Request { stream: format!("of bucket {bucket}"), reason: error.to_string() }),
        },
    }
}

/// Gives a bucket that has no limit the one that it is to have; an operator's own stays.
async fn bound(js: &Context, found: Config, max_bytes: Option<u64>) -> Result<(), StreamsError> {
    let Some(limit) = max_bytes.filter(|_| found.max_bytes <= 0) else { return Ok(()) };
    let name = found.name.clone();
    let updated = js.update_stream(Config { max_bytes: bytes(limit), ..found }).await;
    updated.map(drop).map_err(|e| StreamsError::Request { stream: name, reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AlertKind;

    #[test]
    fn tasks_alerts_and_dead_letters_age_and_the_directory_does_not() {
        let (cell, order) = (CellId::default(), "o".parse().unwrap());
        assert_eq!(kept_for(&subject::task(&cell, &"w".parse().unwrap(), &order, 1)), Some(TASK_MAX_AGE));
        assert_eq!(kept_for(&subject::alert(&cell, AlertKind::Late, &order, 1, 1)), Some(ALERT_MAX_AGE));
        assert_eq!(kept_for(&subject::dead(&cell, 1)), Some(DEAD_MAX_AGE));
        assert_eq!(kept_for(&subject::directory_key(&order)), None);
    }

    #[test]
    fn what_cannot_change_is_refused_by_name_and_the_rest_is_brought_up_to_date() {
        let wanted = log_config(&CellId::default(), &Options::default());
        let mut found = wanted.clone();
        found.storage = StorageType::Memory;
        let error = check(&found, &wanted).unwrap_err().to_string();
        assert!(error.contains("CELL_default") && error.contains("storage = Memory"), "{error}");

        found.storage = StorageType::File;
        found.duplicate_window = Duration::from_secs(120);
        found.max_messages = 7;
        assert!(check(&found, &wanted).is_ok());
        let updated = refreshed(&found, &wanted);
        assert_eq!(updated.duplicate_window, DUPLICATE_WINDOW);
        assert_eq!(updated.max_messages, 7, "an operator's own limit stays");
    }
}
