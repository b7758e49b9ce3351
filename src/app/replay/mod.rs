//! Logs played again, without a server and with nobody told: to prove that a cell's database is what its log gives
//! ([`verify`]), to see what other settings would have done ([`what_if`]), and to tell what was decided and why
//! ([`story`], [`export`], [`decisions`]).
//!
//! All of it runs the core that production runs ([`Solo`]), in one thread. A log comes from its stream or from a file
//! ([`Source`]); it is decoded on another thread and held only as far as it is under way.
//!
//! [`Solo`]: crate::domain::cell::Solo

pub mod chronicle;
pub mod compare;
pub mod decisions;
mod differences;
pub mod export;
mod late;
mod override_rules;
mod player;
mod source;
pub mod story;
pub mod verify;
pub mod what_if;
mod words;

pub use override_rules::{Overrides, SettingError};
pub use source::{OpenLog, Read, Reading, Source, save};
pub use words::amount;

use super::AppError;
use crate::{domain::CellId, feed::ScrollError, store::LookError, wire::logfile::LogFileError};
use std::path::PathBuf;

/// Why a log can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("log {path}: {error}")]
    LogFile { path: PathBuf, error: LogFileError },
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Scroll(#[from] ScrollError),
    #[error("database {path}: {error}")]
    Look { path: PathBuf, error: LookError },
    #[error(transparent)]
    Row(#[from] LookError),
    #[error("database {0} has never seen a log")]
    NoLog(PathBuf),
    #[error("the log is cell {log}'s, the database cell {database}'s")]
    OtherCell { log: CellId, database: CellId },
    /// With what differs, for an operator.
    #[error("this log isn't the one that the database was made from: {0}")]
    OtherLog(String),
    #[error(
        "the log begins at sequence {0}: what came before is gone, and a replay needs it from the first message on"
    )]
    BeginningGone(u64),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    State(#[from] crate::wire::blob::BlobError),
    #[error("reading the log ended early")]
    Ended,
}
