//! The systemd unit, the container image, the Compose file, the release archive and the published packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::TestTls;
use yaml_rust2::{Yaml, YamlLoader};

use super::cli::{Running, outcome, program};
use super::settings;

/// Maximum exposure that `systemd-analyze security` may report, in tenths. 100 is the worst.
const EXPOSURE: &str = "--threshold=15";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Yaml {
    YamlLoader::load_from_str(&file(path)).unwrap().remove(0)
}

/// Starts a server on a free port, and returns it with its URL.
fn server() -> (Running, String) {
    let server = Running::start(&["serve", "--listen", "127.0.0.1:0"]);
    let line = server.line_with("listening on http://");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(',');
    (server, url.to_owned())
}

#[test]
fn systemd_unit_is_valid_and_hardened() {
    let dir = tempfile::tempdir().unwrap();
    let unit = file("contrib/streamreg.service");
    assert!(unit.contains("\nDynamicUser=yes\n") && unit.contains("\nProtectSystem=strict\n"));
    let here = dir.path().join("streamreg.service");
    fs::write(&here, unit.replace("/usr/local/bin/streamreg", env!("CARGO_BIN_EXE_streamreg"))).unwrap();
    for args in [&["verify", "--man=no"][..], &["security", "--offline=true", EXPOSURE]] {
        let (status, stdout, stderr) = outcome(Command::new("systemd-analyze").args(args).arg(&here).output().unwrap());
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{args:?}: {stdout}");
    }
}

#[test]
fn systemd_unit_starts_the_server_with_its_configuration() {
    let unit = file("contrib/streamreg.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/streamreg serve ")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for name in ["store", "token"] {
        fs::write(dir.path().join(name), "redis://h\n").unwrap();
    }
    let tls = TestTls::new();
    fs::copy(tls.server_cert(), dir.path().join("cert.pem")).unwrap();
    fs::copy(tls.server_key(), dir.path().join("key.pem")).unwrap();
    // The keys that a comment of the unit recommends.
    let keys: String = unit
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.contains(" = "))
        .fold(String::new(), |keys, line| {
            keys + &line.replace("/run/credentials/streamreg.service", dir.path().to_str().unwrap()) + "\n"
        });
    let config = dir.path().join("streamreg.toml");
    fs::write(&config, keys).unwrap();
    let start = start.replace("/etc/streamreg/streamreg.toml", config.to_str().unwrap());
    let (printed, _) = settings::printed(&start.split(' ').collect::<Vec<_>>(), &[]);
    assert!(printed.contains("\nstore_file = ") && printed.contains("\ntoken_file = "), "{printed}");
}

/// Checks that variables are settings of the server. A token is read from a file of the test.
fn check_variables(set: &BTreeMap<String, String>) {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let keys = settings::keys(&settings::printed(&[], &[]).0);
    let mut actual = Vec::new();
    for (name, value) in set {
        let key = name.strip_prefix("STREAMREG_").unwrap().to_lowercase();
        assert!(keys.contains(&key), "{name} is not a setting");
        actual.push((&**name, value.as_str()));
    }
    // A server that listens on all addresses needs a token.
    actual.retain(|(name, _)| *name != "STREAMREG_TOKEN_FILE");
    actual.push(("STREAMREG_TOKEN_FILE", token.to_str().unwrap()));
    settings::printed(&[], &actual);
}

#[test]
fn image_starts_the_server_as_an_unprivileged_user_with_existing_settings() {
    let image = file("Dockerfile");
    let set = image.lines().filter_map(|line| line.strip_prefix("ENV ")).filter_map(|line| line.split_once('='));
    let set: BTreeMap<_, _> = set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(set["STREAMREG_LISTEN"], "0.0.0.0:8580");
    check_variables(&set);
    for line in ["USER 65532:65532", "ENTRYPOINT [\"/usr/bin/streamreg\"]", "CMD [\"serve\"]", "EXPOSE 8580"] {
        assert!(image.lines().any(|there| there == line), "{line}");
    }
}

