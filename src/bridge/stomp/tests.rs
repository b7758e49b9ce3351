//! The session by itself, on a virtual clock.

use super::session::{Options, Stomp};
use crate::{
    bridge::{
        conversation::{Protocol, Wish},
        frame::Frame,
        link::Message,
        outbox::Beat,
        session::{Action, Limits, Session},
    },
    domain::UnixMillis,
    wire::{
        access::{Principal, Role},
        answer::{Acceptance, Outcome},
        client::{Close, Recovery, ServerFrame},
        problem::Problem,
    },
};
use proptest::prelude::*;
use serde_json::json;
use std::{sync::Arc, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

fn who() -> Arc<Principal> {
    let (role, id) = (Role::Operations, "alice".into());
    Arc::new(Principal { role, id, cells: None, order: None, expires_at: None, everyone: false })
}

/// A client and what it was told.
struct Client {
    session: Session,
    stomp: Stomp,
    now: Duration,
    told: Vec<String>,
    asked: Vec<Action>,
    commands: usize,
    closed: Option<Close>,
}

impl Client {
    fn new() -> Self {
        let limits = Limits {
            topics_max: 10,
            replays_max: 1,
            subscribes_per_s: 50,
            frame_max_bytes: 1 << 20,
            bad_frames_max: 3,
            heartbeat: 10 * SECOND,
            authenticate_within: 10 * SECOND,
            expiry_grace: SECOND,
        };
        let options = Options { heartbeat: 10 * SECOND, connect_within: 10 * SECOND };
        Self {
            session: Session::open("s1", limits),
            stomp: Stomp::new(options),
            now: Duration::ZERO,
            told: Vec::new(),
            asked: Vec::new(),
            commands: 0,
            closed: None,
        }
    }

    /// Of whom the upgrade said who it is.
    fn known() -> Self {
        let mut client = Self::new();
        for action in client.session.on_authenticated(Ok((who(), None)), Duration::ZERO) {
            client.act(action);
        }
        client
    }

    fn open(version: &str) -> Self {
        let mut client = Self::known();
        client.say(&format!("CONNECT\naccept-version:{version}\nheart-beat:0,10000\n\n\0"));
        assert!(client.take().starts_with("CONNECTED\n"));
        client
    }

    fn say(&mut self, text: &str) {
        let wishes = self.stomp.on_text(text.as_bytes(), &mut self.session, self.now);
        self.grant(wishes);
    }

    fn grant(&mut self, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Act(action) => self.act(action),
                Wish::Say(message) => self.told.push(text(&message)),
                Wish::Command(_) => self.commands += 1,
                Wish::Close(close) => self.closed = self.closed.or(Some(close)),
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(frame) => self.frame(&Frame::new(&frame, None)),
            Action::Close(close) => self.closed = self.closed.or(Some(close)),
            Action::Follow { .. }
            | Action::Unfollow { .. }
            | Action::Authenticate { .. }
            | Action::Replay(_)
            | Action::Beat => self.asked.push(action),
        }
    }

    /// A frame of the hub's or the session's.
    fn frame(&mut self, frame: &Frame) {
        let mut out = Vec::new();
        let close = self.stomp.encode(frame, &mut out);
        self.told.extend(out.iter().map(text));
        self.closed = self.closed.or(close);
    }

    fn outcome(&mut self, outcome: Result<Outcome, Problem>) {
        let wishes = self.stomp.on_outcome(outcome);
        self.grant(wishes);
    }

    /// Sets the clock forward to where something is due, and lets it be done.
    fn due(&mut self) -> Duration {
        self.now = self.stomp.due().unwrap();
        let wishes = self.stomp.on_due(&mut self.session, self.now);
        self.grant(wishes);
        self.now
    }

    /// What was told since, in one text.
    fn take(&mut self) -> String {
        std::mem::take(&mut self.told).concat()
    }
}

fn text(message: &Message) -> String {
    let [own, shared] = message.parts();
    String::from_utf8([own, shared].concat()).unwrap()
}

fn subscribed(recovery: Recovery) -> Frame {
    Frame::new(&ServerFrame::Subscribed { topic: "order/o1/whole".into(), recovery, missed: None }, None)
}

fn snapshot(version: u64) -> Frame {
    let (topic, at_ms, state) = ("order/o1/whole".into(), UnixMillis(5), json!({"orderId": "o1", "version": version}));
    Frame::new(&ServerFrame::Snapshot { topic, epoch: 3, version, at_ms, state }, None)
}

fn accepted() -> Outcome {
    Outcome::Accepted(Acceptance { version: 4, rev: 2, status: None })
}

