//! An order's story as a file for other programs: the forms that `/v1/orders/{order}/track` has, by the same writers.

use super::chronicle::{REFUSED, Story};
use crate::{
    geo::Datum,
    wire::track::{About, Drawn, Format, TrackWriter},
};

/// The file. Refusals, of which only a log tells, are no lines of a history and left out.
pub fn export(story: &Story, format: Format) -> String {
    let Story { order, state, alerts: _, lines } = story;
    let about = About { order, state, datum: Datum::Wgs84, drawn: Drawn::default() };
    let mut text = String::new();
    let mut writer = TrackWriter::begin(format, &about, &mut text);
    for line in lines.iter().filter(|line| line.kind != REFUSED) {
        writer.row(line, &mut text);
    }
    writer.end(&mut text);
    text
}
