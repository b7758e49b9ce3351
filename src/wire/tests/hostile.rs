//! The contract as its parties meet it: hostile payloads, extreme numbers, and the JSON that they are answered with.

use crate::domain::{
    Answer, OrderId, Refusal, Status, UnixMillis, Verdict,
    cell::{Input, Solo},
    fix::Mark,
    status::Event,
    testing::T0,
};
use crate::wire::{
    FieldError, answer,
    log::{Raw, decode},
    merge,
    problem::Problem,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const SUBJECTS: [&str; 17] = [
    "order.default.o1.create",
    "order.default.o1.pay",
    "order.default.o1.cancel",
    "order.default.o1.assign",
    "order.default.o1.unassign",
    "order.default.o1.deliver",
    "order.default.o1.fly",
    "warehouse.default.w1.o1.packed",
    "rider.default.r1.fix",
    "rider.default.r1.fixes",
    "rider.default.r1.shift",
    "rider.default.r1.trip",
    "rider.default.r1.delivered",
    "timer.default.o1.unpaid.1",
    "control.default.clock",
    "control.default.rules",
    "control.default.route",
];

fn create() -> Value {
    json!({
        "user_id": "u1", "warehouse": {"id": "w1", "name": "W", "lat": 31.2, "lon": 121.4},
        "destination": {"lat": 31.21, "lon": 121.45}, "amount_minor": 4200, "currency": "CNY", "items": 3,
        "promise": {"from_ms": 1, "to_ms": 2}, "extra": {"gate": 4},
        "route": {"type": "LineString", "coordinates": [[121.4, 31.2], [121.45, 31.21]]}, "datum": "gcj02"
    })
}

/// A payload that its subject takes.
fn valid(subject: &str) -> Value {
    let fix = json!({"lat": 31.2, "lon": 121.4, "fix_time_ms": T0, "seq": 1, "accuracy_m": 5.0, "speed_mps": 3.5,
        "heading_deg": 90, "battery_pct": 55});
    match subject.rsplit('.').next() {
        Some("create") => create(),
        Some("cancel") => json!({"reason": "no stock", "if_rev": 1}),
        Some("assign") => json!({"rider": "r1"}),
        Some("deliver") => json!({"at_ms": T0}),
        Some("fix") => fix,
        Some("fixes") => json!({"fixes": [fix, fix], "sent_time_ms": T0, "datum": "bd09"}),
        Some("shift") => json!({"on": true}),
        Some("trip") => json!({"stops": ["o1"]}),
        Some("delivered") => json!({"order": "o1", "at_ms": T0, "sent_time_ms": T0}),
        Some("clock") => json!({"scale": 60, "cell_time_ms": T0}),
        Some("rules") => json!({"unpaid_ms": 1_000, "max_speed_mps": 30.0}),
        Some("route") => {
            json!({"order": "o1", "from": {"lat": 31.2, "lon": 121.4}, "to": {"lat": 31.21, "lon": 121.45},
            "route": {"polyline": "_p~iF~ps|U_ulLnnqC", "precision": 5}, "source": "osrm"})
        }
        Some(_) | None => json!({}),
    }
}

fn raw<'a>(subject: &'a str, payload: &'a [u8]) -> Raw<'a> {
    let (idempotency_key, publisher) = (Some("k1"), Some("operations.alice"));
    Raw { seq: 1, log_time: UnixMillis(T0), subject, payload, idempotency_key, publisher }
}

/// The field that is to blame, or `None` for a payload that fits.
fn blamed(subject: &str, payload: &[u8]) -> Option<String> {
    match decode(raw(subject, payload)).input {
        Input::Malformed { field, .. } => Some(field),
        Input::Command { .. }
        | Input::Stage { .. }
        | Input::Fixes { .. }
        | Input::Shift { .. }
        | Input::Trip { .. }
        | Input::Timer { .. }
        | Input::Route { .. }
        | Input::Clock { .. }
        | Input::Rules { .. } => None,
    }
}

/// Replaces the value at a pointer, or adds a member.
fn with(mut body: Value, pointer: &str, value: Value) -> Vec<u8> {
    match body.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => drop(body.as_object_mut().unwrap().insert(pointer[1..].to_owned(), value)),
    }
    body.to_string().into_bytes()
}

