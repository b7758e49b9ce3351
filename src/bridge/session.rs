//! One client's session, sans-IO: it takes frames and ticks and says what to do. Transports only frame.
//!
//! It keeps what is the client's own: which topics it follows and how often it erred. What a topic's frames hold is
//! the hub's and the boards' business, and they put them into the outbox themselves, so that nothing overtakes anything.
//!
//! A client may subscribe to a topic that it follows already: that is how it asks again from its version. Each
//! `subscribe` is answered by one `subscribed` (or `error`); frames of the topic that come before it belong to the
//! earlier subscription and are to be ignored.

mod replays;
#[cfg(test)]
mod tests;

use super::{drain::Farewell, hub::Resume, replay::Cue};
use crate::{
    geo::Bounds,
    ports::TokenError,
    wire::{
        FieldError,
        access::{Principal, Reach},
        board,
        client::{ClientFrame, Close, ServerFrame},
        problem::Problem,
        topic::Topic,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Bounds of a session.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub topics_max: usize,
    pub replays_max: usize,
    /// Subscribes and unsubscribes in the long run, at least 1; at once, all topics may be left and as many taken.
    pub subscribes_per_s: u32,
    pub frame_max_bytes: usize,
    pub bad_frames_max: u32,
    pub heartbeat: Duration,
    /// How long a connection that came without a token may take to say who it is.
    pub authenticate_within: Duration,
    /// How long a connection outlives its token.
    pub expiry_grace: Duration,
}

/// What the transport does next, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Queue a frame of the session itself.
    Send(Box<ServerFrame>),
    /// Tell the hub or the boards; `Subscribed` or an `Error` comes from there. `generation` is another for each. A box goes
    /// with the cell only.
    Follow { topic: Topic, resume: Option<Resume>, bounds: Option<Bounds>, generation: u64 },
    /// Tell the hub or the boards; `Unsubscribed` comes from there.
    Unfollow { topic: Topic },
    /// Find out whose token this is, and tell [`Session::on_authenticated`].
    Authenticate { token: String },
    /// Start, change or stop a replay.
    Replay(Cue),
    /// Queue a heartbeat.
    Beat,
    /// Close the connection; nothing follows.
    Close(Close),
}

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    /// Nobody said so yet; closed at this time.
    Unknown { until: Duration },
    /// Known, by a token that expires at that time of the session, or never.
    Known { who: Arc<Principal>, expires: Option<Duration>, told: bool },
}

/// The session's state.
#[derive(Debug)]
pub struct Session {
    id: String,
    limits: Limits,
    who: Who,
    /// By topic, the generation of its last subscribe.
    topics: BTreeMap<Topic, u64>,
    replays: BTreeSet<u32>,
    generations: u64,
    bad_frames: u32,
    /// When the subscribes so far would be due if they came at their steady rate.
    subscribes_due: Duration,
    closed: bool,
}

impl Session {
    /// Opens a session named `id`. Nobody is known yet: [`Self::on_authenticated`] is next, now or after the client's first
    /// frame.
    pub fn open(id: &str, limits: Limits) -> Self {
        Self {
            id: id.to_owned(),
            limits,
            who: Who::Unknown { until: limits.authenticate_within },
            topics: BTreeMap::new(),
            replays: BTreeSet::new(),
            generations: 0,
            bad_frames: 0,
            subscribes_due: Duration::ZERO,
            closed: false,
        }
    }

