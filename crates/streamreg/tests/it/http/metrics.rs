//! Tests `/metrics`, `/metrics/streams`, service discovery, and the alerts and the dashboard made of these metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use stream_registry::{MemoryRegistry, Registry, StreamStatus};
use streamreg::server::ServeOptions;
use testkit::{Data, wait_until};

use super::events::Events;
use super::kit::{CAM, PATIENCE, Server, id, stream};
use crate::readme::blocks;
use crate::redis::TestRedis;
use crate::webhook::kit::{Hooks, Receiver, dead_url, webhook};

/// The samples of a response, by name and labels as written.
struct Samples(BTreeMap<String, f64>);

impl Samples {
    async fn read(server: &Server, path: &str) -> Self {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| line.rsplit_once(' ').unwrap());
        Self(samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect())
    }

    #[track_caller]
    fn get(&self, sample: &str) -> f64 {
        *self.0.get(sample).unwrap_or_else(|| panic!("no {sample} in {:#?}", self.0))
    }

    /// Returns the samples whose name is `metric`.
    fn of<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let named = move |(sample, _): &(&String, _)| sample.split('{').next() == Some(metric);
        self.0.iter().filter(named).map(|(sample, value)| (sample.as_str(), *value))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs `promtool` with a text as its input, and asserts that it finds no fault.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is missing; run scripts/setup");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !text.contains("error"), "promtool {arguments:?}: {text}");
}

/// Returns the name and the kind of each metric, with the labels of its samples.
fn described(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut metrics = BTreeMap::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').unwrap();
            metrics.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        }
    }
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let (_, (_, names)) = metrics.iter_mut().rfind(|(metric, _)| name.starts_with(metric.as_str())).unwrap();
        let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
        names.extend(labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le"));
    }
    metrics
}