const SUBSCRIBE: &str = "SUBSCRIBE\nid:a\ndestination:/topic/orders/o1\nreceipt:r\n\n\0";
const PAY: &str = "SEND\ndestination:/app/orders/o1/pay\nIdempotency-Key:k\nreceipt:p\n\n\0";

#[test]
fn a_message_is_its_own_begin_and_a_shared_end() {
    let mut client = Client::open("1.2");
    client.say(SUBSCRIBE);
    assert!(matches!(&client.asked[..], [Action::Follow { .. }]));
    assert_eq!(client.take(), "", "the receipt waits for the hub");
    client.frame(&subscribed(Recovery::Fresh));
    assert_eq!(client.take(), "RECEIPT\nreceipt-id:r\nrecovery:fresh\n\n\0");
    let frame = snapshot(1);
    client.frame(&frame);
    assert_eq!(
        client.take(),
        "MESSAGE\nsubscription:a\nmessage-id:1\nrecovery:fresh\ndestination:/topic/orders/o1\nversion:1\nepoch:3\n\
         content-type:application/json\ncontent-length:28\n\n{\"orderId\":\"o1\",\"version\":1}\0"
    );
    // Of another client, of another version of the protocol, the same bytes.
    let mut other = Client::open("1.0");
    other.say("SUBSCRIBE\ndestination:/topic/orders/o1\n\n\0");
    other.frame(&subscribed(Recovery::Fresh));
    let mut out = Vec::new();
    other.stomp.encode(&frame, &mut out);
    let [own, shared] = out[0].parts();
    assert_eq!(own, "MESSAGE\nmessage-id:1\nrecovery:fresh\n");
    let mut again = Vec::new();
    Client::open("1.2").stomp.encode(&frame, &mut again);
    assert!(again.is_empty(), "nobody there is subscribed");
    let encoded = frame.encoded(crate::bridge::frame::Encoding::Stomp, |_| panic!("encoded twice"));
    assert_eq!(encoded.as_ptr(), shared.as_ptr());
}

#[test]
fn a_connect_with_a_token_waits_for_its_look() {
    let mut client = Client::new();
    client.say(&format!("CONNECT\naccept-version:1.2\ntoken:abc\n\n\0{SUBSCRIBE}"));
    assert!(matches!(&client.asked[..], [Action::Authenticate { token }] if token == "abc"));
    assert_eq!(client.take(), "");
    for action in client.session.on_authenticated(Ok((who(), None)), Duration::ZERO) {
        client.act(action);
    }
    assert!(client.take().starts_with("CONNECTED\nversion:1.2\nheart-beat:10000,10000\nsession:s1\n"));
    assert_eq!(client.due(), Duration::ZERO, "what came meanwhile is read at once");
    assert!(matches!(&client.asked[..], [Action::Authenticate { .. }, Action::Follow { .. }]));
}

#[test]
fn what_came_before_connected_is_read_before_what_came_after() {
    // Whole frames, and one that is cut anywhere: in its command, its headers, before its end.
    let both = format!("{SUBSCRIBE}UNSUBSCRIBE\nid:a\nreceipt:u\n\n\0");
    for cut in [0, 4, SUBSCRIBE.len() - 1, SUBSCRIBE.len(), SUBSCRIBE.len() + 7, both.len() - 1] {
        let mut client = Client::new();
        let (early, late) = both.split_at(cut);
        client.say(&format!("CONNECT\naccept-version:1.2\ntoken:abc\n\n\0{early}"));
        for action in client.session.on_authenticated(Ok((who(), None)), Duration::ZERO) {
            client.act(action);
        }
        client.take();
        // Without the alarm that is due.
        client.say(late);
        assert_eq!((client.take(), client.closed), (String::new(), None), "{cut}");
        let asked = &client.asked[1..];
        assert!(matches!(asked, [Action::Follow { .. }, Action::Unfollow { .. }]), "{cut}: {asked:?}");
        assert!(client.stomp.due().is_none_or(|due| due > Duration::ZERO), "nothing is left to read");
    }
}

#[test]
fn a_bad_token_is_an_error_once() {
    let mut client = Client::new();
    client.say("CONNECT\naccept-version:1.2\ntoken:abc\n\n\0");
    for action in client.session.on_authenticated(Err(crate::ports::TokenError::Signature), Duration::ZERO) {
        client.act(action);
    }
    assert_eq!(client.take().matches("ERROR\n").count(), 1);
    assert_eq!(client.closed, Some(Close::Unauthorized));
    assert!(client.stomp.farewell(Close::Unauthorized).is_none(), "it was said");
}

