//! Who is asking: the token of a request or a connection, and what it may do.
//!
//! A token comes in the `Authorization` header, in the WebSocket subprotocol or its first message, or in a cookie; a ticket in the
//! URL stands for one. A browser sends a cookie with requests that another site's page made, so one counts only where the
//! request's origin is this server, or one that the settings list.
//!
//! Without keys (`--insecure`, loopback only) a request without a token is believed: `role` and `sub` of the query string,
//! operations if it names none; without `sub` it owns everything that its role could own.

use super::{
    Inner,
    params::Params,
    reject::{Query, Rejection},
    tickets::{Ticket, TicketError},
};
use crate::{
    clock,
    config::Origins,
    domain::{CellId, OrderId},
    geo::Datum,
    metrics::OutcomeLabel,
    ports::{Authenticator, TokenError, TokenSigner},
    wire::{
        FieldError,
        access::{Principal, Reach, Right, Role},
        problem::Problem,
        query::{OrderQuery, Snapshot},
    },
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Method, header, request::Parts},
};
use std::sync::Arc;

/// The cookie that may hold a token.
pub const COOKIE: &str = "trunkline_token";

/// The WebSocket subprotocol, and what a token is led in by among the subprotocols offered.
pub const SUBPROTOCOL: &str = "trunkline.v1";
const SUBPROTOCOL_TOKEN: &str = "bearer.";

/// Longest token read at all: a dozen claims and an RSA signature take under 2 kB.
const MAX_TOKEN: usize = 8 << 10;

/// Decides who gets in.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// `None`: no tokens are known.
    pub tokens: Option<Arc<dyn Authenticator>>,
    /// Makes the tokens of share links. Without a key to sign with it refuses.
    pub signer: Option<Arc<dyn TokenSigner>>,
    /// Believe who comes without a token.
    pub insecure: bool,
}

impl Gate {
    /// Everybody is believed: for tests and for a node on loopback.
    pub fn insecure() -> Self {
        Self { tokens: None, signer: None, insecure: true }
    }

    /// Nobody gets in without a token.
    pub fn closed(tokens: Arc<dyn Authenticator>, signer: Arc<dyn TokenSigner>) -> Self {
        Self { tokens: Some(tokens), signer: Some(signer), insecure: false }
    }

    /// Who holds this token. Whether a share link was revoked is asked elsewhere.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Principal, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed(format!("a token has at most {MAX_TOKEN} bytes")));
        }
        match &self.tokens {
            Some(tokens) => tokens.authenticate(token).await,
            None => Err(TokenError::Signature),
        }
    }
}

/// Who asks, and the rest of the query string.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) who: Arc<Principal>,
    pub(super) params: Params,
}

impl FromRequestParts<Arc<Inner>> for Asked {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, bridge: &Arc<Inner>) -> Result<Self, Rejection> {
        let Query(mut params) = Query::<Params>::from_request_parts(parts, bridge).await?;
        let who = bridge.identify(&parts.headers, &parts.method, &mut params).await?;
        let who = who.ok_or_else(|| unauthorized("a token is needed: Authorization: Bearer …"))?;
        Ok(Self { who: Arc::new(who), params })
    }
}

/// A session may begin now: to be extracted before [`Asked`], since looking at tokens is what a storm is to be kept from.
#[derive(Debug)]
pub(super) struct Admitted;

impl FromRequestParts<Arc<Inner>> for Admitted {
    type Rejection = Rejection;

    async fn from_request_parts(_: &mut Parts, bridge: &Arc<Inner>) -> Result<Self, Rejection> {
        bridge.admit_session().map(|()| Self)
    }
}

impl Inner {
    /// Who asks, by a ticket or a token, or who says so where that is enough. `None`: nobody said anything.
    pub(super) async fn identify(
        &self,
        headers: &HeaderMap,
        method: &Method,
        params: &mut Params,
    ) -> Result<Option<Principal>, Rejection> {
        if params.0.contains_key("ticket") {
            if headers.contains_key(header::AUTHORIZATION) {
                return Err(FieldError::new("ticket", "goes without Authorization: one of them is enough").into());
            }
            // A cookie that comes along by itself is nothing that was chosen.
            return self.identify_by(None, params).await;
        }
        let token = presented(headers, method, &self.options.origins)?;
        self.identify_by(token.as_deref(), params).await
    }

