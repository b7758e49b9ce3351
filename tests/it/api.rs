//! The whole API against its own document, and what each newer route asks of the owner.

use crate::{
    fake::{Fake, Mode, Owned, Rig},
    rest::serve,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use trunkline::{
    bridge::{Options, bucket::Bucket},
    wire::{
        alert::AlertsQuery,
        answer::{Outcome, RefusalBody},
        query::{ListQuery, NearestQuery, RidersQuery},
    },
};

struct Caller {
    base: String,
    http: reqwest::Client,
}

struct Answer {
    status: u16,
    kind: String,
    allow: String,
    body: Value,
}

impl Caller {
    async fn new(rig: &Rig) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base: format!("http://{}", serve(rig).await), http }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.to_uppercase().parse().unwrap(), format!("{}{path}", self.base))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let header = |name: &str| response.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
        let (status, kind, allow) = (response.status().as_u16(), header("content-type"), header("allow"));
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, kind, allow, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request("get", path)).await
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(self.request("post", path).header("Idempotency-Key", key).json(body)).await
    }
}

/// Method and path of every operation, with what stands there.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter().map(move |(method, operation)| (method, path.clone(), operation)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

/// A path with its parameters filled in.
fn filled(path: &str) -> String {
    let path = path.replace("{alert}", "o1.1");
    path.replace("{stage}", "picking").replace("{order}", "o1").replace("{rider}", "r1").replace("{warehouse}", "w1")
}

#[tokio::test]
async fn the_documents_operations() {
    let rig = Fake::default().bridge(Options::default());
    let call = Caller::new(&rig).await;
    let document = call.get("/openapi.json").await;
    assert_eq!((document.status, document.kind.as_str()), (200, "application/json"));
    let document = document.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["security"], json!([{"bearer": []}]));
    let lines = operations(&document).into_iter().map(|(method, path, operation)| {
        let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
        format!("{} {path}: {}", method.to_uppercase(), statuses.join(" "))
    });
    let lines: Vec<_> = lines.collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// What is routed and what is documented is one list: an operation answers, and any other method of its path is told which
/// there are; and the router has nothing beside those but what is named here.
#[tokio::test]
async fn the_router_and_the_document_agree() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    let document = call.get("/openapi.json").await.body;
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, _) in operations(&document) {
        let answer = call.send(call.request(&method, &filled(&path))).await;
        let kind = answer.body["type"].as_str().unwrap_or_default();
        assert!(
            answer.status != 405 && kind != "no_route" && kind != "unknown_verb",
            "{method} {path}: {}",
            answer.body
        );
        methods.entry(path).or_default().insert(method.to_uppercase());
    }
    for (path, documented) in methods {
        let answer = call.send(call.request("put", &filled(&path))).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (405, Some("method")), "{path}");
        assert_eq!(answer.kind, "application/problem+json");
        // HEAD comes with every GET.
        let allowed: BTreeSet<_> =
            answer.allow.split(',').map(|m| m.trim().to_owned()).filter(|m| m != "HEAD").collect();
        assert_eq!(allowed, documented, "{path}");
    }
    let router = include_str!("../../src/bridge/rest/mod.rs");
    let beside: Vec<_> = router.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(beside, ["/v1/ws", "/ws/websocket", "/v1/orders/{order}/{verb}", "/v1/riders/{rider}/{verb}"]);
}

