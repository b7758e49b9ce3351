//! A STOMP client's side of a conversation, sans-IO: frames in, wishes out; the session's frames in, messages out.
//!
//! The session behind it is the one of all transports: it knows who this is, limits how much is asked, and follows topics.
//! Here is what STOMP has beside it: the handshake, subscriptions by id, receipts, acknowledgements, transactions, heart-beats.
//! A receipt is given when its frame took effect: of a SEND when its outcome is stored, of a SUBSCRIBE when the topic is
//! followed, of a DISCONNECT when all sent before it is done.

mod client;
mod message;

use super::{
    codec::{Bounds, Event, Parser},
    destination::{self, Source},
    heartbeat::{Due, HeartBeats, Offer},
    print::Text,
    refusal::{self, Refusal, json, of_close},
    sends::{Job, Queued, Sends},
    subscriptions::{Began, Name, Place, Step, Subscriptions},
    version::{Dialect, Version},
};
use crate::{
    bridge::{
        conversation::{Protocol, Wish},
        frame::{About, Encoding, Frame},
        link::Message,
        session::Session,
    },
    wire::{
        answer::Outcome,
        client::{ClientFrame, Close},
        problem::Problem,
        topic::Topic,
    },
};
use message::{JSON, head, shared, with_begin, with_outcome};
use std::{collections::VecDeque, time::Duration};

/// What may come between a CONNECT and its answer.
const EARLY_MAX: usize = 64 << 10;

/// Settings of one connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::bridge) struct Options {
    /// What we offer as heart-beats, both ways.
    pub(in crate::bridge) heartbeat: Duration,
    /// How long a client may take to say CONNECT.
    pub(in crate::bridge) connect_within: Duration,
}

#[derive(Debug)]
enum Phase {
    /// Nothing was said yet.
    New,
    /// The CONNECT's token is being looked at.
    Connecting,
    Open,
    Closed,
}

/// The protocol's state. One per connection.
#[derive(Debug)]
pub(in crate::bridge) struct Stomp {
    options: Options,
    phase: Phase,
    parser: Parser,
    /// What came while the CONNECT's token was looked at.
    early: Vec<u8>,
    version: Version,
    /// What the client said in its CONNECT.
    offer: Offer,
    beats: Option<HeartBeats>,
    /// The session's name, once it is known.
    session: String,
    subscriptions: Subscriptions,
    sends: Sends,
    /// The command that is under way.
    sent: Option<Queued>,
    /// Receipts of tokens that are being looked at.
    tokens: VecDeque<Option<String>>,
    /// When something was last heard: the time that encoding goes by.
    now: Duration,
    /// An ERROR was said.
    failed: bool,
}

type Done<T = ()> = Result<T, Box<Refusal>>;

impl Stomp {
    pub(in crate::bridge) fn new(options: Options) -> Self {
        Self {
            options,
            phase: Phase::New,
            parser: Parser::default(),
            early: Vec::new(),
            version: Version::V10,
            offer: Offer::default(),
            beats: None,
            session: String::new(),
            subscriptions: Subscriptions::default(),
            sends: Sends::default(),
            sent: None,
            tokens: VecDeque::new(),
            now: Duration::ZERO,
            failed: false,
        }
    }

    fn dialect(&self) -> Dialect {
        match self.phase {
            Phase::New => Dialect::Connect,
            Phase::Connecting | Phase::Open | Phase::Closed => Dialect::Agreed(self.version),
        }
    }

    /// Reads what waited for CONNECTED, if it is through, and then what came: the next message may come before the alarm that
    /// has the former read.
    fn read_on(&mut self, text: &[u8], session: &mut Session, wishes: &mut Vec<Wish>) {
        let early = match self.phase {
            Phase::Open => std::mem::take(&mut self.early),
            Phase::New | Phase::Connecting | Phase::Closed => Vec::new(),
        };
        let read = self.read(&early, session, wishes).and_then(|()| self.read(text, session, wishes));
        if let Err(refusal) = read {
            self.fail(*refusal, wishes);
        }
    }

