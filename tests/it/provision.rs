//! Tests of `medlift provision` on a real server with access control. Each user signs in and tries commands that its
//! role permits and commands that its role does not permit.

use std::path::Path;
use std::sync::OnceLock;

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use medlift::deployment::provision::{Changes, Wanted, WantedUser, view_name};
use medlift::deployment::{DeploymentError, build_indexes, schema};
use medlift::server::{Destination, Failure, Secret, ServerError, Settings, Target};
use medlift::spec::Spec;
use testkit::mongod::{Builder, ROOT_USER, Server};

use crate::connection::{block_on, settings, wishes};
use crate::load::Place;
use crate::program::medlift;
use crate::schema::admission;

const LEDGER: &str = "medlift_runs";
pub(crate) const USERS: [(&str, &str); 5] = [
    ("ADMIN_PASS", "k4Tz-9pLmw2x-a"),
    ("WRITER_PASS", "k4Tz-9pLmw2x-w"),
    ("READER_PASS", "k4Tz-9pLmw2x-r"),
    ("LOADER_PASS", "k4Tz-9pLmw2x-l"),
    ("ANALYST_PASS", "k4Tz-9pLmw2x-n"),
];

pub(crate) fn wanted<'spec>(spec: &'spec Spec, settings: &Settings) -> Wanted<'spec> {
    let users = WantedUser::all(settings).expect("users").users;
    let (database, collection) = ("hospital".to_owned(), spec.collection.clone());
    Wanted { spec, database, collection, ledger: LEDGER.to_owned(), users, sharding: None }
}

/// A deployment, and the spec for which it is provisioned.
pub(crate) struct Deployment {
    server: Server,
    pub(crate) spec: Spec,
}

impl Deployment {
    pub(crate) fn start() -> Self {
        Self::of(Spec::built_in())
    }

    pub(crate) fn of(spec: Spec) -> Self {
        Self { server: Server::builder().access_control().start().expect("starts"), spec }
    }

    pub(crate) fn destination(&self) -> Destination {
        Destination::settle(&wishes(&self.server.uri()), &settings(&[]), &self.spec.collection).expect("settles")
    }

    pub(crate) async fn root(&self) -> Target {
        self.destination().connect().await.expect("signs in")
    }

    async fn plan(&self, settings: &Settings) -> Changes {
        let wanted = wanted(&self.spec, settings);
        Changes::make(&self.root().await, &self.destination(), &wanted, false).await.expect("plans")
    }

    /// Changes the deployment to the wanted state and returns the steps.
    pub(crate) async fn provision(&self, settings: &Settings) -> Vec<String> {
        let plan = self.plan(settings).await;
        let mut steps = Vec::new();
        plan.carry_out(&self.root().await, |step| steps.push(step.to_string()), |_| ()).await.expect("carries out");
        steps
    }

    /// Returns the address without a user, and the password of the root user.
    pub(crate) fn address(&self) -> (String, String) {
        let password = self.server.root_password().expect("access control").to_owned();
        (self.server.uri_anonymous(), password)
    }

    pub(crate) async fn sign_in(&self, user: &str, password: &str) -> Result<Target, ServerError> {
        self.destination().as_user(user, &Secret::from(password), "hospital").connect().await
    }
}

/// A provisioned deployment with some documents. Tests that share it must leave users and roles as they are.
fn shared() -> &'static Deployment {
    static DEPLOYMENT: OnceLock<Deployment> = OnceLock::new();
    DEPLOYMENT.get_or_init(|| {
        let deployment = Deployment::start();
        block_on(async {
            deployment.provision(&settings(&USERS)).await;
            let root = deployment.root().await;
            root.db().collection::<Document>("admissions").insert_one(admission()).await.expect("inserts");
            let other = root.client.database("pharmacy").collection::<Document>("stock");
            other.insert_one(doc! { "_id": 1 }).await.expect("inserts");
            root.db().collection::<Document>("letters").insert_one(doc! { "_id": 1 }).await.expect("inserts");
        });
        deployment
    })
}