/// Each parameter of a query that the document names is one that its route takes, and no route takes another.
#[tokio::test]
async fn the_documents_parameters_are_the_parsers() {
    let rig = Fake::default().bridge(Options::default());
    let call = Caller::new(&rig).await;
    let document = call.get("/openapi.json").await.body;
    let mut seen = 0;
    for (method, path, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let queries = parameters.iter().filter(|p| p["in"] == "query").map(|p| p["name"].as_str().unwrap().to_owned());
        let unknown = |field: &Value, name: &str| field["field"] == name && field["detail"] == "is no parameter here";
        let bare = if path == "/v1/riders/nearest" {
            "lat=1&lon=1"
        } else if path == "/v1/riders" {
            "box=1,1,2,2"
        } else if path == "/v1/passed" {
            "box=1,1,2,2&from_ms=0&to_ms=1"
        } else {
            ""
        };
        let ask = async |name: &str| {
            let others = bare.split('&').filter(|part| !part.starts_with(&format!("{name}=")));
            let bare = others.collect::<Vec<_>>().join("&");
            let request = call.request(&method, &format!("{}?{bare}&{name}=~", filled(&path)));
            call.send(request.header("Idempotency-Key", "k").json(&json!({}))).await
        };
        for name in queries {
            assert!(!unknown(&ask(&name).await.body, &name), "{method} {path}: {name}");
            seen += 1;
        }
        if path.starts_with("/v1/") && method == "get" {
            let answer = ask("slip").await;
            assert!(unknown(&answer.body, "slip"), "{method} {path}: {}", answer.body);
        }
    }
    assert!(seen > 25, "{seen}");
}

#[tokio::test]
async fn the_page_comes_from_here_alone() {
    let rig = Fake::default().bridge(Options::default());
    let call = Caller::new(&rig).await;
    let response = call.request("get", "/docs/").send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'self'"), "{policy}");
    let page = response.text().await.unwrap();
    assert!(page.contains("swagger-ui") && !page.contains("//cdn") && !page.contains("https://unpkg"));
    let initializer = call.get("/docs/swagger-initializer.js").await;
    assert!(initializer.body.as_str().unwrap().contains("/openapi.json"));
    assert_eq!(call.get("/docs/swagger-ui-bundle.js").await.status, 200);
}

#[tokio::test]
async fn lists_ask_the_owner_for_what_the_query_says() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    let list = "status=2,3&rider=r1&warehouse=w1&user=u1&created_from_ms=1&created_to_ms=2&updated_from_ms=3\
                &updated_to_ms=4&limit=7&cursor=1.o1&box=121.4,31.1,121.6,31.3";
    assert_eq!(call.get(&format!("/v1/orders?{list}")).await.status, 200);
    let ask: ListQuery = serde_json::from_value(fake.asked().pop().unwrap()).unwrap();
    assert_eq!(ask.status.iter().map(|s| s.code()).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((ask.rider.unwrap().as_str(), ask.user.unwrap().as_str()), ("r1", "u1"));
    assert_eq!((ask.updated_from_ms.unwrap().0, ask.updated_to_ms.unwrap().0, ask.limit), (3, 4, Some(7)));
    assert!(ask.within.is_some());
    for (query, field) in [
        ("status=9", "status"),
        ("status=", "status"),
        ("status=2&status=3", "status"),
        ("user=a.b", "user"),
        ("updated_to_ms=soon", "updated_to_ms"),
        ("created_from_ms=9223372036854775807", "created_from_ms"),
        ("box=1,2,3", "box"),
        ("limit=0", "limit"),
        ("page=2", "page"),
    ] {
        let answer = call.get(&format!("/v1/orders?{query}")).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (400, Some(field)), "{query}");
    }
    assert_eq!(call.get("/v1/orders/o1/track?limit=501").await.body["field"], "limit");
    assert_eq!(fake.asked().len(), 0);
}

