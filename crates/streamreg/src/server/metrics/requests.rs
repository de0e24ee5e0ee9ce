//! Counts and durations of HTTP requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, Request, StatusCode};
use stream_registry::metrics::{Histogram, HistogramSnapshot};

use crate::server::routes::paths;

/// Value of the label `route` for all other paths.
const UNMATCHED: &str = "unmatched";

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
/// Value of the label `method` for all other methods.
const OTHER: &str = "other";

/// First status code that is counted, and the number of codes from there.
const FIRST_CODE: u16 = 200;
const CODES: usize = 312;

/// The path of a route, which has at most one parameter.
#[derive(Debug)]
struct Pattern {
    /// The text before the parameter, or the whole path.
    start: &'static str,
    /// The text after the parameter. `None` if there is no parameter.
    end: Option<&'static str>,
    /// Whether the value of the parameter may contain a slash.
    spans_segments: bool,
}

impl Pattern {
    fn new(path: &'static str) -> Self {
        let (start, rest) = path.split_once('{').unwrap_or((path, ""));
        Self { start, end: rest.split_once('}').map(|(_, end)| end), spans_segments: rest.starts_with('*') }
    }

    fn matches(&self, path: &str) -> bool {
        let Some(end) = self.end else { return path == self.start };
        path.strip_prefix(self.start)
            .and_then(|rest| rest.strip_suffix(end))
            .is_some_and(|value| !value.is_empty() && (self.spans_segments || !value.contains('/')))
    }
}

/// Counters of one route.
#[derive(Debug)]
struct Route {
    durations: Histogram,
    /// One counter per method and status code.
    counts: Vec<AtomicU64>,
}

/// Counters of all requests.
#[derive(Debug)]
pub(in crate::server) struct Requests {
    /// The patterns of all [`paths`]. The router of axum gives the matched route only to its own layers, which take more
    /// time than comparing these patterns.
    patterns: Vec<Pattern>,
    /// The counters of each pattern, followed by those of all other paths.
    routes: Vec<Route>,
}

/// The labels of a request that is counted when it is answered.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Labels {
    route: usize,
    method: usize,
}

/// The number of requests with one method, route and status code.
pub(super) struct RequestCount {
    pub(super) method: &'static str,
    pub(super) route: &'static str,
    pub(super) code: u16,
    pub(super) count: u64,
}

impl Requests {
    pub(super) fn new() -> Self {
        let counters = || Route {
            durations: Histogram::default(),
            counts: (0..(METHODS.len() + 1) * CODES).map(|_| AtomicU64::new(0)).collect(),
        };
        let patterns: Vec<_> = paths().map(Pattern::new).collect();
        Self { routes: (0..=patterns.len()).map(|_| counters()).collect(), patterns }
    }

    /// Returns the labels of a request.
    pub(in crate::server) fn labels<B>(&self, request: &Request<B>) -> Labels {
        let path = request.uri().path();
        let matching = self.patterns.iter().position(|pattern| pattern.matches(path));
        Labels {
            route: matching.unwrap_or(self.patterns.len()),
            method: METHODS.iter().position(|method| method == request.method()).unwrap_or(METHODS.len()),
        }
    }

    /// Counts an answered request.
    pub(in crate::server) fn answered(&self, labels: Labels, status: StatusCode, duration: Duration) {
        let route = &self.routes[labels.route];
        route.durations.observe(duration);
        // The server sends no informational status, so every status has a counter.
        let code = usize::from(status.as_u16().saturating_sub(FIRST_CODE)).min(CODES - 1);
        route.counts[labels.method * CODES + code].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns all counts that are not zero.
    pub(super) fn counts(&self) -> impl Iterator<Item = RequestCount> {
        self.labelled().flat_map(|(name, route)| {
            route.counts.iter().enumerate().filter_map(move |(index, count)| {
                let count = count.load(Ordering::Relaxed);
                let code = FIRST_CODE + u16::try_from(index % CODES).unwrap_or_default();
                let method = METHODS.get(index / CODES).map_or(OTHER, name_of);
                (count > 0).then_some(RequestCount { method, route: name, code, count })
            })
        })
    }

    /// Returns the durations of each route that has received a request.
    pub(super) fn durations(&self) -> impl Iterator<Item = (&'static str, HistogramSnapshot)> {
        let durations = self.labelled().map(|(name, route)| (name, route.durations.snapshot()));
        durations.filter(|(_, durations)| durations.count() > 0)
    }

    fn labelled(&self) -> impl Iterator<Item = (&'static str, &Route)> {
        paths().chain([UNMATCHED]).zip(&self.routes)
    }
}

/// Returns the name of one of [`METHODS`].
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::server::routes::ROUTES;

    /// Returns the paths in the calls of `route` in the source of the API.
    fn declared() -> Vec<String> {
        let mut found = Vec::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/api");
        for file in std::fs::read_dir(folder).unwrap() {
            let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let calls = source.split(".route(").skip(1);
            found.extend(calls.map(|call| call.split('"').nth(1).unwrap().to_owned()));
        }
        found.sort();
        found
    }

    #[test]
    fn every_route_of_the_api_is_in_the_table_and_a_label() {
        let mut listed: Vec<_> = ROUTES.iter().map(|route| route.path).collect();
        listed.sort_unstable();
        assert_eq!(declared(), listed);
        for route in paths() {
            let requests = Requests::new();
            let path = route.replace("{id}", "a%2Fb").replace("{*file}", "views/drawer.js");
            let request = Request::get(path).body(()).unwrap();
            requests.answered(requests.labels(&request), StatusCode::OK, Duration::ZERO);
            assert_eq!(requests.counts().map(|count| count.route).collect::<Vec<_>>(), [route]);
        }
    }

    #[test]
    fn path_with_an_empty_id_or_an_additional_segment_matches_no_route() {
        for path in
            ["/api/v1/streams/", "/api/v1/streams//stats", "/api/v1/streams/a/b/stats", "/api/v1/streamsa/", "//"]
        {
            assert!(!paths().any(|route| Pattern::new(route).matches(path)), "{path}");
        }
    }

    #[test]
    fn unknown_paths_and_methods_share_one_series() {
        let requests = Requests::new();
        for number in 0..10_000 {
            let request = Request::builder().method(format!("M{number}").as_str()).uri(format!("/{number}/x"));
            let labels = requests.labels(&request.body(()).unwrap());
            requests.answered(labels, StatusCode::NOT_FOUND, Duration::ZERO);
        }
        let counts: Vec<_> =
            requests.counts().map(|count| (count.method, count.route, count.code, count.count)).collect();
        assert_eq!(counts, [(OTHER, UNMATCHED, 404, 10_000)]);
        assert_eq!(requests.durations().count(), 1);
    }
}
