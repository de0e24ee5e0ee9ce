//! A receiver of webhooks, and webhooks that run in the process of the test.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use stream_registry::Registry;
use stream_registry::http::post::Poster;
use stream_registry::query::Filter;
use streamreg::webhook::{Kinds, Retry, Secrets, Webhook, Webhooks};
use testkit::{TestTls, free_port, wait_until};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::http::kit::{PATIENCE, within};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One request that a receiver has got.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// The status of the response.
    pub(crate) status: u16,
}

impl Delivery {
    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn event(&self) -> String {
        self.json()["data"]["event"].as_str().unwrap().to_owned()
    }

    /// Returns the id of the stream; an empty string for a resync.
    pub(crate) fn stream(&self) -> String {
        self.json()["data"]["stream"]["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns the signature of the request by a secret.
    pub(crate) fn signature(&self, secret: &str) -> String {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let content = format!("{}.{}.{}", self.id(), self.headers["webhook-timestamp"], self.body);
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key), content.as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }

    /// Returns whether a secret has signed the request.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let expected = self.signature(secret);
        self.headers["webhook-signature"].split(' ').any(|signature| signature == expected)
    }
}

/// How a receiver responds.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) delay: Duration,
    pub(crate) is_endless: bool,
}

impl From<u16> for Reply {
    fn from(status: u16) -> Self {
        Self { status, headers: Vec::new(), delay: Duration::ZERO, is_endless: false }
    }
}

type Respond = dyn Fn(&Delivery, usize) -> Reply + Send + Sync;

#[derive(Default)]
struct Received {
    deliveries: Vec<Delivery>,
    /// Number of requests with each id.
    attempts: HashMap<String, usize>,
    /// The ids of accepted requests.
    accepted: HashSet<String>,
    /// Number of requests that wait for their response, and the largest such number.
    waiting: usize,
    most_waiting: usize,
}

