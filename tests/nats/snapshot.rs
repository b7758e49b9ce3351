use crate::harness::{Server, ensure};
use async_nats::HeaderMap;
use std::path::Path;
use trunkline::{
    domain::CellId,
    nats::{
        snapshot::{self, DATA, META, SnapshotError},
        streams,
    },
};

const LOG: &str = "CELL_default";

fn folder(at: &Path, name: &str) -> std::path::PathBuf {
    let folder = at.join(name);
    std::fs::create_dir(&folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_stream_is_the_same_to_the_last_header_with_its_holes() {
    let mut server = Server::start().await;
    let js = server.jetstream().await;
    let before = ensure(&js).await;
    let dir = tempfile::tempdir().unwrap();
    // Some pieces of half a megabyte, of what doesn't compress.
    for n in 0..2_000_u32 {
        let mut headers = HeaderMap::new();
        headers.insert("Idempotency-Key", format!("k{n}"));
        let noise: String = (0..1_500).map(|_| char::from(rand::random_range(b'!'..=b'~'))).collect();
        js.publish_with_headers("order.default.o1.pay", headers, noise.into()).await.unwrap().await.unwrap();
    }
    let stream = js.get_stream(LOG).await.unwrap();
    stream.delete_message(7).await.unwrap();
    let was = stream.get_raw_message(1_234).await.unwrap();
    let to = folder(dir.path(), LOG);
    let saved = snapshot::save(&js, LOG, &to).await.unwrap();
    assert_eq!((saved.messages, saved.first_seq, saved.last_seq), (1_999, 1, 2_000));
    let (hash, bytes) = snapshot::checksum(&to.join(DATA)).await.unwrap();
    assert!(hash.len() == 64 && bytes > 1 << 20, "{hash} {bytes}");

    let taken = snapshot::restore(&js, LOG, &to).await.unwrap_err();
    assert!(taken.to_string().contains("already in use"), "{taken}");

    js.delete_stream(LOG).await.unwrap();
    let made = snapshot::restore(&js, LOG, &to).await.unwrap();
    assert_eq!(made, saved);
    let after = streams::existing_log(&js, &CellId::default()).await.unwrap();
    assert_eq!((after.first_seq, after.last_seq), (1, 2_000));
    // It counts as created now, whatever the copy says; that stays so.
    assert!(after.created_ns > before.created_ns);
    server.kill().await;
    server.again().await;
    assert_eq!(streams::existing_log(&js, &CellId::default()).await.unwrap(), after);
    let stream = js.get_stream(LOG).await.unwrap();
    let is = stream.get_raw_message(1_234).await.unwrap();
    assert_eq!((is.time, is.subject, is.headers, is.payload), (was.time, was.subject, was.headers, was.payload));
    assert!(stream.get_raw_message(7).await.is_err(), "what was erased is not there again");
    let next = js.publish("order.default.o1.pay", "".into()).await.unwrap().await.unwrap();
    assert_eq!(next.sequence, 2_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_missing_and_broken_streams() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    let missing = snapshot::save(&js, LOG, tempfile::tempdir().unwrap().path()).await.unwrap_err();
    assert!(missing.to_string().contains("stream not found"), "{missing}");

    ensure(&js).await;
    let dir = tempfile::tempdir().unwrap();
    let to = folder(dir.path(), LOG);
    assert_eq!(snapshot::save(&js, LOG, &to).await.unwrap().last_seq, 0);
    let twice = snapshot::save(&js, LOG, &to).await.unwrap_err();
    assert!(matches!(twice, SnapshotError::File { .. }), "nothing is overwritten: {twice}");
    js.delete_stream(LOG).await.unwrap();
    assert_eq!(snapshot::restore(&js, LOG, &to).await.unwrap().messages, 0);

    let other = snapshot::restore(&js, "CELL_other", &to).await.unwrap_err();
    assert!(other.to_string().contains("config.name"), "{other}");
    js.delete_stream(LOG).await.unwrap();
    std::fs::write(to.join(DATA), b"no archive").unwrap();
    assert!(snapshot::restore(&js, LOG, &to).await.is_err());
    assert!(js.get_stream(LOG).await.is_err(), "nothing is left of it");
    std::fs::write(to.join(META), b"{}").unwrap();
    assert!(matches!(snapshot::restore(&js, LOG, &to).await, Err(SnapshotError::Meta { .. })));
}
