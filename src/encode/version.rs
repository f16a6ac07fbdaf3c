//! Versions of a document: which of two documents with the same `_id` is newer. Needed for `on_conflict = "newest"`.

use std::sync::Arc;

use bson::raw::CStr;
use bson::spec::ElementType;
use bson::{RawBsonRef, RawDocument};

use super::identity::Digest;
use super::stored::value_at;
use crate::spec::{Decimal, Field, FieldType, OnConflict, Spec};

/// The value of the field that orders the versions, converted to a number. A greater value has a greater number. Null
/// and values of another type become 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rank(u128);

/// Decides which of two documents is newer: the one with the greater rank. If the ranks are equal, the one with the
/// greater digest is newer. Documents with equal versions have equal content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    /// The rank of the document. It is zero if the spec has no field that orders.
    pub rank: Rank,
    /// The digest of the document's body.
    pub digest: Digest,
}

/// The field that orders the versions of a document. Its values have one BSON type.
#[derive(Debug, Clone)]
pub struct OrderField {
    name: Arc<str>,
    kind: OrderKind,
    /// Orders versions of a FHIR resource that have the same value in this field. `None` if the documents are not FHIR
    /// resources.
    of_resource: Option<Arc<OfResource>>,
}

/// The parts of a document that decide which of two versions of a resource is newer, if both were changed in the same
/// millisecond.
#[derive(Debug)]
struct OfResource {
    /// The name of the field with the whole resource. It is needed for the nanoseconds of `meta.lastUpdated`. Empty if
    /// another field orders the versions.
    whole: String,
    /// The fields that are derived from references, and the field with the patient's key.
    links: Vec<Link>,
}

/// A field with a reference, or a nested document that contains such fields.
#[derive(Debug, Default)]
struct Link {
    name: String,
    /// The fields of the nested document. Empty if this is a field with a reference.
    inner: Vec<Link>,
}

/// The lowest 16 bits of a rank are the number of references. The 20 bits above them are the nanoseconds after the last
/// complete millisecond.
const LINKS_BITS: u32 = 16;
const NANOSECONDS_BITS: u32 = 20;

#[derive(Debug, Clone, Copy)]
enum OrderKind {
    Integer,
    Time,
    Decimal,
}

impl OrderField {
    /// Returns the field that orders the documents of a spec. `None` if the spec has no such field.
    pub fn of(spec: &Spec) -> Option<Self> {
        let OnConflict::Newest { order_by } = spec.identity.on_conflict else { return None };
        let field = &spec.fields[order_by];
        let kind = match field.kind {
            FieldType::Date | FieldType::Datetime => OrderKind::Time,
            FieldType::Decimal128(_) => OrderKind::Decimal,
            _ => OrderKind::Integer,
        };
        // The rank of a decimal number needs all bits. None are left for nanoseconds and references.
        let is_refined = spec.is_divided() && !matches!(kind, OrderKind::Decimal);
        let of_resource = is_refined.then(|| OfResource::of(spec, &field.column).into());
        Some(Self { name: field.name.as_str().into(), kind, of_resource })
    }

    /// Returns the dotted name of the field.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value of the field in a document.
    pub(crate) fn value<'a>(&self, document: &'a [u8]) -> Option<RawBsonRef<'a>> {
        value_at(RawDocument::from_bytes(document).ok()?, &self.name)
    }

    /// Returns the BSON types of values that order documents.
    pub(crate) const fn types(&self) -> &'static [ElementType] {
        match self.kind {
            OrderKind::Integer => &[ElementType::Int32, ElementType::Int64],
            OrderKind::Time => &[ElementType::DateTime],
            OrderKind::Decimal => &[ElementType::Decimal128],
        }
    }

    /// Returns true if the value has a type whose values order documents (see [`types`](Self::types)).
    pub(crate) fn orders(&self, value: RawBsonRef<'_>) -> bool {
        self.types().contains(&value.element_type())
    }

    /// Returns the rank of a document.
    pub fn rank(&self, document: &[u8]) -> Rank {
        let rank = match (self.kind, self.value(document)) {
            (OrderKind::Integer, Some(RawBsonRef::Int32(number))) => Some(of_integer(number.into())),
            (OrderKind::Integer, Some(RawBsonRef::Int64(number))) => Some(of_integer(number)),
            (OrderKind::Time, Some(RawBsonRef::DateTime(time))) => Some(of_integer(time.timestamp_millis())),
            (OrderKind::Decimal, Some(RawBsonRef::Decimal128(number))) => {
                Decimal::from_bson(number.bytes()).map(of_decimal)
            }
            _ => None,
        };
        let rank = rank.unwrap_or_default();
        match (&self.of_resource, RawDocument::from_bytes(document)) {
            (Some(of_resource), Ok(document)) => of_resource.refine(rank, document),
            _ => rank,
        }
    }
}

impl OfResource {
    fn of(spec: &Spec, order_by: &str) -> Self {
        let whole = spec.whole().filter(|_| order_by.starts_with("meta.lastUpdated@"));
        let is_link = |field: &&Field| field.column.ends_with("@reference") || field.is_patient_key();
        Self {
            whole: whole.map_or_else(String::new, |field| field.name.clone()),
            links: Link::tree(spec.fields.iter().filter(is_link).map(|field| field.name.as_str())),
        }
    }

