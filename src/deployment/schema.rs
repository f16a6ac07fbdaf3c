//! The validator and the indexes of the collection: what the spec requires, what the server has, and the changes that
//! are needed.

use bson::{Bson, Decimal128, Document, doc};

use super::error::DeploymentError;
use super::indexes::{self, wait_for_builds};
use super::pattern::{Unchecked, server_pattern};
pub use crate::server::collection_uuid as uuid;
pub(super) use crate::server::listing;
use crate::server::{ATTEMPTS_MAX, Failure, ServerError, Target, first_batch, patiently, pause};
use crate::spec::{Decimal, Field, FieldType, Index, Node, Presence, Range, Spec, closest};
use crate::wording::shell_word;

/// Maximum number of fields that are named in the description of another program's validator.
const FIELDS_NAMED_MAX: usize = 5;

/// The state of the target's collection on the server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CollectionState {
    /// Whether a collection or view with this name exists.
    pub exists: bool,
    /// Whether the name belongs to a view. Documents cannot be written to a view.
    pub is_view: bool,
    /// The validator. Empty if the collection has none.
    pub validator: Document,
    /// What the server does with a document that violates the validator: `error`, `errorAndLog` or `warn`. `None` means
    /// `error`, the server's default.
    pub validation_action: Option<String>,
    /// Which writes the validator checks: `strict`, `moderate` or `off`. `None` means `strict`, the server's default.
    pub validation_level: Option<String>,
    /// The indexes that are ready, except the index on `_id`.
    pub indexes: Vec<Index>,
    /// The names of the indexes that are being built.
    pub building: Vec<String>,
}

impl CollectionState {
    /// Returns true if the server accepts documents that violate the validator, and writes each of them to its log.
    pub fn logs_documents(&self) -> bool {
        !self.validator.is_empty() && self.validation_action.as_deref() == Some("warn")
    }

    /// Returns true if the collection has the spec's validator, and the server refuses all documents that violate it.
    pub fn is_guarded_by(&self, spec: &Spec) -> bool {
        let refuses = self.validation_action.as_deref().is_none_or(|action| action == "error");
        let always = self.validation_level.as_deref().is_none_or(|level| level == "strict");
        self.exists && refuses && always && self.validator == validator(spec)
    }

    /// Describes the collection's validator by its title, or by its first fields if it has no title. `None` if the
    /// collection has no validator, or has the validator of `spec`.
    pub fn other_validator(&self, spec: &Spec) -> Option<String> {
        if self.validator.is_empty() || self.validator == validator(spec) {
            return None;
        }
        let schema = self.validator.get_document("$jsonSchema").ok();
        if let Some(title) = schema.and_then(|schema| schema.get_str("title").ok()) {
            return Some(format!("the validator `{title}`"));
        }
        let properties = schema.and_then(|schema| schema.get_document("properties").ok()).unwrap_or(&self.validator);
        let fields: Vec<String> = properties.keys().take(FIELDS_NAMED_MAX).map(|field| format!("`{field}`")).collect();
        let more = if properties.len() > fields.len() { ", …" } else { "" };
        Some(format!("a validator of {}{more}", fields.join(", ")))
    }

    /// Returns the indexes of the spec that the collection does not have. The name of an index does not matter: an
    /// index with the same keys and the same `unique` setting is enough.
    pub fn missing_indexes<'spec>(&self, spec: &'spec Spec) -> Vec<&'spec Index> {
        let serves = |wanted: &Index| {
            self.indexes.iter().any(|index| index.keys == wanted.keys && index.unique == wanted.unique)
        };
        spec.indexes.iter().filter(|wanted| !serves(wanted)).collect()
    }

    /// Returns the indexes of the spec for which the collection has an index with the same name, but with other keys or
    /// another `unique` setting.
    pub fn outdated_indexes<'spec>(&self, spec: &'spec Spec) -> Vec<&'spec Index> {
        let named = |wanted: &Index| self.indexes.iter().any(|index| index.name == wanted.name && index != wanted);
        spec.indexes.iter().filter(|wanted| named(wanted)).collect()
    }
}

/// Returns the command that provisions the collection with this spec, as the user can type it.
pub fn provision_command(target: &Target, spec: &Spec) -> String {
    let command = target.provision_command();
    spec.option().map_or_else(|| command.clone(), |path| format!("{command} --spec {}", shell_word(path)))
}

