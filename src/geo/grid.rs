//! A grid over the globe, for indexes of places: the cells are 0.005° high and 0.01° wide, which is about a geohash of six
//! characters (556 m by 950 m at 31° N). A cell is an integer, so that a database keeps and compares it as one.

use super::{Bounds, Point};

/// Height and width of a cell, in 1e-7°.
const ROW_E7: i64 = 50_000;
const COLUMN_E7: i64 = 100_000;
/// The last one is that of +180° itself.
const COLUMNS: i64 = 36_001;

/// The cell in which a point lies: rows from the south pole, columns from -180°.
pub fn grid_cell(point: Point) -> i64 {
    row(point.lat_e7) * COLUMNS + column(point.lon_e7)
}

/// How many cells a box touches.
pub fn grid_count(bounds: &Bounds) -> u64 {
    let rows = (row(bounds.north_e7) - row(bounds.south_e7) + 1).max(0);
    let wide = |(west, east): (i32, i32)| (column(east) - column(west) + 1).max(0);
    let columns: i64 = bounds.longitudes().into_iter().flatten().map(wide).sum();
    (rows * columns).unsigned_abs()
}

/// The cells that a box touches, each once.
pub fn grid_cells(bounds: &Bounds) -> impl Iterator<Item = i64> + use<> {
    let rows = row(bounds.south_e7)..=row(bounds.north_e7);
    let spans = bounds.longitudes().map(|span| span.map(|(west, east)| column(west)..=column(east)));
    rows.flat_map(move |row| spans.clone().into_iter().flatten().flatten().map(move |column| row * COLUMNS + column))
}

fn row(lat_e7: i32) -> i64 {
    (i64::from(lat_e7) + 900_000_000) / ROW_E7
}

fn column(lon_e7: i32) -> i64 {
    (i64::from(lon_e7) + 1_800_000_000) / COLUMN_E7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn at(lat_e7: i32, lon_e7: i32) -> Point {
        Point { lat_e7, lon_e7 }
    }

    #[test]
    fn corners_of_the_globe_have_cells_of_their_own() {
        let cells = [(-900_000_000, -1_800_000_000), (900_000_000, 1_800_000_000), (0, 0), (0, -1), (-1, 0)];
        let cells: BTreeSet<_> = cells.map(|(lat, lon)| grid_cell(at(lat, lon))).into();
        assert_eq!(cells.len(), 5);
        assert!(cells.iter().all(|cell| u32::try_from(*cell).is_ok()));
        assert_eq!(grid_cell(at(-900_000_000, -1_800_000_000)), 0);
    }

    proptest! {
        #[test]
        fn a_box_touches_the_cells_of_its_points(
            (south, west) in (-900_000_000..=900_000_000i32, -1_800_000_000..=1_800_000_000i32),
            (high, wide) in (0..2_000_000i64, 0..2_000_000i64),
            (up, along) in (0..=1_000i64, 0..=1_000i64),
        ) {
            let lon = |add: i64| {
                let lon = i64::from(west) + add;
                i32::try_from(if lon > 1_800_000_000 { lon - 3_600_000_000 } else { lon }).unwrap()
            };
            let lat = |add: i64| i32::try_from((i64::from(south) + add).min(900_000_000)).unwrap();
            let bounds = Bounds { south_e7: south, west_e7: west, north_e7: lat(high), east_e7: lon(wide) };
            let inside = at(lat(high * up / 1_000), lon(wide * along / 1_000));
            prop_assert!(bounds.contains(inside));
            let cells: Vec<_> = grid_cells(&bounds).collect();
            prop_assert!(cells.contains(&grid_cell(inside)));
            prop_assert_eq!(cells.len() as u64, grid_count(&bounds));
            prop_assert_eq!(cells.iter().collect::<BTreeSet<_>>().len(), cells.len());
        }
    }
}
