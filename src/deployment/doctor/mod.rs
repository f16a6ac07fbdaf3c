//! Checks, step by step, whether the deployment is fit for patient data, and reports the cause of each failure.
//!
//! The check changes nothing: its only write matches no document. If the user lacks the privilege for a step, the step
//! is reported as skipped.

mod network;
mod role;
mod server;
mod storage;

use std::fmt;

use mongodb::options::ClientOptions;
use serde::Serialize;

use crate::deployment::privileges::Privileges;
use crate::deployment::provision::folded_collections;
use crate::deployment::schema;
use crate::server::{Destination, Failure, ServerError, Target, Unreachable, address};
use crate::spec::Spec;
use role::Advice;

/// The result of a check of the deployment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Examination {
    /// Hosts and ports of the deployment.
    pub address: String,
    /// The findings, in the order of the steps.
    pub findings: Vec<Finding>,
}

/// The result of one step of the check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The step.
    pub step: Step,
    /// The result of the step.
    pub state: State,
    /// What was found. If something is wrong, also what to do.
    pub message: String,
}

/// A step of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Checks that the host names can be resolved.
    Name,
    /// Checks that the ports accept connections.
    Port,
    /// Checks that both sides use TLS or neither does, and that the certificates are valid. Warns if another machine is
    /// reached without TLS.
    Tls,
    /// Checks that the server accepts the sign-in of the user. Warns if the server requires no sign-in.
    SignIn,
    /// Fails if the server's version is no longer supported. Warns if clients can read the server's memory because of
    /// the fault CVE-2025-14847.
    Version,
    /// Checks that there is a primary. Warns of a standalone server, and of members that this machine cannot reach.
    Topology,
    /// Reports what the user may do: load, read, read only the analysts' view, or administer. Fails if the user may do
    /// none of these. Warns if the user may bypass the validator.
    Role,
    /// Warns if the collection does not have the spec's validator, or if indexes are still being built. Fails if the
    /// collection is a view, or if its validator only warns. For HL7 v2 messages, also warns if the collections of the
    /// state lack indexes.
    Collection,
    /// Checks that a journaled majority acknowledges writes.
    WriteConcern,
    /// Checks that the server's disk has enough free space.
    Disk,
    /// Checks that the server logs only slow operations and that its profiler is off. Logged operations may contain
    /// patients' values.
    Logging,
}

/// Whether a step of the check succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The step found no problem.
    Ok,
    /// The step could not be carried out.
    Skipped,
    /// The step found a problem, but the deployment works.
    Warning,
    /// The deployment does not work, or is not safe.
    Failed,
}

impl Step {
    /// Returns the name of the step for the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Port => "port",
            Self::Tls => "tls",
            Self::SignIn => "sign-in",
            Self::Version => "version",
            Self::Topology => "topology",
            Self::Role => "role",
            Self::Collection => "collection",
            Self::WriteConcern => "write concern",
            Self::Disk => "disk",
            Self::Logging => "logging",
        }
    }
}

impl Finding {
    fn new(step: Step, state: State, message: impl Into<String>) -> Self {
        Self { step, state, message: message.into() }
    }

    fn ok(step: Step, message: impl Into<String>) -> Self {
        Self::new(step, State::Ok, message)
    }

    fn warning(step: Step, message: impl Into<String>) -> Self {
        Self::new(step, State::Warning, message)
    }

    fn failed(step: Step, message: impl Into<String>) -> Self {
        Self::new(step, State::Failed, message)
    }

    /// Makes the finding for a failed command. If the user may not run the command, the step is skipped.
    fn unseen(step: Step, failure: &Failure) -> Self {
        match failure {
            Failure::NotAuthorized { .. } => {
                Self::new(step, State::Skipped, "not checked, because the user lacks the privilege")
            }
            other => Self::failed(step, other.to_string()),
        }
    }
}

impl Examination {
    /// Returns the exit code. The first failed step decides: 3 if it concerns the connection or the sign-in, otherwise
    /// 1. Returns 0 if no step failed.
    pub fn exit_code(&self) -> u8 {
        let failed = |finding: &&Finding| finding.state == State::Failed;
        match self.findings.iter().find(failed).map(|finding| finding.step) {
            None => 0,
            Some(Step::Name | Step::Port | Step::Tls | Step::SignIn) => 3,
            Some(_) => 1,
        }
    }
}

impl fmt::Display for Examination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.address)?;
        for finding in &self.findings {
            let state = match finding.state {
                State::Ok => "ok",
                State::Skipped => "skipped",
                State::Warning => "warning",
                State::Failed => "FAILED",
            };
            writeln!(formatter, "  {:13}  {state:7}  {}", finding.step.name(), finding.message)?;
        }
        Ok(())
    }
}

