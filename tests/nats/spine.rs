//! From a rider's fix to the customer's screen: two orders on one rider, a reassignment, and every role's view at once.

use crate::{
    harness::Server,
    node::{Node, Party, count, fix_body, settings},
    screen::Screen,
};
use serde_json::{Value, json};

/// The history's fixes: who sent them, and when by the device's clock.
async fn fixes(node: &Node, order: &str) -> Vec<(String, i64)> {
    let rows = node.web.track(order).await;
    let fixes = rows.iter().filter(|row| row["kind"] == "fix");
    fixes
        .map(|row| (row["operator_id"].as_str().unwrap().to_owned(), row["device_time_ms"].as_i64().unwrap()))
        .collect()
}

fn place(n: u32) -> (f64, f64) {
    (f64::from(31_200 + n) / 1_000.0, 121.4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_fix_moves_every_order_of_its_rider_once() {
    let server = Server::start().await;
    let node = Node::start(settings(server.dir.path(), &server.ready.url())).await;
    let phone = Party::new(&server, Some("rider.r1")).await;
    for order in ["a", "b"] {
        node.web.delivering(order, "r1").await;
    }
    node.web.delivering("other", "r2").await;
    let mut screen = Screen::open(&node.web, "operations").await;
    for order in ["a", "b", "other"] {
        screen.follow(order).await;
    }
    let start = node.web.cell_time().await;

    let tally = node.web.fix("r1", place(1), start + 10_000).await.ok();
    let counts = tally.as_object().unwrap();
    assert!(counts["good"] == 1 && counts.values().filter(|n| **n != 0).count() == 1, "{tally}");
    let outcome = phone.outcome("rider.default.r1.fix", None, &fix_body(place(2), start + 20_000)).await;
    assert_eq!(outcome["fixes"]["good"], 1, "{outcome}");
    // The same two again, each the other way round: nothing is counted twice.
    assert_eq!(node.web.fix("r1", place(2), start + 20_000).await.ok()["duplicate"], 1);
    let again = phone.outcome("rider.default.r1.fix", None, &fix_body(place(1), start + 10_000)).await;
    assert_eq!(again["fixes"]["duplicate"], 1, "{again}");

    for order in ["a", "b"] {
        let version = node.web.version(order).await;
        screen.reaches(order, version).await;
        let (seen, state) = (&screen.orders[order], node.web.state(order, "operations").await);
        assert_eq!(state["position"]["lat"], place(2).0);
        assert_eq!((&seen.state, seen.version, seen.gaps), (&state, version, 0));
        let moves: Vec<_> =
            seen.deltas.iter().map(|(from, to, patch)| (to - from, &patch["position"]["lat"])).collect();
        assert_eq!(moves, [(1, &json!(place(1).0)), (1, &json!(place(2).0))], "one delta a fix");
        assert_eq!(fixes(&node, order).await, [("r1".into(), start + 10_000), ("r1".into(), start + 20_000)]);
    }
    assert!(fixes(&node, "other").await.is_empty() && screen.orders["other"].deltas.is_empty());
    let rows = count(server.dir.path(), "SELECT count(*) FROM order_tracking WHERE longitude IS NOT NULL");
    assert!(rows >= 4, "{rows}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reassignment_moves_the_feed_and_late_fixes_find_their_place() {
    let server = Server::start().await;
    let node = Node::start(settings(server.dir.path(), &server.ready.url())).await;
    let control = Party::new(&server, Some("operations.test")).await;
    node.web.delivering("a", "r1").await;
    let mut screen = Screen::open(&node.web, "operations").await;
    screen.follow("a").await;
    let start = node.web.cell_time().await;
    node.web.fix("r1", place(1), start + 10_000).await.ok();
    control.clock_to(start + 60_000).await;
    node.web.post("/v1/orders/a/assign", Some("again"), &json!({"rider": "r2"})).await.ok();
    let moved = node.web.cell_time().await;
    assert!(moved >= start + 60_000);
    control.clock_to(start + 180_000).await;
    node.web.fix("r2", place(5), start + 120_000).await.ok();
    let now = node.web.state("a", "operations").await;
    assert_eq!((&now["rider"]["id"], &now["position"]["lat"]), (&json!("r2"), &json!(place(5).0)));

    // Late ones of the first rider, over both ways: taken before the reassignment, they belong to the order.
    let batch = json!({"fixes": [fix_body(place(2), start + 20_000), fix_body(place(3), start + 30_000)]});
    let tally = node.web.post("/v1/riders/r1/fixes", None, &batch).await.ok();
    assert_eq!(tally["good"], 2, "{tally}");
    let phone = Party::new(&server, Some("rider.r1")).await;
    let outcome = phone.outcome("rider.default.r1.fix", None, &fix_body(place(4), start + 40_000)).await;
    assert_eq!(outcome["fixes"]["good"], 1, "{outcome}");
    // Taken after it, they don't.
    let tally = node.web.fix("r1", place(6), start + 130_000).await.ok();
    assert_eq!(tally["duplicate"], 0, "{tally}");
    node.web.fix("r2", place(7), start + 140_000).await.ok();

    let mut found = fixes(&node, "a").await;
    found.sort_by_key(|(_, time)| *time);
    let expected: Vec<_> = [("r1", 10), ("r1", 20), ("r1", 30), ("r1", 40), ("r2", 120), ("r2", 140)]
        .map(|(rider, s)| (rider.to_owned(), start + s * 1_000))
        .to_vec();
    assert_eq!(found, expected);
    // The late ones moved nothing on the map.
    screen.reaches("a", node.web.version("a").await).await;
    let seen = &screen.orders["a"];
    let lats: Vec<_> = seen.deltas.iter().map(|(_, _, patch)| patch["position"]["lat"].clone()).collect();
    for late in [2, 3, 4, 6] {
        assert!(!lats.contains(&json!(place(late).0)), "{lats:?}");
    }
    assert_eq!(seen.state, node.web.state("a", "operations").await);
    assert_eq!((seen.gaps, &seen.state["position"]["lat"]), (0, &json!(place(7).0)));
    // The first rider's own position did go on.
    assert_eq!(node.web.get("/v1/riders/r1").await.ok()["position"]["lat"], json!(place(6).0));
    node.stop().await;
}

/// Fields that a role may see at some time, written out independently of the product's table.
const HIDDEN: [(&str, &[&str]); 4] = [
    ("customer", &["rev", "user_id"]),
    (
        "shared",
        &[
            "rev",
            "user_id",
            "destination",
            "amount_minor",
            "currency",
            "extra",
            "paid_at_ms",
            "contact",
            "address",
            "notes",
            "route",
        ],
    ),
    ("rider", &["user_id", "amount_minor", "currency", "extra", "paid_at_ms"]),
    (
        "warehouse",
        &["user_id", "destination", "amount_minor", "currency", "position", "route", "contact", "address", "notes"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_sees_its_part_of_one_state() {
    let server = Server::start().await;
    let node = Node::start(settings(server.dir.path(), &server.ready.url())).await;
    let mut body = crate::node::create_body("a");
    body["contact"] = json!({"name": "Chen", "phone": "13812345678"});
    body["address"] = "7 Renmin Road".into();
    body["extra"] = json!({"bags": 2});
    body["notes"] = "Renmin gate".into();
    body["route"] = json!({"type": "LineString", "coordinates": [[121.4, 31.2], [121.45, 31.21]]});
    node.web.post("/v1/orders", Some("k"), &body).await.ok();
    let mut screens = Vec::new();
    for role in ["operations", "customer", "shared", "rider", "warehouse"] {
        let mut screen = Screen::open(&node.web, role).await;
        screen.follow("a").await;
        screens.push((role, screen));
    }
    node.web.command("a", "pay", &json!({})).await.ok();
    for stage in ["picking", "packed"] {
        node.web.stage("a", stage).await.ok();
    }
    node.web.command("a", "assign", &json!({"rider": "r1"})).await.ok();
    let start = node.web.cell_time().await;
    for n in 1..=4 {
        node.web.fix("r1", place(n), start + i64::from(n) * 10_000).await.ok();
    }
    node.web.post("/v1/riders/r1/delivered", None, &json!({"order": "a"})).await.ok();

    let whole = node.web.state("a", "operations").await;
    for (role, screen) in &mut screens {
        // Every view shows the completion, which is the last change.
        screen.until("the delivery", |s| s.orders["a"].state["status"] == 4).await;
        let seen = &screen.orders["a"];
        assert_eq!(seen.state, node.web.state("a", role).await, "{role}");
        assert_eq!(seen.gaps, 0, "{role}");
        let chain = seen.deltas.windows(2).all(|pair| pair[0].1 == pair[1].0);
        assert!(chain && seen.snapshots == 1, "{role}: {:?}", seen.deltas);
        for (name, value) in seen.state.as_object().unwrap() {
            if name == "contact" && *role == "customer" {
                assert_eq!(value["phone"], "*******5678");
            } else if !["contact", "address", "notes"].contains(&name.as_str()) {
                assert_eq!(value, &whole[name], "{role} agrees on {name}");
            }
        }
    }
    let lats = |n: usize| screens[n].1.orders["a"].deltas.iter().filter(|d| d.2["position"]["lat"].is_number()).count();
    assert_eq!((lats(0), lats(1), lats(2), lats(3), lats(4)), (4, 4, 4, 4, 0));
    for (role, hidden) in HIDDEN {
        let texts = &screens.iter().find(|(r, _)| *r == role).unwrap().1.texts;
        for field in hidden {
            assert!(!texts.iter().any(|t| t.contains(&format!("\"{field}\":"))), "{role} sees {field}");
        }
        let bytes = texts.concat();
        assert!(!bytes.contains("13812345678") || role == "rider", "{role}");
        assert!(!bytes.contains("Renmin") || ["customer", "rider"].contains(&role), "{role}");
    }
    // Nothing live is left after completion.
    let customer: &Value = &screens[1].1.orders["a"].state;
    assert!(customer.get("position").is_none() && customer.get("stops_ahead").is_none(), "{customer}");
    node.stop().await;
}
