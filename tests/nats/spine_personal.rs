//! What names a person is in one bucket and in the views that may show it: not in the log, not in the database, not in
//! updates, tasks or dead letters, not in what the program says.

use crate::{
    harness::Server,
    node::{Party, Program, Web, create_body, eventually},
    screen::Screen,
};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::StreamExt;
use serde_json::{Value, json};
use std::path::Path;

/// Strings that occur nowhere else.
const SECRETS: [&str; 4] = ["Zhuangzi-Contact", "13911112222", "Butterfly-Lane-7", "Leave-at-the-gourd"];

fn personal_body(order: &str) -> Value {
    let mut body = create_body(order);
    body["contact"] = json!({"name": SECRETS[0], "phone": SECRETS[1]});
    body["address"] = SECRETS[2].into();
    body["notes"] = SECRETS[3].into();
    body
}

/// Which secret is in these bytes.
fn found(bytes: &[u8]) -> Option<&'static str> {
    SECRETS.into_iter().find(|secret| bytes.windows(secret.len()).any(|w| w == secret.as_bytes()))
}

/// Every message of a stream: subject, headers, payload.
async fn stream(party: &Party, name: &str) -> Vec<Vec<u8>> {
    let stream = party.js.get_stream(name).await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut all = Vec::new();
    for seq in state.first_sequence.max(1)..=state.last_sequence {
        let message = match stream.get_raw_message(seq).await {
            // Erased, without a trace.
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => continue,
            message => message.unwrap(),
        };
        let mut bytes = format!("{} {:?} ", message.subject, message.headers).into_bytes();
        bytes.extend_from_slice(&message.payload);
        all.push(bytes);
    }
    all
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|p| p.is_file()).map(|p| (p.display().to_string(), std::fs::read(&p).unwrap())).collect()
}

/// Ids of the orders whose contact's number ends so.
async fn by_phone(web: &Web, ask: &str) -> Vec<String> {
    let page = web.get(&format!("/v1/orders?role=operations&phone_tail={ask}")).await.ok();
    assert_eq!(found(page.to_string().as_bytes()), None, "a list holds none, however it was found");
    page["orders"].as_array().unwrap().iter().map(|o| o["state"]["id"].as_str().unwrap().to_owned()).collect()
}