    /// Adds the nanoseconds to a rank that was made from milliseconds, and then the number of references that lead to a
    /// resource. Reason for the references: if the resources of a Bundle are read without the Bundle, some references
    /// lead nowhere. Such a version must not replace a version in which they lead to resources.
    fn refine(&self, rank: Rank, document: &RawDocument) -> Rank {
        let nanoseconds = self.nanoseconds(document).filter(|_| rank != Rank::default()).unwrap_or_default();
        let links = links_in(document, &self.links);
        let links = links.min((1 << LINKS_BITS) - 1) as u128;
        Rank((rank.0 << NANOSECONDS_BITS | u128::from(nanoseconds)) << LINKS_BITS | links)
    }

    /// Returns the nanoseconds of `meta.lastUpdated` after its last complete millisecond.
    fn nanoseconds(&self, document: &RawDocument) -> Option<u32> {
        let meta = document.get_document(&self.whole).ok()?.get_document("meta").ok()?;
        let (_, fraction) = meta.get_str("lastUpdated").ok()?.split_once(['.', ','])?;
        let mut digits = fraction.bytes().take_while(u8::is_ascii_digit).skip(3).chain(std::iter::repeat(b'0'));
        Some((0..6).fold(0, |number, _| number * 10 + u32::from(digits.next().unwrap_or(b'0') - b'0')))
    }
}

impl Link {
    /// Makes the tree of fields with these dotted names.
    fn tree<'n>(names: impl Iterator<Item = &'n str>) -> Vec<Self> {
        let mut roots: Vec<Self> = Vec::new();
        for name in names {
            let mut links = &mut roots;
            for part in name.split('.') {
                let known = links.iter().position(|link| link.name == part);
                let place = known.unwrap_or(links.len());
                if known.is_none() {
                    links.push(Self { name: part.to_owned(), ..Self::default() });
                }
                links = &mut links[place].inner;
            }
        }
        roots
    }

    /// Returns the number of references in a value that lead to resources of the same source system. A reference with a
    /// colon is not counted: it is the URL of another system, or a `urn:uuid:…` that leads nowhere.
    fn count(&self, value: RawBsonRef<'_>) -> usize {
        let is_link = |value: RawBsonRef<'_>| match value {
            RawBsonRef::String(text) => !text.contains(':'),
            value => value != RawBsonRef::Null,
        };
        match value {
            RawBsonRef::Document(document) if !self.inner.is_empty() => links_in(document, &self.inner),
            _ if !self.inner.is_empty() => 0,
            RawBsonRef::Array(items) => items.into_iter().flatten().filter(|item| is_link(*item)).count(),
            value => usize::from(is_link(value)),
        }
    }
}

/// Returns the number of such references in the fields `links`. Reads the document once.
fn links_in(document: &RawDocument, links: &[Link]) -> usize {
    let count = |(name, value): (&CStr, RawBsonRef<'_>)| {
        links.iter().find(|link| link.name == name.as_str()).map_or(0, |link| link.count(value))
    };
    document.iter().flatten().map(count).sum()
}

/// Zero is the rank of null, so the smallest integer has the rank 1.
fn of_integer(number: i64) -> Rank {
    Rank(u128::from(number.abs_diff(i64::MIN)) + 1)
}

/// Scales the number to 34 digits, so that equal numbers such as 1.0 and 1.00 have the same rank. Of two scaled
/// numbers, the one with the greater absolute value has the greater exponent, or the same exponent and the greater
/// digits.
fn of_decimal(number: Decimal) -> Rank {
    /// The lowest 113 bits are enough for 34 digits. The 14 bits above them are the exponent, and the highest bit is
    /// the sign.
    const DIGIT_BITS: u32 = 113;
    const ZERO: u128 = 1 << 127;
    let Decimal { negative, mut coefficient, mut exponent } = number;
    if coefficient == 0 {
        return Rank(ZERO);
    }
    while coefficient < 10_u128.pow(Decimal::DIGITS_MAX as u32 - 1) {
        (coefficient, exponent) = (coefficient * 10, exponent - 1);
    }
    let exponent = u128::from((exponent + (1 << 13)).unsigned_abs());
    let size = exponent << DIGIT_BITS | coefficient;
    Rank(if negative { ZERO - size } else { ZERO + size })
}

impl Rank {
    /// Returns the rank as a number, for a temporary file.
    pub(crate) fn to_number(self) -> u128 {
        self.0
    }

    /// Returns the rank of a number that [`to_number`](Self::to_number) has returned.
    pub(crate) fn from_number(number: u128) -> Self {
        Self(number)
    }
}

