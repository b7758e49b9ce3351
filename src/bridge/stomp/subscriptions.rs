//! A connection's subscriptions: which there are, what each has been told, and what it has yet to acknowledge.
//!
//! Several may be to one destination; the session follows its topic once, and each gets what it lacks: what the session
//! says to one that came later (its snapshot, or deltas from where it was) isn't said again to those that have it. One that
//! came later may also resume ahead of the others, for which the deltas then lead from where they aren't yet: they wait for a
//! snapshot, which is asked for.
//!
//! Acknowledgements are checked against what was delivered and change nothing else: a broker keeps messages until they are
//! acknowledged, here the newest state of an order is one question away. What waits for one is bounded; the oldest are taken
//! for acknowledged.

use super::destination::Source;
use crate::wire::{client::Recovery, topic::Topic};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Subscriptions of one connection: as many as it may follow topics by default.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;

/// Messages of one connection that wait for their acknowledgement.
pub const UNACKNOWLEDGED_MAX: usize = 1_000;

/// No subscription's serial.
const NOBODY: u64 = 0;

/// Who acknowledges what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    Auto,
    /// One acknowledgement is for all before it.
    Client,
    Individual,
}

impl AckMode {
    /// Of a SUBSCRIBE's header.
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("auto") => Some(Self::Auto),
            Some("client") => Some(Self::Client),
            Some("client-individual") => Some(Self::Individual),
            Some(_) => None,
        }
    }
}

/// How a client names a subscription: by its id, or in 1.0 by its destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Id(String),
    Destination(String),
}

/// Where a topic is, in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub epoch: u64,
    pub version: u64,
}

/// How a subscription began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Began {
    pub how: Recovery,
    /// How many changes were missed and follow, where that is known.
    pub missed: Option<u64>,
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    pub name: Name,
    pub ack: AckMode,
    /// Tells it from others, also from one that had its name before.
    serial: u64,
    /// It was answered, and gets messages.
    live: bool,
    /// What it has.
    at: Option<Place>,
    /// How it began, until it was said with its first message.
    began: Option<Began>,
}

/// A message's place in a subscription.
#[derive(Debug)]
pub struct Delivery<'a> {
    pub name: &'a Name,
    pub ack: AckMode,
    pub message: u64,
    pub began: Option<Began>,
}

/// A SUBSCRIBE that the session has yet to answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Awaiting {
    pub name: Name,
    pub receipt: Option<String>,
    serial: u64,
    resume: Option<Place>,
}

/// Why an acknowledgement is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDelivered;

/// What a topic's frame leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Whole,
    From(u64),
}

/// One per connection.
#[derive(Debug, Default)]
pub struct Subscriptions {
    by_source: BTreeMap<Source, Vec<Subscription>>,
    sources: BTreeMap<Name, Source>,
    awaiting: BTreeMap<Topic, VecDeque<Awaiting>>,
    /// Topics of which somebody lacks a snapshot that was not asked for yet.
    lacking: BTreeSet<Topic>,
    /// Receipts of UNSUBSCRIBEs that the session has yet to answer.
    leaving: BTreeMap<Topic, VecDeque<Option<String>>>,
    /// Message and subscription, by message.
    unacknowledged: VecDeque<(u64, u64)>,
    /// What is up to here isn't kept.
    forgotten: u64,
    messages: u64,
    serials: u64,
}

