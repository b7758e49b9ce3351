//! Bad input, each with an answer that names the field, and with nothing changed: over HTTP, where it must not even
//! reach the log, and over NATS, where it does.

use crate::{
    harness::Server,
    node::{Answer, Node, Party, Web, create_body, eventually, facts, fix_body, settings, tables},
};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use serde_json::{Value, json};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A node with one order on its way and one that was cancelled.
async fn node(server: &Server) -> Node {
    let node = Box::pin(Node::start(settings(server.dir.path(), &server.ready.url()))).await;
    node.web.delivering("a", "r1").await;
    node.web.fix("r1", (31.201, 121.4), node.web.cell_time().await + 1_000).await.ok();
    node.web.create("gone").await.ok();
    node.web.command("gone", "cancel", &json!({"reason": "changed my mind"})).await.ok();
    node
}

/// Everything that bad input must not change.
async fn state(web: &Web, data: &Path) -> Value {
    let get = async |path: &str| web.get(path).await.ok();
    json!({
        "tables": tables(data), "list": get("/v1/orders").await, "a": get("/v1/orders/a").await,
        "gone": get("/v1/orders/gone").await, "rider": get("/v1/riders/r1").await, "track": web.track("a").await
    })
}

/// The problem's field.
#[track_caller]
fn field(answer: &Answer, status: u16) -> String {
    let problem = answer.problem();
    assert_eq!(answer.status, status, "{problem}");
    problem["field"].as_str().unwrap_or_else(|| panic!("no field in {problem}")).to_owned()
}

