//! A registry with as many shards as possible: its revisions and cursors are the longest.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::num::NonZeroU32;
use std::process::Stdio;

use serde_json::Value;
use stream_registry::Registry as _;
use stream_registry::watch::WatchFrom;
use streamreg::server::ServeOptions;
use testkit::ClusterSet;
use tokio::time::timeout;

use super::{TIMEOUT, connect_to, register_all};
use crate::cli::program;
use crate::http::events::Events;
use crate::http::kit::Server;

const STREAMS: usize = 640;

/// Returns the ids of the next events.
async fn ids_of(events: &mut Events, count: usize) -> (BTreeSet<String>, String) {
    let mut ids = BTreeSet::new();
    let mut revision = String::new();
    while ids.len() < count {
        let (id, event) = events.next_change().await;
        assert_eq!(event["event"], "registered", "{event}");
        ids.insert(event["stream"]["id"].as_str().unwrap().to_owned());
        revision = id;
    }
    (ids, revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn revision_of_64_shards_is_accepted_wherever_a_reader_can_resume() {
    let cluster = ClusterSet::builder().primaries(1).replicas(0).start().await;
    let registry = connect_to(&format!("{}?shards=64", cluster.url())).await;
    register_all(&registry, (0..STREAMS).map(|n| format!("cam{n}"))).await;
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let (read, revision) = ids_of(&mut Events::open(&server, "?from=oldest", "").await, STREAMS / 2).await;
    assert!(revision.len() > 400, "{revision}");
    let all: BTreeSet<_> = (0..STREAMS).map(|n| format!("cam{n}")).collect();
    let rest: BTreeSet<_> = all.difference(&read).cloned().collect();

    let by_query = (format!("?from={revision}"), String::new());
    let by_header = (String::new(), format!("Last-Event-ID: {revision}\r\n"));
    for (query, headers) in [by_query, by_header] {
        let mut events = Events::open(&server, &query, &headers).await;
        assert_eq!(ids_of(&mut events, rest.len()).await.0, rest, "{query:.20} {headers:.20}");
    }
    let client = server.client().await;
    let from = WatchFrom::Revision(revision.parse().unwrap());
    for mut watch in [registry.watch(from.clone()).await.unwrap(), client.watch(from).await.unwrap()] {
        let mut ids = BTreeSet::new();
        while ids.len() < rest.len() {
            let event = timeout(TIMEOUT, watch.next()).await.unwrap().unwrap();
            ids.extend(event.stream().map(|stream| stream.id.to_string()));
        }
        assert_eq!(ids, rest);
    }
    let (count, url) = (rest.len(), format!("http://{}", server.addr));
    let printed = tokio::task::spawn_blocking(move || {
        let args = ["watch", "--store", &url, "--from", &revision, "-o", "jsonl"];
        let mut watch = program(&args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        let events = lines.take(count).map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let ids = events.map(|event| event["stream"]["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
        watch.kill().unwrap();
        watch.wait().unwrap();
        ids
    });
    assert_eq!(timeout(TIMEOUT, printed).await.unwrap().unwrap(), rest);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_64_shards_contain_every_stream() {
    let cluster = ClusterSet::builder().primaries(1).replicas(0).start().await;
    let registry = connect_to(&format!("{}?shards=64", cluster.url())).await;
    register_all(&registry, (0..STREAMS).map(|n| format!("cam{n}"))).await;
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let (mut ids, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = registry.list_page(cursor.as_ref(), NonZeroU32::new(7).unwrap()).await.unwrap();
        assert_eq!(page.total, STREAMS as u64);
        ids.extend(page.streams.into_iter().map(|stream| stream.id.to_string()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(ids.len(), STREAMS);
    let (mut ids, mut query) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/api/v1/streams?limit=50{query}")).await.json();
        ids.extend(page["streams"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => query = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (STREAMS, STREAMS));
}
