//! What the OpenAPI document says of types that stand for more than they show: identifiers, times, codes, and the state of an
//! order, which is JSON of its own making ([`super::doc`]) seen through [`super::view::FIELDS`].
//!
//! Bodies describe themselves where they are declared. Those of an order's verbs are cut from the one type that is parsed,
//! [`CommandBody`], by the table that decides which verb takes what, so that neither can say more than the other.

use super::{
    command::{CommandBody, NEEDED, TAKEN},
    life::{MissingItemBody, ProofBody},
    personal::Personal,
};
use crate::domain::Verb;
use serde_json::json;
use std::borrow::Cow;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{AdditionalProperties, Object, ObjectBuilder, Type},
    },
};

/// An identifier.
#[derive(Debug)]
pub struct Id;

/// Milliseconds since 1970, in the years 1 to 9999.
#[derive(Debug)]
pub struct Millis;

/// 1 pending payment, 2 paid, 3 delivering, 4 completed, 5 cancelled.
#[derive(Debug)]
pub struct StatusCode;

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9_-]{1,64}$"));
        let text = text.min_length(Some(1)).max_length(Some(64)).examples([json!("r-17")]);
        text.description(Some("An identifier.")).build().into()
    }
}

impl PartialSchema for Millis {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(-62_135_596_800_000_i64));
        let number = number.maximum(Some(253_402_300_799_999_i64)).examples([json!(1_790_000_000_000_i64)]);
        number.description(Some("Milliseconds since 1970, in the years 1 to 9999.")).build().into()
    }
}

impl PartialSchema for StatusCode {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(5));
        let said = "1 pending payment, 2 paid, 3 delivering, 4 completed, 5 cancelled.";
        number.examples([json!(2)]).description(Some(said)).build().into()
    }
}

impl ToSchema for Id {}
impl ToSchema for Millis {}
impl ToSchema for StatusCode {}

/// What coordinates refer to: WGS-84 (GPS), GCJ-02 (AMap, Tencent) or BD-09 (Baidu).
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "lowercase", example = "wgs84")]
pub enum DatumName {
    Wgs84,
    Gcj02,
    Bd09,
}

/// Forms of a planned route.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "lowercase", example = "geojson")]
pub enum RouteFormatName {
    GeoJson,
    Polyline5,
    Polyline6,
    Gpx,
}

/// How a history is written.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "lowercase", example = "geojson")]
pub enum FormatName {
    Json,
    GeoJson,
    Gpx,
    Csv,
}

/// An order's history as GeoJSON (RFC 7946).
#[derive(Debug, ToSchema)]
pub struct TrackCollection {
    #[serde(rename = "type")]
    #[schema(pattern = "^FeatureCollection$")]
    pub kind: String,
    #[schema(value_type = Id)]
    pub order: String,
    /// Of all coordinates: WGS-84, GCJ-02 or BD-09.
    pub datum: String,
    pub features: Vec<TrackFeature>,
}

/// A line or a point of a history. `properties.what` says what it is: `route`, `warehouse`, `destination`, `event`, `eta`, `fix`
/// (one that isn't drawn) or `turn` (a rider's line, with the times of its points).
#[derive(Debug, ToSchema)]
pub struct TrackFeature {
    #[serde(rename = "type")]
    #[schema(pattern = "^Feature$")]
    pub kind: String,
    /// Null where the place isn't known.
    #[schema(value_type = Option<Object>, required = true)]
    pub geometry: serde_json::Value,
    #[schema(value_type = Object)]
    pub properties: serde_json::Value,
}

/// Which fixes a line is drawn of.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "lowercase", example = "good")]
pub enum FixesDrawn {
    Good,
    All,
}

/// What the warehouse has done.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case", example = "picking")]
pub enum StageName {
    Received,
    Picking,
    Picked,
    Packed,
    Ready,
    HandedOver,
}

