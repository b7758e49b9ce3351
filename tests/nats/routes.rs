//! Routes from a routing engine: a whole node, a real nats-server, and an engine of the test's own that answers in OSRM's
//! shape, or doesn't.

use crate::{
    harness::Server,
    node::{Node, Party, create_body, eventually, facts, settings},
};
use axum::{
    Router,
    extract::{OriginalUri, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{path::Path as File, sync::Arc, time::Duration};
use trunkline::{
    config::Settings,
    metrics::OutcomeLabel,
    wire::route::{decode_polyline, encode_polyline},
};

/// What the engine does with a question.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Answers,
    Fails,
    Hangs,
    Garbage,
    NoRoute,
    /// A route in another city.
    Far,
    Huge,
}

#[derive(Clone)]
struct Engine {
    mood: Arc<Mutex<Mood>>,
    /// The questions, with their queries.
    asked: Arc<Mutex<Vec<String>>>,
    url: String,
}

impl Engine {
    /// Serves until the test's runtime ends.
    async fn start(mood: Mood) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let engine = Self { mood: Arc::new(Mutex::new(mood)), asked: Arc::default(), url };
        let routes = Router::new().route("/route/v1/cycling/{ends}", get(answer)).with_state(engine.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        engine
    }

    fn feel(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

async fn answer(State(engine): State<Engine>, Path(ends): Path<String>, OriginalUri(uri): OriginalUri) -> Response {
    engine.asked.lock().push(uri.to_string());
    let place = |text: &str| {
        let (lon, lat) = text.split_once(',').unwrap();
        (lat.parse::<f64>().unwrap(), lon.parse::<f64>().unwrap())
    };
    let (from, to) = ends.split_once(';').map(|(from, to)| (place(from), place(to))).unwrap();
    let line = |off: f64| {
        let between = ((from.0 + to.0) / 2.0 + 0.001, (from.1 + to.1) / 2.0);
        let snapped = [(from.0 + 0.0001 + off, from.1), between, (to.0 - 0.0001, to.1)];
        let geometry = encode_polyline(&snapped, 6).unwrap();
        axum::Json(json!({"code": "Ok", "waypoints": [{"name": ""}, {"name": ""}], "routes": [
            {"geometry": geometry, "legs": [{"steps": []}], "distance": 5312.4, "duration": 1100.0, "weight": 1.0}]}))
    };
    let mood = *engine.mood.lock();
    match mood {
        Mood::Answers => line(0.0).into_response(),
        Mood::Far => line(1.0).into_response(),
        Mood::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Hangs => std::future::pending().await,
        Mood::Garbage => "<html>not now</html>".into_response(),
        Mood::NoRoute => {
            (StatusCode::BAD_REQUEST, axum::Json(json!({"code": "NoRoute", "message": "Impossible"}))).into_response()
        }
        Mood::Huge => "x".repeat(3 << 20).into_response(),
    }
}

fn with_engine(data: &File, server: &Server, url: &str) -> Settings {
    let mut settings = settings(data, &server.ready.url());
    settings.routing.osrm_url = Some(url.to_owned());
    settings.routing.timeout_ms = 300;
    settings
}

fn count(node: &Node, outcome: &'static str) -> u64 {
    node.metrics().routes.get_or_create(&OutcomeLabel { outcome }).get()
}

async fn route_of(node: &Node, order: &str) -> Option<Value> {
    node.web.state(order, "operations").await.get("route").cloned()
}

async fn gets_a_route(node: &Node, order: &str) -> Value {
    eventually("the order has a route", || async { route_of(node, order).await.is_some() }).await;
    route_of(node, order).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_without_a_route_gets_one_and_asks_again_when_it_is_moved() {
    let server = Server::start().await;
    let engine = Engine::start(Mood::Answers).await;
    let node = Node::start(with_engine(&server.dir.path().join("data"), &server, &engine.url)).await;
    node.web.ready().await;
    node.web.create("a").await.ok();
    let route = gets_a_route(&node, "a").await;
    assert_eq!(node.web.version("a").await, 2, "one version for the create, one for the route");
    assert_eq!((route["type"].as_str(), route["coordinates"].as_array().unwrap().len()), (Some("LineString"), 3));
    assert_eq!(route["coordinates"][0], json!([121.4, 31.2001]));
    let asked = "/route/v1/cycling/121.4000000,31.2000000;121.4500000,31.2100000?overview=full&geometries=polyline6";
    assert_eq!(engine.asked(), [asked]);
    let rows = node.web.track("a").await;
    let row = rows.last().unwrap();
    assert_eq!((row["kind"].as_str(), row["operator_id"].as_str()), (Some("route"), Some("router")));
    assert_eq!((row["operator_type"].as_u64(), row["note"].as_str()), (Some(4), Some("osrm")));
    assert_eq!(row["rev"], 1);
    eventually("its outcome was heard", || async { count(&node, "taken") == 1 }).await;

    let polyline = node.web.get("/v1/orders/a/route?format=polyline5").await.ok();
    assert_eq!(decode_polyline(polyline["polyline"].as_str().unwrap(), 5).unwrap()[0], (31.2001, 121.4));

    // One that comes with a route asks for none, in whatever form it comes.
    let mut own = create_body("own");
    own["route"] = json!({"gpx": "<gpx><trk><trkseg><trkpt lat=\"31.2\" lon=\"121.4\"/></trkseg>\
        <trkseg><trkpt lat=\"31.21\" lon=\"121.45\"/></trkseg></trk></gpx>"});
    node.web.post("/v1/orders", Some("own"), &own).await.ok();
    assert_eq!(route_of(&node, "own").await.unwrap()["coordinates"], json!([[121.4, 31.2], [121.45, 31.21]]));

    node.web.command("a", "edit", &json!({"destination": {"lat": 31.3, "lon": 121.5}})).await.ok();
    let moved = |route: Option<Value>| route.is_some_and(|r| r["coordinates"][2] == json!([121.5, 31.2999]));
    eventually("the route leads there", || async { moved(route_of(&node, "a").await) }).await;
    assert_eq!(node.web.version("a").await, 4);
    assert_eq!(engine.asked().len(), 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_by_hand_is_taken_once_and_a_late_one_bothers_nobody() {
    let server = Server::start().await;
    let node = Node::start(settings(&server.dir.path().join("data"), &server.ready.url())).await;
    node.web.ready().await;
    node.web.create("a").await.ok();
    let operator = Party::new(&server, Some("operations.alice")).await;
    let (from, to) = (facts()["warehouse"].clone(), facts()["destination"].clone());
    let from = json!({"lat": from["lat"], "lon": from["lon"]});
    let found = |to: &Value| {
        json!({"order": "a", "from": from, "to": to, "source": "by hand",
            "route": {"type": "LineString", "coordinates": [[121.4, 31.2], [121.45, 31.21]]}})
    };
    let say = async |body: &Value| operator.outcome("control.default.route", None, body).await;
    let elsewhere = say(&found(&json!({"lat": 31.3, "lon": 121.5}))).await;
    assert_eq!(elsewhere["refused"]["field"], "to", "{elsewhere}");
    assert_eq!(node.web.version("a").await, 1);
    assert_eq!(say(&found(&to)).await["accepted"]["version"], 2);
    assert_eq!(say(&found(&to)).await["refused"]["field"], "route", "sent twice");
    assert_eq!(node.web.version("a").await, 2);
    let mut bad = found(&to);
    bad["route"] = json!({"gpx": "<!DOCTYPE x><gpx/>"});
    assert_eq!(say(&bad).await["refused"]["field"], "route.gpx");

    node.web.create("b").await.ok();
    node.web.command("b", "cancel", &json!({"reason": "no stock"})).await.ok();
    let mut late = found(&to);
    late["order"] = "b".into();
    assert_eq!(say(&late).await["refused"]["field"], "order");
    assert_eq!(node.metrics().dead_letters.get(), 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_no_help_leaves_orders_without() {
    let server = Server::start().await;
    let engine = Engine::start(Mood::NoRoute).await;
    let node = Node::start(with_engine(&server.dir.path().join("data"), &server, &engine.url)).await;
    node.web.ready().await;
    // Each with how often it is asked, and how that is counted.
    let cases = [
        (Mood::NoRoute, 1, "no_route"),
        (Mood::Far, 1, "unusable"),
        (Mood::Huge, 1, "unusable"),
        (Mood::Garbage, 4, "unusable"),
        (Mood::Fails, 4, "unreachable"),
        (Mood::Hangs, 4, "unreachable"),
    ];
    for (n, (mood, questions, outcome)) in cases.into_iter().enumerate() {
        engine.feel(mood);
        let (order, asked, counted) = (format!("o{n}"), engine.asked().len(), count(&node, outcome));
        node.web.create(&order).await.ok();
        eventually("it is given up", || async { count(&node, outcome) == counted + 1 }).await;
        assert_eq!(engine.asked().len(), asked + questions, "{mood:?}");
        assert_eq!((route_of(&node, &order).await, node.web.version(&order).await), (None, 1), "{mood:?}");
        node.web.command(&order, "pay", &json!({})).await.ok();
    }
    // It recovers, and so do new orders.
    engine.feel(Mood::Answers);
    node.web.create("after").await.ok();
    gets_a_route(&node, "after").await;
    assert_eq!((count(&node, "refused"), node.metrics().dead_letters.get()), (0, 0));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_was_pending_is_asked_for_after_a_restart() {
    let server = Server::start().await;
    let data = server.dir.path().join("data");
    // Nobody listens there.
    let node = Node::start(with_engine(&data, &server, "http://127.0.0.1:9")).await;
    node.web.ready().await;
    for order in ["a", "b", "ended"] {
        node.web.create(order).await.ok();
    }
    node.web.command("ended", "cancel", &json!({"reason": "x"})).await.ok();
    assert_eq!(route_of(&node, "a").await, None);
    node.stop().await;

    let engine = Engine::start(Mood::Answers).await;
    let node = Node::start(with_engine(&data, &server, &engine.url)).await;
    node.web.ready().await;
    gets_a_route(&node, "a").await;
    gets_a_route(&node, "b").await;
    eventually("both were heard of", || async { count(&node, "taken") == 2 }).await;
    assert_eq!(engine.asked().len(), 2, "the one that ended needs none");
    assert_eq!(node.web.version("a").await, 2);
    node.stop().await;
}

/// Under rules that know no routes nobody is asked, and from when they do, everybody who needs one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_rules_take_no_routes() {
    let server = Server::start().await;
    let data = server.dir.path().join("data");
    let node = Node::start(settings(&data, &server.ready.url())).await;
    node.web.ready().await;
    let operator = Party::new(&server, Some("operations.alice")).await;
    let rules = json!({"rules_version": 2});
    assert!(operator.outcome("control.default.rules", None, &rules).await["accepted"].is_object());
    // An older program, which may play the same log, can't read it.
    let mut gpx = create_body("gpx");
    gpx["route"] = json!({"gpx": "<gpx><rte><rtept lat=\"31.2\" lon=\"121.4\"/><rtept lat=\"31.21\" lon=\"121.45\"/></rte></gpx>"});
    let refused = node.web.post("/v1/orders", Some("gpx"), &gpx).await.problem();
    assert_eq!(refused["field"], "rules_version", "{refused}");
    assert_eq!(node.web.get("/v1/orders/gpx").await.status, 404);
    for n in 0..40 {
        node.web.create(&format!("o{n}")).await.ok();
    }
    node.stop().await;
    let engine = Engine::start(Mood::Answers).await;
    let node = Node::start(with_engine(&data, &server, &engine.url)).await;
    node.web.ready().await;
    node.web.create("o40").await.ok();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((engine.asked().len(), node.web.version("o0").await), (0, 1));
    let rules = json!({"rules_version": 3});
    assert!(operator.outcome("control.default.rules", None, &rules).await["accepted"].is_object());
    node.web.create("o41").await.ok();
    gets_a_route(&node, "o41").await;
    node.stop().await;
    let node = Node::start(with_engine(&data, &server, &engine.url)).await;
    node.web.ready().await;
    gets_a_route(&node, "o0").await;
    gets_a_route(&node, "o40").await;
    node.stop().await;
}
