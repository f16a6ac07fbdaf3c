//! Finds and executes the steps that bring a deployment to its wanted state.

use bson::{Bson, Document, doc};

use super::roles::{RANGES_ROLE, Role, ranges_role, roles};
use super::sharding::{self, ShardingSteps};
use super::state::{self, state_collections};
use super::step::Step;
use super::view::{pipeline, view_name};
use super::wanted::{Wanted, WantedUser};
use crate::deployment::error::DeploymentError;
use crate::deployment::indexes::{create_indexes_command, wait_for_builds};
use crate::deployment::schema::{self, CollectionState};
use crate::server::{Destination, Failure, Secret, ServerError, SignIn, Target, collection_of_view, first_batch};

/// The steps to the wanted state, in order, and messages about users that the steps do not change.
#[derive(Debug, Default)]
pub struct Changes {
    /// The steps. Empty if nothing must be changed.
    pub steps: Vec<Step>,
    /// Messages about users that have the name of a wanted user, but were not created by Medlift. Each message says
    /// what to do.
    pub left_alone: Vec<String>,
    /// Messages about something that was requested and is not done, although nothing is wrong. For example, the
    /// ranges of a sharded collection are not changed if it has documents.
    pub notes: Vec<String>,
    /// The users that do not exist and whose password is not set. [`Changes::create_user`] adds the step that creates
    /// such a user.
    pub without_password: Vec<WantedUser>,
}

impl Changes {
    /// Returns the steps that bring `target` to the state `wanted`. The signed-in user must be allowed to read users
    /// and roles. `destination` serves to test the passwords of existing users.
    ///
    /// # Errors
    /// A command fails. Or the password of a user that would be created or changed is too weak. Or `may_add_passwords`
    /// is false, a required user does not exist, and its password is not set. One error lists all problems of
    /// passwords.
    pub async fn make(
        target: &Target,
        destination: &Destination,
        wanted: &Wanted<'_>,
        may_add_passwords: bool,
    ) -> Result<Self, DeploymentError> {
        let state = schema::read(target).await?;
        let mut plan = Self { steps: collection_steps(&state, wanted)?, ..Self::default() };
        if let Some(sharding) = wanted.sharding {
            plan.shard(state.exists, sharding::steps(target, sharding, wanted).await?);
        }
        plan.steps.extend(state::steps(target, wanted).await?);
        plan.steps.extend(ledger_step(target, wanted).await?);
        for (collection, pipeline) in views(wanted) {
            plan.steps.extend(view_step(target, &collection, &pipeline).await?);
        }
        let others = other_collections(target, wanted).await?;
        for mut role in roles(wanted) {
            plan.steps.extend(role_step(target, &target.database, &mut role, &others).await?);
        }
        if wanted.sharding.is_some() {
            let step = role_step(target, "admin", &mut ranges_role(), &[]).await?;
            plan.steps.extend(step.map(Step::on_admin));
        }
        let mut problems = Vec::new();
        for user in &wanted.users {
            problems.extend(plan.add_user(target, destination, user).await?);
        }
        if !may_add_passwords {
            let required = plan.without_password.iter().filter(|user| !user.is_optional());
            problems.extend(required.map(|user| format!("{} is not set", user.variable)));
        }
        if problems.is_empty() { Ok(plan) } else { Err(DeploymentError::Users { problems: problems.join("; ") }) }
    }

    /// Adds the steps that shard the collection: after the step that creates it, and before its indexes are built.
    fn shard(&mut self, exists: bool, sharding: ShardingSteps) {
        let after = usize::from(!exists);
        self.steps.splice(after..after, sharding.after);
        self.steps.splice(..0, sharding.before);
        self.notes.extend(sharding.note);
    }

    /// Adds the step that creates a user of [`Changes::without_password`] with this password.
    ///
    /// # Errors
    /// The password is too weak.
    pub fn create_user(&mut self, user: &WantedUser, database: &str) -> Result<(), DeploymentError> {
        if let Some(problems) = user.weakness() {
            return Err(DeploymentError::Users { problems });
        }
        self.steps.extend(create_user(user, database));
        Ok(())
    }

