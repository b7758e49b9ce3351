//! Alerts from the deadline to the screen: through a whole node, through a kill, and with two owners at once.

use crate::{
    harness::Server,
    node::{Answer, Node, Party, Program, Web, count, create_body, database, eventually, facts, fix_body, settings},
    screen::Screen,
};
use async_nats::jetstream::Context;
use futures::StreamExt;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, time::Duration};
use trunkline::store::state_hash;

/// Every message of a stream on these subjects, by subject; each subject holds one.
async fn messages(js: &Context, stream: &str, subjects: &str) -> BTreeMap<String, Value> {
    let stream = js.get_stream(stream).await.unwrap();
    let mut listed = stream.info_with_subjects(subjects).await.unwrap();
    let mut all = BTreeMap::new();
    while let Some(subject) = listed.next().await {
        let (subject, count) = subject.unwrap();
        assert_eq!(count, 1, "{subject}");
        let message = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
        all.insert(subject, serde_json::from_slice(&message.payload).unwrap_or(Value::Null));
    }
    all
}

/// An order that is paid, and promised for between `from_ms` and `to_ms` from now; its promise's end.
async fn promised(web: &Web, order: &str, from_ms: i64, to_ms: i64) -> i64 {
    let now = web.cell_time().await;
    let mut body = create_body(order);
    body["promise"] = json!({"from_ms": now + from_ms, "to_ms": now + to_ms});
    web.post("/v1/orders", Some(&format!("create-{order}")), &body).await.ok();
    web.command(order, "pay", &json!({})).await.ok();
    now + to_ms
}

/// The order's alerts of a kind, in whatever state.
async fn alerts(web: &Web, order: &str, kind: &str) -> Vec<Value> {
    let path = format!("/v1/alerts?order={order}&kind={kind}&state=raised,acknowledged,cleared");
    web.get(&path).await.ok()["alerts"].as_array().unwrap().clone()
}