/// Whatever JSON can say, and a little more.
fn hostile() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just(json!(1e308)),
        Just(json!(-1e308)),
        Just(json!(i64::MAX)),
        Just(json!(i64::MIN)),
        Just(json!(u64::MAX)),
        Just(json!(0)),
        Just(json!(-1)),
        Just(json!(5e-324)),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ];
    let leaf = prop_oneof![4 => number, 1 => Just(Value::Null), 1 => any::<bool>().prop_map(Value::from),
        2 => ".{0,12}".prop_map(Value::from), 1 => "[A-Za-z0-9_.`-]{1,70}".prop_map(Value::from)];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,8}", inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Every pointer into a value.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{k}"), out)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Any value in any place: it decodes or a field is named, and the core survives it.
    #[test]
    fn no_value_in_any_place_panics(subject in 0..SUBJECTS.len(), place: prop::sample::Index, value in hostile()) {
        let subject = SUBJECTS[subject];
        let (mut body, mut places) = (valid(subject), Vec::new());
        pointers(&body, "", &mut places);
        *body.pointer_mut(&places[place.index(places.len())]).unwrap() = value;
        let payload = body.to_string();
        let mut solo = Solo::default();
        for subject in ["order.default.o1.create", "order.default.o1.pay", "order.default.o1.assign"] {
            solo.apply(&decode(raw(subject, valid(subject).to_string().as_bytes())));
        }
        let entry = decode(raw(subject, payload.as_bytes()));
        if let Input::Malformed { field, reason } = &entry.input {
            prop_assert!(!field.is_empty() && field.len() < 320 && reason.len() < 320, "{field}: {reason}");
            prop_assert!(!field.contains(char::is_control) && !reason.contains(char::is_control));
        }
        solo.apply(&entry);
        let fix = valid("rider.default.r1.fix").to_string();
        solo.apply(&decode(raw("rider.default.r1.fix", fix.as_bytes())));
    }

    #[test]
    fn no_bytes_panic(subject in 0..SUBJECTS.len(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
                      noise in prop::collection::vec(any::<u8>(), 0..40)) {
        let subject = SUBJECTS[subject];
        let mut payload = valid(subject).to_string().into_bytes();
        let place = at.index(payload.len());
        payload[place] = byte;
        decode(raw(subject, &payload));
        decode(raw(subject, &payload[..cut.index(payload.len())]));
        decode(raw(subject, &noise));
    }

    /// What is parsed and printed again on its way to a client is still the same, to the last bit of a number.
    #[test]
    fn numbers_survive_any_number_of_hops(number in any::<f64>().prop_filter("JSON", |n| n.is_finite())) {
        let text = json!({"extra": number}).to_string();
        let hop = |text: &str| serde_json::from_str::<Value>(text).unwrap().to_string();
        prop_assert_eq!(hop(&hop(&text)), text);
    }
}

#[test]
fn valid_payloads_fit() {
    for subject in SUBJECTS {
        let expected = (subject == "order.default.o1.fly").then(|| "verb".to_owned());
        assert_eq!(blamed(subject, valid(subject).to_string().as_bytes()), expected, "{subject}");
    }
}