#[tokio::test]
async fn riders_are_found_by_place_in_the_clients_datum() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    // The pair that geo's tests know: the same place in GCJ-02 and in WGS-84.
    let near = call.get("/v1/riders/nearest?lat=31.175304&lon=121.5315419&k=3&free=true&datum=gcj02").await;
    let ask: NearestQuery = serde_json::from_value(fake.asked().pop().unwrap()).unwrap();
    assert!((ask.lat - 31.1774276).abs() < 1e-5 && (ask.lon - 121.5272106).abs() < 1e-5, "{ask:?}");
    assert_eq!((ask.k, ask.free), (3, true));
    // The fake's rider stands there, and is told of in the client's datum.
    let position = &near.body["riders"][0]["position"];
    assert!((position["lat"].as_f64().unwrap() - 31.175304).abs() < 1e-5, "{}", near.body);
    assert_eq!((near.body["riders"][0]["rider"].as_str(), near.status), (Some("r1"), 200));

    for area in ["box=121.4,31.1,121.6,31.3", "fence=_p~iF~ps%7CU_ulLnnqC_mqNvxq%60@"] {
        let page = call.get(&format!("/v1/riders?{area}&cursor=r0&limit=5")).await;
        assert_eq!((page.status, page.body["next"].as_str()), (200, Some("r1")), "{}", page.body);
        let ask: RidersQuery = serde_json::from_value(fake.asked().pop().unwrap()).unwrap();
        assert_eq!((ask.after.unwrap().as_str(), ask.limit, ask.free), ("r0", Some(5), false));
    }
    for (path, field) in [
        ("nearest?lon=1", "lat"),
        ("nearest?lat=1", "lon"),
        ("nearest?lat=91&lon=1", "lat"),
        ("nearest?lat=nan&lon=1", "lat"),
        ("nearest?lat=1&lon=1&max_distance_m=inf", "max_distance_m"),
        ("nearest?lat=1&lon=1&free=maybe", "free"),
    ] {
        assert_eq!(call.get(&format!("/v1/riders/{path}")).await.body["field"], field, "{path}");
    }
    assert_eq!(call.get("/v1/riders").await.body["field"], "box");
    assert_eq!(call.get("/v1/riders?box=1,1,2,2&fence=_p~iF~ps%7CU").await.body["field"], "fence");
    assert_eq!(call.get("/v1/riders?box=1,1,2,2&role=rider").await.status, 403);
    assert_eq!(fake.asked().len(), 0);
}

#[tokio::test]
async fn an_edits_personal_part_stays_out_of_the_log_and_is_seen_once_it_holds() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    fake.put("o1", Owned::new(json!({"id": "o1", "status": 2, "rev": 1})));
    let edit = json!({"address": "7 Butterfly Lane", "contact": {"phone": "13911112222"},
        "promise": {"from_ms": 1, "to_ms": 2}});
    let answer = call.post("/v1/orders/o1/edit", "e1", &edit).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let message = fake.published().pop().unwrap();
    let said: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(said, json!({"promise": {"from_ms": 1, "to_ms": 2}, "personal": true}));
    assert!(!format!("{message:?}").contains("Butterfly"));
    // Before the state names the edit, it isn't seen; then it is, in the views that may.
    let seen = call.get("/v1/orders/o1").await.body;
    assert_eq!(seen["state"].get("address"), None);
    let key = edit_key("o1", "e1");
    let state = json!({"id": "o1", "status": 2, "rev": 2, "personal": key});
    fake.with("o1", |owned| owned.step(state));
    let seen = call.get("/v1/orders/o1?role=customer").await.body;
    assert_eq!(
        (&seen["state"]["address"], &seen["state"]["contact"]["phone"]),
        (&json!("7 Butterfly Lane"), &json!("*******2222"))
    );
    assert_eq!(seen["state"].get("personal"), None);
    assert_eq!(call.get("/v1/orders/o1?role=shared").await.body["state"].get("address"), None);

    // A refused one leaves nothing; one that says itself what the server says is refused.
    let refusal = RefusalBody {
        code: "mismatch".into(),
        field: "status".into(),
        detail: "too late".into(),
        status: None,
        allowed: None,
        if_rev: None,
        current_rev: None,
    };
    fake.set_mode(Mode::Answer(Outcome::Refused(refusal)));
    assert_eq!(call.post("/v1/orders/o1/edit", "e2", &json!({"notes": "ring"})).await.status, 409);
    assert_eq!(rig.personal.get(&format!("o1.{}", edit_key("o1", "e2"))).await.unwrap(), None);
    let before = fake.published().len();
    let bad = call.post("/v1/orders/o1/edit", "e3", &json!({"personal": true})).await;
    assert_eq!((bad.status, bad.body["field"].as_str()), (400, Some("personal")));
    let bad = call.post("/v1/orders/o1/edit", "e3", &json!({"notes": 5})).await;
    assert_eq!((bad.status, bad.body["field"].as_str()), (400, Some("notes")));
    assert_eq!(fake.published().len(), before);

    // Erased, by operations alone, and as often as one likes.
    let erase = |role: &str| call.request("delete", &format!("/v1/orders/o1/personal?role={role}"));
    assert_eq!(call.send(erase("customer")).await.status, 403);
    for _ in 0..2 {
        assert_eq!(call.send(erase("operations")).await.status, 204);
        assert_eq!(call.get("/v1/orders/o1").await.body["state"].get("address"), None);
    }
    assert_eq!(call.send(call.request("delete", "/v1/orders/o9/personal")).await.status, 404);
}

