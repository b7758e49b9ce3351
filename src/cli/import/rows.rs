//! Recorded tracks as CSV: which columns mean what, and each row parsed or named with its line and field.

use crate::{domain::UnixMillis, domain::ids::is_token, geo::Point, wire::FieldError};
use jiff::{Timestamp, civil, tz::TimeZone};
use serde::Serialize;
use std::{collections::BTreeMap, io::Read, str::FromStr};

/// Longest track id: an order's id is a prefix, `o` and this, and at most 64 characters.
const MAX_TRACK_ID: usize = 40;

/// Which columns mean what, from `id=…,time=…,lat=…,lon=…` or `id=…,time=…,wkt=…`; `accuracy`, `speed` and `heading`
/// (m, m/s, degrees) are optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    id: String,
    time: String,
    place: Place,
    accuracy: Option<String>,
    speed: Option<String>,
    heading: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    LatLon(String, String),
    Wkt(String),
}

impl FromStr for Mapping {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let mut columns = BTreeMap::new();
        for pair in text.split(',') {
            let (name, column) =
                pair.split_once('=').ok_or_else(|| FieldError::new("map", format!("`{pair}` must be name=column")))?;
            if columns.insert(name.trim(), column.trim().to_owned()).is_some() {
                return Err(FieldError::new("map", format!("`{name}` is given twice")));
            }
        }
        let mut take = |name: &str| columns.remove(name);
        let need = |name: &str, column: Option<String>| {
            column.ok_or_else(|| FieldError::new("map", format!("lacks `{name}=column`")))
        };
        let id = need("id", take("id"))?;
        let time = need("time", take("time"))?;
        let place = match (take("wkt"), take("lat"), take("lon")) {
            (Some(wkt), None, None) => Place::Wkt(wkt),
            (None, Some(lat), Some(lon)) => Place::LatLon(lat, lon),
            (_, _, _) => return Err(FieldError::new("map", "must have either `wkt`, or `lat` and `lon`")),
        };
        let mapping =
            Self { id, time, place, accuracy: take("accuracy"), speed: take("speed"), heading: take("heading") };
        match columns.keys().next() {
            None => Ok(mapping),
            Some(other) => Err(FieldError::new(
                "map",
                format!("`{other}` is none of id, time, lat, lon, wkt, accuracy, speed, heading"),
            )),
        }
    }
}

/// One recorded fix.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Row {
    pub track: String,
    pub time: UnixMillis,
    pub point: Point,
    pub accuracy_m: Option<f64>,
    pub speed_mps: Option<f64>,
    pub heading_deg: Option<f64>,
}

/// A row that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadRow {
    /// In the file, from 1; the header is line 1.
    pub line: u64,
    /// Column's name, or `row` where the CSV itself is broken.
    pub field: String,
    pub reason: String,
}

/// A file's rows, in its order, and those that couldn't be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cli) struct Recording {
    pub rows: Vec<Row>,
    pub bad: Vec<BadRow>,
}

/// Reads a whole file. An error only where the header lacks a mapped column or reading fails.
pub(in crate::cli) fn read(file: impl Read, mapping: &Mapping) -> Result<Recording, FieldError> {
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(file);
    let headers = reader.headers().map_err(|e| FieldError::new("csv", e.to_string()))?.clone();
    let columns = Columns::find(mapping, &headers)?;
    let mut recording = Recording::default();
    let mut record = csv::StringRecord::new();
    loop {
        let at = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(recording),
            Ok(true) => {
                let line = record.position().map_or(at, csv::Position::line);
                match columns.row(&record) {
                    Ok(row) => recording.rows.push(row),
                    Err(FieldError { field, reason }) => recording.bad.push(BadRow { line, field, reason }),
                }
            }
            Err(error) if error.is_io_error() => return Err(FieldError::new("csv", error.to_string())),
            Err(error) => {
                let line = error.position().map_or(at, csv::Position::line);
                recording.bad.push(BadRow { line, field: "row".into(), reason: error.to_string() });
            }
        }
    }
}

/// A mapped column: its place in a record, and its name for errors.
struct Column {
    at: usize,
    name: String,
}

struct Columns {
    id: Column,
    time: Column,
    place: Vec<Column>,
    wkt: bool,
    accuracy: Option<Column>,
    speed: Option<Column>,
    heading: Option<Column>,
}

impl Columns {
    fn find(mapping: &Mapping, headers: &csv::StringRecord) -> Result<Self, FieldError> {
        let find = |name: &String| {
            let at = headers.iter().position(|header| header.trim() == name);
            let lacks = || FieldError::new("map", format!("the file has no column `{name}`"));
            at.map(|at| Column { at, name: name.clone() }).ok_or_else(lacks)
        };
        let optional = |name: &Option<String>| name.as_ref().map(find).transpose();
        let id = find(&mapping.id)?;
        let (place, wkt) = match &mapping.place {
            Place::LatLon(lat, lon) => (vec![find(lat)?, find(lon)?], false),
            Place::Wkt(column) => (vec![find(column)?], true),
        };
        Ok(Self {
            id,
            time: find(&mapping.time)?,
            place,
            wkt,
            accuracy: optional(&mapping.accuracy)?,
            speed: optional(&mapping.speed)?,
            heading: optional(&mapping.heading)?,
        })
    }

