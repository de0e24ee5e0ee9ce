//! What the dashboard shows while the server does not answer, and after that.

use std::time::{Duration, Instant};

use stream_registry::StreamStatus;

use super::browser::Tab;
use super::{DESK, IDS, OUTAGE, SIGN, STREAMS, add};
use crate::http::kit::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_disappears_soon_after_the_server_is_back() {
    let (mut server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    // A pause of the feed above 2 s would last a minute. Its timers are the only ones that resolve a promise.
    let slow = "const wait = setTimeout;
        globalThis.setTimeout = (run, ms) => wait(run, ms > 2000 && /native code/.test(run) ? 60000 : ms);
        globalThis.failures = 0;
        const request = fetch;
        globalThis.fetch = (path, options) => request(path, options).catch((error) => {
          if (String(path).includes('/events')) failures += 1;
          throw error;
        });";
    let tab = Tab::open_observed(&format!("http://{}/", server.addr), DESK, slow);
    tab.until(&format!("{STREAMS} && {SIGN} === 'Live'"));
    // The feed has failed so often that it would pause for longer.
    server.restart(registry.clone(), async { tab.until(&format!("{OUTAGE} && failures >= 3")) }).await;
    let back = Instant::now();
    tab.until(&format!("!({OUTAGE}) && {SIGN} === 'Live'"));
    // The pause is at most 2 s. The rest is time for a busy machine.
    assert!(back.elapsed() < Duration::from_secs(6), "{:?}", back.elapsed());
    add(&*registry, "cam2", StreamStatus::Active).await;
    tab.until(&format!("{IDS} === 'cam1,cam2'"));
    assert_eq!(tab.text("faults.join()"), "");
}