/// The id of an edit's key, as the state names it.
fn edit_key(order: &str, key: &str) -> String {
    use trunkline::wire::command::{hex, key_id, publisher};
    hex(key_id(&publisher(Some("operations.http")).unwrap(), &order.parse().unwrap(), "edit", key))
}

#[tokio::test]
async fn every_verb_of_orders_and_riders_reaches_the_log() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    let reason = json!({"reason": "nobody there"});
    let told = json!({"order": "o1", "reason": "nobody there"});
    for (path, body) in [
        ("orders/o1/pay", json!({})),
        ("orders/o1/cancel", json!({"reason": "x", "if_rev": 3})),
        ("orders/o1/assign", json!({"rider": "r1"})),
        ("orders/o1/unassign", json!({})),
        ("orders/o1/deliver", json!({"proof": {"code": "4711"}})),
        ("orders/o1/fail", reason.clone()),
        ("orders/o1/return", reason),
        ("orders/o1/missing", json!({"items": [{"name": "milk", "count": 2}]})),
        ("orders/o1/acknowledge", json!({"alert": 2})),
        ("orders/o1/edit", json!({"destination": {"lat": 31.2, "lon": 121.4}})),
        ("riders/r1/fix", json!({"lat": 1, "lon": 0, "fix_time_ms": 1})),
        ("riders/r1/fixes", json!({"fixes": [{"lat": 1, "lon": 0, "fix_time_ms": 1}]})),
        ("riders/r1/shift", json!({"on": false, "handover_to": "r2"})),
        ("riders/r1/trip", json!({"stops": ["o1", "o2"]})),
        ("riders/r1/delivered", json!({"order": "o1"})),
        ("riders/r1/failed", told.clone()),
        ("riders/r1/returned", told),
    ] {
        let answer = call.post(&format!("/v1/{path}"), "k", &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let message = fake.published().pop().unwrap();
        let verb = path.rsplit('/').next().unwrap();
        assert!(message.subject.to_string().ends_with(verb), "{path}: {:?}", message.subject);
        assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap(), body, "{path}");
    }
    let refused = call.post("/v1/riders/r1/sing", "k", &json!({})).await;
    assert!(refused.body["detail"].as_str().unwrap().contains("returned"), "{}", refused.body);
}

