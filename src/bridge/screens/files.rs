//! Embedded files and their answers: the form that the client takes, and nothing where it has it already.

use super::{
    Rejection,
    encoding::{Encoding, negotiate},
};
use crate::wire::problem::Problem;
use axum::{
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use std::{fmt, sync::Arc};

/// A file in the forms in which it is served.
#[derive(Clone, Copy)]
pub struct File {
    /// As in the URL: `/assets/ops-Bx3f9a.js`.
    pub path: &'static str,
    pub media_type: &'static str,
    /// Of the file as it is. Stands in the ETag.
    pub hash: &'static str,
    pub identity: &'static [u8],
    pub br: Option<&'static [u8]>,
    pub gzip: Option<&'static [u8]>,
}

/// What `build.rs` found.
const EMBEDDED: &[File] = include!(concat!(env!("OUT_DIR"), "/screens.rs"));

/// The files that a node serves.
#[derive(Clone, Debug)]
pub struct Files(Arc<[File]>);

impl Default for Files {
    fn default() -> Self {
        Self::of(EMBEDDED)
    }
}

impl Files {
    /// These and no others.
    pub fn of(files: &[File]) -> Self {
        Self(files.into())
    }

    /// Whether there are any.
    pub fn are_built(&self) -> bool {
        !self.0.is_empty()
    }

    /// The file of a URL's path. There are some dozens: a search through all is as quick as any.
    pub(super) fn find(&self, path: &str) -> Option<&File> {
        self.0.iter().find(|file| file.path == path)
    }
}

impl File {
    fn form(&self, encoding: Encoding) -> Option<&'static [u8]> {
        match encoding {
            Encoding::Br => self.br,
            Encoding::Gzip => self.gzip,
            Encoding::Identity => Some(self.identity),
        }
    }

    /// Each form has a tag of its own: a cache that mixes them up would be told that nothing changed.
    fn tag(&self, encoding: Encoding) -> String {
        match encoding {
            Encoding::Br => format!("\"{}-br\"", self.hash),
            Encoding::Gzip => format!("\"{}-gz\"", self.hash),
            Encoding::Identity => format!("\"{}\"", self.hash),
        }
    }

    /// Answers a GET; for a HEAD its body is left out later.
    pub(super) fn answer(&self, request: &HeaderMap, caching: HeaderValue) -> Result<Response, Rejection> {
        let said = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let there = Encoding::ALL.into_iter().filter(|encoding| self.form(*encoding).is_some());
        let chosen = negotiate(said, there).and_then(|encoding| Some((encoding, self.form(encoding)?)));
        let Some((encoding, bytes)) = chosen else {
            let problem = Problem::new(406, "not_acceptable", "Not in this form").with_field("Accept-Encoding");
            return Err(problem.with_detail("there is it as it is, with gzip, and with br").into());
        };
        let tag = self.tag(encoding);
        let known = has(request, &tag);
        let mut response = match known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => Bytes::from_static(bytes).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, caching);
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(ETAG, tag);
        }
        if known {
            headers.remove(CONTENT_TYPE);
            return Ok(response);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        if let Some(name) = encoding.name() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        Ok(response)
    }
}

/// Whether the client says that it has what `tag` names. Compared weakly, as RFC 9110 asks: a proxy may have weakened it.
fn has(request: &HeaderMap, tag: &str) -> bool {
    let lists = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut listed = lists.flat_map(|list| list.split(',')).map(str::trim);
    listed.any(|listed| listed == "*" || listed.strip_prefix("W/").unwrap_or(listed) == tag)
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("bytes", &self.identity.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// True of whatever is embedded, also of nothing.
    #[test]
    fn what_is_embedded_is_whole() {
        let files = Files::default();
        for page in ["/customer.html", "/rider.html", "/ops.html"] {
            assert_eq!(files.find(page).is_some(), files.are_built(), "{page}");
        }
        for file in files.0.iter() {
            assert!(file.path.starts_with('/') && !file.identity.is_empty(), "{file:?}");
            for form in [file.br, file.gzip].into_iter().flatten() {
                assert!(!form.is_empty() && form.len() < file.identity.len(), "{file:?}");
            }
        }
    }
}
