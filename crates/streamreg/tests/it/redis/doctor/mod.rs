//! Diagnoses of real servers, each with one fault.

mod cluster;
mod content;
mod replicas;
mod sentinel;
mod server;

use stream_registry::redis::{Code, DiagnoseOptions, Diagnosis, Finding, RedisOptions, Severity};
use stream_registry::{RedisRegistry, Registry as _};

use super::TestRedis;

/// Diagnoses the store with a registry of its own, which does not write.
async fn diagnose(options: RedisOptions) -> Diagnosis {
    let registry = RedisRegistry::connect(options.read_only()).await.unwrap();
    // A diagnosis can run in a task of its own.
    let task = tokio::spawn(async move {
        let diagnosis = registry.diagnose(&DiagnoseOptions::default()).await.unwrap();
        registry.close().await.unwrap();
        diagnosis
    });
    task.await.unwrap()
}

/// Returns the worst finding with a code.
fn worst(diagnosis: &Diagnosis, code: Code) -> &Finding {
    let found = diagnosis.findings.iter().filter(|finding| finding.code == code);
    found.max_by_key(|finding| finding.severity).unwrap_or_else(|| panic!("no finding {code}: {diagnosis:#?}"))
}

/// Asserts the severity of the worst finding with a code, and a part of its message.
#[track_caller]
fn assert_finds(diagnosis: &Diagnosis, code: Code, severity: Severity, message: &str) {
    let found = worst(diagnosis, code);
    assert!(found.severity == severity && found.message.contains(message), "expected {message:?}, got {found:#?}");
    assert_eq!(found.remedy.is_some(), severity != Severity::Ok, "{found:#?}");
}

impl TestRedis {
    async fn diagnose(&self) -> Diagnosis {
        diagnose(self.options()).await
    }

    async fn set(&self, setting: &str, value: &str) {
        assert_eq!(self.server.cli(&["CONFIG", "SET", setting, value]).await, "OK", "{setting} {value}");
    }
}