/// If the collection does not exist, its name may be misspelled. Then returns a text that names the collection with
/// the most similar name among those with the spec's validator. Returns `None` if there is no such collection, or if
/// the user may not list collections.
pub async fn misspelled(target: &Target, spec: &Spec) -> Result<Option<String>, ServerError> {
    if matches!(listing(target, &target.collection).await, Ok(Some(_))) {
        return Ok(None);
    }
    let command = doc! {
        "listCollections": 1, "filter": { "type": "collection" }, "cursor": { "batchSize": 10_000 },
    };
    let listed = match target.look(command).await {
        Ok(listed) => listed,
        Err(Failure::NotAuthorized { .. }) => return Ok(None),
        Err(failure) => {
            return Err(ServerError::Command {
                doing: format!("list the collections of {}", target.database),
                failure,
            });
        }
    };
    let collections: Vec<&Document> = first_batch(&listed).collect();
    Ok(similar(&collections, &target.collection, spec).map(|other| {
        format!(
            "the collection {} does not exist, but {}.{other} has the validator of the spec {}",
            target.full_name(),
            target.database,
            spec.name
        )
    }))
}

/// Returns the collection with the spec's validator whose name is most similar to `name`. `None` if there is none, or
/// if the collection `name` exists.
fn similar<'l>(collections: &[&'l Document], name: &str, spec: &Spec) -> Option<&'l str> {
    let validator = validator(spec);
    let is_of_spec = |listed: &&&Document| {
        let options = listed.get_document("options");
        options.and_then(|options| options.get_document("validator")).is_ok_and(|found| *found == validator)
    };
    let name_of = |listed: &&'l Document| listed.get_str("name").ok();
    if collections.iter().filter_map(name_of).any(|other| other == name) {
        return None;
    }
    let mut others: Vec<&str> = collections.iter().filter(is_of_spec).filter_map(name_of).collect();
    others.sort_unstable();
    closest(name, others.iter().copied()).or(others.first().copied())
}

/// Returns the validator for the spec: `{ $jsonSchema: … }`. Documents may have further fields.
pub fn validator(spec: &Spec) -> Document {
    let mut schema = doc! { "title": &spec.name };
    schema.extend(object_schema(spec, &spec.shape.roots));
    doc! { "$jsonSchema": schema }
}

/// Returns the schema of a document or nested document with these elements.
fn object_schema(spec: &Spec, nodes: &[Node]) -> Document {
    let mut required = Vec::new();
    let mut properties = Document::new();
    for node in nodes {
        if is_required(spec, node) {
            required.push(Bson::from(node.name()));
        }
        properties.insert(node.name(), node_schema(spec, node));
    }
    let mut schema = doc! { "bsonType": "object" };
    if !required.is_empty() {
        schema.insert("required", required);
    }
    schema.insert("properties", properties);
    schema
}

/// Returns true if a document must contain the element. A nested document must be present if one of its own elements
/// must be present.
fn is_required(spec: &Spec, node: &Node) -> bool {
    let presence = match node {
        Node::Leaf { field, .. } | Node::List { field, .. } => spec.fields[*field].presence,
        Node::Group { repeats: Some(group), .. } => spec.shape.groups[*group].presence,
        Node::Group { children, .. } => return children.iter().any(|child| is_required(spec, child)),
    };
    presence == Presence::Required
}

fn node_schema(spec: &Spec, node: &Node) -> Document {
    let items = match node {
        Node::Leaf { field, .. } => return field_schema(&spec.fields[*field]),
        Node::Group { repeats: None, children, .. } => return object_schema(spec, children),
        Node::List { field, .. } => field_schema(&spec.fields[*field]),
        Node::Group { children, .. } => object_schema(spec, children),
    };
    let mut schema = doc! { "bsonType": "array", "items": items };
    if is_required(spec, node) {
        schema.insert("minItems", 1_i64);
    }
    schema
}

fn field_schema(field: &Field) -> Document {
    let nullable = field.presence != Presence::Required;
    let name = bson_type(&field.kind);
    let mut schema = doc! { "bsonType": if nullable { Bson::from(vec![name, "null"]) } else { Bson::from(name) } };
    if let FieldType::Enum { values, .. } = &field.kind {
        let mut allowed: Vec<Bson> = values.iter().map(Bson::from).collect();
        allowed.extend(nullable.then_some(Bson::Null));
        schema.insert("enum", allowed);
    }
    constrain(&mut schema, field);
    schema
}

/// Adds the constraints of a field. Null satisfies all of them, because JSON Schema applies each constraint only to
/// values of its own type: `minimum` to numbers, `pattern` to strings.
fn constrain(schema: &mut Document, field: &Field) {
    let (smallest, largest) = bounds(field.constraints.range);
    schema.extend(smallest.map(|bound| ("minimum".to_owned(), bound)));
    schema.extend(largest.map(|bound| ("maximum".to_owned(), bound)));
    if let Some((fewest, most)) = field.constraints.length {
        schema.insert("minLength", i64::from(fewest));
        schema.insert("maxLength", i64::from(most));
    }
    if let Some(Ok(pattern)) = pattern(field) {
        schema.insert("pattern", pattern);
    }
}

