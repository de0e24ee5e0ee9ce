//! The dashboard at `/`: a live list of streams, read from the public API.
//!
//! The page loads nothing from other hosts. Its Content-Security-Policy forbids other hosts and inline scripts. Its
//! URLs are relative, so the page also works under a base path behind a proxy.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::routing::MethodRouter;

use crate::static_file::StaticFile;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Browsers keep the files, and ask with each use whether they have changed.
fn asset(media_type: &'static str, content: &'static str) -> StaticFile {
    let headers = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    StaticFile::new(content, headers)
}

/// Returns the route of a page of the server, with the policy of the dashboard.
pub(crate) fn page<S: Clone + Send + Sync + 'static>(content: &'static str) -> MethodRouter<S> {
    asset("text/html; charset=utf-8", content).route()
}

/// The modules of the page's script, each with its path.
const SCRIPTS: [(&str, &str); 8] = [
    ("/assets/app.js", include_str!("app.js")),
    ("/assets/api.js", include_str!("api.js")),
    ("/assets/controls.js", include_str!("controls.js")),
    ("/assets/dom.js", include_str!("dom.js")),
    ("/assets/format.js", include_str!("format.js")),
    ("/assets/selection.js", include_str!("selection.js")),
    ("/assets/start.js", include_str!("start.js")),
    ("/assets/table.js", include_str!("table.js")),
];

/// Returns the routes for the page, its scripts and its style sheet.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let pages = Router::new()
        .route("/", page(include_str!("index.html")))
        .route("/assets/style.css", asset("text/css; charset=utf-8", include_str!("style.css")).route())
        .route("/assets/docs.css", asset("text/css; charset=utf-8", include_str!("docs.css")).route());
    SCRIPTS
        .into_iter()
        .fold(pages, |pages, (path, script)| pages.route(path, asset("text/javascript; charset=utf-8", script).route()))
}
