//! Shorthands for schemas, parameters and request bodies.

use serde_json::Value;
use stream_registry::stream::limits::MAX_COUNT;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Schema};

pub(super) type AnySchema = RefOr<Schema>;
/// Names and schemas of the members of an object.
pub(super) type Members = Vec<(&'static str, AnySchema)>;

/// A pattern for visible ASCII characters, at least one.
pub(super) const VISIBLE: &str = "^[!-~]+$";

/// Returns a reference to a schema of the document.
pub(super) fn schema(name: &str) -> AnySchema {
    Ref::from_schema_name(name).into()
}

fn of_type(kind: Type, description: &str) -> ObjectBuilder {
    Object::builder().schema_type(kind).description(Some(description))
}

/// Returns the schema of a string.
pub(super) fn string(description: &str) -> ObjectBuilder {
    of_type(Type::String, description)
}

/// Returns the schema of a string that has a limit. The limit counts bytes, of which a character may need several.
pub(super) fn limited(description: &str, max: usize) -> ObjectBuilder {
    string(description).max_length(Some(max))
}

/// Returns the schema of a string with visible ASCII characters only.
pub(super) fn visible(description: &str, max: usize) -> ObjectBuilder {
    limited(description, max).min_length(Some(1)).pattern(Some(VISIBLE))
}

/// Returns the schema of a string that is one of several words.
pub(super) fn word<'a>(description: &str, words: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    string(description).enum_values(Some(words))
}

pub(super) fn time(description: &str) -> ObjectBuilder {
    string(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

pub(super) fn flag(description: &str) -> ObjectBuilder {
    of_type(Type::Boolean, description)
}

/// Returns the schema of an integer within a range.
pub(super) fn integer(description: &str, min: u64, max: u64) -> ObjectBuilder {
    let number = of_type(Type::Integer, description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
    number.minimum(Some(number_of(min))).maximum(Some(number_of(max)))
}

fn number_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Returns the schema of a counter in a response.
pub(super) fn count(description: &str) -> ObjectBuilder {
    integer(description, 0, MAX_COUNT)
}

/// Returns the schema of a finite number of at least 0.
pub(super) fn rate(description: &str) -> ObjectBuilder {
    let number = of_type(Type::Number, description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)));
    number.minimum(Some(0_usize))
}

/// Returns a reference to a schema of the document, whose value can also be null.
pub(super) fn schema_or_null(name: &str) -> AnySchema {
    AnyOfBuilder::new().item(Ref::from_schema_name(name)).item(Object::with_type(Type::Null)).into()
}

/// Lets a value also be null.
pub(super) fn or_null(schema: ObjectBuilder) -> ObjectBuilder {
    let mut schema = schema.build();
    if let SchemaType::Type(kind) = schema.schema_type {
        schema.schema_type = SchemaType::from_iter([kind, Type::Null]);
    }
    // A list of words must also list null.
    if let Some(words) = &mut schema.enum_values {
        words.push(Value::Null);
    }
    schema.into()
}

/// Excludes some values.
pub(super) fn except(schema: ObjectBuilder, values: &[&str]) -> ObjectBuilder {
    // The builder has no method for this keyword of JSON Schema.
    schema.extensions(Some(Extensions::from_iter([("not", serde_json::json!({ "enum": values }))])))
}

/// Returns the schema of an object. Objects of responses may have more members in later versions.
pub(super) fn object(description: &str, required: Members, optional: Members) -> ObjectBuilder {
    let names: Vec<_> = required.iter().map(|(name, _)| *name).collect();
    let object = of_type(Type::Object, description);
    let object =
        required.into_iter().chain(optional).fold(object, |object, (name, schema)| object.property(name, schema));
    names.into_iter().fold(object, ObjectBuilder::required)
}

/// Rejects all other members.
pub(super) fn closed(object: ObjectBuilder) -> ObjectBuilder {
    object.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
}

/// Accepts all other members.
pub(super) fn open(object: ObjectBuilder) -> ObjectBuilder {
    object.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
}

pub(super) fn list(description: &str, items: impl Into<AnySchema>) -> ArrayBuilder {
    Array::builder().items(items.into()).description(Some(description))
}

fn parameter(place: ParameterIn, name: &str, description: &str, schema: impl Into<AnySchema>) -> ParameterBuilder {
    let parameter = Parameter::builder().name(name).parameter_in(place).required(Required::False);
    parameter.description(Some(description)).schema(Some(schema.into()))
}

/// Returns an optional parameter of the query.
pub(super) fn query(name: &str, description: &str, schema: impl Into<AnySchema>) -> ParameterBuilder {
    parameter(ParameterIn::Query, name, description, schema)
}

/// Returns an optional header of the request.
pub(super) fn header(name: &str, description: &str, schema: impl Into<AnySchema>) -> ParameterBuilder {
    parameter(ParameterIn::Header, name, description, schema)
}

/// Returns a parameter of the path, which is always required.
pub(super) fn segment(name: &str, description: &str, schema: impl Into<AnySchema>) -> ParameterBuilder {
    parameter(ParameterIn::Path, name, description, schema).required(Required::True)
}

/// Returns a required request body with an example.
pub(super) fn body(media_types: &[&str], schema_name: &str, description: &str, example: Value) -> RequestBody {
    let body = RequestBodyBuilder::new().description(Some(description)).required(Some(Required::True));
    let content = ContentBuilder::new().schema(Some(schema(schema_name))).example(Some(example)).build();
    media_types.iter().fold(body, |body, media_type| body.content(*media_type, content.clone())).build()
}
