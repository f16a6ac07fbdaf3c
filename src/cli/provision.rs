//! `medlift provision`.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use medlift::deployment::provision::{Changes, Sharding, Step, Wanted, WantedUser, WantedUsers, init_js};
use medlift::error::Error;
use medlift::ledger::LEDGER_COLLECTION;
use medlift::server::{Destination, Purpose, Target, refuse_name_for_data, view_name};
use medlift::spec::Spec;
use medlift::wording::counted;
use serde::Serialize;

use super::connection::{ConnectionArgs, DeploymentArgs, connect};
use super::dataset::DatasetArgs;
use super::number::whole;
use super::passwords::Source;
use super::{output, settings};

/// The file from which Medlift reads settings.
const ENV_FILE: &str = ".env";

const WITHOUT_SIGN_IN: &str = "notice: the server accepts everybody without a sign-in, so the users protect nothing yet; \
                               docs/install.md (\"The first user of a new server\") says how to require a sign-in";

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
    /// Generate the passwords that are not set, and add them to this file before the users are created [default: .env].
    /// Medlift itself reads only .env in the working directory
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ENV_FILE,
        hide_default_value = true
    )]
    generate_missing: Option<PathBuf>,
    /// Write each generated password to a new file in this directory instead
    #[arg(long, value_name = "DIR", requires = "generate_missing")]
    to_files: Option<PathBuf>,
    /// Shard the collection on _id, and give each shard an equal range of the _ids. For a new collection on a mongos
    #[arg(long)]
    sharded: bool,
    /// Number of shards that receive a range, with --sharded [default: all]
    #[arg(long, value_name = "N", requires = "sharded", value_parser = whole(1_usize, 1_000))]
    shards: Option<usize>,
    /// Print a script that sets up the same state at the first start of the database container
    #[arg(long, conflicts_with_all = ["plan", "generate_missing", "sharded"])]
    emit_init_js: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    deployment: DeploymentArgs,
}

/// The result of the command.
#[derive(Debug, Default, Serialize)]
struct Provisioned {
    /// True if the steps were carried out, false with `--plan`.
    carried_out: bool,
    /// The steps, in order.
    steps: Vec<String>,
    /// Messages about users that are not changed, because Medlift did not create them.
    left_alone: Vec<String>,
    /// Messages about optional users that are not created, because their password is not set. Each message says how to
    /// create the user. Also messages about ranges that are not changed, because the collection has documents.
    left_out: Vec<String>,
    /// Messages about generated passwords. Each says where the password is, and does not show it.
    passwords: Vec<String>,
}

