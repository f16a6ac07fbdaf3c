//! `medlift provision`.

use std::fmt;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use medlift::deployment::provision::{Changes, Step, Wanted, WantedUser, WantedUsers, init_js};
use medlift::error::Error;
use medlift::ledger::LEDGER_COLLECTION;
use medlift::server::{Destination, Purpose, Secret, Settings};
use medlift::spec::Spec;
use serde::Serialize;

use super::connection::{ConnectionArgs, DeploymentArgs};
use super::dataset::DatasetArgs;
use super::output;

const EXAMPLES: &str = "Examples:
  medlift provision --plan
  medlift provision --uri mongodb://localhost:27017
  medlift provision --emit-init-js > init-mongo.js";

/// Set up a deployment: collection, validator, indexes, view, roles and users
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProvisionArgs {
    #[command(flatten)]
    dataset: DatasetArgs,
    /// Print the necessary changes, but do not make them
    #[arg(long)]
    plan: bool,
    /// Print a script that sets up the same state at the first start of the database container
    #[arg(long, conflicts_with = "plan")]
    emit_init_js: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    deployment: DeploymentArgs,
}

/// The result of the command.
#[derive(Debug, Serialize)]
struct Provisioned {
    /// True if the steps were carried out, false with `--plan`.
    carried_out: bool,
    /// The steps, in order.
    steps: Vec<String>,
    /// Messages about users that are not changed, because Medlift did not create them.
    left_alone: Vec<String>,
    /// Messages about optional users that are not created, because their password is not set. Each message says how to
    /// create the user.
    left_out: Vec<String>,
}

impl ProvisionArgs {
    /// Runs the command.
    pub(super) fn run(self: Box<Self>) -> Result<ExitCode, Error> {
        let spec = self.dataset.spec()?;
        if self.emit_init_js {
            output::write_stdout(init_js(&spec, LEDGER_COLLECTION).as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let connection = self.deployment.into_connection_args()?;
        let provisioned = provision(connection, &spec, self.plan)?;
        output::print(&provisioned, self.json)?;
        Ok(provisioned.exit_code())
    }
}

/// Determines the necessary steps, and carries them out if `only_plan` is false.
fn provision(connection: ConnectionArgs, spec: &Spec, only_plan: bool) -> Result<Provisioned, Error> {
    let settings = Settings::load()?;
    let WantedUsers { users, left_out } = WantedUser::all(&settings, ask)?;
    let connection = connection.into_connection(Purpose::Administer)?;
    let destination = Destination::settle(&connection, &settings, &spec.collection)?;
    let (database, collection) = (destination.database.clone(), destination.collection.clone());
    let wanted = Wanted { spec, database, collection, ledger: LEDGER_COLLECTION.to_owned(), users };
    super::run_async(async |_| {
        let target = destination.connect().await?;
        let plan = Changes::make(&target, &destination, &wanted).await?;
        if !only_plan {
            let done = |step: &Step| output::tell(format_args!("done: {step}"));
            plan.carry_out(&target, done, |text| output::tell(text)).await?;
        }
        Ok(Provisioned {
            carried_out: !only_plan,
            steps: plan.steps.iter().map(ToString::to_string).collect(),
            left_alone: plan.left_alone,
            left_out,
        })
    })
}

impl Provisioned {
    /// Returns 1 if a user was not changed because Medlift did not create it, otherwise 0.
    fn exit_code(&self) -> ExitCode {
        if self.left_alone.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Provisioned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.steps.len(), self.carried_out) {
            (0, _) => writeln!(formatter, "nothing to do: the deployment is as wanted")?,
            // Each step was reported when it was carried out.
            (count, true) => writeln!(formatter, "{count} steps carried out")?,
            (count, false) => writeln!(formatter, "{count} steps to do; run without --plan to carry them out:")?,
        }
        if !self.carried_out {
            self.steps.iter().try_for_each(|step| writeln!(formatter, "  {step}"))?;
        }
        self.left_alone.iter().try_for_each(|left| writeln!(formatter, "left alone: {left}"))?;
        self.left_out.iter().try_for_each(|left| writeln!(formatter, "left out: {left}"))
    }
}

/// Asks the user for the password of `variable`. Returns `None` if standard input is not a terminal or the answer is
/// empty.
fn ask(variable: &str) -> Option<Secret> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    let typed = rpassword::prompt_password(format!("{variable}: ")).ok()?;
    (!typed.is_empty()).then(|| typed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provisioned(carried_out: bool, steps: &[&str], left_alone: &[&str], left_out: &[&str]) -> Provisioned {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Provisioned { carried_out, steps: texts(steps), left_alone: texts(left_alone), left_out: texts(left_out) }
    }

    #[test]
    fn steps_are_listed_only_before_they_are_carried_out() {
        let check = |found: Provisioned, expected: &str| assert_eq!(found.to_string(), expected);
        let nothing = "nothing to do: the deployment is as wanted\n";
        check(provisioned(true, &[], &[], &[]), nothing);
        check(provisioned(false, &[], &[], &["u"]), &format!("{nothing}left out: u\n"));
        check(provisioned(true, &["a", "b"], &["v"], &[]), "2 steps carried out\nleft alone: v\n");
        let todo = "2 steps to do; run without --plan to carry them out:\n  a\n  b\n";
        check(provisioned(false, &["a", "b"], &[], &[]), todo);
    }

    #[test]
    fn an_unchanged_user_is_a_failure_but_a_missing_password_is_not() {
        assert_eq!(provisioned(true, &["a"], &[], &["u"]).exit_code(), ExitCode::SUCCESS);
        assert_eq!(provisioned(true, &[], &["v"], &[]).exit_code(), ExitCode::FAILURE);
    }
}