#[test]
fn commands_go_one_by_one_and_the_goodbye_waits_for_them() {
    let mut client = Client::open("1.1");
    client.say(&format!("{PAY}{PAY}DISCONNECT\nreceipt:bye\n\n\0"));
    assert_eq!((client.commands, client.take(), client.closed), (1, String::new(), None));
    client.outcome(Ok(accepted()));
    assert_eq!((client.commands, client.take()), (2, "RECEIPT\nreceipt-id:p\nversion:4\nrev:2\n\n\0".into()));
    client.outcome(Ok(accepted()));
    assert!(client.take().ends_with("RECEIPT\nreceipt-id:bye\n\n\0"));
    assert_eq!(client.closed, Some(Close::Done));
}

#[test]
fn a_refusal_is_told_or_closes() {
    let problem = || Problem::new(409, "transition", "Not possible in this status");
    let mut client = Client::open("1.2");
    client.say("SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0");
    client.say(PAY);
    client.outcome(Err(problem()));
    let told = client.take();
    assert!(told.starts_with("MESSAGE\nsubscription:e\nmessage-id:1\ndestination:/user/queue/errors\nreceipt-id:p\n"));
    assert_eq!(client.closed, None);
    client.say("UNSUBSCRIBE\nid:e\n\n\0");
    client.say(PAY);
    client.outcome(Err(problem()));
    assert!(client.take().starts_with("ERROR\nmessage:Not possible in this status\nreceipt-id:p\n"));
    assert_eq!(client.closed, Some(Close::Refused));
    client.say(PAY);
    assert_eq!(client.commands, 2, "after an ERROR nothing is read");
}

#[test]
fn an_outcome_that_comes_after_an_error_is_not_told() {
    let mut client = Client::open("1.2");
    client.say(PAY);
    client.say("SING\n\n\0");
    assert!(client.take().starts_with("ERROR\n"));
    client.outcome(Ok(accepted()));
    assert_eq!(client.take(), "");
}

#[test]
fn heart_beats_keep_to_what_was_agreed() {
    let mut client = Client::known();
    client.say("CONNECT\naccept-version:1.2\nheart-beat:20000,15000\n\n\0");
    client.take();
    assert_eq!((client.due(), client.take()), (14 * SECOND, "\n".into()));
    client.now = 20 * SECOND;
    client.say("\n");
    // What is sent anyway is one: the next is due that much later.
    client.say("SUBSCRIBE\nid:b\ndestination:/topic/heartbeat\n\n\0");
    client.frame(&Frame::heartbeat(Beat::default()));
    assert!(client.take().starts_with("MESSAGE\nsubscription:b\n"));
    assert_eq!((client.due(), client.take()), (34 * SECOND, "\n".into()));
    assert_eq!((client.due(), client.take()), (48 * SECOND, "\n".into()));
    assert_eq!(client.due(), 61 * SECOND);
    assert!(client.take().starts_with("ERROR\nmessage:No heart-beat came\n"));
    assert!(client.closed.is_some());
}

#[test]
fn a_topic_that_ends_takes_its_subscriptions_along() {
    let mut client = Client::open("1.2");
    client.say("SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0");
    client.say(SUBSCRIBE);
    client.frame(&subscribed(Recovery::Fresh));
    client.frame(&snapshot(1));
    client.take();
    let problem = Problem::new(403, "withdrawn", "The order is another's now");
    client.frame(&Frame::new(&ServerFrame::Error { topic: Some("order/o1/whole".into()), problem }, None));
    assert!(client.take().contains("\nended:a\n"));
    client.frame(&snapshot(2));
    assert_eq!((client.take(), client.closed), (String::new(), None));
    client.say("UNSUBSCRIBE\nid:a\n\n\0");
    assert!(client.closed.is_some(), "it is no subscription any more");
}

