//! Finds a nats-server that is new enough: the one that was named, the one on PATH, or the one that `scripts/nats`
//! installed under `.tools/`.

use super::ServerError;
use std::{
    fmt,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// Oldest version that has what we use: message TTLs came with 2.11, atomic batches with 2.12.
pub const LEAST: Version = Version(2, 12);

/// Where `scripts/nats` installs it, seen from the project's folder.
const INSTALLED: &str = ".tools/nats/bin/nats-server";

/// Major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A binary that ran and is new enough, and what it said.
#[derive(Clone, Debug)]
pub struct Binary {
    pub path: PathBuf,
    /// As `v2.15.1`.
    pub version: String,
}

/// The named binary and no other; without a name the first of PATH and `.tools/` that fits.
pub async fn find(named: Option<&Path>) -> Result<Binary, ServerError> {
    let candidates = match named {
        Some(path) => vec![path.to_owned()],
        // A name without a slash is looked up on PATH by the system.
        None => vec![PathBuf::from("nats-server"), PathBuf::from(INSTALLED)],
    };
    let mut tried = Vec::new();
    for path in candidates {
        match ask(&path).await {
            // The server runs in a working directory of its own: a relative path must not lose its meaning.
            Ok(version) if path.components().count() > 1 => match std::path::absolute(&path) {
                Ok(path) => return Ok(Binary { path, version }),
                Err(error) => tried.push(format!("{}: {error}", path.display())),
            },
            Ok(version) => return Ok(Binary { path, version }),
            Err(why) => tried.push(format!("{}: {why}", path.display())),
        }
    }
    Err(ServerError::NoBinary { tried: tried.join("; ") })
}

async fn ask(path: &Path) -> Result<String, String> {
    let output = Command::new(path).arg("--version").output().await.map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = said.split_whitespace().find(|word| parse(word).is_some());
    match word.and_then(|word| Some((word, parse(word)?))) {
        None => Err(format!("says `{}`, which is no version", said.trim())),
        Some((word, version)) if version < LEAST => Err(format!("is {word}, too old")),
        Some((word, _)) => Ok(word.to_owned()),
    }
}

fn parse(word: &str) -> Option<Version> {
    let mut parts = word.strip_prefix('v')?.split('.');
    Some(Version(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse("v2.9.10").unwrap() < LEAST);
        assert!(parse("v2.12.0-RC.1").unwrap() >= LEAST);
        assert!(parse("v10.0.0").unwrap() > LEAST);
        assert_eq!(parse("nats-server:"), None);
    }

    #[tokio::test]
    async fn a_binary_that_will_not_do_is_named_with_the_reason() {
        let error = find(Some(Path::new("/nonexistent/nats-server"))).await.unwrap_err().to_string();
        assert!(error.contains("/nonexistent/nats-server") && error.contains("2.12"), "{error}");
        let error = find(Some(Path::new("true"))).await.unwrap_err().to_string();
        assert!(error.contains("no version"), "{error}");
    }
}
