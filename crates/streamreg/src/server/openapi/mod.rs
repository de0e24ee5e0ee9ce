//! The OpenAPI document at `/openapi.json`.
//!
//! The document is built from the limits of the library, the codes of problems and the scopes of the access checks, so it
//! cannot disagree with them. `schemas` describes the bodies, `operations` the requests, and `responses` the problems.
//! `page` renders the document for people. Tests compare the document with the running server.

mod build;
mod operations;
mod page;
mod responses;
mod schemas;

use std::sync::LazyLock;

use axum::http::Method;
use utoipa::openapi::path::{PathItem, PathsBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ComponentsBuilder, HttpMethod, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Paths,
};

use super::access::Need;

pub(super) use page::page;

/// Name of the security scheme.
const BEARER: &str = "bearer";

const DESCRIPTION: &str = "\
Registers live media streams and lists them. Each stream expires if its publisher stops sending heartbeats.

Every path that has GET also has HEAD, and OPTIONS returns the methods of a path. Unknown query parameters are rejected \
with 400. Unknown headers are ignored.

Limits of strings count bytes in UTF-8, while `maxLength` counts characters. For ASCII, both are the same.

Later versions may add members to responses, kinds of events and codes of problems. Clients should ignore members and \
events that they do not know.";

/// Returns the document.
pub(super) fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("stream-registry")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build()));
    let tags = operations::TAGS.map(|(name, description)| TagBuilder::new().name(name).description(Some(description)));
    OpenApiBuilder::new()
        .info(info)
        .tags(Some(tags.map(TagBuilder::build)))
        .paths(paths())
        .components(Some(components()))
        .build()
}

/// Returns the document as indented JSON.
pub(super) fn json() -> &'static str {
    // Serialising strings and numbers cannot fail.
    static JSON: LazyLock<String> =
        LazyLock::new(|| serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n");
    &JSON
}

fn paths() -> Paths {
    let paths = operations::all().into_iter().fold(PathsBuilder::new(), |paths, (method, path, operation)| {
        let needed: &[&str] = match Need::of(&method, path) {
            Need::Nothing => return paths.path(path, PathItem::new(kind(&method), operation)),
            Need::AnyToken => &[],
            Need::Scope(scope) => &[scope.as_str()],
        };
        // The empty requirement stands for a server that needs no token for this operation.
        let security = [SecurityRequirement::new(BEARER, needed.iter().copied()), SecurityRequirement::default()];
        paths.path(path, PathItem::new(kind(&method), operation.securities(Some(security))))
    });
    paths.build()
}

fn kind(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn components() -> Components {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token of the server. By default, a server that listens only on this machine needs no token. With \
         --token-file, only writes need one.",
    ));
    let components = ComponentsBuilder::new().security_scheme(BEARER, SecurityScheme::Http(bearer.build()));
    let components = schemas::all().into_iter().fold(components, |all, (name, schema)| all.schema(name, schema));
    responses::add_to(components).build()
}
