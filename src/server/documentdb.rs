//! Amazon DocumentDB: the features that Medlift needs and that some or all of its versions lack. DocumentDB speaks
//! MongoDB's protocol, but is another product.
//!
//! The source of each limit is Amazon's table "Supported MongoDB APIs, operations, and data types in Amazon
//! DocumentDB", unless the comment names another page. According to the table, DocumentDB does not support features
//! that the table does not list. `docs/documentdb.md` has the addresses.

use std::fmt;

use bson::{Bson, Document};

use super::{Purpose, ServerError, Target, patiently};

/// The product behind a connection string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// MongoDB, also as MongoDB Atlas.
    MongoDb,
    /// Amazon DocumentDB.
    DocumentDb,
}

/// A version of Amazon DocumentDB: major, minor, patch.
type Version = (i32, i32, i32);

/// The engine of a cluster of Amazon DocumentDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine {
    version: Version,
    /// Whether it is an elastic cluster. Elastic clusters lack more features than clusters of instances.
    is_elastic: bool,
}

/// A feature of MongoDB that DocumentDB lacks, at least in some versions.
struct Limit {
    /// The feature.
    feature: &'static str,
    /// What Medlift uses it for.
    used_for: &'static str,
    /// The first versions that have the feature, one for each series. Empty if no version has it.
    since: &'static [Version],
    /// The purposes of connections that need the feature.
    needed_for: &'static [Purpose],
}

/// The features that DocumentDB lacks, at least in some versions. Elastic clusters have none of them.
const LIMITS: [Limit; 9] = [
    // Amazon's table lists the commands `update` and `findAndModify`, and the update operators. It does not list
    // pipelines in updates. Users report that such updates fail (gravitee-io/gravitee-access-management#5832).
    Limit {
        feature: "updates with an aggregation pipeline",
        used_for: "the leases and checkpoints of the ledger",
        since: &[],
        needed_for: &[Purpose::Load],
    },
    // Amazon's table lists the other system variables, but not `$$NOW`.
    Limit {
        feature: "the variable $$NOW",
        used_for: "the server's time in the ledger, and the years in the view for analysts",
        since: &[],
        needed_for: &[Purpose::Load, Purpose::Read, Purpose::Administer],
    },
    Limit {
        feature: "min and max of a query",
        used_for: "reading the collection in ranges, for the proof and for exports",
        since: &[],
        needed_for: &[Purpose::Load, Purpose::Read],
    },
    // Source: Amazon's page "Functional differences".
    Limit {
        feature: "users and roles outside the database admin",
        used_for: "the users that provisioning creates",
        since: &[],
        needed_for: &[Purpose::Administer],
    },
    Limit { feature: "$expr", used_for: "the leases of the ledger", since: &[(4, 0, 0)], needed_for: &[Purpose::Load] },
    Limit {
        feature: "validators with $jsonSchema",
        used_for: "the validator of the collection",
        since: &[(4, 0, 0)],
        needed_for: &[Purpose::Load, Purpose::Administer],
    },
    Limit {
        feature: "views",
        used_for: "the de-identified view for analysts",
        since: &[(8, 0, 0)],
        needed_for: &[Purpose::Administer],
    },
    Limit {
        feature: "$dateDiff",
        used_for: "the number of days between two dates in that view",
        since: &[(5, 0, 0)],
        needed_for: &[Purpose::Administer],
    },
    // Source: Amazon's page "Authentication using SCRAM-SHA-256".
    Limit {
        feature: "sign-in with SCRAM-SHA-256",
        used_for: "the users that provisioning creates",
        since: &[(5, 0, 1), (8, 0, 1)],
        needed_for: &[Purpose::Administer],
    },
];

impl Limit {
    /// Returns true if this engine has the feature.
    fn is_in(&self, engine: Engine) -> bool {
        if engine.is_elastic {
            return false;
        }
        let series = self.since.iter().find(|since| since.0 == engine.version.0);
        series.or(self.since.last()).is_some_and(|since| engine.version >= *since)
    }
}

impl Engine {
    /// Returns the features that this engine lacks and that a connection for `purpose` needs, with their use. Empty if
    /// it lacks none.
    pub fn lacks(self, purpose: Purpose) -> Vec<String> {
        let is_lacking = |limit: &&Limit| limit.needed_for.contains(&purpose) && !limit.is_in(self);
        let text = |limit: &Limit| format!("{} ({})", limit.feature, limit.used_for);
        LIMITS.iter().filter(is_lacking).map(text).collect()
    }

    /// Reads the version from the answers to `getEngineVersion` and `buildInfo`. From 5.0.2 and 8.0.2 on, the answer to
    /// `getEngineVersion` is for example `8.0.2+4.0.12345`. In earlier versions, it is only the version of the patch,
    /// for example `3.0.2509`. Then the answer to `buildInfo` is used. It contains the version of MongoDB with which
    /// the engine is compatible.
    fn of(engine: Option<&Document>, build: &Document, address: &str) -> Self {
        let text = engine.and_then(|answer| answer.get_str("engineVersion").ok()).unwrap_or_default();
        let version = text.split_once('+').and_then(|(version, _)| version_of(version));
        let build = build.get_str("version").ok().and_then(version_of);
        Self { version: version.or(build).unwrap_or_default(), is_elastic: address.contains(".docdb-elastic.") }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(formatter, "Amazon DocumentDB {major}.{minor}.{patch}")?;
        if self.is_elastic { formatter.write_str(" (elastic cluster)") } else { Ok(()) }
    }
}

