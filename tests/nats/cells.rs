//! Two cells with an owner each, and bridges that serve the orders of both.

use crate::{
    harness::Server,
    node::{Node, settings},
    screen::Screen,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_serves_orders_of_every_cell() {
    let server = Server::start().await;
    let node = |cell: &str, roles: &str| {
        let mut settings = settings(&server.dir.path().join(cell), &server.ready.url());
        settings.cell = cell.into();
        settings.roles = roles.split(',').map(str::to_owned).collect();
        Node::start(settings)
    };
    let (west, east) = (Box::pin(node("west", "tracker,bridge")).await, Box::pin(node("east", "tracker,bridge")).await);
    let bridge = Box::pin(node("west", "bridge")).await;
    for node in [&west, &east, &bridge] {
        node.web.ready().await;
    }
    west.web.create("w").await.ok();
    east.web.create("e").await.ok();
    // Commands and reads find the cell that has the order, whichever node hears of them.
    for web in [&bridge.web, &west.web] {
        assert_eq!(web.state("e", "operations").await["cell"], "east");
    }
    let mut screen = Screen::open(&bridge.web, "operations").await;
    screen.follow("w").await;
    screen.follow("e").await;
    let paid = bridge.web.command("e", "pay", &json!({})).await.ok();
    bridge.web.command("w", "pay", &json!({})).await.ok();
    screen.reaches("e", paid["version"].as_u64().unwrap()).await;
    screen.reaches("w", 2).await;
    for (order, cell) in [("e", "east"), ("w", "west")] {
        let state = &screen.orders[order].state;
        assert_eq!((&state["cell"], &state["status"]), (&json!(cell), &json!(2)));
    }
    assert_eq!(bridge.web.track("e").await.len(), east.web.track("e").await.len());
    // An id is one order's, whichever cell is asked for another.
    let again = west.web.create("e").await;
    assert_eq!((again.status, &again.problem()["field"]), (409, &json!("order")));
    bridge.stop().await;
    east.stop().await;
    west.stop().await;
}
