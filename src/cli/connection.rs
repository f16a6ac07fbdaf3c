//! The options for the connection to the deployment. The names that the MongoDB Database Tools use for these options
//! are accepted too.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use medlift::error::Error;
use medlift::pipeline::Plan;
use medlift::server::documentdb::Product;
use medlift::server::{Connection, Destination, Purpose, Secret, Settings, Target, is_connection_string};
use medlift::spec::Spec;

use super::arguments::looks_like_connection_string;
use super::config_file::ConfigFile;
use super::host::host_uri;
use super::number::whole;
use super::{output, prompt, settings};

/// Connection options.
// In a doc comment, Clippy requires backticks around a name such as `DB_NAME`, and the help would show them. The texts
// of such options are therefore in `help`.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionArgs {
    #[arg(
        long,
        value_name = "URI",
        help = "Connection string, mongodb:// or mongodb+srv://; may also be given as a positional argument [env: MONGODB_URI]"
    )]
    uri: Option<Secret>,
    /// Server to connect to, instead of a connection string; for a replica set SET/HOST[:PORT],HOST[:PORT]
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "uri")]
    host: Option<String>,
    /// Port of the server [default: 27017]
    #[arg(long, value_name = "PORT", conflicts_with = "uri", value_parser = whole(1_u16, u16::MAX))]
    port: Option<u16>,
    /// YAML file with uri: and password:, as the MongoDB Database Tools read it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(short, long, value_name = "NAME", help = "Database [env: DB_NAME] [default: hospital]")]
    db: Option<String>,
    #[arg(short, long, value_name = "NAME", help = "Collection [env: COLLECTION_NAME] [default: the spec's]")]
    collection: Option<String>,
    #[arg(
        long,
        value_name = "PRODUCT",
        help = "Product behind the connection string [default: documentdb for Amazon's addresses of Amazon DocumentDB, otherwise mongodb]"
    )]
    target: Option<ProductName>,
    /// User to sign in as
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        help = "Password, as -pPASSWORD or --password=PASSWORD; without a value, you are asked for it. A file that --config or WRITER_PASS_FILE names is safer"
    )]
    password: Option<Secret>,
    /// Database in which the user is stored
    #[arg(long, value_name = "NAME")]
    authentication_database: Option<String>,
    /// Use TLS and trust the system's certificate authorities
    #[arg(long, alias = "ssl")]
    tls: bool,
    /// PEM file with the certificate authorities to trust instead of the system's
    #[arg(long, value_name = "FILE", alias = "ssl-ca-file")]
    tls_ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate and key
    #[arg(long, value_name = "FILE", alias = "ssl-pem-key-file")]
    tls_certificate_key_file: Option<PathBuf>,
}

/// The names of products on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProductName {
    /// MongoDB, also as MongoDB Atlas
    Mongodb,
    /// Amazon DocumentDB: commands that need a feature that it lacks are refused
    Documentdb,
}

impl ProductName {
    const fn product(self) -> Product {
        match self {
            Self::Mongodb => Product::MongoDb,
            Self::Documentdb => Product::DocumentDb,
        }
    }
}

/// Options that name the deployment, for a command whose only positional argument is the connection string.
#[derive(Debug, Args)]
pub(super) struct DeploymentArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Connection string, if not given with --uri
    #[arg(value_name = "URI", help_heading = None)]
    positional: Vec<Secret>,
}

impl DeploymentArgs {
    /// Returns the connection options. If there is a positional argument, it becomes their connection string.
    ///
    /// # Errors
    /// A positional argument is not a connection string, or there are two connection strings. The message about such
    /// a positional argument ends with `file_hint`, which says how the user names a file in this command.
    pub(super) fn into_connection_args(self, file_hint: &str) -> Result<ConnectionArgs, Error> {
        let Self { mut connection, positional } = self;
        connection.take_only_uri(positional, file_hint)?;
        Ok(connection)
    }
}

