//! Makes the log: orders through what life has for them, all on one made-up morning in a made-up place. Timers are put in
//! as an owner would, by playing what there is so far; for a while there was no owner.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use trunkline::{
    domain::{CellId, Effect, OrderId, UnixMillis, cell::Solo, effect::TimerKind, rules::RULES_VERSION},
    wire::{
        log::{Raw, decode},
        logfile::{Head, LogWriter},
    },
};

/// 2025-06-02 09:00 UTC.
const MORNING: i64 = 1_748_854_800_000;
const SEC: i64 = 1_000;
const MIN: i64 = 60 * SEC;

/// The way of every order: so far east, then so far north, in metres from the warehouse.
const EAST_M: f64 = 2_000.0;
const NORTH_M: f64 = 1_500.0;
const SPEED_MPS: f64 = 6.0;
/// Between two fixes.
const EVERY_S: i64 = 15;

/// While no owner ran: timers that were due then fired at its end.
const OUTAGE: std::ops::Range<i64> = MORNING + 76 * MIN..MORNING + 84 * MIN;

/// A message before it has its place.
struct Said {
    at: i64,
    subject: String,
    key: Option<String>,
    publisher: Option<&'static str>,
    body: Value,
}

/// One order's scene. Times are in milliseconds since its own begin.
struct Scene {
    order: &'static str,
    rider: String,
    begin: i64,
    said: Vec<Said>,
    battery: f64,
}

/// Degrees of a place so far north and east of the warehouse.
fn place((north_m, east_m): (f64, f64)) -> (f64, f64) {
    let round = |degrees: f64| (degrees * 1e6).round() / 1e6;
    (round(31.0 + north_m / 111_195.0), round(121.0 + east_m / 95_314.0))
}

/// So far along the way.
fn along(way_m: f64) -> (f64, f64) {
    let way_m = way_m.clamp(0.0, EAST_M + NORTH_M);
    ((way_m - EAST_M).max(0.0), way_m.min(EAST_M))
}

/// GPS noise of up to 5 m, the same every time.
fn noise(n: i64) -> (f64, f64) {
    let part = |salt: i64| ((n * 7_919 + salt).rem_euclid(101) - 50) as f64 / 10.0;
    (part(0), part(37))
}

impl Scene {
    fn new(order: &'static str, nth: i64) -> Self {
        Self { order, rider: format!("r{nth}"), begin: MORNING + nth * 7 * SEC, said: Vec::new(), battery: 80.0 }
    }

    fn say(&mut self, at: i64, subject: String, key: Option<String>, publisher: Option<&'static str>, body: Value) {
        self.said.push(Said { at: self.begin + at, subject, key, publisher, body });
    }

    fn order(&mut self, at: i64, verb: &str, body: Value) {
        let key = format!("{}-{verb}-{at}", self.order);
        self.say(at, format!("order.default.{}.{verb}", self.order), Some(key), Some("system.shop"), body);
    }

    fn stage(&mut self, at: i64, stage: &str) {
        self.say(at, format!("warehouse.default.w1.{}.{stage}", self.order), None, None, json!({}));
    }

    fn create(&mut self, promise_min: i64, route: bool) {
        let (lat, lon) = place((0.0, 0.0));
        let (to_lat, to_lon) = place((NORTH_M, EAST_M));
        let mut body = json!({
            "user_id": "u1", "items": 3, "amount_minor": 4200, "currency": "CNY",
            "warehouse": {"id": "w1", "name": "North depot", "lat": lat, "lon": lon},
            "destination": {"lat": to_lat, "lon": to_lon},
            "promise": self.promise(promise_min),
        });
        if route {
            body["route"] = planned_route();
        }
        self.order(0, "create", body);
    }

    fn promise(&self, promise_min: i64) -> Value {
        json!({"from_ms": self.begin + 10 * MIN, "to_ms": self.begin + promise_min * MIN})
    }

    /// Another promise than the first.
    fn edit(&mut self, at: i64, promise_min: i64) {
        let promise = self.promise(promise_min);
        self.order(at, "edit", json!({"promise": promise}));
    }

