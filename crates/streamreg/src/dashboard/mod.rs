//! The dashboard at `/`: a live list of streams, read from the public API.
//!
//! The page loads nothing from other hosts. Its Content-Security-Policy forbids other hosts and inline scripts. Its
//! URLs are relative, so the page also works under a base path behind a proxy.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
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

/// Returns the routes for the page, its script and its style sheet.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async || asset("text/html; charset=utf-8", include_str!("index.html"))))
        .route("/assets/app.js", get(async || asset("text/javascript; charset=utf-8", include_str!("app.js"))))
        .route("/assets/style.css", get(async || asset("text/css; charset=utf-8", include_str!("style.css"))))
}