impl ConnectionArgs {
    /// If `--uri` is not given, removes the first connection string from the positional arguments, and uses it as the
    /// URI.
    ///
    /// # Errors
    /// Another argument looks like a connection string, perhaps a misspelled one. It may contain a password, so it must
    /// not be used as the name of a file.
    pub(super) fn take_uri(&mut self, positional: &mut Vec<Secret>) -> Result<(), Error> {
        if let (None, Some(at)) = (&self.uri, positional.iter().position(|text| is_connection_string(text.reveal()))) {
            self.uri = Some(positional.remove(at));
        }
        if positional.iter().any(|text| looks_like_connection_string(text.reveal().as_ref())) {
            return Err(Error::Usage(
                "an argument looks like a connection string, but it is a second one, or it begins with neither \
                 mongodb:// nor mongodb+srv://; it is not shown, because it may contain a password"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Does the same as [`take_uri`](Self::take_uri), and refuses all other positional arguments.
    pub(super) fn take_only_uri(&mut self, mut positional: Vec<Secret>, file_hint: &str) -> Result<(), Error> {
        self.take_uri(&mut positional)?;
        match positional.first() {
            Some(other) => Err(Error::Usage(format!(
                "`{}` is not a connection string, which begins with mongodb://; {file_hint}",
                other.reveal()
            ))),
            None => Ok(()),
        }
    }

    /// Converts the options to the library's type. Reads the file that `--config` names. If `-p` has no value, asks the
    /// user for the password.
    pub(super) fn into_connection(self, purpose: Purpose) -> Result<Connection, Error> {
        let file = self.config.as_deref().map_or_else(|| Ok(ConfigFile::default()), ConfigFile::read)?;
        let host = host_uri(self.host.as_deref(), self.port)
            .map_err(|problem| Error::Usage(format!("--host or --port: {problem}")))?;
        let is_typed = self.password.is_some();
        let uri =
            only_one([self.uri, host, file.uri], "server is given", "connection string, --host, or uri: in --config")?;
        let password = only_one([self.password, file.password], "password is given", "-p, or password: in --config")?;
        let password = match password {
            Some(typed) if typed.reveal().is_empty() => Some(ask_password()?),
            Some(typed) if is_typed => {
                output::tell(
                    "warning: other users can see a password on the command line; use -p without a value, or a file",
                );
                Some(typed)
            }
            password => password,
        };
        Ok(Connection {
            uri,
            database: self.db,
            collection: self.collection,
            username: self.username,
            password,
            auth_database: self.authentication_database,
            tls: self.tls,
            tls_ca_file: self.tls_ca_file,
            tls_certificate_key_file: self.tls_certificate_key_file,
            product: self.target.map(ProductName::product),
            purpose,
        })
    }

    /// Returns the file that `--config` names.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Returns the collection that the user gave with `--collection`.
    pub(super) fn collection(&self) -> Option<&str> {
        self.collection.as_deref()
    }

    /// Uses the collection of the spec if the spec [has its own](Spec::has_own_collection) and the user gave no
    /// `--collection`. Otherwise HL7 messages would be loaded into the collection that `COLLECTION_NAME` names in
    /// `.env`, for example `admissions`. If `COLLECTION_NAME` names another collection than the spec, tells the user
    /// that this variable is ignored. Tells nothing if `is_quiet` is true.
    pub(super) fn in_collection_of(self, spec: &Spec, is_quiet: bool) -> Result<Self, Error> {
        if self.collection.is_some() || !spec.has_own_collection() {
            return Ok(self);
        }
        if !is_quiet {
            tell_ignored_name(spec, &settings::load()?);
        }
        Ok(Self { collection: Some(spec.collection.clone()), ..self })
    }

    /// Returns an error if the user gave `--collection` but the spec describes several kinds of documents. Each kind
    /// has its own collection.
    pub(super) fn refuse_collection(&self, plan: &Plan) -> Result<(), Error> {
        refuse_collection(self.collection.as_deref(), plan)
    }

    /// Connects to the deployment for `purpose`. `collection` is used if neither the options nor the settings name a
    /// collection.
    pub(super) async fn connect(self, purpose: Purpose, collection: &str) -> Result<Target, Error> {
        let destination = Destination::settle(&self.into_connection(purpose)?, &settings::load()?, collection)?;
        connect(&destination).await
    }
}

/// Does the same as [`ConnectionArgs::refuse_collection`] for the value of `--collection`.
pub(super) fn refuse_collection(collection: Option<&str>, plan: &Plan) -> Result<(), Error> {
    if collection.is_none() || plan.kinds.len() == 1 {
        return Ok(());
    }
    Err(Error::Usage(
        "the spec describes several kinds of documents and names a collection for each; leave out --collection".into(),
    ))
}

/// Tells the user that `COLLECTION_NAME` is ignored, because the spec has its own collection. Does not show the value
/// of the variable, because it may be a connection string by mistake.
pub(super) fn tell_ignored_name(spec: &Spec, settings: &Settings) {
    if settings.get("COLLECTION_NAME").is_some_and(|name| name != spec.collection) {
        output::tell(format_args!(
            "notice: COLLECTION_NAME is ignored, because the built-in spec {} has its own collection, {}; to use another, \
             give --collection",
            spec.name, spec.collection
        ));
    }
}

/// Returns the database and the collection for the documents of a spec: that of `--collection`, or else the spec's own, or
/// else that of `COLLECTION_NAME`. For a command that loads sources of several specs.
pub(super) fn destination_for(connection: &Connection, spec: &Spec) -> Result<Destination, Error> {
    let mut connection = connection.clone();
    if connection.collection.is_none() && spec.has_own_collection() {
        connection.collection = Some(spec.collection.clone());
    }
    Ok(Destination::settle(&connection, &settings::load()?, &spec.collection)?)
}

/// Connects and signs in. If all addresses refuse the connection, first prints a message that the command waits for the
/// server.
pub(super) async fn connect(destination: &Destination) -> Result<Target, Error> {
    Ok(destination.connect_telling(&|text| output::tell(text)).await?)
}

/// Returns the value that is given, or `None` if none is given. Returns an error if several are given. Its message is
/// made from `what`, for example "password is given" ("the password is given twice"), and from `places`, which names
/// everything that can give the value.
fn only_one<const N: usize>(given: [Option<Secret>; N], what: &str, places: &str) -> Result<Option<Secret>, Error> {
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (first, None) => Ok(first),
        _ => Err(Error::Usage(format!("the {what} twice; use only one of these: {places}"))),
    }
}

fn ask_password() -> Result<Secret, Error> {
    prompt::password("Enter password: ").map(Secret::from).map_err(|error| match error.kind() {
        ErrorKind::Interrupted => Error::Interrupted,
        _ => Error::Stopped(format!(
            "cannot ask for the password: {error}; write -pPASSWORD or --password=PASSWORD, or name a file with --config \
             or WRITER_PASS_FILE"
        )),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        connection: ConnectionArgs,
    }

    fn typed(arguments: &[&str]) -> ConnectionArgs {
        Typed::try_parse_from(std::iter::once(&"x").chain(arguments))
            .unwrap_or_else(|error| panic!("{error}"))
            .connection
    }

    fn wishes(arguments: &[&str]) -> Connection {
        typed(arguments).into_connection(Purpose::Read).expect("the options are complete")
    }

    #[test]
    fn each_connection_option_is_passed_on() {
        let none = wishes(&[]);
        assert!(none.uri.is_none() && none.database.is_none() && none.collection.is_none() && none.username.is_none());
        assert!(none.password.is_none() && none.auth_database.is_none() && !none.tls);
        assert!(none.tls_ca_file.is_none() && none.tls_certificate_key_file.is_none() && none.purpose == Purpose::Read);
        for line in [
            "--uri mongodb://h --db d --collection c --username u --password=p --authentication-database a --tls \
             --tls-ca-file ca --tls-certificate-key-file key",
            "--uri mongodb://h -d d -c c -u u -p=p --authentication-database a --ssl --ssl-ca-file ca --ssl-pem-key-file key",
        ] {
            let all = wishes(&line.split_whitespace().collect::<Vec<_>>());
            assert_eq!(all.uri.as_ref().map(Secret::reveal), Some("mongodb://h"));
            assert_eq!((all.database.as_deref(), all.collection.as_deref()), (Some("d"), Some("c")));
            assert_eq!((all.username.as_deref(), all.auth_database.as_deref()), (Some("u"), Some("a")));
            assert_eq!((all.password.as_ref().map(Secret::reveal), all.tls), (Some("p"), true));
            assert_eq!((all.tls_ca_file, all.tls_certificate_key_file), (Some("ca".into()), Some("key".into())));
        }
    }

    #[test]
    fn the_server_and_the_password_are_given_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |text: &str| {
            let path = directory.path().join("config.yaml");
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("UTF-8").to_owned()
        };
        let both = file("uri: mongodb://h:1/\npassword: pa55\n");
        let found = wishes(&["--config", &both]);
        assert_eq!(found.uri.as_ref().map(Secret::reveal), Some("mongodb://h:1/"));
        assert_eq!(found.password.as_ref().map(Secret::reveal), Some("pa55"));
        let found = wishes(&["--host", "rs0/h", "--port", "5"]);
        assert_eq!(found.uri.as_ref().map(Secret::reveal), Some("mongodb://h:5/?replicaSet=rs0"));
        let refused = |arguments: &[&str], part: &str| {
            let error = typed(arguments).into_connection(Purpose::Read).expect_err("refused");
            assert!(matches!(&error, Error::Usage(text) if text.contains(part) && !text.contains("pa55")), "{error}");
        };
        refused(&["--config", &both, "--uri", "mongodb://g"], "the server is given twice");
        refused(&["--config", &both, "--host", "g"], "the server is given twice");
        refused(&["--config", &both, "-p=pa55"], "the password is given twice");
        refused(&["--host", "a b"], "--host or --port: give HOST");
        refused(
            &["--config", "/nonexistent"],
            "cannot use --config /nonexistent: there is no such file or directory; give a YAML file",
        );
        refused(&["--config", &file("pasword: pa55")], "line 1: the key is neither uri nor password");
    }

    /// Returns the connection string and the remaining arguments. Returns `None` if an argument is refused.
    fn taken(option: Option<&str>, positional: &[&str]) -> Option<(Option<String>, Vec<String>)> {
        let mut connection = ConnectionArgs { uri: option.map(Secret::from), ..ConnectionArgs::default() };
        let mut left: Vec<Secret> = positional.iter().map(|text| Secret::from(*text)).collect();
        connection.take_uri(&mut left).ok()?;
        let text = |secret: &Secret| secret.reveal().to_owned();
        Some((connection.uri.as_ref().map(text), left.iter().map(text).collect()))
    }

    #[test]
    fn a_connection_string_may_be_among_the_sources() {
        let check = |option: Option<&str>, positional: &[&str], expected: Option<(Option<&str>, &[&str])>| {
            let expected = expected.map(|(uri, left)| {
                (uri.map(str::to_owned), left.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
            });
            assert_eq!(taken(option, positional), expected, "{option:?} {positional:?}");
        };
        check(None, &["a.csv"], Some((None, &["a.csv"])));
        check(None, &["a.csv", "mongodb://h"], Some((Some("mongodb://h"), &["a.csv"])));
        check(None, &["mongodb://h", "a.csv", "b.csv"], Some((Some("mongodb://h"), &["a.csv", "b.csv"])));
        check(Some("mongodb://g"), &["a.csv"], Some((Some("mongodb://g"), &["a.csv"])));
        check(Some("mongodb://g"), &["mongodb://h"], None);
        check(None, &["mongodb://g", "mongodb://h"], None);
        check(None, &["http://h"], None);
    }

    #[test]
    fn a_command_without_sources_takes_a_connection_string_alone() {
        let take = |positional: &[&str]| {
            let positional = positional.iter().map(|text| Secret::from(*text)).collect();
            typed(&[]).take_only_uri(positional, "to name a file to write, use --out")
        };
        assert!(take(&[]).is_ok() && take(&["mongodb://h"]).is_ok());
        let error = take(&["out.csv"]).expect_err("refused").to_string();
        assert!(error.contains("`out.csv` is not a connection string") && error.contains("--out"), "{error}");
        assert!(take(&["mongodb://h", "out.csv"]).is_err());
    }
}
