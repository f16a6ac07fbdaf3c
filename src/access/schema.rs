//! The collection's validator and indexes: what the spec wants, what the server has, and how one becomes the other.

use bson::{Bson, Decimal128, Document, doc};

pub use super::indexes::build_indexes;
use super::indexes::{self, wait_for_builds};
use super::pattern::{Unchecked, server_pattern};
use super::{ATTEMPTS_MAX, AccessError, Failure, Target, patiently, pause};
use crate::spec::{Decimal, Field, FieldType, Index, Presence, Range, Spec};

/// What the server has for the target's collection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CollectionState {
    /// Whether it exists.
    pub exists: bool,
    /// Whether it is a view, into which nothing can be loaded.
    pub is_view: bool,
    /// Its validator; empty if it has none.
    pub validator: Document,
    /// What happens to a document that breaks the validator: `error` or `warn`.
    pub validation_action: Option<String>,
    /// Which writes the validator looks at: `strict`, `moderate` or `off`.
    pub validation_level: Option<String>,
    /// Its indexes besides the one on `_id`, if they are ready.
    pub indexes: Vec<Index>,
    /// The names of indexes that are being built.
    pub building: Vec<String>,
}

impl CollectionState {
    /// Whether the server writes whole documents that break the validator into its log, in place of refusing them.
    pub fn logs_documents(&self) -> bool {
        !self.validator.is_empty() && self.validation_action.as_deref() == Some("warn")
    }

    /// Whether the spec's validator is on and refuses what breaks it.
    pub fn is_guarded_by(&self, spec: &Spec) -> bool {
        let refuses = self.validation_action.as_deref().is_none_or(|action| action == "error");
        let always = self.validation_level.as_deref().is_none_or(|level| level == "strict");
        self.exists && refuses && always && self.validator == validator(spec)
    }

    /// The spec's indexes that the collection lacks. One of the same key under another name serves as well.
    pub fn missing_indexes<'spec>(&self, spec: &'spec Spec) -> Vec<&'spec Index> {
        let serves = |wanted: &Index| {
            self.indexes.iter().any(|index| index.keys == wanted.keys && index.unique == wanted.unique)
        };
        spec.indexes.iter().filter(|wanted| !serves(wanted)).collect()
    }

    /// Indexes that bear the name of a spec's index but have another key.
    pub fn outdated_indexes<'spec>(&self, spec: &'spec Spec) -> Vec<&'spec Index> {
        let named = |wanted: &Index| self.indexes.iter().any(|index| index.name == wanted.name && index != wanted);
        spec.indexes.iter().filter(|wanted| named(wanted)).collect()
    }
}

/// The validator that the spec asks for: `{ $jsonSchema: … }`. Fields that the spec does not name are allowed.
pub fn validator(spec: &Spec) -> Document {
    let leaves: Vec<Leaf<'_>> = spec.fields.iter().map(|field| Leaf { path: &field.name, field }).collect();
    let mut schema = doc! { "title": &spec.name };
    schema.extend(object_schema(&leaves));
    doc! { "$jsonSchema": schema }
}

/// A field and what of its dotted name is left below the object at hand.
struct Leaf<'spec> {
    path: &'spec str,
    field: &'spec Field,
}

