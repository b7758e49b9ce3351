//! Frames about replays: checked here, so that what reaches the replays fits and has room.

use super::{Action, Session};
use crate::{
    bridge::{reject::Rejection, replay::Cue},
    domain::OrderId,
    wire::{
        FieldError,
        client::{ClientFrame, ServerFrame},
        command::time,
        problem::Problem,
        replay::{MAX_SPEED, ReplayFrame},
    },
};

/// Does what a frame about a replay asks for; any other is none of its business.
pub(super) fn on_frame(session: &mut Session, frame: ClientFrame) -> Vec<Action> {
    match checked(session, frame) {
        Ok(Some(action)) => vec![action],
        Ok(None) => Vec::new(),
        Err(Rejection(problem)) => session.bad(None, *problem),
    }
}

fn checked(session: &mut Session, frame: ClientFrame) -> Result<Option<Action>, Rejection> {
    let cue = match frame {
        ClientFrame::Replay { replay, order, speed, from_ms, paused } => {
            let order: OrderId = order.parse().map_err(|e| FieldError::new("order", format!("{e}")))?;
            let speed = speed_of(speed)?.unwrap_or(1);
            let from = from_ms.map(|ms| time("from_ms", ms)).transpose()?;
            if session.replays.contains(&replay) {
                return Err(FieldError::new("replay", format!("{replay} is in use; stop it first")).into());
            }
            let most = session.limits.replays_max;
            if session.replays.len() >= most {
                let problem = Problem::new(429, "too_many_replays", "Too many replays").with_field("replay");
                return Err(problem.with_detail(format!("a connection has at most {most} replays")).into());
            }
            session.replays.insert(replay);
            Cue::Start { replay, order, speed, from, paused: paused.unwrap_or(false) }
        }
        ClientFrame::ReplayControl { replay, paused, seek_ms, speed } => {
            let speed = speed_of(speed)?;
            let seek = seek_ms.map(|ms| time("seek_ms", ms)).transpose()?;
            if (paused, seek, speed) == (None, None, None) {
                return Err(FieldError::new("paused", "is missing; seek_ms or speed does as well").into());
            }
            if !session.replays.contains(&replay) {
                return Err(FieldError::new("replay", format!("there is no replay {replay}")).into());
            }
            Cue::Control { replay, paused, seek, speed }
        }
        // As if it had been there: who repeats it wants the same.
        ClientFrame::ReplayStop { replay } if !session.replays.remove(&replay) => {
            return Ok(Some(Action::Send(Box::new(ServerFrame::Replay(ReplayFrame::ReplayStopped { replay })))));
        }
        ClientFrame::ReplayStop { replay } => Cue::Stop { replay },
        ClientFrame::Subscribe { .. }
        | ClientFrame::Unsubscribe { .. }
        | ClientFrame::Authenticate { .. }
        | ClientFrame::Ping { .. } => return Ok(None),
    };
    Ok(Some(Action::Replay(cue)))
}

fn speed_of(speed: Option<u32>) -> Result<Option<u32>, FieldError> {
    match speed {
        Some(speed) if !(1..=MAX_SPEED).contains(&speed) => {
            Err(FieldError::new("speed", format!("must be 1 to {MAX_SPEED}")))
        }
        Some(_) | None => Ok(speed),
    }
}