    /// By operations, who take note of the order's `n`th alert.
    fn acknowledge(&mut self, at: i64, n: u32) {
        let key = format!("{}-acknowledge-{n}-{at}", self.order);
        let subject = format!("order.default.{}.acknowledge", self.order);
        self.say(at, subject, Some(key), Some("operations.alice"), json!({"alert": n}));
    }

    /// Created, paid, picked and given to the rider, who waits at the warehouse and sets off at five minutes.
    fn begun(order: &'static str, nth: i64, promise_min: i64) -> Self {
        let mut scene = Self::new(order, nth);
        scene.create(promise_min, true);
        scene.picked();
        scene
    }

    fn picked(&mut self) {
        self.order(20 * SEC, "pay", json!({}));
        self.stage(MIN, "picking");
        self.stage(3 * MIN, "packed");
        let rider = self.rider.clone();
        self.order(4 * MIN, "assign", json!({"rider": rider}));
        self.wait(4 * MIN + 5 * SEC, 5 * MIN);
        self.stage(5 * MIN, "handed_over");
    }

    /// At the warehouse's door, give or take what GPS does.
    fn wait(&mut self, from: i64, until: i64) {
        for at in (0..).map(|n| from + n * EVERY_S * SEC).take_while(|at| *at < until) {
            let (a, b) = noise(at / SEC);
            self.fix(at, (10.0 + a, b));
        }
    }

    fn fix_body(&self, at: i64, (north_m, east_m): (f64, f64)) -> Value {
        let (lat, lon) = place((north_m, east_m));
        json!({"lat": lat, "lon": lon, "fix_time_ms": self.begin + at - SEC, "accuracy_m": 8, "battery_pct": self.battery.round()})
    }

    fn fix(&mut self, at: i64, at_m: (f64, f64)) {
        let body = self.fix_body(at, at_m);
        self.say(at, format!("rider.default.{}.fix", self.rider), None, None, body);
    }

    fn batch(&mut self, at: i64, fixes: Vec<Value>) {
        self.say(at, format!("rider.default.{}.fixes", self.rider), None, None, json!({"fixes": fixes}));
    }

    /// Fixes from `from` on while the rider covers `way_m`, shifted by `off` metres north and east; gives when it ends.
    fn ride(&mut self, from: i64, way_m: std::ops::Range<f64>, off: (f64, f64)) -> i64 {
        let mut at = from;
        for (at_now, at_m) in ridden(from, way_m, off) {
            self.fix(at_now, at_m);
            at = at_now;
        }
        at + EVERY_S * SEC
    }

    fn stand(&mut self, from: i64, until: i64, (north_m, east_m): (f64, f64)) {
        for n in 0..(until - from) / (EVERY_S * SEC) {
            let at = from + n * EVERY_S * SEC;
            let (a, b) = noise(at / SEC);
            // Jitter of up to 15 m, and an outlier of 60 m a minute.
            let outlier = if n % 4 == 3 { 60.0 } else { 0.0 };
            self.fix(at, (north_m + 3.0 * a + outlier, east_m + 3.0 * b));
        }
    }

    fn deliver(&mut self, at: i64) {
        let (rider, order) = (self.rider.clone(), self.order);
        let key = format!("{order}-delivered");
        self.say(at, format!("rider.default.{rider}.delivered"), Some(key), None, json!({"order": order}));
    }
}

fn planned_route() -> Value {
    let line: Vec<_> = [0.0, EAST_M, EAST_M + NORTH_M].map(|m| place(along(m))).map(|(lat, lon)| [lon, lat]).into();
    json!({"type": "LineString", "coordinates": line})
}

const WHOLE: std::ops::Range<f64> = 0.0..EAST_M + NORTH_M;

/// When and where fixes of a ride are taken.
fn ridden(from: i64, way_m: std::ops::Range<f64>, off: (f64, f64)) -> Vec<(i64, (f64, f64))> {
    let mut fixes = Vec::new();
    let (mut at, mut way) = (from, way_m.start);
    while way < way_m.end {
        let (north_m, east_m) = along(way);
        let (a, b) = noise(at / SEC);
        fixes.push((at, (north_m + off.0 + a, east_m + off.1 + b)));
        at += EVERY_S * SEC;
        way += SPEED_MPS * EVERY_S as f64;
    }
    if way_m.end >= WHOLE.end {
        let ((north_m, east_m), (a, b)) = (along(WHOLE.end), noise(at / SEC));
        fixes.push((at, (north_m + a, east_m + b)));
    }
    fixes
}