impl Subscriptions {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.sources.len()
    }

    pub fn has(&self, name: &Name) -> bool {
        self.sources.contains_key(name)
    }

    /// Adds one. One to a topic waits for the session's answer; the others are live at once.
    pub fn add(&mut self, name: Name, source: Source, ack: AckMode, resume: Option<Place>, receipt: Option<String>) {
        self.serials += 1;
        let serial = self.serials;
        let live = match &source {
            Source::Topic(topic) => {
                let awaiting = Awaiting { name: name.clone(), receipt, serial, resume };
                self.awaiting.entry(topic.clone()).or_default().push_back(awaiting);
                false
            }
            Source::Heartbeat | Source::Errors => true,
        };
        self.sources.insert(name.clone(), source.clone());
        let subscription = Subscription { name, ack, serial, live, at: None, began: None };
        self.by_source.entry(source).or_default().push(subscription);
    }

    /// Takes one off. The topic that nobody here follows any more, if that is so.
    pub fn remove(&mut self, name: &Name) -> Option<Option<Topic>> {
        let source = self.sources.remove(name)?;
        let left = self.by_source.get_mut(&source)?;
        left.retain(|subscription| subscription.name != *name);
        if !left.is_empty() {
            return Some(None);
        }
        self.by_source.remove(&source);
        match source {
            Source::Topic(topic) => Some(Some(topic)),
            Source::Heartbeat | Source::Errors => Some(None),
        }
    }

    /// The session was asked to leave a topic.
    pub fn leave(&mut self, topic: Topic, receipt: Option<String>) {
        self.leaving.entry(topic).or_default().push_back(receipt);
    }

    /// The session left a topic; the receipt that was asked for.
    pub fn left(&mut self, topic: &Topic) -> Option<String> {
        let waiting = self.leaving.get_mut(topic)?;
        let receipt = waiting.pop_front();
        if waiting.is_empty() {
            self.leaving.remove(topic);
        }
        receipt.flatten()
    }

    /// The session follows a topic for the one that has waited longest; the receipt that was asked for.
    pub fn followed(&mut self, topic: &Topic, began: Began) -> Option<String> {
        let Awaiting { serial, resume, receipt, .. } = self.answered(topic)?;
        let all = self.by_source.get_mut(&Source::Topic(topic.clone()));
        if let Some(one) = all.and_then(|all| all.iter_mut().find(|one| one.serial == serial)) {
            one.live = true;
            one.began = Some(began);
            one.at = match began.how {
                Recovery::Resumed => resume,
                Recovery::Fresh | Recovery::Reset => None,
            };
        }
        receipt
    }

    /// What follows of a topic doesn't follow from what was: those who have any of it are told so with their next message.
    pub fn begin_anew(&mut self, topic: &Topic) {
        for one in self.by_source.get_mut(&Source::Topic(topic.clone())).into_iter().flatten() {
            if one.at.take().is_some() {
                one.began = Some(Began { how: Recovery::Reset, missed: None });
            }
        }
    }

    /// The SUBSCRIBE that an answer about a topic is for, if there is one.
    pub fn answered(&mut self, topic: &Topic) -> Option<Awaiting> {
        let waiting = self.awaiting.get_mut(topic)?;
        let first = waiting.pop_front();
        if waiting.is_empty() {
            self.awaiting.remove(topic);
        }
        first
    }

    /// The session ended a topic by itself: takes off all that were to it.
    pub fn end(&mut self, topic: &Topic) -> Vec<Name> {
        let ended = self.by_source.remove(&Source::Topic(topic.clone())).unwrap_or_default();
        let names: Vec<_> = ended.into_iter().map(|subscription| subscription.name).collect();
        names.iter().for_each(|name| drop(self.sources.remove(name)));
        names
    }

    /// Whether anybody is told of it.
    pub fn is_heard(&self, source: &Source) -> bool {
        self.by_source.contains_key(source)
    }

    /// Tells `to` of each subscription to a topic that lacks what leads to `place`.
    pub fn deliver_topic(&mut self, topic: &Topic, place: Place, step: Step, to: impl FnMut(Delivery<'_>)) {
        if let Step::From(from) = step {
            self.find_gaps(topic, Place { epoch: place.epoch, version: from });
        }
        let lacks = |at: Option<Place>| match (at, step) {
            (Some(at), Step::Whole) => at != place,
            (Some(at), Step::From(_)) => at.version < place.version,
            (None, Step::Whole) => true,
            // The snapshot that it waits for comes first.
            (None, Step::From(_)) => false,
        };
        self.deliver_where(&Source::Topic(topic.clone()), Some(place), |one| lacks(one.at), to);
    }

    /// Lets those wait for a snapshot that aren't where a delta leads from, nor past it.
    fn find_gaps(&mut self, topic: &Topic, from: Place) {
        let Some(all) = self.by_source.get_mut(&Source::Topic(topic.clone())) else { return };
        // Versions are counted on by a newer owner: its first delta leads from where the older one's ended.
        let behind = |at: Place| at.version < from.version || (at.epoch != from.epoch && at.version != from.version);
        for one in all.iter_mut().filter(|one| one.live && one.at.is_some_and(behind)) {
            one.at = None;
            one.began = Some(Began { how: Recovery::Reset, missed: None });
            self.lacking.insert(topic.clone());
        }
    }

    /// Whether [`Self::ask_anew`] has something to ask.
    pub fn is_lacking(&self) -> bool {
        !self.lacking.is_empty()
    }

    /// The topics whose snapshots the session is to be asked for. Each answer is awaited like a SUBSCRIBE's, for nobody new.
    pub fn ask_anew(&mut self) -> Vec<Topic> {
        let mut topics = Vec::new();
        for topic in std::mem::take(&mut self.lacking) {
            let all = self.by_source.get(&Source::Topic(topic.clone()));
            let Some(one) = all.and_then(|all| all.iter().find(|one| one.live && one.at.is_none())) else { continue };
            let awaiting = Awaiting { name: one.name.clone(), receipt: None, serial: NOBODY, resume: None };
            self.awaiting.entry(topic.clone()).or_default().push_back(awaiting);
            topics.push(topic);
        }
        topics
    }

    /// Tells `to` of each subscription to something else.
    pub fn deliver(&mut self, source: &Source, to: impl FnMut(Delivery<'_>)) {
        self.deliver_where(source, None, |_| true, to);
    }

    fn deliver_where(
        &mut self,
        source: &Source,
        place: Option<Place>,
        wants: impl Fn(&Subscription) -> bool,
        mut to: impl FnMut(Delivery<'_>),
    ) {
        let Some(all) = self.by_source.get_mut(source) else { return };
        for one in all.iter_mut().filter(|one| one.live) {
            if !wants(one) {
                continue;
            }
            one.at = place.or(one.at);
            self.messages += 1;
            let message = self.messages;
            if one.ack != AckMode::Auto {
                self.unacknowledged.push_back((message, one.serial));
                if self.unacknowledged.len() > UNACKNOWLEDGED_MAX
                    && let Some((oldest, _)) = self.unacknowledged.pop_front()
                {
                    self.forgotten = oldest;
                }
            }
            to(Delivery { name: &one.name, ack: one.ack, message, began: one.began.take() });
        }
    }

    /// Takes an ACK or NACK. `of`: the subscription that it names, where it names one.
    pub fn acknowledge(&mut self, message: u64, of: Option<&Name>) -> Result<(), NotDelivered> {
        let Ok(at) = self.unacknowledged.binary_search_by_key(&message, |(message, _)| *message) else {
            // One of those that were taken for acknowledged, perhaps; nobody is wronged by believing it.
            return if (1..=self.forgotten).contains(&message) { Ok(()) } else { Err(NotDelivered) };
        };
        let (_, serial) = self.unacknowledged[at];
        let one = self.by_source.values().flatten().find(|one| one.serial == serial);
        if let Some(of) = of
            && one.is_none_or(|one| one.name != *of)
        {
            return Err(NotDelivered);
        }
        match one.map(|one| one.ack) {
            Some(AckMode::Client) => self.unacknowledged.retain(|(m, of)| *m > message || *of != serial),
            // It was unsubscribed since.
            None | Some(AckMode::Individual | AckMode::Auto) => drop(self.unacknowledged.remove(at)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Began = Began { how: Recovery::Fresh, missed: None };

    fn id(text: &str) -> Name {
        Name::Id(text.into())
    }

    fn topic() -> Topic {
        "order/o1/whole".parse().unwrap()
    }

    fn place(version: u64) -> Place {
        Place { epoch: 1, version }
    }

    fn deliver(all: &mut Subscriptions, version: u64, step: Step) -> Vec<(String, u64)> {
        let mut told = Vec::new();
        all.deliver_topic(&topic(), place(version), step, |delivery| {
            let Name::Id(name) = delivery.name else { panic!() };
            told.push((name.clone(), delivery.message));
        });
        told
    }

    #[test]
    fn each_gets_what_it_lacks() {
        let mut all = Subscriptions::default();
        all.add(id("a"), Source::Topic(topic()), AckMode::Auto, None, Some("ra".into()));
        assert!(deliver(&mut all, 3, Step::Whole).is_empty(), "not yet answered");
        assert_eq!(all.followed(&topic(), FRESH), Some("ra".into()));
        assert!(deliver(&mut all, 3, Step::From(2)).is_empty(), "its snapshot comes first");
        assert_eq!(deliver(&mut all, 3, Step::Whole), [("a".into(), 1)]);
        // One that comes later has its own snapshot, which the first one has.
        all.add(id("b"), Source::Topic(topic()), AckMode::Auto, None, None);
        assert_eq!(deliver(&mut all, 4, Step::From(3)), [("a".into(), 2)]);
        assert_eq!(all.followed(&topic(), FRESH), None);
        assert_eq!(deliver(&mut all, 4, Step::Whole), [("b".into(), 3)]);
        assert_eq!(deliver(&mut all, 5, Step::From(4)).len(), 2);
        // A third that resumes gets the missed deltas, and the others don't again.
        all.add(id("c"), Source::Topic(topic()), AckMode::Auto, Some(place(3)), None);
        all.followed(&topic(), Began { how: Recovery::Resumed, missed: Some(3) });
        assert_eq!(deliver(&mut all, 4, Step::From(3)), [("c".into(), 6)]);
        assert_eq!(deliver(&mut all, 5, Step::From(4)), [("c".into(), 7)]);
        assert_eq!(deliver(&mut all, 6, Step::From(5)).len(), 3);
        assert_eq!(all.remove(&id("a")), Some(None));
        assert_eq!(all.remove(&id("a")), None);
        assert_eq!(all.end(&topic()), [id("b"), id("c")]);
        assert!(all.count() == 0 && !all.has(&id("b")));
    }

    #[test]
    fn who_is_left_behind_waits_for_a_snapshot() {
        let mut all = Subscriptions::default();
        all.add(id("a"), Source::Topic(topic()), AckMode::Auto, None, None);
        all.followed(&topic(), FRESH);
        assert_eq!(deliver(&mut all, 3, Step::Whole).len(), 1);
        // Another one is further on: what follows leads from there.
        all.add(id("b"), Source::Topic(topic()), AckMode::Auto, Some(place(7)), None);
        all.followed(&topic(), Began { how: Recovery::Resumed, missed: Some(0) });
        assert!(!all.is_lacking());
        assert_eq!(deliver(&mut all, 8, Step::From(7)), [("b".into(), 2)], "not over a gap");
        assert!(all.is_lacking());
        assert_eq!((all.ask_anew(), all.is_lacking(), all.ask_anew()), (vec![topic()], false, vec![]));
        assert_eq!(deliver(&mut all, 9, Step::From(8)), [("b".into(), 3)], "it still waits");
        assert!(!all.is_lacking(), "asked once");
        assert_eq!(all.followed(&topic(), FRESH), None);
        let mut told = Vec::new();
        all.deliver_topic(&topic(), place(9), Step::Whole, |delivery| told.push(delivery.began));
        assert_eq!(told, [Some(Began { how: Recovery::Reset, missed: None })], "the other one has it");
        assert_eq!(deliver(&mut all, 10, Step::From(9)).len(), 2);
        // Who goes before it is asked for needs none.
        all.add(id("c"), Source::Topic(topic()), AckMode::Auto, Some(place(20)), None);
        all.followed(&topic(), Began { how: Recovery::Resumed, missed: Some(0) });
        assert_eq!(deliver(&mut all, 21, Step::From(20)).len(), 1);
        all.end(&topic());
        assert!(all.is_lacking() && all.ask_anew().is_empty() && all.answered(&topic()).is_none());
    }

    #[test]
    fn who_has_something_is_told_that_it_begins_anew() {
        let mut all = Subscriptions::default();
        let began = |all: &mut Subscriptions, version| {
            let mut told = Vec::new();
            all.deliver_topic(&topic(), place(version), Step::Whole, |delivery| {
                told.push(delivery.began.map(|began| began.how));
            });
            told
        };
        all.add(id("a"), Source::Topic(topic()), AckMode::Auto, None, None);
        all.followed(&topic(), FRESH);
        all.add(id("b"), Source::Topic(topic()), AckMode::Auto, None, Some("rb".into()));
        all.begin_anew(&topic());
        assert_eq!(began(&mut all, 3), [Some(Recovery::Fresh)], "it had nothing");
        all.begin_anew(&topic());
        assert_eq!(began(&mut all, 3), [Some(Recovery::Reset)], "also under the version that it had");
        assert_eq!(all.followed(&topic(), FRESH), Some("rb".into()), "what wasn't asked for answers nobody");
        assert_eq!(began(&mut all, 4), [None, Some(Recovery::Fresh)]);
    }

    #[test]
    fn an_answer_is_for_who_asked_first() {
        let mut all = Subscriptions::default();
        all.add(id("a"), Source::Topic(topic()), AckMode::Auto, None, Some("1".into()));
        assert_eq!(all.remove(&id("a")), Some(Some(topic())));
        all.leave(topic(), Some("2".into()));
        all.add(id("a"), Source::Topic(topic()), AckMode::Auto, None, Some("3".into()));
        assert_eq!(all.followed(&topic(), FRESH), Some("1".into()));
        assert!(deliver(&mut all, 1, Step::Whole).is_empty(), "that one is gone, the new one not answered");
        assert_eq!(all.left(&topic()), Some("2".into()));
        assert_eq!(all.followed(&topic(), FRESH), Some("3".into()));
        assert_eq!(deliver(&mut all, 1, Step::Whole).len(), 1);
        assert_eq!((all.answered(&topic()), all.left(&topic())), (None, None));
    }

    #[test]
    fn acknowledgements_are_of_what_was_delivered() {
        let mut all = Subscriptions::default();
        for (name, ack) in [("auto", AckMode::Auto), ("client", AckMode::Client), ("one", AckMode::Individual)] {
            all.add(id(name), Source::Heartbeat, ack, None, None);
        }
        // Messages 1 to 9: auto 1, 4, 7; client 2, 5, 8; one 3, 6, 9.
        for _ in 0..3 {
            all.deliver(&Source::Heartbeat, |_| {});
        }
        assert_eq!(all.acknowledge(1, None), Err(NotDelivered), "auto has none");
        assert_eq!(all.acknowledge(10, None), Err(NotDelivered));
        assert_eq!(all.acknowledge(5, Some(&id("one"))), Err(NotDelivered), "another's");
        assert_eq!(all.acknowledge(5, Some(&id("client"))), Ok(()));
        assert_eq!(all.acknowledge(2, None), Err(NotDelivered), "it went with 5");
        assert_eq!((all.acknowledge(6, None), all.acknowledge(6, None)), (Ok(()), Err(NotDelivered)));
        assert_eq!(all.acknowledge(3, None), Ok(()), "each by itself");
        all.remove(&id("one"));
        assert_eq!(all.acknowledge(9, None), Ok(()), "delivered before it was unsubscribed");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut all = Subscriptions::default();
        all.add(id("a"), Source::Heartbeat, AckMode::Individual, None, None);
        for _ in 0..UNACKNOWLEDGED_MAX + 5 {
            all.deliver(&Source::Heartbeat, |_| {});
        }
        assert_eq!(all.unacknowledged.len(), UNACKNOWLEDGED_MAX);
        assert_eq!((all.acknowledge(5, None), all.acknowledge(6, None)), (Ok(()), Ok(())));
        assert_eq!(all.acknowledge(0, None), Err(NotDelivered));
    }
}
