//! Active orders and those that ended within the last hour are served from memory, older ones from the store.

use crate::{
    harness::Server,
    node::{Node, Party, database, settings},
    screen::Screen,
};
use serde_json::json;
use std::path::Path;

/// Swaps the stored state of an order, and gives the one that was there.
fn swap(data: &Path, order: &str, state: &[u8]) -> Vec<u8> {
    let connection = rusqlite::Connection::open(database(data)).unwrap();
    let was = connection.query_row("SELECT state FROM orders WHERE id = ?1", [order], |row| row.get(0)).unwrap();
    assert_eq!(connection.execute("UPDATE orders SET state = ?2 WHERE id = ?1", (order, state)).unwrap(), 1);
    was
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_serves_the_present_and_the_store_the_past() {
    let server = Server::start().await;
    let settings = settings(server.dir.path(), &server.ready.url());
    let (data, control) = (server.dir.path(), Party::new(&server, Some("operations.test")).await);
    let node = Node::start(settings.clone()).await;
    for order in ["active", "ended"] {
        node.web.delivering(order, "r1").await;
    }
    node.web.post("/v1/riders/r1/delivered", None, &json!({"order": "ended"})).await.ok();
    let get = async |node: &Node, order: &str| node.web.get(&format!("/v1/orders/{order}")).await;
    // Whether the stored state matters for an answer.
    let from_memory = async |node: &Node, order: &str| {
        let before = get(node, order).await;
        before.ok();
        let was = swap(data, order, b"");
        let after = get(node, order).await;
        swap(data, order, &was);
        assert_eq!(get(node, order).await, before);
        assert!(after == before || after.status == 503, "{after:?}");
        after == before
    };
    assert!(from_memory(&node, "active").await && from_memory(&node, "ended").await);
    node.stop().await;
    let node = Node::start(settings.clone()).await;
    let track = node.web.track("ended").await;
    // The memory is filled while the node already serves.
    crate::node::eventually("both are in memory", || async {
        from_memory(&node, "active").await && from_memory(&node, "ended").await
    })
    .await;
    control.clock_to(node.web.cell_time().await + 61 * 60_000).await;
    node.stop().await;

    let node = Node::start(settings).await;
    crate::node::eventually("the active one is in memory", || from_memory(&node, "active")).await;
    assert!(!from_memory(&node, "ended").await);
    // Who follows it sees it whole, and isn't told that its owner is silent.
    let mut screen = Screen::open(&node.web, "customer").await;
    for order in ["active", "ended"] {
        screen.follow(order).await;
    }
    screen.until("some heartbeats", |s| s.beats >= 5).await;
    for order in ["active", "ended"] {
        let seen = &screen.orders[order];
        assert_eq!(seen.state, node.web.state(order, "customer").await);
        assert_eq!((seen.beat, seen.unconfirmed), (Some(seen.version), false), "{order}");
    }
    assert_eq!(node.web.track("ended").await, track);
    node.stop().await;
}
