//! An order that isn't paid ends by its timer: once, whatever was down when it was due.

use crate::{
    harness::Server,
    node::{Node, Party, eventually, settings},
    screen::Screen,
};
use serde_json::json;

async fn fired(control: &Party) -> Vec<String> {
    let log = control.js.get_stream("CELL_default").await.unwrap();
    let last = log.cached_info().state.last_sequence;
    let mut subjects = Vec::new();
    for seq in 1..=last {
        let subject = log.get_raw_message(seq).await.unwrap().subject.to_string();
        if subject.starts_with("timer.") {
            subjects.push(subject);
        }
    }
    subjects
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpaid_order_expires_and_a_paid_one_does_not() {
    let server = Server::start().await;
    let node = Node::start(settings(server.dir.path(), &server.ready.url())).await;
    let web = &node.web;
    let control = Party::new(&server, Some("operations.test")).await;
    let rules = control.outcome("control.default.rules", None, &json!({"unpaid_ms": 1_500})).await;
    assert!(rules["accepted"].is_object(), "{rules}");
    web.create("paid").await.ok();
    web.command("paid", "pay", &json!({})).await.ok();
    let created = web.create("unpaid").await;
    created.ok();
    let mut screen = Screen::open(web, "customer").await;
    screen.follow("unpaid").await;
    screen.until("the expiry", |s| s.orders["unpaid"].state["status"] == 5).await;
    let state = web.state("unpaid", "customer").await;
    assert_eq!(screen.orders["unpaid"].state, state);
    let waited = state["cancelled_at_ms"].as_i64().unwrap() - state["created_at_ms"].as_i64().unwrap();
    assert!((1_500..10_000).contains(&waited), "{waited}");
    assert_eq!(web.track("unpaid").await.last().unwrap()["operator_type"], 4);
    assert_eq!(web.state("paid", "customer").await["status"], 2);
    // Paying comes too late, and the create's answer is still the create's.
    let late = web.command("unpaid", "pay", &json!({})).await;
    assert_eq!((late.status, &late.problem()["order_status"]), (409, &json!(5)));
    assert_eq!(web.create("unpaid").await, created);
    assert_eq!(fired(&control).await, ["timer.default.unpaid.unpaid.1"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_due_while_the_server_was_down_fires_once_afterwards() {
    let server = Server::start().await;
    let settings = settings(server.dir.path(), &server.ready.url());
    let node = Node::start(settings.clone()).await;
    let control = Party::new(&server, Some("operations.test")).await;
    for order in ["a", "b"] {
        node.web.create(order).await.ok();
    }
    let created = node.web.cell_time().await;
    node.stop().await;
    // Half an hour passes while nobody owns the cell.
    let payload = json!({"scale": 1, "cell_time_ms": created + 31 * 60_000}).to_string();
    control.say("control.default.clock", None, payload).await;
    // One is paid in time to be seen, but by the cell clock too late: the firing is only a message behind it.
    control.say("order.default.b.pay", Some("late"), "").await;

    let node = Node::start(settings.clone()).await;
    let web = node.web.clone();
    let expired = || async { web.get("/v1/orders/a").await.json()["state"]["status"] == 5 };
    eventually("the order expires", expired).await;
    let (version, rows) = (node.web.version("a").await, node.web.track("a").await.len());
    assert_eq!((version, rows), (2, 2));
    assert_eq!(node.web.state("b", "operations").await["status"], 2);
    assert_eq!(fired(&control).await, ["timer.default.a.unpaid.1"]);
    // Not again by another start, nor by somebody who says it again.
    node.stop().await;
    let node = Node::start(settings).await;
    control.ask("timer.default.a.unpaid.2", None, "").await;
    assert_eq!((node.web.version("a").await, node.web.track("a").await.len()), (version, rows));
    assert_eq!(fired(&control).await, ["timer.default.a.unpaid.1", "timer.default.a.unpaid.2"]);
    node.stop().await;
}