fn scenes() -> Vec<Scene> {
    let ride_at = 5 * MIN + 10 * SEC;
    let mut all = Vec::new();

    let mut plain = Scene::begun("plain", 1, 40);
    let end = plain.ride(ride_at, WHOLE, (0.0, 0.0));
    plain.order(end + 30 * SEC, "deliver", json!({}));
    all.push(plain);

    // 300 m beside the way for some three minutes, and back.
    let mut detour = Scene::begun("detour", 2, 40);
    let at = detour.ride(ride_at, 0.0..700.0, (0.0, 0.0));
    let at = detour.ride(at + 30 * SEC, 800.0..1_800.0, (300.0, 0.0));
    let at = detour.ride(at + 30 * SEC, 1_900.0..WHOLE.end, (0.0, 0.0));
    detour.deliver(at);
    all.push(detour);

    let mut stall = Scene::begun("stall", 3, 60);
    let at = stall.ride(ride_at, 0.0..1_000.0, (0.0, 0.0));
    stall.stand(at, at + 8 * MIN, along(1_000.0));
    let at = stall.ride(at + 8 * MIN, 1_000.0..WHOLE.end, (0.0, 0.0));
    stall.deliver(at);
    all.push(stall);

    let mut lost = Scene::begun("lost", 4, 60);
    let at = lost.ride(ride_at, 0.0..1_000.0, (0.0, 0.0));
    let at = lost.ride(at + 3 * MIN, 2_000.0..WHOLE.end, (0.0, 0.0));
    lost.deliver(at);
    all.push(lost);

    // First it's a risk, then picking goes well, but the rider waits at the warehouse: a risk again, and then it is so.
    let mut late = Scene::begun("late", 5, 20);
    late.wait(5 * MIN + 5 * SEC, 10 * MIN);
    let at = late.ride(10 * MIN, WHOLE, (0.0, 0.0));
    late.deliver(at + MIN);
    all.push(late);

    let mut overdue = Scene::new("overdue", 6);
    overdue.create(90, false);
    overdue.order(20 * SEC, "pay", json!({}));
    overdue.stage(2 * MIN, "picking");
    overdue.stage(45 * MIN, "packed");
    overdue.order(46 * MIN, "cancel", json!({"reason": "too long"}));
    all.push(overdue);

    // Said to be delivered half-way; operations take note, and once more.
    let mut wrong = Scene::begun("wrong-place", 7, 40);
    let at = wrong.ride(ride_at, 0.0..1_500.0, (0.0, 0.0));
    wrong.deliver(at);
    wrong.acknowledge(at + 2 * MIN, 1);
    wrong.acknowledge(at + 3 * MIN, 1);
    all.push(wrong);

    let mut battery = Scene::begun("battery", 8, 40);
    let mut at = ride_at;
    for (n, percent) in [30.0, 18.0, 14.0, 9.0, 60.0].into_iter().enumerate() {
        battery.battery = percent;
        let way = 700.0 * n as f64;
        at = battery.ride(at, way..way + 700.0, (0.0, 0.0));
    }
    battery.deliver(at);
    all.push(battery);

    // Offline for a part of the way, on which it was off the route; the batch comes later, and once more after the end.
    let mut offline = Scene::begun("offline", 9, 40);
    let at = offline.ride(ride_at, 0.0..600.0, (0.0, 0.0));
    let missed = ridden(at, 600.0..1_400.0, (350.0, 0.0));
    let missed: Vec<_> = missed.into_iter().map(|(at, at_m)| offline.fix_body(at, at_m)).collect();
    let back = at + 140 * SEC;
    let at = offline.ride(back, 1_500.0..WHOLE.end, (0.0, 0.0));
    offline.batch(back + 2 * MIN, missed.clone());
    offline.deliver(at);
    offline.batch(at + 10 * MIN, missed);
    all.push(offline);

    // Everything twice.
    let mut doubled = Scene::begun("doubled", 10, 40);
    let at = doubled.ride(ride_at, WHOLE, (0.0, 0.0));
    doubled.deliver(at);
    doubled.said = doubled.said.into_iter().flat_map(twice).collect();
    all.push(doubled);

    // From one rider's hands, who is off the route with a phone that runs out, into another's.
    let mut handed = Scene::begun("handed", 11, 40);
    let at = handed.ride(ride_at, 0.0..600.0, (0.0, 0.0));
    handed.battery = 12.0;
    let at = handed.ride(at, 600.0..1_200.0, (250.0, 0.0));
    handed.acknowledge(at - 40 * SEC, 1);
    handed.rider = "r111".to_owned();
    handed.battery = 90.0;
    handed.fix(at - SEC, along(1_250.0));
    handed.order(at, "assign", json!({"rider": "r111"}));
    let at = handed.ride(at + 10 * SEC, 1_250.0..WHOLE.end, (0.0, 0.0));
    handed.deliver(at);
    all.push(handed);

    // Without a route: the wrong way, away from the destination.
    let mut astray = Scene::new("astray", 12);
    astray.create(40, false);
    astray.order(20 * SEC, "pay", json!({}));
    astray.stage(MIN, "packed");
    astray.order(2 * MIN, "assign", json!({"rider": "r12"}));
    astray.wait(2 * MIN + 5 * SEC, 3 * MIN);
    let at = astray.ride(3 * MIN, 0.0..900.0, (0.0, 0.0));
    let mut south = 0.0;
    let mut now = at;
    while south < 1_200.0 {
        astray.fix(now, (-south, 900.0));
        south += 90.0;
        now += EVERY_S * SEC;
    }
    astray.order(now, "cancel", json!({"reason": "asked by phone"}));
    astray.said.last_mut().unwrap().publisher = Some("operations.alice");
    all.push(astray);

    let mut unpaid = Scene::new("unpaid", 13);
    unpaid.create(90, false);
    unpaid.order(31 * MIN, "pay", json!({}));
    all.push(unpaid);

    // On a street beside the route, 110 m off, for some two minutes.
    let mut beside = Scene::begun("beside", 14, 40);
    let at = beside.ride(ride_at, 0.0..500.0, (0.0, 0.0));
    let at = beside.ride(at, 540.0..1_300.0, (110.0, 0.0));
    let at = beside.ride(at, 1_350.0..WHOLE.end, (0.0, 0.0));
    beside.deliver(at);
    all.push(beside);

    // Promised what can't be kept; promised anew.
    let mut edited = Scene::new("edited", 15);
    edited.create(15, true);
    edited.edit(2 * MIN, 45);
    edited.picked();
    let at = edited.ride(ride_at, WHOLE, (0.0, 0.0));
    edited.deliver(at);
    all.push(edited);

    // A broken promise, and another one.
    let mut broken = Scene::new("broken", 16);
    broken.create(22, true);
    broken.order(20 * SEC, "pay", json!({}));
    broken.stage(4 * MIN, "received");
    broken.stage(12 * MIN, "packed");
    broken.edit(25 * MIN, 60);
    broken.order(40 * MIN, "cancel", json!({"reason": "sold out"}));
    all.push(broken);

    // Without a route, which is found; the way then is not that of the crow. Another one comes too late.
    let mut found = Scene::new("found", 17);
    found.create(40, false);
    let ((lat, lon), (to_lat, to_lon)) = (place((0.0, 0.0)), place((NORTH_M, EAST_M)));
    let route = json!({
        "order": "found", "from": {"lat": lat, "lon": lon}, "to": {"lat": to_lat, "lon": to_lon},
        "route": planned_route(), "source": "osrm",
    });
    for at in [40 * SEC, 50 * SEC] {
        found.say(at, "control.default.route".to_owned(), None, None, route.clone());
    }
    found.picked();
    let at = found.ride(ride_at, WHOLE, (0.0, 0.0));
    found.deliver(at);
    all.push(found);

    // Cancelled while something is feared.
    let mut feared = Scene::new("feared", 18);
    feared.create(15, true);
    feared.order(20 * SEC, "pay", json!({}));
    feared.order(3 * MIN, "cancel", json!({"reason": "changed my mind"}));
    all.push(feared);

    // The promise passes while no owner runs; that is noticed afterwards.
    let mut outage = Scene::new("outage", 19);
    outage.begin += 45 * MIN;
    outage.create(32, true);
    outage.order(20 * SEC, "pay", json!({}));
    outage.stage(2 * MIN, "picking");
    outage.stage(14 * MIN, "packed");
    outage.order(38 * MIN, "cancel", json!({"reason": "no rider"}));
    all.push(outage);
    all
}