/// Returns the smallest and the largest value of a range as BSON numbers. `None` if the range has no such limit.
fn bounds(range: Option<Range>) -> (Option<Bson>, Option<Bson>) {
    match range {
        None => (None, None),
        Some(Range::Whole(least, most)) => {
            ((least > i64::MIN).then_some(Bson::Int64(least)), (most < i64::MAX).then_some(Bson::Int64(most)))
        }
        Some(Range::Double(least, most)) => {
            let finite = |bound: f64| bound.is_finite().then_some(Bson::Double(bound));
            (finite(least), finite(most))
        }
        Some(Range::Decimal(least, most)) => {
            let decimal = |bound: Decimal| Bson::Decimal128(Decimal128::from_bytes(bound.to_bson()));
            (least.map(decimal), most.map(decimal))
        }
    }
}

/// Returns the field's pattern in the server's notation, or the reason why the server cannot check the pattern.
fn pattern(field: &Field) -> Option<Result<String, Unchecked>> {
    let chars_max = field.constraints.length.map(|(_, most)| most);
    field.constraints.pattern.as_ref().map(|pattern| server_pattern(pattern.as_str(), chars_max))
}

/// Returns the fields whose pattern cannot be in the validator, each with the reason. Only cleaning checks these
/// patterns.
pub fn unchecked_patterns(spec: &Spec) -> Vec<(&str, String)> {
    let unchecked = |field| pattern(field).and_then(Result::err).map(|why| why.to_string());
    spec.fields.iter().filter_map(|field| Some((field.name.as_str(), unchecked(field)?))).collect()
}

fn bson_type(kind: &FieldType) -> &'static str {
    match kind {
        FieldType::String | FieldType::Enum { .. } => "string",
        FieldType::Int32(_) => "int",
        FieldType::Int64(_) => "long",
        FieldType::Double(_) => "double",
        FieldType::Decimal128(_) => "decimal",
        FieldType::Bool { .. } => "bool",
        FieldType::Date | FieldType::Datetime => "date",
        FieldType::Whole | FieldType::PatientKey => "binData",
        FieldType::Resource => "object",
    }
}

/// Reads the state of the target's collection.
pub async fn read(target: &Target) -> Result<CollectionState, ServerError> {
    let Some(listed) = listing(target, &target.collection).await? else { return Ok(CollectionState::default()) };
    let options = listed.get_document("options").cloned().unwrap_or_default();
    let word = |name: &str| options.get_str(name).ok().map(str::to_owned);
    let is_view = listed.get_str("type").ok() == Some("view");
    let indexes = if is_view { indexes::Listed::default() } else { indexes::read(target).await? };
    Ok(CollectionState {
        exists: true,
        is_view,
        validator: options.get_document("validator").cloned().unwrap_or_default(),
        validation_action: word("validationAction"),
        validation_level: word("validationLevel"),
        indexes: indexes.ready,
        building: indexes.building,
    })
}

