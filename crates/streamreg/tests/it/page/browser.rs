//! A real browser: headless Chromium, driven over a pipe (Chrome DevTools Protocol).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Deadline of every condition. It is long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Command that starts the browser. The option `--no-sandbox` is needed if tests run as root. It is safe, because the
/// page is trusted.
const START: &str = "exec chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
                     --disable-background-networking --disable-component-update --disable-sync --disable-breakpad \
                     --disable-background-timer-throttling --disable-renderer-backgrounding --hide-scrollbars \
                     --remote-debugging-pipe --user-data-dir=\"$1\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";

/// The browser of this test process, shared while any test has a tab open.
static SHARED: Mutex<Weak<Browser>> = Mutex::new(Weak::new());

/// A running browser. When the last tab closes, the browser stops and its profile is removed.
pub(super) struct Browser {
    connection: Mutex<Connection>,
    child: Mutex<Child>,
    profile: TempDir,
}

struct Connection {
    requests: ChildStdin,
    answers: Receiver<Value>,
    last: u64,
}

impl Connection {
    fn call(&mut self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut request = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = session {
            request["sessionId"] = session.into();
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).expect("cannot write to the browser");
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut answer = self.answers.recv_timeout(left).expect("the browser does not respond");
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }
}

impl Browser {
    fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let browser = Arc::new(Self::start());
            *shared = Arc::downgrade(&browser);
            browser
        })
    }

    fn start() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        assert!(
            std::env::split_paths(&path).any(|dir| dir.join("chromium").is_file()),
            "chromium is missing; run scripts/setup to install it"
        );
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", START, "sh"])
            .arg(profile.path())
            .env("TMPDIR", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (requests, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = channel();
        // The thread ends when the browser exits and closes its end of the pipe.
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { break };
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let connection = Mutex::new(Connection { requests, answers, last: 0 });
        Self { connection, child: Mutex::new(child), profile }
    }

    fn call(&self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner).call(session, method, params)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let connection = self.connection.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = connection.requests.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + TIMEOUT;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            pause();
        }
        let _ = child.kill();
        let _ = child.wait();
        while !processes_with(self.profile.path()).is_empty() && Instant::now() < deadline {
            pause();
        }
        let left = processes_with(self.profile.path());
        assert!(left.is_empty() || std::thread::panicking(), "the browser left processes behind: {left:?}");
    }
}

/// Waits before the next check of a condition that has a deadline.
#[expect(clippy::disallowed_methods, reason = "the test thread drives the browser; it is not a worker of the runtime")]
fn pause() {
    std::thread::sleep(POLL_INTERVAL);
}

/// Returns the command lines of processes that contain a path.
fn processes_with(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap_or_default();
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let arguments = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    all.flatten()
        .filter_map(arguments)
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.contains(path))
        .collect()
}

/// A tab with a page. The page collects script errors and policy violations in `faults`.
pub(super) struct Tab {
    browser: Arc<Browser>,
    target: String,
    session: String,
}

impl Tab {
    /// Opens a page in a viewport of a given width.
    pub(super) fn open(url: &str, width: u32) -> Self {
        Self::open_observed(url, width, "")
    }

    /// Opens a page after running a script in it.
    pub(super) fn open_observed(url: &str, width: u32, script: &str) -> Self {
        let browser = Browser::shared();
        let target = browser.call(None, "Target.createTarget", &json!({ "url": "about:blank", "newWindow": true }));
        let target = target["targetId"].as_str().unwrap().to_owned();
        let attached =
            browser.call(None, "Target.attachToTarget", &json!({ "targetId": target.as_str(), "flatten": true }));
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        let tab = Self { browser, target, session };
        tab.call("Page.enable", &json!({}));
        // The CA of a test is unknown to the browser.
        tab.call("Security.setIgnoreCertificateErrors", &json!({ "ignore": true }));
        tab.resize(width);
        // Tests share the browser. Each tab acts as if it had the focus, whatever the other tabs do.
        tab.call("Emulation.setFocusEmulationEnabled", &json!({ "enabled": true }));
        let keep = "globalThis.faults = [];
            for (const kind of ['error', 'unhandledrejection', 'securitypolicyviolation'])
              addEventListener(kind, (e) => faults.push(`${kind} ${e.message ?? e.reason ?? e.violatedDirective}`));";
        tab.call("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": format!("{keep}\n{script}") }));
        tab.call("Page.navigate", &json!({ "url": url }));
        tab.until("location.protocol.startsWith('http') && document.readyState === 'complete'");
        tab
    }

    pub(super) fn call(&self, method: &str, params: &Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    /// Changes the width of the viewport. Narrow viewports are those of phones.
    pub(super) fn resize(&self, width: u32) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Evaluates an expression in the page.
    pub(super) fn eval(&self, expression: &str) -> Value {
        let mut answer = self.call("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true }));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Evaluates an expression whose value is a string.
    pub(super) fn text(&self, expression: &str) -> String {
        self.eval(expression).as_str().unwrap_or_else(|| panic!("not a string: {expression}")).to_owned()
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(super) fn until(&self, expression: &str) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            // During a navigation, evaluating the expression may fail.
            let guarded = format!("(() => {{ try {{ return !!({expression}); }} catch {{ return false; }} }})()");
            if self.eval(&guarded) == true {
                return;
            }
            assert!(Instant::now() < deadline, "never true: {expression}\n{}", self.text("document.body.innerText"));
            pause();
        }
    }

    /// Presses a key as a user does, e.g. `Enter`, `ArrowDown` or `/`.
    pub(super) fn press(&self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "End" => 35,
            "Home" => 36,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => 0,
        };
        let mut event = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code });
        if key == "Enter" {
            event["text"] = "\r".into();
        } else if key.chars().count() == 1 {
            event["text"] = key.into();
        }
        self.call("Input.dispatchKeyEvent", &event);
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", &event);
    }

    /// Clicks the visible element that a selector selects.
    #[track_caller]
    pub(super) fn click(&self, selector: &str) {
        let element = format!("document.querySelector({})", serde_json::to_string(selector).unwrap());
        assert_eq!(self.eval(&format!("{element}.checkVisibility()")), true, "{selector} is not visible");
        self.eval(&format!("{element}.click()"));
    }

    /// Types a string into an element, as a user does.
    pub(super) fn type_into(&self, selector: &str, string: &str) {
        let selector = serde_json::to_string(selector).unwrap();
        self.eval(&format!("document.querySelector({selector}).focus()"));
        self.call("Input.insertText", &json!({ "text": string }));
    }

    /// Moves the mouse pointer to the middle of an element.
    pub(super) fn point_at(&self, selector: &str) {
        let selector = serde_json::to_string(selector).unwrap();
        let middle = self.eval(&format!(
            "(() => {{ const box = document.querySelector({selector}).getBoundingClientRect();
               return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        let event = json!({ "type": "mouseMoved", "x": middle[0], "y": middle[1] });
        self.call("Input.dispatchMouseEvent", &event);
    }

    /// Emulates a user who prefers a light or dark scheme and no motion, so that colours change at once.
    pub(super) fn prefer(&self, scheme: &str) {
        let features = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")];
        let features = features.map(|(name, value)| json!({ "name": name, "value": value }));
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.browser.call(None, "Target.closeTarget", &json!({ "targetId": self.target.as_str() }));
        }
    }
}
