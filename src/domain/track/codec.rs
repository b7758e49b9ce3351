//! Chunks as bytes: differences to the fix before, as variable-length integers.

use super::TrackFix;
use crate::{
    domain::{
        fix::{Fix, FixId, Mark},
        time::UnixMillis,
    },
    geo::Point,
};

/// Encodes consecutive fixes of a track.
pub(super) fn encode(fixes: &[TrackFix]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(fixes.len() * 16);
    let (mut time, mut lat, mut lon) = (0, 0, 0);
    for TrackFix { fix, fix_time, mark, turn } in fixes {
        out.push(*turn);
        out.push(*mark as u8);
        signed(&mut out, fix_time.0 - time);
        signed(&mut out, fix.id.device_time.0 - fix_time.0);
        optional(&mut out, fix.id.seq.map(u64::from));
        signed(&mut out, i64::from(fix.point.lat_e7) - lat);
        signed(&mut out, i64::from(fix.point.lon_e7) - lon);
        optional(&mut out, fix.accuracy_dm.map(u64::from));
        optional(&mut out, fix.speed_cmps.map(u64::from));
        optional(&mut out, fix.heading_deg.map(u64::from));
        optional(&mut out, fix.battery_pct.map(u64::from));
        (time, lat, lon) = (fix_time.0, i64::from(fix.point.lat_e7), i64::from(fix.point.lon_e7));
    }
    out.into()
}

/// Appends the fixes of a chunk; `None` if it is none.
pub(super) fn decode(mut bytes: &[u8], fixes: &mut Vec<TrackFix>) -> Option<()> {
    let (mut time, mut lat, mut lon) = (0i64, 0i64, 0i64);
    while !bytes.is_empty() {
        let turn = byte(&mut bytes)?;
        let mark = Mark::ALL.get(usize::from(byte(&mut bytes)?)).copied()?;
        time = time.checked_add(read_signed(&mut bytes)?)?;
        let device_time = UnixMillis(time.checked_add(read_signed(&mut bytes)?)?);
        let seq = read_optional(&mut bytes)?;
        lat = lat.checked_add(read_signed(&mut bytes)?)?;
        lon = lon.checked_add(read_signed(&mut bytes)?)?;
        let fix = Fix {
            point: Point { lat_e7: lat.try_into().ok()?, lon_e7: lon.try_into().ok()? },
            id: FixId { device_time, seq },
            accuracy_dm: read_optional(&mut bytes)?,
            speed_cmps: read_optional(&mut bytes)?,
            heading_deg: read_optional(&mut bytes)?,
            battery_pct: read_optional(&mut bytes)?,
        };
        fixes.push(TrackFix { fix, fix_time: UnixMillis(time), mark, turn });
    }
    Some(())
}

fn unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "seven bits and the continuation bit")]
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "below 0x80")]
    out.push(value as u8);
}

/// Zigzag, so that small negative differences are short too.
#[allow(clippy::cast_sign_loss, reason = "zigzag reinterprets the bits")]
fn signed(out: &mut Vec<u8>, value: i64) {
    unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Zero for none, else the value plus one.
fn optional(out: &mut Vec<u8>, value: Option<u64>) {
    unsigned(out, value.map_or(0, |v| v + 1));
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

fn read_unsigned(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0u64, 0u32);
    loop {
        let next = byte(bytes)?;
        if shift > 63 {
            return None;
        }
        value |= u64::from(next & 0x7f) << shift;
        shift += 7;
        if next & 0x80 == 0 {
            return Some(value);
        }
    }
}

#[allow(clippy::cast_possible_wrap, reason = "zigzag reinterprets the bits")]
fn read_signed(bytes: &mut &[u8]) -> Option<i64> {
    let value = read_unsigned(bytes)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// Outer `None`: no such number. Inner: none was written.
#[allow(clippy::option_option, reason = "unreadable and absent are different things")]
fn read_optional<T: TryFrom<u64>>(bytes: &mut &[u8]) -> Option<Option<T>> {
    match read_unsigned(bytes)? {
        0 => Some(None),
        value => Some(Some(T::try_from(value - 1).ok()?)),
    }
}
