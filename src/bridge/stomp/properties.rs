//! Laws of the codec: splits don't matter, what is printed is read back, and hostile bytes neither panic nor pile up.

use super::{
    codec::{BadFrame, Bounds, ClientText, Event, Parser},
    print::Text,
    version::{Dialect, Version},
};
use bytes::Bytes;
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds { line_max: 64, headers_max: 6, head_max: 160, body_max: 100 };

fn dialects() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Dialect::Connect), prop::sample::select(Version::ALL.to_vec()).prop_map(Dialect::Agreed),]
}

/// All events of the pieces, and the error that ended them.
fn read(pieces: &[&[u8]], dialect: Dialect, bounds: &Bounds) -> (Vec<Event>, Option<BadFrame>) {
    let (mut parser, mut events) = (Parser::default(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match parser.next(&mut rest, dialect, bounds) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
            let most = bounds.head_max + bounds.body_max + bounds.line_max;
            assert!(parser.kept() <= most, "{} bytes are kept", parser.kept());
        }
        assert!(rest.is_empty(), "what isn't an error is taken");
        assert!(parser.kept() <= bounds.head_max + bounds.body_max + bounds.line_max);
    }
    (events, None)
}

fn split<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    ends.push(text.len());
    ends.sort_unstable();
    let mut begin = 0;
    ends.iter().map(|end| &text[std::mem::replace(&mut begin, *end)..*end]).collect()
}

/// Bytes that look like frames often enough to come far.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            &b"SEND\n"[..], b"CONNECT\n", b"\n", b"\r\n", b"\0", b"\n\n", b"a:b\n", b"content-length:3\n", b"content-length:101\n",
            b"content-length:x\n", b"destination:/a\\c\n", b"x:\\t\n", b"x:\\", b":", b"a:b\r\n", b"abc", b"a\0b", b"MESSAGE\r\n",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => (any::<u8>(), 0_usize..200).prop_map(|(byte, n)| vec![byte; n]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A frame that `dialect` can say.
fn sayable(dialect: Dialect) -> impl Strategy<Value = ClientText> {
    let escapes = matches!(dialect, Dialect::Agreed(Version::V11 | Version::V12));
    let (name, value) = match dialect {
        Dialect::Connect => ("[a-z\\\\王 ]{1,5}", "[a-z:\\\\王 ]{0,8}"),
        // Padding is no part of it.
        Dialect::Agreed(Version::V10) => ("[a-z\\\\王]{1,5}", "([a-z\\\\王]([a-z: \\\\]{0,6}[a-z:])?)?"),
        Dialect::Agreed(Version::V11) => ("[a-z:\\\\\n王 ]{1,5}", "[a-z:\\\\\n王 ]{0,8}"),
        Dialect::Agreed(Version::V12) => ("[a-z:\\\\\n\r王 ]{1,5}", "[a-z:\\\\\n\r王 ]{0,8}"),
    };
    let command = if escapes { "SEND" } else { "ABORT" };
    let headers = prop::collection::vec((name, value), 0..4);
    (headers, prop::collection::vec(any::<u8>(), 0..40)).prop_map(move |(headers, body)| {
        let body = if body.is_empty() { Bytes::new() } else { body.into() };
        ClientText { command: command.into(), headers, body }
    })
}

fn printed(frame: &ClientText, dialect: Dialect) -> Bytes {
    let mut text = Text::new(&frame.command, dialect);
    for (name, value) in &frame.headers {
        text = text.header(name, value);
    }
    text.body("text/plain", &frame.body)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn splits_do_not_matter(text in hostile(), dialect in dialects(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let whole = read(&[&text], dialect, &BOUNDS);
        let pieces = read(&split(&text, &cuts), dialect, &BOUNDS);
        let single: Vec<_> = text.chunks(1).collect();
        prop_assert_eq!(&whole, &pieces);
        prop_assert_eq!(&whole, &read(&single, dialect, &BOUNDS));
    }

    #[test]
    fn what_is_printed_is_read_back(
        (dialect, frame) in dialects().prop_flat_map(|dialect| (Just(dialect), sayable(dialect))),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = printed(&frame, dialect);
        let bounds = Bounds { line_max: 200, headers_max: 8, head_max: 400, body_max: 100 };
        let (events, error) = read(&split(&text, &cuts), dialect, &bounds);
        prop_assert_eq!(error, None);
        let [Event::Frame(found)] = &events[..] else { panic!("{events:?}") };
        prop_assert_eq!(&found.command, &frame.command);
        prop_assert_eq!(&found.headers[..frame.headers.len()], &frame.headers[..]);
        prop_assert_eq!(&found.body, &frame.body);
    }

    #[test]
    fn hostile_bytes_are_an_error_at_worst(text in prop::collection::vec(any::<u8>(), 0..600), dialect in dialects()) {
        read(&[&text], dialect, &BOUNDS);
    }
}