/// Fails if the collection's validator only warns, because the server would then write every invalid document to its
/// log. Succeeds if the user may not read the validator. Another user can then check it with `medlift doctor`.
pub async fn refuse_warning(target: &Target, spec: &Spec) -> Result<(), DeploymentError> {
    match read(target).await {
        Ok(state) if state.logs_documents() => Err(DeploymentError::ValidatorWarns {
            collection: target.full_name(),
            command: provision_command(target, spec),
        }),
        Err(error) if error.is_not_authorized() => Ok(()),
        Ok(_) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// Checks that the server accepts the spec's validator, before anything is written. Sends the validator in a query that
/// matches no document and needs only the privilege to find.
pub async fn try_spec(target: &Target, spec: &Spec) -> Result<(), ServerError> {
    let query = doc! { "_id": { "$in": [] }, "$nor": [validator(spec)] };
    let documents = target.documents();
    let tried = patiently(|| documents.find_one(query.clone()).into_future()).await;
    let doing =
        || format!("use the spec: the server refuses its validator for {}.{}", target.database, target.collection);
    tried.map(drop).map_err(|failure| match failure {
        Failure::NotAuthorized { .. } => target.not_permitted("find"),
        failure => ServerError::Command { doing: doing(), failure },
    })
}

/// Fails if an index of the spec conflicts with an existing index. Call it before a load that will build indexes.
/// Succeeds if the user may not list indexes, because such a user usually may not build them either.
pub async fn refuse_index_clash(target: &Target, spec: &Spec) -> Result<(), DeploymentError> {
    let state = match read(target).await {
        Err(error) if error.is_not_authorized() => return Ok(()),
        state => state?,
    };
    let clashes = spec
        .indexes
        .iter()
        .flat_map(|wanted| state.indexes.iter().filter_map(move |index| Some((wanted, clash(index, wanted)?))));
    match clashes.into_iter().next() {
        None => Ok(()),
        Some((wanted, clash)) => {
            Err(DeploymentError::IndexClash { index: wanted.name.clone(), collection: target.full_name(), clash })
        }
    }
}

/// Returns the reason why the collection cannot have both `index` and `wanted`. `None` if it can.
fn clash(index: &Index, wanted: &Index) -> Option<String> {
    if index.name == wanted.name && index != wanted {
        return Some("another index of that name".to_owned());
    }
    let differs = index.keys == wanted.keys && index.unique != wanted.unique;
    let is_unique = if index.unique { "is" } else { "is not" };
    differs.then(|| format!("the index `{}` with the same keys, which {is_unique} unique", index.name))
}

/// Attaches the spec's validator to the collection. Creates the collection if it does not exist.
///
/// The server then refuses new documents that violate the validator. It does not check the documents that are already
/// stored; [`nonconforming`] does that. If index builds prevent the change, calls `waiting` with a message, and waits
/// until they have ended.
pub async fn attach(target: &Target, spec: &Spec, mut waiting: impl FnMut(&str)) -> Result<(), ServerError> {
    let mut attempt = 1;
    loop {
        let state = read(target).await?;
        if state.is_guarded_by(spec) {
            return Ok(());
        }
        let command = attach_command(if state.exists { "collMod" } else { "create" }, &target.collection, spec);
        match target.run_once(&target.database, command).await {
            Ok(_) => return Ok(()),
            Err(failure) if attempt < ATTEMPTS_MAX && may_attach_later(&failure) => {
                tokio::time::sleep(pause(attempt)).await;
                wait_for_builds(target, &mut waiting).await?;
            }
            Err(failure) => {
                let doing = format!("attach the validator to {}.{}", target.database, target.collection);
                return Err(ServerError::Command { doing, failure });
            }
        }
        attempt += 1;
    }
}

/// The server's error code if another client has created the collection first.
const NAMESPACE_EXISTS: i32 = 48;

fn may_attach_later(failure: &Failure) -> bool {
    failure.is_retryable() || failure.code() == Some(NAMESPACE_EXISTS)
}

/// Returns the command that attaches the validator. `command` is `create` or `collMod`.
pub(super) fn attach_command(command: &str, collection: &str, spec: &Spec) -> Document {
    doc! {
        command: collection,
        "validator": validator(spec),
        "validationLevel": "strict",
        "validationAction": "error",
    }
}

/// Returns the number of stored documents that violate the spec's validator. The server reads the whole collection with
/// read concern majority.
pub async fn nonconforming(target: &Target, spec: &Spec) -> Result<u64, ServerError> {
    let filter = doc! { "$nor": [validator(spec)] };
    let documents = target.documents();
    let counted = patiently(|| documents.count_documents(filter.clone()).into_future()).await;
    counted.map_err(|failure| {
        let doing =
            format!("count the documents of {}.{} that violate the validator", target.database, target.collection);
        ServerError::Command { doing, failure }
    })
}

/// Returns how many documents of a random sample violate the spec's validator. The server reads at most
/// `sample_size` documents.
pub async fn nonconforming_in_sample(target: &Target, spec: &Spec, sample_size: u32) -> Result<u64, ServerError> {
    let sample = doc! { "$sample": { "size": i64::from(sample_size) } };
    let violates = doc! { "$match": { "$nor": [validator(spec)] } };
    let command = doc! {
        "aggregate": &target.collection, "pipeline": [sample, violates, { "$count": "count" }], "cursor": {},
        "readConcern": { "level": "majority" },
    };
    let found = target.look(command).await.map_err(|failure| {
        let doing = format!("check a sample of {}.{} with the validator", target.database, target.collection);
        ServerError::Command { doing, failure }
    })?;
    let first = first_batch(&found).next();
    let count =
        first.and_then(|first| first.get("count")).and_then(|count| count.as_i64().or(count.as_i32().map(i64::from)));
    Ok(count.unwrap_or_default().unsigned_abs())
}

#[cfg(test)]
mod tests;