    fn row(&self, record: &csv::StringRecord) -> Result<Row, FieldError> {
        let text = |column: &Column| record.get(column.at).unwrap_or_default().trim().to_owned();
        let named = |column: &Column, reason: String| FieldError::new(&column.name, reason);
        let track = text(&self.id);
        if !is_token(&track) || track.len() > MAX_TRACK_ID {
            return Err(named(&self.id, format!("`{track}` must be [A-Za-z0-9_-]{{1,{MAX_TRACK_ID}}}")));
        }
        let number = |column: &Column| {
            let text = text(column);
            text.parse::<f64>().map_err(|_| named(column, format!("`{text}` is no number")))
        };
        let measure = |column: &Option<Column>, max: f64| match column {
            Some(column) if !text(column).is_empty() => match number(column)? {
                value if (0.0..=max).contains(&value) => Ok(Some(value)),
                value => Err(named(column, format!("is {value}, must be 0 to {max}"))),
            },
            Some(_) | None => Ok(None),
        };
        let (lat, lon) = match (self.place.as_slice(), self.wkt) {
            ([column], true) => wkt_point(&text(column)).map_err(|reason| named(column, reason))?,
            ([lat, lon], _) => (number(lat)?, number(lon)?),
            (_, _) => return Err(FieldError::new("map", "has no place")),
        };
        let off_globe = |e: crate::geo::CoordinateError| {
            let column = if e.field == "lat" { self.place.first() } else { self.place.last() };
            FieldError::new(column.map_or("place", |c| c.name.as_str()), e.to_string())
        };
        Ok(Row {
            track,
            time: time(&text(&self.time)).map_err(|reason| named(&self.time, reason))?,
            point: Point::from_degrees(lat, lon).map_err(off_globe)?,
            accuracy_m: measure(&self.accuracy, f64::MAX)?,
            speed_mps: measure(&self.speed, 600.0)?,
            heading_deg: measure(&self.heading, 360.0)?,
        })
    }
}

/// RFC 3339, or `YYYY-MM-DD HH:MM:SS` with or without an offset; without one it is UTC.
fn time(text: &str) -> Result<UnixMillis, String> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(UnixMillis(timestamp.as_millisecond()));
    }
    let no_time = |e: jiff::Error| format!("`{text}` is no time: {e}");
    let naive: civil::DateTime = text.parse().map_err(no_time)?;
    let zoned = naive.to_zoned(TimeZone::UTC).map_err(no_time)?;
    Ok(UnixMillis(zoned.timestamp().as_millisecond()))
}

/// Latitude and longitude of `POINT (lon lat)`.
fn wkt_point(text: &str) -> Result<(f64, f64), String> {
    match wkt::Wkt::<f64>::from_str(text) {
        Ok(wkt::Wkt::Point(point)) => match point.coord() {
            Some(coord) => Ok((coord.y, coord.x)),
            None => Err("is an empty point".into()),
        },
        Ok(_) => Err("is no POINT".into()),
        Err(reason) => Err(format!("`{text}` is no WKT: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_points_and_times_as_they_are_recorded() {
        let file = "id,time,geometry\n0,2019-03-11 08:33:24+00:00,POINT (11.925816 50.301888)\n\
                    0,2019-03-11T09:33:27+01:00,POINT (11.9 50.3)\n0,2019-03-11 08:33:33,POINT (11.9 50.3)\n";
        let recording = read(file.as_bytes(), &"id=id,time=time,wkt=geometry".parse().unwrap()).unwrap();
        let times: Vec<_> = recording.rows.iter().map(|r| r.time.0 - 1_552_293_204_000).collect();
        assert_eq!(times, [0, 3_000, 9_000]);
        assert_eq!(recording.rows[0].point, Point { lat_e7: 503_018_880, lon_e7: 119_258_160 });
        assert!(recording.bad.is_empty());
    }

    #[test]
    fn bad_rows_name_line_and_field_and_the_rest_is_read() {
        let file = "track,t,latitude,longitude,acc\n1,2014-09-13 07:24:32,-10.9,-37.0,\n1,yesterday,1,1,\n\
                    1,2014-09-13 07:24:33,91,1,\n1,2014-09-13 07:24:33,1,east,\na.b,2014-09-13 07:24:33,1,1,\n\
                    1,2014-09-13 07:24:33,1\n1,2014-09-13 07:24:34,1,1,-3\n1,2014-09-13 07:24:35,1,1,12.5\n";
        let mapping = "id=track,time=t,lat=latitude,lon=longitude,accuracy=acc".parse().unwrap();
        let recording = read(file.as_bytes(), &mapping).unwrap();
        let bad: Vec<_> = recording.bad.iter().map(|b| (b.line, b.field.as_str())).collect();
        assert_eq!(bad, [(3, "t"), (4, "latitude"), (5, "longitude"), (6, "track"), (7, "row"), (8, "acc")]);
        assert_eq!(recording.rows.len(), 2);
        assert_eq!(recording.rows[1].accuracy_m, Some(12.5));
    }

    #[test]
    fn mappings_are_checked() {
        let reason = |text: &str| text.parse::<Mapping>().unwrap_err().reason;
        assert!(reason("id=a,time=b").contains("wkt"));
        assert!(reason("id=a,wkt=c").contains("time"));
        assert!(reason("id=a,time=b,wkt=c,lat=d").contains("either"));
        assert!(reason("id=a,time=b,wkt=c,height=d").contains("height"));
        assert!(reason("id").contains("name=column"));
        let missing = read("x,y\n".as_bytes(), &"id=id,time=time,wkt=geometry".parse().unwrap()).unwrap_err();
        assert!(missing.reason.contains("`id`"));
    }
}
