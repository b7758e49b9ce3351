//! REST over a real socket and a fake log: what the edge refuses names its field and is never published.

use crate::fake::{Fake, Mode, Owned, Rig};
use serde_json::{Value, json};
use std::time::Duration;
use trunkline::{
    bridge::{Options, bucket::Bucket},
    wire::{
        answer::{FixTally, Outcome, RefusalBody},
        problem::Problem,
    },
};

/// Serves a bridge on a free port.
pub async fn serve(rig: &Rig) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bridge = rig.bridge.clone();
    #[allow(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move { bridge.serve(listener).await });
    address.to_string()
}

struct Caller {
    base: String,
    http: reqwest::Client,
}

impl Caller {
    async fn new(rig: &Rig) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base: format!("http://{}", serve(rig).await), http }
    }

    async fn post(&self, path: &str, key: Option<&str>, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request =
            self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json").body(body);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        Self::answer(request).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        Self::answer(self.http.get(format!("{}{path}", self.base))).await
    }

    async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        assert_eq!(kind == "application/problem+json", status >= 400, "{status} {kind}");
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

fn body() -> Value {
    json!({
        "user_id": "u1", "warehouse": {"id": "w1", "name": "W", "lat": 31.2, "lon": 121.4},
        "destination": {"lat": 31.21, "lon": 121.45}, "amount_minor": 4200, "currency": "CNY", "items": 3,
        "contact": {"name": "Wang", "phone": "13812345678"}, "address": "1 Road"
    })
}