#[test]
fn health_check_of_the_image_fails_when_the_server_stops() {
    let image = file("Dockerfile");
    let command =
        image.lines().find_map(|line| line.trim().strip_prefix("CMD [\"/usr/bin/streamreg\", \"ping\"")).unwrap();
    let args: Vec<String> = serde_json::from_str(&format!("[\"ping\"{command}")).unwrap();
    let (mut server, url) = server();
    let args: Vec<_> = args.iter().map(|arg| if arg == "http://127.0.0.1:8580" { url.as_str() } else { arg }).collect();
    assert!(args.contains(&url.as_str()), "{args:?}");
    // The variables of the container select the store of the server. The health check calls the server instead.
    let check = || outcome(program(&args).env("STREAMREG_STORE", "redis://127.0.0.1:1").output().unwrap());
    assert_eq!(check(), (Some(0), format!("{url} responds\n"), String::new()));
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0));
    let (status, stdout, _) = check();
    assert_eq!((status, stdout.as_str()), (Some(5), ""));
}

#[test]
fn compose_file_starts_the_server_after_a_redis_that_keeps_streams() {
    let compose = yaml("compose.yml");
    let redis = &compose["services"]["redis"];
    let command = redis["command"].as_str().unwrap();
    for setting in ["--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction"] {
        assert!(command.contains(setting), "{setting}: {command}");
    }
    assert_eq!(redis["volumes"][0].as_str(), Some("redis:/data"));
    assert!(!compose["volumes"]["redis"].is_badvalue());
    assert!(redis["healthcheck"]["test"].as_vec().is_some());

    let server = &compose["services"]["streamreg"];
    assert_eq!(server["depends_on"]["redis"]["condition"].as_str(), Some("service_healthy"));
    let set = server["environment"].as_hash().unwrap().iter();
    let set =
        set.map(|(name, value)| (name.as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned())).collect();
    check_variables(&set);
    let secret = server["secrets"][0].as_str().unwrap();
    assert_eq!(set["STREAMREG_TOKEN_FILE"], format!("/run/secrets/{secret}"));
    assert!(compose["secrets"][secret]["file"].as_str().is_some());
}

#[test]
fn archive_contains_all_files_and_runs_in_an_empty_root() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("streamreg");
    // Debug information would only make the archive slow to pack.
    let stripped =
        Command::new("strip").arg("-o").arg(&small).arg(env!("CARGO_BIN_EXE_streamreg")).status().unwrap().success();
    assert!(stripped);
    let pack = || {
        let mut dist = Command::new(root().join("scripts/dist"));
        dist.arg("--program").arg(&small).arg("test-target").env("CARGO_TARGET_DIR", dir.path());
        let (status, stdout, stderr) = outcome(dist.output().unwrap());
        assert_eq!(status, Some(0), "{stdout}{stderr}");
        (PathBuf::from(stdout.trim_end()), fs::read_to_string(dir.path().join("archives/SHA256SUMS")).unwrap())
    };
    let (archive, sums) = pack();
    let name = concat!("streamreg-", env!("CARGO_PKG_VERSION"), "-test-target");
    assert_eq!(archive.file_name().unwrap().to_str(), Some(format!("{name}.tar.gz").as_str()));
    assert!(sums.ends_with(&format!("  {name}.tar.gz\n")), "{sums}");
    let (_, list, _) = outcome(Command::new("tar").arg("--list").arg("--file").arg(&archive).output().unwrap());
    for path in [
        "bin/streamreg",
        "lib/systemd/system/streamreg.service",
        "share/man/man1/streamreg-serve.1",
        "share/bash-completion/completions/streamreg",
        "share/zsh/site-functions/_streamreg",
        "share/fish/vendor_completions.d/streamreg.fish",
        "share/doc/streamreg/LICENSE-APACHE",
        "share/doc/streamreg/LICENSE-MIT",
        "share/doc/streamreg/README.md",
        "share/doc/streamreg/streamreg.toml",
    ] {
        assert!(list.lines().any(|line| line == format!("{name}/{path}")), "{path} is missing: {list}");
    }
    assert_eq!(pack().1, sums, "the same files make the same archive");
}

#[test]
fn published_packages_have_licences() {
    for package in ["stream-registry", "adapters", "streamreg"] {
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert_eq!(file(&format!("crates/{package}/{licence}")), file(licence));
        }
    }
}

#[test]
fn workflow_runs_all_tests() {
    let workflow = yaml(".github/workflows/ci.yml");
    let steps = workflow["jobs"]["test"]["steps"].as_vec().unwrap();
    assert!(steps.iter().any(|step| step["run"].as_str() == Some("scripts/test")));
}