impl ProvisionArgs {
    /// Runs the command.
    pub(super) fn run(self: Box<Self>) -> Result<ExitCode, Error> {
        let source = self.passwords()?;
        let connection = self.deployment.into_connection_args("to name a spec, use --spec")?;
        let sharding = self.sharded.then_some(Sharding { shards: self.shards });
        let all = self.dataset.dataset()?;
        // All types of FHIR resources are provisioned together. Other kinds of documents are provisioned one by one.
        let specs = if all.columns.is_divided() && connection.collection().is_none() && !self.emit_init_js {
            all.kinds
        } else {
            vec![self.dataset.kind(connection.collection())?]
        };
        let connection = connection.in_collection_of(&specs[0], false)?;
        if self.emit_init_js {
            output::write_stdout(init_js(&specs[0], LEDGER_COLLECTION).as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let provisioned = provision(connection, &specs, sharding, &source, self.plan)?;
        output::print(&provisioned, self.json)?;
        Ok(provisioned.exit_code())
    }

    /// Returns the source of the passwords that are not set.
    fn passwords(&self) -> Result<Source, Error> {
        match (&self.generate_missing, &self.to_files) {
            (None, _) => Ok(Source::default()),
            (Some(file), None) => Ok(Source::EnvFile(file.clone())),
            (Some(file), Some(directory)) if file.as_os_str() == ENV_FILE => Ok(Source::Directory(directory.clone())),
            (Some(_), Some(_)) => Err(Error::Usage(
                "--generate-missing=FILE and --to-files name two places for the generated passwords; give one".into(),
            )),
        }
    }
}

/// Determines the necessary steps for the collections of all `specs`, and carries them out if `only_plan` is false.
fn provision(
    connection: ConnectionArgs,
    specs: &[Spec],
    sharding: Option<Sharding>,
    source: &Source,
    only_plan: bool,
) -> Result<Provisioned, Error> {
    let settings = settings::load()?;
    let WantedUsers { mut users, left_out } = WantedUser::all(&settings)?;
    if sharding.is_some() {
        users = users.into_iter().map(WantedUser::for_sharded_collection).collect();
    }
    super::run_async(async |_| {
        let connection = connection.into_connection(Purpose::Administer)?;
        let first = Destination::settle(&connection, &settings, &specs[0].collection)?;
        let destination = |spec: &Spec| {
            let mut destination = first.clone();
            if specs.len() > 1 {
                destination.collection.clone_from(&spec.collection);
            }
            destination
        };
        for Destination { database, collection, .. } in specs.iter().map(destination) {
            refuse_name_for_data("--collection", &database, &view_name(&collection))?;
        }
        let server = connect(&first).await?;
        if server.accepts_everybody() {
            output::tell(WITHOUT_SIGN_IN);
        }
        let mut all = Provisioned { carried_out: !only_plan, left_out, ..Provisioned::default() };
        for spec in specs {
            let destination = destination(spec);
            let target = server.in_collection(&destination.collection);
            let users = users.clone();
            all.add(provision_one((&target, &destination), spec, users, sharding, source, only_plan).await?);
        }
        Ok(all)
    })
}

async fn provision_one(
    (target, destination): (&Target, &Destination),
    spec: &Spec,
    users: Vec<WantedUser>,
    sharding: Option<Sharding>,
    source: &Source,
    only_plan: bool,
) -> Result<Provisioned, Error> {
    let (database, collection) = (destination.database.clone(), destination.collection.clone());
    let ledger = LEDGER_COLLECTION.to_owned();
    let wanted = Wanted { spec, database, collection, ledger, users, sharding };
    let mut plan = Changes::make(target, destination, &wanted, source.has_passwords()).await?;
    let mut provisioned = Provisioned::default();
    let users = std::mem::take(&mut plan.without_password);
    let users = if only_plan { source.preview(users) } else { source.passwords(users) }?;
    for user in users {
        if user.password.is_some() {
            let told = source.tell(&user, only_plan);
            // Print this before the steps. If a step then fails, the user knows where the passwords are.
            told.iter().filter(|_| !only_plan).for_each(output::tell);
            provisioned.passwords.extend(told);
            plan.create_user(&user, &wanted.database)?;
        } else {
            provisioned
                .left_out
                .push(user.left_out(&format!("{} is not set; set it or add --generate-missing", user.variable)));
        }
    }
    if !only_plan {
        let done = |step: &Step| output::tell(format_args!("done: {step}"));
        plan.carry_out(target, done, |text| output::tell(text)).await?;
    }
    provisioned.steps = plan.steps.iter().map(ToString::to_string).collect();
    provisioned.left_alone = plan.left_alone;
    provisioned.left_out.extend(plan.notes);
    Ok(provisioned)
}

impl Provisioned {
    /// Adds the result for another collection. A text that both results contain, for example about a user, is kept
    /// once.
    fn add(&mut self, other: Self) {
        let lists = [
            (&mut self.steps, other.steps),
            (&mut self.left_alone, other.left_alone),
            (&mut self.left_out, other.left_out),
            (&mut self.passwords, other.passwords),
        ];
        for (list, others) in lists {
            for text in others {
                if !list.contains(&text) {
                    list.push(text);
                }
            }
        }
    }

    /// Returns 1 if a user was not changed because Medlift did not create it, otherwise 0.
    fn exit_code(&self) -> ExitCode {
        if self.left_alone.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Provisioned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.steps.len(), self.carried_out) {
            (0, _) => writeln!(formatter, "nothing to do: the deployment is as wanted")?,
            // Each step was reported when it was carried out, and each password when it was stored.
            (count, true) => writeln!(formatter, "{} carried out", steps(count))?,
            (count, false) => writeln!(formatter, "{} to do; run without --plan to carry out:", steps(count))?,
        }
        if !self.carried_out {
            self.steps.iter().try_for_each(|step| writeln!(formatter, "  {step}"))?;
            self.passwords.iter().try_for_each(|told| writeln!(formatter, "password: {told}"))?;
        }
        self.left_alone.iter().try_for_each(|left| writeln!(formatter, "left alone: {left}"))?;
        self.left_out.iter().try_for_each(|left| writeln!(formatter, "left out: {left}"))
    }
}

fn steps(count: usize) -> String {
    counted(count as u64, "step", "steps")
}

#[cfg(test)]
mod tests {
    use super::super::{Command, tests::command};
    use super::*;

    fn provisioned(carried_out: bool, steps: &[&str], left_alone: &[&str], left_out: &[&str]) -> Provisioned {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (left_alone, left_out) = (texts(left_alone), texts(left_out));
        Provisioned { carried_out, steps: texts(steps), left_alone, left_out, passwords: Vec::new() }
    }

    #[test]
    fn steps_are_listed_only_before_they_are_carried_out() {
        let check = |found: Provisioned, expected: &str| assert_eq!(found.to_string(), expected);
        let nothing = "nothing to do: the deployment is as wanted\n";
        check(provisioned(true, &[], &[], &[]), nothing);
        check(provisioned(false, &[], &[], &["u"]), &format!("{nothing}left out: u\n"));
        check(provisioned(true, &["a", "b"], &["v"], &[]), "2 steps carried out\nleft alone: v\n");
        let told =
            |carried_out| Provisioned { passwords: vec!["p".to_owned()], ..provisioned(carried_out, &["a"], &[], &[]) };
        check(told(true), "1 step carried out\n");
        check(told(false), "1 step to do; run without --plan to carry out:\n  a\npassword: p\n");
        let todo = "2 steps to do; run without --plan to carry out:\n  a\n  b\n";
        check(provisioned(false, &["a", "b"], &[], &[]), todo);
    }

    #[test]
    fn generated_passwords_have_one_place() {
        let source = |arguments: &[&str]| match command(&[&["provision"], arguments].concat()) {
            Command::Provision(args) => args.passwords().map(|source| format!("{source:?}")).ok(),
            other => panic!("{other:?}"),
        };
        assert_eq!(source(&["--generate-missing"]).as_deref(), Some("EnvFile(\".env\")"));
        assert_eq!(source(&["--generate-missing=f"]).as_deref(), Some("EnvFile(\"f\")"));
        let files = ["--generate-missing", "--to-files", "d"];
        assert_eq!(source(&files).as_deref(), Some("Directory(\"d\")"));
        assert_eq!(source(&["--generate-missing=f", "--to-files", "d"]), None);
    }

    #[test]
    fn an_unchanged_user_is_a_failure_but_a_missing_password_is_not() {
        assert_eq!(provisioned(true, &["a"], &[], &["u"]).exit_code(), ExitCode::SUCCESS);
        assert_eq!(provisioned(true, &[], &["v"], &[]).exit_code(), ExitCode::FAILURE);
    }
}