#[test]
fn a_subscription_that_was_left_behind_gets_a_snapshot() {
    let delta = |from| {
        let (topic, at_ms, patch) = ("order/o1".into(), UnixMillis(5), json!({}));
        Frame::new(&ServerFrame::Delta { topic, epoch: 3, from, to: from + 1, at_ms, patch }, None)
    };
    let subscribed =
        |recovery| Frame::new(&ServerFrame::Subscribed { topic: "order/o1".into(), recovery, missed: None }, None);
    let snapshot = |version| {
        let (topic, at_ms, state) = ("order/o1".into(), UnixMillis(5), json!({}));
        Frame::new(&ServerFrame::Snapshot { topic, epoch: 3, version, at_ms, state }, None)
    };
    let mut client = Client::open("1.2");
    client.say("SUBSCRIBE\nid:a\ndestination:/topic/orders/o1/delta\n\n\0");
    client.frame(&subscribed(Recovery::Fresh));
    client.frame(&snapshot(3));
    client.say("SUBSCRIBE\nid:b\ndestination:/topic/orders/o1/delta\nversion:7\nepoch:3\n\n\0");
    client.frame(&subscribed(Recovery::Resumed));
    client.take();
    client.frame(&delta(7));
    let told = client.take();
    assert!(told.starts_with("MESSAGE\nsubscription:b\n") && !told.contains("subscription:a"), "{told}");
    client.asked.clear();
    assert_eq!(client.due(), Duration::ZERO);
    assert!(matches!(&client.asked[..], [Action::Follow { resume: None, .. }]), "{:?}", client.asked);
    assert!(client.stomp.due().is_none_or(|due| due > Duration::ZERO), "it is asked once");
    client.frame(&subscribed(Recovery::Fresh));
    client.frame(&snapshot(8));
    let told = client.take();
    assert!(told.starts_with("MESSAGE\nsubscription:a\nmessage-id:3\nrecovery:reset\n"), "{told}");
    assert_eq!(told.matches("MESSAGE\n").count(), 1, "the other one has it");
}

#[test]
fn who_listens_for_errors_is_told_when_to_come_back() {
    let going = Frame::new(&ServerFrame::GoingAway { reconnect_in_ms: 1_250 }, None);
    let mut client = Client::open("1.2");
    client.frame(&going);
    assert_eq!(client.take(), "", "nobody listens");
    client.say("SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0");
    client.frame(&going);
    let told = client.take();
    assert!(told.starts_with("MESSAGE\nsubscription:e\n") && told.contains("\nreconnect-in-ms:1250\n"), "{told}");
    assert!(told.ends_with("\n\n{\"type\":\"going_away\",\"reconnect_in_ms\":1250}\0"), "{told}");
}

#[test]
fn why_a_connection_is_closed_is_said_where_coming_back_does_not_help() {
    for (close, said) in
        [(Close::TokenExpired, true), (Close::FrameTooLarge, true), (Close::GoingAway, false), (Close::Done, false)]
    {
        assert_eq!(Client::open("1.2").stomp.farewell(close).is_some(), said, "{close:?}");
    }
}

fn frames() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "id:a",
        "id:b",
        "destination:/topic/orders/o1",
        "destination:/topic/orders/o1/delta",
        "destination:/topic/heartbeat",
        "destination:/user/queue/errors",
        "destination:/app/tracking",
        "destination:/app/token",
        "destination:/app/orders/o1/pay",
        "Idempotency-Key:k",
        "transaction:t",
        "receipt:r",
        "ack:client",
        "ack:client-individual",
        "message-id:1",
        "id:1",
        "id:2",
        "subscription:a",
        "version:1",
        "epoch:1",
        "token:x",
        "content-length:0",
        "odd",
    ]);
    let command = prop::sample::select(vec![
        "SUBSCRIBE",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "SEND",
        "SEND",
        "ACK",
        "NACK",
        "BEGIN",
        "COMMIT",
        "ABORT",
        "CONNECT",
        "SING",
    ]);
    let body = prop::sample::select(vec!["", "", "{}", "x"]);
    (command, prop::collection::vec(line, 0..5), body)
        .prop_map(|(command, lines, body)| format!("{command}\n{}\n\n{body}\0", lines.join("\n")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Whatever comes in whatever order: no panic, one ERROR at most and nothing after it, at most one command under way.
    #[test]
    fn any_sequence_of_frames_is_survived(
        version in prop::sample::select(vec!["1.0", "1.1", "1.2"]),
        steps in prop::collection::vec((frames(), 0..8_u8), 1..30),
    ) {
        let mut client = Client::open(version);
        let mut answered = 0;
        for (frame, step) in steps {
            client.say(&frame);
            match step {
                0 => client.frame(&subscribed(Recovery::Fresh)),
                1 => client.frame(&subscribed(Recovery::Resumed)),
                2 => client.frame(&snapshot(u64::from(step))),
                3 if client.commands > answered => {
                    answered += 1;
                    client.outcome(Ok(accepted()));
                }
                4 if client.commands > answered => {
                    answered += 1;
                    client.outcome(Err(Problem::new(409, "transition", "No")));
                }
                _ => client.frame(&Frame::heartbeat(Beat::default())),
            }
            prop_assert!(client.commands <= answered + 1);
        }
        let told = client.take();
        let errors = told.matches("ERROR\n").count();
        prop_assert!(errors <= 1, "{told}");
        prop_assert_eq!(errors == 1, client.closed.is_some());
        if errors == 1 {
            let at = told.find("ERROR\n").unwrap_or_default();
            prop_assert_eq!(told[at..].matches('\0').count(), 1, "{}", told);
        }
    }
}
