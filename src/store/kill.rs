//! `kill -9` in the middle of commits: what was confirmed is there, the rest is as if it had never been sent, and the
//! log (here: the same seed) gives it again.
//!
//! The test program starts itself as the victim, which knows its part by a file in its working directory.

use super::{Options, Store, fixtures::Shop, state_hash};
use crate::{domain::CellId, metrics::Metrics, ports::Store as _};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

const SIGN: &str = "victim-of-the-kill-test";
const FILE: &str = "cell.sqlite";
const STEPS: usize = 20;

fn open(path: &Path) -> Store {
    Store::open(path, &CellId::default(), Options::default(), Metrics::default()).unwrap()
}

/// Goes on with the log behind the file's cursor, several commits in flight, and says each confirmed cursor.
#[tokio::test]
async fn victim() {
    if !Path::new(SIGN).exists() {
        return;
    }
    let store = open(Path::new(FILE));
    let cursor = store.cell().await.unwrap().cursor;
    let mut shop = Shop::new(20);
    let mut waiting = std::collections::VecDeque::new();
    loop {
        let commit = shop.batch(STEPS);
        if commit.cursor <= cursor {
            continue;
        }
        let confirmed = commit.cursor;
        waiting.push_back((confirmed, store.commit(commit)));
        if waiting.len() > 5 {
            let (confirmed, told) = waiting.pop_front().unwrap();
            told.await.unwrap();
            writeln!(std::io::stdout(), "\nconfirmed {confirmed}").unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_confirmed_survives_and_the_rest_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(SIGN), "").unwrap();
    let path = dir.path().join(FILE);
    let mut last = 0;
    for kill_after in [1, 9, 25, 3, 14] {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::kill::victim", "--nocapture", "--test-threads=1"])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let confirmed = BufReader::new(victim.stdout.take().unwrap())
            .lines()
            .filter_map(|line| line.unwrap().strip_prefix("confirmed ").and_then(|n| n.parse::<u64>().ok()))
            .nth(kill_after - 1);
        // SIGKILL.
        victim.kill().unwrap();
        victim.wait().unwrap();
        let confirmed = confirmed.expect("the victim says what it did");
        assert!(confirmed > last);
        // Before anybody opens it for writing, and after.
        let found = state_hash(&path).unwrap();
        let store = open(&path);
        last = store.cell().await.unwrap().cursor;
        store.close().await.unwrap();
        assert!(last >= confirmed, "confirmed {confirmed}, found {last}");
        assert_eq!(state_hash(&path).unwrap(), found);
        assert_eq!(found, in_one_go(&dir.path().join(format!("{kill_after}.sqlite")), last).await);
    }
}

/// The hash of a fresh store that takes the log up to `cursor` without a fault.
async fn in_one_go(path: &Path, cursor: u64) -> super::StateHash {
    let store = open(path);
    let mut shop = Shop::new(20);
    loop {
        let commit = shop.batch(STEPS);
        let at = commit.cursor;
        store.commit(commit).await.unwrap();
        if at >= cursor {
            assert_eq!(at, cursor, "the cursor lies between commits");
            return state_hash(path).unwrap();
        }
    }
}