    /// Returns the steps for an empty deployment.
    pub(super) fn from_nothing(wanted: &Wanted<'_>) -> Self {
        let mut steps = vec![create_collection(wanted)];
        let indexes: Vec<_> = wanted.spec.indexes.iter().collect();
        if !indexes.is_empty() {
            steps.push(Step::new("indexes", [create_indexes_command(&wanted.collection, &indexes)]));
        }
        steps.extend(state::from_nothing(wanted));
        steps.push(create_ledger(wanted));
        let views = views(wanted);
        steps.extend(views.iter().map(|(collection, pipeline)| create_view(&wanted.database, collection, pipeline)));
        steps.extend(roles(wanted).iter().map(create_role));
        steps.extend(wanted.users.iter().filter_map(|user| create_user(user, &wanted.database)));
        Self { steps, ..Self::default() }
    }

    /// Executes the steps in order. Calls `done` for each step after a journaled majority has acknowledged it.
    ///
    /// Before the commands `collMod` and `createIndexes`, waits until no index of the collection is being built. If it
    /// must wait, calls `waiting` with a message.
    pub async fn carry_out(
        &self,
        target: &Target,
        mut done: impl FnMut(&Step),
        mut waiting: impl FnMut(&str),
    ) -> Result<(), ServerError> {
        for step in &self.steps {
            for command in &step.commands {
                // For `collMod`, this waits for the indexes of `target`. The name in the command may be that of a
                // view, which has no indexes.
                let built = command.get_str("createIndexes").map(|name| target.in_collection(name));
                if built.is_ok() || command.contains_key("collMod") {
                    wait_for_builds(built.as_ref().unwrap_or(target), &mut waiting).await?;
                }
                let database = step.database.unwrap_or(&target.database);
                target.run(database, command.clone(), || step.to_string()).await?;
            }
            done(step);
        }
        Ok(())
    }

    /// Adds the steps for a user. A user that Medlift did not create gets no steps. Returns the problem if a step sets
    /// the user's password and the new password is too weak.
    async fn add_user(
        &mut self,
        target: &Target,
        destination: &Destination,
        user: &WantedUser,
    ) -> Result<Option<String>, ServerError> {
        let database = &target.database;
        let Some(actual) = user_info(target, &user.name).await? else {
            match create_user(user, database) {
                Some(step) => self.steps.push(step),
                None => self.without_password.push(user.clone()),
            }
            return Ok(user.weakness());
        };
        if actual.get_document("customData").ok() != Some(&WantedUser::mark()) {
            self.left_alone.push(format!(
                "user {} of {database} was not created by Medlift; set another name in {}, or drop the user",
                user.name,
                user.account.user_variable()
            ));
            return Ok(None);
        }
        self.steps.extend(role_change(&actual, user, database));
        let change = password_change(destination, user, database).await?;
        let weakness = change.as_ref().and_then(|_| user.weakness());
        self.steps.extend(change);
        Ok(weakness)
    }
}

fn collection_steps(state: &CollectionState, wanted: &Wanted<'_>) -> Result<Vec<Step>, ServerError> {
    let name = format!("{}.{}", wanted.database, wanted.collection);
    if state.is_view {
        let problem = format!("{name} is a view; give the name of a collection, or drop the view");
        return Err(ServerError::Setting { setting: "--collection".to_owned(), problem });
    }
    let mut steps = Vec::new();
    if !state.exists {
        steps.push(create_collection(wanted));
    } else if !state.is_guarded_by(wanted.spec) {
        let command = schema::attach_command("collMod", &wanted.collection, wanted.spec);
        steps.push(Step::new(format!("set the validator of {name} ({})", validator_fault(state)), [command]));
    }
    let outdated = state.outdated_indexes(wanted.spec);
    for index in &outdated {
        let drop = doc! { "dropIndexes": &wanted.collection, "index": &index.name };
        let build = create_indexes_command(&wanted.collection, &[index]);
        steps.push(Step::new(
            format!("rebuild index {} of {name}, because it differs from the spec", index.name),
            [drop, build],
        ));
    }
    for index in state.missing_indexes(wanted.spec).into_iter().filter(|index| !outdated.contains(index)) {
        let build = create_indexes_command(&wanted.collection, &[index]);
        steps.push(Step::new(format!("build index {} of {name}", index.name), [build]));
    }
    Ok(steps)
}

