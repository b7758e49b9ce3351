//! Streets from an OpenStreetMap extract. Read twice: ways first, then only the nodes that streets use.

use super::{Class, Draft, StreetsError};
use osmpbf::{Element, ElementReader, Way};
use std::{collections::HashMap, path::Path};

struct Street {
    nodes: Vec<i64>,
    class: Class,
    one_way: bool,
}

pub(super) fn read(file: &Path) -> Result<Draft, StreetsError> {
    let name = file.display().to_string();
    let unreadable = |e: osmpbf::Error| StreetsError::Unreadable { file: name.clone(), reason: e.to_string() };
    let mut streets = Vec::new();
    let ways = |element: Element<'_>| match element {
        Element::Way(way) => streets.extend(street(&way)),
        Element::Node(_) | Element::DenseNode(_) | Element::Relation(_) => {}
    };
    ElementReader::from_path(file).and_then(|reader| reader.for_each(ways)).map_err(unreadable)?;
    let mut places: HashMap<i64, Option<(f64, f64)>> =
        streets.iter().flat_map(|street: &Street| street.nodes.iter().map(|id| (*id, None))).collect();
    let mut place = |id: i64, lat: f64, lon: f64| {
        if let Some(place) = places.get_mut(&id) {
            *place = Some((lat, lon));
        }
    };
    let nodes = |element: Element<'_>| match element {
        Element::Node(node) => place(node.id(), node.lat(), node.lon()),
        Element::DenseNode(node) => place(node.id(), node.lat(), node.lon()),
        Element::Way(_) | Element::Relation(_) => {}
    };
    ElementReader::from_path(file).and_then(|reader| reader.for_each(nodes)).map_err(unreadable)?;
    let mut draft = Draft::default();
    for Street { nodes, class, one_way } in streets {
        // An extract may end in the middle of a way: what is beyond its edge isn't there.
        draft.street(nodes.iter().filter_map(|id| places.get(id).copied().flatten()), class, one_way);
    }
    Ok(draft)
}

fn street(way: &Way<'_>) -> Option<Street> {
    let tag = |name: &str| way.tags().find(|(key, _)| *key == name).map(|(_, value)| value);
    let class = class(tag("highway")?)?;
    if matches!(tag("access"), Some("no" | "private")) || tag("area") == Some("yes") {
        return None;
    }
    let mut nodes: Vec<_> = way.refs().collect();
    let one_way = match tag("oneway") {
        Some("yes" | "true" | "1") => true,
        Some("-1" | "reverse") => {
            nodes.reverse();
            true
        }
        Some(_) => false,
        None => tag("junction") == Some("roundabout"),
    };
    Some(Street { nodes, class, one_way })
}

/// What a delivery bicycle rides on; `None` for the rest (motorways, steps, footways, …).
pub(super) fn class(highway: &str) -> Option<Class> {
    Some(match highway {
        "trunk" | "trunk_link" => Class::Trunk,
        "primary" | "primary_link" => Class::Primary,
        "secondary" | "secondary_link" => Class::Secondary,
        "tertiary" | "tertiary_link" => Class::Tertiary,
        "residential" | "unclassified" | "living_street" | "road" => Class::Residential,
        "service" | "cycleway" | "pedestrian" | "track" => Class::Alley,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn riders_keep_off_motorways_and_steps() {
        assert_eq!(class("secondary_link"), Some(Class::Secondary));
        assert_eq!((class("motorway"), class("steps"), class("footway")), (None, None, None));
    }

    #[test]
    fn a_file_that_is_no_extract_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.osm.pbf");
        std::fs::write(&file, b"no map").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("x.osm.pbf"));
        assert!(read(Path::new("none.osm.pbf")).unwrap_err().to_string().contains("none.osm.pbf"));
    }
}