    /// Who a token says that this is, and for how long it is still good. The first one opens the session with its
    /// `Hello`; a later one must be of the same role, subject and cells.
    pub fn on_authenticated(
        &mut self,
        found: Result<(Arc<Principal>, Option<Duration>), TokenError>,
        now: Duration,
    ) -> Vec<Action> {
        if self.closed {
            return Vec::new();
        }
        let (new, left) = match found {
            Ok(found) => found,
            // Not the client's fault, and a newer token may be on its way: the one it has still counts.
            Err(error @ TokenError::Unavailable) if matches!(self.who, Who::Known { .. }) => {
                return vec![Action::Send(Box::new(ServerFrame::Error { topic: None, problem: error.into() }))];
            }
            Err(TokenError::Revoked) => return vec![self.close(Close::Revoked)],
            Err(error) => return self.turn_away(error.into()),
        };
        let authenticated = ServerFrame::Authenticated { expires_at_ms: new.expires_at };
        let frames = match &self.who {
            Who::Unknown { .. } => {
                let heartbeat_ms = u64::try_from(self.limits.heartbeat.as_millis()).unwrap_or(u64::MAX);
                let view = new.role.view().name().to_owned();
                let hello = ServerFrame::Hello { session: self.id.clone(), view, heartbeat_ms };
                // What never expires needs no word.
                if new.expires_at.is_some() { vec![hello, authenticated] } else { vec![hello] }
            }
            Who::Known { who, .. } => {
                let same = |a: &Principal, b: &Principal| {
                    (a.role, &a.id, &a.cells, &a.order) == (b.role, &b.id, &b.cells, &b.order)
                };
                if !same(who, &new) {
                    let detail = "a newer token must be of the same role, subject and cells";
                    let problem = Problem::new(401, "unauthorized", "Another's token").with_field("token");
                    return self.turn_away(problem.with_detail(detail));
                }
                // No newer than the one there is: nothing is gained by it, least of all another grace.
                if let (Some(newer), Some(present)) = (new.expires_at, who.expires_at)
                    && newer <= present
                {
                    let expires_at_ms = Some(present);
                    return vec![Action::Send(Box::new(ServerFrame::Authenticated { expires_at_ms }))];
                }
                vec![authenticated]
            }
        };
        self.who = Who::Known { who: new, expires: left.map(|left| now + left), told: false };
        frames.into_iter().map(|frame| Action::Send(Box::new(frame))).collect()
    }

    /// When [`Self::on_due`] is to be called, if it stays so quiet.
    pub fn due(&self) -> Option<Duration> {
        match &self.who {
            Who::Unknown { until } => Some(*until),
            Who::Known { expires, told: false, .. } => *expires,
            Who::Known { expires, told: true, .. } => expires.map(|at| at + self.limits.expiry_grace),
        }
    }

    /// The time of [`Self::due`] has come.
    pub fn on_due(&mut self, now: Duration) -> Vec<Action> {
        if self.closed || self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        match &mut self.who {
            Who::Unknown { .. } => {
                let detail = "the first frame must say who this is, soon";
                let problem = Problem::new(401, "unauthorized", "Who is asking isn't known").with_field("token");
                self.turn_away(problem.with_detail(detail))
            }
            Who::Known { told, .. } if !*told => {
                *told = true;
                let grace_ms = u64::try_from(self.limits.expiry_grace.as_millis()).unwrap_or(u64::MAX);
                vec![Action::Send(Box::new(ServerFrame::Expired { grace_ms }))]
            }
            Who::Known { .. } => vec![self.close(Close::TokenExpired)],
        }
    }

    /// Its name, as `hello` says it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The node leaves, and this client's turn has come.
    pub fn on_farewell(&mut self, farewell: Farewell) -> Vec<Action> {
        if self.closed {
            return Vec::new();
        }
        let reconnect_in_ms = u64::try_from(farewell.reconnect_in.as_millis()).unwrap_or(u64::MAX);
        vec![Action::Send(Box::new(ServerFrame::GoingAway { reconnect_in_ms })), self.close(Close::GoingAway)]
    }

    /// Who it is, once that is known.
    pub fn who(&self) -> Option<&Arc<Principal>> {
        match &self.who {
            Who::Unknown { .. } => None,
            Who::Known { who, .. } => Some(who),
        }
    }

