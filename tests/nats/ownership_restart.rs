//! The program killed and started again, and ended politely: what clients notice.

use crate::{
    harness::Server,
    node::{Node, Program, Web, count, create_body, eventually, fix_body, settings},
    screen::Screen,
};
use serde_json::json;
use std::time::{Duration, Instant};

fn place(n: u32) -> (f64, f64) {
    (f64::from(31_200 + n) / 1_000.0, 121.4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_go_on_after_a_kill_and_clients_come_back_equal() {
    let server = Server::start().await;
    let (data, url) = (server.dir.path().join("data"), server.ready.url());
    let program = Program::start(&data, &url, "").await;
    let web = program.web.clone();
    for order in ["a", "b", "done"] {
        web.delivering(order, "r1").await;
    }
    web.post("/v1/riders/r1/delivered", None, &json!({"order": "done"})).await.ok();
    let mut screen = Screen::open(&web, "customer").await;
    for order in ["a", "b", "done"] {
        screen.follow(order).await;
    }
    let start = web.cell_time().await;
    for n in 1..=3 {
        web.fix("r1", place(n), start + i64::from(n) * 5_000).await.ok();
    }
    screen.reaches("a", web.version("a").await).await;
    screen.reaches("b", web.version("b").await).await;
    let before = web.get("/v1/orders/a").await.ok();
    let done = web.get("/v1/orders/done").await.ok();
    program.kill().await;
    screen.until("the connection breaks", |s| s.closed.is_some()).await;

    // The rider goes on while nobody is there.
    let phone = crate::node::Party::new(&server, Some("rider.r1")).await;
    phone.say("rider.default.r1.fix", None, fix_body(place(4), start + 20_000).to_string()).await;

    let program = Program::start(&data, &url, "").await;
    let web = program.web.clone();
    let mut again = Screen::open(&web, "customer").await;
    again.orders.clone_from(&screen.orders);
    for order in ["a", "b", "done"] {
        again.follow(order).await;
    }
    let version = before["version"].as_u64().unwrap();
    again.reaches("a", version + 1).await;
    let after = web.get("/v1/orders/a").await.ok();
    // A new owner has a new epoch; the versions are the order's own, so that what a client has stays good.
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64());
    assert_eq!(after["version"], version + 1);
    for order in ["a", "b", "done"] {
        let seen = &again.orders[order];
        assert_eq!(seen.recoveries, ["fresh", "resumed"], "{order}");
        assert_eq!((&seen.state, seen.gaps), (&web.state(order, "customer").await, 0), "{order}");
    }
    let mut same = web.get("/v1/orders/done").await.ok();
    same["epoch"] = done["epoch"].clone();
    assert_eq!(same, done);
    // What comes now comes as deltas, on from there.
    web.fix("r1", place(5), start + 25_000).await.ok();
    again.reaches("a", version + 2).await;
    assert_eq!(again.orders["a"].state["position"]["lat"], place(5).0);
    assert_eq!(again.orders["a"].gaps, 0);
    // Every version once, in the database.
    let sql = "SELECT count(*) - count(DISTINCT version) FROM order_tracking WHERE order_id = 'a'";
    assert_eq!(count(&data, sql), 0);
    let fixes = web.track("a").await.into_iter().filter(|row| row["kind"] == "fix").count();
    assert_eq!(fixes, 5);
    program.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_resumes_at_another_bridge_of_the_same_owner() {
    let server = Server::start().await;
    let node = Node::start(settings(&server.dir.path().join("data"), &server.ready.url())).await;
    let bridge = async || {
        let mut serving = settings(server.dir.path(), &server.ready.url());
        serving.roles = vec!["bridge".into()];
        Node::start(serving).await
    };
    let (first, second) = (bridge().await, bridge().await);
    node.web.delivering("a", "r1").await;
    let mut screen = Screen::open(&first.web, "customer").await;
    screen.follow("a").await;
    let start = node.web.cell_time().await;
    node.web.fix("r1", place(1), start + 5_000).await.ok();
    screen.reaches("a", node.web.version("a").await).await;
    first.stop().await;
    screen.until("the close", |s| s.closed.is_some()).await;
    for n in 2..=4 {
        node.web.fix("r1", place(n), start + i64::from(n) * 5_000).await.ok();
    }
    let mut again = Screen::open(&second.web, "customer").await;
    again.orders.clone_from(&screen.orders);
    again.follow("a").await;
    again.reaches("a", node.web.version("a").await).await;
    let seen = &again.orders["a"];
    assert_eq!(seen.recoveries, ["fresh", "resumed"]);
    assert_eq!((&seen.state, seen.gaps, seen.snapshots), (&node.web.state("a", "customer").await, 0, 1));
    // From a version that nobody ever gave, there is only the whole.
    again.orders.get_mut("a").unwrap().version += 100;
    again.follow("a").await;
    let current = node.web.version("a").await;
    again.until("the snapshot", |s| s.orders["a"].snapshots == 2).await;
    assert_eq!((again.orders["a"].version, again.orders["a"].recoveries.last().unwrap().as_str()), (current, "reset"));
    second.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polite_end_says_so_and_is_quick() {
    let server = Server::start().await;
    let (data, url) = (server.dir.path().join("data"), server.ready.url());
    let program = Program::start(&data, &url, "").await;
    program.web.delivering("a", "r1").await;
    let mut screens = Vec::new();
    for role in ["customer", "operations"] {
        let mut screen = Screen::open(&program.web, role).await;
        screen.follow("a").await;
        screens.push(screen);
    }
    // A connection that never sends a request must not hold up the end.
    let idle = tokio::net::TcpStream::connect(&program.web.addr).await.unwrap();
    let version = program.web.version("a").await;
    let asked = Instant::now();
    let (code, ()) = tokio::join!(program.terminate(), async {
        for screen in &mut screens {
            screen.until("the close", |s| s.closed.is_some()).await;
            assert_eq!(screen.closed, Some((4100, "going_away".into())));
        }
    });
    assert_eq!(code, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    drop(idle);
    // The write-ahead log went into the file: nothing is left to recover.
    assert!(!data.join("cells/default.sqlite-wal").exists());
    let program = Program::start(&data, &url, "").await;
    eventually("the order is there", || async { program.web.get("/v1/orders/a").await.status == 200 }).await;
    assert_eq!(program.web.version("a").await, version);
    program.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_stay_through_a_restart_of_nats() {
    let mut server = Server::start().await;
    let node = Node::start(settings(&server.dir.path().join("data"), &server.ready.url())).await;
    let web = node.web.clone();
    web.delivering("a", "r1").await;
    let mut screen = Screen::open(&web, "customer").await;
    screen.follow("a").await;
    let start = web.cell_time().await;
    web.fix("r1", place(1), start + 5_000).await.ok();
    server.kill().await;
    let unready = || async { web.get("/readyz").await.status == 503 };
    screen.during(eventually("the node says that NATS is gone", unready)).await;
    screen.until("the order is unconfirmed", |s| s.orders["a"].unconfirmed).await;
    let asking = async { tokio::join!(web.get("/v1/orders/a"), web.create("n")) };
    let (order, create) = screen.during(asking).await;
    for answer in [order, create] {
        answer.problem();
        assert!([503, 504].contains(&answer.status), "{answer:?}");
    }
    server.again().await;
    screen.during(web.ready()).await;
    // Whatever became of the create, the same again gives its answer.
    let create = || async { web.create("n").await.status == 201 };
    screen.during(eventually("commands are taken again", create)).await;
    let moved = || async { web.fix("r1", place(2), start + 10_000).await.status == 200 };
    screen.during(eventually("fixes are taken again", moved)).await;
    screen.reaches("a", web.version("a").await).await;
    screen.until("the order is confirmed", |s| !s.orders["a"].unconfirmed).await;
    let seen = &screen.orders["a"];
    assert_eq!(seen.state["position"]["lat"], place(2).0);
    assert_eq!((&seen.state, seen.gaps, seen.snapshots), (&web.state("a", "customer").await, 0, 1));
    assert_eq!(screen.closed, None);
    node.stop().await;
}

/// Eight shops that create one order after the other until they are turned away: the orders and the answers' statuses.
async fn shops(web: &Web) -> Vec<(String, u16)> {
    let shop = |shop: usize| async move {
        let mut answers = Vec::new();
        for n in 0.. {
            let order = format!("o-{shop}-{n}");
            let request = web.request("POST", "/v1/orders").header("idempotency-key", "k");
            let body = create_body(&order).to_string();
            let Ok(response) = request.header("content-type", "application/json").body(body).send().await else {
                break;
            };
            answers.push((order, response.status().as_u16()));
        }
        answers
    };
    futures::future::join_all((0..8).map(shop)).await.concat()
}

/// Ends `program` while shops are busy at it; how long that took, and what the shops were told.
async fn end_under_load(program: Program) -> (Duration, Vec<(String, u16)>) {
    let web = program.web.clone();
    let end = async {
        let list = || async { web.get("/v1/orders?limit=50").await.json()["orders"].as_array().map_or(0, Vec::len) };
        eventually("orders come in", || async { list().await == 50 }).await;
        let asked = Instant::now();
        assert_eq!(program.terminate().await, Some(0));
        asked.elapsed()
    };
    tokio::join!(end, shops(&web))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polite_end_under_load_answers_truly_and_soon() {
    let server = Server::start().await;
    let (data, url) = (server.dir.path().join("data"), server.ready.url());
    let (took, answers) = end_under_load(Program::start(&data, &url, "").await).await;
    let program = Program::start(&data, &url, "").await;
    let odd: Vec<_> = answers.iter().filter(|(_, status)| *status != 201).collect();
    assert!(odd.iter().all(|(_, status)| [503, 504].contains(status)), "{odd:?}");
    for (order, _) in answers.iter().filter(|(_, status)| *status == 201) {
        assert_eq!(program.web.get(&format!("/v1/orders/{order}")).await.status, 200, "{order}");
    }
    assert!(took < Duration::from_secs(5), "{took:?}: {odd:?}");
    program.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_ends_hands_out_what_its_owner_still_answers() {
    let server = Server::start().await;
    let (data, url) = (server.dir.path().join("data"), server.ready.url());
    // The bridge may be there before the owner has made anything.
    let bridge = Program::spawn(&data, &url, "", "bridge");
    bridge.web.ready().await;
    assert!([503, 504].contains(&bridge.web.create("early").await.status));
    let mut owning = settings(&data, &url);
    owning.roles = vec!["tracker".into()];
    let tracker = Node::start(owning).await;
    let taken = || async { bridge.web.create("early").await.status == 201 };
    eventually("the bridge finds the owner", taken).await;
    let (took, answers) = end_under_load(bridge).await;
    // A request on an open connection that comes after the end is refused, and nothing of it published.
    assert!(answers.iter().all(|(_, status)| [201, 503].contains(status)), "{answers:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let bridge = Program::spawn(&data, &url, "", "bridge");
    bridge.web.ready().await;
    for (order, status) in &answers {
        let found = bridge.web.get(&format!("/v1/orders/{order}")).await.status;
        assert_eq!(found, if *status == 201 { 200 } else { 404 }, "{order}");
    }
    bridge.kill().await;
    tracker.stop().await;
}