    /// Reads what came, frame by frame, and does what it says.
    fn read(&mut self, text: &[u8], session: &mut Session, wishes: &mut Vec<Wish>) -> Done {
        let mut rest = text;
        loop {
            let bounds = match self.phase {
                Phase::New => Bounds::CONNECT,
                Phase::Open => Bounds::CLIENT,
                Phase::Connecting => {
                    if self.early.len() + rest.len() > EARLY_MAX {
                        let problem = Problem::new(413, "too_large", "Too much before CONNECTED").with_field("payload");
                        return Err(Refusal::new(problem, None).into());
                    }
                    self.early.extend_from_slice(rest);
                    return Ok(());
                }
                Phase::Closed => return Ok(()),
            };
            match self.parser.next(&mut rest, self.dialect(), &bounds) {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Beat)) => {}
                Ok(Some(Event::Frame(frame))) => self.on_frame(&frame, session, wishes)?,
                Err(error) => return Err(Refusal::new(error, None).into()),
            }
        }
    }

    /// The handshake is through.
    fn connected(&mut self) -> Message {
        let ms = u64::try_from(self.options.heartbeat.as_millis()).unwrap_or(0);
        // 1.0 has no heart-beats; a stock client wants the header all the same.
        let ours = if self.version == Version::V10 { Offer::default() } else { Offer { sends_ms: ms, wants_ms: ms } };
        self.beats = Some(HeartBeats::agree(self.offer, ours, self.now));
        self.phase = Phase::Open;
        let text = Text::new("CONNECTED", Dialect::Connect)
            .header("version", self.version.name())
            .header("heart-beat", &ours.text())
            .header("session", &self.session)
            .header("server", concat!("trunkline/", env!("CARGO_PKG_VERSION")));
        Message::own(text.end())
    }

    /// Does what is next, until there is something to wait for.
    fn go_on(&mut self, wishes: &mut Vec<Wish>) {
        while self.sent.is_none()
            && let Some(next) = self.sends.next()
        {
            match next.job {
                Job::Send { ref ask, .. } => {
                    wishes.push(Wish::Command(ask.clone()));
                    self.sent = Some(next);
                }
                Job::Acknowledge { .. } => {
                    if let Err(refusal) = self.acknowledge(next.job, wishes) {
                        return self.fail(*refusal, wishes);
                    }
                }
                Job::Committed { receipt } => self.give_receipt(receipt.as_deref(), wishes),
                Job::Disconnect { receipt } => {
                    self.give_receipt(receipt.as_deref(), wishes);
                    self.phase = Phase::Closed;
                    wishes.push(Wish::Close(Close::Done));
                    return;
                }
            }
        }
    }

    fn give_receipt(&self, receipt: Option<&str>, wishes: &mut Vec<Wish>) {
        if let Some(receipt) = receipt {
            wishes.push(Wish::Say(Message::own(self.receipt(receipt).end())));
        }
    }

    fn receipt(&self, id: &str) -> Text {
        Text::new("RECEIPT", self.dialect()).header("receipt-id", id)
    }

    /// Says that a SEND was refused: to who listens for that, or by closing.
    fn refuse(
        &mut self,
        problem: Problem,
        (destination, receipt, transaction): (&str, Option<&str>, Option<&str>),
        wishes: &mut Vec<Wish>,
    ) {
        if !self.subscriptions.is_heard(&Source::Errors) {
            return self.fail(Refusal::new(problem, receipt), wishes);
        }
        let headers = [("receipt-id", receipt), ("refused", Some(destination)), ("transaction", transaction)];
        let mut out = Vec::new();
        self.tell_errors(&headers, refusal::PROBLEM, &json(&problem), &mut out);
        wishes.extend(out.into_iter().map(Wish::Say));
    }

    /// Sends a message to those who listen for errors.
    fn tell_errors(&mut self, headers: &[(&str, Option<&str>)], kind: &str, body: &[u8], out: &mut Vec<Message>) {
        let (dialect, version) = (self.dialect(), self.version);
        self.subscriptions.deliver(&Source::Errors, |delivery| {
            let mut text = head(&delivery, version, dialect).header("destination", destination::ERRORS);
            for (name, value) in headers {
                text = text.maybe(name, *value);
            }
            out.push(Message::own(text.body(kind, body)));
        });
    }

    /// Says an ERROR, once, and closes.
    fn fail(&mut self, refusal: Refusal, wishes: &mut Vec<Wish>) {
        if !self.failed {
            wishes.push(Wish::Say(self.error(&refusal)));
        }
        wishes.push(Wish::Close(refusal.close()));
    }

    fn error(&mut self, refusal: &Refusal) -> Message {
        let text = refusal.text(self.dialect());
        self.failed = true;
        self.phase = Phase::Closed;
        Message::own(text)
    }

    /// What is said of a topic, to all that are subscribed to it: what is of one subscription, then what they share.
    fn tell(&mut self, frame: &Frame, topic: &Topic, place: Place, step: Step, out: &mut Vec<Message>) {
        let (dialect, version) = (self.dialect(), self.version);
        self.subscriptions.deliver_topic(topic, place, step, |delivery| {
            let shared = frame.encoded(Encoding::Stomp, |frame| shared(frame, topic, place));
            out.push(Message::stomp(head(&delivery, version, dialect).open(), frame, shared));
        });
    }

    /// The session refused something of a topic, or ended it.
    fn on_topic_error(&mut self, topic: &str, problem: &Problem, out: &mut Vec<Message>) -> Option<Close> {
        let topic = topic.parse::<Topic>().ok();
        let awaiting = topic.as_ref().and_then(|topic| self.subscriptions.answered(topic));
        let ended = match (&topic, &awaiting) {
            (Some(topic), None) => self.subscriptions.end(topic),
            (Some(_) | None, _) => Vec::new(),
        };
        // STOMP 1.1 and 1.2, SUBSCRIBE: what can't be subscribed is an ERROR. What ends later may be told.
        if awaiting.is_some() || !self.subscriptions.is_heard(&Source::Errors) {
            let refusal =
                Refusal { problem: problem.clone(), receipt: awaiting.and_then(|it| it.receipt), versions: false };
            out.push(self.error(&refusal));
            return Some(refusal.close());
        }
        let about = topic.as_ref().map(destination::of_topic);
        if ended.is_empty() {
            let receipt = topic.as_ref().and_then(|topic| self.subscriptions.left(topic));
            let headers = [("receipt-id", receipt.as_deref()), ("refused", about.as_deref())];
            self.tell_errors(&headers, refusal::PROBLEM, &json(problem), out);
        }
        for name in &ended {
            let (Name::Id(id) | Name::Destination(id)) = name;
            let headers = [("ended", Some(id.as_str())), ("refused", about.as_deref())];
            self.tell_errors(&headers, refusal::PROBLEM, &json(problem), out);
        }
        None
    }
}