fn version_of(text: &str) -> Option<Version> {
    let mut numbers = text.split('.').map(str::parse);
    let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
    Some((next()?, next()?, next()?))
}

/// Returns true if the host names are those that Amazon gives to clusters of DocumentDB. A connection with TLS must use
/// these names, because the cluster's certificate is valid only for them.
fn is_of_amazon(address: &str) -> bool {
    [".docdb.", ".docdb-elastic."].iter().any(|part| address.contains(part)) && address.contains(".amazonaws.com")
}

impl Target {
    /// Returns the engine if the target is Amazon DocumentDB, otherwise `None`. If the user names the product, this
    /// decides. Otherwise the address decides.
    ///
    /// # Errors
    /// If the server cannot be queried about its version.
    pub async fn document_db(&self) -> Result<Option<Engine>, ServerError> {
        let is_document_db = match self.product {
            Some(product) => product == Product::DocumentDb,
            None => is_of_amazon(&self.address),
        };
        if !is_document_db {
            return Ok(None);
        }
        let database = self.db();
        let ask = async |name: &str| {
            let command = Document::from_iter([(name.to_owned(), Bson::Int32(1))]);
            patiently(|| database.run_command(command.clone()).into_future()).await
        };
        let build = ask("buildInfo").await.map_err(|failure| {
            let doing = "read the version of the server".to_owned();
            ServerError::Command { doing, failure }
        })?;
        // An error is ignored: a server that is not DocumentDB does not know this command. The version is then that of
        // `buildInfo`.
        let engine = ask("getEngineVersion").await.ok();
        Ok(Some(Engine::of(engine.as_ref(), &build, &self.address)))
    }
}

/// Fails if the target is Amazon DocumentDB and lacks a feature that a connection for `purpose` needs.
pub(super) async fn refuse(target: &Target, purpose: Purpose) -> Result<(), ServerError> {
    let Some(engine) = target.document_db().await? else { return Ok(()) };
    let lacks = engine.lacks(purpose);
    if lacks.is_empty() {
        return Ok(());
    }
    Err(ServerError::Lacks { server: engine.to_string(), features: lacks.join("; ") })
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    const CLUSTER: &str = "ward.cluster-c3x.eu-west-3.docdb.amazonaws.com:27017";
    const ELASTIC: &str = "ward-c3x.eu-west-3.docdb-elastic.amazonaws.com:27017";

    fn engine(version: Version) -> Engine {
        Engine { version, is_elastic: false }
    }

    #[test]
    fn the_address_of_a_cluster_is_recognised() {
        let china = "ward.cluster-c3x.docdb.cn-north-1.amazonaws.com.cn:27017";
        assert_eq!([CLUSTER, ELASTIC, china].map(is_of_amazon), [true; 3]);
        let others = ["localhost:27017", "docdb.example.org:27017", "ec2-1.eu-west-3.compute.amazonaws.com:27017"];
        assert_eq!(others.map(is_of_amazon), [false; 3]);
    }

    #[test]
    fn the_version_is_that_of_the_engine_or_of_the_compatible_mongodb() {
        let check = |engine: Option<&str>, build: &str, address: &str, expected: &str| {
            let answer = engine.map(|text| doc! { "engineVersion": text, "ok": 1 });
            let found = Engine::of(answer.as_ref(), &doc! { "version": build, "ok": 1 }, address);
            assert_eq!(found.to_string(), format!("Amazon DocumentDB {expected}"));
        };
        check(Some("8.0.2+4.0.12345"), "8.0.0", CLUSTER, "8.0.2");
        check(Some("3.0.2509"), "5.0.0", CLUSTER, "5.0.0");
        check(None, "3.6.0", CLUSTER, "3.6.0");
        check(Some("3.0.2509"), "5.0.0", ELASTIC, "5.0.0 (elastic cluster)");
        check(None, "unknown", CLUSTER, "0.0.0");
    }

    #[test]
    fn a_feature_is_there_from_its_first_version_in_each_series() {
        let sign_in = &LIMITS[8];
        let found = [(4, 0, 0), (5, 0, 0), (5, 0, 1), (5, 0, 2), (8, 0, 0), (8, 0, 1), (9, 0, 0)]
            .map(|version| sign_in.is_in(engine(version)));
        assert_eq!(found, [false, false, true, true, false, true, true]);
        assert!(!sign_in.is_in(Engine { version: (8, 0, 1), is_elastic: true }));
        assert!(!LIMITS[0].is_in(engine((99, 0, 0))), "no version has it");
    }

    #[test]
    fn each_command_is_told_what_it_needs_and_the_engine_lacks() {
        let features = |version: Version, purpose: Purpose| -> Vec<String> {
            let text = |lack: String| lack.split(" (").next().unwrap_or_default().to_owned();
            engine(version).lacks(purpose).into_iter().map(text).collect()
        };
        let always = ["updates with an aggregation pipeline", "the variable $$NOW", "min and max of a query"];
        for version in [(4, 0, 0), (5, 0, 2), (8, 0, 2)] {
            assert_eq!(features(version, Purpose::Load), always, "{version:?}");
            assert_eq!(features(version, Purpose::Read), always[1..], "{version:?}");
        }
        let oldest = [&always[..], &["$expr", "validators with $jsonSchema"]].concat();
        assert_eq!(features((3, 6, 0), Purpose::Load), oldest);
        let users = ["the variable $$NOW", "users and roles outside the database admin"];
        assert_eq!(features((8, 0, 1), Purpose::Administer), users);
        let older = [&users[..], &["views", "sign-in with SCRAM-SHA-256"]].concat();
        assert_eq!(features((5, 0, 0), Purpose::Administer), older);
    }
}