async fn contact(web: &Web, order: &str) -> Value {
    web.state(order, "rider").await["contact"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_in_the_views_that_may_show_it_and_nowhere_else() {
    let server = Server::start().await;
    let data = server.dir.path().join("data");
    let program = Program::start(&data, &server.ready.url(), "TRUNKLINE_LOG=debug").await;
    let web = &program.web;
    let shop = Party::new(&server, Some("system.shop")).await;
    let mut updates = shop.client.subscribe("*.default.>").await.unwrap();
    crate::harness::settled(&shop.client).await;

    web.post("/v1/orders", Some("create-a"), &personal_body("a")).await.ok();
    let mut screens = Vec::new();
    for role in ["operations", "customer", "shared", "rider", "warehouse"] {
        let mut screen = Screen::open(web, role).await;
        screen.follow("a").await;
        screens.push((role, screen));
    }
    web.delivering("a", "r1").await;
    web.fix("r1", (31.201, 121.4), web.cell_time().await).await.ok();
    // Bad creates and a refused one bring theirs too, and leave them nowhere.
    let mut bad = personal_body("b");
    bad["items"] = 0.into();
    assert_eq!(web.post("/v1/orders", Some("create-b"), &bad).await.status, 400);
    let mut other = personal_body("a");
    other["contact"]["name"] = "Somebody else".into();
    assert_eq!(web.post("/v1/orders", Some("another"), &other).await.problem()["type"], "order_exists");
    let named = json!({"name": SECRETS[0], "phone": SECRETS[1]});
    assert_eq!(contact(web, "a").await, named, "a refused create overwrites nothing");
    web.post("/v1/riders/r1/delivered", None, &json!({"order": "a"})).await.ok();

    for (role, screen) in &mut screens {
        screen.until("the delivery", |s| s.orders["a"].state["status"] == 4).await;
        let seen = &screen.orders["a"].state;
        let shows: Vec<_> = SECRETS.iter().filter(|s| seen.to_string().contains(*s)).copied().collect();
        match *role {
            "operations" => assert_eq!(shows, SECRETS),
            "rider" => {
                assert!(SECRETS.iter().all(|secret| screen.texts.concat().contains(secret)), "on the way");
                assert!(shows.is_empty(), "whom the order went to is forgotten: {seen}");
            }
            "customer" => {
                assert_eq!(shows, [SECRETS[0], SECRETS[2], SECRETS[3]]);
                assert_eq!(seen["contact"]["phone"], "*******2222");
            }
            _ => assert!(shows.is_empty(), "{role}: {seen}"),
        }
        assert!(*role != "customer" || !screen.texts.concat().contains(SECRETS[1]));
    }
    assert_eq!(found(web.get("/v1/orders").await.body.as_ref()), None, "lists hold none");
    assert_eq!(found(web.get("/v1/orders/a/track").await.body.as_ref()), None);

    for name in ["CELL_default", "TASK_default", "DEAD_default", "KV_directory"] {
        for message in stream(&shop, name).await {
            assert_eq!(found(&message), None, "{name}: {}", String::from_utf8_lossy(&message));
        }
    }
    assert!(stream(&shop, "KV_personal").await.iter().any(|m| found(m).is_some()), "the scan finds what there is");
    let mut deltas = 0;
    while deltas < 4 {
        let message = tokio::time::timeout(crate::node::PATIENCE, updates.next()).await.unwrap().unwrap();
        deltas +=
            u32::from(message.subject.starts_with("update.") && message.payload.starts_with(br#"{"type":"delta"#));
        assert_eq!(found(&message.payload), None, "{}", message.subject);
    }
    assert_eq!(program.terminate().await, Some(0));
    for (path, bytes) in files(&data.join("cells")).into_iter().chain(files(&data)) {
        assert_eq!(found(&bytes), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repetitions_and_refusals_do_it_no_harm() {
    let server = Server::start().await;
    let data = server.dir.path().join("data");
    let program = Program::start(&data, &server.ready.url(), "").await;
    let web = program.web.clone();
    let first = web.post("/v1/orders", Some("k"), &personal_body("a")).await;
    first.ok();
    let whole = web.state("a", "rider").await;
    let mut poorer = create_body("a");
    poorer["notes"] = "other".into();
    for body in [personal_body("a"), poorer, create_body("a")] {
        assert_eq!(web.post("/v1/orders", Some("k"), &body).await, first);
        assert_eq!(web.state("a", "rider").await, whole);
        assert_eq!(web.post("/v1/orders", Some("else"), &body).await.status, 409);
        assert_eq!(web.state("a", "rider").await, whole);
    }
    // An order that came over NATS gets none of somebody's who is told that it exists.
    let shop = Party::new(&server, Some("system.shop")).await;
    let created = shop.outcome("order.default.n.create", Some("k"), &crate::node::facts()).await;
    assert!(created["accepted"].is_object(), "{created}");
    assert_eq!(web.post("/v1/orders", Some("k"), &personal_body("n")).await.status, 409);
    assert_eq!(contact(&web, "n").await, Value::Null);

    // Killed and started again, all is as it was.
    program.kill().await;
    let program = Program::start(&data, &server.ready.url(), "").await;
    let web = &program.web;
    eventually("the order is there again", || async { web.get("/v1/orders/a").await.status == 200 }).await;
    assert_eq!(web.state("a", "rider").await, whole);
    assert_eq!(web.post("/v1/orders", Some("k"), &personal_body("a")).await, first);
    assert_eq!(web.state("a", "rider").await, whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creates_at_once_the_one_that_is_accepted_keeps_its_own() {
    let server = Server::start().await;
    let program = Program::start(&server.dir.path().join("data"), &server.ready.url(), "").await;
    let web = &program.web;
    for round in 0..10 {
        let order = format!("race-{round}");
        let create = |n: usize| {
            let (order, key) = (order.clone(), format!("key-{n}"));
            async move {
                let mut body = create_body(&order);
                body["address"] = format!("address {n}").into();
                web.post("/v1/orders", Some(&key), &body).await
            }
        };
        let answers = futures::future::join_all((0..8).map(create)).await;
        let accepted: Vec<_> = (0..8).filter(|n| answers[*n].status == 201).collect();
        assert_eq!(accepted.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|a| [201, 409].contains(&a.status)), "{answers:?}");
        let address = web.state(&order, "rider").await["address"].clone();
        assert_eq!(address, format!("address {}", accepted[0]), "{order}");
    }
    // What was put aside for the others is gone.
    let party = Party::new(&server, None).await;
    let kept = party.js.get_key_value("personal").await.unwrap();
    let keys: Vec<String> = kept.keys().await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(keys.len(), 10, "{keys:?}");
    program.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_find_orders_by_the_end_of_a_number_and_an_erasure_takes_it_away() {
    let server = Server::start().await;
    let data = server.dir.path().join("data");
    let program = Program::start(&data, &server.ready.url(), "").await;
    let web = &program.web;
    let party = Party::new(&server, None).await;
    for order in ["a", "b", "c"] {
        web.post("/v1/orders", Some(&format!("create-{order}")), &personal_body(order)).await.ok();
    }
    web.command("b", "pay", &json!({})).await.ok();
    // One that is refused leaves nothing to be found.
    let mut other = personal_body("a");
    other["contact"]["phone"] = "13700009876".into();
    assert_eq!(web.post("/v1/orders", Some("another"), &other).await.problem()["type"], "order_exists");
    assert_eq!(by_phone(web, "9876").await, Vec::<String>::new());

    let mut all = by_phone(web, "2222").await;
    all.sort();
    assert_eq!((all, by_phone(web, "11112222").await.len()), (vec!["a".into(), "b".into(), "c".to_owned()], 3));
    assert_eq!(by_phone(web, "2222&status=2").await, ["b"]);
    assert_eq!(by_phone(web, "2222&box=121,31,122,32&status=1").await.len(), 2);
    // Page by page, each once.
    let (mut ask, mut seen) = ("limit=2".to_owned(), Vec::new());
    loop {
        let page = web.get(&format!("/v1/orders?role=operations&phone_tail=2222&{ask}")).await.ok();
        seen.extend(page["orders"].as_array().unwrap().iter().map(|o| o["state"]["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        ask = format!("limit=2&cursor={next}");
    }
    seen.sort_by_key(Value::to_string);
    assert_eq!(seen, ["a", "b", "c"]);
    for role in ["customer", "rider", "warehouse", "system"] {
        let refused = web.get(&format!("/v1/orders?role={role}&phone_tail=2222")).await.problem();
        assert_eq!((&refused["status"], &refused["field"]), (&json!(403), &json!("phone_tail")), "{role}");
    }
    for bad in ["22", "123456789", "22a2", ""] {
        let refused = web.get(&format!("/v1/orders?role=operations&phone_tail={bad}")).await.problem();
        assert_eq!((&refused["status"], &refused["field"]), (&json!(400), &json!("phone_tail")), "{bad}");
    }

    web.command("c", "edit", &json!({"contact": {"name": "x", "phone": "+86 139 4444 3333"}})).await.ok();
    assert_eq!((by_phone(web, "2222").await.len(), by_phone(web, "3333").await), (2, vec!["c".to_owned()]));
    let keys = async || {
        let stream = party.js.get_stream("KV_phones").await.unwrap();
        let mut listed = stream.info_with_subjects(">").await.unwrap();
        let mut keys = Vec::new();
        while let Some(subject) = listed.next().await {
            keys.push(subject.unwrap().0);
        }
        keys.sort();
        keys
    };
    let of = |digits: &str, order: &str| format!("$KV.phones.default.{digits}.{order}");
    let (two, three) = ("2.2.2.2.1.1.1.1", "3.3.3.3.4.4.4.4");
    assert_eq!(keys().await, [of(two, "a"), of(two, "b"), of(three, "c")]);
    // And one that no note names.
    let phones = party.js.get_key_value("phones").await.unwrap();
    phones.put("default.9.9.9.9._._._._.a", "".into()).await.unwrap();
    for order in ["a", "c"] {
        let erased = web.send(web.request("DELETE", &format!("/v1/orders/{order}/personal?role=operations"))).await;
        assert_eq!(erased.status, 204);
    }
    assert_eq!((by_phone(web, "2222").await, by_phone(web, "3333").await.len()), (vec!["b".to_owned()], 0));
    assert_eq!(keys().await, [of(two, "b")]);
    let left = stream(&party, "KV_personal").await;
    assert!(!left.iter().any(|m| String::from_utf8_lossy(m).contains("44443333")), "nor beside the order");
    assert_eq!(program.terminate().await, Some(0));
}
