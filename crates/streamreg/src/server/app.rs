//! Assembles the routes, the state, and the checks of every request.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Request, Uri};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use stream_registry::Registry;
use stream_registry::metrics::counted;
use tokio::sync::Semaphore;

use super::access::Access;
use super::bodies::Bodies;
use super::lists::Lists;
use super::metrics::Metrics;
use super::options::ServeOptions;
use super::problem::{self, Failure};
use super::request_id::{self, RequestId};
use super::state::{App, LastRefusal, State};
use super::{api, descriptors, log, openapi};
use crate::dashboard;

/// Maximum number of histories that are read at the same time. Each one occupies a thread for a part of the time, so a
/// greater number would delay all other requests.
const CONCURRENT_HISTORIES: usize = 4;

/// Maximum number of event readers in the queue of the runtime.
const CONCURRENT_TURNS: usize = 4;

/// The routes of the whole server, and the checks that apply to every request.
///
/// Layers of the router would do the same, but each layer copies all inner layers and allocates a future for every
/// request. Three layers took a third of the time of a small request.
#[derive(Clone, Debug)]
pub(super) struct Service {
    app: App,
    router: TowerToHyperService<Router>,
}

impl Service {
    /// Must be called within a Tokio runtime.
    pub(super) fn new(registry: Arc<dyn Registry>, mut options: ServeOptions) -> Self {
        let access = Access::new(&mut options, &registry.info());
        let event_reader_limit = descriptors::reader_limit(options.event_readers).min(Semaphore::MAX_PERMITS);
        let app = App::from(State {
            registry: Arc::new(Lists::new(counted(registry), options.max_view_age)),
            event_readers: Arc::new(Semaphore::new(event_reader_limit)),
            event_reader_limit,
            event_turns: Arc::new(Semaphore::new(CONCURRENT_TURNS)),
            histories: Arc::new(Semaphore::new(CONCURRENT_HISTORIES)),
            access,
            options,
            bodies: Bodies::default(),
            rejected: Default::default(),
            metrics: Metrics::new(),
            refusal: LastRefusal::default(),
        });
        let router = Router::new()
            .merge(api::routes())
            .merge(dashboard::routes(openapi::page()))
            .fallback(async |uri: Uri| api::index::without_slash(&uri).ok_or_else(|| Failure::unknown_path(uri.path())))
            // API routes have their own fallbacks. This fallback is for the dashboard.
            .method_not_allowed_fallback(async || Failure::method_not_allowed("GET, HEAD"))
            .with_state(app.clone());
        Self { app, router: TowerToHyperService::new(router) }
    }

    /// Uses each new content of the files with tokens. Returns if the tokens do not come from files.
    pub(super) async fn follow_access(self) {
        self.app.access.follow().await;
    }

    /// Checks a request, lets the router respond, and logs the request.
    pub(super) async fn respond(self, mut request: Request<Incoming>) -> Response {
        let id = RequestId::of(&request);
        let asks_for_options = request.method() == Method::OPTIONS;
        let received = log::Received::now(&request);
        let labels = self.app.metrics.requests.labels(&request);
        let access = &self.app.access;
        let origin = access.begin(&request);
        let mut response = match access.check(&mut request, &id) {
            Some(response) => response,
            None => match self.router.call(request).await {
                Ok(response) if asks_for_options => api::index::options(response),
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        problem::describe(&mut response, id.as_str(), received.path());
        access.finish(origin, &mut response);
        let duration = received.elapsed();
        self.app.metrics.requests.answered(labels, response.status(), duration);
        received.log(&response, duration, id.as_str(), &self.app.refusal);
        response.headers_mut().insert(request_id::HEADER, id.into_header());
        response
    }
}
