use crate::harness::{Server, ensure, launch, small, until};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;
use trunkline::{
    domain::CellId,
    nats::{
        self,
        server::{Launch, NatsServer, ServerError},
        streams,
    },
};

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_comes_back_and_one_that_is_stopped_does_not() {
    let dir = TempDir::new().unwrap();
    let tasks = TaskTracker::new();
    let server = NatsServer::start(launch(&dir), &tasks).await.unwrap();
    let options = nats::Options::new(server.url(), "test");
    let client = nats::connect(&options).await.unwrap();
    nats::ready(&client, &options, Duration::from_secs(5)).await.unwrap();
    let js = nats::client::jetstream(&client);
    ensure(&js).await;
    js.publish("order.default.o.pay", "1".into()).await.unwrap().await.unwrap();

    let first = server.pid().unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &first.to_string()]).status().unwrap().success());
    let watch = Instant::now();
    until("another process", || server.pid().is_some_and(|pid| pid != first)).await;
    eprintln!("back after {:?}", watch.elapsed());
    until("the connection", || client.connection_state() == async_nats::connection::State::Connected).await;
    let log = streams::ensure(&js, &CellId::default(), &small()).await.unwrap();
    assert_eq!(log.last_seq, 1, "what was acknowledged is there");

    let last = server.pid().unwrap();
    server.stop().await;
    assert!(!alive(last));
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leftover_on_the_same_store_is_ended_and_a_stranger_on_the_port_is_not() {
    let dir = TempDir::new().unwrap();
    let (ready, process) = launch(&dir).start().await.unwrap();
    let left = process.pid().unwrap();
    // As after a kill -9 of its parent: nobody holds the child.
    std::mem::forget(process);
    let launch_again = Launch { port: Some(ready.port), ..launch(&dir) };
    let (_, again) = launch_again.start().await.unwrap();
    assert_ne!(again.pid().unwrap(), left);

    let other = TempDir::new().unwrap();
    let error = Launch { port: Some(ready.port), ..launch(&other) }.start().await.unwrap_err();
    assert!(matches!(&error, ServerError::PortTaken { port, .. } if *port == ready.port), "{error}");
    assert!(alive(again.pid().unwrap()));
    again.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_configuration_is_told_in_the_servers_own_words() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("broken.conf");
    std::fs::write(&config, "jetstream { store_dir: \".\", no_such_thing: 1 }").unwrap();
    let error = Launch { config: Some(config), ..launch(&dir) }.start().await.unwrap_err().to_string();
    assert!(error.contains("no_such_thing"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_made_once_and_unfit_ones_refused() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    let made = ensure(&js).await;
    assert_eq!((made.first_seq, made.last_seq), (0, 0));
    assert_eq!(ensure(&js).await, made);
    let stream = js.get_stream("CELL_default").await.unwrap();
    assert_eq!(stream.cached_info().config.discard, async_nats::jetstream::stream::DiscardPolicy::New);

    let grown = streams::Options { log_max_bytes: 600 << 20, ..small() };
    assert_eq!(streams::ensure(&js, &CellId::default(), &grown).await.unwrap().created_ns, made.created_ns);
    assert_eq!(stream.get_info().await.unwrap().config.max_bytes, 600 << 20);

    let unfit = async_nats::jetstream::stream::Config {
        name: "CELL_x".to_owned(),
        subjects: vec!["order.x.>".to_owned()],
        storage: async_nats::jetstream::stream::StorageType::Memory,
        ..Default::default()
    };
    js.create_stream(unfit).await.unwrap();
    let error = streams::ensure(&js, &"x".parse().unwrap(), &small()).await.unwrap_err().to_string();
    assert!(error.contains("CELL_x") && error.contains("storage"), "{error}");

    let vast = streams::Options { log_max_bytes: 1 << 60, ..small() };
    let error = streams::ensure(&js, &"y".parse().unwrap(), &vast).await.unwrap_err().to_string();
    assert!(error.contains("byte limit"), "{error}");
}
