//! A database that can't grow any more: the node says so, tells nobody what it couldn't store, and loses nothing that
//! was acknowledged.

use crate::{
    harness::Server,
    node::{Answer, Program, Web, count, eventually},
    screen::Screen,
};
use serde_json::{Value, json};

/// A limit on the size of files, in blocks of 512 bytes, for the program alone; instead of a signal it gets an error.
const LIMIT: &str = "trap '' XFSZ; ulimit -f 1400;";

/// Fixes of one batch, a second apart, along a street.
fn batch(n: i64, start_ms: i64) -> Value {
    let fix = |i: i64| {
        let lat = 31.2 + (n * 500 + i) as f64 * 1e-5;
        json!({"lat": lat, "lon": 121.4, "fix_time_ms": start_ms + (n * 500 + i) * 1_000, "accuracy_m": 5.0})
    };
    json!({"fixes": (0..500).map(fix).collect::<Vec<_>>()})
}

/// Sends batches until one isn't taken. How many were acknowledged, how many were sent, and the answer to the last.
async fn fill(web: &Web, start_ms: i64) -> (i64, i64, Answer) {
    for n in 0..100 {
        let answer = web.post("/v1/riders/r1/fixes", None, &batch(n, start_ms)).await;
        if answer.status != 200 {
            return (n * 500, (n + 1) * 500, answer);
        }
        assert_eq!(answer.json()["good"], 500, "{}", answer.json());
    }
    panic!("the limit is never reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_nothing_acknowledged_is_lost() {
    let server = Server::start().await;
    let (data, url) = (server.dir.path().join("data"), server.ready.url());
    let program = Program::start(&data, &url, LIMIT).await;
    let web = program.web.clone();
    web.delivering("a", "r1").await;
    let mut screen = Screen::open(&web, "operations").await;
    screen.follow("a").await;
    // Room for the fixes' times: the rider carries the order since some hours.
    let control = crate::node::Party::new(&server, Some("operations.test")).await;
    let start = web.cell_time().await;
    control.clock_to(start + 20 * 3_600_000).await;

    let (acknowledged, sent, refused) = screen.during(fill(&web, start)).await;
    assert!([503, 504].contains(&refused.status) && acknowledged > 0, "{refused:?}");
    refused.problem();
    let unready = || async { web.get("/readyz").await.status == 503 };
    eventually("the node says that it isn't ready", unready).await;
    let reason = web.get("/readyz").await.problem()["detail"].as_str().unwrap().to_owned();
    assert!(reason.contains("disk") || reason.contains("full") || reason.contains("database"), "{reason}");
    assert_eq!(web.get("/healthz").await.status, 200);
    let reason = json!({"reason": "full"});
    let asking = async {
        tokio::join!(web.post("/v1/orders/a/cancel", Some("k"), &reason), web.get("/v1/orders/a"), web.get("/v1/cell"))
    };
    let (cancel, order, cell) = screen.during(asking).await;
    assert_eq!(cancel.status, 503, "a node that doesn't serve takes no commands: {cancel:?}");
    for answer in [cancel, order, cell] {
        answer.problem();
        assert!([503, 504].contains(&answer.status), "{answer:?}");
    }
    // Nobody was told of anything that isn't stored.
    screen.until("the order is unconfirmed", |s| s.orders["a"].unconfirmed).await;
    program.kill().await;
    let stored = count(&data, "SELECT count(*) FROM order_tracking WHERE order_id = 'a' AND kind = 'fix'");
    assert_eq!(stored, acknowledged);
    let version = count(&data, "SELECT version FROM orders WHERE id = 'a'");
    assert_eq!(u64::try_from(version).unwrap(), screen.orders["a"].version);

    // With room again, the log gives what the store couldn't take: also what had no answer.
    let program = Program::start(&data, &url, "").await;
    let web = program.web.clone();
    let sql = "SELECT count(*) FROM order_tracking WHERE order_id = 'a' AND kind = 'fix'";
    eventually("the log is applied", || async { count(&data, sql) == sent }).await;
    // The command that was refused while nothing was served didn't get into the log.
    assert_eq!(web.state("a", "operations").await["status"], 3);
    let again = web.post("/v1/orders/a/cancel", Some("k"), &json!({"reason": "full"})).await;
    assert_eq!(again.ok()["status"], 5);
    let mut screen = Screen::open(&web, "operations").await;
    screen.follow("a").await;
    assert_eq!(screen.orders["a"].state, web.state("a", "operations").await);
    program.kill().await;
}