    fn turn_away(&mut self, problem: Problem) -> Vec<Action> {
        let close = if problem.status == 503 { Close::GoingAway } else { Close::Unauthorized };
        vec![Action::Send(Box::new(ServerFrame::Error { topic: None, problem })), self.close(close)]
    }

    /// The topics that the hub was told of.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.keys()
    }

    /// A text frame of the client, `now` counted from the session's start.
    pub fn on_text(&mut self, text: impl AsRef<[u8]>, now: Duration) -> Vec<Action> {
        if self.closed {
            return Vec::new();
        }
        let text = text.as_ref();
        if text.len() > self.limits.frame_max_bytes {
            return vec![self.close(Close::FrameTooLarge)];
        }
        match ClientFrame::parse(text) {
            Ok(frame) => self.on_frame(frame, now),
            Err(error) => self.bad(None, error.into()),
        }
    }

    /// A frame of the client, whatever it was said in.
    pub fn on_frame(&mut self, frame: ClientFrame, now: Duration) -> Vec<Action> {
        if self.closed {
            return Vec::new();
        }
        if self.who().is_some() || matches!(frame, ClientFrame::Authenticate { .. }) {
            return self.on_known(frame, now);
        }
        let problem = Problem::new(401, "unauthorized", "Who is asking isn't known").with_field("token");
        self.turn_away(problem.with_detail("the first frame must be `authenticate`"))
    }

    /// A binary frame: there are none.
    pub fn on_binary(&mut self) -> Vec<Action> {
        if self.closed {
            return Vec::new();
        }
        self.bad(None, FieldError::new("payload", "frames are text").into())
    }

    /// It is time for a heartbeat.
    pub fn on_tick(&mut self) -> Option<Action> {
        (!self.closed).then_some(Action::Beat)
    }

    /// The hub ended a topic by itself (there is no such order). Not if the client has subscribed again since: the hub
    /// was told, and follows it.
    pub fn on_ended(&mut self, topic: &Topic, generation: u64) {
        if self.topics.get(topic) == Some(&generation) {
            self.topics.remove(topic);
        }
    }

    /// A replay came to nothing.
    pub fn on_replay_failed(&mut self, replay: u32) {
        self.replays.remove(&replay);
    }

    /// Looking at a token costs a signature's verification: it takes a place among the subscribes.
    fn authenticate(&mut self, token: String, now: Duration) -> Vec<Action> {
        if self.may_subscribe(now) {
            return vec![Action::Authenticate { token }];
        }
        self.bad(None, Problem::new(429, "too_fast", "Too many frames").with_field("type"))
    }

    fn on_known(&mut self, frame: ClientFrame, now: Duration) -> Vec<Action> {
        match frame {
            ClientFrame::Authenticate { token } => self.authenticate(token, now),
            ClientFrame::Subscribe { topic, .. } | ClientFrame::Unsubscribe { topic } if !self.may_subscribe(now) => {
                let detail = format!("at most {} subscribes and unsubscribes a second", self.limits.subscribes_per_s);
                let problem = Problem::new(429, "too_fast", "Too many subscribes").with_field("topic");
                self.bad(Some(topic), problem.with_detail(detail))
            }
            ClientFrame::Replay { replay, .. }
            | ClientFrame::ReplayControl { replay, .. }
            | ClientFrame::ReplayStop { replay }
                if !self.may_subscribe(now) =>
            {
                let problem = Problem::new(429, "too_fast", "Too many frames").with_field("replay");
                self.bad(None, problem.with_detail(format!("replay {replay}: too many frames a second")))
            }
            ClientFrame::Replay { .. } | ClientFrame::ReplayControl { .. } | ClientFrame::ReplayStop { .. } => {
                replays::on_frame(self, frame)
            }
            ClientFrame::Ping { id } => vec![Action::Send(Box::new(ServerFrame::Pong { id }))],
            ClientFrame::Subscribe { topic, version, epoch, bounds } => {
                let of: Topic = match topic.parse() {
                    Ok(of) => of,
                    Err(error) => return self.bad(Some(topic), error.into()),
                };
                if let Some(who) = self.who().filter(|who| !is_open_to(who, &of)) {
                    let detail = format!("`{}` may not {} of others", who.role.name(), of.right().name());
                    let problem = Problem::new(403, "forbidden", "Not for this role").with_field("topic");
                    return self.bad(Some(topic), problem.with_detail(detail));
                }
                let bounds = match bounds.as_deref().map(board::bounds).transpose() {
                    Ok(Some(_)) if of != Topic::Cell => {
                        let error = FieldError::new("box", "goes with the topic `cell`");
                        return self.bad(Some(topic), error.into());
                    }
                    Ok(bounds) => bounds,
                    Err(error) => return self.bad(Some(topic), error.into()),
                };
                if !self.topics.contains_key(&of) && self.topics.len() >= self.limits.topics_max {
                    let detail = format!("a connection follows at most {} topics", self.limits.topics_max);
                    let problem = Problem::new(429, "too_many_topics", "Too many topics").with_field("topic");
                    return self.bad(Some(topic), problem.with_detail(detail));
                }
                let resume = match (version, epoch) {
                    (Some(version), Some(epoch)) => Some(Resume { epoch, version }),
                    (None, None) => None,
                    (Some(_), None) => {
                        return self.bad(Some(topic), FieldError::new("epoch", "goes with version").into());
                    }
                    (None, Some(_)) => {
                        return self.bad(Some(topic), FieldError::new("version", "goes with epoch").into());
                    }
                };
                self.generations += 1;
                let generation = self.generations;
                self.topics.insert(of.clone(), generation);
                vec![Action::Follow { topic: of, resume, bounds, generation }]
            }
            ClientFrame::Unsubscribe { topic } => match topic.parse::<Topic>() {
                Err(error) => self.bad(Some(topic), error.into()),
                Ok(of) if self.topics.remove(&of).is_some() => vec![Action::Unfollow { topic: of }],
                // As if it had been followed: who repeats it wants the same.
                Ok(_) => vec![Action::Send(Box::new(ServerFrame::Unsubscribed { topic }))],
            },
        }
    }

    /// Takes a place among the subscribes of this time, if there is one.
    fn may_subscribe(&mut self, now: Duration) -> bool {
        let Limits { topics_max, subscribes_per_s, .. } = self.limits;
        let each = Duration::from_secs(1) / subscribes_per_s.max(1);
        let burst = each * u32::try_from(topics_max).unwrap_or(u32::MAX).saturating_mul(2);
        let due = self.subscribes_due.max(now) + each;
        let may = due <= now + burst;
        if may {
            self.subscribes_due = due;
        }
        may
    }

    /// Answers a frame that changes nothing; too many of them close the connection.
    fn bad(&mut self, topic: Option<String>, problem: Problem) -> Vec<Action> {
        self.bad_frames += 1;
        let mut actions = vec![Action::Send(Box::new(ServerFrame::Error { topic, problem }))];
        if self.bad_frames >= self.limits.bad_frames_max {
            actions.push(self.close(Close::BadFrames));
        }
        actions
    }

    fn close(&mut self, close: Close) -> Action {
        self.closed = true;
        Action::Close(close)
    }
}

/// Whether a topic is this one's to follow. Whose an order is shows its state, which the hub has.
fn is_open_to(who: &Principal, topic: &Topic) -> bool {
    match topic.right().reach(who.role) {
        Reach::No => false,
        Reach::Any => true,
        Reach::Own => match topic {
            Topic::Rider(rider) => who.is(rider.as_str()),
            Topic::Warehouse(warehouse) => who.is(warehouse.as_str()),
            Topic::Order(_) | Topic::Whole(_) => true,
            Topic::Cell | Topic::Alerts => false,
        },
    }
}
