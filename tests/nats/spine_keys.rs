//! A command that is sent again, however much later and whatever happened in between, has the effect and the answer of
//! once.

use crate::{
    harness::Server,
    node::{Answer, Node, Party, create_body, facts, settings},
};
use bytes::Bytes;
use serde_json::{Value, json};

/// Five commands over HTTP as a shop may repeat them: four that took effect, and one that was refused.
async fn over_http(node: &Node) -> Vec<Answer> {
    let web = &node.web;
    let (create, empty) = (create_body("h"), json!({}));
    vec![
        web.post("/v1/orders", Some("c"), &create).await,
        web.post("/v1/orders/h/pay?role=system", Some("k"), &empty).await,
        web.post("/v1/orders/h/assign", Some("k"), &json!({"rider": "r1"})).await,
        web.post("/v1/orders/h/assign", Some("k2"), &json!({"rider": "r2", "if_rev": 1})).await,
        web.post("/v1/warehouses/w1/orders/h/stages/packed", Some("k"), &empty).await,
    ]
}

async fn over_nats(shop: &Party) -> Vec<Bytes> {
    vec![
        shop.ask("order.default.n.create", Some("c"), facts().to_string()).await,
        shop.ask("order.default.n.pay", Some("k"), "").await,
        shop.ask("order.default.n.pay", Some("k2"), "{}").await,
        shop.ask("order.default.n.assign", Some("k"), r#"{"rider":"r1"}"#).await,
        shop.ask("warehouse.default.w1.n.packed", Some("k"), "").await,
    ]
}

/// What must not grow when something is repeated.
async fn effects(node: &Node, shop: &Party) -> Value {
    let tasks = shop.js.get_stream("TASK_default").await.unwrap().cached_info().state.messages;
    let (h, n) = (node.web.get("/v1/orders/h").await.ok(), node.web.get("/v1/orders/n").await.ok());
    let strip = |mut snapshot: Value| {
        // A restart counts the owner on, and nothing else.
        snapshot.as_object_mut().unwrap().remove("epoch");
        snapshot
    };
    json!({"tasks": tasks, "h": strip(h), "n": strip(n), "tracks": [node.web.track("h").await, node.web.track("n").await]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_command_again_has_one_effect_and_the_same_answer() {
    let server = Server::start().await;
    let settings = settings(server.dir.path(), &server.ready.url());
    let node = Node::start(settings.clone()).await;
    let shop = Party::new(&server, Some("system.shop")).await;
    // Five minutes without a fix are an alert by default, and a change of the order.
    let operator = Party::new(&server, Some("operations.alice")).await;
    let rules = json!({"signal_lost": {"after_ms": 3_600_000}});
    assert!(operator.outcome("control.default.rules", None, &rules).await["accepted"].is_object());
    let (http, nats) = (over_http(&node).await, over_nats(&shop).await);
    assert_eq!(http.iter().map(|a| a.status).collect::<Vec<_>>(), [201, 200, 200, 409, 200], "{http:?}");
    let nats_text: Vec<_> = nats.iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect();
    let refused: Vec<_> = nats_text.iter().map(|text| text.contains("refused")).collect();
    assert_eq!(refused, [false, false, true, false, false], "{nats_text:?}");
    let tasks = async |shop: &Party| shop.js.get_stream("TASK_default").await.unwrap().cached_info().state.messages;
    // Tasks go through the outbox; both are there in a moment.
    for _ in 0..500 {
        if tasks(&shop).await == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let once = effects(&node, &shop).await;
    assert_eq!(once["tasks"], 2);

    assert_eq!((&over_http(&node).await[..4], &over_nats(&shop).await[..4]), (&http[..4], &nats[..4]), "at once");
    assert_eq!(effects(&node, &shop).await, once);

    shop.clock_to(node.web.cell_time().await + 5 * 60_000).await;
    assert_eq!(
        (&over_http(&node).await[..4], &over_nats(&shop).await[..4]),
        (&http[..4], &nats[..4]),
        "5 minutes later"
    );
    assert_eq!(effects(&node, &shop).await, once);

    node.stop().await;
    let node = Node::start(settings).await;
    assert_eq!(
        (&over_http(&node).await[..4], &over_nats(&shop).await[..4]),
        (&http[..4], &nats[..4]),
        "after a restart"
    );
    assert_eq!(effects(&node, &shop).await, once);

    // After the end, with other answers for new keys.
    let delivered = json!({"order": "h", "at_ms": node.web.cell_time().await});
    let first = node.web.post("/v1/riders/r1/delivered", None, &delivered).await;
    first.ok();
    assert_eq!(node.web.post("/v1/riders/r1/delivered", None, &delivered).await, first);
    let cancel = node.web.post("/v1/orders/n/cancel", Some("k"), &json!({"reason": "flooded"})).await;
    cancel.ok();
    let ended = effects(&node, &shop).await;
    assert_eq!((&over_http(&node).await[..4], &over_nats(&shop).await[..4]), (&http[..4], &nats[..4]), "after the end");
    assert_eq!(effects(&node, &shop).await, ended);
    assert_eq!((&ended["h"]["state"]["status"], &ended["n"]["state"]["status"]), (&json!(4), &json!(5)));
    let other = node.web.post("/v1/orders/h/pay?role=system", Some("other"), &json!({})).await;
    assert_eq!((other.status, &other.problem()["type"]), (409, &json!("transition")));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_the_publishers_own_and_the_verbs_and_the_orders() {
    let server = Server::start().await;
    let node = Node::start(settings(server.dir.path(), &server.ready.url())).await;
    let shop = Party::new(&server, Some("system.shop")).await;
    let other = Party::new(&server, Some("system.other")).await;
    for order in ["a", "b"] {
        let subject = format!("order.default.{order}.create");
        assert!(shop.outcome(&subject, Some("k"), &facts()).await["accepted"].is_object());
    }
    // The same key for another order and another verb is another key.
    assert_eq!(shop.outcome("order.default.a.pay", Some("k"), &json!({})).await["accepted"]["status"], 2);
    assert_eq!(shop.outcome("order.default.b.pay", Some("k"), &json!({})).await["accepted"]["status"], 2);
    // Of another publisher too: this one is a second payment, and is told so, again and again.
    let refused = other.ask("order.default.a.pay", Some("k"), "").await;
    assert!(String::from_utf8_lossy(&refused).contains("transition"), "{refused:?}");
    assert_eq!(other.ask("order.default.a.pay", Some("k"), "").await, refused);
    let web = node.web.post("/v1/orders/a/pay", Some("k"), &json!({})).await;
    assert_eq!(web.problem()["type"], "transition");
    // Many at once: one takes effect, all hear the same.
    node.web.create("c").await.ok();
    let empty = json!({});
    let pay = |_| node.web.post("/v1/orders/c/pay", Some("k"), &empty);
    let answers = futures::future::join_all((0..20).map(pay)).await;
    assert!(answers.iter().all(|a| *a == answers[0] && a.status == 200), "{answers:?}");
    assert_eq!(node.web.version("c").await, 2);
    node.stop().await;
}