fn twice(said: Said) -> [Said; 2] {
    let Said { at, subject, key, publisher, body } = said;
    let again = Said { at: at + 400, subject: subject.clone(), key: key.clone(), publisher, body: body.clone() };
    [Said { at, subject, key, publisher, body }, again]
}

/// The log being made, and the cell that it makes.
struct Made {
    writer: LogWriter<Vec<u8>>,
    solo: Solo,
    timers: BTreeMap<(UnixMillis, OrderId, TimerKind), u32>,
    seq: u64,
    /// When the last message came.
    last: i64,
}

impl Made {
    fn put(&mut self, Said { at, subject, key, publisher, body }: Said) {
        self.last = at;
        let payload = if body.is_null() { String::new() } else { body.to_string() };
        self.seq += 1;
        let raw = Raw {
            seq: self.seq,
            log_time: UnixMillis(at),
            subject: &subject,
            payload: payload.as_bytes(),
            idempotency_key: key.as_deref(),
            publisher,
        };
        self.writer.write(&raw).unwrap();
        for (order, effect) in self.solo.apply(&decode(raw)).effects {
            match effect {
                Effect::SetTimer { kind, n, due } => {
                    self.timers.retain(|(_, of, other), _| (of, *other) != (&order, kind));
                    self.timers.insert((due, order, kind), n);
                }
                Effect::ClearTimer { kind } => self.timers.retain(|(_, of, other), _| (of, *other) != (&order, kind)),
                _ => {}
            }
        }
    }

