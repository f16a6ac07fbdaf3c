//! Creates certificates for a test: an authority, certificates of servers (some expire after seconds), and certificates
//! of clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};

/// A certificate authority. Its files are in a temporary directory, which is removed when this value is dropped.
pub(crate) struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signs");
        fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("writes");
        Self { dir, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Creates a certificate for a server at `host` (a name or an address).
    pub(crate) fn server(&self, host: &str) -> PathBuf {
        self.sign("server", &server_params(host))
    }

    /// Creates a server's certificate that expires `seconds` from now. A test needs it because mongod does not start
    /// with a certificate that has already expired.
    pub(crate) fn short_lived_server(&self, host: &str, seconds: u64) -> PathBuf {
        let mut params = server_params(host);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        params.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(seconds);
        self.sign("short-lived", &params)
    }

    /// Creates a client's certificate with the subject `OU=clinic,CN={name}`. Its O and OU must differ from those of
    /// the server's certificate. Otherwise the server would treat the client as a member of the replica set.
    pub(crate) fn client(&self, name: &str) -> PathBuf {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationalUnitName, "clinic");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, &params)
    }

    fn sign(&self, name: &str, params: &CertificateParams) -> PathBuf {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signs");
        write_pair(self.dir.path(), name, &(certificate.pem() + &key.serialize_pem()))
    }
}

fn server_params(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, "Test server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn write_pair(dir: &Path, name: &str, pem: &str) -> PathBuf {
    let path = dir.join(format!("{name}.pem"));
    fs::write(&path, pem).expect("writes");
    path
}
