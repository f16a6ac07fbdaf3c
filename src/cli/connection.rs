//! How to reach the deployment, with the names of the MongoDB Database Tools.

use std::path::PathBuf;

use clap::Args;
use medlift::access::{Connection, Purpose, Secret, Target};
use medlift::pipeline::Error;

/// Connection options.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Connection string, mongodb:// or mongodb+srv://; may also stand as a positional argument [env: `MONGODB_URI`]
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    /// Database [env: `DB_NAME`] [default: hospital]
    #[arg(short, long, value_name = "NAME")]
    db: Option<String>,
    /// Collection [env: `COLLECTION_NAME`] [default: the spec's]
    #[arg(short, long, value_name = "NAME")]
    collection: Option<String>,
    /// User to sign in as
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; without a value, asks for it. Better kept in a file that `WRITER_PASS_FILE` names
    #[arg(short, long, value_name = "PASSWORD", num_args = 0..=1, default_missing_value = "")]
    password: Option<String>,
    /// Database the user is kept in
    #[arg(long, value_name = "NAME")]
    authentication_database: Option<String>,
    /// Speak TLS, trusting the system's authorities
    #[arg(long, alias = "ssl")]
    tls: bool,
    /// PEM file of the authorities to trust instead of the system's
    #[arg(long, value_name = "FILE", alias = "ssl-ca-file")]
    tls_ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate and key
    #[arg(long, value_name = "FILE", alias = "ssl-pem-key-file")]
    tls_certificate_key_file: Option<PathBuf>,
}

impl ConnectionArgs {
    /// Takes the first positional argument that is a connection string out of `positional`.
    pub fn take_uri(&mut self, positional: &mut Vec<String>) {
        let is_uri = |text: &String| text.starts_with("mongodb://") || text.starts_with("mongodb+srv://");
        if let (None, Some(at)) = (&self.uri, positional.iter().position(is_uri)) {
            self.uri = Some(positional.remove(at));
        }
    }

    /// The wishes in the library's terms; asks for the password where `-p` came without one.
    pub fn into_connection(self, purpose: Purpose) -> Result<Connection, Error> {
        let password = match self.password.as_deref() {
            Some("") => Some(ask_password()?),
            Some(_) => {
                eprintln!(
                    "medlift: warning: a password on the command line can be read by others; use -p alone, or a file"
                );
                self.password
            }
            None => None,
        };
        Ok(Connection {
            uri: self.uri.map(Secret::from),
            database: self.db,
            collection: self.collection,
            username: self.username,
            password: password.map(Secret::from),
            auth_database: self.authentication_database,
            tls: self.tls,
            tls_ca_file: self.tls_ca_file,
            tls_certificate_key_file: self.tls_certificate_key_file,
            purpose,
        })
    }

    /// Connects for `purpose`; `collection` is the spec's own.
    pub async fn connect(self, purpose: Purpose, collection: &str) -> Result<Target, Error> {
        Ok(Target::connect(&self.into_connection(purpose)?, collection).await?)
    }
}

fn ask_password() -> Result<String, Error> {
    rpassword::prompt_password("Enter password: ").map_err(|error| {
        Error::Stopped(format!("cannot ask for the password: {error}; name a file in WRITER_PASS_FILE instead"))
    })
}