/// Returns a server whose metrics all have samples, and the Redis of its store.
async fn busy_server() -> (Server, TestRedis) {
    let (redis, dir, receiver) = (TestRedis::start().await, tempfile::tempdir().unwrap(), Receiver::start().await);
    let registry: Arc<dyn Registry> = Arc::new(redis.store().await);
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    let mut options = ServeOptions::default();
    options.webhooks = hooks.webhooks.figures();
    let server = Server::start(registry, options).await;
    server.json("POST", "/api/v1/streams", CAM).await;
    server.json("PATCH", "/api/v1/streams/cam1", r#"{"node":"n1"}"#).await;
    server.json("PUT", "/api/v1/streams/cam1/stats", r#"{"viewers":3,"bitrate":800}"#).await;
    server.request("POST", "/api/v1/streams/missing/heartbeat", &[], "").await;
    wait_until(PATIENCE, async || {
        let samples = Samples::read(&server, "/metrics").await;
        samples.of("streamreg_webhook_last_status").count() == 1
            && samples.of("streamreg_feed_lag_seconds").count() == 1
            && samples.of("streamreg_streams").any(|(_, n)| n > 0.0)
    })
    .await;
    (server, redis)
}

#[tokio::test]
async fn metrics_count_the_operations_of_a_server() {
    let (server, registry) = Server::memory().await;
    server.json("POST", "/api/v1/streams", CAM).await;
    server.json("POST", "/api/v1/streams", CAM).await;
    server
        .json("POST", "/api/v1/streams", &CAM.replace("203.0.113.7", "198.51.100.1"))
        .await
        .problem(409, "already_exists");
    server.request("POST", "/api/v1/streams/cam1/heartbeat", &[], "").await;
    let batch = r#"{"streams":[{"id":"cam1"},{"id":"missing"},{"id":"cam1"},{"id":"cam2","wrong":1}]}"#;
    assert_eq!(server.json("POST", "/api/v1/heartbeats", batch).await.status, 200);
    server.json("PUT", "/api/v1/streams/cam1/status", r#"{"status":"active"}"#).await;
    server.get("/api/v1/streams/cam1").await;
    server.get("/api/v1/streams/missing").await;
    registry.register(&stream("other")).await.unwrap();
    server.request("DELETE", "/api/v1/streams/other", &[], "").await;
    let _events = Events::open(&server, "", "").await;
    wait_until(PATIENCE, async || {
        Samples::read(&server, "/metrics").await.get(r#"streamreg_ended_total{reason="unregistered"}"#) == 1.0
    })
    .await;

    let samples = Samples::read(&server, "/metrics").await;
    for (sample, expected) in [
        (r#"streamreg_streams{status="active",type="srt"}"#, 1.0),
        (r#"streamreg_streams{status="connecting",type="srt"}"#, 0.0),
        (r#"streamreg_changes_total{kind="registered"}"#, 2.0),
        (r#"streamreg_changes_total{kind="status"}"#, 1.0),
        (r#"streamreg_ended_total{reason="expired"}"#, 0.0),
        (r#"streamreg_registrations_total{result="created"}"#, 1.0),
        (r#"streamreg_registrations_total{result="renewed"}"#, 1.0),
        (r#"streamreg_registrations_total{result="rejected"}"#, 1.0),
        (r#"streamreg_registrations_total{result="failed"}"#, 0.0),
        // One alone, one in the batch, and the invalid items that became heartbeats.
        (r#"streamreg_writes_total{change="heartbeat",result="ok"}"#, 2.0),
        (r#"streamreg_writes_total{change="heartbeat",result="not_found"}"#, 2.0),
        (r#"streamreg_writes_total{change="status",result="ok"}"#, 1.0),
        (r#"streamreg_operation_duration_seconds_count{op="heartbeat",store="memory"}"#, 1.0),
        (r#"streamreg_operation_duration_seconds_count{op="write",store="memory"}"#, 1.0),
        (r#"streamreg_operation_duration_seconds_count{op="register",store="memory"}"#, 3.0),
        (r#"streamreg_operation_duration_seconds_bucket{op="get",store="memory",le="+Inf"}"#, 2.0),
        (r#"streamreg_operation_errors_total{op="get",error="not_found"}"#, 1.0),
        (r#"streamreg_store_up{node="memory"}"#, 1.0),
        ("streamreg_store_reconnects_total", 0.0),
        ("streamreg_event_readers", 1.0),
        ("streamreg_event_readers_limit", 1_000.0),
        (r#"streamreg_rejected_batch_items_total{kind="duplicate"}"#, 1.0),
        (r#"streamreg_rejected_batch_items_total{kind="field"}"#, 1.0),
        (r#"streamreg_rejected_batch_items_total{kind="id"}"#, 0.0),
        (r#"streamreg_http_requests_total{method="POST",route="/api/v1/streams",code="201"}"#, 1.0),
        (r#"streamreg_http_requests_total{method="POST",route="/api/v1/streams",code="409"}"#, 1.0),
        (r#"streamreg_http_requests_total{method="GET",route="/api/v1/streams/{id}",code="404"}"#, 1.0),
        (r#"streamreg_http_request_duration_seconds_count{route="/api/v1/streams/{id}/heartbeat"}"#, 1.0),
        (r#"streamreg_build_info{version="0.1.0",store="memory"}"#, 1.0),
    ] {
        assert_eq!(samples.get(sample), expected, "{sample}");
    }
    assert!(samples.get("streamreg_view_age_seconds") < PATIENCE.as_secs_f64());
    let started = samples.get("process_start_time_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 3_600.0..=now).contains(&started), "{started}");
    server.get("/metrics?streams=true").await.problem(400, "invalid");
    server.json("POST", "/metrics", "{}").await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn metrics_show_what_each_webhook_delivers() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let webhooks = vec![webhook("good", &receiver.url()), webhook("dead", &dead_url().await)];
    let hooks = Hooks::start(dir.path(), &registry, webhooks).await;
    let mut options = ServeOptions::default();
    options.webhooks = hooks.webhooks.figures();
    let server = Server::start(registry.clone(), options).await;
    let before = Samples::read(&server, "/metrics").await;
    assert_eq!(before.of("streamreg_webhook_last_status").count(), 0);
    assert_eq!(before.get(r#"streamreg_webhook_lag_seconds{webhook="dead"}"#), 0.0);
    registry.register(&stream("cam1")).await.unwrap();
    let retried = r#"streamreg_webhook_deliveries_total{webhook="dead",result="retried"}"#;
    let delivered = r#"streamreg_webhook_deliveries_total{webhook="good",result="delivered"}"#;
    wait_until(PATIENCE, async || {
        let samples = Samples::read(&server, "/metrics").await;
        samples.get(retried) >= 2.0 && samples.get(delivered) == 1.0
    })
    .await;
    let samples = Samples::read(&server, "/metrics").await;
    for (metric, dead, good) in [("last_status", 0.0, 204.0), ("pending_events", 1.0, 0.0)] {
        let get = |name: &str| samples.get(&format!("streamreg_webhook_{metric}{{webhook=\"{name}\"}}"));
        assert_eq!((get("dead"), get("good")), (dead, good), "{metric}");
    }
    assert!(samples.get(r#"streamreg_webhook_lag_seconds{webhook="dead"}"#) > 0.0);
    assert_eq!(samples.get(r#"streamreg_webhook_lag_seconds{webhook="good"}"#), 0.0);
}

#[tokio::test]
async fn scrape_succeeds_while_the_store_is_down() {
    let mut redis = TestRedis::start().await;
    let server = Server::start(Arc::new(redis.store().await), ServeOptions::default()).await;
    let node = redis.server.url().trim_start_matches("redis://").to_owned();
    let up = format!("streamreg_store_up{{node=\"{node}\"}}");
    assert_eq!(Samples::read(&server, "/metrics").await.get(&up), 1.0);
    redis.server.kill();
    wait_until(PATIENCE, async || Samples::read(&server, "/metrics").await.get(&up) == 0.0).await;
    let failed = r#"streamreg_operation_errors_total{op="ping",error="unavailable"}"#;
    wait_until(PATIENCE, async || Samples::read(&server, "/metrics").await.get(failed) > 0.0).await;
    redis.server.restart(Data::Kept).await;
    wait_until(PATIENCE, async || Samples::read(&server, "/metrics").await.get(&up) == 1.0).await;
    let samples = Samples::read(&server, "/metrics").await;
    assert!(samples.get("streamreg_store_reconnects_total") >= 1.0);
    wait_until(PATIENCE, async || Samples::read(&server, "/metrics").await.get("streamreg_sweep_lag_seconds") < 2.0)
        .await;
}

#[tokio::test]
async fn feed_lag_grows_while_the_store_hangs() {
    let (server, redis) = busy_server().await;
    let lag = r#"streamreg_feed_lag_seconds{shard="0"}"#;
    assert!(Samples::read(&server, "/metrics").await.get(lag) < 4.0);
    redis.server.pause();
    wait_until(PATIENCE, async || {
        let samples = Samples::read(&server, "/metrics").await;
        samples.get(lag) > 4.0 && samples.get("streamreg_sweep_lag_seconds") > 4.0
    })
    .await;
}

#[tokio::test]
async fn number_of_series_is_limited_whatever_clients_send() {
    let (server, registry) = Server::memory().await;
    for number in 0..100 {
        let mut hostile = stream(&format!("cam{number}"));
        hostile.kind = format!("type{number}").parse().unwrap();
        hostile.status = format!("status{number}").parse().unwrap();
        hostile.node = Some(format!("node{number}"));
        registry.register(&hostile).await.unwrap();
        server.request(&format!("M{number}"), &format!("/{number}"), &[], "").await;
    }
    let hostile = r#"streamreg_streams{status="other",type="other"}"#;
    wait_until(PATIENCE, async || Samples::read(&server, "/metrics").await.0.get(hostile) == Some(&100.0)).await;
    let samples = Samples::read(&server, "/metrics").await;
    assert_eq!(samples.of("streamreg_streams").count(), 11);
    let requests: Vec<_> = samples.of("streamreg_http_requests_total").map(|(sample, _)| sample).collect();
    let unmatched = requests.iter().filter(|sample| sample.contains(r#"route="unmatched""#)).count();
    assert!(unmatched <= 2 && requests.len() <= 3, "{requests:?}");
    assert!(samples.0.len() < 250, "{} samples", samples.0.len());
}

#[tokio::test]
async fn metrics_of_single_streams_are_limited_and_filtered() {
    let (server, registry) = Server::memory().await;
    let mut cam = stream("a\"b");
    (cam.node, cam.bitrate, cam.viewers) = (Some("n1".into()), 8_000, Some(2));
    registry.register(&cam).await.unwrap();
    for number in 0..5 {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    let samples = Samples::read(&server, "/metrics/streams?node=n1").await;
    let labels = r#"{id="a\"b",node="n1",type="srt"}"#;
    assert_eq!(samples.get(&format!("streamreg_stream_bytes_per_second{labels}")), 1_000.0);
    assert_eq!(samples.get(&format!("streamreg_stream_viewers{labels}")), 2.0);
    assert!(samples.get(&format!("streamreg_stream_heartbeat_age_seconds{labels}")) < 60.0);
    assert_eq!(samples.get("streamreg_streams_omitted"), 0.0);
    let samples = Samples::read(&server, "/metrics/streams?limit=2&sort=-bitrate").await;
    assert_eq!(samples.of("streamreg_stream_received_bytes_total").count(), 2);
    assert!(samples.0.contains_key(&format!("streamreg_stream_viewers{labels}")));
    assert_eq!(samples.get("streamreg_streams_omitted"), 4.0);
    server.get("/metrics/streams?wrong=1").await.problem(400, "invalid");
}

#[tokio::test]
async fn metrics_pass_the_linter_of_prometheus_in_its_format() {
    let (server, _redis) = busy_server().await;
    for path in ["/metrics", "/metrics/streams"] {
        let text = server.get(path).await.body;
        promtool(&["check", "metrics"], &text);
        let accept = [("Accept", "application/openmetrics-text;version=1.0.0")];
        let open_metrics = server.request("GET", path, &accept, "").await;
        assert_eq!(open_metrics.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(open_metrics.body.ends_with("\n# EOF\n"));
        // Only the names of counters and the last line differ.
        let names = |text: &str| described(text).into_keys().map(|name| name.replace("_total", "")).collect::<Vec<_>>();
        assert_eq!(names(&open_metrics.body), names(&text));
    }
}

#[tokio::test]
async fn service_discovery_lists_the_nodes_that_have_streams() {
    let (server, registry) = Server::memory().await;
    assert_eq!(server.get("/api/v1/sd").await.json(), json!([]));
    for (name, node) in [("a", "ingest1.example"), ("b", "ingest1.example"), ("c", "2001:db8::1")] {
        let mut cam = stream(name);
        cam.node = Some(node.into());
        registry.register(&cam).await.unwrap();
    }
    registry.register(&stream("without-node")).await.unwrap();
    let answer = server.get("/api/v1/sd?port=9100").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let group = |target: &str, node: &str, streams: &str| {
        let labels = json!({"__meta_streamreg_node": node, "__meta_streamreg_streams": streams});
        json!({"targets": [target], "labels": labels})
    };
    let expected =
        json!(
            [group("[2001:db8::1]:9100", "2001:db8::1", "1"), group("ingest1.example:9100", "ingest1.example", "2"),]
        );
    assert_eq!(answer.json(), expected);
    assert_eq!(server.get("/api/v1/sd").await.json()[1]["targets"], json!(["ingest1.example"]));
    for port in ["0", "65536", "x", ""] {
        server.get(&format!("/api/v1/sd?port={port}")).await.problem(400, "invalid");
    }
}

/// Returns the names of metrics in PromQL.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let metrics = words.filter(|word| word.starts_with("streamreg_") || *word == "process_start_time_seconds");
    let base = |word: &str| {
        let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|suffix| word.ends_with(suffix));
        word.strip_suffix(suffix.unwrap_or_default()).unwrap_or(word).to_owned()
    };
    metrics.map(base).collect()
}

#[tokio::test]
async fn alerts_and_dashboard_name_only_metrics_that_exist() {
    let (server, _) = Server::memory().await;
    let known: BTreeSet<_> = described(&server.get("/metrics").await.body).into_keys().collect();
    let alerts = read("contrib/prometheus/alerts.yml");
    let dashboard = read("contrib/grafana/streamreg.json");
    for (file, text, least) in [("alerts", &alerts, 10), ("dashboard", &dashboard, 18)] {
        let named = names_in(text);
        assert!(named.len() >= least, "only {} metrics in the {file}", named.len());
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "the {file} name unknown metrics: {unknown:?}");
    }
    let path = root().join("contrib/prometheus/alerts.yml");
    promtool(&["check", "rules", path.to_str().unwrap()], "");

    // Each query of the dashboard must be valid, too. Grafana replaces its variables before it sends a query.
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m").replace("$job", "streamreg"));
    let rules: Vec<_> =
        queries.enumerate().map(|(index, query)| json!({"record": format!("query{index}"), "expr": query})).collect();
    assert!(rules.len() > 15, "{} queries", rules.len());
    let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    fs::write(file.path(), json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", file.path().to_str().unwrap()], "");
}

#[test]
fn scrape_configurations_in_the_documentation_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("alerts.yml"), read("contrib/prometheus/alerts.yml")).unwrap();
    let file = folder.path().join("prometheus.yml");
    let page = read("docs/metrics.md");
    let configurations: Vec<_> = blocks(&page).into_iter().filter(|(language, ..)| *language == "yaml").collect();
    assert_eq!(configurations.len(), 3);
    for (_, _, job) in configurations {
        let whole = if job.starts_with("scrape_configs:") { job } else { format!("scrape_configs:\n{job}") };
        fs::write(&file, whole).unwrap();
        promtool(&["check", "config", file.to_str().unwrap()], "");
    }
}

#[tokio::test]
async fn documentation_lists_every_metric_with_its_kind_and_labels() {
    let (server, _redis) = busy_server().await;
    let mut actual = described(&server.get("/metrics").await.body);
    actual.extend(described(&server.get("/metrics/streams").await.body));
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split(" | ").collect();
            let labels = cells[2].split(", ").filter(|label| !label.is_empty());
            let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect::<BTreeSet<_>>();
            (cells[0].trim_end_matches('`').to_owned(), (cells[1].to_owned(), labels))
        })
        .collect();
    assert_eq!(documented, actual);
}

#[tokio::test]
async fn scrape_of_many_streams_is_as_short_as_of_few() {
    let registry = Arc::new(MemoryRegistry::new());
    for number in 0..20_000 {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    registry.update_status(&id("cam1"), StreamStatus::Active).await.unwrap();
    let connecting = r#"streamreg_streams{status="connecting",type="srt"}"#;
    wait_until(PATIENCE, async || Samples::read(&server, "/metrics").await.get(connecting) == 19_999.0).await;
    assert!(server.get("/metrics").await.body.len() < 32 * 1024);
}
