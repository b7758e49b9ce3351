//! A client's frames, each read and done.

use super::{Done, Phase, Stomp};
use crate::{
    bridge::{
        commands::Ask,
        conversation::Wish,
        reject::Rejection,
        session::{Action, Session},
        stomp::{
            codec::ClientText,
            destination::{self, Source, Target},
            heartbeat::Offer,
            refusal::Refusal,
            sends::{Full, Job},
            subscriptions::{AckMode, Name, Place, SUBSCRIPTIONS_MAX},
            version::Version,
        },
    },
    wire::{FieldError, client::ClientFrame, problem::Problem},
};

/// Longest text that the client makes up and we keep: ids, receipts, names of transactions, destinations. In bytes.
const TEXT_MAX: usize = 256;

impl Stomp {
    pub(super) fn on_frame(&mut self, frame: &ClientText, session: &mut Session, wishes: &mut Vec<Wish>) -> Done {
        let receipt = short(frame, "receipt", None)?;
        if matches!(self.phase, Phase::New) {
            return match frame.command.as_str() {
                "CONNECT" | "STOMP" => self.on_connect(frame, session, wishes),
                _ => Err(bad(format!("`{}` before CONNECT", frame.command), receipt)),
            };
        }
        if frame.command != "SEND" && !frame.body.is_empty() && self.version > Version::V10 {
            return Err(bad(format!("a {} has no body", frame.command), receipt));
        }
        match frame.command.as_str() {
            "SUBSCRIBE" => self.on_subscribe(frame, receipt, session, wishes),
            "UNSUBSCRIBE" => self.on_unsubscribe(frame, receipt, session, wishes),
            "SEND" => self.on_send(frame, receipt, session, wishes),
            "ACK" => self.on_ack(frame, receipt, wishes),
            "NACK" if self.version > Version::V10 => self.on_ack(frame, receipt, wishes),
            "BEGIN" | "COMMIT" | "ABORT" => self.on_transaction(frame, receipt, wishes),
            "DISCONNECT" => {
                let job = Job::Disconnect { receipt: receipt.map(str::to_owned) };
                self.sends.push(job, None).map_err(|full| too_much(full, receipt))?;
                self.go_on(wishes);
                Ok(())
            }
            "CONNECT" | "STOMP" => Err(bad("the connection is open already".into(), receipt)),
            other => Err(bad(format!("`{other}` is no command of a {} client", self.version.name()), receipt)),
        }
    }

    fn on_connect(&mut self, frame: &ClientText, session: &mut Session, wishes: &mut Vec<Wish>) -> Done {
        let Some(version) = Version::negotiate(frame.header("accept-version")) else {
            let reason = format!("has none of {}", Version::ALL.map(Version::name).join(", "));
            let mut refusal = Refusal::new(FieldError::new("accept-version", reason), None);
            refusal.versions = true;
            return Err(refusal.into());
        };
        let offer = match frame.header("heart-beat").filter(|_| version > Version::V10) {
            Some(text) => Offer::parse(text).ok_or_else(|| {
                Refusal::new(FieldError::new("heart-beat", "must be two numbers of milliseconds, as 10000,10000"), None)
            })?,
            None => Offer::default(),
        };
        (self.version, self.offer) = (version, offer);
        session.id().clone_into(&mut self.session);
        let known = session.who().is_some();
        match token(frame, known)? {
            Some(token) => {
                self.phase = Phase::Connecting;
                act(session.on_frame(ClientFrame::Authenticate { token }, self.now), wishes);
            }
            None if known => {
                let connected = self.connected();
                wishes.push(Wish::Say(connected));
            }
            None => {
                let problem = Problem::new(401, "unauthorized", "Who is asking isn't known").with_field("token");
                let detail = "a CONNECT brings a token in `Authorization` (Bearer …), `token` or `passcode`, unless the connection did";
                return Err(Refusal::new(problem.with_detail(detail), None).into());
            }
        }
        Ok(())
    }