/// A receiver. Dropping this value closes its port and its connections.
pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    received: Arc<Mutex<Received>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Starts a receiver that accepts every request.
    pub(crate) async fn start() -> Self {
        Self::answering(|_, _| 204.into()).await
    }

    /// Starts a receiver with the response to each request. The number counts the earlier requests with the same id.
    pub(crate) async fn answering(respond: impl Fn(&Delivery, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::at((std::net::Ipv4Addr::LOCALHOST, free_port()).into(), None, respond).await
    }

    pub(crate) async fn with_tls(tls: &TestTls) -> Self {
        let key = PrivateKeyDer::from_pem_file(tls.server_key()).unwrap();
        let cert = CertificateDer::from_pem_file(tls.server_cert()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let addr = (std::net::Ipv4Addr::LOCALHOST, free_port()).into();
        Self::at(addr, Some(TlsAcceptor::from(Arc::new(config))), |_, _| 204.into()).await
    }

    /// Starts a receiver at an address.
    pub(crate) async fn at(
        addr: SocketAddr,
        tls: Option<TlsAcceptor>,
        respond: impl Fn(&Delivery, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let received = Arc::<Mutex<Received>>::default();
        let (shared, respond): (_, Arc<Respond>) = (Arc::clone(&received), Arc::new(respond));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (received, respond, tls) = (Arc::clone(&shared), Arc::clone(&respond), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(socket, received, respond).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, received, respond).await;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, received, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks?key=s3cret", self.addr)
    }

    /// Returns all requests so far.
    pub(crate) fn all(&self) -> Vec<Delivery> {
        self.received.lock().unwrap().deliveries.clone()
    }

    /// Returns the accepted requests, without repetitions.
    pub(crate) fn accepted(&self) -> Vec<Delivery> {
        let mut seen = HashSet::new();
        let accepted = self.all().into_iter().filter(|delivery| delivery.status < 300);
        accepted.filter(|delivery| seen.insert(delivery.id().to_owned())).collect()
    }

    /// Returns the events and streams of the accepted requests.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        self.accepted().iter().map(|delivery| (delivery.event(), delivery.stream())).collect()
    }

    /// Waits until this many different events were accepted.
    pub(crate) async fn accepted_at_least(&self, count: usize) -> Vec<Delivery> {
        wait_until(PATIENCE, async || self.received.lock().unwrap().accepted.len() >= count).await;
        self.accepted()
    }

    /// Returns the largest number of requests that were waiting for a response.
    pub(crate) fn most_concurrent(&self) -> usize {
        self.received.lock().unwrap().most_waiting
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, received: Arc<Mutex<Received>>, respond: Arc<Respond>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (received, respond) = (Arc::clone(&received), Arc::clone(&respond));
        async move {
            let headers = request.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
            assert_eq!(request.method(), "POST");
            let path = request.uri().to_string();
            let body = String::from_utf8(request.into_body().collect().await?.to_bytes().to_vec()).unwrap();
            let mut delivery = Delivery { path, headers, body, status: 0 };
            let reply = {
                let mut received = received.lock().unwrap();
                let attempts = received.attempts.entry(delivery.id().to_owned()).or_default();
                *attempts += 1;
                let reply = respond(&delivery, *attempts - 1);
                delivery.status = reply.status;
                if reply.status < 300 {
                    received.accepted.insert(delivery.id().to_owned());
                }
                received.deliveries.push(delivery);
                received.waiting += 1;
                received.most_waiting = received.most_waiting.max(received.waiting);
                reply
            };
            tokio::time::sleep(reply.delay).await;
            received.lock().unwrap().waiting -= 1;
            let mut response = Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            let endless =
                futures_util::stream::repeat_with(|| Ok(hyper::body::Frame::data(Bytes::from_static(&[0; 1024]))));
            let body: BoxBody<Bytes, hyper::Error> = match reply.is_endless {
                true => http_body_util::StreamBody::new(endless).boxed(),
                false => Full::default().map_err(|never| match never {}).boxed(),
            };
            Ok::<_, hyper::Error>(response.body(body).unwrap())
        }
    });
    // A client may close its connection at any time.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

/// Pauses that are short enough for tests.
pub(crate) fn quick() -> Retry {
    let mut retry = Retry::default();
    retry.first_pause = Duration::from_millis(5);
    retry.longest_pause = Duration::from_millis(50);
    retry
}

/// A webhook for all events.
pub(crate) fn webhook(name: &str, url: &str) -> Webhook {
    Webhook {
        name: name.to_owned(),
        poster: Poster::new(url, None).unwrap(),
        secrets: Secrets::parse(SECRET).unwrap(),
        kinds: Kinds::default(),
        filter: Filter::default(),
    }
}

/// Running webhooks. Dropping this value aborts them, as a crash would.
pub(crate) struct Hooks {
    pub(crate) webhooks: Webhooks,
    stop: watch::Sender<bool>,
}

impl Hooks {
    pub(crate) async fn start(dir: &Path, registry: &Arc<dyn Registry>, webhooks: Vec<Webhook>) -> Self {
        Self::with(dir, registry, webhooks, quick()).await.unwrap()
    }

    pub(crate) async fn with(
        dir: &Path,
        registry: &Arc<dyn Registry>,
        webhooks: Vec<Webhook>,
        retry: Retry,
    ) -> Result<Self, String> {
        let (stop, stopped) = watch::channel(false);
        let webhooks = Webhooks::start(webhooks, dir, registry, retry, Duration::from_secs(10), &stopped).await?;
        Ok(Self { webhooks, stop })
    }

    /// Stops the webhooks as a server does.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        within(self.webhooks.finished()).await;
    }

    /// Returns the number of events of the first webhook by result.
    pub(crate) fn results(&self) -> [u64; 3] {
        self.webhooks.figures()[0].results().map(|(_, count)| count)
    }
}

pub(crate) fn position_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("webhook-{name}.position"))
}

/// Sends nothing to this address, because no server listens there.
pub(crate) async fn dead_url() -> String {
    let url = format!("http://127.0.0.1:{}/", free_port());
    assert!(TcpStream::connect(url.trim_start_matches("http://").trim_end_matches('/')).await.is_err());
    url
}
