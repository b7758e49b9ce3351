//! Every role at every route, command and topic: allowed or refused as the table of rights says. Each role comes twice,
//! as the one whose order it is and as a stranger.

use crate::{
    access::{HOUR, Socket, gate, options, state, token},
    fake::{Fake, Owned},
    rest::serve,
};
use serde_json::{Value, json};
use trunkline::wire::{
    access::{Reach, Right, Role},
    view::project,
};

/// What whose id a request names.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// An order: a stranger's is answered like one that isn't there.
    Order,
    /// The asker's kind by its own id, in the path: a stranger's is refused.
    Path,
    /// Nothing.
    Nothing,
}

/// Every request that has a right, with a body that would be taken.
fn requests() -> Vec<(&'static str, &'static str, Right, Names, Value)> {
    use Names::{Nothing, Order, Path};
    let create = json!({"user_id": "u", "amount_minor": 1, "currency": "CNY", "items": 1,
        "warehouse": {"id": "w", "name": "W", "lat": 31.0, "lon": 121.0}, "destination": {"lat": 31.0, "lon": 121.0}});
    let fix = json!({"lat": 31.0, "lon": 121.0, "fix_time_ms": 1_700_000_000_000_i64});
    let (none, told) = (Value::Null, json!({"order": "o1"}));
    vec![
        ("POST", "/v1/orders", Right::Create, Nothing, create),
        ("GET", "/v1/orders", Right::ListOrders, Nothing, none.clone()),
        ("GET", "/v1/orders/o1", Right::ReadOrder, Order, none.clone()),
        ("GET", "/v1/orders/o1/events", Right::FollowOrder, Order, none.clone()),
        ("GET", "/v1/orders/o1/updates?wait=0", Right::FollowOrder, Order, none.clone()),
        ("GET", "/v1/orders/o1/track", Right::ReadTrack, Order, none.clone()),
        ("GET", "/v1/orders/o1/route", Right::ReadOrder, Order, none.clone()),
        ("GET", "/v1/orders/o1/track?format=gpx", Right::ReadTrack, Order, none.clone()),
        ("GET", "/v1/passed?box=121,31,121.1,31.1&from_ms=0&to_ms=1", Right::ReadTrack, Nothing, none.clone()),
        ("POST", "/v1/orders/o1/pay", Right::Pay, Order, json!({})),
        ("POST", "/v1/orders/o1/cancel", Right::Cancel, Order, json!({"reason": "x"})),
        ("POST", "/v1/orders/o1/assign", Right::Assign, Order, json!({"rider": "r"})),
        ("POST", "/v1/orders/o1/unassign", Right::Unassign, Order, json!({})),
        ("POST", "/v1/orders/o1/deliver", Right::Deliver, Order, json!({})),
        ("POST", "/v1/orders/o1/fail", Right::Fail, Order, json!({"reason": "x"})),
        ("POST", "/v1/orders/o1/return", Right::Return, Order, json!({"reason": "x"})),
        ("POST", "/v1/orders/o1/missing", Right::Missing, Order, json!({"count": 1, "note": "x"})),
        ("POST", "/v1/orders/o1/edit", Right::Edit, Order, json!({"promise": {"from_ms": 1, "to_ms": 2}})),
        ("POST", "/v1/orders/o1/acknowledge", Right::Acknowledge, Order, json!({"alert": 1})),
        ("GET", "/v1/alerts", Right::ReadAlerts, Nothing, none.clone()),
        ("GET", "/v1/alerts/o1.1", Right::ReadAlerts, Nothing, none.clone()),
        ("POST", "/v1/alerts/o1.1/acknowledge", Right::Acknowledge, Nothing, json!({})),
        ("GET", "/v1/orders/o1/shares", Right::Share, Order, none.clone()),
        ("POST", "/v1/orders/o1/shares", Right::Share, Order, json!({})),
        ("DELETE", "/v1/orders/o1/shares/x", Right::Share, Order, none.clone()),
        ("POST", "/v1/warehouses/w/orders/o1/stages/picking", Right::Stage, Path, json!({})),
        ("POST", "/v1/riders/r/fix", Right::Report, Path, fix.clone()),
        ("POST", "/v1/riders/r/fixes", Right::Report, Path, json!({"fixes": [fix]})),
        ("POST", "/v1/riders/r/shift", Right::Report, Path, json!({"on": true})),
        ("POST", "/v1/riders/r/trip", Right::Report, Path, json!({"stops": ["o1"]})),
        ("POST", "/v1/riders/r/delivered", Right::Report, Path, told),
        ("POST", "/v1/riders/r/failed", Right::Report, Path, json!({"order": "o1", "reason": "x"})),
        ("POST", "/v1/riders/r/returned", Right::Report, Path, json!({"order": "o1", "reason": "x"})),
        ("DELETE", "/v1/orders/o1/personal", Right::Erase, Order, none.clone()),
        ("GET", "/v1/riders?box=121,31,122,32", Right::FindRiders, Nothing, none.clone()),
        ("GET", "/v1/riders/nearest?lat=31&lon=121", Right::FindRiders, Nothing, none.clone()),
        ("GET", "/v1/riders/r", Right::ReadRider, Path, none.clone()),
        ("GET", "/v1/cell", Right::ReadCell, Nothing, none.clone()),
        ("GET", "/v1/figures", Right::ReadFigures, Nothing, none),
    ]
}

/// Who asks: the role's own id, and a stranger's.
fn askers(role: Role) -> [(bool, String); 2] {
    let own = match role {
        Role::Customer => "u",
        Role::Rider => "r",
        Role::Warehouse => "w",
        Role::System | Role::Operations => "x",
        Role::Shared => {
            return ["o1", "o9"].map(|order| (order == "o1", format!("{}-{order}", token("shared", "s", HOUR))));
        }
    };
    [(true, token(role.name(), own, HOUR)), (false, token(role.name(), "stranger", HOUR))]
}

