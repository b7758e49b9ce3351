//! One order, five views at once: each is gap-free by itself while the others change in between, and a customer's rider
//! comes into sight with the third stop and is gone with the delivery.

use crate::{
    harness::Server,
    node::{Node, Web, fix_body, settings},
    screen::Screen,
};
use serde_json::{Value, json};

const VIEWS: [&str; 5] = ["customer", "shared", "rider", "warehouse", "operations"];
/// The order that is watched comes last of these.
const STOPS: [&str; 5] = ["s1", "s2", "s3", "s4", "mine"];

async fn trip(web: &Web, stops: &[&str]) {
    web.post("/v1/riders/r1/trip", None, &json!({"stops": stops})).await.ok();
}

/// A rider on the way north. The phone's clock is a little ahead, so that the test needn't wait between two fixes.
struct Ride {
    time_ms: i64,
    lat: f64,
}

impl Ride {
    /// A fix that moves the marker: some hundred metres and five seconds on from the one before.
    async fn on(&mut self, web: &Web) {
        self.time_ms += 5_000;
        self.lat += 0.001;
        let tally = web.fix("r1", (self.lat, 121.4), self.time_ms).await.ok();
        assert_eq!(tally["good"], 1, "{tally}");
    }
}

impl Ride {
    /// A fix that tells of a phone about to go out, and operations that take note: a version which shows most others nothing.
    async fn goes_out(&mut self, web: &Web) {
        self.time_ms += 5_000;
        let mut fix = fix_body((self.lat, 121.4), self.time_ms);
        fix["battery_pct"] = json!(5);
        web.post("/v1/riders/r1/fix", None, &fix).await.ok();
        let state = web.state("mine", "operations").await;
        let alerts = state["alerts"].as_object().unwrap();
        let (n, _) = alerts.iter().find(|(_, alert)| alert["kind"] == "low_battery").unwrap();
        web.command("mine", "acknowledge", &json!({"alert": n.parse::<u32>().unwrap()})).await.ok();
    }
}

/// What the views have of the order when all have read up to where operations are.
async fn caught_up(web: &Web, screens: &mut [(&'static str, Screen)]) -> Vec<(&'static str, Value)> {
    let version = web.version("mine").await;
    let mut seen = Vec::new();
    for (view, screen) in screens {
        // What a view doesn't show moves nothing in it: it is there when its state is the one that REST shows.
        let due = web.state("mine", view).await;
        screen
            .until("the state that REST shows", |s| {
                let order = &s.orders["mine"];
                order.state == due && order.version <= version
            })
            .await;
        seen.push((*view, due));
    }
    seen
}

fn position<'a>(seen: &'a [(&'static str, Value)], of: &str) -> &'a Value {
    let (_, state) = seen.iter().find(|(view, _)| *view == of).unwrap();
    &state["position"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_view_is_gap_free_and_the_rider_comes_into_sight_with_the_third_stop() {
    let server = Server::start().await;
    let node = Node::start(settings(&server.dir.path().join("data"), &server.ready.url())).await;
    let web = &node.web;
    web.ready().await;
    web.create("mine").await.ok();
    let mut screens = Vec::new();
    for view in VIEWS {
        let mut screen = Screen::open(web, view).await;
        screen.follow("mine").await;
        screens.push((view, screen));
    }
    web.command("mine", "pay", &json!({})).await.ok();
    for stage in ["received", "picking", "packed"] {
        web.stage("mine", stage).await.ok();
    }
    for stop in &STOPS[..4] {
        web.delivering(stop, "r1").await;
    }
    web.command("mine", "assign", &json!({"rider": "r1"})).await.ok();
    trip(web, &STOPS).await;
    let mut ride = Ride { time_ms: web.cell_time().await, lat: 31.2 };
    for _ in 0..3 {
        ride.on(web).await;
    }

    ride.goes_out(web).await;

    // Four stops lie before it.
    let seen = caught_up(web, &mut screens).await;
    assert!(position(&seen, "rider").is_object() && position(&seen, "operations").is_object(), "{seen:?}");
    for view in ["customer", "shared", "warehouse"] {
        assert!(position(&seen, view).is_null(), "{view}: {seen:?}");
    }
    // Three.
    web.post("/v1/riders/r1/delivered", None, &json!({"order": "s1"})).await.ok();
    ride.on(web).await;
    let seen = caught_up(web, &mut screens).await;
    assert_eq!(seen[4].1["stops_ahead"], 3);
    assert!(position(&seen, "customer").is_null() && position(&seen, "shared").is_null(), "{seen:?}");
    // Two: it comes into sight with the delivery before it, not with the next fix.
    web.post("/v1/riders/r1/delivered", None, &json!({"order": "s2"})).await.ok();
    let seen = caught_up(web, &mut screens).await;
    for view in ["customer", "shared"] {
        assert_eq!(position(&seen, view), position(&seen, "operations"), "{view}");
    }
    assert!(position(&seen, "warehouse").is_null());
    let shown = seen;
    ride.on(web).await;
    let seen = caught_up(web, &mut screens).await;
    assert_ne!(position(&seen, "customer"), position(&shown, "customer"), "it moves");
    // Sent to the end of the trip, it goes out of sight again.
    trip(web, &["s3", "s4", "mine"]).await;
    web.delivering("s5", "r1").await;
    trip(web, &["s3", "s4", "s5", "mine"]).await;
    let seen = caught_up(web, &mut screens).await;
    assert!(position(&seen, "customer").is_null(), "{seen:?}");
    trip(web, &["mine", "s3", "s4", "s5"]).await;
    for _ in 0..3 {
        ride.on(web).await;
    }
    let seen = caught_up(web, &mut screens).await;
    assert_eq!(position(&seen, "shared"), position(&seen, "operations"));

    // Delivered, and the rider rides on with the others.
    web.post("/v1/riders/r1/delivered", None, &json!({"order": "mine", "proof": {"code": "4711"}})).await.ok();
    ride.on(web).await;
    let seen = caught_up(web, &mut screens).await;
    for view in ["customer", "shared", "warehouse"] {
        assert!(position(&seen, view).is_null(), "{view}: {seen:?}");
    }
    for (view, screen) in &screens {
        let order = &screen.orders["mine"];
        assert_eq!((order.gaps, order.snapshots), (0, 1), "{view}");
        assert!(order.deltas.windows(2).all(|pair| pair[0].1 == pair[1].0), "{view}: {:?}", order.deltas);
        assert_eq!(order.state["status"], 4, "{view}");
    }
    let steps = |view: &str| {
        let (_, screen) = screens.iter().find(|(of, _)| *of == view).unwrap();
        screen.orders["mine"].deltas.clone()
    };
    // Operations see every version; the others' deltas reach over those that show them nothing.
    assert!(steps("operations").iter().all(|(from, to, _)| to - from == 1));
    for view in ["customer", "shared", "warehouse"] {
        assert!(steps(view).iter().any(|(from, to, _)| to - from > 1), "{view}: {:?}", steps(view));
        assert!(steps(view).len() < steps("operations").len(), "{view}");
    }
    for view in ["customer", "shared"] {
        // Taken back twice, by name, and with the delivery in the very frame that tells of it.
        let taken_back: Vec<_> =
            steps(view).into_iter().filter(|step| step.2.get("position") == Some(&Value::Null)).collect();
        assert_eq!(taken_back.len(), 2, "{view}");
        assert_eq!(taken_back[1].2["status"], 4, "{view}: {taken_back:?}");
    }
    drop(screens);
    node.stop().await;
}
