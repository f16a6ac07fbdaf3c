//! TLS of a listener and of a sender. The implementation is the one of the driver: rustls with ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::error::Error;

/// The files with the certificates of a listener.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM file with the certificate, and with those of the authorities between it and the root.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// PEM file with the authorities whose clients are accepted. Without it, clients need no certificate.
    pub client_authorities: Option<PathBuf>,
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or the certificate and the key do not fit.
    pub fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Stopped(format!("cannot use TLS: {error}")))?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| unusable(path, &error.to_string()))?)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unusable(&self.key, &error.to_string()))?;
        let config = builder.with_single_cert(certificates(&self.certificate)?, key);
        let config = config.map_err(|error| unusable(&self.certificate, &error.to_string()))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Makes a connector that trusts the authorities in a PEM file.
///
/// # Errors
/// The file cannot be read.
pub(super) fn connector(path: &Path) -> Result<TlsConnector, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Stopped(format!("cannot use TLS: {error}")))?;
    let config = builder.with_root_certificates(authorities(path)?).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Returns the name of a host, by which its certificate is checked.
///
/// # Errors
/// The host is neither a name nor an address.
pub(super) fn name_of(host: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| Error::Usage(format!("`{host}` is neither the name nor the address of a host")))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| unusable(path, &error.to_string()))?;
    if all.is_empty() { Err(unusable(path, "it has no certificate")) } else { Ok(all) }
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error.to_string()))?;
    }
    Ok(roots)
}

fn unusable(path: &Path, problem: &str) -> Error {
    Error::Usage(format!("cannot use {} for TLS: {problem}; give a PEM file", path.display()))
}
