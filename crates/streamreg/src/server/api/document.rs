//! The OpenAPI document: `/openapi.json`.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;

use super::compress;
use crate::server::openapi;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/openapi.json", get(document).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

async fn document(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    Params::none(&uri)?;
    compress::json(&app, &headers, openapi::json().to_owned()).await
}
