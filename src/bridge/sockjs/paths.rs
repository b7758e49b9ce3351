//! What a request under a base URL asks for: path and method, parsed once.

use axum::http::Method;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Greeting,
    Info,
    Iframe,
    /// The WebSocket without framing.
    RawWebSocket,
    /// Of the session with this id; which server the client thinks that it talks to doesn't matter.
    Session {
        id: &'a str,
        transport: Transport,
    },
}

/// The last part of a session's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket,
    Xhr,
    XhrSend,
    XhrStreaming,
    EventSource,
    HtmlFile,
    Jsonp,
    JsonpSend,
}

impl Transport {
    const ALL: [(&'static str, Self); 8] = [
        ("websocket", Self::WebSocket),
        ("xhr", Self::Xhr),
        ("xhr_send", Self::XhrSend),
        ("xhr_streaming", Self::XhrStreaming),
        ("eventsource", Self::EventSource),
        ("htmlfile", Self::HtmlFile),
        ("jsonp", Self::Jsonp),
        ("jsonp_send", Self::JsonpSend),
    ];
}

/// What a base URL's path is followed by, `""` for itself. One slash at the end is overlooked.
pub(super) fn target(rest: &str) -> Option<Target<'_>> {
    let mut parts = rest.strip_suffix('/').unwrap_or(rest).split('/');
    if parts.next() != Some("") {
        return None;
    }
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        // `//` has an empty part, which is none of ours.
        (None, ..) if rest.len() <= 1 => Some(Target::Greeting),
        (Some("info"), None, ..) => Some(Target::Info),
        (Some("websocket"), None, ..) => Some(Target::RawWebSocket),
        (Some(page), None, ..) if is_iframe(page) => Some(Target::Iframe),
        (Some(server), Some(id), Some(name), None) if is_part(server) && is_part(id) => {
            let (_, transport) = Transport::ALL.into_iter().find(|(known, _)| *known == name)?;
            Some(Target::Session { id, transport })
        }
        _ => None,
    }
}

/// `iframe.html` and its versions.
fn is_iframe(page: &str) -> bool {
    let version = page.strip_prefix("iframe").and_then(|rest| rest.strip_suffix(".html"));
    let plain = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || b"-._".contains(&byte);
    version.is_some_and(|version| version.bytes().all(plain))
}

/// A server's or a session's name: any but an empty one, one with dots, and one that nobody would choose.
fn is_part(part: &str) -> bool {
    !part.is_empty() && part.len() <= 256 && !part.contains('.')
}

impl Target<'_> {
    /// Methods that it answers to, as `Allow` has them.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Greeting | Self::Iframe | Self::RawWebSocket => "GET",
            Self::Info => "OPTIONS, GET",
            Self::Session { transport, .. } => match transport {
                Transport::WebSocket | Transport::EventSource | Transport::HtmlFile | Transport::Jsonp => "GET",
                Transport::Xhr | Transport::XhrSend | Transport::XhrStreaming => "OPTIONS, POST",
                Transport::JsonpSend => "POST",
            },
        }
    }

    /// Whether a method is among them. A page may be asked for its head alone.
    pub(super) fn allows(self, method: &Method) -> bool {
        let is_page = matches!(self, Self::Greeting | Self::Iframe | Self::Info);
        self.allow().split(", ").any(|name| name == method.as_str()) || (is_page && *method == Method::HEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_the_protocol_says() {
        for (rest, expected) in [
            ("", Target::Greeting),
            ("/", Target::Greeting),
            ("/info", Target::Info),
            ("/info/", Target::Info),
            ("/websocket", Target::RawWebSocket),
            ("/iframe.html", Target::Iframe),
            ("/iframe-.html", Target::Iframe),
            ("/iframe-0.1.2abc-dirty.2144.html", Target::Iframe),
            ("/0/a/xhr", Target::Session { id: "a", transport: Transport::Xhr }),
            ("/a%20/b%20/jsonp_send/", Target::Session { id: "b%20", transport: Transport::JsonpSend }),
        ] {
            assert_eq!(target(rest), Some(expected), "{rest}");
        }
        let none = "/a /a.html // /// /a/a /a/a/ /a./a/xhr /a/a./xhr /./. //xhr ///xhr /a//xhr /iframe.htm /iframe /IFRAME.HTML \
                    /iframe.HTML /iframe.xml /iframe-/.html /iframe-A.html /a/a/xhr/x /a/a/XHR /a/a/poll info /info//";
        for rest in none.split_ascii_whitespace() {
            assert_eq!(target(rest), None, "{rest}");
        }
    }

    #[test]
    fn methods_are_those_that_the_protocol_says() {
        let post_only = target("/0/a/xhr").unwrap();
        assert!(
            post_only.allows(&Method::POST) && post_only.allows(&Method::OPTIONS) && !post_only.allows(&Method::GET)
        );
        let get_only = target("/0/a/websocket").unwrap();
        assert!(get_only.allows(&Method::GET) && !get_only.allows(&Method::POST) && !get_only.allows(&Method::HEAD));
        assert!(target("").unwrap().allows(&Method::HEAD));
    }
}
