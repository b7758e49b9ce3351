//! `Accept-Encoding` (RFC 9110, 12.5.3): which of the forms that are there the client gets.

/// A form of a file's bytes, the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Br,
    Gzip,
    Identity,
}

impl Encoding {
    pub(super) const ALL: [Self; 3] = [Self::Br, Self::Gzip, Self::Identity];

    /// As `Content-Encoding` has it; none for the bytes as they are.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Br => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }

    fn is(self, coding: &str) -> bool {
        match self {
            Self::Br => coding.eq_ignore_ascii_case("br"),
            Self::Gzip => coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip"),
            Self::Identity => coding.eq_ignore_ascii_case("identity"),
        }
    }
}

/// The form with the highest weight among those that are `there`, the smaller one where two weigh the same. `said`: the header's
/// lines. `None` where the client refuses every one.
pub(super) fn negotiate<'a>(
    said: impl Iterator<Item = &'a str>,
    there: impl Iterator<Item = Encoding>,
) -> Option<Encoding> {
    let weights: Vec<_> = said.flat_map(|line| line.split(',')).filter_map(weight).collect();
    let of = |encoding: Encoding| {
        let named = weights.iter().find(|(coding, _)| encoding.is(coding));
        let any = || weights.iter().find(|(coding, _)| *coding == "*");
        match (named.or_else(any), encoding) {
            (Some((_, thousandths)), _) => *thousandths,
            // It may always be sent unless it is refused; what is asked for goes before it.
            (None, Encoding::Identity) => 1,
            (None, Encoding::Br | Encoding::Gzip) => 0,
        }
    };
    // The last of equals would be taken: hence from the largest to the smallest.
    let mut there: Vec<_> = there.map(|encoding| (of(encoding), encoding)).filter(|(weight, _)| *weight > 0).collect();
    there.reverse();
    there.into_iter().max_by_key(|(weight, _)| *weight).map(|(_, encoding)| encoding)
}

/// A coding and its weight in thousandths. What can't be read is left out.
fn weight(item: &str) -> Option<(&str, u16)> {
    let mut parts = item.split(';').map(str::trim);
    let coding = parts.next().filter(|coding| !coding.is_empty())?;
    let Some(parameter) = parts.next() else { return Some((coding, 1_000)) };
    let (name, value) = parameter.split_once('=')?;
    let value: f32 = value.trim().parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    name.trim().eq_ignore_ascii_case("q").then_some((coding, (value * 1_000.0).round() as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Encoding::{Br, Gzip, Identity};

    #[test]
    fn the_heaviest_form_that_is_there() {
        let of = |said: &str| negotiate(Some(said).into_iter(), Encoding::ALL.into_iter());
        for (said, expected) in [
            ("gzip, deflate, br, zstd", Some(Br)),
            ("gzip, deflate", Some(Gzip)),
            ("br;q=0.1, gzip", Some(Gzip)),
            ("GZIP;Q=0.5 , Br; q=0.5", Some(Br)),
            ("br;q=0, gzip;q=0", Some(Identity)),
            ("br;q=0.5, identity", Some(Identity)),
            ("identity;q=0.5, gzip;q=0.4", Some(Identity)),
            ("*", Some(Br)),
            ("*;q=0.5, br;q=0", Some(Gzip)),
            ("identity", Some(Identity)),
            ("zstd", Some(Identity)),
            ("", Some(Identity)),
            ("gzip;q=0.001", Some(Gzip)),
            ("gzip;q=2", Some(Identity)),
            ("gzip;q", Some(Identity)),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("*;q=0, identity;q=0.1", Some(Identity)),
            ("identity;q=0, gzip", Some(Gzip)),
        ] {
            assert_eq!(of(said), expected, "{said}");
        }
        assert_eq!(negotiate(std::iter::empty(), Encoding::ALL.into_iter()), Some(Identity));
        let lines = ["gzip;q=0.5", "br"];
        assert_eq!(negotiate(lines.into_iter(), Encoding::ALL.into_iter()), Some(Br));
        assert_eq!(negotiate(lines.into_iter(), [Gzip, Identity].into_iter()), Some(Gzip));
    }
}