impl From<Digest> for Version {
    /// Returns the version of a document without rank.
    fn from(digest: Digest) -> Self {
        Self { digest, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use bson::{Bson, DateTime, Decimal128, doc};
    use proptest::prelude::*;

    use super::*;
    use crate::spec::Dataset;

    const TOML: &str = "name = 'a'\n[identity]\nfields = ['id']\non_conflict = 'newest'\norder_by = 'at.value'\n\
                        [[field]]\nname = 'id'\ntype = 'string'\nprivacy = 'none'\n\
                        [[field]]\nname = 'at.value'\ntype = 'KIND'\npresence = 'nullable'\nprivacy = 'none'\n";

    fn rank(kind: &str, value: impl Into<Bson>) -> Rank {
        let spec = Spec::from_toml(&TOML.replace("KIND", kind), "test").unwrap();
        let document = bson::serialize_to_vec(&doc! { "_id": 1, "id": "x", "at": { "value": value.into() } }).unwrap();
        OrderField::of(&spec).unwrap().rank(&document)
    }

    #[test]
    fn null_and_values_of_another_type_are_the_oldest() {
        for (kind, oldest) in [
            ("int32", Bson::Int32(i32::MIN)),
            ("int64", Bson::Int64(i64::MIN)),
            ("datetime", DateTime::MIN.into()),
            ("date", DateTime::from_millis(-1).into()),
            ("decimal128", "-9.999999999999999999999999999999999E+6144".parse::<Decimal128>().unwrap().into()),
        ] {
            for other in [Bson::Null, "2024-01-31".into(), Bson::Double(7.0), vec![oldest.clone()].into()] {
                assert_eq!(rank(kind, other.clone()), Rank::default(), "{kind}, {other}");
            }
            assert!(rank(kind, oldest.clone()) > Rank::default(), "{kind}, {oldest}");
        }
        let without = bson::serialize_to_vec(&doc! { "_id": 1, "id": "x" }).unwrap();
        let spec = Spec::from_toml(&TOML.replace("KIND", "date"), "test").unwrap();
        assert_eq!(OrderField::of(&spec).unwrap().rank(&without), Rank::default());
    }

    #[test]
    fn of_two_resources_the_one_with_the_later_nanosecond_and_then_with_more_references_is_newer() {
        let spec =
            Dataset::built_in("fhir-r4").unwrap().kinds.into_iter().find(|spec| spec.name == "Condition").unwrap();
        let order = OrderField::of(&spec).expect("resources have versions");
        let rank = |ms: Option<i64>, text: &str, patient: bool, subject: Option<&str>| {
            let patient = if patient { Bson::Int32(1) } else { Bson::Null };
            let document = doc! { "lastUpdated": ms.map(DateTime::from_millis), "patient": patient,
            "_search": { "subject": subject }, "resource": { "meta": { "lastUpdated": text } } };
            order.rank(&bson::serialize_to_vec(&document).unwrap())
        };
        let ascending = [
            rank(None, "", false, None),
            rank(None, "", false, Some("Patient/1")),
            rank(Some(5), "2024-01-01T00:00:05.123Z", true, Some("Patient/1")),
            rank(Some(5), "2024-01-01T00:00:05.123456Z", false, None),
            rank(Some(5), "2024-01-01T00:00:05.123789Z", false, Some("http://b.example/Patient/1")),
            rank(Some(5), "2024-01-01T00:00:05.123789Z", true, Some("Patient/1")),
            rank(Some(5), "2024-01-01T00:00:05.123789001+01:00", false, None),
            rank(Some(6), "2024-01-01T00:00:05.124Z", false, None),
        ];
        assert!(ascending.is_sorted() && ascending[0] == Rank::default(), "{ascending:?}");
        assert!(ascending.windows(2).all(|pair| pair[0] < pair[1]), "{ascending:?}");
    }

    #[test]
    fn of_two_versions_the_greater_rank_is_newer_and_then_the_greater_digest() {
        let version = |rank: u128, digest: u128| Version { rank: Rank(rank), digest: Digest(digest) };
        assert!(version(2, 1) > version(1, 9));
        assert!(version(2, 3) > version(2, 2));
        assert_eq!(Rank::from_number(Rank(7 << 99).to_number()), Rank(7 << 99));
    }

    fn decimal() -> impl Strategy<Value = Decimal> {
        let exponent = prop_oneof![3 => -5..5, 1 => -6_176..=6_111];
        let coefficient = prop_oneof![0..20_u128, Just(10_u128.pow(33)), 0..10_u128.pow(34)];
        let number = (any::<bool>(), coefficient, exponent);
        number.prop_map(|(negative, coefficient, exponent)| Decimal { negative, coefficient, exponent })
    }

    proptest! {
        #[test]
        fn ranks_have_the_order_of_the_values(left in any::<i64>(), right in any::<i64>(), small in any::<(i32, i32)>()) {
            let (older, newer) = (left.min(right), left.max(right));
            prop_assert_eq!(of_integer(older).cmp(&of_integer(newer)), older.cmp(&newer));
            prop_assert_eq!(of_integer(small.0.into()).cmp(&of_integer(small.1.into())), small.0.cmp(&small.1));
        }

        #[test]
        fn ranks_of_decimals_have_the_order_of_the_numbers(left in decimal(), right in decimal()) {
            let order: Ordering = left.compare(right);
            prop_assert_eq!(of_decimal(left).cmp(&of_decimal(right)), order, "{:?} {:?}", left, right);
        }
    }
}
