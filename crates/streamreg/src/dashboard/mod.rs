//! The dashboard at `/`: a live list of streams, read from the public API.
//!
//! The page loads nothing from other hosts. Its Content-Security-Policy forbids other hosts and inline scripts. Its
//! URLs are relative, so the page also works under a base path behind a proxy.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::get;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Asset = ([(HeaderName, &'static str); 5], &'static str);

fn asset(media_type: &'static str, content: &'static str) -> Asset {
    let headers = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content)
}

/// Returns another page of the server, with the same policy.
pub(crate) fn page(content: &'static str) -> impl IntoResponse {
    asset("text/html; charset=utf-8", content)
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
    let page = Router::new()
        .route("/", get(async || page(include_str!("index.html"))))
        .route("/assets/style.css", get(async || asset("text/css; charset=utf-8", include_str!("style.css"))))
        .route("/assets/docs.css", get(async || asset("text/css; charset=utf-8", include_str!("docs.css"))));
    SCRIPTS.into_iter().fold(page, |page, (path, script)| {
        page.route(path, get(async move || asset("text/javascript; charset=utf-8", script)))
    })
}