fn validator_fault(state: &CollectionState) -> &'static str {
    if state.validator.is_empty() {
        "it has none"
    } else if state.logs_documents() {
        "its action is warn, so the server writes invalid documents to its log"
    } else if state.validation_level.as_deref().is_some_and(|level| level != "strict") {
        "its level is not strict"
    } else {
        "it differs from that of the spec"
    }
}

fn create_collection(wanted: &Wanted<'_>) -> Step {
    let what = format!("create collection {}.{} with its validator", wanted.database, wanted.collection);
    Step::new(what, [schema::attach_command("create", &wanted.collection, wanted.spec)])
}

async fn ledger_step(target: &Target, wanted: &Wanted<'_>) -> Result<Option<Step>, ServerError> {
    let exists = schema::listing(target, &wanted.ledger).await?.is_some();
    Ok((!exists).then(|| create_ledger(wanted)))
}

fn create_ledger(wanted: &Wanted<'_>) -> Step {
    let what = format!("create collection {}.{} for the ledger of loads", wanted.database, wanted.ledger);
    Step::new(what, [doc! { "create": &wanted.ledger }])
}

/// Returns the de-identified views. Each is given as the name of its collection and its pipeline.
fn views(wanted: &Wanted<'_>) -> Vec<(String, Vec<Document>)> {
    let of_state = state::views(wanted.spec).into_iter().map(|(name, pipeline)| (name.to_owned(), pipeline));
    std::iter::once((wanted.collection.clone(), pipeline(wanted.spec))).chain(of_state).collect()
}

async fn view_step(target: &Target, collection: &str, pipeline: &[Document]) -> Result<Option<Step>, ServerError> {
    let (name, database) = (view_name(collection), &target.database);
    let Some(listed) = schema::listing(target, &name).await? else {
        return Ok(Some(create_view(database, collection, pipeline)));
    };
    if listed.get_str("type").ok() != Some("view") {
        let problem = format!(
            "{database}.{name} is a collection, but the view for analysts needs this name; rename the collection"
        );
        return Err(ServerError::Setting { setting: "--collection".to_owned(), problem });
    }
    Ok(view_change(&listed, database, collection, pipeline))
}

/// Returns the step that changes the listed view to the wanted view. `None` if both are equal.
fn view_change(listed: &Document, database: &str, collection: &str, pipeline: &[Document]) -> Option<Step> {
    let name = view_name(collection);
    let stages: Vec<Bson> = pipeline.iter().cloned().map(Bson::from).collect();
    let options = listed.get_document("options").cloned().unwrap_or_default();
    let same =
        options.get_str("viewOn").ok() == Some(collection) && options.get_array("pipeline").ok() == Some(&stages);
    let change = doc! { "collMod": &name, "viewOn": collection, "pipeline": stages };
    let what = format!("change view {database}.{name} according to the spec's privacy classes");
    (!same).then(|| Step::new(what, [change]))
}

fn create_view(database: &str, collection: &str, pipeline: &[Document]) -> Step {
    let name = view_name(collection);
    let command = doc! { "create": &name, "viewOn": collection, "pipeline": pipeline.to_vec() };
    Step::new(format!("create the de-identified view {database}.{name}"), [command])
}

async fn role_step(
    target: &Target,
    database: &str,
    role: &mut Role,
    others: &[String],
) -> Result<Option<Step>, ServerError> {
    let command = doc! { "rolesInfo": { "role": role.name, "db": database }, "showPrivileges": true };
    let info = look(target, command, || format!("look up role {}", role.name)).await?;
    let Some(actual) = first(&info, "roles") else { return Ok(Some(create_role(role))) };
    Ok(role_change_of(actual, role, database, others))
}

/// Returns the step that corrects the role on the server. `None` if the role has exactly the wanted privileges and
/// inherits no other role. `actual` is the role on the server, and `others` are the other provisioned collections.
fn role_change_of(actual: &Document, role: &mut Role, database: &str, others: &[String]) -> Option<Step> {
    let inherits = actual.get_array("roles").is_ok_and(|roles| !roles.is_empty());
    let actual: Vec<Document> = actual.get_array("privileges").map(|all| documents(all)).unwrap_or_default();
    role.keep(&actual, database, others);
    let inherited = inherits.then(|| format!("remove the roles that role {} inherits", role.name));
    role.difference(&actual).or(inherited).map(|what| Step::new(what, [role.command("updateRole")]))
}

