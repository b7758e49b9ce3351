//! What lies where, over HTTP from a real cell: the nearest riders, riders in a box and a fence, active orders in a box.

use crate::{
    harness::Server,
    node::{Node, Web, eventually, settings},
};
use serde_json::{Value, json};

/// The ids of a page, and where the next begins.
fn ids(page: &Value, list: &str, id: &str) -> Vec<String> {
    let items = page[list].as_array().unwrap();
    items.iter().map(|item| item.pointer(id).unwrap().as_str().unwrap().to_owned()).collect()
}

/// Every page of a list of one at a time.
async fn paged(web: &Web, path: &str, list: &str, id: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = web.get(&format!("{path}&limit=1{cursor}")).await.ok();
        assert!(page[list].as_array().unwrap().len() <= 1);
        all.extend(ids(&page, list, id));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn riders_and_active_orders_are_found_by_place() {
    let server = Server::start().await;
    let node = Node::start(settings(&server.dir.path().join("data"), &server.ready.url())).await;
    let web = &node.web;
    for (rider, lat) in [("r1", 31.201), ("r2", 31.203), ("r3", 31.4)] {
        web.post(&format!("/v1/riders/{rider}/shift"), None, &json!({"on": rider != "r2"})).await.ok();
        web.fix(rider, (lat, 121.4), web.cell_time().await).await.ok();
    }
    let near = |query: &str| format!("/v1/riders/nearest?lat=31.2&lon=121.4&{query}");
    eventually("the riders' places", || async {
        ids(&web.get(&near("k=5")).await.ok(), "riders", "/rider") == ["r1", "r2", "r3"]
    })
    .await;
    let nearest = web.get(&near("k=1")).await.ok();
    let distance = nearest["riders"][0]["distance_m"].as_f64().unwrap();
    assert!((distance - 111.2).abs() < 1.0, "a thousandth of a degree: {distance}");
    assert_eq!(ids(&web.get(&near("max_distance_m=1000")).await.ok(), "riders", "/rider"), ["r1", "r2"]);
    assert_eq!(ids(&web.get(&near("free=true")).await.ok(), "riders", "/rider"), ["r1", "r3"], "r2 is off shift");
    assert_eq!(web.get(&near("k=101")).await.problem()["field"], "k");

    let city = "/v1/riders?box=121.3,31.1,121.5,31.3";
    assert_eq!(paged(web, city, "riders", "/rider").await, ["r1", "r2"]);
    assert_eq!(paged(web, "/v1/riders?box=121.3,31.1,121.5,31.5", "riders", "/rider").await, ["r1", "r2", "r3"]);
    // A triangle whose box holds r2 as well: (31.20, 121.39), (31.20, 121.41), (31.202, 121.40).
    let fence = polyline(&[(3_120_000, 12_139_000), (3_120_000, 12_141_000), (3_120_200, 12_140_000)]);
    let found = web.get(&format!("/v1/riders?fence={fence}")).await.ok();
    assert_eq!(ids(&found, "riders", "/rider"), ["r1"]);
    // What a client whose map is in GCJ-02 asks about lies elsewhere in WGS-84, and is answered in GCJ-02.
    let shifted = web.get(&format!("{}&datum=gcj02", near("k=1"))).await.ok();
    let lat = shifted["riders"][0]["position"]["lat"].as_f64().unwrap();
    assert!((lat - 31.201).abs() > 1e-4, "{lat}");

    // Destinations are at 31.21, 121.45; o2's rider is far from it, and o3 is over.
    for order in ["o1", "o3"] {
        web.create(order).await.ok();
    }
    web.delivering("o2", "r3").await;
    web.command("o3", "cancel", &json!({"reason": "x"})).await.ok();
    web.fix("r3", (31.4, 121.4), web.cell_time().await).await.ok();
    let orders = |query: &str| format!("/v1/orders?{query}");
    let door = orders("box=121.449,31.209,121.451,31.211");
    eventually("the orders' places", || async { paged(web, &door, "orders", "/state/id").await == ["o2", "o1"] }).await;
    eventually("o2's position", || async {
        paged(web, &orders("box=121.39,31.39,121.41,31.41"), "orders", "/state/id").await == ["o2"]
    })
    .await;
    assert_eq!(paged(web, &format!("{door}&status=1"), "orders", "/state/id").await, ["o1"]);
    assert_eq!(paged(web, &format!("{door}&rider=r3&user=u1"), "orders", "/state/id").await, ["o2"]);
    // The same filters on what the store has; final orders too.
    assert_eq!(paged(web, &orders("status=5,1"), "orders", "/state/id").await, ["o3", "o1"]);
    assert_eq!(paged(web, &orders("user=nobody"), "orders", "/state/id").await, [""; 0]);
    let since = web.get("/v1/orders/o3").await.ok()["at_ms"].as_i64().unwrap();
    let changed = paged(web, &orders(&format!("updated_from_ms={since}&status=5")), "orders", "/state/id").await;
    assert_eq!(changed, ["o3"]);
    assert_eq!(web.get("/v1/orders/o2/track?limit=2").await.ok()["rows"].as_array().unwrap().len(), 2);

    // A delivered order is in no box any more; its page in the list is.
    web.command("o2", "deliver", &json!({})).await.ok();
    eventually("o2's end", || async { paged(web, &door, "orders", "/state/id").await == ["o1"] }).await;
    node.stop().await;
}

/// Google's encoded polyline of precision 5, percent-encoded, of points in units of 1e-5 degree.
fn polyline(points: &[(i64, i64)]) -> String {
    let (mut text, mut last) = (String::new(), (0i64, 0i64));
    for (lat, lon) in points {
        for delta in [lat - last.0, lon - last.1] {
            let mut value = if delta < 0 { !(delta << 1) } else { delta << 1 };
            while value >= 0x20 {
                text.push(char::from(u8::try_from((0x20 | (value & 0x1f)) + 63).unwrap()));
                value >>= 5;
            }
            text.push(char::from(u8::try_from(value + 63).unwrap()));
        }
        last = (*lat, *lon);
    }
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}