    /// Who holds the token, or the query string's ticket, or who says so where that is enough. `None`: nobody said anything.
    pub(super) async fn identify_by(
        &self,
        token: Option<&str>,
        params: &mut Params,
    ) -> Result<Option<Principal>, Rejection> {
        if let Some(ticket) = params.take("ticket") {
            return Ok(Some(self.admit_ticket(ticket.into()).await?));
        }
        match token {
            Some(token) => Ok(Some(self.admit(token).await?)),
            None if self.gate.insecure => Ok(Some(believed(params)?)),
            None => Ok(None),
        }
    }

    /// Whom a ticket stands for, if what it stands for is still good. It is used up either way.
    async fn admit_ticket(&self, ticket: Ticket) -> Result<Principal, Rejection> {
        let now = clock::wall();
        let taken = self.tickets.take(&ticket, now).await;
        let outcome = match &taken {
            Ok(_) => "good",
            Err(TicketError::NotGood) => "not_good",
            Err(TicketError::Bucket(_) | TicketError::Random(_)) => "unavailable",
        };
        self.metrics.tickets.get_or_create(&OutcomeLabel { outcome }).inc();
        let who = taken?;
        let proven = match who.expires_at {
            Some(at) if at <= now => return Err(TokenError::Expired.into()),
            Some(_) => !who.everyone,
            None => false,
        };
        // One that was made where everybody is believed is worth nothing where nobody is.
        if !proven && !self.gate.insecure {
            return Err(TicketError::NotGood.into());
        }
        Ok(self.unless_revoked(who).await?)
    }

    /// Who holds the token, if it is good and, for a share link, not revoked.
    pub(super) async fn admit(&self, token: &str) -> Result<Principal, TokenError> {
        let who = self.gate.authenticate(token).await?;
        self.unless_revoked(who).await
    }

    async fn unless_revoked(&self, who: Principal) -> Result<Principal, TokenError> {
        // Where nobody proves anything there are no links.
        if who.role == Role::Shared && who.expires_at.is_some() {
            let order = who.order.as_ref().ok_or(TokenError::Claim { claim: "order", reason: "is missing".into() })?;
            if !self.shares.is_live(order, &who.id).await.map_err(|_| TokenError::Unavailable)? {
                return Err(TokenError::Revoked);
            }
        }
        Ok(who)
    }

    /// How far a right goes for this principal in this node's cell; refused if it goes nowhere.
    pub(super) fn permit(&self, who: &Principal, right: Right) -> Result<Reach, Rejection> {
        let reach = permit_role(who, right)?;
        permit_cell(who, &self.cell)?;
        Ok(reach)
    }

    /// The same for what a path names, in whatever cell: `Own` is one's own id.
    pub(super) fn permit_id(&self, who: &Principal, right: Right, field: &str, id: &str) -> Result<(), Rejection> {
        match permit_role(who, right)? {
            Reach::Own if !who.is(id) => Err(forbidden(who, right).with_field(field).into()),
            Reach::Own | Reach::Any | Reach::No => Ok(()),
        }
    }

    /// The cell in which somebody reports what names no order: the only one of the token, or this node's.
    pub(super) fn home(&self, who: &Principal) -> Result<CellId, Rejection> {
        let mut cells = who.cells.iter().flat_map(|cells| cells.iter());
        if let (Some(cell), None) = (cells.next(), cells.next()) {
            return Ok(cell.clone());
        }
        permit_cell(who, &self.cell)?;
        Ok(self.cell.clone())
    }

    /// An order that this principal has the right over, or none: who may not know of it learns nothing.
    pub(super) async fn order_for(
        &self,
        who: &Principal,
        right: Right,
        ask: OrderQuery,
    ) -> Result<Snapshot, Rejection> {
        permit_role(who, right)?;
        let found = self.ports.source.order(ask).await?;
        found.filter(|snapshot| who.may(right, &snapshot.state)).ok_or_else(|| unknown_order("order").into())
    }

    /// The right over an order, and the cell that has it. Whose right goes over all orders needs no look at this one.
    pub(super) async fn permit_order(
        &self,
        who: &Principal,
        right: Right,
        order: &OrderId,
    ) -> Result<CellId, Rejection> {
        let reach = permit_role(who, right)?;
        let cell = self.ports.directory.cell_of(order).await?;
        permit_cell(who, &cell)?;
        if reach == Reach::Own {
            self.order_for(who, right, OrderQuery { order: order.clone() }).await?;
        }
        Ok(cell)
    }
}