#[test]
fn the_field_to_blame_is_named_with_its_path() {
    let (fix, fixes) = ("rider.default.r1.fix", "rider.default.r1.fixes");
    for (subject, pointer, value, field) in [
        (fix, "/lat", json!(91), "lat"),
        (fix, "/lat", json!("31"), "lat"),
        (fix, "/lon", json!(1e308), "lon"),
        (fix, "/fix_time_ms", json!(1e308), "fix_time_ms"),
        (fix, "/fix_time_ms", json!(i64::MAX), "fix_time_ms"),
        (fix, "/fix_time_ms", json!(u64::MAX), "fix_time_ms"),
        (fix, "/seq", json!(-1), "seq"),
        (fix, "/heading_deg", json!(-1), "heading_deg"),
        (fix, "/battery_pct", json!(101), "battery_pct"),
        (fix, "/datum", json!("mars"), "datum"),
        (fix, "/sent_time_ms", json!(i64::MIN), "sent_time_ms"),
        (fixes, "/fixes/1/lat", Value::Null, "fixes[1].lat"),
        (fixes, "/fixes/1", json!({"lat": 1, "lon": 1}), "fixes[1].fix_time_ms"),
        (fixes, "/fixes/0", json!({"lat": 1, "lon": 1, "fix_time_ms": 1, "sped": 1}), "fixes[0].sped"),
        (fixes, "/fixes", json!([]), "fixes"),
        ("order.default.o1.create", "/warehouse/lat", json!([]), "warehouse.lat"),
        ("order.default.o1.create", "/warehouse", json!({"id": "w1", "name": "W", "lat": 1}), "warehouse.lon"),
        ("order.default.o1.create", "/destination/lon", json!(181), "destination.lon"),
        ("order.default.o1.create", "/amount_minor", json!(u64::MAX), "amount_minor"),
        ("order.default.o1.create", "/amount_minor", json!(-1), "amount_minor"),
        ("order.default.o1.create", "/promise/to_ms", json!(i64::MAX), "promise.to_ms"),
        ("order.default.o1.create", "/promise/from_ms", json!(3), "promise.from_ms"),
        ("order.default.o1.create", "/route", json!({"polyline": "_p~iF~ps|U", "precision": 7}), "route.precision"),
        ("order.default.o1.create", "/route", json!({"type": "Point", "coordinates": []}), "route.type"),
        ("order.default.o1.create", "/route", json!(7), "route"),
        ("order.default.o1.create", "/route", json!({"gpx": "<gpx>"}), "route.gpx"),
        ("control.default.route", "/order", json!("a.b"), "order"),
        ("control.default.route", "/from", json!({"lat": 91, "lon": 0}), "from.lat"),
        ("control.default.route", "/to", json!([31.2, 121.4]), "to"),
        ("control.default.route", "/route", json!({"polyline": "_", "precision": 6}), "route.polyline"),
        ("control.default.route", "/source", json!("x".repeat(501)), "source"),
        ("order.default.o1.create", "/extra", json!([1]), "extra"),
        ("order.default.o1.cancel", "/if_rev", json!(-1), "if_rev"),
        ("order.default.o1.deliver", "/at_ms", json!(i64::MAX), "at_ms"),
        ("order.default.o1.assign", "/rider", json!("a.b"), "rider"),
        ("rider.default.r1.delivered", "/sent_time_ms", json!(i64::MIN), "sent_time_ms"),
        ("rider.default.r1.trip", "/stops", json!(["o1", "o.2"]), "stops[1]"),
        ("control.default.clock", "/scale", json!(0), "scale"),
        ("control.default.clock", "/cell_time_ms", json!(i64::MAX), "cell_time_ms"),
        ("control.default.rules", "/max_speed_mps", json!(1e308), "max_speed_mps"),
        ("control.default.rules", "/late_ms", json!(-1), "late_ms"),
        ("control.default.rules", "/rules_version", json!(crate::domain::rules::RULES_VERSION + 1), "rules_version"),
    ] {
        let payload = with(valid(subject), pointer, value);
        assert_eq!(blamed(subject, &payload).as_deref(), Some(field), "{}", String::from_utf8_lossy(&payload));
    }
    assert_eq!(blamed(fix, b"{\"lat\": 1,").as_deref(), Some("payload"));
    assert_eq!(blamed(fix, b"{} x").as_deref(), Some("lat"));
    assert_eq!(blamed("order.default.o1.pay", b"{} x").as_deref(), Some("payload"));
    assert_eq!(blamed("order.default.o1.2.pay", b"{}").as_deref(), Some("subject"));
}

#[test]
fn headers_are_checked_and_named() {
    let long = "k".repeat(201);
    let with = |key, publisher| {
        let entry = decode(Raw { idempotency_key: key, publisher, ..raw(SUBJECTS[1], b"") });
        let Input::Malformed { field, .. } = entry.input else { panic!("{entry:?}") };
        field
    };
    assert_eq!(with(None, None), "Idempotency-Key");
    assert_eq!(with(Some(&long), None), "Idempotency-Key");
    assert_eq!(with(Some("k"), Some("alice")), "Trunkline-Publisher");
    assert_eq!(with(Some("k"), Some("boss.alice")), "Trunkline-Publisher");
}

#[test]
fn quoted_input_is_short_and_of_one_line() {
    let payload = json!({"lat": 1, "lon": 1, "fix_time_ms": 1, "x\r\nEvil: 1".repeat(9_999): 1}).to_string();
    let Input::Malformed { field, reason } = decode(raw("rider.default.r1.fix", payload.as_bytes())).input else {
        panic!("taken");
    };
    assert!(field.len() < 320 && reason.len() < 320, "{} {}", field.len(), reason.len());
    assert!(!field.contains(['\r', '\n']) && !reason.contains(['\r', '\n']), "{field:?} {reason:?}");
}

#[test]
fn extra_is_not_deeper_than_its_readers_take_it() {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let create = |depth| {
        let body = create().to_string().replace("{\"gate\":4}", &nested(depth));
        blamed("order.default.o1.create", body.as_bytes())
    };
    assert_eq!(create(32), None);
    assert_eq!(create(33).as_deref(), Some("extra"));
    assert_eq!(create(120).as_deref(), Some("extra"));
}

#[test]
fn the_same_delivered_is_one_command_and_a_new_attempt_another() {
    let key = |seq, body: Value| {
        let payload = body.to_string();
        let raw = Raw {
            seq,
            idempotency_key: None,
            publisher: None,
            ..raw("rider.default.r1.delivered", payload.as_bytes())
        };
        let Input::Command { command, .. } = decode(raw).input else { panic!("{payload} was refused") };
        command.key
    };
    let at = |ms: i64| json!({"order": "o1", "at_ms": ms});
    assert_eq!(key(1, at(T0)), key(2, at(T0)));
    assert_ne!(key(1, at(T0)), key(2, at(T0 + 1)));
    assert_ne!(key(1, json!({"order": "o1"})), key(2, json!({"order": "o1"})));
}

