//! Checks the server's version and the members of its replica set.

use bson::{Bson, Document, doc};
use mongodb::options::ServerAddress;

use super::{Finding, Step};
use crate::server::sharding::is_mongos;
use crate::server::{Failure, Purpose, Target, patiently};

/// The oldest supported version.
const VERSION_MIN: (i32, i32) = (6, 0);

/// For six series of releases, the first release without the fault CVE-2025-14847. For example, 7.0.28 is the first
/// such release of the series 7.0.
///
/// With this fault, a client can read the server's memory without a sign-in, by sending a malformed zlib message. The
/// memory may contain patient data.
const ZLIB_FIXED: [(i32, i32, i32); 6] = [(4, 4, 30), (5, 0, 32), (6, 0, 27), (7, 0, 28), (8, 0, 17), (8, 2, 3)];

/// Checks that the version is supported, and that a version with the fault CVE-2025-14847 does not offer zlib. Fails
/// for Amazon DocumentDB, which lacks features that a load needs.
pub(super) async fn version(target: &Target) -> Finding {
    if let Ok(Some(engine)) = target.document_db().await {
        let lacks = engine.lacks(Purpose::Load).join("; ");
        return Finding::failed(Step::Version, format!("{engine} lacks features that a load needs: {lacks}"));
    }
    let info = match admin(target, doc! { "buildInfo": 1 }).await {
        Ok(info) => info,
        Err(failure) => return Finding::unseen(Step::Version, &failure),
    };
    let version = info.get_str("version").unwrap_or("unknown").to_owned();
    let numbers: Vec<i32> = info.get_array("versionArray").map(|all| numbers(all)).unwrap_or_default();
    let [major, minor, patch] = [0, 1, 2].map(|at| numbers.get(at).copied().unwrap_or_default());
    if is_too_old((major, minor)) {
        return Finding::failed(Step::Version, format!("{version} is no longer supported; upgrade to 6.0 or newer"));
    }
    if leaks_by_zlib((major, minor, patch)) && offers_zlib(target).await {
        return Finding::warning(
            Step::Version,
            format!(
                "{version} offers zlib, so everybody who can reach the port can read the server's memory \
                 (CVE-2025-14847); upgrade, or start the server with --networkMessageCompressors snappy,zstd"
            ),
        );
    }
    Finding::ok(Step::Version, version)
}

fn numbers(all: &[Bson]) -> Vec<i32> {
    all.iter().filter_map(Bson::as_i32).collect()
}

fn is_too_old(version: (i32, i32)) -> bool {
    version < VERSION_MIN
}

/// Returns true if the version has the fault. The list does not contain all series. A series that is not in the list
/// has the fault if it is older than 8.2, the newest series in the list. So 7.3 has the fault, and 8.3 does not.
fn leaks_by_zlib(version: (i32, i32, i32)) -> bool {
    let series = ZLIB_FIXED.into_iter().find(|fixed| (fixed.0, fixed.1) == (version.0, version.1));
    series.map_or(version < ZLIB_FIXED[ZLIB_FIXED.len() - 1], |fixed| version < fixed)
}

async fn offers_zlib(target: &Target) -> bool {
    let offered = admin(target, doc! { "hello": 1, "compression": ["zlib"] }).await;
    offered.is_ok_and(|reply| {
        reply.get_array("compression").is_ok_and(|all| all.iter().any(|name| name.as_str() == Some("zlib")))
    })
}

/// Reports whether the deployment is a standalone server, a replica set or a sharded cluster. For a replica set,
/// reports the primary and checks that this machine can reach the members that the server names.
pub(super) async fn topology(target: &Target, known: &[ServerAddress], findings: &mut Vec<Finding>) {
    let hello = match admin(target, doc! { "hello": 1 }).await {
        Ok(hello) => hello,
        Err(failure) => return findings.push(Finding::unseen(Step::Topology, &failure)),
    };
    if is_mongos(&hello) {
        return findings.push(Finding::ok(Step::Topology, "a sharded cluster"));
    }
    let Ok(set) = hello.get_str("setName") else {
        return findings.push(Finding::warning(
            Step::Topology,
            "a standalone server: if its disk fails, the data is lost; make it a replica set (--replSet, rs.initiate())",
        ));
    };
    let members = members(&hello);
    let mut down = Vec::new();
    for member in members.iter().filter(|member| !known.contains(member)) {
        if let Err(how) = super::network::knock(member).await {
            down.push(format!("member {member} of replica set {set} cannot be reached: {how}"));
        }
    }
    let primary = hello.get_str("primary").unwrap_or("unknown");
    let fine = format!("replica set {set}, primary {primary}; members that the server reports: {}", members.len());
    findings.push(if down.is_empty() {
        Finding::ok(Step::Topology, fine)
    } else {
        Finding::warning(Step::Topology, down.join("; "))
    });
}

fn members(hello: &Document) -> Vec<ServerAddress> {
    let lists = ["hosts", "passives"].into_iter().filter_map(|name| hello.get_array(name).ok());
    lists.flatten().filter_map(Bson::as_str).filter_map(|host| ServerAddress::parse(host).ok()).collect()
}

async fn admin(target: &Target, command: Document) -> Result<Document, Failure> {
    let admin = target.client.database("admin");
    patiently(|| admin.run_command(command.clone()).into_future()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_before_the_fix_in_their_series_have_the_fault() {
        let check = |version, expected| assert_eq!(leaks_by_zlib(version), expected, "{version:?}");
        check((6, 0, 5), true);
        check((6, 0, 26), true);
        check((6, 0, 27), false);
        check((7, 0, 28), false);
        check((8, 0, 16), true);
        check((8, 2, 2), true);
        check((8, 2, 3), false);
        check((8, 3, 0), false);
        check((7, 3, 4), true);
        for (major, minor, patch) in [(4, 4, 30), (5, 0, 32), (6, 0, 27), (7, 0, 28), (8, 0, 17), (8, 2, 3)] {
            check((major, minor, patch), false);
            check((major, minor, patch - 1), true);
        }
        check((8, 1, 99), true);
        check((9, 0, 0), false);
    }

    #[test]
    fn versions_from_6_0_on_are_supported() {
        let found = [(5, 0), (5, 9), (6, 0), (6, 1), (10, 0)].map(is_too_old);
        assert_eq!(found, [true, true, false, false, false]);
    }

    #[test]
    fn hosts_and_passives_are_the_members() {
        let hello = doc! { "hosts": ["a:1", "b"], "passives": ["c:3", "not an address:x"], "arbiters": ["d:4"] };
        let found: Vec<String> = members(&hello).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["a:1", "b:27017", "c:3"]);
        assert!(members(&doc! {}).is_empty());
        assert_eq!(numbers(&[Bson::Int32(6), Bson::Int32(0), Bson::from("x"), Bson::Int32(5)]), [6, 0, 5]);
    }
}