/// How far a right goes for this principal, in whatever cell; refused if it goes nowhere.
pub(super) fn permit_role(who: &Principal, right: Right) -> Result<Reach, Rejection> {
    match right.reach(who.role) {
        Reach::No => Err(forbidden(who, right).into()),
        reach @ (Reach::Own | Reach::Any) => Ok(reach),
    }
}

pub(super) fn permit_cell(who: &Principal, cell: &CellId) -> Result<(), Rejection> {
    if who.reaches(cell) {
        return Ok(());
    }
    let problem = Problem::new(403, "forbidden", "Not for this token").with_field("cell");
    Err(problem.with_detail(format!("the token is not for cell `{cell}`")).into())
}

/// There is no such order, or none that the asker may know of.
pub(super) fn unknown_order(field: &str) -> Problem {
    Problem::new(404, "unknown_order", "There is no such order").with_field(field)
}

/// A role may not do this.
pub(super) fn forbidden(who: &Principal, right: Right) -> Problem {
    let detail = format!("`{}` may not {}", who.role.name(), right.name());
    Problem::new(403, "forbidden", "Not for this role").with_field("role").with_detail(detail)
}

/// No token, or none that is good.
pub(super) fn unauthorized(detail: &str) -> Problem {
    Problem::new(401, "unauthorized", "Who is asking isn't known").with_field("token").with_detail(detail)
}

impl From<TicketError> for Problem {
    fn from(error: TicketError) -> Self {
        let detail = error.to_string();
        match error {
            TicketError::NotGood => unauthorized(&detail).with_field("ticket"),
            TicketError::Bucket(error) => error.into(),
            TicketError::Random(_) => Self::new(503, "unavailable", "No tickets now").with_detail(detail),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let detail = error.to_string();
        match error {
            TokenError::Unavailable => Self::new(503, "unavailable", "Tokens can't be checked now").with_detail(detail),
            TokenError::Malformed(_)
            | TokenError::Signature
            | TokenError::Expired
            | TokenError::NotYet
            | TokenError::Claim { .. }
            | TokenError::Revoked => unauthorized(&detail),
        }
    }
}

/// The token of a request: of its header, of the subprotocols that it offers, or of its cookie where the request comes from a page
/// of ours or of a listed origin.
pub(super) fn presented(headers: &HeaderMap, method: &Method, origins: &Origins) -> Result<Option<String>, Rejection> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let bearer = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let token = bearer.map(|(_, token)| token.trim().to_owned()).filter(|token| !token.is_empty());
        return match token {
            Some(token) => Ok(Some(token)),
            None => Err(unauthorized("Authorization must be `Bearer` and a token").into()),
        };
    }
    if let Some(token) = offered(headers) {
        return Ok(Some(token));
    }
    let Some(token) = cookie(headers) else { return Ok(None) };
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    if origin.is_some_and(|origin| origins.list(origin))
        || is_same_origin(headers, method.is_safe() && !headers.contains_key(header::UPGRADE))
    {
        Ok(Some(token))
    } else {
        let problem = Problem::new(403, "origin", "Not from another site").with_field("Origin");
        let detail = "a cookie counts only in requests that a page of this server makes, or of an origin that `http.origins` lists";
        Err(problem.with_detail(detail).into())
    }
}

/// The token among the WebSocket subprotocols offered: `trunkline.v1, bearer.{token}`.
fn offered(headers: &HeaderMap) -> Option<String> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offers = offers.flat_map(|value| value.split(',')).map(str::trim);
    offers.find_map(|offer| offer.strip_prefix(SUBPROTOCOL_TOKEN)).map(str::to_owned)
}

/// The token of a cookie, wherever the request comes from.
pub(super) fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

/// Whether a page of this server made the request. `lenient`: a request that says nothing of its origin passes (a link
/// that was followed, a program).
fn is_same_origin(headers: &HeaderMap, lenient: bool) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => {
            let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
            authority.eq_ignore_ascii_case(host)
        }
        (Some(_), None) => false,
        (None, _) => {
            let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or_default());
            lenient && site.is_none_or(|site| site == "same-origin" || site == "none")
        }
    }
}

