//! Tests the files of the dashboard at `/`.

use super::kit::Server;

#[tokio::test]
async fn dashboard_loads_nothing_from_other_hosts() {
    let (server, _) = Server::memory().await;
    let script = |name| (format!("/assets/{name}.js"), "text/javascript; charset=utf-8");
    let scripts = ["app", "api", "controls", "dom", "format", "selection", "start", "table"].map(script);
    let others = [
        ("/", "text/html; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/docs.css", "text/css; charset=utf-8"),
    ]
    .map(|(path, media_type)| (path.to_owned(), media_type));
    for (path, media_type) in scripts.into_iter().chain(others) {
        let answer = server.get(&path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, media_type));
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
        assert!(!answer.header("content-security-policy").contains("unsafe"));
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