/// Where a rider was last, in degrees of the datum that was asked for.
#[derive(Debug, ToSchema)]
pub struct PositionBody {
    #[schema(minimum = -90, maximum = 90)]
    pub lat: f64,
    #[schema(minimum = -180, maximum = 180)]
    pub lon: f64,
    /// The device's clock, corrected.
    #[schema(value_type = Millis)]
    pub fix_time_ms: i64,
    #[schema(required = false, nullable = false, minimum = 0)]
    pub speed_mps: Option<f64>,
    #[schema(required = false, nullable = false, minimum = 0, maximum = 359)]
    pub heading_deg: Option<u16>,
    #[schema(required = false, nullable = false, minimum = 0)]
    pub accuracy_m: Option<f64>,
}

/// A place of an order's state.
#[derive(Debug, ToSchema)]
pub struct PlaceState {
    #[schema(minimum = -90, maximum = 90)]
    pub lat: f64,
    #[schema(minimum = -180, maximum = 180)]
    pub lon: f64,
}

/// An order's warehouse.
#[derive(Debug, ToSchema)]
pub struct WarehouseState {
    #[schema(value_type = Id)]
    pub id: String,
    pub name: String,
    pub lat: f64,
    pub lon: f64,
}

/// The rider who carries an order.
#[derive(Debug, ToSchema)]
pub struct CarrierState {
    #[schema(value_type = Id)]
    pub id: String,
}

/// The window told to the customer.
#[derive(Debug, ToSchema)]
pub struct PromiseState {
    #[schema(value_type = Millis)]
    pub from_ms: i64,
    #[schema(value_type = Millis)]
    pub to_ms: i64,
}

/// The planned route, as GeoJSON.
#[derive(Debug, ToSchema)]
pub struct RouteState {
    #[serde(rename = "type")]
    #[schema(pattern = "^LineString$")]
    pub kind: String,
    /// `[lon, lat]`.
    #[schema(value_type = Vec<Vec<f64>>)]
    pub coordinates: Vec<[f64; 2]>,
}

/// The planned route, encoded.
#[derive(Debug, ToSchema)]
pub struct PolylineState {
    pub polyline: String,
    /// Decimals: 5 or 6, as asked for.
    #[schema(minimum = 5, maximum = 6)]
    pub precision: u8,
}

/// Items that the order's warehouse or rider don't have.
#[derive(Debug, ToSchema)]
pub struct MissingState {
    pub count: u32,
    #[schema(required = false, nullable = false)]
    pub items: Option<Vec<MissingItemBody>>,
    #[schema(required = false, nullable = false)]
    pub note: Option<String>,
}

/// The arrival time as an interval.
#[derive(Debug, ToSchema)]
pub struct EtaState {
    /// When the estimate was made.
    #[schema(value_type = Millis)]
    pub at_ms: i64,
    #[schema(value_type = Millis)]
    pub p10_ms: i64,
    /// `at_ms` and the sum of the legs.
    #[schema(value_type = Millis)]
    pub p50_ms: i64,
    #[schema(value_type = Millis)]
    pub p90_ms: i64,
    pub legs: LegsState,
    #[schema(pattern = "^constant_speed$")]
    pub basis: String,
    /// Along what the ride was measured.
    #[schema(pattern = "^(route|straight_line)$")]
    pub path: String,
}

/// What remains, in the order in which it happens.
#[derive(Debug, ToSchema)]
pub struct LegsState {
    /// Until the goods are packed and the rider is there.
    pub picking_ms: i64,
    pub handover_ms: i64,
    pub ride_ms: i64,
    pub door_ms: i64,
}

/// An open alert.
#[derive(Debug, ToSchema)]
pub struct OpenAlertState {
    pub kind: String,
    pub severity: String,
    /// `raised` or `acknowledged`.
    pub state: String,
    #[schema(value_type = Millis)]
    pub since_ms: i64,
}