/// Takes `role` and `sub`, which nobody proves.
fn believed(params: &mut Params) -> Result<Principal, FieldError> {
    let role = params.take("role").map(|text| text.parse::<Role>()).transpose();
    let role = role.map_err(|e| FieldError::new("role", e))?.unwrap_or(Role::Operations);
    let sub = params.take("sub");
    let is_id = |sub: &String| crate::domain::ids::is_token(sub);
    if sub.as_ref().is_some_and(|sub| !is_id(sub)) {
        return Err(FieldError::new("sub", "must be 1 to 64 of A-Z, a-z, 0-9, _ and -"));
    }
    let everyone = sub.is_none();
    // A share link owns its order.
    let order = sub.as_ref().filter(|_| role == Role::Shared).and_then(|sub| sub.parse().ok());
    let id = sub.as_deref().unwrap_or("http").into();
    Ok(Principal { role, id, cells: None, order, expires_at: None, everyone })
}

/// Takes `datum`: what the client's map refers to.
pub(super) fn take_datum(params: &mut Params) -> Result<Datum, FieldError> {
    match params.take("datum").as_deref() {
        None | Some("wgs84") => Ok(Datum::Wgs84),
        Some("gcj02") => Ok(Datum::Gcj02),
        Some("bd09") => Ok(Datum::Bd09),
        Some(other) => Err(FieldError::new("datum", format!("`{other}` is no datum; they are wgs84, gcj02, bd09"))),
    }
}

/// How long a principal's token is good for from now on; `None` for ever.
pub(super) fn left(who: &Principal) -> Option<std::time::Duration> {
    let left_ms = who.expires_at?.since(clock::wall()).max(0);
    Some(std::time::Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_comes_in_the_header_or_in_a_cookie_of_ours() {
        let origins = Origins::parse(&["https://app.example".to_owned()]).unwrap();
        let get =
            |pairs: &[_]| presented(&headers(pairs), &Method::GET, &origins).map_err(|rejection| rejection.0.status);
        let post =
            |pairs: &[_]| presented(&headers(pairs), &Method::POST, &origins).map_err(|rejection| rejection.0.status);
        assert_eq!(get(&[]), Ok(None));
        assert_eq!(get(&[("authorization", "bearer  a.b.c ")]), Ok(Some("a.b.c".into())));
        for wrong in ["Basic abc", "Bearer", "Bearer ", "a.b.c"] {
            assert_eq!(get(&[("authorization", wrong)]), Err(401), "{wrong}");
        }
        let cookie = ("cookie", "other=1; trunkline_token=a.b.c; x=y");
        let ours = ("origin", "https://shop.example:8443");
        let host = ("host", "shop.example:8443");
        assert_eq!(get(&[cookie, host]), Ok(Some("a.b.c".into())));
        assert_eq!(post(&[cookie, host]), Err(403), "a post says where it comes from");
        assert_eq!(post(&[cookie, host, ours]), Ok(Some("a.b.c".into())));
        assert_eq!(get(&[cookie, host, ("upgrade", "websocket")]), Err(403));
        assert_eq!(get(&[cookie, host, ours, ("upgrade", "websocket")]), Ok(Some("a.b.c".into())));
        for other in ["https://evil.example", "https://shop.example", "null", "", "https://shop.example:8443.evil"] {
            assert_eq!(get(&[cookie, host, ("origin", other)]), Err(403), "{other}");
        }
        assert_eq!(get(&[cookie, host, ("sec-fetch-site", "cross-site")]), Err(403));
        let listed = [cookie, host, ("origin", "https://app.example"), ("sec-fetch-site", "cross-site")];
        assert_eq!((get(&listed), post(&listed)), (Ok(Some("a.b.c".into())), Ok(Some("a.b.c".into()))));
        assert_eq!(
            get(&[cookie, host, ("origin", "https://app.example"), ("upgrade", "websocket")]),
            Ok(Some("a.b.c".into()))
        );
        let offer = ("sec-websocket-protocol", "trunkline.v1, bearer.d.e.f");
        let other = ("origin", "https://evil.example");
        assert_eq!(get(&[cookie, host, other, offer]), Ok(Some("d.e.f".into())), "nobody sends that by mistake");
    }

    #[test]
    fn a_subprotocol_may_lead_in_a_token() {
        let offer = |text| offered(&headers(&[("sec-websocket-protocol", text)]));
        assert_eq!(offer("trunkline.v1, bearer.a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(offer("trunkline.v1"), None);
    }
}