    fn on_subscribe(
        &mut self,
        frame: &ClientText,
        receipt: Option<&str>,
        session: &mut Session,
        wishes: &mut Vec<Wish>,
    ) -> Done {
        let refuse = |error: FieldError| Box::new(Refusal::new(error, receipt));
        let text = short(frame, "destination", receipt)?.ok_or_else(|| Refusal::missing("destination", receipt))?;
        let source = destination::source(text).map_err(refuse)?;
        let name = match short(frame, "id", receipt)? {
            Some(id) => Name::Id(id.to_owned()),
            None if self.version == Version::V10 => Name::Destination(text.to_owned()),
            None => return Err(Refusal::missing("id", receipt).into()),
        };
        if self.subscriptions.has(&name) {
            return Err(refuse(FieldError::new("id", "is that of another subscription")));
        }
        if self.subscriptions.count() >= SUBSCRIPTIONS_MAX {
            let problem = Problem::new(429, "too_many_topics", "Too many subscriptions").with_field("id");
            return Err(Refusal::new(problem, receipt).into());
        }
        let ack = AckMode::parse(frame.header("ack"));
        let ack = ack.ok_or_else(|| refuse(FieldError::new("ack", "must be auto, client or client-individual")))?;
        let (version, epoch) = (number(frame, "version", receipt)?, number(frame, "epoch", receipt)?);
        let resume = version.zip(epoch).map(|(version, epoch)| Place { epoch, version });
        let topic = match &source {
            Source::Topic(topic) => Some(topic.to_string()),
            Source::Heartbeat | Source::Errors => None,
        };
        self.subscriptions.add(name, source, ack, resume, receipt.map(str::to_owned));
        match topic {
            Some(topic) => {
                let subscribe = ClientFrame::Subscribe { topic, version, epoch, bounds: None };
                act(session.on_frame(subscribe, self.now), wishes);
            }
            None => self.give_receipt(receipt, wishes),
        }
        Ok(())
    }

    fn on_unsubscribe(
        &mut self,
        frame: &ClientText,
        receipt: Option<&str>,
        session: &mut Session,
        wishes: &mut Vec<Wish>,
    ) -> Done {
        let by_destination = || -> Done<Option<Name>> {
            let found = short(frame, "destination", receipt)?.filter(|_| self.version == Version::V10);
            Ok(found.map(|text| Name::Destination(text.to_owned())))
        };
        let name = match short(frame, "id", receipt)? {
            Some(id) => Name::Id(id.to_owned()),
            None => by_destination()?.ok_or_else(|| Refusal::missing("id", receipt))?,
        };
        match self.subscriptions.remove(&name) {
            None => return Err(Refusal::new(FieldError::new("id", "is no subscription's"), receipt).into()),
            Some(None) => self.give_receipt(receipt, wishes),
            Some(Some(topic)) => {
                let unsubscribe = ClientFrame::Unsubscribe { topic: topic.to_string() };
                self.subscriptions.leave(topic, receipt.map(str::to_owned));
                act(session.on_frame(unsubscribe, self.now), wishes);
            }
        }
        Ok(())
    }

    fn on_send(
        &mut self,
        frame: &ClientText,
        receipt: Option<&str>,
        session: &mut Session,
        wishes: &mut Vec<Wish>,
    ) -> Done {
        let text = short(frame, "destination", receipt)?.ok_or_else(|| Refusal::missing("destination", receipt))?;
        let transaction = short(frame, "transaction", receipt)?;
        let key = frame.header("Idempotency-Key").or_else(|| frame.header("idempotency-key"));
        let ask = match destination::target(text).map_err(|error| Refusal::new(error, receipt))? {
            Target::Token if transaction.is_some() => {
                let error = FieldError::new("transaction", "a token is taken at once");
                return Err(Refusal::new(error, receipt).into());
            }
            Target::Token => {
                let body = std::str::from_utf8(&frame.body).ok().map(str::trim).filter(|text| !text.is_empty());
                let found = token(frame, true)?.or_else(|| body.map(str::to_owned));
                let token = found.ok_or_else(|| Refusal::missing("token", receipt))?;
                self.tokens.push_back(receipt.map(str::to_owned));
                act(session.on_frame(ClientFrame::Authenticate { token }, self.now), wishes);
                return Ok(());
            }
            Target::Tracking => Ask::tracking(key, frame.body.clone()),
            Target::Order { order, verb } => {
                Ask::order((order, verb), (key, frame.header("if-match")), frame.body.clone())
            }
        };
        match ask {
            Ok(ask) => {
                let (destination, receipt) = (text.to_owned(), receipt.map(str::to_owned));
                let job = Job::Send { ask, destination, receipt: receipt.clone() };
                self.sends.push(job, transaction).map_err(|full| too_much(full, receipt.as_deref()))?;
                self.go_on(wishes);
            }
            Err(Rejection(problem)) => self.refuse(*problem, (text, receipt, transaction), wishes),
        }
        Ok(())
    }

