//! The table of all routes, for the index, for redirections and for the metrics.

use serde::Serialize;

/// A path of the API with its methods. In the path, `{id}` stands for a percent-encoded stream id.
#[derive(Serialize)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) methods: &'static [&'static str],
}

const READ: &[&str] = &["GET", "HEAD"];

/// All routes of the API, the health checks and the metrics. A test compares them with the routes of `api`.
pub(super) const ROUTES: [Route; 22] = [
    Route { path: "/api/v1", methods: READ },
    Route { path: "/openapi.json", methods: READ },
    Route { path: "/api/v1/streams", methods: &["GET", "HEAD", "POST"] },
    Route { path: "/api/v1/streams/{id}", methods: &["GET", "HEAD", "PUT", "PATCH", "DELETE"] },
    Route { path: "/api/v1/streams/{id}/heartbeat", methods: &["POST"] },
    Route { path: "/api/v1/streams/{id}/status", methods: &["PUT"] },
    Route { path: "/api/v1/streams/{id}/stats", methods: &["PUT"] },
    Route { path: "/api/v1/stream", methods: &["GET", "HEAD", "PUT", "PATCH", "DELETE"] },
    Route { path: "/api/v1/stream/heartbeat", methods: &["POST"] },
    Route { path: "/api/v1/stream/status", methods: &["PUT"] },
    Route { path: "/api/v1/stream/stats", methods: &["PUT"] },
    Route { path: "/api/v1/heartbeats", methods: &["POST"] },
    Route { path: "/api/v1/summary", methods: READ },
    Route { path: "/api/v1/snapshot", methods: READ },
    Route { path: "/api/v1/events", methods: READ },
    Route { path: "/api/v1/history", methods: READ },
    Route { path: "/api/v1/sd", methods: READ },
    Route { path: "/api/v1/info", methods: READ },
    Route { path: "/healthz", methods: READ },
    Route { path: "/readyz", methods: READ },
    Route { path: "/metrics", methods: READ },
    Route { path: "/metrics/streams", methods: READ },
];

/// The paths of the dashboard and of the page of the API.
pub(super) const PAGES: [&str; 3] = ["/", "/docs", "/assets/{*file}"];

/// Returns all paths.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|route| route.path).chain(PAGES)
}
