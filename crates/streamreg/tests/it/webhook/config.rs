//! The configuration of webhooks, with the program as a process.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::kit::SECRET;
use crate::cli::{outcome, program};
use crate::settings::printed;

/// Writes a configuration file with a webhook, whose lines follow `keys`.
pub(super) fn configured(dir: &Path, keys: &str, webhook: &str) -> String {
    let (secret, file) = (dir.join("secret"), dir.join("streamreg.toml"));
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let secret = secret.display();
    let state = dir.join("state");
    let state = state.display();
    let text = format!(
        "listen = '127.0.0.1:0'\nstate_dir = '{state}'\n{keys}\n[[webhook]]\nname = 'a'\nsecret_file = '{secret}'\n{webhook}\n"
    );
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn invalid_configuration_of_a_webhook_is_a_usage_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let url = "url = 'http://127.0.0.1:1/s3cret?key=s3cret'\n";
    let short = dir.path().join("short");
    fs::write(&short, "whsec_c3VwZXJzM2NyZXQ=").unwrap();
    let secret = format!("secret_file = '{path}/secret'\n");
    for (replaced, by, expected) in [
        ("", "", "webhook: \"a\": the key url is missing"),
        ("", "ulr = 'http://127.0.0.1:1/s3cret'", "webhook: \"a\": unknown key \"ulr\"; did you mean \"url\"?"),
        ("name = 'a'\n", url, "webhook: the key name is missing"),
        (&secret, url, "webhook: \"a\": the key secret_file is missing"),
        ("", "url = 'ftp://h/s3cret'", "webhook \"a\": url: invalid URL; expected http://host"),
        ("", "url = 'https://u:s3cret@h/'", "webhook \"a\": url: the URL must not contain a user or password"),
        (
            "",
            "url = 'https://h/'\nca_file = '/nonexistent/ca'",
            "url: cannot read the file in ca_file: /nonexistent/ca",
        ),
        ("", "url = 'http://h/'\nca_file = 'ca'", "webhook \"a\": url: ca_file needs an https:// URL"),
        (&format!("{path}/secret"), &url.replace('\n', ""), "secret_file /nonexistent: No such file"),
        ("", &format!("{url}secretfile = 's3cret'"), "unknown key \"secretfile\"; did you mean \"secret_file\"?"),
        ("", &format!("{url}retries = 3"), "unknown key \"retries\"; the keys are name, url, secret_file"),
        ("", &format!("{url}url = 's3cret'"), "duplicate key"),
        ("", &format!("{url}\n[webhooks]"), "unknown key \"webhooks\"; did you mean \"webhook\"?"),
        ("state_dir = ", url, "webhooks need a directory for their positions; set state_dir, e.g. /var/lib/streamreg"),
    ] {
        let file = configured(dir.path(), "", by);
        let text = fs::read_to_string(&file).unwrap();
        let replacement = match replaced {
            "state_dir = " => "#",
            _ if replaced.ends_with("/secret") => "/nonexistent",
            _ => "",
        };
        let text = if replaced.is_empty() { text } else { text.replacen(replaced, replacement, 1) };
        fs::write(&file, text).unwrap();
        for args in [&["serve", "--config", &file][..], &["serve", "--print-config", "--config", &file]] {
            let (status, stdout, stderr) = outcome(program(args).output().unwrap());
            assert_eq!((status, stdout.as_str()), (Some(2), ""), "{args:?} {by}: {stderr}");
            assert!(stderr.contains(expected), "{args:?} {by}: {stderr}");
            assert!(!stderr.contains("s3cret"), "{args:?} {by}: {stderr}");
        }
    }
    let file = configured(dir.path(), "", url);
    let text = fs::read_to_string(&file).unwrap();
    let webhook = text.split_once("[[webhook]]").unwrap().1;
    fs::write(&file, format!("{text}\n[[webhook]]{webhook}")).unwrap();
    let (status, _, stderr) = outcome(program(&["serve", "--config", &file]).output().unwrap());
    assert_eq!(status, Some(2));
    assert!(stderr.contains("duplicate webhook \"a\"; rename one of them"), "{stderr}");
    fs::write(&file, text.replace(&format!("{path}/secret"), short.to_str().unwrap())).unwrap();
    let (status, _, stderr) = outcome(program(&["serve", "--config", &file]).output().unwrap());
    assert_eq!(status, Some(2));
    assert!(
        stderr.contains("line 1: a secret must have 24 to 64 bytes, got 11") && !stderr.contains("whsec_c"),
        "{stderr}"
    );
}

#[test]
fn printed_configuration_shows_webhooks_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let file = configured(
        dir.path(),
        "",
        "url = 'https://h.example/a?key=s3cret'\nlabel = ['site=north']\nevents = ['expired']",
    );
    let (text, _) = printed(&["--config", &file], &[]);
    let line = text.lines().find(|line| line.starts_with("webhook = ")).unwrap();
    for part in ["name = \"a\"", "url = \"https://h.example/a\"", "events = [\"expired\"]", "label = [\"site=north\"]"]
    {
        assert!(line.contains(part), "{line}");
    }
    assert!(line.contains(&format!("secret_file = \"{}/secret\"", dir.path().display())), "{line}");
    assert!(!text.contains("s3cret") && !text.contains(SECRET), "{text}");
    let again = dir.path().join("again.toml");
    fs::write(&again, &text).unwrap();
    assert!(line.ends_with("] # secrets omitted"), "{line}");
    let (complete, omitted) = (line.trim_end_matches(" # secrets omitted"), line);
    assert_eq!(printed(&["--config", again.to_str().unwrap()], &[]).0, text.replace(omitted, complete));
    assert!(!printed(&[], &[]).0.contains("\nwebhook = "), "without webhooks, the key is not shown");
}

#[test]
fn secret_that_every_user_can_read_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    // The damaged position ends the server at once.
    let file = configured(dir.path(), "", "url = 'http://127.0.0.1:1/'");
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(super::kit::position_file(&dir.path().join("state"), "a"), "nonsense").unwrap();
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true)] {
        fs::set_permissions(dir.path().join("secret"), Permissions::from_mode(mode)).unwrap();
        let (status, _, stderr) = outcome(program(&["serve", "--config", &file]).output().unwrap());
        assert_eq!(status, Some(1), "{stderr}");
        assert!(stderr.contains("webhook-a.position is damaged; restore it, or delete it"), "{stderr}");
        assert_eq!(stderr.contains("every user can read secret_file"), warned, "{mode:o}: {stderr}");
    }
}
