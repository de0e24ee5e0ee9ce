//! Counts and durations of HTTP requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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
    /// Maps a path to the index of its route. The router of axum gives the matched route only to its own layers, which
    /// take more time than this look-up.
    router: matchit::Router<usize>,
    /// The counters of all [`paths`], followed by those of all other paths.
    routes: Vec<Route>,
}

/// A request that is counted when it is answered.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Received {
    at: Instant,
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
        let mut router = matchit::Router::new();
        for (index, route) in paths().enumerate() {
            // A conflict between two routes is impossible, because axum has accepted the same routes.
            let _ = router.insert(route, index);
        }
        let counters = || Route {
            durations: Histogram::default(),
            counts: (0..(METHODS.len() + 1) * CODES).map(|_| AtomicU64::new(0)).collect(),
        };
        Self { router, routes: paths().chain([UNMATCHED]).map(|_| counters()).collect() }
    }

    /// Notes when a request was received, and its labels.
    pub(in crate::server) fn received<B>(&self, request: &Request<B>) -> Received {
        Received {
            at: Instant::now(),
            route: self.router.at(request.uri().path()).map_or(self.routes.len() - 1, |matched| *matched.value),
            method: METHODS.iter().position(|method| method == request.method()).unwrap_or(METHODS.len()),
        }
    }

    /// Counts an answered request.
    pub(in crate::server) fn answered(&self, received: Received, status: StatusCode) {
        let route = &self.routes[received.route];
        route.durations.observe(received.at.elapsed());
        // The server sends no informational status, so every status has a counter.
        let code = usize::from(status.as_u16().saturating_sub(FIRST_CODE)).min(CODES - 1);
        route.counts[received.method * CODES + code].fetch_add(1, Ordering::Relaxed);
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
            let path = route.replace("{id}", "a%2Fb").replace("{*file}", "app.js");
            let request = Request::get(path).body(()).unwrap();
            requests.answered(requests.received(&request), StatusCode::OK);
            assert_eq!(requests.counts().map(|count| count.route).collect::<Vec<_>>(), [route]);
        }
    }

    #[test]
    fn unknown_paths_and_methods_share_one_series() {
        let requests = Requests::new();
        for number in 0..10_000 {
            let request = Request::builder().method(format!("M{number}").as_str()).uri(format!("/{number}/x"));
            requests.answered(requests.received(&request.body(()).unwrap()), StatusCode::NOT_FOUND);
        }
        let counts: Vec<_> =
            requests.counts().map(|count| (count.method, count.route, count.code, count.count)).collect();
        assert_eq!(counts, [(OTHER, UNMATCHED, 404, 10_000)]);
        assert_eq!(requests.durations().count(), 1);
    }
}
