//! The user's connection settings.

use std::path::PathBuf;

use super::documentdb::Product;
use super::{Account, Secret};

/// The user's connection settings as typed, before they are checked and completed.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// The connection string. It is secret, because it may contain a password.
    pub uri: Option<Secret>,
    /// The database for the data.
    pub database: Option<String>,
    /// The collection for the data.
    pub collection: Option<String>,
    /// The user to sign in as.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// The database in which the user is stored.
    pub auth_database: Option<String>,
    /// Whether to use TLS.
    pub tls: bool,
    /// PEM file with the certificate authorities to trust instead of the system's. Implies TLS.
    pub tls_ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate and key. Implies TLS. If no user is given, the client signs in with the
    /// certificate.
    pub tls_certificate_key_file: Option<PathBuf>,
    /// The product behind the connection. `None` if the address decides.
    pub product: Option<Product>,
    /// The purpose of the connection.
    pub purpose: Purpose,
}

/// The purpose of a connection. If the user gives no user name, the purpose decides which user of the settings signs
/// in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// To load, or to run `medlift doctor`. The loader signs in if its password is set, otherwise the writer.
    #[default]
    Load,
    /// To read and verify. The first of these users whose password is set signs in: reader, loader, writer.
    Read,
    /// To create users, indexes and validators. The root user signs in.
    Administer,
    /// For any purpose. This user signs in.
    As(Account),
}

impl Purpose {
    /// Returns the accounts that may sign in for this purpose, the preferred one first.
    pub(super) fn accounts(self) -> &'static [Account] {
        match self {
            Self::Load => &[Account::Loader, Account::Writer],
            Self::Read => &[Account::Reader, Account::Loader, Account::Writer],
            Self::Administer | Self::As(Account::Root) => &[Account::Root],
            Self::As(Account::Admin) => &[Account::Admin],
            Self::As(Account::Writer) => &[Account::Writer],
            Self::As(Account::Reader) => &[Account::Reader],
            Self::As(Account::Loader) => &[Account::Loader],
            Self::As(Account::Analyst) => &[Account::Analyst],
        }
    }
}
