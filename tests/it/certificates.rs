//! Certificates for a single test: an authority, servers' certificates with every fault, and clients' certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};

/// A certificate authority. Its directory with the files is removed when it is dropped.
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

    /// Returns the path of the authority's own certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Creates a certificate for a server at `host` (a name or an address).
    pub(crate) fn server(&self, host: &str) -> PathBuf {
        self.sign("server", &server_params(host))
    }

    /// Creates a server's certificate that is valid for `seconds` from now. mongod does not start with an expired
    /// certificate.
    pub(crate) fn short_lived_server(&self, host: &str, seconds: u64) -> PathBuf {
        let mut params = server_params(host);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        params.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(seconds);
        self.sign("short-lived", &params)
    }

    /// Creates a client's certificate. Its subject is `OU=clinic,CN={name}`. It must differ from the server's O and
    /// OU, because otherwise the server would treat the client as a member.
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
