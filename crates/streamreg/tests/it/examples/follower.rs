//! The followers: each keeps a table of all live streams.

use testkit::FaultProxy;
use tokio::runtime::Runtime;

use super::in_each_language;
use super::kit::{Language, READ, Registry};
use crate::cli::Running;

const SOURCE: &str = "203.0.113.7:40112";

in_each_language! {
    follower_resumes_after_a_lost_connection,
    follower_reads_the_list_again_when_the_store_was_restarted,
    follower_fails_when_the_server_rejects_its_token,
}

/// Waits for a line about a stream.
#[track_caller]
fn expect(follower: &Running, language: Language, what: &str, id: &str, live: usize) {
    let line = follower.line_with(&format!(" {id} "));
    let expected = format!("{what} {id} {SOURCE}");
    // The follower in the shell has no table.
    assert_eq!(line, if language == Language::Curl { expected } else { format!("{expected}: {live} live") });
}

fn follower_resumes_after_a_lost_connection(language: Language) {
    let registry = Registry::start("5m");
    registry.register("a", SOURCE);
    let runtime = Runtime::new().unwrap();
    let proxy = runtime.block_on(FaultProxy::start(registry.address.parse().unwrap()));
    let follower = language.start("follower", &[], &proxy.addr().to_string(), READ);
    expect(&follower, language, "live", "a", 1);
    registry.register("b", SOURCE);
    expect(&follower, language, "registered", "b", 2);
    registry.run(&["set", "b", "--status", "active"]).unwrap();
    expect(&follower, language, "status", "b", 2);
    registry.run(&["unregister", "a"]).unwrap();
    expect(&follower, language, "unregistered", "a", 1);
    runtime.block_on(proxy.refuse());
    registry.register("c", SOURCE);
    registry.run(&["unregister", "b"]).unwrap();
    runtime.block_on(proxy.resume());
    // If the follower read the list again, it would print that `c` is live, and nothing about `b`.
    expect(&follower, language, "registered", "c", 2);
    expect(&follower, language, "unregistered", "b", 1);
}

fn follower_reads_the_list_again_when_the_store_was_restarted(language: Language) {
    let mut registry = Registry::start("5m");
    registry.register("a", SOURCE);
    let follower = language.start("follower", &[], &registry.address, READ);
    expect(&follower, language, "live", "a", 1);
    registry.restart();
    registry.register("b", SOURCE);
    // The stream `a` is not live any more.
    expect(&follower, language, "live", "b", 1);
    registry.register("c", SOURCE);
    expect(&follower, language, "registered", "c", 2);
}

fn follower_fails_when_the_server_rejects_its_token(language: Language) {
    let registry = Registry::start("5m");
    let mut follower = language.start("follower", &[], &registry.address, "guess");
    follower.line_with("401");
    assert_eq!(follower.ended(), Some(1));
}
