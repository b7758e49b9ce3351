//! Whose session it is. Who opens one says so once: by a header, a cookie or a ticket; without any of them the first message must.
//!
//! A session's id is a secret of the client that chose it, and whoever knows it may use the session; but not with a good token of
//! somebody else (it would be a client that mixes up its users; who wants in just presents nothing). A cookie counts only in requests of a page of this server: all transports can be used by pages of any site,
//! JSONP even without the browser's saying where from, so here a request that says nothing of its origin brings no cookie.

use super::peers::Bearer;
use crate::{
    bridge::{
        Inner, gate,
        params::Params,
        reject::{Query, Rejection},
    },
    config::Origins,
    geo::Datum,
    ports::TokenError,
    wire::{FieldError, access::Principal},
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Who opens a session, as far as the request says.
#[derive(Clone, Debug)]
pub(in crate::bridge) struct Opening {
    pub(in crate::bridge) who: Option<Arc<Principal>>,
    pub(in crate::bridge) datum: Datum,
}

impl Opening {
    /// What later requests' credentials are compared with.
    pub(super) fn bearer(&self) -> Option<Bearer> {
        self.who.as_deref().map(bearer)
    }
}

fn bearer(who: &Principal) -> Bearer {
    let cells = who.cells.iter().flat_map(|cells| cells.iter().map(|cell| cell.as_str()));
    let order = who.order.as_ref().map_or("", |order| order.as_str());
    let mut digest = Sha256::new();
    for part in [who.role.name(), who.id.as_ref(), order].into_iter().chain(cells) {
        digest.update(part);
        digest.update([0]);
    }
    digest.update([u8::from(who.cells.is_some()), u8::from(who.everyone)]);
    Bearer(digest.finalize().into())
}

/// What a request presents, before it is known whether it opens a session.
#[derive(Debug)]
pub(super) struct Presented {
    token: Option<String>,
    params: Params,
}

impl Presented {
    pub(super) async fn of(parts: &mut Parts, bridge: &Inner) -> Result<Self, Rejection> {
        let Query(params) = Query::<Params>::from_request_parts(parts, bridge).await?;
        if params.0.contains_key("ticket") {
            if parts.headers.contains_key(header::AUTHORIZATION) {
                return Err(FieldError::new("ticket", "goes without Authorization: one of them is enough").into());
            }
            // It stays in the URL of all later requests, where it says nothing any more, and no cookie says anything beside it.
            return Ok(Self { token: None, params });
        }
        let token = if parts.headers.contains_key(header::AUTHORIZATION) {
            gate::presented(&parts.headers, &parts.method, &bridge.options.origins)?
        } else {
            gate::cookie(&parts.headers).filter(|_| is_own_page(&parts.headers, &bridge.options.origins))
        };
        Ok(Self { token, params })
    }

    /// Who opens a session by this, if one may begin now. A token or a ticket that is there must be good.
    pub(super) async fn opening(mut self, bridge: &Inner) -> Result<Opening, Rejection> {
        bridge.admit_session()?;
        let datum = gate::take_datum(&mut self.params)?;
        let who = bridge.identify_by(self.token.as_deref(), &mut self.params).await?.map(Arc::new);
        Ok(Opening { who, datum })
    }

    /// Who uses a session by this, if it says so. A cookie whose token expired says nothing any more, whoever's it was: the session has been
    /// told of a newer one, or ends by itself.
    pub(super) async fn bearer(&self, bridge: &Inner) -> Result<Option<Bearer>, Rejection> {
        match &self.token {
            Some(token) => match bridge.admit(token).await {
                Ok(who) => Ok(Some(bearer(&who))),
                Err(TokenError::Expired) => Ok(None),
                Err(error) => Err(error.into()),
            },
            None if bridge.gate.insecure && ["role", "sub"].iter().any(|name| self.params.0.contains_key(*name)) => {
                let mut params = self.params.clone();
                // Used up by whoever looks at it: that is the opening's.
                params.take("ticket");
                let who = bridge.identify_by(None, &mut params).await?;
                Ok(who.as_ref().map(bearer))
            }
            None => Ok(None),
        }
    }
}

/// Whether a page of this server or of a listed origin made the request, and says so.
fn is_own_page(headers: &HeaderMap, origins: &Origins) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_host = |url: &str| {
        let authority = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
        text(header::HOST).is_some_and(|host| !host.is_empty() && authority.eq_ignore_ascii_case(host))
    };
    match (headers.get(header::ORIGIN), headers.get("sec-fetch-site"), text(header::REFERER)) {
        (Some(origin), ..) => origin.to_str().is_ok_and(|origin| is_host(origin) || origins.list(origin)),
        (None, Some(site), _) => site == "same-origin",
        (None, None, Some(referer)) => is_host(referer),
        (None, None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::access::Role;

    #[test]
    fn a_cookie_counts_where_a_page_of_ours_says_so() {
        let own = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().chain(&[("host", "shop.example:8443")]);
            let headers = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            is_own_page(&headers, &Origins::parse(&["https://partner.example".to_owned()]).unwrap())
        };
        assert!(!own(&[]), "nothing said");
        assert!(own(&[("origin", "https://partner.example")]) && !own(&[("referer", "https://partner.example/")]));
        assert!(own(&[("origin", "https://shop.example:8443")]) && own(&[("sec-fetch-site", "same-origin")]));
        assert!(own(&[("referer", "https://shop.example:8443/track?o=1")]));
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
            ("referer", "https://evil.example/shop.example:8443"),
            ("referer", "https://shop.example:8443.evil/"),
        ] {
            assert!(!own(&[(name, value)]), "{name}: {value}");
        }
        assert!(!own(&[("origin", "https://evil.example"), ("referer", "https://shop.example:8443/")]));
    }

    #[test]
    fn bearers_differ_in_all_that_rights_hang_on() {
        let who = |role, id: &str| Principal {
            role,
            id: id.into(),
            cells: None,
            order: None,
            expires_at: None,
            everyone: false,
        };
        let base = who(Role::Customer, "c1");
        let newer = Principal { expires_at: Some(crate::domain::UnixMillis(5)), ..base.clone() };
        assert_eq!(bearer(&base), bearer(&newer), "a newer token is the same bearer's");
        for other in [
            who(Role::Rider, "c1"),
            who(Role::Customer, "c2"),
            Principal { everyone: true, ..base.clone() },
            Principal { cells: Some(Arc::default()), ..base.clone() },
            Principal { order: Some("o1".parse().unwrap()), ..base.clone() },
        ] {
            assert!(bearer(&base) != bearer(&other), "{other:?}");
        }
    }
}