#[test]
fn a_heading_is_below_360() {
    let payload = with(valid("rider.default.r1.fix"), "/heading_deg", json!(359.7));
    let Input::Fixes { fixes, .. } = decode(raw("rider.default.r1.fix", &payload)).input else { panic!("refused") };
    assert_eq!(fixes[0].heading_deg, Some(0));
}

#[test]
fn answers_as_json() {
    let outcome = |answer: &Answer| serde_json::to_value(answer::Outcome::from(answer)).unwrap();
    let accepted = crate::domain::Accepted { version: 7, rev: 3, status: Status::Paid };
    assert_eq!(outcome(&Answer::Accepted(accepted)), json!({"accepted": {"version": 7, "rev": 3, "status": 2}}));
    let conflict = Refusal::RevConflict { given: 1, current: 3 };
    assert_eq!(
        outcome(&Answer::Refused(conflict)),
        json!({"refused": {"code": "rev_conflict", "field": "if_rev", "if_rev": 1, "current_rev": 3,
            "detail": "if_rev is 1, the order is at rev 3"}})
    );
    let mut tally = answer::FixTally::default();
    for verdict in [Verdict::Kept(Mark::Good), Verdict::Kept(Mark::Jump), Verdict::Duplicate, Verdict::TooOld] {
        tally.add(verdict);
    }
    assert_eq!(
        serde_json::to_value(answer::Outcome::Fixes(tally)).unwrap(),
        json!({"fixes": {"good": 1, "inaccurate": 0, "jump": 1, "duplicate": 1, "stale": 0, "future": 0, "too_old": 1, "track_full": 0}})
    );
}

#[test]
fn problems_as_json() {
    let refusal = Refusal::Transition { status: Status::Cancelled, event: Event::Pay };
    let problem = Problem::from(answer::RefusalBody::from(&refusal));
    assert_eq!(
        serde_json::to_value(problem).unwrap(),
        json!({"type": "transition", "title": "Not possible in this status", "status": 409, "field": "status",
            "detail": "`pay` is not possible in status 5 (cancelled); possible: nothing, it is final",
            "order_status": 5, "allowed": []})
    );
    let problem = Problem::from(answer::RefusalBody::from(&Refusal::RevConflict { given: 1, current: 2 }));
    assert_eq!((problem.status, problem.if_rev, problem.current_rev), (409, Some(1), Some(2)));
    let problem = Problem::from(FieldError::new("fixes[3].lat", "is 91, outside ±90"));
    assert_eq!(
        serde_json::to_value(problem).unwrap(),
        json!({"type": "bad_input", "title": "A field doesn't fit", "status": 400, "field": "fixes[3].lat",
            "detail": "is 91, outside ±90"})
    );
}

#[test]
fn an_order_as_json() {
    let mut solo = Solo::default();
    for (subject, publisher) in [("create", "system.shop"), ("pay", "system.shop"), ("assign", "operations.alice")] {
        let subject = format!("order.default.o1.{subject}");
        let payload = with(valid(&subject), "/datum", json!("wgs84"));
        let payload = if subject.ends_with("create") { payload } else { valid(&subject).to_string().into_bytes() };
        let outcome = solo.apply(&decode(Raw { publisher: Some(publisher), ..raw(&subject, &payload) }));
        assert!(matches!(outcome.order_answer(), Some(Answer::Accepted(_))), "{outcome:?}");
    }
    let id: OrderId = "o1".parse().unwrap();
    let order = solo.orders[&id].as_ref().unwrap();
    let doc = crate::wire::doc::order(&id, &order.facts, &order.live);
    let expected = json!({
        "id": "o1", "cell": "default", "user_id": "u1", "status": 2, "rev": 3, "rider": {"id": "r1"}, "stops_ahead": 0,
        "warehouse": {"id": "w1", "name": "W", "lat": 31.2, "lon": 121.4}, "destination": {"lat": 31.21, "lon": 121.45},
        "amount_minor": 4200, "currency": "CNY", "items": 3, "promise": {"from_ms": 1, "to_ms": 2}, "extra": {"gate": 4},
        "route": {"type": "LineString", "coordinates": [[121.4, 31.2], [121.45, 31.21]]},
        "created_at_ms": T0, "paid_at_ms": T0
    });
    assert_eq!(doc, expected);
    let mut state = json!({});
    merge::patch(&mut state, &doc);
    assert_eq!(state, expected);
}