    /// As the owner: a little after they are due, or when it is back.
    fn fire_until(&mut self, until: i64) {
        let fires_at = |due: i64| if OUTAGE.contains(&due) { OUTAGE.end } else { due } + 3;
        while let Some(first) = self.timers.first_entry()
            && fires_at(first.key().0.0) < until
        {
            let ((due, order, kind), n) = first.remove_entry();
            let subject = format!("timer.default.{order}.{}.{n}", kind.name());
            let at = fires_at(due.0).max(self.last);
            self.put(Said { at, subject, key: None, publisher: None, body: Value::Null });
        }
    }
}

/// The whole log as a file.
pub(crate) fn log() -> Vec<u8> {
    let mut said: Vec<Said> = scenes().into_iter().flat_map(|scene| scene.said).collect();
    let rules = json!({"rules_version": RULES_VERSION});
    let subject = "control.default.rules".to_owned();
    said.push(Said { at: MORNING - SEC, subject, key: None, publisher: None, body: rules });
    said.sort_by_key(|s| s.at);
    let end = said.last().map_or(MORNING, |s| s.at) + 60 * MIN;

    // The head says how long it is, so it is made twice.
    let mut last_seq = 0;
    loop {
        let head = Head::new(CellId::default(), MORNING * 1_000_000, 1, last_seq);
        let writer = LogWriter::new(Vec::new(), &head).unwrap();
        let mut made = Made { writer, solo: Solo::default(), timers: BTreeMap::new(), seq: 0, last: 0 };
        for s in &said {
            made.fire_until(s.at);
            let Said { at, subject, key, publisher, body } = s;
            let (at, publisher) = (*at, *publisher);
            made.put(Said { at, subject: subject.clone(), key: key.clone(), publisher, body: body.clone() });
        }
        made.fire_until(end);
        if made.seq == last_seq {
            return made.writer.finish().unwrap();
        }
        last_seq = made.seq;
    }
}