/// An order as a role sees it. A member is there when it is known and the role may see it now; none is ever null.
#[derive(Debug, ToSchema)]
pub struct OrderState {
    #[schema(value_type = Id)]
    pub id: String,
    #[schema(value_type = Id, required = false)]
    pub cell: Option<String>,
    #[schema(value_type = StatusCode)]
    pub status: u8,
    #[schema(required = false, nullable = false)]
    pub rev: Option<u64>,
    #[schema(value_type = StageName, required = false)]
    pub stage: Option<String>,
    #[schema(value_type = Id, required = false)]
    pub user_id: Option<String>,
    #[schema(value_type = WarehouseState, required = false)]
    pub warehouse: Option<WarehouseState>,
    #[schema(value_type = PlaceState, required = false)]
    pub destination: Option<PlaceState>,
    /// In the currency's minor unit.
    #[schema(required = false, nullable = false)]
    pub amount_minor: Option<i64>,
    /// ISO 4217.
    #[schema(required = false, nullable = false, pattern = "^[A-Z]{3}$")]
    pub currency: Option<String>,
    #[schema(required = false, nullable = false)]
    pub items: Option<u32>,
    #[schema(value_type = PromiseState, required = false)]
    pub promise: Option<PromiseState>,
    #[schema(value_type = RouteState, required = false)]
    pub route: Option<RouteState>,
    #[schema(value_type = Object, required = false)]
    pub extra: Option<serde_json::Value>,
    #[schema(value_type = CarrierState, required = false)]
    pub rider: Option<CarrierState>,
    #[schema(value_type = PositionBody, required = false)]
    pub position: Option<PositionBody>,
    /// Stops of the rider before this order's.
    #[schema(required = false, nullable = false)]
    pub stops_ahead: Option<u16>,
    #[schema(value_type = Millis, required = false)]
    pub created_at_ms: Option<i64>,
    #[schema(value_type = Millis, required = false)]
    pub paid_at_ms: Option<i64>,
    #[schema(value_type = Millis, required = false)]
    pub departed_at_ms: Option<i64>,
    #[schema(value_type = Millis, required = false)]
    pub completed_at_ms: Option<i64>,
    #[schema(value_type = Millis, required = false)]
    pub cancelled_at_ms: Option<i64>,
    #[schema(required = false, nullable = false)]
    pub cancel_reason: Option<String>,
    /// Attempts at the door that failed.
    #[schema(required = false, nullable = false)]
    pub attempts: Option<u32>,
    #[schema(required = false, nullable = false)]
    pub attempt_reason: Option<String>,
    #[schema(value_type = Millis, required = false)]
    pub attempted_at_ms: Option<i64>,
    /// The goods went back to the warehouse.
    #[schema(required = false, nullable = false)]
    pub returned: Option<bool>,
    #[schema(value_type = MissingState, required = false)]
    pub missing: Option<MissingState>,
    #[schema(value_type = ProofBody, required = false)]
    pub proof: Option<ProofBody>,
    #[schema(value_type = Millis, required = false)]
    pub edited_at_ms: Option<i64>,
    /// When it arrives: from payment to the order's end, told anew when p50 moves by 30 s or the status changes.
    #[schema(value_type = EtaState, required = false)]
    pub eta: Option<EtaState>,
    /// Still to ride when `eta` was made, in metres.
    #[schema(required = false, nullable = false)]
    pub remaining_m: Option<u32>,
    /// When the rider arrived at the warehouse.
    #[schema(value_type = Millis, required = false)]
    pub warehouse_arrived_at_ms: Option<i64>,
    /// When the rider arrived at the destination.
    #[schema(value_type = Millis, required = false)]
    pub arrived_at_ms: Option<i64>,
    /// Open alerts by their numbers.
    #[schema(required = false, nullable = false)]
    pub alerts: Option<std::collections::BTreeMap<String, OpenAlertState>>,
    /// Of one order only, never in lists.
    #[schema(value_type = super::personal::Contact, required = false)]
    pub contact: Option<super::personal::Contact>,
    #[schema(required = false, nullable = false)]
    pub address: Option<String>,
    #[schema(required = false, nullable = false)]
    pub notes: Option<String>,
}