/// Returns the other collections of the database that have a de-identified view. These collections were provisioned
/// too.
async fn other_collections(target: &Target, wanted: &Wanted<'_>) -> Result<Vec<String>, ServerError> {
    let command = doc! { "listCollections": 1, "filter": { "type": "view" }, "cursor": { "batchSize": 10_000 } };
    let listed = look(target, command, || format!("list the views of {}", target.database)).await?;
    let collection = |view: &Document| {
        let collection = collection_of_view(view.get_str("name").ok()?)?;
        let is_on_it = view.get_document("options").ok()?.get_str("viewOn").ok() == Some(collection);
        let is_other = collection != target.collection && !state_collections(wanted.spec).contains(&collection);
        (is_on_it && is_other).then(|| collection.to_owned())
    };
    Ok(first_batch(&listed).filter_map(collection).collect())
}

fn create_role(role: &Role) -> Step {
    Step::new(format!("create role {}", role.name), [role.command("createRole")])
}

async fn user_info(target: &Target, name: &str) -> Result<Option<Document>, ServerError> {
    let command = doc! { "usersInfo": { "user": name, "db": &target.database } };
    let info = look(target, command, || format!("look up user {name}")).await?;
    Ok(first(&info, "users").cloned())
}

/// Returns the step that creates the user. `None` if the password is not set.
fn create_user(user: &WantedUser, database: &str) -> Option<Step> {
    let command = user.create(user.password.as_ref()?, database);
    let roles = if user.reads_ranges { "roles" } else { "role" };
    Some(Step::new(format!("create user {} with {roles} {}", user.name, user.role_names()), [command]))
}

fn role_change(actual: &Document, user: &WantedUser, database: &str) -> Option<Step> {
    let roles = actual.get_array("roles").map(|roles| documents(roles)).unwrap_or_default();
    let word = |role: &Document, name: &str| role.get_str(name).unwrap_or_default().to_owned();
    let mut actual: Vec<_> = roles.iter().map(|role| (word(role, "role"), word(role, "db"))).collect();
    // The user keeps the role `RANGES_ROLE`, because another collection into which the user loads may be sharded.
    let reads_ranges = user.loads() && actual.iter().any(|(role, db)| role == RANGES_ROLE && db == "admin");
    let user = WantedUser { reads_ranges: user.reads_ranges || reads_ranges, ..user.clone() };
    let mut wanted: Vec<_> = user.roles(database).iter().map(|role| (word(role, "role"), word(role, "db"))).collect();
    actual.sort();
    wanted.sort();
    let command = doc! { "updateUser": &user.name, "roles": user.roles(database) };
    let what = || format!("correct the roles of user {} to {}", user.name, user.role_names());
    (actual != wanted).then(|| Step::new(what(), [command]))
}

/// Returns a step if a password is set in the settings and the user's password on the server is different. A password
/// cannot be read from the server. It can only be tested with a sign-in.
async fn password_change(
    destination: &Destination,
    user: &WantedUser,
    database: &str,
) -> Result<Option<Step>, ServerError> {
    let Some(password) = &user.password else { return Ok(None) };
    match destination.as_user(&user.name, password, database).connect().await {
        Ok(_) => Ok(None),
        Err(ServerError::Connect {
            failure: Failure::SignIn(SignIn::WrongPassword { .. } | SignIn::Refused), ..
        }) => Ok(Some(change_password(user, password))),
        Err(other) => Err(other),
    }
}

fn change_password(user: &WantedUser, password: &Secret) -> Step {
    let command = doc! { "updateUser": &user.name, "pwd": password.reveal(), "mechanisms": ["SCRAM-SHA-256"] };
    Step::new(format!("change the password of user {}", user.name), [command])
}

async fn look(target: &Target, command: Document, doing: impl FnOnce() -> String) -> Result<Document, ServerError> {
    target.look(command).await.map_err(|failure| ServerError::Command { doing: doing(), failure })
}

fn first<'info>(info: &'info Document, name: &str) -> Option<&'info Document> {
    info.get_array(name).ok()?.first()?.as_document()
}

