//! The dashboard at `/`: a live list of streams, read from the public API. The page of the API, `/docs`, has the same
//! headers.
//!
//! The page loads nothing from other hosts. Its Content-Security-Policy forbids other hosts, inline scripts, and
//! strings as markup (trusted types). Its URLs are relative, so the page also works under a base path behind a proxy.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use crate::static_file::StaticFile;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

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

/// Expands to the paths of files below `/assets/`, each with its content.
macro_rules! files {
    ($($name:literal),* $(,)?) => { [$((concat!("/assets/", $name), include_str!($name))),*] };
}

const SCRIPTS: [(&str, &str); 33] = files![
    "app.js",
    "data/api.js",
    "data/feed.js",
    "data/json.js",
    "data/log.js",
    "data/model.js",
    "data/order.js",
    "data/polls.js",
    "data/rings.js",
    "data/sse.js",
    "parts/chart.js",
    "parts/copy.js",
    "parts/dialog.js",
    "parts/dom.js",
    "parts/fields.js",
    "parts/format.js",
    "parts/keys.js",
    "parts/table.js",
    "parts/url.js",
    "views/actions.js",
    "views/cells.js",
    "views/charts.js",
    "views/connection.js",
    "views/drawer.js",
    "views/ended.js",
    "views/events.js",
    "views/filters.js",
    "views/kinds.js",
    "views/nodes.js",
    "views/record.js",
    "views/start.js",
    "views/streams.js",
    "views/totals.js",
];
const STYLES: [(&str, &str); 4] = files!["docs.css", "styles/base.css", "styles/drawer.css", "styles/table.css"];

/// Returns the routes for the dashboard, for the page of the API, and for their scripts and style sheets.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(docs: &'static str) -> Router<S> {
    let page = |content| asset("text/html; charset=utf-8", content).route();
    let pages = Router::new().route("/", page(include_str!("index.html"))).route("/docs", page(docs));
    let scripts = SCRIPTS.map(|(path, content)| (path, "text/javascript; charset=utf-8", content));
    let styles = STYLES.map(|(path, content)| (path, "text/css; charset=utf-8", content));
    scripts
        .into_iter()
        .chain(styles)
        .fold(pages, |pages, (path, media_type, content)| pages.route(path, asset(media_type, content).route()))
}