#[tokio::test]
async fn alerts_are_listed_read_and_acknowledged_through_their_order() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    let asked = || -> AlertsQuery { serde_json::from_value(fake.asked().pop().unwrap()).unwrap() };
    let names = |ask: &AlertsQuery| ask.state.iter().map(|s| s.name()).collect::<Vec<_>>();
    let page = call.get("/v1/alerts").await;
    assert_eq!((page.status, page.body["next"].as_str()), (200, Some("5.o1.1")), "{}", page.body);
    assert_eq!(
        (page.body["alerts"][0]["alert"].as_str(), names(&asked())),
        (Some("o1.1"), vec!["raised", "acknowledged"])
    );
    let list = "state=cleared&kind=late,stalled&severity=critical&order=o1&rider=r1&from_ms=1&to_ms=2&limit=7";
    assert_eq!(call.get(&format!("/v1/alerts?{list}&cursor=5.o1.1")).await.status, 200);
    let ask = asked();
    assert_eq!(names(&ask), ["cleared"]);
    assert_eq!(ask.kind.iter().map(|k| k.name()).collect::<Vec<_>>(), ["late", "stalled"]);
    assert_eq!((ask.order.unwrap().as_str(), ask.rider.unwrap().as_str()), ("o1", "r1"));
    assert_eq!((ask.severity[0].name(), ask.from_ms.unwrap().0, ask.to_ms.unwrap().0), ("critical", 1, 2));
    assert_eq!((ask.after.as_deref(), ask.limit), (Some("5.o1.1"), Some(7)));
    for (query, field) in [
        ("state=open", "state"),
        ("state=", "state"),
        ("kind=late,sad", "kind"),
        ("severity=bad", "severity"),
        ("order=a.b", "order"),
        ("rider=a.b", "rider"),
        ("from_ms=soon", "from_ms"),
        ("to_ms=9223372036854775807", "to_ms"),
        ("cursor=5", "cursor"),
        ("limit=501", "limit"),
        ("datum=mars", "datum"),
        ("page=2", "page"),
    ] {
        let answer = call.get(&format!("/v1/alerts?{query}")).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (400, Some(field)), "{query}: {}", answer.body);
    }
    assert_eq!(fake.asked().len(), 0);

    // The fix that it rests on, in the client's datum.
    let one = call.get("/v1/alerts/o1.1?datum=gcj02").await;
    let lat = one.body["evidence"]["fixes"][0]["lat"].as_f64().unwrap();
    assert!((lat - 31.175304).abs() < 1e-5, "{}", one.body);
    let missing = call.get("/v1/alerts/o1.2").await;
    assert_eq!((missing.status, missing.body["type"].as_str()), (404, Some("unknown_alert")), "{}", missing.body);
    for wrong in ["o1", "o1.x", "o%201.1"] {
        let answer = call.get(&format!("/v1/alerts/{wrong}")).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (400, Some("alert")), "{wrong}");
    }

    let answer = call.post("/v1/alerts/o1.1/acknowledge", "k", &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let message = fake.published().pop().unwrap();
    assert_eq!(message.subject.to_string(), "order.default.o1.acknowledge");
    assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap(), json!({"alert": 1}));
    let published = fake.published().len();
    let answer = call.post("/v1/alerts/o1.2/acknowledge", "k", &json!({})).await;
    assert_eq!((answer.status, answer.body["field"].as_str()), (404, Some("alert")));
    let answer = call.post("/v1/alerts/o1.1/acknowledge", "k", &json!({"alert": 3})).await;
    assert_eq!((answer.status, answer.body["field"].as_str()), (400, Some("alert")), "{}", answer.body);
    let bare = call.request("post", "/v1/alerts/o1.1/acknowledge");
    assert_eq!(call.send(bare).await.status, 400, "it needs a key");
    assert_eq!(fake.published().len(), published);
}

#[tokio::test]
async fn who_takes_no_json_is_told_so() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    for (accept, status) in [
        ("application/json", 200),
        ("text/html, */*;q=0.1", 200),
        ("application/*", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
    ] {
        let answer = call.send(call.request("get", "/v1/orders").header("accept", accept)).await;
        assert_eq!(answer.status, status, "{accept}");
        assert!(status == 200 || (answer.body["field"] == "Accept" && answer.kind == "application/problem+json"));
    }
    let order = call.request("post", "/v1/orders/o1/pay").header("Idempotency-Key", "k").header("accept", "text/html");
    assert_eq!(call.send(order).await.status, 406);
    assert_eq!(fake.published(), [], "nothing is done for who can't hear of it");
    assert_eq!(call.send(call.request("get", "/metrics").header("accept", "text/plain")).await.status, 200);
}
