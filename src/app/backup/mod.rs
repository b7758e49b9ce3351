//! A cell's database and its log together, as files, and back.
//!
//! A backup is a folder:
//!
//! ```text
//! manifest.json          what it is of, and size and SHA-256 of every other file; written last
//! database.sqlite        the cell's database, as of one commit
//! streams/NAME/          each stream and bucket: backup.json and stream.tar.s2, as the `nats` command writes them
//! ```
//!
//! The database is copied first and the streams after it, so the log holds everything up to the database's cursor and
//! perhaps more: what it has more is applied after the restore, as after any restart. Nobody stops meanwhile.

mod restore;
mod save;

pub use restore::{RestoreOptions, Restored, restore};
pub use save::backup;

use super::AppError;
use crate::{
    domain::{CellId, ids::is_token},
    nats::snapshot::{self, Figures, SnapshotError},
    store::CopyError,
    wire::subject,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The layout above.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "database.sqlite";
const STREAMS: &str = "streams";

/// Why there is no backup, or why one wasn't restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("database {path}: {source}")]
    Copy { path: PathBuf, source: CopyError },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0} is there already; a backup needs a fresh folder")]
    Taken(PathBuf),
    #[error("{path} is no backup of this program: {reason}")]
    Manifest { path: PathBuf, reason: String },
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("the database and its log don't belong together: {0}")]
    Apart(String),
    #[error("in the way: {}; nothing was restored. {hint}", .what.join(", "))]
    InTheWay { what: Vec<String>, hint: &'static str },
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The program's version.
    trunkline: String,
    pub cell: CellId,
    /// RFC 3339.
    made_at: String,
    pub database: Database,
    pub streams: Vec<Stream>,
}

/// The database's part of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    #[serde(flatten)]
    file: FileSum,
    /// Last applied place in the log.
    pub cursor: u64,
    /// As `trunkline doctor --state-hash` prints it.
    pub state_hash: String,
}

/// A stream's part of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    pub stream: String,
    /// A bucket of all cells.
    shared: bool,
    #[serde(flatten)]
    pub figures: Figures,
    files: Vec<FileSum>,
}

impl Stream {
    /// Its files, by their paths inside the backup.
    fn expected(&self) -> [String; 2] {
        [snapshot::META, snapshot::DATA].map(|file| format!("{STREAMS}/{}/{file}", self.stream))
    }
}

/// A file of the backup, by its path inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileSum {
    file: String,
    bytes: u64,
    sha256: String,
}

impl FileSum {
    async fn of(folder: &Path, file: String) -> Result<Self, BackupError> {
        let (sha256, bytes) = snapshot::checksum(&folder.join(&file)).await?;
        Ok(Self { file, bytes, sha256 })
    }

    /// Reads the file again and compares.
    async fn check(&self, folder: &Path) -> Result<(), BackupError> {
        let found = Self::of(folder, self.file.clone()).await?;
        if found == *self {
            return Ok(());
        }
        let (has, wants) = (found.bytes, self.bytes);
        let reason =
            format!("it has {has} bytes with SHA-256 {}, the manifest says {wants} with {}", found.sha256, self.sha256);
        Err(BackupError::Damaged { path: folder.join(&self.file), reason })
    }
}

impl Manifest {
    /// Reads the manifest of a backup; its files are not looked at yet.
    pub async fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(MANIFEST);
        let text = tokio::fs::read(&path).await.map_err(|source| BackupError::File { path: path.clone(), source })?;
        let parsed: Result<Self, _> = serde_json::from_slice(&text);
        let bad = |reason: String| BackupError::Manifest { path: path.clone(), reason };
        let manifest = parsed.map_err(|e| bad(e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(bad(format!("it has format {}, this program knows {FORMAT}", manifest.format)));
        }
        let log = subject::log_stream(&manifest.cell);
        if manifest.streams.first().is_none_or(|s| s.stream != log) {
            return Err(bad(format!("its first stream isn't {log}")));
        }
        // Names become paths and requests: none may lead elsewhere.
        let wrong = |s: &&Stream| !is_token(&s.stream) || !s.files.iter().map(|f| &f.file).eq(&s.expected());
        if let Some(stream) = manifest.streams.iter().find(wrong) {
            return Err(bad(format!("stream `{}` has a name or files that no backup has", stream.stream)));
        }
        if manifest.database.file.file != DATABASE {
            return Err(bad(format!("its database is not {DATABASE}")));
        }
        Ok(manifest)
    }

    /// Reads every file and compares it with its checksum.
    pub async fn check(&self, folder: &Path) -> Result<(), BackupError> {
        for file in self.files() {
            file.check(folder).await?;
        }
        Ok(())
    }

    /// Bytes of all files but the manifest.
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }

    fn files(&self) -> impl Iterator<Item = &FileSum> {
        [&self.database.file].into_iter().chain(self.streams.iter().flat_map(|s| &s.files))
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path, source }
}

/// Makes the names in a folder outlive a power cut.
fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(at(folder))
}