async fn the_alert(web: &Web, order: &str, kind: &str) -> Value {
    eventually("the alert", || async { !alerts(web, order, kind).await.is_empty() }).await;
    let mut found = alerts(web, order, kind).await;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

async fn acknowledge(web: &Web, alert: &str, key: &str) -> Answer {
    note(web, alert, key, &json!({})).await
}

/// Acknowledges with a body.
async fn note(web: &Web, alert: &str, key: &str, body: &Value) -> Answer {
    web.post(&format!("/v1/alerts/{alert}/acknowledge?role=operations&sub=alice"), Some(key), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promise_that_passes_is_told_everywhere_acknowledged_and_cleared() {
    let server = Server::start().await;
    let node = Node::start(settings(&server.dir.path().join("data"), &server.ready.url())).await;
    let (web, js) = (&node.web, server.jetstream().await);
    web.ready().await;
    let mut board = Screen::open(web, "operations").await;
    board.follow_board("alerts", json!({})).await;
    let due_ms = promised(web, "o", -1_000, 1_500).await;
    let mut screens = Vec::new();
    for view in ["customer", "shared", "rider", "warehouse", "operations"] {
        let mut screen = Screen::open(web, view).await;
        screen.follow("o").await;
        screens.push((view, screen));
    }
    // Nobody can pick and ride in so short a time.
    let risk = the_alert(web, "o", "late_risk").await;
    assert!(risk["detected_at_ms"].as_i64().unwrap() < due_ms, "{risk}");
    let late = the_alert(web, "o", "late").await;
    let id = late["alert"].as_str().unwrap().to_owned();
    assert_eq!(
        (&late["due_at_ms"], &late["severity"], &late["state"]),
        (&json!(due_ms), &json!("critical"), &json!("raised"))
    );
    assert!(late["detected_at_ms"].as_i64().unwrap() >= due_ms, "{late}");
    assert_eq!(web.get(&format!("/v1/alerts/{id}")).await.ok(), late);
    // What was only feared has come.
    assert_eq!(the_alert(web, "o", "late_risk").await["cleared_because"], "superseded");
    let open = web.get("/v1/alerts").await.ok()["alerts"].clone();
    let open: Vec<_> = open.as_array().unwrap().iter().map(|alert| alert["kind"].as_str().unwrap()).collect();
    assert_eq!(open, ["late"]);
    board.until("the alert on the board", |s| s.orders["alerts"].state["alerts"][&id] == late).await;
    let number = id.rsplit('.').next().unwrap().to_owned();
    let shown = |state: &Value| state["alerts"][&number]["state"].as_str().map(str::to_owned);
    let operations = &mut screens.last_mut().unwrap().1;
    operations.until("the alert in the order", |s| shown(&s.orders["o"].state).as_deref() == Some("raised")).await;

    // Who took note, and when; the same key has the same answer, whatever became of the alert.
    for role in ["customer", "rider", "warehouse", "system"] {
        let refused = web.post(&format!("/v1/alerts/{id}/acknowledge?role={role}"), Some("k"), &json!({})).await;
        assert_eq!(refused.status, 403, "{role}");
        assert_eq!(web.get(&format!("/v1/alerts?role={role}")).await.status, 403, "{role}");
    }
    for bad in ["", " ", "two\nlines", &"路".repeat(501)] {
        let refused = note(web, &id, "k0", &json!({ "note": bad })).await.problem();
        assert_eq!((&refused["status"], &refused["field"]), (&json!(400), &json!("note")), "{bad:?}: {refused}");
    }
    let first = note(web, &id, "k1", &json!({"note": " 已联系骑手 "})).await;
    first.ok();
    // The key counts, not what comes with it.
    assert_eq!(acknowledge(web, &id, "k1").await, first);
    let noted = web.get(&format!("/v1/alerts/{id}")).await.ok();
    assert_eq!((noted["state"].as_str(), noted["acknowledged_by"].as_str()), (Some("acknowledged"), Some("alice")));
    assert!(noted["acknowledged_at_ms"].as_i64() >= late["detected_at_ms"].as_i64(), "{noted}");
    assert_eq!(noted["acknowledged_note"], "已联系骑手");
    assert_eq!((&noted["change"], &noted["evidence"]), (&json!(2), &late["evidence"]));
    board.until("the note on the board", |s| s.orders["alerts"].state["alerts"][&id] == noted).await;
    let operations = &mut screens.last_mut().unwrap().1;
    operations.until("the note in the order", |s| shown(&s.orders["o"].state).as_deref() == Some("acknowledged")).await;

    web.stage("o", "packed").await.ok();
    web.command("o", "assign", &json!({"rider": "r1"})).await.ok();
    web.post("/v1/riders/r1/delivered", None, &json!({"order": "o"})).await.ok();
    let over = web.get(&format!("/v1/alerts/{id}")).await.ok();
    assert_eq!(
        (&over["state"], &over["cleared_because"], &over["change"]),
        (&json!("cleared"), &json!("ended"), &json!(3))
    );
    assert_eq!((&over["acknowledged_note"], &over["acknowledged_by"]), (&json!("已联系骑手"), &json!("alice")));
    let track = web.get("/v1/orders/o/track").await.ok();
    let lines: Vec<_> = track["rows"].as_array().unwrap().iter().filter(|row| row["kind"] == "acknowledge").collect();
    assert_eq!((lines.len(), &lines[0]["note"]), (1, &json!(format!("{number}: 已联系骑手"))));
    assert_eq!(acknowledge(web, &id, "k1").await, first);
    let refused = acknowledge(web, &id, "k2").await.problem();
    assert_eq!((&refused["status"], &refused["field"]), (&json!(422), &json!("alert")), "{refused}");
    let unknown = acknowledge(web, "o.99", "k3").await.problem();
    assert_eq!((&unknown["status"], &unknown["type"]), (&json!(404), &json!("unknown_alert")));
    assert_eq!(web.get("/v1/alerts").await.ok()["alerts"], json!([]));
    board.until("the end on the board", |s| s.orders["alerts"].state["alerts"][&id] == over).await;

    // The stream has every change once, each whole, under a subject of its own.
    let stream = messages(&js, "ALERT_default", "alert.default.>").await;
    let subject = |n: u32| format!("alert.default.late.{id}.{n}");
    assert_eq!([1, 2, 3].map(|n| &stream[&subject(n)]), [&late, &noted, &over]);
    assert_eq!(stream.keys().filter(|key| key.contains(".late.")).count(), 3);
    let counted = web.get("/v1/figures?role=operations").await.ok();
    assert_eq!(counted["late"], json!({"open": 0, "completed": 1, "completed_late": 1}));
    assert_eq!((&counted["orders"]["4"], &counted["orders"]["3"]), (&json!(1), &json!(0)), "{counted}");
    assert_eq!((&counted["eta"]["orders"], counted["connections"]["ws"].as_u64()), (&json!(1), Some(6)), "{counted}");
    let figures = node.metrics().encode().unwrap();
    for line in [
        "trunkline_alerts_raised_total{kind=\"late\"} 1\n",
        "trunkline_alerts_open{kind=\"late\"} 0\n",
        "trunkline_late_notice_seconds_count 1\n",
    ] {
        assert!(figures.contains(line), "{line}: {figures}");
    }
    // Nobody but operations ever had a byte of it.
    let version = web.version("o").await;
    for (view, screen) in &mut screens {
        screen.until("the end", |s| s.orders["o"].state["status"] == 4).await;
        let told = screen.texts.iter().any(|text| text.contains("alerts") || text.contains("late_risk"));
        assert_eq!(told, *view == "operations", "{view}: {:?}", screen.texts);
        assert!(screen.orders["o"].gaps == 0 && screen.orders["o"].version <= version, "{view}");
    }
    drop((screens, board));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_a_promises_window_and_back_after_it_late_is_raised_once() {
    let server = Server::start().await;
    let (data, url) = (server.dir.path().join("data"), server.ready.url());
    let program = Program::start(&data, &url, "").await;
    let due_ms = promised(&program.web, "o", -60_000, 4_000).await;
    the_alert(&program.web, "o", "late_risk").await;
    let killed_ms = program.web.cell_time().await;
    assert!(killed_ms < due_ms, "the machine is too slow for this test's window");
    program.kill().await;
    assert_eq!(count(&data, "SELECT count(*) FROM alerts WHERE kind = 'late'"), 0);
    assert_eq!(count(&data, "SELECT count(*) FROM timers WHERE kind = 'late'"), 1);
    // Until the promise has passed, while nobody looks.
    while trunkline::clock::wall().0 < due_ms + 1_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let back_ms = trunkline::clock::wall().0;
    let program = Program::start(&data, &url, "").await;
    let late = the_alert(&program.web, "o", "late").await;
    assert_eq!(late["due_at_ms"], due_ms);
    let detected_ms = late["detected_at_ms"].as_i64().unwrap();
    assert!(detected_ms >= back_ms && detected_ms >= due_ms + 1_000, "{late}, back at {back_ms}");
    assert_eq!(late["evidence"]["measure"], json!((detected_ms - due_ms) as f64));
    // Again and again: it stays the one.
    program.kill().await;
    let program = Program::start(&data, &url, "").await;
    assert_eq!(the_alert(&program.web, "o", "late").await, late);
    let js = server.jetstream().await;
    let told = || async { messages(&js, "ALERT_default", "alert.default.late.>").await.len() == 1 };
    eventually("the stream has it", told).await;
    assert_eq!(messages(&js, "ALERT_default", "alert.default.late.>").await.into_values().next(), Some(late));
    let timers = messages(&js, "CELL_default", "timer.default.o.late.*").await;
    assert_eq!(timers.len(), 1, "{timers:?}");
    let raised = "SELECT count(*) FROM order_tracking WHERE order_id = 'o' AND note LIKE 'raised late %'";
    assert_eq!(count(&data, raised), 1);
    program.kill().await;
}

/// Deadlines of a second, so that a test sees all of them.
fn hasty() -> Value {
    json!({
        "rules_version": 3, "unpaid_ms": 1_500,
        "signal_lost": {"after_ms": 1_000}, "stage_overdue": {"received_ms": 700, "picking_ms": 900, "packed_ms": 900},
    })
}

/// A shop and a phone over NATS: orders that are paid or not, picked or not, carried and lost, and in the end all over.
async fn busy(world: &Party, orders: usize) {
    let say = async |order: &str, verb: &str, body: Value| {
        let subject = format!("order.default.{order}.{verb}");
        world.say(&subject, Some(&format!("{verb}-{order}")), body.to_string()).await
    };
    for n in 0..orders {
        let (order, now) = (format!("o{n}"), trunkline::clock::wall().0);
        let mut body = facts();
        body["promise"] = json!({"from_ms": now, "to_ms": now + 1_200 + 10 * n as i64});
        say(&order, "create", body).await;
        if n % 5 == 0 {
            continue;
        }
        say(&order, "pay", json!({})).await;
        if n % 5 > 1 {
            world.say(&format!("warehouse.default.w1.{order}.packed"), None, "{}").await;
            say(&order, "assign", json!({"rider": format!("r{n}")})).await;
            let fix = fix_body((31.2, 121.4), trunkline::clock::wall().0);
            world.say(&format!("rider.default.r{n}.fix"), None, fix.to_string()).await;
        }
    }
}

/// The figures that two owners must agree on at the end.
fn hash(data: &Path) -> String {
    state_hash(&database(data)).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_of_a_cell_fire_each_timer_and_say_each_alert_once_and_agree() {
    let server = Server::start().await;
    let (one, two) = (server.dir.path().join("one"), server.dir.path().join("two"));
    let owner = async |data: &Path| {
        let mut owning = settings(data, &server.ready.url());
        owning.roles = vec!["tracker".into()];
        Node::start(owning).await
    };
    let first = owner(&one).await;
    let world = Party::new(&server, Some("system.shop")).await;
    let control = Party::new(&server, Some("operations.alice")).await;
    let said = control.outcome("control.default.rules", None, &hasty()).await;
    assert!(said["accepted"].is_object(), "{said}");
    busy(&world, 20).await;
    // The second comes by mistake, in the middle of it.
    let second = owner(&two).await;
    let later = async {
        for n in 20..40 {
            let (order, now) = (format!("o{n}"), trunkline::clock::wall().0);
            let mut body = facts();
            body["promise"] = json!({"from_ms": now, "to_ms": now + 900});
            for (verb, body) in [("create", body), ("pay", json!({}))] {
                let key = format!("{verb}-{order}");
                world.say(&format!("order.default.{order}.{verb}"), Some(&key), body.to_string()).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    later.await;
    let js = server.jetstream().await;
    for kind in ["late", "signal_lost", "stage_overdue"] {
        let subjects = format!("alert.default.{kind}.>");
        let raised = || async { messages(&js, "ALERT_default", &subjects).await.len() >= 8 };
        eventually(kind, raised).await;
    }
    let expired = || async { messages(&js, "CELL_default", "timer.default.*.unpaid.*").await.len() >= 4 };
    eventually("the unpaid ones end", expired).await;
    // All orders come to their end, so that no timer is left.
    for n in 0..40 {
        let body = json!({"reason": "the test is over"}).to_string();
        control.say(&format!("order.default.o{n}.cancel"), Some(&format!("cancel-{n}")), body).await;
    }
    let last = async || js.get_stream("CELL_default").await.unwrap().cached_info().state.last_sequence;
    let at_rest = || async {
        let end = last().await;
        let reached = [&first, &second].iter().all(|node| {
            let metrics = node.metrics();
            node.cursor() == Some(end) && metrics.timers.get() == 0 && metrics.outbox_entries.get() == 0
        });
        reached && last().await == end
    };
    eventually("both owners are at rest at the log's end", at_rest).await;
    let timers = messages(&js, "CELL_default", "timer.default.>").await;
    let stream = messages(&js, "ALERT_default", "alert.default.>").await;
    // One after the other: what the first one says on its way out would be the other's to read.
    first.stop().await;
    second.stop().await;
    assert_eq!(hash(&one), hash(&two));

    let raised = count(&one, "SELECT count(*) FROM alerts");
    let changes = count(&one, "SELECT sum(change) FROM alerts");
    assert_eq!(stream.len(), usize::try_from(changes).unwrap(), "{:?}", stream.keys());
    let firsts = stream.keys().filter(|subject| subject.ends_with(".1")).count();
    assert_eq!(firsts, usize::try_from(raised).unwrap());
    // An order has one alert of a kind at a time, and of these causes each came once.
    let twice = "SELECT count(*) FROM (SELECT 1 FROM alerts WHERE kind IN ('late', 'signal_lost')
                 GROUP BY order_id, kind HAVING count(*) > 1)";
    assert_eq!(count(&one, twice), 0);
    assert!(timers.len() > 60 && raised > 60, "{} timers, {raised} alerts", timers.len());
}
