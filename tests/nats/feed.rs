use crate::harness::{Keeper, KeeperSink, Server, ensure, until};
use async_nats::{
    HeaderMap,
    jetstream::{
        Context,
        context::{ContextBuilder, PublishErrorKind},
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkline::{
    domain::CellId,
    feed::{self, FeedError},
    metrics::Metrics,
    ports::LogMark,
};

fn feed(js: &Context, keeper: &Arc<Keeper>, stop: &CancellationToken) -> JoinHandle<Result<(), FeedError>> {
    feed_with(js, keeper, stop, feed::Options::default(), &Metrics::default())
}

fn feed_with(
    js: &Context,
    keeper: &Arc<Keeper>,
    stop: &CancellationToken,
    options: feed::Options,
    metrics: &Metrics,
) -> JoinHandle<Result<(), FeedError>> {
    let sink = Arc::new(KeeperSink(Arc::clone(keeper)));
    tokio::spawn(feed::run(js.clone(), CellId::default(), sink, metrics.clone(), options, stop.clone()))
}

async fn refusal(feed: JoinHandle<Result<(), FeedError>>) -> String {
    let ended = tokio::time::timeout(Duration::from_secs(20), feed).await.expect("the feed must end").unwrap();
    match ended.unwrap_err() {
        FeedError::WrongLog(reason) => reason,
        other @ (FeedError::Store(_) | FeedError::Stopped(_)) => panic!("{other}"),
    }
}

/// Publishes message `n` on a subject of its own until its ack is in: stored once however often it is tried.
async fn publish(js: &Context, n: u64) {
    loop {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        let ack = match js.publish_with_headers(format!("timer.default.o.unpaid.{n}"), headers, "".into()).await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        match ack {
            Ok(_) => return,
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn publish_all(js: &Context, numbers: std::ops::Range<u64>) {
    use futures::StreamExt;
    futures::stream::iter(numbers).for_each_concurrent(200, |n| publish(js, n)).await;
}

fn consecutive(keeper: &Keeper, last: u64) {
    let seen = keeper.seen.lock();
    assert!(seen.iter().copied().eq(1..=last), "not 1 to {last} in order, once each: {} seen", seen.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_on_after_kills_without_a_gap_or_a_repetition() {
    let mut server = Server::start().await;
    let js = server.jetstream().await;
    let keeper = Keeper::new(ensure(&js).await);
    let stop = CancellationToken::new();
    let feed = feed(&js, &keeper, &stop);
    let acked = Arc::new(AtomicU64::new(0));
    let publisher = tokio::spawn({
        // An ack that a kill took is not waited for, so that the publisher isn't what is measured.
        let js = ContextBuilder::new().timeout(Duration::from_millis(200)).build(server.client().await);
        let (acked, stop) = (Arc::clone(&acked), stop.clone());
        async move {
            let mut n = 0;
            while !stop.is_cancelled() {
                publish_all(&js, n..n + 50).await;
                n += 50;
                acked.store(n, Ordering::Relaxed);
            }
            n
        }
    });
    for kill in 0..4 {
        let before = keeper.count();
        until("messages before the kill", || keeper.count() > before + 500).await;
        server.kill().await;
        let watch = Instant::now();
        let at_kill = keeper.count();
        server.again().await;
        let back = watch.elapsed();
        until("messages after the kill", || keeper.count() > at_kill).await;
        eprintln!("kill {kill}: server back after {back:?}, read on {:?} after the kill", watch.elapsed());
        assert!(watch.elapsed() < Duration::from_secs(6), "{:?}", watch.elapsed());
    }
    stop.cancel();
    feed.await.unwrap().unwrap();
    let published = publisher.await.unwrap();
    // The rest is read by a feed that begins where the last one committed.
    let stop = CancellationToken::new();
    let rest = self::feed(&js, &keeper, &stop);
    until("all that was acknowledged", || keeper.last() >= published).await;
    consecutive(&keeper, published);
    stop.cancel();
    rest.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_store_is_refused() {
    let mut server = Server::start().await;
    let js = server.jetstream().await;
    let keeper = Keeper::new(ensure(&js).await);
    publish_all(&js, 0..100).await;
    server.kill().await;
    copy(&server.store(), &server.copy_of_store());
    server.again().await;

    let stop = CancellationToken::new();
    let running = feed(&js, &keeper, &stop);
    publish_all(&js, 100..200).await;
    until("200 messages", || keeper.count() == 200).await;
    server.kill().await;
    std::fs::remove_dir_all(server.store()).unwrap();
    copy(&server.copy_of_store(), &server.store());
    server.again().await;

    // The one that runs notices by itself; one that starts notices too.
    let reason = refusal(running).await;
    assert!(reason.contains("ends at sequence 100") && reason.contains("up to 200"), "{reason}");
    assert!(reason.contains("Choose"), "{reason}");
    refusal(feed(&js, &keeper, &stop)).await;

    // Even when the copy has grown past the cursor: the message there is another one.
    publish_all(&js, 1_000..1_150).await;
    let reason = refusal(feed(&js, &keeper, &stop)).await;
    assert!(reason.contains("the message at sequence 200 is not the one"), "{reason}");
    assert_eq!(keeper.count(), 200, "nothing was read on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_what_was_delivered_but_not_committed_is_refused() {
    let mut server = Server::start().await;
    let js = server.jetstream().await;
    let keeper = Keeper::new(ensure(&js).await);
    *keeper.commit_up_to.lock() = Some(100);
    let stop = CancellationToken::new();
    let running = feed(&js, &keeper, &stop);
    publish_all(&js, 0..100).await;
    until("100 messages", || keeper.count() == 100).await;
    server.kill().await;
    copy(&server.store(), &server.copy_of_store());
    server.again().await;
    publish_all(&js, 100..120).await;
    until("120 messages", || keeper.count() == 120).await;
    server.kill().await;
    std::fs::remove_dir_all(server.store()).unwrap();
    copy(&server.copy_of_store(), &server.store());
    server.again().await;
    let reason = refusal(running).await;
    assert!(reason.contains("was read up to 120"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_made_again_is_refused() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    let keeper = Keeper::new(ensure(&js).await);
    let stop = CancellationToken::new();
    let running = feed(&js, &keeper, &stop);
    publish_all(&js, 0..50).await;
    until("50 messages", || keeper.count() == 50).await;
    js.delete_stream("CELL_default").await.unwrap();
    let reason = refusal(running).await;
    assert!(reason.contains("doesn't exist"), "{reason}");
    ensure(&js).await;
    publish_all(&js, 0..60).await;
    let reason = refusal(feed(&js, &keeper, &stop)).await;
    assert!(reason.contains("was created at"), "{reason}");
    assert_eq!(keeper.count(), 50, "nothing was read on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_messages_are_passed_over_and_lost_ones_are_not() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    let log = ensure(&js).await;
    publish_all(&js, 0..100).await;
    let stream = js.get_stream("CELL_default").await.unwrap();
    for seq in [40, 41, 42, 100] {
        stream.delete_message(seq).await.unwrap();
    }
    let keeper = Keeper::new(log);
    let stop = CancellationToken::new();
    let running = feed(&js, &keeper, &stop);
    until("99", || keeper.last() == 99).await;
    publish_all(&js, 100..101).await;
    until("101", || keeper.last() == 101).await;
    let expected: Vec<u64> = (1..=39).chain(43..=99).chain([101]).collect();
    assert_eq!(*keeper.seen.lock(), expected);
    stop.cancel();
    running.await.unwrap().unwrap();

    // The message at the cursor was erased, and all before it trimmed: still the same log.
    stream.delete_message(101).await.unwrap();
    stream.purge().sequence(100).await.unwrap();
    publish_all(&js, 101..110).await;
    let stop = CancellationToken::new();
    let running = feed(&js, &keeper, &stop);
    until("110", || keeper.last() == 110).await;
    stop.cancel();
    running.await.unwrap().unwrap();

    // Trimmed past the cursor: what is missing was never applied.
    publish_all(&js, 110..120).await;
    stream.purge().sequence(116).await.unwrap();
    let stop = CancellationToken::new();
    let reason = refusal(feed(&js, &keeper, &stop)).await;
    assert!(reason.contains("begins at sequence 116") && reason.contains("up to 110"), "{reason}");
    // A new database can't begin there either.
    let new = Arc::new(Keeper::default());
    let reason = refusal(feed(&js, &new, &stop)).await;
    assert!(reason.contains("the database is new"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_and_a_deep_backlog_come_through_in_bounded_batches() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    let log = ensure(&js).await;
    let large = vec![b'x'; 700 << 10];
    for _ in 0..60 {
        js.publish("rider.default.r.fixes", large.clone().into()).await.unwrap().await.unwrap();
    }
    publish_all(&js, 0..20_000).await;
    for _ in 0..20 {
        js.publish("rider.default.r.fixes", large.clone().into()).await.unwrap().await.unwrap();
    }
    let keeper = Keeper::new(log);
    let stop = CancellationToken::new();
    let watch = Instant::now();
    let running = feed(&js, &keeper, &stop);
    until("all", || keeper.count() == 20_080).await;
    eprintln!("20,080 messages in {:?}, largest batch {}", watch.elapsed(), keeper.largest.lock());
    consecutive(&keeper, 20_080);
    assert!((129..=feed::Options::default().batch).contains(&*keeper.largest.lock()), "{}", keeper.largest.lock());
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_cut_by_fixes_too_and_end_where_the_cut_is() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    let log = ensure(&js).await;
    let fix = |n: usize| format!(r#"{{"fix_time_ms":{},"lat":52.5,"lon":13.4}}"#, 1_700_000_000_000_usize + n * 1_000);
    let fixes: Vec<String> = (0..1_000).map(fix).collect();
    let payload = format!(r#"{{"fixes":[{}]}}"#, fixes.join(","));
    for _ in 0..42 {
        js.publish("rider.default.r.fixes", payload.clone().into()).await.unwrap().await.unwrap();
    }
    publish_all(&js, 0..100).await;
    let keeper = Keeper::new(log);
    let stop = CancellationToken::new();
    let metrics = Metrics::default();
    // While the cell is busy with the first batch, all others come together.
    *keeper.pause_once.lock() = Some(Duration::from_secs(2));
    let running = feed_with(&js, &keeper, &stop, feed::Options::default(), &metrics);
    until("all", || keeper.count() == 142).await;
    consecutive(&keeper, 142);
    let weights = keeper.weights.lock().clone();
    assert_eq!(weights.iter().sum::<usize>(), 42_100);
    assert!(weights.iter().all(|weight| *weight <= 5_000), "{weights:?}");
    // What is ready when the reader looks goes together, so how large batches get depends on the machine.
    assert!(weights.iter().any(|weight| *weight > 1_000), "no two messages shared a batch: {weights:?}");
    let text = metrics.encode().unwrap();
    for figure in [format!("count {}", weights.len()), "sum 142.0".to_owned()] {
        assert!(text.contains(&format!("trunkline_batch_entries_{figure}\n")), "each batch once: {text}");
    }
    stop.cancel();
    running.await.unwrap().unwrap();

    // The digest is that of the batch's last message, not of the last one that came with it: the next feed proves it.
    for most in [3_000, 999, 1] {
        let options = feed::Options { batch_fixes: most, ..feed::Options::default() };
        let keeper = Keeper::new(log);
        *keeper.pause_once.lock() = Some(Duration::from_millis(500));
        let stop = CancellationToken::new();
        let running = feed_with(&js, &keeper, &stop, options, &Metrics::default());
        until("some", || keeper.count() >= 3).await;
        stop.cancel();
        running.await.unwrap().unwrap();
        assert!(keeper.weights.lock().iter().all(|weight| *weight <= most.max(1_000)));
        let stop = CancellationToken::new();
        let running = self::feed(&js, &keeper, &stop);
        until("the rest", || keeper.last() == 142).await;
        consecutive(&keeper, 142);
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_a_mark_of_another_log_reads_nothing() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    let log = ensure(&js).await;
    publish_all(&js, 0..10).await;
    let keeper = Keeper::new(log);
    *keeper.mark.lock() = Some(LogMark { created_ns: log.created_ns, cursor: 5, digest: [9; 32] });
    let stop = CancellationToken::new();
    let reason = refusal(feed(&js, &keeper, &stop)).await;
    assert!(reason.contains("the message at sequence 5 is not the one"), "{reason}");
    assert_eq!(keeper.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_known_by_its_headers_too_however_they_are_written() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    let keeper = Keeper::new(ensure(&js).await);
    for (keys, publisher) in [(&["k1"][..], Some("system.shop")), (&["first", "last"], None), (&["a b  c"], None)] {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append("Idempotency-Key", *key);
        }
        if let Some(publisher) = publisher {
            headers.insert("Trunkline-Publisher", publisher);
        }
        js.publish_with_headers("order.default.o.pay", headers, "{}".into()).await.unwrap().await.unwrap();
        // Each feed proves the mark that the one before left.
        let stop = CancellationToken::new();
        let (seen, running) = (keeper.count(), feed(&js, &keeper, &stop));
        until("the message", || keeper.count() > seen).await;
        stop.cancel();
        running.await.unwrap().unwrap();
    }
    // A folded header, as no client of ours writes it.
    folded(&server).await;
    let stop = CancellationToken::new();
    let running = feed(&js, &keeper, &stop);
    until("the folded header's message", || keeper.count() == 4).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let stop = CancellationToken::new();
    let running = feed(&js, &keeper, &stop);
    js.publish("order.default.o.pay", "{}".into()).await.unwrap().await.unwrap();
    until("what follows it", || keeper.count() == 5).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

async fn folded(server: &Server) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = server.ready.url().replace("nats://", "");
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let headers = "NATS/1.0\r\nIdempotency-Key: one\r\n   two\r\n\r\n";
    let head = format!("HPUB order.default.o.pay {} {}\r\n", headers.len(), headers.len() + 2);
    let connect = "CONNECT {\"verbose\":false,\"headers\":true}\r\n";
    socket.write_all(format!("{connect}{head}{headers}{{}}\r\nPING\r\n").as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"PONG\r\n") {
        let mut part = [0; 4096];
        let n = socket.read(&mut part).await.unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&part[..n]);
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_that_takes_its_time_holds_back_the_feed_and_loses_nothing() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    let keeper = Keeper::new(ensure(&js).await);
    // Longer than heartbeats and a pull request live: the consumer may well be given up meanwhile.
    *keeper.pause_once.lock() = Some(Duration::from_secs(7));
    let stop = CancellationToken::new();
    let running = feed(&js, &keeper, &stop);
    publish_all(&js, 0..10).await;
    until("the cell at work", || keeper.pause_once.lock().is_none()).await;
    publish_all(&js, 10..5_000).await;
    assert!(keeper.count() < 1_001, "one batch at a time: {}", keeper.count());
    until("all", || keeper.count() >= 5_000).await;
    consecutive(&keeper, 5_000);
    stop.cancel();
    running.await.unwrap().unwrap();
}
