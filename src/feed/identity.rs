//! Is this the log that made the store's state? Asked before every consumer, since a server that comes back may come
//! back with another store: an older copy, a stream made again under the same name, a log that lost its tail in a power
//! cut. Applying such a log would give a state that no log ever made.

use super::{Delivered, reader::value};
use crate::{
    domain::UnixMillis,
    nats::streams::{self, Log},
    ports::LogMark,
    wire::{
        header,
        log::{Raw, digest},
    },
};
use async_nats::jetstream::{Context, message::StreamMessage, stream::Stream};

/// What the look at the log gave.
#[derive(Debug)]
pub(super) enum Verdict {
    Same(Log),
    /// With what differs and what can be done, for an operator.
    Wrong(String),
    /// The server didn't say; ask again.
    Unknown(String),
}

/// The choices of an operator, whatever differs.
const CHOICES: &str = "Nothing was applied. Choose: put back the log that belongs to this database; or restore the \
     database's backup that belongs to this log; or, if the log's messages are what counts, move the database away so \
     that the cell is made again from the log's first message";

/// Compares the log with the committed mark, and with what was delivered since if there is something.
pub(super) async fn check(
    js: &Context,
    name: &str,
    mark: Option<LogMark>,
    delivered: Option<Delivered>,
    created_before_ns: Option<i64>,
) -> Verdict {
    let stream = match js.get_stream(name).await {
        Ok(stream) => stream,
        Err(error) if streams::is_missing(&error) => {
            return wrong(name, "the stream doesn't exist (any more)".to_owned());
        }
        Err(error) => return Verdict::Unknown(error.to_string()),
    };
    let log = Log::from(stream.cached_info());
    if let Some(reason) = bounds(&log, mark, delivered, created_before_ns) {
        return wrong(name, reason);
    }
    let committed = mark.filter(|m| m.cursor > 0).map(|m| Delivered { seq: m.cursor, digest: m.digest });
    for expected in [committed, delivered].into_iter().flatten() {
        match message_at(&stream, expected.seq).await {
            // Erased or trimmed: the server confirms that it is gone, and the bounds are right.
            Ok(None) => {}
            Ok(Some(found)) if found == expected.digest => {}
            Ok(Some(_)) => {
                let seq = expected.seq;
                return wrong(
                    name,
                    format!("the message at sequence {seq} is not the one that was applied from there"),
                );
            }
            Err(error) => return Verdict::Unknown(error),
        }
    }
    Verdict::Same(log)
}

/// What the stream's own figures tell.
fn bounds(
    log: &Log,
    mark: Option<LogMark>,
    delivered: Option<Delivered>,
    created_before_ns: Option<i64>,
) -> Option<String> {
    let created_ns = mark.map(|m| m.created_ns).or(created_before_ns);
    if let Some(created_ns) = created_ns
        && created_ns != log.created_ns
    {
        return Some(format!(
            "it was created at {} and the database was made from one created at {}",
            time(log.created_ns),
            time(created_ns)
        ));
    }
    let cursor = mark.map_or(0, |m| m.cursor);
    if log.last_seq < cursor {
        return Some(format!(
            "it ends at sequence {} and the database has applied it up to {cursor}: the log lost its last {} \
             messages, or it is an older copy",
            log.last_seq,
            cursor - log.last_seq
        ));
    }
    let next = delivered.map_or(cursor, |d| d.seq.max(cursor)) + 1;
    if log.last_seq + 1 < next {
        return Some(format!(
            "it ends at sequence {} and was read up to {} a moment ago: the log lost its tail, or it is an older copy",
            log.last_seq,
            next - 1
        ));
    }
    if log.first_seq > cursor + 1 {
        let known = if mark.is_some() { format!("has applied it up to {cursor}") } else { "is new".to_owned() };
        return Some(format!(
            "it begins at sequence {} and the database {known}: the messages between are gone",
            log.first_seq
        ));
    }
    None
}

fn wrong(name: &str, reason: String) -> Verdict {
    Verdict::Wrong(format!(
        "the log {name} is not the one that this cell's database was made from: {reason}. {CHOICES}."
    ))
}

fn time(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| format!("{ns} ns"), |t| t.to_string())
}

/// The digest of the message there, or `None` if the server confirms that there is none.
async fn message_at(stream: &Stream, seq: u64) -> Result<Option<[u8; 32]>, String> {
    // Asked of the stream's leader: a direct get may be answered by a replica that is behind.
    match stream.get_raw_message(seq).await {
        Ok(message) => Ok(Some(digest_of(&message))),
        Err(error) if streams::is_gone(&error) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn digest_of(message: &StreamMessage) -> [u8; 32] {
    digest(&Raw {
        seq: message.sequence,
        log_time: millis(message.time.unix_timestamp_nanos()),
        subject: &message.subject,
        payload: &message.payload,
        idempotency_key: value(Some(&message.headers), header::IDEMPOTENCY_KEY),
        publisher: value(Some(&message.headers), header::PUBLISHER),
    })
}

/// Log time from the server's nanoseconds; the same rounding wherever a message is read.
pub(super) fn millis(ns: i128) -> UnixMillis {
    UnixMillis(i64::try_from(ns.div_euclid(1_000_000)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(cursor: u64) -> Option<LogMark> {
        Some(LogMark { created_ns: 7, cursor, digest: [0; 32] })
    }

    fn log(first_seq: u64, last_seq: u64) -> Log {
        Log { created_ns: 7, first_seq, last_seq }
    }

    #[test]
    fn figures_that_fit() {
        let after = Some(Delivered { seq: 12, digest: [0; 32] });
        assert_eq!(bounds(&log(0, 0), None, None, None), None, "new and new");
        assert_eq!(bounds(&log(1, 10), None, None, None), None);
        assert_eq!(bounds(&log(1, 10), mark(10), None, None), None);
        assert_eq!(bounds(&log(11, 10), mark(10), None, None), None, "all applied and trimmed");
        assert_eq!(bounds(&log(1, 12), mark(10), after, Some(7)), None);
    }

    #[test]
    fn figures_that_do_not_fit_are_named() {
        let after = Some(Delivered { seq: 12, digest: [0; 32] });
        let says = |reason: Option<String>, words: &str| {
            let reason = reason.unwrap();
            assert!(reason.contains(words), "{reason}");
        };
        says(bounds(&Log { created_ns: 8, ..log(1, 20) }, mark(10), None, None), "was created at 1970-01-01");
        says(bounds(&Log { created_ns: 8, ..log(1, 20) }, None, None, Some(7)), "was created at");
        says(bounds(&log(1, 9), mark(10), None, None), "ends at sequence 9");
        says(bounds(&log(1, 11), mark(10), after, None), "read up to 12");
        says(bounds(&log(12, 20), mark(10), None, None), "begins at sequence 12");
        says(bounds(&log(2, 20), None, None, None), "is new");
    }
}
