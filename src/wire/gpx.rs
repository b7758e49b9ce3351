//! The little of GPX 1.0 and 1.1 that a planned route needs, as a pull parser over the text: a document costs one pass,
//! whatever it holds. Nothing is expanded (a DTD is refused, entities are not looked at), elements are never nested on the
//! stack, and of attributes only so many are looked at.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};
use std::fmt::Write;

/// Deepest element. Real documents have extensions at about 8.
const MAX_DEPTH: usize = 64;

/// Most attributes of a point that are looked at; GPX knows two.
const MAX_ATTRIBUTES: usize = 16;

/// Why a text gives no line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpxError {
    #[error("can't be read: {0}")]
    Xml(String),
    #[error("has a DTD, which isn't taken")]
    Dtd,
    #[error("nests deeper than {MAX_DEPTH}")]
    Deep,
    #[error("is no GPX document")]
    NoGpx,
    #[error("ends before its last element does")]
    Cut,
    #[error("has more than {0} points")]
    Long(usize),
    #[error("point {point}: {attribute} is missing, or no number")]
    Point { point: usize, attribute: &'static str },
}

/// The elements that matter, where they stand in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Gpx,
    Track,
    Segment,
    Route,
    /// Of a segment or a route.
    Point,
    Other,
}

/// What an element is by its name and by what it stands in; the root stands in nothing.
fn element(name: &str, parent: Option<Element>) -> Element {
    match (parent, name) {
        (None, "gpx") => Element::Gpx,
        (Some(Element::Gpx), "trk") => Element::Track,
        (Some(Element::Track), "trkseg") => Element::Segment,
        (Some(Element::Gpx), "rte") => Element::Route,
        (Some(Element::Segment), "trkpt") | (Some(Element::Route), "rtept") => Element::Point,
        (_, _) => Element::Other,
    }
}

/// The points of the first track that has some, its segments joined, or else those of the first route that has some, as
/// `(lat, lon)`; perhaps none.
pub fn parse(text: &str, max_points: usize) -> Result<Vec<(f64, f64)>, GpxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    // An empty element is a start and an end. Ends are compared with their starts by the reader, on its own list.
    config.expand_empty_elements = true;
    let mut open: Vec<Element> = Vec::new();
    let (mut track, mut route) = (Line::new(max_points), Line::new(max_points));
    let mut is_gpx = false;
    loop {
        match reader.read_event().map_err(|e| GpxError::Xml(e.to_string()))? {
            Event::Start(start) => {
                if open.len() == MAX_DEPTH {
                    return Err(GpxError::Deep);
                }
                let parent = open.last().copied();
                let element = element(start.local_name().into_inner(), parent);
                if parent.is_none() && (is_gpx || element != Element::Gpx) {
                    return Err(GpxError::NoGpx);
                }
                is_gpx = true;
                match (element, parent) {
                    (Element::Point, Some(Element::Segment)) => track.push(&start)?,
                    (Element::Point, _) => route.push(&start)?,
                    (_, _) => {}
                }
                open.push(element);
            }
            Event::End(_) => match open.pop() {
                Some(Element::Track) => track.end(),
                Some(Element::Route) => route.end(),
                Some(Element::Gpx | Element::Segment | Element::Point | Element::Other) | None => {}
            },
            Event::DocType(_) => return Err(GpxError::Dtd),
            Event::Eof if !is_gpx => return Err(GpxError::NoGpx),
            Event::Eof if !open.is_empty() => return Err(GpxError::Cut),
            Event::Eof => return Ok(if track.points.is_empty() { route.points } else { track.points }),
            Event::Empty(_)
            | Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::GeneralRef(_) => {}
        }
    }
}

/// The first track, or the first route.
struct Line {
    points: Vec<(f64, f64)>,
    max_points: usize,
    /// Another one's points are of no interest.
    ended: bool,
}

impl Line {
    fn new(max_points: usize) -> Self {
        Self { points: Vec::new(), max_points, ended: false }
    }

    fn push(&mut self, start: &BytesStart<'_>) -> Result<(), GpxError> {
        if self.ended {
            return Ok(());
        }
        if self.points.len() == self.max_points {
            return Err(GpxError::Long(self.max_points));
        }
        let (mut lat, mut lon) = (None, None);
        // Without the reader's own search for repetitions, which compares each with each.
        for attribute in start.attributes().with_checks(false).take(MAX_ATTRIBUTES) {
            let attribute = attribute.map_err(|e| GpxError::Xml(e.to_string()))?;
            let degrees = || attribute.value.trim().parse::<f64>().ok();
            match attribute.key.into_inner() {
                "lat" => lat = lat.or_else(degrees),
                "lon" => lon = lon.or_else(degrees),
                _ => {}
            }
        }
        let point = self.points.len();
        let missing = |attribute| GpxError::Point { point, attribute };
        self.points.push((lat.ok_or_else(|| missing("lat"))?, lon.ok_or_else(|| missing("lon"))?));
        Ok(())
    }

