//! A made-up city: blocks of 200 m, with an arterial road every fifth street, one-way streets and a few gaps.

use super::{Class, Draft, Frame, Spot};

/// Blocks on each side, and a block's length in metres.
const BLOCKS: i32 = 20;
const BLOCK_M: f64 = 200.0;
/// The middle: Shanghai, north of People's Square.
const MIDDLE: Frame = Frame { lat: 31.248, lon: 121.491 };

pub(super) fn draft() -> Draft {
    let mut draft = Draft::default();
    for n in 0..=BLOCKS {
        let class = match n % 10 {
            0 => Class::Trunk,
            5 => Class::Primary,
            2 | 8 => Class::Tertiary,
            _ => Class::Residential,
        };
        // Every other of the small streets is a one-way one, alternating.
        let one_way = class == Class::Residential && n % 4 == 1;
        let run = |i: i32| if n % 8 == 1 { BLOCKS - i } else { i };
        draft.street((0..=BLOCKS).map(|i| corner(run(i), n)), class, one_way);
        draft.street((0..=BLOCKS).map(|i| corner(n, run(i))), class, one_way);
    }
    draft
}

fn corner(east: i32, north: i32) -> (f64, f64) {
    let metres = |n: i32| f64::from(n - BLOCKS / 2) * BLOCK_M;
    let spot = Spot { east_m: metres(east), north_m: metres(north) };
    MIDDLE.point(spot).map_or((MIDDLE.lat, MIDDLE.lon), |point| (point.lat(), point.lon()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_city_of_the_size_it_says() {
        let streets = draft().build("grid").unwrap();
        assert_eq!(streets.len(), 21 * 21);
        let width_m = streets.spots.iter().map(|s| s.east_m).fold(0.0, f64::max) * 2.0;
        assert!((width_m - 4_000.0).abs() < 5.0, "{width_m}");
    }
}
