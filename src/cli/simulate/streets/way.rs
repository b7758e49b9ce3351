//! A way through the streets, with the seconds at which a rider of ordinary speed passes each of its corners.

use super::{Frame, Spot};

/// Never empty in practice: a way from a corner to itself has that corner.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cli::simulate) struct Way {
    legs: Vec<(Spot, f64)>,
}

impl Way {
    /// Corners with the seconds since the start, ascending.
    pub(super) fn new(legs: Vec<(Spot, f64)>) -> Self {
        Self { legs }
    }

    pub(in crate::cli::simulate) fn legs(&self) -> &[(Spot, f64)] {
        &self.legs
    }

    pub(in crate::cli::simulate) fn seconds(&self) -> f64 {
        self.legs.last().map_or(0.0, |leg| leg.1)
    }

    #[cfg(test)]
    pub(super) fn first(&self) -> Option<Spot> {
        self.legs.first().map(|leg| leg.0)
    }

    #[cfg(test)]
    pub(super) fn last(&self) -> Option<Spot> {
        self.legs.last().map(|leg| leg.0)
    }

    /// The corner that lies about in the middle.
    pub(in crate::cli::simulate) fn middle(&self) -> Option<Spot> {
        self.legs.get(self.legs.len() / 2).map(|leg| leg.0)
    }

    /// This way, and from its end on another.
    pub(in crate::cli::simulate) fn then(mut self, next: &Self) -> Self {
        let so_far = self.seconds();
        self.legs.extend(next.legs.iter().skip(1).map(|(spot, seconds)| (*spot, so_far + seconds)));
        self
    }

    /// As GeoJSON has it, `[lon, lat]`; empty for a way of no length.
    pub(in crate::cli::simulate) fn line(&self, frame: &Frame) -> Vec<(f64, f64)> {
        let mut line: Vec<_> = self.legs.iter().filter_map(|leg| frame.point(leg.0)).collect();
        line.dedup();
        if line.len() < 2 { Vec::new() } else { line.into_iter().map(|point| (point.lon(), point.lat())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_and_draws() {
        let spot = |east_m| Spot { east_m, north_m: 0.0 };
        let a = Way::new(vec![(spot(0.0), 0.0), (spot(100.0), 20.0)]);
        let b = Way::new(vec![(spot(100.0), 0.0), (spot(300.0), 30.0)]);
        let way = a.then(&b);
        assert_eq!((way.seconds(), way.legs().len()), (50.0, 3));
        let frame = Frame { lat: 31.0, lon: 121.0 };
        assert_eq!(way.line(&frame).len(), 3);
        assert!(Way::new(vec![(spot(0.0), 0.0)]).line(&frame).is_empty());
        assert_eq!(way.middle(), Some(spot(100.0)));
    }
}