    fn end(&mut self) {
        self.ended = !self.points.is_empty();
    }
}

/// A document with one route. `name` is an order's id, a token.
pub fn print(name: &str, line: &[(f64, f64)]) -> String {
    let mut text = String::with_capacity(200 + line.len() * 50);
    text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str("<gpx version=\"1.1\" creator=\"trunkline\" xmlns=\"http://www.topografix.com/GPX/1/1\">\n");
    let _ = writeln!(text, "<rte><name>{}</name>", quick_xml::escape::escape(name));
    for (lat, lon) in line {
        let _ = writeln!(text, "<rtept lat=\"{lat}\" lon=\"{lon}\"/>");
    }
    text.push_str("</rte>\n</gpx>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<(f64, f64)>, GpxError> {
        parse(text, 100)
    }

    #[test]
    fn joins_the_first_tracks_segments_and_goes_before_routes() {
        let text = r#"<?xml version="1.0"?><!-- made by a phone -->
            <gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1" xmlns:y="urn:y">
            <metadata><name>a &amp; b</name><extensions><trk><trkpt lat="9" lon="9"/></trk></extensions></metadata>
            <rte><rtept lat="7" lon="7"/></rte>
            <trk/>
            <trk><trkseg><trkpt lat=" 1.5" lon="2"><ele>4</ele></trkpt></trkseg><trkseg/>
                 <trkseg><trkpt lon='-4e0' lat='3' y:lat="8"><time>now</time></trkpt></trkseg></trk>
            <trk><trkseg><trkpt lat="5" lon="6"/></trkseg></trk></gpx>"#;
        assert_eq!(read(text), Ok(vec![(1.5, 2.0), (3.0, -4.0)]));
        let prefixed = r#"<g:gpx xmlns:g="urn:g"><g:rte><g:rtept lat="1" lon="2"/></g:rte></g:gpx>"#;
        assert_eq!(read(prefixed), Ok(vec![(1.0, 2.0)]));
        assert_eq!(read("<gpx/>"), Ok(vec![]));
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let line = [(31.2304167, 121.4737012), (-0.0000001, 180.0)];
        assert_eq!(read(&print("o1", &line)), Ok(line.to_vec()));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, error) in [
            ("", GpxError::NoGpx),
            ("plain text", GpxError::NoGpx),
            ("<kml/>", GpxError::NoGpx),
            ("<gpx/><gpx/>", GpxError::NoGpx),
            ("<gpx><trk>", GpxError::Cut),
            ("<!DOCTYPE gpx [<!ENTITY a 'b'>]><gpx>&a;</gpx>", GpxError::Dtd),
            ("<gpx><rte><rtept lat='1'/></rte></gpx>", GpxError::Point { point: 0, attribute: "lon" }),
            ("<gpx><rte><rtept lat='&#49;' lon='1'/></rte></gpx>", GpxError::Point { point: 0, attribute: "lat" }),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
        assert!(matches!(read("<gpx></trk></gpx>"), Err(GpxError::Xml(_))));
        let long = format!("<gpx><rte>{}</rte></gpx>", "<rtept lat='1' lon='1'/>".repeat(101));
        assert_eq!(read(&long), Err(GpxError::Long(100)));
    }

    /// A megabyte of each, read within what a quadratic or recursive reader would not manage even once.
    #[test]
    fn hostile_documents_cost_one_pass() {
        let deep = format!("<gpx>{}", "<a>".repeat(300_000));
        assert_eq!(read(&deep), Err(GpxError::Deep));
        let attributes: String = (0..90_000).map(|i| format!(" a{i}='1'")).collect();
        let wide = format!("<gpx><rte><rtept{attributes} lat='1' lon='1'/></rte></gpx>");
        #[allow(clippy::disallowed_methods, reason = "a test's own patience")]
        let start = std::time::Instant::now();
        assert_eq!(read(&wide), Err(GpxError::Point { point: 0, attribute: "lat" }));
        let entities = format!("<gpx>{}<rte><rtept lat='1' lon='1'/></rte></gpx>", "&lol9;".repeat(150_000));
        assert_eq!(read(&entities), Ok(vec![(1.0, 1.0)]));
        let comments = format!("<gpx>{}</gpx>", "<!---->".repeat(140_000));
        assert_eq!(read(&comments), Ok(vec![]));
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(<|>|/|gpx|trk|trkseg|trkpt|rte| lat='1'| lon='2'|&|;|!|\\[|-|x){0,60}") {
            let _ = read(&text);
            let _ = read(&format!("<gpx><trk><trkseg>{text}"));
        }
    }
}