    fn on_ack(&mut self, frame: &ClientText, receipt: Option<&str>, wishes: &mut Vec<Wish>) -> Done {
        let header = if self.version == Version::V12 { "id" } else { "message-id" };
        let message = frame.header(header).ok_or_else(|| Refusal::missing(header, receipt))?;
        // Ours are numbers; another text is nobody's.
        let message = message.parse().unwrap_or(0);
        let subscription = short(frame, "subscription", receipt)?.map(str::to_owned);
        if self.version == Version::V11 && subscription.is_none() {
            return Err(Refusal::missing("subscription", receipt).into());
        }
        let job = Job::Acknowledge { message, subscription, receipt: receipt.map(str::to_owned) };
        match short(frame, "transaction", receipt)? {
            Some(transaction) => self.sends.push(job, Some(transaction)).map_err(|full| too_much(full, receipt)),
            // It waits for nothing.
            None => self.acknowledge(job, wishes),
        }
    }

    pub(super) fn acknowledge(&mut self, job: Job, wishes: &mut Vec<Wish>) -> Done {
        let Job::Acknowledge { message, subscription, receipt } = job else { return Ok(()) };
        let of = subscription.filter(|_| self.version < Version::V12).map(Name::Id);
        if self.subscriptions.acknowledge(message, of.as_ref()).is_err() {
            let header = if self.version == Version::V12 { "id" } else { "message-id" };
            let error = FieldError::new(header, "no message of this id waits to be acknowledged");
            return Err(Refusal::new(error, receipt.as_deref()).into());
        }
        self.give_receipt(receipt.as_deref(), wishes);
        Ok(())
    }

    fn on_transaction(&mut self, frame: &ClientText, receipt: Option<&str>, wishes: &mut Vec<Wish>) -> Done {
        let name = short(frame, "transaction", receipt)?.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Refusal::missing("transaction", receipt))?;
        let done = match frame.command.as_str() {
            "BEGIN" => self.sends.begin(name),
            "COMMIT" => self.sends.commit(name, receipt.map(str::to_owned)),
            _ => self.sends.abort(name),
        };
        done.map_err(|full| too_much(full, receipt))?;
        if frame.command == "COMMIT" {
            self.go_on(wishes);
        } else {
            self.give_receipt(receipt, wishes);
        }
        Ok(())
    }
}

fn act(actions: Vec<Action>, wishes: &mut Vec<Wish>) {
    wishes.extend(actions.into_iter().map(Wish::Act));
}

/// The token of a frame. A `passcode` is one only where nobody is known: pages send any to a broker that wants one.
fn token(frame: &ClientText, known: bool) -> Done<Option<String>> {
    if let Some(text) = frame.header("Authorization").or_else(|| frame.header("authorization")) {
        let bearer = text.trim().split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let token = bearer.map(|(_, token)| token.trim().to_owned()).filter(|token| !token.is_empty());
        let error = || Refusal::new(FieldError::new("Authorization", "must be `Bearer` and a token"), None);
        return Ok(Some(token.ok_or_else(error)?));
    }
    let passcode = frame.header("passcode").filter(|_| !known);
    let found = frame.header("token").or(passcode).map(str::trim).filter(|token| !token.is_empty());
    Ok(found.map(str::to_owned))
}

/// A header that we keep.
fn short<'a>(frame: &'a ClientText, name: &str, receipt: Option<&str>) -> Done<Option<&'a str>> {
    match frame.header(name) {
        Some(text) if text.len() > TEXT_MAX => {
            let error = FieldError::new(name, format!("has {} bytes, at most {TEXT_MAX} are taken", text.len()));
            Err(Refusal::new(error, receipt).into())
        }
        found => Ok(found),
    }
}

fn number(frame: &ClientText, name: &str, receipt: Option<&str>) -> Done<Option<u64>> {
    let parse = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let error = || Box::new(Refusal::new(FieldError::new(name, "must be a whole number"), receipt));
    frame.header(name).map(|text| parse(text).ok_or_else(error)).transpose()
}

fn bad(detail: String, receipt: Option<&str>) -> Box<Refusal> {
    let problem = Problem::new(400, "bad_frame", "Not a frame for now").with_field("frame");
    Refusal::new(problem.with_detail(detail), receipt).into()
}

fn too_much(full: Full, receipt: Option<&str>) -> Box<Refusal> {
    let detail = full.to_string();
    let problem = match full {
        Full::Waiting => Problem::new(429, "too_fast", "Too much waits").with_field("frame"),
        Full::Transactions => {
            Problem::new(429, "too_many_transactions", "Too many transactions").with_field("transaction")
        }
        Full::Unknown | Full::Begun => Problem::new(400, "bad_input", "A field doesn't fit").with_field("transaction"),
    };
    Refusal::new(problem.with_detail(detail), receipt).into()
}