#[tokio::test]
async fn what_the_edge_refuses_names_its_field_and_is_not_published() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    let with = |pointer: &str, value: Value| {
        let mut body = body();
        *body.pointer_mut(pointer).unwrap() = value;
        body.to_string()
    };
    let mut dotted = body();
    dotted["id"] = "a.b".into();
    let many = json!({"fixes": vec![json!({"lat": 1, "lon": 1, "fix_time_ms": 1}); 1_001]}).to_string();
    for (path, key, payload, status, field) in [
        ("/v1/orders", None, body().to_string(), 400, "Idempotency-Key"),
        ("/v1/orders", Some("k"), with("/destination/lat", 91.into()), 400, "destination.lat"),
        ("/v1/orders", Some("k"), with("/contact/phone", 1.into()), 400, "contact.phone"),
        ("/v1/orders", Some("k"), dotted.to_string(), 400, "id"),
        ("/v1/orders", Some("k"), "{".into(), 400, "payload"),
        ("/v1/orders", Some("k"), "x".repeat(2 << 20), 413, "payload"),
        ("/v1/orders?rolle=rider", Some("k"), body().to_string(), 400, "rolle"),
        ("/v1/orders?role=customer", Some("k"), body().to_string(), 403, "role"),
        ("/v1/orders/o1/pay", None, "{}".into(), 400, "Idempotency-Key"),
        ("/v1/orders/o1/fly", Some("k"), "{}".into(), 404, "verb"),
        ("/v1/orders/o1/create", Some("k"), "{}".into(), 404, "verb"),
        ("/v1/orders/a.b/pay", Some("k"), "{}".into(), 400, "order"),
        ("/v1/orders/o1/pay", Some("k"), r#"{"reason":"x"}"#.into(), 400, "reason"),
        ("/v1/orders/o1/assign", Some("k"), "{}".into(), 400, "rider"),
        ("/v1/warehouses/w1/orders/o1/stages/eaten", None, "".into(), 400, "stage"),
        ("/v1/riders/r1/fix", None, r#"{"lat":91,"lon":0,"fix_time_ms":1}"#.into(), 400, "lat"),
        ("/v1/riders/r1/fix", Some(""), r#"{"lat":1,"lon":0,"fix_time_ms":1}"#.into(), 400, "Idempotency-Key"),
        ("/v1/riders/r1/fixes", None, many, 400, "fixes"),
        ("/v1/riders/r1/dance", None, "{}".into(), 404, "verb"),
    ] {
        let (got, problem) = call.post(path, key, payload).await;
        assert_eq!((got, problem["field"].as_str()), (status, Some(field)), "{path}: {problem}");
        serde_json::from_value::<Problem>(problem).unwrap();
    }
    let form = call.http.post(format!("{}/v1/riders/r1/shift", call.base)).header("content-type", "text/plain");
    assert_eq!(Caller::answer(form.body(r#"{"on":true}"#)).await.0, 415);
    let both = call.http.post(format!("{}/v1/orders/o1/pay", call.base)).header("content-type", "application/json");
    let both = both.header("Idempotency-Key", "k").header("If-Match", "\"3\"").body(r#"{"if_rev":2}"#);
    assert_eq!(Caller::answer(both).await.1["field"], "If-Match");
    assert_eq!(call.get("/v1/nothing").await.0, 404);
    assert_eq!(call.get("/v1/orders?limit=501").await.1["field"], "limit");
    assert_eq!(call.get("/v1/orders/o1?datum=mars").await.1["field"], "datum");
    assert_eq!(call.get("/v1/ws").await.0, 400);
    let delete = call.http.delete(format!("{}/v1/orders", call.base)).send().await.unwrap();
    assert_eq!(delete.status(), 405);
    assert_eq!(delete.headers()["content-type"], "application/problem+json");
    assert!(delete.headers().contains_key("allow"));
    assert_eq!(fake.published(), []);
}

#[tokio::test]
async fn a_create_keeps_personal_data_out_of_the_log() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    let (status, created) = call.post("/v1/orders", Some("k1"), body().to_string()).await;
    assert_eq!((status, created["rev"].clone()), (201, json!(1)));
    let id = created["id"].as_str().unwrap().to_owned();
    // The same key means the same order.
    assert_eq!(call.post("/v1/orders", Some("k1"), body().to_string()).await.1["id"], id);
    assert_ne!(call.post("/v1/orders", Some("k2"), body().to_string()).await.1["id"], id);
    for message in fake.published() {
        let text = String::from_utf8(message.payload.to_vec()).unwrap();
        assert!(!text.contains("138") && !text.contains("Wang") && !text.contains("Road"), "{text}");
        assert_eq!(message.publisher, "operations.http");
    }
    fake.put(&id, Owned::new(json!({"id": id, "status": 2, "user_id": "u1"})));
    let (_, seen) = call.get(&format!("/v1/orders/{id}?role=customer")).await;
    assert_eq!(seen["state"]["contact"]["phone"], "*******5678");
    assert_eq!(seen["state"].get("user_id"), None);
    assert_eq!(call.get(&format!("/v1/orders/{id}?role=shared")).await.1["state"].get("address"), None);

    // Somebody else's create of the same id is refused, and leaves the order's data alone.
    let refusal = RefusalBody {
        code: "order_exists".into(),
        field: "order".into(),
        detail: "the order exists already".into(),
        status: None,
        allowed: None,
        if_rev: None,
        current_rev: None,
    };
    fake.set_mode(Mode::Answer(Outcome::Refused(refusal)));
    let mut other = body();
    (other["id"], other["address"]) = (id.as_str().into(), "2 Street".into());
    assert_eq!(call.post("/v1/orders", Some("k3"), other.to_string()).await.0, 409);
    // A refused create of a new id leaves nothing behind.
    other["id"] = "fresh".into();
    assert_eq!(call.post("/v1/orders", Some("k4"), other.to_string()).await.0, 409);
    assert_eq!(rig.personal.get("fresh").await.unwrap(), None);
    let (_, kept) = rig.personal.get(&id).await.unwrap().unwrap();
    assert!(String::from_utf8(kept.to_vec()).unwrap().contains("1 Road"));
}

#[tokio::test]
async fn personal_data_that_cannot_be_read_or_were_not_accepted_do_not_hide_the_order() {
    let fake = Fake::default();
    let rig = fake.bridge(Options { answer_timeout: Duration::from_millis(50), ..Options::default() });
    let call = Caller::new(&rig).await;
    fake.put("o1", Owned::new(json!({"id": "o1", "status": 2})));
    rig.personal.put("o1", r#"{"address":"1 Road"}"#.into()).await.unwrap();
    let (status, seen) = call.get("/v1/orders/o1").await;
    assert_eq!((status, seen["state"].get("address")), (200, None));
    // A create that hears nothing leaves its data; the order that comes into being under its id doesn't get them.
    fake.set_mode(Mode::Silent);
    let mut create = body();
    create["id"] = "o2".into();
    assert_eq!(call.post("/v1/orders", Some("k"), create.to_string()).await.0, 504);
    fake.put("o2", Owned::new(json!({"id": "o2", "status": 2})));
    assert_eq!(call.get("/v1/orders/o2").await.1["state"].get("address"), None);
    // Unless the same create is repeated and turns out to be the one.
    fake.set_mode(Mode::Accept);
    assert_eq!(call.post("/v1/orders", Some("k"), create.to_string()).await.0, 201);
    assert_eq!(call.get("/v1/orders/o2").await.1["state"]["address"], "1 Road");
}

#[tokio::test]
async fn outcomes_become_answers() {
    let fake = Fake::default();
    let options = Options { answer_timeout: Duration::from_millis(100), ..Options::default() };
    let rig = fake.bridge(options);
    let call = Caller::new(&rig).await;
    assert_eq!(call.post("/v1/orders/o1/pay", Some("k"), "").await.0, 200);
    let tally = FixTally { good: 1, ..FixTally::default() };
    fake.set_mode(Mode::Answer(Outcome::Fixes(tally)));
    let fix = r#"{"lat":1,"lon":0,"fix_time_ms":1}"#;
    let (status, answer) = call.post("/v1/riders/r1/fix", None, fix).await;
    assert_eq!((status, answer["good"].clone()), (200, json!(1)));
    assert_eq!(fake.published().last().unwrap().publisher, "rider.r1");
    fake.set_mode(Mode::Silent);
    let (status, problem) = call.post("/v1/orders/o1/pay", Some("k"), "").await;
    assert_eq!((status, problem["type"].as_str()), (504, Some("outcome_unknown")));
    fake.set_mode(Mode::Full);
    let (status, problem) = call.post("/v1/orders/o1/pay", Some("k"), "").await;
    assert_eq!((status, problem["type"].as_str()), (503, Some("log_full")));
    assert_eq!(call.get("/v1/riders/r1").await.0, 503);
    assert_eq!(call.get("/v1/orders/o9").await.1["field"], "order");
    assert_eq!(call.get("/v1/cell").await.1["cursor"], 7);
    let (status, figures) = call.get("/v1/figures").await;
    assert_eq!((status, &figures["late"]["completed_late"], &figures["connections"]), (200, &json!(9), &json!({})));
    assert_eq!(call.get("/v1/orders/o1/track?role=customer").await.0, 403);
    assert_eq!(call.get("/readyz").await.0, 200);
    rig.bridge.health().unready("its store is another log's");
    assert_eq!(call.get("/readyz").await.1["detail"], "its store is another log's");
    assert_eq!(call.get("/healthz").await.0, 200);
    assert!(call.get("/metrics").await.1.as_str().unwrap().contains("trunkline_watched_orders 0"));
}

#[tokio::test]
async fn a_cell_that_refuses_to_serve_takes_no_commands() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let call = Caller::new(&rig).await;
    rig.bridge.health().unready("its store is another log's");
    let mut create = body();
    create["id"] = "o1".into();
    let fix = r#"{"lat":1,"lon":0,"fix_time_ms":1}"#;
    for (path, body) in [
        ("/v1/orders", create.to_string()),
        ("/v1/orders/o1/pay", "{}".into()),
        ("/v1/warehouses/w1/orders/o1/stages/picking", String::new()),
        ("/v1/riders/r1/fix", fix.into()),
        ("/v1/riders/r1/fixes", format!(r#"{{"fixes":[{fix}]}}"#)),
        ("/v1/riders/r1/shift", r#"{"on":true}"#.into()),
    ] {
        let (status, problem) = call.post(path, Some("k"), body).await;
        assert_eq!((status, problem["type"].as_str()), (503, Some("not_ready")), "{path}: {problem}");
        assert_eq!(problem["detail"], "its store is another log's");
    }
    assert_eq!(fake.published(), []);
    assert_eq!((rig.directory.get("o1").await.unwrap(), rig.personal.get("o1").await.unwrap()), (None, None));
    rig.bridge.health().ready();
    assert_eq!(call.post("/v1/orders", Some("k"), create.to_string()).await.0, 201);
}

#[tokio::test]
async fn commands_that_wait_are_bounded() {
    let fake = Fake::default();
    fake.set_mode(Mode::Silent);
    let rig = fake.bridge(Options { answers_max: 1, answer_timeout: Duration::from_millis(500), ..Options::default() });
    let call = Caller::new(&rig).await;
    let (one, two) =
        tokio::join!(call.post("/v1/orders/o1/pay", Some("a"), ""), call.post("/v1/orders/o1/pay", Some("b"), ""));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [503, 504]);
}