/// The body of a verb: the members of [`CommandBody`] that it takes.
fn verb_schema(verb: Verb) -> RefOr<Schema> {
    let mut object = members(CommandBody::schema());
    object.properties.retain(|name, _| TAKEN.iter().all(|(field, verbs)| field != name || verbs.contains(&verb)));
    if verb == Verb::Edit {
        // Over HTTP the data themselves are given, and the server says that there are some.
        object.properties.remove("personal");
        object.properties.extend(members(Personal::schema()).properties);
    }
    object.required = NEEDED.iter().filter(|(of, _)| *of == verb).map(|(_, field)| (*field).to_owned()).collect();
    object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    object.description = Some(format!("What `{}` takes.", verb.name()));
    RefOr::T(Schema::Object(object))
}

/// The body of a create over HTTP: that of the log, an id if one is given, and what names a person.
fn create_schema() -> RefOr<Schema> {
    let mut object = members(super::command::CreateBody::schema());
    object.properties.insert("id".into(), Id::schema());
    object.properties.extend(members(Personal::schema()).properties);
    object.description = Some("A new order. Without an `id` the server makes one of the idempotency key.".into());
    RefOr::T(Schema::Object(object))
}

fn members(schema: RefOr<Schema>) -> Object {
    match schema {
        RefOr::T(Schema::Object(object)) => object,
        RefOr::T(_) | RefOr::Ref(_) => Object::new(),
    }
}

macro_rules! verb_bodies {
    ($($name:ident: $verb:ident),* $(,)?) => {
        $(
            #[doc = concat!("The body of `", stringify!($verb), "`.")]
            #[derive(Debug)]
            pub struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    verb_schema(Verb::$verb)
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($name))
                }

                fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                    CommandBody::schemas(schemas);
                    Personal::schemas(schemas);
                }
            }
        )*
    };
}

verb_bodies! {
    PayBody: Pay, CancelBody: Cancel, AssignBody: Assign, UnassignBody: Unassign, DeliverBody: Deliver, FailBody: Fail,
    ReturnBody: Return, MissingBody: Missing, EditBody: Edit, AcknowledgeBody: Acknowledge,
}

/// The body of a create over HTTP.
#[derive(Debug)]
pub struct NewOrder;

impl PartialSchema for NewOrder {
    fn schema() -> RefOr<Schema> {
        create_schema()
    }
}

impl ToSchema for NewOrder {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("NewOrder")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        super::command::CreateBody::schemas(schemas);
        Personal::schemas(schemas);
        schemas.push((Id::name().into_owned(), Id::schema()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Stage,
        wire::{track::Format, view::FIELDS},
    };
    use std::collections::BTreeSet;

    /// The document shows exactly what the table of fields lets through.
    #[test]
    fn an_orders_state_is_the_table_of_fields() {
        let shown: BTreeSet<_> = members(OrderState::schema()).properties.into_keys().collect();
        let table: BTreeSet<_> = FIELDS.iter().map(|(field, _)| (*field).to_owned()).collect();
        assert_eq!(shown, table);
    }

    #[test]
    fn names_are_the_domains() {
        let names = serde_json::to_value(StageName::schema()).unwrap();
        assert_eq!(names["enum"], serde_json::json!(Stage::ALL.map(Stage::name)));
        let names = serde_json::to_value(FormatName::schema()).unwrap();
        assert_eq!(names["enum"], serde_json::json!(Format::ALL.map(Format::name)));
    }

    #[test]
    fn a_verbs_body_takes_what_its_parser_takes() {
        for verb in Verb::ALL.into_iter().filter(|verb| *verb != Verb::Create) {
            let RefOr::T(Schema::Object(body)) = verb_schema(verb) else { panic!("{verb:?}") };
            for field in members(CommandBody::schema()).properties.into_keys() {
                let here = body.properties.contains_key(&field);
                let json = format!(r#"{{"{field}":null}}"#);
                // Null counts as left out: what is refused then is a member that is not there or one that is missing.
                assert!(super::super::parse_json::<CommandBody>(json.as_bytes()).is_ok(), "{field}");
                let taken =
                    TAKEN.iter().find(|(name, _)| *name == field).is_none_or(|(_, verbs)| verbs.contains(&verb));
                assert_eq!(here, taken && field != "personal", "{verb:?} {field}");
            }
            assert!(body.required.iter().all(|field| body.properties.contains_key(field)));
        }
    }
}