/// The schema of an object; fields that share the first part of their names make a nested object.
fn object_schema(leaves: &[Leaf<'_>]) -> Document {
    let first = |leaf: &Leaf<'_>| leaf.path.split_once('.').map(|(first, _)| first.to_owned());
    let mut required = Vec::new();
    let mut properties = Document::new();
    for group in leaves.chunk_by(|left, right| first(left).is_some() && first(left) == first(right)) {
        let name = first(&group[0]).unwrap_or_else(|| group[0].path.to_owned());
        if group.iter().any(|leaf| leaf.field.presence == Presence::Required) {
            required.push(Bson::from(&name));
        }
        let schema = if name == group[0].path { field_schema(group[0].field) } else { nested_schema(group) };
        properties.insert(name, schema);
    }
    let mut schema = doc! { "bsonType": "object" };
    if !required.is_empty() {
        schema.insert("required", required);
    }
    schema.insert("properties", properties);
    schema
}

fn nested_schema(group: &[Leaf<'_>]) -> Document {
    let below = |leaf: &Leaf<'_>| leaf.path.len() - leaf.path.split_once('.').map_or(0, |(_, rest)| rest.len());
    let inner: Vec<_> = group.iter().map(|leaf| Leaf { path: &leaf.path[below(leaf)..], field: leaf.field }).collect();
    object_schema(&inner)
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

/// Null satisfies every one of these: each looks only at values of its own kind.
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

/// The bounds of a range, in the field's own type: the server compares numbers exactly, whatever their types.
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

/// The field's pattern for the server, or why it has none.
fn pattern(field: &Field) -> Option<Result<String, Unchecked>> {
    let chars_max = field.constraints.length.map(|(_, most)| most);
    field.constraints.pattern.as_ref().map(|pattern| server_pattern(pattern.as_str(), chars_max))
}

/// The fields whose pattern the validator leaves out, each with the reason: cleaning alone checks these.
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
    }
}

/// What the server has for the target's collection.
pub async fn read(target: &Target) -> Result<CollectionState, AccessError> {
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

/// Refuses a collection whose validator only warns: the server would write every document that breaks it into its log,
/// whole. A user who may not look at the validator is let through; `medlift doctor` tells as another user.
pub async fn refuse_warning(target: &Target) -> Result<(), AccessError> {
    match read(target).await {
        Ok(state) if state.logs_documents() => {
            Err(AccessError::ValidatorWarns { collection: format!("{}.{}", target.database, target.collection) })
        }
        Ok(_) | Err(AccessError::Command { failure: Failure::NotAuthorized { .. }, .. }) => Ok(()),
        Err(other) => Err(other),
    }
}

/// The server's UUID of the target's collection, by which a collection that was dropped and made again is told from the first.
/// `None` if it does not exist, or if the user may not look.
pub async fn uuid(target: &Target) -> Result<Option<bson::Uuid>, AccessError> {
    let listed = match listing(target, &target.collection).await {
        Err(AccessError::Command { failure: Failure::NotAuthorized { .. }, .. }) => return Ok(None),
        listed => listed?,
    };
    let info = listed.as_ref().and_then(|listed| listed.get_document("info").ok());
    let uuid = info.and_then(|info| info.get("uuid"));
    Ok(uuid.and_then(|uuid| if let Bson::Binary(binary) = uuid { binary.to_uuid().ok() } else { None }))
}

/// Lets the server read the spec's validator, so that one that it refuses is refused before anything is written. The query
/// looks at no document, and needs no right but to find.
pub async fn try_spec(target: &Target, spec: &Spec) -> Result<(), AccessError> {
    let query = doc! { "_id": { "$in": [] }, "$nor": [validator(spec)] };
    let documents = target.documents();
    let tried = patiently(|| documents.find_one(query.clone()).into_future()).await;
    let doing =
        || format!("use the spec: the server refuses its validator for {}.{}", target.database, target.collection);
    tried.map(drop).map_err(|failure| AccessError::Command { doing: doing(), failure })
}

/// Refuses indexes of the spec that cannot be built beside those that the collection has. To be asked where the load is to
/// build them. A user who may not list indexes is let through: such a user builds none.
pub async fn refuse_index_clash(target: &Target, spec: &Spec) -> Result<(), AccessError> {
    let state = match read(target).await {
        Err(AccessError::Command { failure: Failure::NotAuthorized { .. }, .. }) => return Ok(()),
        state => state?,
    };
    let clashes = spec
        .indexes
        .iter()
        .flat_map(|wanted| state.indexes.iter().filter_map(move |index| Some((wanted, clash(index, wanted)?))));
    match clashes.into_iter().next() {
        None => Ok(()),
        Some((wanted, clash)) => Err(AccessError::IndexClash {
            index: wanted.name.clone(),
            collection: format!("{}.{}", target.database, target.collection),
            clash,
        }),
    }
}

/// Why `wanted` cannot be built beside `index`.
fn clash(index: &Index, wanted: &Index) -> Option<String> {
    if index.name == wanted.name && index != wanted {
        return Some("another index of that name".to_owned());
    }
    let differs = index.keys == wanted.keys && index.unique != wanted.unique;
    let is_unique = if index.unique { "is" } else { "is not" };
    differs.then(|| format!("the index `{}` with the same keys, which {is_unique} unique", index.name))
}

/// The server's listing of one collection or view of the target's database.
pub(super) async fn listing(target: &Target, name: &str) -> Result<Option<Document>, AccessError> {
    let command = doc! { "listCollections": 1, "filter": { "name": name } };
    let listed = target.look(command).await;
    let doing = || format!("look {}.{name} up", target.database);
    let listed = listed.map_err(|failure| AccessError::Command { doing: doing(), failure })?;
    let batch = listed.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    Ok(batch.ok().and_then(|batch| batch.first()).and_then(Bson::as_document).cloned())
}

/// Puts the spec's validator on the collection, which is made if it is missing. The server then refuses documents that
/// break it; it does not look at documents that are already there: see [`nonconforming`]. Index builds that are in the way
/// are waited for; `waiting` is told so.
pub async fn attach(target: &Target, spec: &Spec, mut waiting: impl FnMut(&str)) -> Result<(), AccessError> {
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
                return Err(AccessError::Command { doing, failure });
            }
        }
        attempt += 1;
    }
}

/// The server's code for a collection that somebody else has made meanwhile.
const NAMESPACE_EXISTS: i32 = 48;

fn may_attach_later(failure: &Failure) -> bool {
    failure.is_retryable() || failure.code() == Some(NAMESPACE_EXISTS)
}

/// `command` is `create` or `collMod`.
pub(super) fn attach_command(command: &str, collection: &str, spec: &Spec) -> Document {
    doc! {
        command: collection,
        "validator": validator(spec),
        "validationLevel": "strict",
        "validationAction": "error",
    }
}

/// How many documents of the collection break the spec's validator: one scan on the server, at majority.
pub async fn nonconforming(target: &Target, spec: &Spec) -> Result<u64, AccessError> {
    let filter = doc! { "$nor": [validator(spec)] };
    let documents = target.documents();
    let counted = patiently(|| documents.count_documents(filter.clone()).into_future()).await;
    counted.map_err(|failure| {
        let doing =
            format!("count the documents of {}.{} that break the validator", target.database, target.collection);
        AccessError::Command { doing, failure }
    })
}

#[cfg(test)]
mod tests;
