//! The owner's epoch: a number per cell that every new owner moves on by one, by compare-and-set. It is the fencing
//! token; a lease's revision could not be one, since it changes with every renewal.

use crate::{domain::CellId, wire::subject};
use async_nats::jetstream::{
    Context,
    kv::{CreateErrorKind, Operation, UpdateErrorKind},
};

/// Attempts against other nodes that take the same epoch at the same time, and against a server in election.
const ATTEMPTS: u32 = 20;

/// The epoch could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    #[error("bucket `{bucket}`: {reason}", bucket = subject::EPOCH_BUCKET)]
    Bucket { reason: String },
    #[error(
        "the epoch of cell {cell} was deleted; put a number there that is above every one used (revision {revision})"
    )]
    Erased { cell: CellId, revision: u64 },
    #[error("the epoch of cell {cell} holds `{text}`, not a number")]
    Unreadable { cell: CellId, text: String },
    #[error("the epoch of cell {cell} could not be moved on: {last}")]
    Contended { cell: CellId, last: String },
}

/// More owners than can have come after a backup: a restored epoch is moved on by so many, so that no number that was
/// used since the backup comes again.
pub const LEAP: u64 = 1_000_000;

/// Moves the cell's epoch on by one and gives it: 1 for the first owner. Numbers may be skipped, never repeated.
pub async fn take(js: &Context, cell: &CellId) -> Result<u64, EpochError> {
    advance(js, cell, 1).await
}

/// Moves the cell's epoch on by `by`, and gives it.
pub async fn advance(js: &Context, cell: &CellId, by: u64) -> Result<u64, EpochError> {
    let bucket =
        js.get_key_value(subject::EPOCH_BUCKET).await.map_err(|e| EpochError::Bucket { reason: e.to_string() })?;
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let entry = match bucket.entry(cell.as_str()).await {
            Ok(entry) => entry,
            Err(error) => {
                last = error.to_string();
                tokio::time::sleep(crate::nats::client::pause()).await;
                continue;
            }
        };
        match entry {
            None => match bucket.create(cell.as_str(), by.to_string().into()).await {
                Ok(_) => return Ok(by),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
                Err(error) => last = error.to_string(),
            },
            // An erased epoch would start at 1 again, and a deposed owner's be believed.
            Some(entry) if entry.operation != Operation::Put => {
                return Err(EpochError::Erased { cell: cell.clone(), revision: entry.revision });
            }
            Some(entry) => {
                let text = String::from_utf8_lossy(&entry.value).into_owned();
                let Ok(epoch) = text.parse::<u64>() else {
                    return Err(EpochError::Unreadable { cell: cell.clone(), text });
                };
                let next = epoch.saturating_add(by);
                match bucket.update(cell.as_str(), next.to_string().into(), entry.revision).await {
                    Ok(_) => return Ok(next),
                    Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                    Err(error) => last = error.to_string(),
                }
            }
        }
        tokio::time::sleep(crate::nats::client::pause()).await;
    }
    Err(EpochError::Contended { cell: cell.clone(), last })
}