impl Protocol for Stomp {
    fn on_text(&mut self, text: &[u8], session: &mut Session, now: Duration) -> Vec<Wish> {
        self.now = now;
        if let Some(beats) = &mut self.beats {
            beats.on_heard(now);
        }
        let mut wishes = Vec::new();
        self.read_on(text, session, &mut wishes);
        wishes
    }

    fn encode(&mut self, frame: &Frame, out: &mut Vec<Message>) -> Option<Close> {
        if matches!(self.phase, Phase::Closed) {
            return None;
        }
        let before = out.len();
        let close = match frame.about() {
            // That to a connection which brought its token is nobody's: it has said nothing yet.
            About::Hello => {
                if matches!(self.phase, Phase::Connecting) {
                    self.open(out);
                }
                None
            }
            About::Authenticated => {
                if matches!(self.phase, Phase::Connecting) {
                    self.open(out);
                } else if let Some(Some(receipt)) = self.tokens.pop_front() {
                    out.push(Message::own(self.receipt(&receipt).end()));
                }
                None
            }
            About::Session => None,
            About::GoingAway { reconnect_in_ms } => {
                let headers = [("reconnect-in-ms", Some(&*reconnect_in_ms.to_string()))];
                self.tell_errors(&headers, JSON, &frame.json(), out);
                None
            }
            About::Expired => {
                self.tell_errors(&[], JSON, &frame.json(), out);
                None
            }
            About::Heartbeat => {
                self.tell_heartbeat(frame, out);
                None
            }
            About::Subscribed { topic, unasked: true, .. } => {
                self.subscriptions.begin_anew(topic);
                None
            }
            About::Subscribed { topic, recovery, missed, unasked: false } => {
                let began = Began { how: *recovery, missed: *missed };
                if let Some(receipt) = self.subscriptions.followed(topic, began) {
                    out.push(Message::own(with_begin(self.receipt(&receipt), began).end()));
                }
                None
            }
            About::Unsubscribed { topic } => {
                if let Some(receipt) = self.subscriptions.left(topic) {
                    out.push(Message::own(self.receipt(&receipt).end()));
                }
                None
            }
            About::Snapshot { topic, epoch, version } => {
                let place = Place { epoch: *epoch, version: *version };
                self.tell(frame, topic, place, Step::Whole, out);
                None
            }
            About::Delta { topic, epoch, from, to } => {
                let place = Place { epoch: *epoch, version: *to };
                self.tell(frame, topic, place, Step::From(*from), out);
                None
            }
            About::Error { topic: Some(topic), problem } => self.on_topic_error(topic, problem, out),
            About::Error { topic: None, problem } => self.on_error(problem, out),
        };
        if out.len() > before
            && let Some(beats) = &mut self.beats
        {
            // At the latest time known: early beats do no harm.
            beats.on_sent(self.now);
        }
        close
    }