/// The refusal that the table asks for, if any.
fn refusal(right: Right, role: Role, own: bool, names: Names) -> Option<u16> {
    match right.reach(role) {
        Reach::No => Some(403),
        Reach::Own if own || names == Names::Nothing => None,
        Reach::Own if names == Names::Path => Some(403),
        Reach::Own => Some(404),
        Reach::Any => None,
    }
}

#[tokio::test]
async fn every_role_at_every_route() {
    let fake = Fake::default();
    let mut state = state();
    state["route"] = json!({"type": "LineString", "coordinates": [[121.0, 31.0], [121.1, 31.1]]});
    fake.put("o1", Owned::new(state.clone()));
    let rig = fake.bridge_with(options(), gate());
    rig.share("o1", "s").await;
    rig.share("o9", "s").await;
    let address = serve(&rig).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (mut allowed, mut refused) = (0, 0);
    for (method, path, right, names, body) in requests() {
        for role in Role::ALL {
            for (own, token) in askers(role) {
                let request = http.request(method.parse().unwrap(), format!("http://{address}{path}"));
                let request = request.bearer_auth(&token).header("idempotency-key", format!("{role:?}-{own}"));
                let request = request.header("content-type", "application/json");
                let published = fake.published().len();
                let text = if body.is_null() { String::new() } else { body.to_string() };
                let response = request.body(text).send().await.unwrap();
                let (status, case) = (response.status().as_u16(), format!("{method} {path} as {role:?}, own: {own}"));
                // Events don't end.
                let endless = path.ends_with("/events") && status == 200;
                let text = if endless { String::new() } else { response.text().await.unwrap() };
                match refusal(right, role, own, names) {
                    Some(expected) => {
                        assert_eq!(status, expected, "{case}: {text}");
                        assert_eq!(fake.published().len(), published, "{case} was published");
                        refused += 1;
                    }
                    // The link to revoke isn't there, and that is said only to those who may know.
                    None if path.ends_with("/x") => assert!(text.contains("unknown_share"), "{case}: {text}"),
                    // Who may read the order may not read all of it.
                    None if path.ends_with("/route") && project(role.view(), &state, None).get("route").is_none() => {
                        assert!(status == 404 && text.contains("unknown_route"), "{case}: {text}");
                    }
                    // The owner made up here knows no riders, and says so to those who may ask.
                    None if right == Right::ReadRider => assert_eq!(status, 503, "{case}: {text}"),
                    None => {
                        assert!((200..300).contains(&status), "{case}: {status} {text}");
                        allowed += 1;
                    }
                }
            }
        }
        let request = http.request(method.parse().unwrap(), format!("http://{address}{path}"));
        assert_eq!(request.send().await.unwrap().status(), 401, "{method} {path} without a token");
    }
    assert!(allowed > 80 && refused > 150, "{allowed} allowed, {refused} refused");
}

#[tokio::test]
async fn no_route_is_left_out() {
    let rig = Fake::default().bridge_with(options(), gate());
    let url = format!("http://{}/openapi.json", serve(&rig).await);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let document: Value = serde_json::from_str(&http.get(url).send().await.unwrap().text().await.unwrap()).unwrap();
    let asked = requests();
    let mut seen = 0;
    for (template, methods) in document["paths"].as_object().unwrap() {
        let fits = |path: &str| {
            let (path, template) = (path.split('?').next().unwrap().split('/'), template.split('/'));
            path.clone().count() == template.clone().count()
                && path.zip(template).all(|(part, of)| of.starts_with('{') || part == of)
        };
        for (method, operation) in methods.as_object().unwrap() {
            // Without a token: how the node is. With any: the token itself as a cookie or for a ticket.
            if operation["security"] == json!([{}]) || template == "/v1/session" || template == "/v1/tickets" {
                continue;
            }
            let found = asked.iter().any(|(m, path, ..)| m.eq_ignore_ascii_case(method) && fits(path));
            assert!(found, "{method} {template}");
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen}");
}

#[tokio::test]
async fn every_role_at_every_topic() {
    let fake = Fake::default();
    fake.put("o1", Owned::new(state()));
    let rig = fake.bridge_with(options(), gate());
    rig.share("o1", "s").await;
    rig.share("o9", "s").await;
    fake.put_cell(crate::boards::page(1, vec![], vec![]));
    let address = serve(&rig).await;
    for (topic, right, names) in [
        ("order/o1", Right::FollowOrder, Names::Order),
        ("order/o1/whole", Right::FollowOrder, Names::Order),
        ("rider/r", Right::FollowRider, Names::Path),
        ("warehouse/w", Right::FollowWarehouse, Names::Path),
        ("cell", Right::FollowCell, Names::Nothing),
        ("alerts", Right::FollowAlerts, Names::Nothing),
    ] {
        for role in Role::ALL {
            for (own, token) in askers(role) {
                let mut socket = Socket::bearer(&address, &token).await;
                socket.send(json!({"type": "subscribe", "topic": topic})).await;
                let answer = loop {
                    let frame = socket.next().await;
                    match frame["type"].as_str() {
                        Some("subscribed") => break None,
                        // Past the gate: only the rider isn't known here.
                        Some("error") if frame["problem"]["type"] == "unknown_rider" => break None,
                        Some("error") => break frame["problem"]["status"].as_u64(),
                        _ => {}
                    }
                };
                assert_eq!(answer, refusal(right, role, own, names).map(u64::from), "{topic} as {role:?}, own: {own}");
            }
        }
    }
}
