//! Certificates for one test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate authority, a server certificate and a client certificate, as PEM files in a temporary folder.
///
/// Dropping this value removes the folder.
pub struct TestTls {
    ca: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl TestTls {
    /// Creates a CA, a server certificate for `127.0.0.1` and a client certificate.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("tls").tempdir().expect("a temporary folder can be created");
        let tls = Self { ca: new_ca(&folder), folder };
        tls.issue_all();
        tls
    }

    /// Replaces the CA by a new one of the same name, which issues new certificates.
    pub fn replace_ca(&mut self) {
        self.ca = new_ca(&self.folder);
        self.issue_all();
    }

    fn issue_all(&self) {
        std::fs::write(self.ca_file(), self.ca.pem()).expect("the folder is writable");
        self.issue_server(&["127.0.0.1"]);
        let mut client = params(&["client"], ExtendedKeyUsagePurpose::ClientAuth);
        client.distinguished_name.push(DnType::CommonName, "client");
        self.issue(&client, &self.client_cert(), &self.client_key());
    }

    /// Replaces the server's certificate by one for these host names and IP addresses.
    pub fn issue_server(&self, names: &[&str]) {
        let server = params(names, ExtendedKeyUsagePurpose::ServerAuth);
        self.issue(&server, &self.server_cert(), &self.server_key());
    }

    /// Replaces the server's certificate by one for `127.0.0.1` that has expired.
    pub fn issue_expired_server(&self) {
        let mut server = params(&["127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth);
        server.not_before = date_time_ymd(2020, 1, 1);
        server.not_after = date_time_ymd(2021, 1, 1);
        self.issue(&server, &self.server_cert(), &self.server_key());
    }

    /// Replaces the server's certificate by the CA's own certificate.
    pub fn use_ca_as_server(&self) {
        std::fs::write(self.server_cert(), self.ca.pem()).expect("the folder is writable");
        std::fs::write(self.server_key(), self.ca.key().serialize_pem()).expect("the folder is writable");
    }

    fn issue(&self, params: &CertificateParams, cert: &Path, key: &Path) {
        let pair = KeyPair::generate().expect("a key pair can be created");
        let certificate = params.signed_by(&pair, &self.ca).expect("the CA signs the certificate");
        std::fs::write(cert, certificate.pem()).expect("the folder is writable");
        std::fs::write(key, pair.serialize_pem()).expect("the folder is writable");
    }

    /// Returns the file of the CA's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the file of the server's certificate.
    pub fn server_cert(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// Returns the file of the server's private key.
    pub fn server_key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }

    /// Returns the file of the client's certificate.
    pub fn client_cert(&self) -> PathBuf {
        self.folder.path().join("client.pem")
    }

    /// Returns the file of the client's private key.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client.key")
    }
}

impl Default for TestTls {
    fn default() -> Self {
        Self::new()
    }
}

/// Creates a CA with the name of the folder, so that the CAs of different tests have different names.
fn new_ca(folder: &tempfile::TempDir) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, folder.path().display().to_string());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pair = KeyPair::generate().expect("a key pair can be created");
    CertifiedIssuer::self_signed(params, pair).expect("the CA signs its certificate")
}

fn params(names: &[&str], usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.extended_key_usages = vec![usage];
    params
}