/// Checks the deployment of `destination`. If the server cannot be reached, the remaining steps have no findings. If
/// the server refuses the sign-in, of the remaining steps only version and topology are checked. `ledger` is the name
/// of the ledger's collection.
pub async fn examine(destination: &Destination, spec: &Spec, ledger: &str) -> Examination {
    let options = match destination.options().await {
        Ok(options) => options,
        Err(error) => return Examination { address: String::new(), findings: vec![unresolved(&error)] },
    };
    let mut findings = Vec::new();
    let reachable = network::examine(&options.hosts, &mut findings).await;
    if reachable {
        match destination.connect().await {
            Ok(target) => examine_target(&target, &options, spec, ledger, &mut findings).await,
            Err(error) => {
                refused(&error, &options, &mut findings);
                if matches!(error.failure(), Some(Failure::SignIn(_)))
                    && let Ok(target) = destination.reach().await
                {
                    examine_server(&target, &options, &mut findings).await;
                }
            }
        }
    }
    Examination { address: address(&options), findings }
}

/// Checks the deployment of `destination` without a sign-in. `error` says why no user can sign in. It becomes the
/// finding of the sign-in step. Later steps that need a user have no findings.
pub async fn examine_without_user(destination: &Destination, error: &ServerError) -> Examination {
    let options = match destination.options().await {
        Ok(options) => options,
        Err(error) => return Examination { address: String::new(), findings: vec![unresolved(&error)] },
    };
    let mut findings = Vec::new();
    let reached =
        if network::examine(&options.hosts, &mut findings).await { Some(destination.reach().await) } else { None };
    match &reached {
        Some(Ok(_)) => findings.push(network::tls(&options)),
        Some(Err(error)) => refused(error, &options, &mut findings),
        None => {}
    }
    findings.push(Finding::failed(Step::SignIn, error.to_string()));
    if let Some(Ok(target)) = &reached {
        examine_server(target, &options, &mut findings).await;
    }
    Examination { address: address(&options), findings }
}

/// Checks version and topology. These steps need no sign-in.
async fn examine_server(target: &Target, options: &ClientOptions, findings: &mut Vec<Finding>) {
    findings.push(server::version(target).await);
    server::topology(target, &options.hosts, findings).await;
}

/// Makes the finding for a `mongodb+srv` name that cannot be resolved.
fn unresolved(error: &ServerError) -> Finding {
    Finding::failed(Step::Name, error.to_string())
}

/// Adds the findings for a refused connection: the failed step, and the successful steps before it.
fn refused(error: &ServerError, options: &ClientOptions, findings: &mut Vec<Finding>) {
    let ServerError::Connect { failure, .. } = error else {
        findings.push(Finding::failed(Step::SignIn, error.to_string()));
        return;
    };
    let message = failure.to_string();
    match failure {
        Failure::TlsRequired | Failure::TlsRefused | Failure::Certificate(_) | Failure::ClientCertificate => {
            findings.push(Finding::failed(Step::Tls, message));
        }
        Failure::SignIn(_) => {
            findings.push(network::tls(options));
            findings.push(Finding::failed(Step::SignIn, message));
        }
        Failure::Unreachable(Unreachable::NoPrimary | Unreachable::Members | Unreachable::OtherReplicaSet) => {
            findings.push(network::tls(options));
            findings.push(Finding::failed(Step::Topology, message));
        }
        _ => findings.push(Finding::failed(Step::Port, message)),
    }
}

async fn examine_target(
    target: &Target,
    options: &ClientOptions,
    spec: &Spec,
    ledger: &str,
    findings: &mut Vec<Finding>,
) {
    findings.push(network::tls(options));
    findings.push(sign_in(target));
    examine_server(target, options, findings).await;
    let state = schema::read(target).await;
    match Privileges::read(target).await {
        Ok(privileges) => {
            let place = (target.database.as_str(), target.collection.as_str());
            let is_view = state.as_ref().is_ok_and(|state| state.is_view);
            let on_rights =
                if is_view { storage::collection_of(&target.collection) } else { target.advice_on_rights() };
            let advice = Advice { on_rights, provision: schema::provision_command(target, spec) };
            let folded = folded_collections(spec, &target.collection);
            privileges.examine(place, ledger, &folded, &advice, findings);
        }
        Err(failure) => findings.push(Finding::unseen(Step::Role, &failure)),
    }
    findings.push(storage::collection(target, state, spec).await);
    findings.extend(storage::state(target, spec).await);
    findings.push(storage::write_concern(target, ledger).await);
    findings.push(storage::disk(target).await);
    findings.push(storage::logging(target).await);
}