/// Returns the address of the shared deployment, and the settings of its users.
pub(crate) fn shared_settings() -> (String, Vec<(&'static str, String)>) {
    let server = &shared().server;
    let root = [("MONGO_ROOT_USER", ROOT_USER), ("MONGO_ROOT_PASS", server.root_password().expect("access control"))];
    (server.uri_anonymous(), root.into_iter().chain(USERS).map(|(name, value)| (name, value.to_owned())).collect())
}

/// A user who is signed in to a deployment and tries commands.
pub(crate) struct Tried(Target);

impl Tried {
    async fn new(user: &str) -> Self {
        Self::on(shared(), user).await
    }

    pub(crate) async fn on(deployment: &Deployment, user: &str) -> Self {
        let variable = format!("{}_PASS", user.to_uppercase());
        let (_, password) = USERS.into_iter().find(|(name, _)| *name == variable).expect("a user");
        Self(deployment.sign_in(user, password).await.expect("signs in"))
    }

    async fn run(&self, database: &str, command: &Document) -> Result<Document, Failure> {
        self.0.client.database(database).run_command(command.clone()).await.map_err(|error| Failure::of(&error))
    }

    pub(crate) async fn may(&self, command: Document) -> Document {
        self.run("hospital", &command).await.unwrap_or_else(|failure| panic!("{command}: {failure}"))
    }

    async fn may_not_on(&self, database: &str, command: Document) {
        let refused = self.run(database, &command).await;
        assert!(matches!(refused, Err(Failure::NotAuthorized { .. })), "{command}: {refused:?}");
    }

    pub(crate) async fn may_not(&self, command: Document) {
        self.may_not_on("hospital", command).await;
    }
}

pub(crate) fn find(collection: &str) -> Document {
    doc! { "find": collection, "limit": 1 }
}

pub(crate) fn insert(collection: &str) -> Document {
    doc! { "insert": collection, "documents": [admission()] }
}

pub(crate) fn update(collection: &str) -> Document {
    doc! { "update": collection, "updates": [{ "q": { "Age": 44 }, "u": { "$set": { "Age": 44 } } }] }
}

pub(crate) fn delete(collection: &str) -> Document {
    doc! { "delete": collection, "deletes": [{ "q": { "Name": "nobody" }, "limit": 1 }] }
}

pub(crate) fn create_user() -> Document {
    doc! { "createUser": "intruder", "pwd": "k4Tz-9pLmw2x-i", "roles": ["readWrite"] }
}

#[test]
fn the_admin_manages_indexes_and_validators_and_cannot_read_documents() {
    shared();
    block_on(async {
        let admin = Tried::new("admin").await;
        admin.may(doc! { "createIndexes": "admissions", "indexes": [{ "key": { "Age": 1 }, "name": "by_age" }] }).await;
        admin.may(doc! { "dropIndexes": "admissions", "index": "by_age" }).await;
        admin.may(doc! { "collMod": "admissions", "validationLevel": "strict" }).await;
        admin.may(doc! { "collStats": "admissions" }).await;
        admin.may(doc! { "dbStats": 1 }).await;
        admin.may_not(find("admissions")).await;
        admin.may_not(doc! { "aggregate": "admissions", "pipeline": [], "cursor": {} }).await;
        admin.may_not(doc! { "count": "admissions" }).await;
        admin.may_not(insert("admissions")).await;
        admin.may_not(update("admissions")).await;
        admin.may_not(delete("admissions")).await;
        admin.may_not(create_user()).await;
        admin.may_not_on("pharmacy", doc! { "dbStats": 1 }).await;
    });
}

#[test]
fn the_writer_may_only_read_and_write_data() {
    shared();
    block_on(async {
        let writer = Tried::new("writer").await;
        writer.may(find("admissions")).await;
        writer.may(insert("admissions")).await;
        writer.may(update("admissions")).await;
        writer.may(delete("admissions")).await;
        writer.may_not(create_user()).await;
        writer.may_not(doc! { "usersInfo": 1 }).await;
        writer.may_not(doc! { "dropDatabase": 1 }).await;
        let index = doc! { "createIndexes": "stock", "indexes": [{ "key": { "a": 1 }, "name": "a" }] };
        writer.may_not_on("pharmacy", index).await;
        writer.may_not_on("pharmacy", find("stock")).await;
    });
}

#[test]
fn the_reader_may_only_read() {
    shared();
    block_on(async {
        let reader = Tried::new("reader").await;
        reader.may(find("admissions")).await;
        reader.may(doc! { "aggregate": "admissions", "pipeline": [{ "$count": "n" }], "cursor": {} }).await;
        for write in [insert("admissions"), update("admissions"), delete("admissions"), doc! { "drop": "admissions" }] {
            reader.may_not(write).await;
        }
        let out = doc! { "aggregate": "admissions", "pipeline": [{ "$out": "copy" }], "cursor": {} };
        reader.may_not(out).await;
        reader.may_not(doc! { "createIndexes": "admissions", "indexes": [{ "key": { "a": 1 }, "name": "a" }] }).await;
        reader.may_not_on("pharmacy", find("stock")).await;
    });
}

#[test]
fn the_loader_may_load_and_verify_but_not_delete_or_read_other_collections() {
    shared();
    block_on(async {
        let loader = Tried::new("loader").await;
        for collection in ["admissions", LEDGER] {
            loader.may(find(collection)).await;
            loader.may(update(collection)).await;
            loader.may_not(delete(collection)).await;
            loader.may_not(doc! { "drop": collection }).await;
        }
        loader.may(insert("admissions")).await;
        loader.may(doc! { "insert": LEDGER, "documents": [{ "run": 1 }] }).await;
        loader.may(doc! { "listCollections": 1 }).await;
        loader.may(doc! { "listIndexes": "admissions" }).await;
        assert!(schema::read(&loader.0).await.expect("reads").is_guarded_by(&shared().spec));
        schema::attach(&loader.0, &shared().spec, |_| ()).await.expect("is attached already");
        build_indexes(&loader.0, &shared().spec, |_| ()).await.expect("are built already");
        schema::nonconforming(&loader.0, &shared().spec).await.expect("counts");
        loader.may_not(doc! { "dropDatabase": 1 }).await;
        loader.may_not(doc! { "collMod": "admissions", "validationLevel": "off" }).await;
        loader.may_not(find("letters")).await;
        loader.may_not(insert("letters")).await;
        loader.may_not(find(&view_name("admissions"))).await;
        loader.may_not_on("pharmacy", find("stock")).await;
        loader.may_not(create_user()).await;
    });
}

#[test]
fn the_analyst_may_only_read_the_view() {
    shared();
    block_on(async {
        let analyst = Tried::new("analyst").await;
        let view = view_name("admissions");
        let average = doc! { "$group": { "_id": "$Medical Condition", "age": { "$avg": "$Age" } } };
        let reply = analyst.may(doc! { "aggregate": &view, "pipeline": [average], "cursor": {} }).await;
        let cursor = reply.get_document("cursor").expect("a cursor");
        assert!(!cursor.get_array("firstBatch").expect("a batch").is_empty());
        analyst.may_not(find("admissions")).await;
        analyst.may_not(find(LEDGER)).await;
        analyst.may_not(doc! { "listCollections": 1 }).await;
        analyst.may_not(doc! { "collMod": &view, "viewOn": "admissions", "pipeline": [] }).await;
        let lookup = doc! { "$lookup": { "from": "admissions", "pipeline": [], "as": "all" } };
        for stage in [lookup, doc! { "$unionWith": "admissions" }, doc! { "$out": "copy" }] {
            analyst.may_not(doc! { "aggregate": &view, "pipeline": [stage], "cursor": {} }).await;
        }
        for write in [insert("admissions"), delete("admissions"), insert("mine")] {
            analyst.may_not(write).await;
        }
    });
}

#[test]
fn the_view_is_deidentified_as_safe_harbor_requires() {
    let deployment = Deployment::start();
    block_on(async {
        deployment.provision(&settings(&USERS)).await;
        let root = deployment.root().await;
        let mut old = admission();
        old.extend(doc! {
            "_id": 1, "_lineage": { "row": 7 }, "Age": 97, "Name": "Canary Carter",
            "Date of Admission": DateTime::builder().year(2023).month(12).day(30).build().expect("a date"),
            "Discharge Date": DateTime::builder().year(2024).month(1).day(4).build().expect("a date"),
        });
        root.db().collection::<Document>("admissions").insert_one(old).await.expect("inserts");
        let analyst = deployment.sign_in("analyst", "k4Tz-9pLmw2x-n").await.expect("signs in");
        let view = analyst.db().collection::<Document>(&view_name("admissions"));
        let shown: Vec<Document> = view.find(doc! {}).await.expect("finds").try_collect().await.expect("reads");
        let expected = doc! {
            "Age": 90, "Gender": "Female", "Blood Type": "A+", "Medical Condition": "Asthma",
            "Insurance Provider": "Aetna", "Admission Type": "Urgent", "Medication": "Aspirin",
            "Test Results": "Normal", "Billing Amount": 12.5, "Date of Admission": 2023, "Discharge Date": 2024,
            "Date of Admission to Discharge Date (days)": 5_i64,
        };
        assert_eq!(shown, [expected]);
    });
}

#[test]
fn a_plan_changes_nothing_and_a_second_run_has_nothing_to_do() {
    let deployment = Deployment::start();
    let settings = settings(&USERS);
    block_on(async {
        let planned: Vec<String> = deployment.plan(&settings).await.steps.iter().map(ToString::to_string).collect();
        let names = deployment.root().await.db().list_collection_names().await.expect("lists");
        assert!(names.is_empty(), "{names:?}");
        assert_eq!(deployment.provision(&settings).await, planned);
        let expected = [
            "create collection hospital.admissions with its validator",
            "build index by_admission of hospital.admissions",
            "build index by_condition_and_admission of hospital.admissions",
            "build index by_name of hospital.admissions",
            "create collection hospital.medlift_runs for the ledger of loads",
            "create the de-identified view hospital.admissions_deidentified",
            "create role medliftLoader",
            "create role medliftAnalyst",
            "create user admin with role dbAdmin",
            "create user writer with role readWrite",
            "create user reader with role read",
            "create user loader with role medliftLoader",
            "create user analyst with role medliftAnalyst",
        ];
        assert_eq!(planned, expected);
        let again = deployment.plan(&settings).await;
        assert!(again.steps.is_empty() && again.left_alone.is_empty(), "{again:?}");
    });
}

#[test]
fn a_collection_with_arrays_is_provisioned_once() {
    let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/spec/patients.toml");
    let spec = Spec::from_file(Path::new(spec)).expect("a valid spec");
    let deployment = Deployment { spec, ..Deployment::start() };
    let settings = settings(&USERS);
    block_on(async {
        let steps = deployment.provision(&settings).await;
        assert!(
            steps.contains(&"create the de-identified view hospital.patients_deidentified".to_owned()),
            "{steps:?}"
        );
        assert_eq!(deployment.provision(&settings).await, [""; 0]);
        let root = deployment.root().await;
        assert!(schema::read(&root).await.expect("reads").is_guarded_by(&deployment.spec));
        assert!(schema::read(&root).await.expect("reads").missing_indexes(&deployment.spec).is_empty());
    });
}

#[test]
fn provisioning_corrects_changes_that_were_made_by_hand() {
    let deployment = Deployment::start();
    let settings = settings(&USERS);
    block_on(async {
        deployment.provision(&settings).await;
        let root = deployment.root().await;
        let by_hand = [
            doc! { "collMod": "admissions", "validationAction": "warn" },
            doc! { "dropIndexes": "admissions", "index": "by_name" },
            doc! { "dropIndexes": "admissions", "index": "by_admission" },
            doc! { "createIndexes": "admissions", "indexes": [{ "key": { "Age": 1 }, "name": "by_admission" }] },
            doc! { "collMod": "admissions_deidentified", "viewOn": "admissions", "pipeline": [] },
            doc! { "grantPrivilegesToRole": "medliftLoader", "privileges": [
                { "resource": { "db": "hospital", "collection": "admissions" }, "actions": ["remove"] },
            ] },
            doc! { "updateUser": "reader", "roles": ["readWrite"] },
            doc! { "updateUser": "writer", "pwd": "another-Pa55word" },
        ];
        for command in by_hand {
            root.db().run_command(command).await.expect("changes");
        }
        let expected = [
            "set the validator of hospital.admissions (its action is warn, so the server writes invalid documents to its log)",
            "rebuild index by_admission of hospital.admissions, because it differs from the spec",
            "build index by_name of hospital.admissions",
            "change view hospital.admissions_deidentified according to the spec's privacy classes",
            "correct the privileges of role medliftLoader",
            "change the password of user writer",
            "correct the roles of user reader to read",
        ];
        assert_eq!(deployment.provision(&settings).await, expected);
        assert_eq!(deployment.provision(&settings).await, [""; 0]);
        deployment.sign_in("writer", "k4Tz-9pLmw2x-w").await.expect("the wanted password must be accepted again");
        deployment.sign_in("writer", "another-Pa55word").await.expect_err("the changed password must be refused");
    });
}

#[test]
fn a_user_that_medlift_did_not_create_is_never_changed() {
    let deployment = Deployment::start();
    block_on(async {
        let root = deployment.root().await;
        let theirs = doc! { "createUser": "writer", "pwd": "theirs-and-only-theirs", "roles": [] };
        root.db().run_command(theirs).await.expect("makes a user");
        let plan = deployment.plan(&settings(&USERS)).await;
        assert_eq!(plan.left_alone.len(), 1);
        assert!(plan.left_alone[0].starts_with("user writer of hospital was not created by Medlift"), "{plan:?}");
        let steps = deployment.provision(&settings(&USERS)).await;
        assert!(!steps.iter().any(|step| step.contains("user writer")), "{steps:?}");
        deployment.sign_in("writer", "theirs-and-only-theirs").await.expect("the password must be unchanged");
        let info = root.db().run_command(doc! { "usersInfo": "writer" }).await.expect("looks");
        let user = info.get_array("users").expect("users")[0].as_document().expect("a user").clone();
        assert_eq!(user.get_array("roles").ok(), Some(&Vec::<Bson>::new()));
    });
}

/// Checks the error for missing and weak passwords of an empty deployment.
fn missing_and_weak_passwords_are_refused_in_one_message(deployment: &Deployment) {
    let some = settings(&[("WRITER_PASS", "short"), ("READER_PASS", "reader-reader"), ("LOADER_USER", "carrier")]);
    block_on(async {
        let (root, destination) = (deployment.root().await, deployment.destination());
        let wanted = wanted(&deployment.spec, &some);
        let error = Changes::make(&root, &destination, &wanted, false).await.expect_err("refused").to_string();
        for part in [
            "ADMIN_PASS is not set",
            "WRITER_PASS is too weak: it has fewer than 12 characters, it has fewer than 6 different characters",
            "READER_PASS is too weak: it has fewer than 6 different characters, it contains the user's name",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("short") && !error.contains("LOADER") && !error.contains("ANALYST"), "{error}");
        // The argument `true` means that Medlift may generate missing passwords. The error then names only the weak
        // ones.
        let error = Changes::make(&root, &destination, &wanted, true).await.expect_err("weak").to_string();
        assert!(!error.contains("ADMIN_PASS is not set") && error.contains("WRITER_PASS is too weak"), "{error}");
    });
}

#[test]
fn missing_passwords_are_generated_and_stored_before_the_users_are_created() {
    let (deployment, place) = (Deployment::start(), tempfile::tempdir().expect("a directory"));
    missing_and_weak_passwords_are_refused_in_one_message(&deployment);
    let root = deployment.server.root_password().expect("a password");
    let file = place.path().join(".env");
    std::fs::write(&file, "# mine\nWRITER_PASS=k4Tz-9pLmw2x-w\nREADER_PASS=\nLOADER_USER=carrier\n").expect("writes");
    let run = |arguments: &[&str], code: i32| {
        let program = medlift([&["provision"], arguments].concat()).dir(place.path());
        let program = program.env("MONGODB_URI", deployment.server.uri_anonymous());
        program.env("MONGO_ROOT_USER", "root").env("MONGO_ROOT_PASS", root).run().expect_code(code)
    };
    let before = std::fs::read_to_string(&file).expect("reads");
    let missing = run(&[], 2).stderr;
    assert!(missing.contains("READER_PASS is not set") && missing.contains("--generate-missing"), "{missing}");
    let plan = run(&["--plan", "--generate-missing"], 0).stdout;
    for part in [
        "create user carrier with role medliftLoader",
        "READER_PASS of user reader will be generated and written to .env",
        "ANALYST_PASS of user analyst will be",
    ] {
        assert!(plan.contains(part), "{plan}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("reads"), before, "a plan must write nothing");
    let done = run(&["--generate-missing"], 0);
    assert!(done.stderr.contains("LOADER_PASS of user carrier was generated and is in .env"), "{}", done.stderr);
    let text = std::fs::read_to_string(&file).expect("reads");
    assert!(text.starts_with("# mine\nWRITER_PASS=k4Tz-9pLmw2x-w\nREADER_PASS=") && text.len() > before.len() + 96);
    let stored = Settings::from_parts(std::iter::empty(), place.path()).expect("reads");
    block_on(async {
        for (user, variable) in [("reader", "READER_PASS"), ("carrier", "LOADER_PASS"), ("analyst", "ANALYST_PASS")] {
            let password = stored.secret(variable).expect("reads").expect("is set");
            assert!(!(done.stdout.clone() + &done.stderr).contains(password.reveal()));
            deployment.sign_in(user, password.reveal()).await.expect("signs in");
        }
    });
    // Users that already exist need no password in the settings.
    assert!(run(&["--generate-missing"], 0).stdout.contains("nothing to do"));
    std::fs::write(&file, "LOADER_USER=carrier\n").expect("writes");
    assert!(run(&[], 0).stdout.contains("nothing to do"));
    assert!(run(&["--generate-missing", "--to-files", "secrets"], 0).stdout.contains("nothing to do"));
    assert!(!place.path().join("secrets").exists());
}

#[test]
fn three_users_are_enough_and_users_that_are_not_created_are_named() {
    let deployment = Deployment::start();
    let root = deployment.server.root_password().expect("a password");
    let run = |arguments: &[&str], writer: &str, code: i32| {
        let program = medlift(arguments).env("MONGODB_URI", deployment.server.uri_anonymous());
        let program = program.env("MONGO_ROOT_USER", "root").env("MONGO_ROOT_PASS", root);
        let program = program.env("READER_USER", "reader").env("READER_PASS", "k4Tz-9pLmw2x-r");
        let program = program.env("WRITER_USER", "writer").env("WRITER_PASS", writer);
        // As in .env.example, the loader has a name but no password.
        program.env("LOADER_USER", "carrier").env("LOADER_PASS", "").run().expect_code(code)
    };
    let plan = run(&["provision", "--plan"], "k4Tz-9pLmw2x-w", 0).stdout;
    assert!(plan.contains("create user root with role dbAdmin") && plan.contains("create user reader"), "{plan}");
    let weak = run(&["provision"], "short", 2).stderr;
    assert!(weak.contains("WRITER_PASS is too weak: it has fewer") && !weak.contains("short"), "{weak}");
    let done = run(&["provision"], "k4Tz-9pLmw2x-w", 0).stdout;
    for part in ["left out: user carrier (loads", "LOADER_PASS is not set", "left out: user analyst", "ANALYST_PASS"] {
        assert!(done.contains(part), "{done}");
    }
    block_on(async {
        for (user, password) in [("reader", "k4Tz-9pLmw2x-r"), ("writer", "k4Tz-9pLmw2x-w"), ("root", root)] {
            deployment.sign_in(user, password).await.expect("signs in");
        }
        let users = deployment.root().await.db().run_command(doc! { "usersInfo": 1 }).await.expect("looks");
        assert_eq!(users.get_array("users").expect("users").len(), 3);
    });
    assert!(run(&["provision", "--plan"], "k4Tz-9pLmw2x-w", 0).stdout.contains("nothing to do"));
}

#[test]
fn the_password_of_a_user_that_is_not_changed_is_not_checked() {
    let deployment = Deployment::start();
    block_on(async {
        let theirs = doc! { "createUser": "writer", "pwd": "theirs", "roles": [] };
        deployment.root().await.db().run_command(theirs).await.expect("makes a user");
        let weak = |name: &str, password: &str| {
            let mut some = USERS.to_vec();
            some.retain(|(variable, _)| *variable != name);
            some.push((name, password));
            settings(&some)
        };
        assert_eq!(deployment.plan(&weak("WRITER_PASS", "short")).await.left_alone.len(), 1);
        let some = weak("READER_PASS", "short");
        let wanted = wanted(&deployment.spec, &some);
        let made = Changes::make(&deployment.root().await, &deployment.destination(), &wanted, false).await;
        assert!(matches!(made, Err(DeploymentError::Users { .. })), "{made:?}");
        // A weak password is accepted if the user already has it.
        deployment.provision(&settings(&USERS)).await;
        let command = doc! { "updateUser": "reader", "pwd": "short", "mechanisms": ["SCRAM-SHA-256"] };
        deployment.root().await.db().run_command(command).await.expect("changes");
        assert!(deployment.plan(&some).await.steps.is_empty());
    });
}

/// Runs the program with all passwords in its environment, and returns its output. Checks that no password is in the
/// output.
pub(crate) fn run_with_passwords(
    deployment: &Deployment,
    arguments: &[&str],
    root_password: &str,
    code: i32,
) -> String {
    let mut program = medlift(arguments).env("MONGODB_URI", deployment.server.uri_anonymous());
    for (name, password) in USERS.into_iter().chain([("MONGO_ROOT_USER", "root"), ("MONGO_ROOT_PASS", root_password)]) {
        program = program.env(name, password);
    }
    let run = program.run().expect_code(code);
    let said = run.stdout + &run.stderr;
    for password in USERS.iter().map(|(_, password)| *password).chain([root_password]) {
        assert!(!said.contains(password), "the output of {arguments:?} must contain no password:\n{said}");
    }
    said
}

#[test]
fn the_command_shows_its_plan_then_carries_it_out_and_shows_no_password() {
    let deployment = Deployment::start();
    let root = deployment.server.root_password().expect("a password");
    let run = |arguments: &[&str]| run_with_passwords(&deployment, arguments, root, 0);
    assert!(run(&["provision", "--plan"]).contains("13 steps to do"));
    assert!(run(&["provision", "--plan", "--json"]).contains("\"carried_out\": false"));
    assert!(run(&["provision"]).contains("13 steps carried out"));
    assert!(run(&["provision", "--plan"]).contains("nothing to do"));
    let doctor = run(&["doctor"]);
    assert!(doctor.contains("as loader") && doctor.contains("may load and verify hospital.admissions"), "{doctor}");
    let refused = run_with_passwords(&deployment, &["provision"], "a-wrong-root-pa55", 3);
    assert!(refused.contains("wrong password for user `root` of database `admin`"), "{refused}");
}

#[test]
fn no_error_of_a_connection_shows_a_password() {
    let server = &shared().server;
    let port = server.port();
    for uri in [
        format!("mongodb://root:pa55-w0rd-x@127.0.0.1:{port}/"),
        "mongodb://root:pa55-w0rd-x@127.0.0.1:notaport/".to_owned(),
        "mongodb://root:pa55-w0rd-x/y@127.0.0.1/".to_owned(),
        format!("mongodb://root:pa55-w0rd-x@127.0.0.1:{port}/?w=1"),
        format!("mongodb://root:pa55-w0rd-x@127.0.0.1:{port}/?nonsense=pa55-w0rd-x"),
    ] {
        let run = medlift(["doctor", "--uri", &uri]).run();
        assert!(matches!(run.code, Some(2 | 3)), "{run:?}");
        assert!(!(run.stdout + &run.stderr).contains("pa55"), "{uri}");
    }
}

#[test]
fn the_script_in_the_repository_is_current() {
    let emitted = medlift(["provision", "--emit-init-js"]).run().expect_code(0).stdout;
    assert!(
        emitted == include_str!("../../deploy/init-mongo.js"),
        "deploy/init-mongo.js is out of date: write the output of `medlift provision --emit-init-js` to it"
    );
}

#[test]
fn a_collection_with_the_name_of_the_view_is_reported_and_not_changed() {
    let place = Place::new("no_view");
    let view = "admissions_deidentified";
    let database = place.documents().client().database(&place.database);
    crate::load::block_on(async { database.create_collection(view).await }).expect("created");
    let mut program =
        medlift(["provision", "--plan", "--db", &place.database]).env("MONGODB_URI", crate::server::shared().uri());
    for account in ["ADMIN", "WRITER", "READER"] {
        program = program.env(&format!("{account}_PASS"), "k4Tz-9pLmw2x");
    }
    let run = program.run().expect_code(2);
    assert!(run.stderr.contains(&format!("{}.{view} is a collection", place.database)), "{}", run.stderr);
}

/// Provisioning compares the password of an existing user by a sign-in. If the sign-in fails for another reason than a
/// wrong password, medlift cannot know whether the password has changed.
#[test]
fn a_password_is_not_changed_if_it_cannot_be_compared() {
    let tests_allowed = ["--setParameter", "enableTestCommands=1"];
    let server = tests_allowed.into_iter().fold(Server::builder().access_control(), Builder::argument);
    let server = server.start().expect("starts");
    let provision = |arguments: &[&str]| {
        let program = medlift([&["provision"], arguments].concat()).env("MONGODB_URI", server.uri());
        USERS.iter().fold(program, |program, (name, password)| program.env(name, password)).run()
    };
    provision(&[]).expect_code(0);
    assert!(provision(&["--plan"]).expect_code(0).stdout.starts_with("nothing to do"));
    // The first `connectionStatus` is the sign-in of the root user, and succeeds. The later ones compare the passwords
    // of existing users, and fail.
    let data = doc! { "failCommands": ["connectionStatus"], "errorCode": 2, "appName": "medlift" };
    let point = doc! { "configureFailPoint": "failCommand", "mode": { "skip": 1 }, "data": data };
    crate::server::fail_point(&server, point);
    let run = provision(&["--plan"]).expect_code(3);
    assert!(run.stderr.contains("cannot connect to") && run.stdout.is_empty(), "{}{}", run.stdout, run.stderr);
}