async fn last_in_log(server: &Server) -> u64 {
    server.jetstream().await.get_stream("CELL_default").await.unwrap().cached_info().state.last_sequence
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_every_problem_names_its_field_and_nothing_reaches_the_log() {
    let server = Server::start().await;
    let node = node(&server).await;
    let (web, data) = (&node.web, server.dir.path());
    let (before, last) = (state(web, data).await, last_in_log(&server).await);
    let key = Some("k");
    let fix = fix_body((31.2, 121.4), web.cell_time().await);

    // Verbs, ids and keys.
    let verb = web.post("/v1/orders/a/explode", key, &json!({})).await;
    assert_eq!((field(&verb, 404).as_str(), &verb.problem()["type"]), ("verb", &json!("unknown_verb")));
    assert_eq!(field(&web.post("/v1/riders/r1/jump", None, &json!({})).await, 404), "verb");
    assert_eq!(field(&web.post("/v1/orders/a.b/pay", key, &json!({})).await, 400), "order");
    assert_eq!(field(&web.get("/v1/orders/a.b").await, 400), "order");
    assert_eq!(field(&web.post("/v1/riders/r.1/fix", None, &fix).await, 400), "rider");
    assert_eq!(field(&web.post("/v1/warehouses/w.1/orders/a/stages/ready", None, &json!({})).await, 400), "warehouse");
    assert_eq!(field(&web.post("/v1/warehouses/w1/orders/a/stages/eaten", None, &json!({})).await, 400), "stage");
    assert_eq!(field(&web.post("/v1/orders", key, &with(create_body("n"), "/id", json!("a.b"))).await, 400), "id");
    assert_eq!(field(&web.post("/v1/orders/a/assign", key, &json!({"rider": "r.2"})).await, 400), "rider");
    assert_eq!(field(&web.post("/v1/orders/a/pay", None, &json!({})).await, 400), "Idempotency-Key");
    assert_eq!(field(&web.post("/v1/orders", None, &create_body("n")).await, 400), "Idempotency-Key");
    let long = "k".repeat(201);
    assert_eq!(field(&web.post("/v1/orders/a/pay", Some(&long), &json!({})).await, 400), "Idempotency-Key");
    assert_eq!(field(&web.post("/v1/orders/a/pay?colour=red", key, &json!({})).await, 400), "colour");
    assert_eq!(field(&web.post("/v1/orders/a/pay?role=king", key, &json!({})).await, 400), "role");
    assert_eq!(field(&web.post("/v1/orders/a/pay?role=customer", key, &json!({})).await, 403), "role");

    // Fields of a create: ranges, types, misspellings, absences.
    for (pointer, value, named) in [
        ("/destination/lat", json!(91), "destination.lat"),
        ("/destination/lon", json!(-180.5), "destination.lon"),
        ("/destination/lat", json!("31.2"), "destination.lat"),
        ("/destination", json!([31.2, 121.4]), "destination"),
        ("/warehouse", json!(["w1", "North", 31.2, 121.4]), "warehouse"),
        ("/promise", json!([1, 2]), "promise"),
        ("/route", json!(["_p~iF~ps|U_ulLnnqC", 5]), "route"),
        ("/warehouse/lat", json!(null), "warehouse.lat"),
        ("/warehouse/id", json!("w.1"), "warehouse.id"),
        ("/warehouse/floor", json!(2), "warehouse.floor"),
        ("/user_id", json!("a b"), "user_id"),
        ("/user_id", json!(7), "user_id"),
        ("/amount_minor", json!(-1), "amount_minor"),
        ("/amount_minor", json!(1.5), "amount_minor"),
        ("/amount_minor", json!("42"), "amount_minor"),
        ("/currency", json!("yuan"), "currency"),
        ("/items", json!(0), "items"),
        ("/items", json!(-1), "items"),
        ("/promise", json!({"from_ms": 2, "to_ms": 1}), "promise.from_ms"),
        ("/promise", json!({"from_ms": 2}), "promise.to_ms"),
        ("/route", json!({"polyline": "_p~iF", "precision": 5}), "route.polyline"),
        ("/route", json!({"type": "Polygon", "coordinates": [[1, 2], [3, 4]]}), "route.type"),
        ("/extra", json!([1]), "extra"),
        ("/contact", json!({"phone": 1}), "contact.phone"),
        ("/address", json!(7), "address"),
        ("/datum", json!("mars"), "datum"),
        ("/colour", json!("red"), "colour"),
        ("/id", json!(7), "id"),
    ] {
        let answer = web.post("/v1/orders", key, &with(create_body("n"), pointer, value)).await;
        assert_eq!(field(&answer, 400), named, "{}", answer.problem());
    }
    let mut short = create_body("n");
    short["warehouse"].as_object_mut().unwrap().remove("name");
    assert_eq!(field(&web.post("/v1/orders", key, &short).await, 400), "warehouse.name");

    // Fixes.
    for (pointer, value, named) in [
        ("/lat", json!(91), "lat"),
        ("/lon", json!(181), "lon"),
        ("/lat", json!("NaN"), "lat"),
        ("/lat", json!(null), "lat"),
        ("/fix_time_ms", json!("now"), "fix_time_ms"),
        ("/fix_time_ms", json!(i64::MAX), "fix_time_ms"),
        ("/speed_mps", json!(-1), "speed_mps"),
        ("/battery_pct", json!(101), "battery_pct"),
        ("/seq", json!(-1), "seq"),
        ("/sped", json!(1), "sped"),
    ] {
        let answer = web.post("/v1/riders/r1/fix", None, &with(fix.clone(), pointer, value)).await;
        assert_eq!(field(&answer, 400), named, "{}", answer.problem());
    }
    for text in ["NaN", "1e999", "Infinity", "-1e400"] {
        let body = format!(r#"{{"lat":{text},"lon":0,"fix_time_ms":1}}"#);
        let named = field(&web.post_text("/v1/riders/r1/fix", None, body).await, 400);
        assert!(["lat", "payload"].contains(&named.as_str()), "{text}: {named}");
    }
    let many = json!({"fixes": vec![fix.clone(); 1_001]});
    let answer = web.post("/v1/riders/r1/fixes", None, &many).await;
    assert_eq!(field(&answer, 400), "fixes");
    assert!(answer.problem()["detail"].as_str().unwrap().contains("1001"), "{}", answer.problem());
    let second = json!({"fixes": [fix, with(fix.clone(), "/lat", json!(91))]});
    assert_eq!(field(&web.post("/v1/riders/r1/fixes", None, &second).await, 400), "fixes[1].lat");
    let second = json!({"fixes": [fix, with(fix.clone(), "/lat", json!("x"))]});
    assert_eq!(field(&web.post("/v1/riders/r1/fixes", None, &second).await, 400), "fixes[1].lat");
    let listed = json!({"fixes": [fix, [31.2, 121.4, 1]]});
    assert_eq!(field(&web.post("/v1/riders/r1/fixes", None, &listed).await, 400), "fixes[1]");
    let twice = r#"{"lat":1,"lat":2,"lon":0,"fix_time_ms":1}"#;
    assert_eq!(field(&web.post_text("/v1/riders/r1/fix", None, twice).await, 400), "lat");
    assert_eq!(field(&web.post("/v1/riders/r1/shift", None, &json!({"on": 1})).await, 400), "on");
    assert_eq!(field(&web.post("/v1/riders/r1/trip", None, &json!({"stops": ["a", "b.c"]})).await, 400), "stops[1]");
    assert_eq!(field(&web.post("/v1/riders/r1/delivered", None, &json!({"order": "a.b"})).await, 400), "order");

    // Bodies as such.
    for (body, named) in [("{", "payload"), ("", "payload"), ("[]", "payload"), ("7", "payload"), ("\u{0}", "payload")]
    {
        assert_eq!(field(&web.post_text("/v1/orders", key, body).await, 400), named, "{body:?}");
        assert_eq!(field(&web.post_text("/v1/riders/r1/fix", None, body).await, 400), named, "{body:?}");
    }
    for body in ["[1", "[]", " [null]", "null"] {
        assert_eq!(field(&web.post_text("/v1/orders/a/deliver", key, body).await, 400), "payload", "{body}");
    }
    let large = with(create_body("n"), "/notes", json!("x".repeat(2 << 20)));
    assert_eq!(field(&web.post("/v1/orders", key, &large).await, 413), "payload");
    let unsaid = chunked(&web.addr, "/v1/orders", 33).await;
    assert!(unsaid.starts_with("HTTP/1.1 413") && unsaid.contains("\"field\":\"payload\""), "{unsaid}");
    let wrong = web.request("POST", "/v1/orders").header("content-type", "text/plain").body("{}");
    assert_eq!(field(&web.send(wrong.header("idempotency-key", "k")).await, 415), "Content-Type");

    // Routes and methods.
    for (method, path, status) in [
        ("GET", "/v1/nothing", 404),
        ("POST", "/v2/orders", 404),
        ("GET", "/v1/orders/a/nothing", 404),
        ("DELETE", "/v1/orders/a", 405),
        ("PUT", "/v1/orders", 405),
        ("GET", "/v1/orders/nobody", 404),
        ("GET", "/v1/orders?limit=0", 400),
        ("GET", "/v1/orders?status=9", 400),
        ("GET", "/v1/orders?cursor=x", 400),
        ("GET", "/v1/riders/nobody", 404),
        ("GET", "/v1/ws?role=king", 400),
        ("GET", "/v1/ws", 400),
        ("GET", "/v1/orders/%ff", 400),
    ] {
        let answer = web.send(web.request(method, path)).await;
        answer.problem();
        assert!(answer.status == status || (path == "/v1/ws" && answer.status == 426), "{method} {path}: {answer:?}");
    }
    let allow = web.request("DELETE", "/v1/orders").send().await.unwrap();
    assert!(allow.headers().contains_key("allow"), "{allow:?}");

    assert_eq!(last_in_log(&server).await, last);
    assert_eq!(state(web, data).await, before);
    node.stop().await;
}

/// Posts a body that doesn't say its length, in pieces of 32 KiB; the answer as it came.
async fn chunked(addr: &str, path: &str, pieces: u32) -> String {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {addr}\r\nidempotency-key: k\r\ncontent-type: application/json\r\n\
         connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    for _ in 0..pieces {
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_state_refuses_says_what_would_be_possible() {
    let server = Server::start().await;
    let node = node(&server).await;
    let (web, data) = (&node.web, server.dir.path());
    let before = state(web, data).await;

    let past = web.post("/v1/orders/a/cancel", Some("1"), &json!({"if_rev": 2, "reason": "x"})).await;
    assert_eq!(field(&past, 409), "if_rev");
    assert_eq!((&past.problem()["if_rev"], &past.problem()["current_rev"]), (&json!(2), &before["a"]["state"]["rev"]));
    let header = web.request("POST", "/v1/orders/a/cancel").header("if-match", "\"2\"").header("idempotency-key", "2");
    let past = web.send(header).await;
    assert_eq!((field(&past, 409).as_str(), &past.problem()["if_rev"]), ("if_rev", &json!(2)));
    let pay = web.post("/v1/orders/gone/pay", Some("3"), &json!({})).await;
    assert_eq!(field(&pay, 409), "status");
    assert_eq!((&pay.problem()["type"], &pay.problem()["order_status"]), (&json!("transition"), &json!(5)));
    // Nothing is possible any more, and the answer says so; where something is, it is listed.
    assert_eq!(pay.problem()["allowed"], json!([]));
    let again = web.post("/v1/orders/a/pay", Some("4"), &json!({})).await;
    assert_eq!(again.status, 409);
    assert_eq!(
        again.problem()["allowed"],
        json!(["stage", "assign", "unassign", "deliver", "cancel", "fail", "return", "missing", "edit"])
    );
    let back = web.stage("a", "picking").await;
    assert_eq!(field(&back, 409), "stage");
    let foreign = web.post("/v1/warehouses/w2/orders/a/stages/ready", None, &json!({})).await;
    assert_eq!(field(&foreign, 409), "warehouse");
    let foreign = web.post("/v1/riders/r2/delivered", None, &json!({"order": "a"})).await;
    assert_eq!(field(&foreign, 409), "rider");
    let shift = web.post("/v1/riders/r1/shift", None, &json!({"on": false})).await;
    assert_eq!(field(&shift, 409), "rider");
    let unknown = web.post("/v1/orders/nobody/pay", Some("5"), &json!({})).await;
    assert_eq!(field(&unknown, 404), "order");
    let cancel = web.post("/v1/orders/a/cancel", Some("6"), &json!({})).await;
    assert_eq!(field(&cancel, 422), "reason");

    // Only the keys' outcomes were remembered, in the orders' rows.
    let mut after = state(web, data).await;
    assert_ne!(after["tables"]["orders"], before["tables"]["orders"]);
    after["tables"]["orders"] = before["tables"]["orders"].clone();
    assert_eq!(after, before);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_nats_the_outcome_or_the_dead_letter_names_the_field() {
    let server = Server::start().await;
    let node = node(&server).await;
    let (web, data) = (&node.web, server.dir.path());
    let shop = Party::new(&server, Some("system.shop")).await;
    let liar = Party::new(&server, Some("king")).await;
    let before = state(web, data).await;
    let now = web.cell_time().await;
    let text = |value: Value| value.to_string();
    let fix = fix_body((31.2, 121.4), now);
    let many = text(json!({"fixes": vec![fix.clone(); 1_001]}));
    let personal = with(facts(), "/contact", json!({"phone": "1"}));

    let cases: Vec<(&Party, &str, Option<&str>, String, &str)> = vec![
        (&shop, "order.default.a.explode", Some("k"), "{}".into(), "verb"),
        (&shop, "rider.default.r1.jump", None, "{}".into(), "verb"),
        (&shop, "warehouse.default.w1.a.eaten", None, String::new(), "stage"),
        (&shop, "control.default.weather", None, "{}".into(), "control"),
        (&shop, "control.default.clock", None, text(json!({"scale": 0})), "scale"),
        (&shop, "control.default.rules", None, text(json!({"rules_version": 99})), "rules_version"),
        (&shop, "control.default.rules", None, text(json!({"unpaid_hours": 1})), "unpaid_hours"),
        (&shop, "rider.default.r1.fix", None, text(with(fix.clone(), "/lat", json!(91))), "lat"),
        (&shop, "rider.default.r1.fix", None, text(with(fix.clone(), "/lat", json!("x"))), "lat"),
        (&shop, "rider.default.r1.fixes", None, many, "fixes"),
        // An id with a dot is one token more.
        (&shop, "order.default.a.b.pay", Some("k"), "{}".into(), "subject"),
        (&shop, "rider.default.r.1.fix", None, text(fix), "subject"),
        (&shop, "order.default.a.pay", None, "{}".into(), "Idempotency-Key"),
        (&liar, "order.default.a.pay", Some("k"), "{}".into(), "Trunkline-Publisher"),
        (&shop, "order.default.n.create", Some("k"), text(personal), "contact"),
        (&shop, "order.default.n.create", Some("k"), String::new(), "payload"),
        (&shop, "order.default.a.pay", Some("k"), "{".into(), "payload"),
        (&shop, "order.default.a.deliver", Some("k"), "[]".into(), "payload"),
        (&shop, "order.default.a.assign", Some("k"), text(json!({"rider": 7})), "rider"),
        (&shop, "timer.default.a.lunch.1", None, String::new(), "timer"),
    ];
    for (party, subject, key, payload, named) in &cases {
        let outcome: Value = serde_json::from_slice(&party.ask(subject, *key, payload.clone()).await).unwrap();
        assert_eq!(outcome["refused"]["field"], *named, "{subject}: {outcome}");
        assert!(outcome["refused"]["detail"].is_string(), "{subject}: {outcome}");
    }
    // The same without a reply: each is found under its place, with what it was.
    for (party, subject, key, payload, named) in cases {
        let seq = party.say(subject, key, payload.clone()).await;
        let letter = dead(&shop, seq).await;
        let header = |name: &str| letter.headers.get(name).map(|v| v.as_str().to_owned()).unwrap_or_default();
        assert_eq!(header("Trunkline-Field"), named, "{subject}");
        assert_eq!((header("Trunkline-Sequence"), header("Trunkline-Subject")), (seq.to_string(), subject.to_owned()));
        assert!(!header("Trunkline-Reason").is_empty());
        assert_eq!(letter.payload, payload.as_bytes(), "{subject}");
    }
    let seq = shop.say("order.default.gone.pay", Some("late"), "{}").await;
    assert_eq!(dead(&shop, seq).await.headers.get("Trunkline-Field").unwrap().as_str(), "status");
    let seq = shop.say("rider.default.r9.fix", None, text(fix_body((31.2, 121.4), now + 7_200_000))).await;
    assert_eq!(dead(&shop, seq).await.headers.get("Trunkline-Field").unwrap().as_str(), "fix_time_ms");

    let mut after = state(web, data).await;
    // The payment of the cancelled order was remembered under its key.
    after["tables"]["orders"] = before["tables"]["orders"].clone();
    after["tables"]["riders"] = before["tables"]["riders"].clone();
    assert_eq!(after, before);
    node.stop().await;
}

/// The dead letter about a place in the log.
async fn dead(shop: &Party, seq: u64) -> async_nats::jetstream::message::StreamMessage {
    let stream = shop.js.get_stream("DEAD_default").await.unwrap();
    let subject = format!("dead.default.{seq}");
    let there = || async {
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), LastRawMessageErrorKind::NoMessageFound, "{error}");
                false
            }
        }
    };
    eventually("the dead letter", there).await;
    stream.get_last_raw_message_by_subject(&subject).await.unwrap()
}