fn documents(all: &[Bson]) -> Vec<Document> {
    all.iter().filter_map(Bson::as_document).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::provision::WantedUsers;
    use crate::server::{Account, Connection};
    use crate::spec::{Index, Spec};

    const PASSWORD: &str = "k4Tz-9pLmw2x";

    fn user(account: Account) -> WantedUser {
        WantedUser {
            account,
            name: account.default_name().to_owned(),
            password: Some(PASSWORD.into()),
            variable: account.password_variable(),
            reads_ranges: false,
        }
    }

    fn wanted(spec: &Spec) -> Wanted<'_> {
        let (database, collection) = ("ward".to_owned(), "stays".to_owned());
        let users = vec![user(Account::Writer)];
        Wanted { spec, database, collection, ledger: "runs".to_owned(), users, sharding: None }
    }

    #[test]
    fn passwords_are_never_printed() {
        let spec = Spec::built_in();
        let wanted = wanted(&spec);
        let plan = Changes::from_nothing(&wanted);
        let holds = |step: &Step| step.commands.iter().any(|command| command.to_string().contains(PASSWORD));
        assert_eq!(plan.steps.iter().filter(|step| holds(step)).count(), 1);
        let users = WantedUsers { users: wanted.users.clone(), left_out: Vec::new() };
        let connection = Connection {
            uri: Some(format!("mongodb://u:{PASSWORD}@h/").into()),
            password: Some(PASSWORD.into()),
            ..Connection::default()
        };
        let mut texts = vec![format!(
            "{plan:?} {plan:#?} {users:?} {users:#?} {wanted:?} {wanted:#?} {connection:?} {connection:#?}"
        )];
        texts.extend(plan.steps.iter().map(|step| format!("{step} {step:#} {step:?} {step:#?}")));
        texts.push(format!("{0} {0:?} {0:#?}", Secret::from(PASSWORD)));
        for text in texts {
            assert!(!text.contains(PASSWORD), "{text}");
        }
        assert_eq!(
            format!("{:?}", create_user(&user(Account::Writer), "ward")),
            "Some(Step(\"create user writer with role readWrite\"))"
        );
        let unset = WantedUser { password: None, ..user(Account::Writer) };
        assert!(create_user(&unset, "ward").is_none());
    }

    #[test]
    fn a_user_must_have_only_its_role_in_this_database() {
        let role = |role: &str, database: &str| doc! { "role": role, "db": database };
        let change = |roles: Vec<Document>| role_change(&doc! { "roles": roles }, &user(Account::Writer), "ward");
        assert!(change(vec![role("readWrite", "ward")]).is_none());
        for roles in [
            vec![],
            vec![role("read", "ward")],
            vec![role("readWrite", "other")],
            vec![role("readWrite", "ward"), role("root", "admin")],
            vec![role("readWrite", "ward"), role("readWrite", "ward")],
        ] {
            let step = change(roles.clone()).unwrap_or_else(|| panic!("{roles:?}"));
            assert_eq!(step.to_string(), "correct the roles of user writer to readWrite");
            assert_eq!(step.commands, [doc! { "updateUser": "writer", "roles": [role("readWrite", "ward")] }]);
        }
    }

    #[test]
    fn a_user_who_loads_into_a_sharded_collection_keeps_the_role_for_ranges() {
        let role = |name: &str, database: &str| doc! { "role": name, "db": database };
        let (own, ranges) = (role("readWrite", "ward"), role("medliftRanges", "admin"));
        let check = |reads_ranges: bool, actual: &[&Document], expected: Option<&[&Document]>| {
            let user = WantedUser { reads_ranges, ..user(Account::Writer) };
            let actual: Vec<Document> = actual.iter().map(|role| (*role).clone()).collect();
            let step = role_change(&doc! { "roles": actual.clone() }, &user, "ward");
            let commands = expected.map(|roles| {
                let roles: Vec<Document> = roles.iter().map(|role| (*role).clone()).collect();
                vec![doc! { "updateUser": "writer", "roles": roles }]
            });
            assert_eq!(step.map(|step| step.commands), commands, "{reads_ranges} {actual:?}");
        };
        check(false, &[&own], None);
        check(false, &[&ranges, &own], None);
        check(true, &[&ranges, &own], None);
        check(true, &[&own], Some(&[&own, &ranges]));
        check(false, &[&ranges], Some(&[&own, &ranges]));
        check(false, &[&own, &role("medliftRanges", "ward")], Some(&[&own]));
    }

    #[test]
    fn a_password_is_changed_with_its_mechanism_and_not_shown() {
        let step = change_password(&user(Account::Reader), &PASSWORD.into());
        let expected = doc! { "updateUser": "reader", "pwd": PASSWORD, "mechanisms": ["SCRAM-SHA-256"] };
        assert_eq!((step.to_string().as_str(), step.commands), ("change the password of user reader", vec![expected]));
    }

    #[test]
    fn a_role_that_inherits_another_role_is_corrected() {
        let spec = Spec::built_in();
        let [role, _] = roles(&wanted(&spec));
        let change = |inherited: Vec<Document>| {
            let actual = doc! { "privileges": role.privileges.clone(), "roles": inherited };
            role_change_of(&actual, &mut role.clone(), "ward", &[]).map(|step| step.to_string())
        };
        assert_eq!(change(vec![]), None);
        let step = change(vec![doc! { "role": "root", "db": "admin" }]);
        assert_eq!(step.as_deref(), Some("remove the roles that role medliftLoader inherits"));
    }

    #[test]
    fn a_view_of_another_collection_or_with_another_pipeline_is_changed() {
        let spec = Spec::built_in();
        let wanted = wanted(&spec);
        let listed =
            |on: &str, stages: Vec<Document>| doc! { "type": "view", "options": { "viewOn": on, "pipeline": stages } };
        let change = |listed: &Document| view_change(listed, &wanted.database, "stays", &pipeline(&spec));
        assert!(change(&listed("stays", pipeline(&spec))).is_none());
        for other in [listed("other", pipeline(&spec)), listed("stays", vec![]), doc! { "type": "view" }] {
            let step = change(&other).expect("a step");
            assert_eq!(step.to_string(), "change view ward.stays_deidentified according to the spec's privacy classes");
            let expected = doc! { "collMod": "stays_deidentified", "viewOn": "stays", "pipeline": pipeline(&spec) };
            assert_eq!(step.commands, [expected]);
        }
    }

    #[test]
    fn each_state_of_a_collection_has_its_steps() {
        let spec = Spec::built_in();
        let wanted = wanted(&spec);
        let good = CollectionState {
            exists: true,
            validator: schema::validator(&spec),
            indexes: spec.indexes.clone(),
            ..CollectionState::default()
        };
        let check = |state: &CollectionState, expected: &[&str]| {
            let steps: Vec<String> =
                collection_steps(state, &wanted).expect("steps").iter().map(ToString::to_string).collect();
            assert_eq!(steps, expected);
        };
        let word = |word: &str| Some(word.to_owned());
        check(&good, &[]);
        let set = |fault: &str| format!("set the validator of ward.stays ({fault})");
        check(&CollectionState { validator: Document::new(), ..good.clone() }, &[&set("it has none")]);
        let warns = set("its action is warn, so the server writes invalid documents to its log");
        check(&CollectionState { validation_action: word("warn"), ..good.clone() }, &[&warns]);
        check(
            &CollectionState { validation_level: word("moderate"), ..good.clone() },
            &[&set("its level is not strict")],
        );
        check(
            &CollectionState { validator: doc! { "a": 1 }, ..good.clone() },
            &[&set("it differs from that of the spec")],
        );
        let mut indexes = spec.indexes.clone();
        let first = indexes.remove(0);
        check(
            &CollectionState { indexes: indexes.clone(), ..good.clone() },
            &[&format!("build index {} of ward.stays", first.name)],
        );
        indexes.push(Index { keys: vec![("Age".to_owned(), 1)], ..first.clone() });
        let outdated = CollectionState { indexes, ..good.clone() };
        check(&outdated, &[&format!("rebuild index {} of ward.stays, because it differs from the spec", first.name)]);
        let rebuild = &collection_steps(&outdated, &wanted).expect("steps")[0];
        let expected =
            [doc! { "dropIndexes": "stays", "index": &first.name }, create_indexes_command("stays", &[&first])];
        assert_eq!(rebuild.commands, expected);
        let names: Vec<String> =
            spec.indexes.iter().map(|index| format!("build index {} of ward.stays", index.name)).collect();
        let all: Vec<&str> = std::iter::once("create collection ward.stays with its validator")
            .chain(names.iter().map(String::as_str))
            .collect();
        check(&CollectionState::default(), &all);
        let view = collection_steps(&CollectionState { is_view: true, ..good }, &wanted).expect_err("refused");
        assert!(view.to_string().contains("ward.stays is a view") && view.exit_code() == 2, "{view}");
    }
}