fn sign_in(target: &Target) -> Finding {
    match &target.user {
        Some(user) => Finding::ok(Step::SignIn, format!("as {user}")),
        None if target.is_certificate_sign_in => Finding::ok(Step::SignIn, "with the client certificate"),
        None => Finding::warning(
            Step::SignIn,
            "the server accepts everybody without a sign-in; start it with access control (--auth, or a key file for a replica set)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{CertificateFault, SignIn};

    const STEPS: [(Step, &str, &str, u8); 11] = [
        (Step::Name, "name", "name", 3),
        (Step::Port, "port", "port", 3),
        (Step::Tls, "tls", "tls", 3),
        (Step::SignIn, "sign-in", "sign_in", 3),
        (Step::Version, "version", "version", 1),
        (Step::Topology, "topology", "topology", 1),
        (Step::Role, "role", "role", 1),
        (Step::Collection, "collection", "collection", 1),
        (Step::WriteConcern, "write concern", "write_concern", 1),
        (Step::Disk, "disk", "disk", 1),
        (Step::Logging, "logging", "logging", 1),
    ];

    fn of(findings: &[(Step, State)]) -> Examination {
        let findings = findings.iter().map(|(step, state)| Finding::new(*step, *state, "told")).collect();
        Examination { address: "h:1".to_owned(), findings }
    }

    #[test]
    fn every_step_has_its_name_and_its_exit_code_if_it_fails() {
        for (step, name, json, code) in STEPS {
            assert_eq!((step.name(), serde_json::json!(step)), (name, json.into()));
            assert_eq!(of(&[(Step::Name, State::Ok), (step, State::Failed)]).exit_code(), code, "{name}");
            for state in [State::Ok, State::Skipped, State::Warning] {
                assert_eq!(of(&[(step, state)]).exit_code(), 0, "{name} {state:?}");
            }
        }
        // The first failed step decides the exit code.
        assert_eq!(of(&[(Step::SignIn, State::Failed), (Step::Disk, State::Failed)]).exit_code(), 3);
        assert_eq!(of(&[(Step::Disk, State::Failed), (Step::SignIn, State::Failed)]).exit_code(), 1);
        assert_eq!(of(&[]).exit_code(), 0);
    }

    #[test]
    fn each_finding_is_one_line() {
        let states = [State::Ok, State::Skipped, State::Warning, State::Failed].map(|state| (Step::Disk, state));
        let expected = "h:1\n  disk           ok       told\n  disk           skipped  told\n  disk           warning  told\n  disk           FAILED   told\n";
        assert_eq!(of(&states).to_string(), expected);
    }

    #[test]
    fn a_forbidden_command_is_skipped_and_any_other_failure_fails() {
        let refused = Finding::unseen(Step::Disk, &Failure::NotAuthorized { command: None });
        assert_eq!(
            refused,
            Finding::new(Step::Disk, State::Skipped, "not checked, because the user lacks the privilege")
        );
        assert_eq!(
            Finding::unseen(Step::Disk, &Failure::Timeout),
            Finding::failed(Step::Disk, Failure::Timeout.to_string())
        );
    }

    #[test]
    fn a_refused_connection_fails_the_right_step() {
        let options = ClientOptions::default();
        let check = |failure: Failure, expected: &[(Step, State)]| {
            let error = ServerError::Connect { address: "h:1".to_owned(), failure };
            let mut findings = Vec::new();
            refused(&error, &options, &mut findings);
            let found: Vec<_> = findings.iter().map(|finding| (finding.step, finding.state)).collect();
            assert_eq!(found, expected, "{error}");
        };
        let tls = (Step::Tls, State::Ok);
        for failure in [
            Failure::TlsRequired,
            Failure::TlsRefused,
            Failure::ClientCertificate,
            Failure::Certificate(CertificateFault::Expired),
        ] {
            check(failure, &[(Step::Tls, State::Failed)]);
        }
        check(Failure::SignIn(SignIn::Refused), &[tls, (Step::SignIn, State::Failed)]);
        for how in [Unreachable::NoPrimary, Unreachable::Members, Unreachable::OtherReplicaSet] {
            check(Failure::Unreachable(how), &[tls, (Step::Topology, State::Failed)]);
        }
        for how in [Unreachable::Name, Unreachable::Refused, Unreachable::Silent, Unreachable::Lost] {
            check(Failure::Unreachable(how), &[(Step::Port, State::Failed)]);
        }
        check(Failure::Timeout, &[(Step::Port, State::Failed)]);
    }
}
