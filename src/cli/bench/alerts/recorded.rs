//! Recorded trips, the ways they really took, and which trips are set against whose way.

use crate::{
    cli::import::rows::{self, Recording},
    domain::UnixMillis,
    geo::Point,
};
use anyhow::{Context as _, ensure};
use std::{collections::BTreeMap, fs::File, path::Path, str::FromStr};

/// One fix, as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub at: UnixMillis,
    pub point: Point,
}

/// A trip's fixes in time order.
pub(super) type Trip = Vec<Seen>;

/// A trip that is driven with another one's way as its plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub trip: String,
    pub plan: String,
    pub off_route: bool,
    /// As labelled, in metres: the farthest fix from the plan.
    pub farthest_m: f64,
    /// As labelled: which of the fixes, thinned to 15 s, is the first beyond 150 m.
    pub first: Option<usize>,
}

/// All that is read from files.
#[derive(Debug)]
pub(super) struct Recorded {
    pub trips: BTreeMap<String, Trip>,
    pub routes: BTreeMap<String, Vec<Point>>,
    pub pairs: Vec<Pair>,
}

impl Recorded {
    /// Every row must be readable, and every name in the pairs known: figures of a part would be figures of something else.
    pub(super) fn read(points: &Path, routes: &Path, pairs: &Path) -> anyhow::Result<Self> {
        let open = |path: &Path| File::open(path).with_context(|| path.display().to_string());
        let Recording { rows, bad } = rows::read(open(points)?, &"id=id,time=time,wkt=geometry".parse()?)?;
        ensure!(bad.is_empty(), "{}: {:?}", points.display(), bad.first());
        let mut trips: BTreeMap<String, Trip> = BTreeMap::new();
        for row in rows {
            trips.entry(row.track).or_default().push(Seen { at: row.time, point: row.point });
        }
        for trip in trips.values_mut() {
            trip.sort_by_key(|seen| seen.at);
        }
        let routes = records(open(routes)?, route).with_context(|| routes.display().to_string())?.into_iter().collect();
        let pairs = records(open(pairs)?, pair).with_context(|| pairs.display().to_string())?;
        let recorded = Self { trips, routes, pairs };
        for (trip, plan) in recorded.pairs.iter().map(|p| (&p.trip, &p.plan)) {
            ensure!(recorded.trips.contains_key(trip), "a pair names the trip {trip}, which has no points");
            ensure!(recorded.routes.contains_key(plan), "a pair names the route {plan}, which isn't there");
        }
        for trip in recorded.trips.keys() {
            ensure!(recorded.routes.contains_key(trip), "the trip {trip} has no route");
        }
        Ok(recorded)
    }
}

/// A phone that reports every so often: the first fix, and each that is so much later than the last one taken.
pub(super) fn thinned(trip: &[Seen], every_ms: i64) -> Trip {
    let mut taken: Trip = Vec::new();
    for seen in trip {
        if taken.last().is_none_or(|last| seen.at.since(last.at) >= every_ms) {
            taken.push(*seen);
        }
    }
    taken
}

fn records<T>(file: File, one: impl Fn(&Columns<'_>) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let mut reader = csv::Reader::from_reader(file);
    let header = reader.headers()?.clone();
    let mut all = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        all.push(one(&Columns { header: &header, record: &record }).with_context(|| format!("line {line}"))?);
    }
    Ok(all)
}

/// A record whose fields are asked for by name.
struct Columns<'a> {
    header: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
}

impl Columns<'_> {
    fn text(&self, name: &str) -> anyhow::Result<&str> {
        let at = self.header.iter().position(|column| column == name);
        at.and_then(|at| self.record.get(at)).with_context(|| format!("there is no column `{name}`"))
    }

    fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(&self, name: &str) -> anyhow::Result<T> {
        self.text(name)?.parse().with_context(|| name.to_owned())
    }
}

fn route(columns: &Columns<'_>) -> anyhow::Result<(String, Vec<Point>)> {
    let parsed = wkt::Wkt::<f64>::from_str(columns.text("WKT")?).map_err(|reason| anyhow::anyhow!("WKT: {reason}"))?;
    let lines = if let wkt::Wkt::LineString(line) = &parsed {
        vec![line]
    } else if let wkt::Wkt::MultiLineString(lines) = &parsed {
        lines.line_strings().iter().collect()
    } else {
        anyhow::bail!("WKT: is no LINESTRING and no MULTILINESTRING")
    };
    let points = lines.into_iter().flat_map(wkt::types::LineString::coords).map(|c| Point::from_degrees(c.y, c.x));
    let points = points.collect::<Result<Vec<_>, _>>().context("WKT")?;
    ensure!(points.len() > 1, "WKT: has less than two points");
    Ok((columns.text("id")?.to_owned(), points))
}

fn pair(columns: &Columns<'_>) -> anyhow::Result<Pair> {
    Ok(Pair {
        trip: columns.text("track_id")?.to_owned(),
        plan: columns.text("planned_route_id")?.to_owned(),
        off_route: columns.number::<u8>("off_route")? == 1,
        farthest_m: columns.number("max_offset_m")?,
        first: usize::try_from(columns.number::<i64>("first_idx_15s_gt150m")?).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn files_are_read_whole_or_refused_by_line_and_column() {
        let points = file("id,time,geometry\n6,2019-03-11 08:33:24+00:00,POINT (11.9 50.3)\n");
        let routes = file("id,WKT\n6,\"MULTILINESTRING ((11.9 50.3,11.8 50.3),(11.7 50.3,11.6 50.3))\"\n");
        let header = "track_id,planned_route_id,off_route,max_offset_m,first_idx_15s_gt150m\n";
        let pairs = file(&format!("{header}6,6,0,75.4,-1\n"));
        let read = |pairs: &tempfile::NamedTempFile| Recorded::read(points.path(), routes.path(), pairs.path());
        let recorded = read(&pairs).unwrap();
        assert_eq!((recorded.trips["6"].len(), recorded.routes["6"].len()), (1, 4));
        let expected = Pair { trip: "6".into(), plan: "6".into(), off_route: false, farthest_m: 75.4, first: None };
        assert_eq!(recorded.pairs, [expected]);
        let refused = |text: &str| format!("{:#}", read(&file(text)).unwrap_err());
        assert!(refused(&format!("{header}6,7,0,75.4,-1\n")).contains("the route 7"));
        let odd = refused(&format!("{header}6,6,0,far,-1\n"));
        assert!(odd.contains("line 2") && odd.contains("max_offset_m"), "{odd}");
    }

    #[test]
    fn thinning_keeps_the_first_and_those_late_enough() {
        let at = |s: i64| Seen { at: UnixMillis(s * 1_000), point: Point { lat_e7: 0, lon_e7: 0 } };
        let trip: Trip = [0, 0, 5, 14, 16, 30, 31, 46].into_iter().map(at).collect();
        let taken: Vec<_> = thinned(&trip, 15_000).iter().map(|seen| seen.at.0 / 1_000).collect();
        assert_eq!(taken, [0, 16, 31, 46]);
    }
}