    fn on_outcome(&mut self, outcome: Result<Outcome, Problem>) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let Some(sent) = self.sent.take() else { return wishes };
        // After an ERROR nothing is said, though this came too late to be stopped.
        if matches!(self.phase, Phase::Closed) {
            return wishes;
        }
        let Job::Send { destination, receipt, .. } = &sent.job else { return wishes };
        match outcome {
            Ok(outcome) => {
                if let Some(receipt) = receipt {
                    wishes.push(Wish::Say(Message::own(with_outcome(self.receipt(receipt), &outcome).end())));
                }
            }
            Err(problem) => {
                self.sends.break_off(&sent);
                self.refuse(problem, (destination, receipt.as_deref(), sent.transaction.as_deref()), &mut wishes);
            }
        }
        if !matches!(self.phase, Phase::Closed) {
            self.go_on(&mut wishes);
        }
        wishes
    }

    fn farewell(&mut self, close: Close) -> Option<Message> {
        let problem = of_close(close).filter(|_| !self.failed && !matches!(self.phase, Phase::Closed))?;
        Some(self.error(&Refusal::new(problem, None)))
    }

    fn due(&self) -> Option<Duration> {
        match self.phase {
            Phase::New => Some(self.options.connect_within),
            Phase::Connecting | Phase::Closed => None,
            Phase::Open if !self.early.is_empty() || self.subscriptions.is_lacking() => Some(Duration::ZERO),
            Phase::Open => self.beats.as_ref().and_then(HeartBeats::due),
        }
    }

    fn on_due(&mut self, session: &mut Session, now: Duration) -> Vec<Wish> {
        self.now = now;
        let mut wishes = Vec::new();
        match self.phase {
            Phase::New if now >= self.options.connect_within => {
                let problem = Problem::new(408, "too_slow", "No CONNECT came").with_field("frame");
                self.fail(Refusal::new(problem, None), &mut wishes);
            }
            Phase::Open if !self.early.is_empty() || self.subscriptions.is_lacking() => {
                for topic in self.subscriptions.ask_anew() {
                    let topic = topic.to_string();
                    let subscribe = ClientFrame::Subscribe { topic, version: None, epoch: None, bounds: None };
                    wishes.extend(session.on_frame(subscribe, now).into_iter().map(Wish::Act));
                }
                self.read_on(&[], session, &mut wishes);
            }
            Phase::Open => match self.beats.as_mut().and_then(|beats| beats.on_due(now)) {
                Some(Due::Beat) => wishes.push(Wish::Say(Message::own(&b"\n"[..]))),
                Some(Due::Silent) => {
                    let problem = Problem::new(408, "silent", "No heart-beat came").with_field("heart-beat");
                    self.fail(Refusal::new(problem, None), &mut wishes);
                }
                None => {}
            },
            Phase::New | Phase::Connecting | Phase::Closed => {}
        }
        wishes
    }
}

impl Stomp {
    /// The token of the CONNECT was good.
    fn open(&mut self, out: &mut Vec<Message>) {
        out.push(self.connected());
    }

    fn tell_heartbeat(&mut self, frame: &Frame, out: &mut Vec<Message>) {
        let (dialect, version) = (self.dialect(), self.version);
        self.subscriptions.deliver(&Source::Heartbeat, |delivery| {
            let text = head(&delivery, version, dialect).header("destination", destination::HEARTBEAT);
            out.push(Message::own(text.body(JSON, &frame.json())));
        });
    }

    /// The session refused something that is of no topic: a token.
    fn on_error(&mut self, problem: &Problem, out: &mut Vec<Message>) -> Option<Close> {
        let receipt = self.tokens.pop_front().flatten();
        let is_open = matches!(self.phase, Phase::Open);
        // One that couldn't be looked at isn't bad: the one before it still counts.
        if is_open && problem.status == 503 && self.subscriptions.is_heard(&Source::Errors) {
            let headers = [("receipt-id", receipt.as_deref()), ("refused", Some("/app/token"))];
            self.tell_errors(&headers, refusal::PROBLEM, &json(problem), out);
            return None;
        }
        let refusal = Refusal { problem: problem.clone(), receipt, versions: false };
        out.push(self.error(&refusal));
        Some(refusal.close())
    }
}
