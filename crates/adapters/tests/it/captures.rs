//! Recordings of real servers, in `tests/captures`.
//!
//! A recording of an answer begins with `GET /path -> 200`; the body follows. A recording of hooks has a heading
//! `### +1.000 s; …` before each request. A line `# +1.000 s: …` describes what happened and may contain JSON.

use std::fs;
use std::path::Path;

use adapters::model::Snapshot;
use adapters::servers::{Answer, List, ReadError, Step};

/// One recording.
pub(crate) struct Capture {
    /// The name of the file.
    pub(crate) name: String,
    /// The content of the file.
    pub(crate) text: String,
}

/// A hook as the server sent it.
pub(crate) struct Hook {
    /// The path and the query.
    pub(crate) target: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Reads one recording.
pub(crate) fn read(server: &str, name: &str) -> Capture {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(server).join(name);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    Capture { name: name.to_owned(), text }
}

/// Reads all recordings of a server, in the order of their names.
pub(crate) fn all(server: &str) -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(server);
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.iter().map(|name| read(server, name)).collect()
}

/// Makes one list with the answers of `serve`, which gets the path and query of each request.
pub(crate) fn list(mut list: impl List, mut serve: impl FnMut(&str) -> Answer) -> Result<Snapshot, ReadError> {
    let mut answers = Vec::new();
    for _ in 0..1_000 {
        match list.step(&answers)? {
            Step::Ask(requests) => answers = requests.iter().map(|request| serve(&request.path)).collect(),
            Step::Done(snapshot) => return Ok(snapshot),
        }
    }
    panic!("the list does not end");
}

/// An answer with status 200.
pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Answer {
    Answer { status: 200, body: body.into() }
}

impl Capture {
    /// Returns the path and the answer, if this is a recording of an answer.
    pub(crate) fn answer(&self) -> Option<(&str, Answer)> {
        let (head, body) = self.text.split_once('\n')?;
        let (path, status) = head.strip_prefix("GET ")?.split_once(" -> ")?;
        Some((path, Answer { status: status.parse().unwrap(), body: body.as_bytes().to_owned() }))
    }

    /// Returns the recorded hooks, in order.
    pub(crate) fn hooks(&self) -> Vec<Hook> {
        let mut hooks = Vec::new();
        let mut rest = self.text.as_str();
        while let Some(start) = rest.find("### +") {
            let (_, request) = rest[start..].split_once('\n').unwrap();
            // A connection that was closed without a request has a heading only.
            let Some((head, after)) = request.split_once("\n\n") else { break };
            let mut lines = head.lines();
            let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
            let length = lines
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.parse().unwrap());
            let body = after.as_bytes()[..length].to_owned();
            hooks.push(Hook { target, body });
            rest = &after[length..];
        }
        hooks
    }

    /// Returns the JSON in the descriptions of what happened.
    pub(crate) fn json_notes(&self) -> Vec<serde_json::Value> {
        let notes = self.text.lines().filter(|line| line.starts_with("# +") || line.starts_with('+'));
        notes.filter_map(|line| serde_json::from_str(&line[line.find(['{', '['])?..]).ok()).collect()
    }
}

#[test]
fn hooks_are_split_by_their_content_length() {
    let text = "# +0.0 s: {\"a\":1}\n### +0.1 s; x\nPOST /h?x=1 HTTP/1.1\nContent-Length: 5\n\na\n\n=b\n\n# +0.2 s: ended\n\n\
                ### +0.3 s; y\nPOST /i HTTP/1.0\ncontent-length: 1\n\nc\n";
    let capture = Capture { name: "x.http".to_owned(), text: text.to_owned() };
    let hooks: Vec<(String, Vec<u8>)> = capture.hooks().into_iter().map(|hook| (hook.target, hook.body)).collect();
    assert_eq!(hooks, [("/h?x=1".to_owned(), b"a\n\n=b".to_vec()), ("/i".to_owned(), b"c".to_vec())]);
    assert_eq!(capture.json_notes(), [serde_json::json!({"a": 1})]);
    assert!(capture.answer().is_none());
}

#[test]
fn recorded_answer_has_its_path_status_and_body() {
    let capture = read("mediamtx", "path-get-unknown.txt");
    let (path, answer) = capture.answer().unwrap();
    assert_eq!((path, answer.status), ("/v3/paths/get/nobody", 404));
    assert!(answer.body.starts_with(b"{\"status\":\"error\""));
}

#[test]
fn all_recordings_of_a_server_are_read() {
    for server in ["mediamtx", "srs"] {
        assert!(all(server).iter().filter(|capture| !capture.name.is_empty()).count() >= 30, "{server}");
    }
}
