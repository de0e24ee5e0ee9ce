//! Tests the files of the dashboard at `/`.

use super::kit::Server;

/// Returns the paths that a file refers to with a prefix such as `src="`, relative to the folder of the file.
fn references<'a>(content: &'a str, prefix: &str) -> Vec<&'a str> {
    content.split(prefix).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Returns the paths of the page's scripts and style sheets, in the order in which they refer to each other.
async fn files(server: &Server) -> Vec<String> {
    let page = server.get("/").await.body;
    let mut files: Vec<_> = [references(&page, "src=\""), references(&page, "rel=\"stylesheet\" href=\"")]
        .concat()
        .into_iter()
        .map(|path| format!("/{path}"))
        .collect();
    let mut at = 0;
    while at < files.len() {
        let file = files[at].clone();
        let folder: Vec<_> = file.split('/').collect();
        let content = server.get(&file).await.body;
        for path in references(&content, " from \"").into_iter().chain(references(&content, "import \"")) {
            let mut parts = folder[..folder.len() - 1].to_vec();
            for part in path.split('/') {
                match part {
                    "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part),
                }
            }
            let path = parts.join("/");
            if !files.contains(&path) {
                files.push(path);
            }
        }
        at += 1;
    }
    files
}

#[tokio::test]
async fn dashboard_loads_nothing_from_other_hosts() {
    let (server, _) = Server::memory().await;
    let files = files(&server).await;
    assert!(files.len() > 15 && files.contains(&"/assets/data/feed.js".to_owned()), "{files:?}");
    for path in files.iter().map(String::as_str).chain(["/"]) {
        let media_type = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, media_type), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.ends_with("require-trusted-types-for 'script'; trusted-types 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"));
        let text = answer.body.replace("http://www.w3.org/2000/svg", "");
        for forbidden in [
            "http://",
            "https://",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            " onclick",
            "style=\"",
            "@import",
        ] {
            assert!(!text.contains(forbidden), "{path} contains {forbidden}");
        }
        assert!(text.lines().count() < 300, "{path} is too long");
    }
    let docs = server.get("/docs").await;
    assert_eq!((docs.status, docs.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = docs.header("content-security-policy");
    assert_eq!(policy, server.get("/").await.header("content-security-policy"));
    let page = server.get("/").await.body;
    for command in
        ["streamreg register --id cam1 --type srt --source 203.0.113.7:40112", "streamreg list", "streamreg demo"]
    {
        assert!(page.contains(command), "{command}");
    }
}

#[tokio::test]
async fn browser_that_has_a_file_of_the_dashboard_gets_304() {
    let (server, _) = Server::memory().await;
    for path in ["/", "/assets/app.js", "/assets/styles/base.css"] {
        let first = server.get(path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 20, "{tag:?}");
        for method in ["GET", "HEAD"] {
            let known = server.request(method, path, &[("If-None-Match", &tag)], "").await;
            assert_eq!((known.status, known.header("etag"), known.body.as_str()), (304, tag.as_str(), ""), "{path}");
            // The length may be missing, but no other length is allowed (RFC 9110, section 8.6).
            let length = known.header("content-length");
            assert!(length.is_empty() || length == first.header("content-length"), "{path}: {length}");
            assert_eq!(known.header("content-security-policy"), first.header("content-security-policy"), "{path}");
            let outdated = server.request(method, path, &[("If-None-Match", "\"0\"")], "").await;
            assert_eq!((outdated.status, outdated.header("etag")), (200, tag.as_str()), "{path}");
        }
    }
    // Records change all the time, and must not be in the cache of a browser.
    for path in ["/api/v1/streams", "/api/v1/summary", "/api/v1/info"] {
        let answer = server.request("GET", path, &[("If-None-Match", "*")], "").await;
        assert_eq!((answer.status, answer.header("etag"), answer.header("cache-control")), (200, "", "no-store"));
    }
}
