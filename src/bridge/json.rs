//! JSON frames, as `/v1/ws` speaks: the session's own language.

use super::{
    conversation::{Protocol, Wish, acts},
    frame::Frame,
    link::Message,
    session::Session,
};
use crate::wire::client::Close;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Json;

impl Protocol for Json {
    fn on_text(&mut self, text: &[u8], session: &mut Session, now: Duration) -> Vec<Wish> {
        acts(session.on_text(text, now))
    }

    fn encode(&mut self, frame: &Frame, out: &mut Vec<Message>) -> Option<Close> {
        out.push(Message::json(frame));
        None
    }
}
