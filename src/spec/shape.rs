//! The tree of the document: which values, lists and nested documents it contains. The tree is built from the dotted
//! names of the fields.

use std::ops::Range;

use super::{Field, Presence, column_key};

/// A group of fields that repeats: in the document it is an array of nested documents. For example, the group `names`
/// with the fields `names.family` and `names.given`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Dotted name in the document.
    pub name: String,
    /// The name of the source's column, or the path in JSON. The column's value is an array of objects. For a group
    /// inside another repeating group, the path starts at an item of the outer group.
    pub column: String,
    /// Other names of the column.
    pub aliases: Vec<String>,
    /// Whether the column must exist. With [`Presence::Required`], the array must also have at least one item.
    pub presence: Presence,
}

/// One element of the document: a value, a list, or a nested document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A single value.
    Leaf {
        /// Name of the element.
        name: String,
        /// Index into the spec's fields.
        field: usize,
    },
    /// An array of single values.
    List {
        /// Name of the element.
        name: String,
        /// Index into the spec's fields.
        field: usize,
    },
    /// A nested document, or an array of nested documents.
    Group {
        /// Name of the element.
        name: String,
        /// Index into [`Shape::groups`] if the element is an array. `None` if it is a single nested document.
        repeats: Option<usize>,
        /// The elements of the nested document.
        children: Vec<Node>,
    },
}

/// The tree of the document. The elements are in document order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The elements on the first level.
    pub roots: Vec<Node>,
    /// The groups that repeat. An element of the tree refers to its group by index.
    pub groups: Vec<Group>,
    /// For each kind of document in this tree, the index of its first field. Only [`Shape::joined`] makes a tree of
    /// several kinds.
    first_fields: Vec<usize>,
}

/// A column of the source. It contains the values of one field, or a whole array. Inside the items of a repeating
/// group, a column is a key of the item.
#[derive(Debug, Clone)]
pub struct Column<'s> {
    /// Dotted name in the document. For a column inside the items of a group, it is the name in the item.
    pub name: String,
    /// The column's name in the source.
    pub column: &'s str,
    /// Other names of the column in the source.
    pub aliases: &'s [String],
    /// Whether the column must exist.
    pub presence: Presence,
    /// Index of the field. For a repeating group, it is the index of the group's first field.
    pub field: usize,
    /// The element of the document: a value, a list, or a group that repeats.
    pub node: &'s Node,
}

impl Shape {
    /// Builds the tree from the dotted names of the fields. Fields with the same prefix must follow each other.
    pub fn new(fields: &[Field], groups: Vec<Group>) -> Self {
        let mut shape = Self { roots: Vec::new(), groups, first_fields: vec![0] };
        let mut roots = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            shape.add(&mut roots, field, index, 0);
        }
        shape.roots = roots;
        shape
    }

    /// Joins the trees of several kinds of documents into one. `shapes` has each tree with its number of fields. The
    /// fields of the first kind keep their indices. The indices of the next kinds follow.
    pub(super) fn joined<'s>(shapes: impl Iterator<Item = (&'s Self, usize)>) -> Self {
        let mut joined = Self { roots: Vec::new(), groups: Vec::new(), first_fields: Vec::new() };
        let mut first_field = 0;
        for (shape, fields) in shapes {
            joined.first_fields.push(first_field);
            let first_group = joined.groups.len();
            joined.roots.extend(shape.roots.iter().map(|node| node.moved(first_field, first_group)));
            joined.groups.extend(shape.groups.iter().cloned());
            first_field += fields;
        }
        joined
    }

    /// Adds a field to `nodes`, the elements on one level of the tree. `start` is the position in the field's dotted
    /// name at which the name for this level begins. For `value` in `result.value`, it is 7.
    fn add(&self, nodes: &mut Vec<Node>, field: &Field, index: usize, start: usize) {
        let Some((first, _)) = field.name[start..].split_once('.') else {
            let name = field.name[start..].to_owned();
            nodes.push(if field.repeats {
                Node::List { name, field: index }
            } else {
                Node::Leaf { name, field: index }
            });
            return;
        };
        let end = start + first.len();
        if !matches!(nodes.last(), Some(Node::Group { name, .. }) if name == first) {
            let repeats = self.groups.iter().position(|group| group.name == field.name[..end]);
            nodes.push(Node::Group { name: first.to_owned(), repeats, children: Vec::new() });
        }
        if let Some(Node::Group { children, .. }) = nodes.last_mut() {
            self.add(children, field, index, end + 1);
        }
    }

    /// Returns the columns from which the elements `nodes` are read. `nodes` are the elements of the document, or the
    /// elements of a repeating group.
    pub fn columns<'s>(&'s self, nodes: &'s [Node], fields: &'s [Field]) -> Vec<Column<'s>> {
        let mut columns = Vec::new();
        self.add_columns(nodes, "", fields, &mut columns);
        columns
    }

    fn add_columns<'s>(&'s self, nodes: &'s [Node], prefix: &str, fields: &'s [Field], columns: &mut Vec<Column<'s>>) {
        for node in nodes {
            let name = format!("{prefix}{}", node.name());
            match node {
                Node::Group { repeats: None, children, .. } => {
                    self.add_columns(children, &format!("{name}."), fields, columns);
                }
                Node::Group { repeats: Some(group), .. } => {
                    let Group { column, aliases, presence, .. } = &self.groups[*group];
                    columns.push(Column {
                        name,
                        column,
                        aliases,
                        presence: *presence,
                        field: node.first_field(),
                        node,
                    });
                }
                Node::Leaf { field, .. } | Node::List { field, .. } => {
                    let Field { column, aliases, presence, .. } = &fields[*field];
                    columns.push(Column { name, column, aliases, presence: *presence, field: *field, node });
                }
            }
        }
    }

    /// Returns the dotted names of the arrays that contain the field's values, outermost first. If the field itself is
    /// a list, its name is the last one.
    pub fn arrays_of<'f>(&self, field: &'f Field) -> Vec<&'f str> {
        let list = field.repeats.then_some(field.name.as_str());
        prefixes(&field.name).filter(|prefix| self.is_array(prefix)).chain(list).collect()
    }

    /// Returns the field's dotted name with `[]` after the name of each array, e.g. `names[].given[]`.
    pub fn marked_name(&self, field: &Field) -> String {
        let list = field.repeats.then_some(field.name.as_str());
        let mut marked = String::new();
        for path in prefixes(&field.name).chain([field.name.as_str()]) {
            let part = path.rsplit_once('.').map_or(path, |(_, last)| last);
            let dot = if marked.is_empty() { "" } else { "." };
            let mark = if self.is_array(path) || list == Some(path) { "[]" } else { "" };
            marked = format!("{marked}{dot}{part}{mark}");
        }
        marked
    }

    /// Returns the number of the kind of document that contains `field`, from 0.
    pub fn document_of(&self, field: usize) -> usize {
        self.first_fields.iter().skip(1).take_while(|&&first| first <= field).count()
    }

    fn is_array(&self, name: &str) -> bool {
        self.groups.iter().any(|group| group.name == name)
    }
}

impl Column<'_> {
    /// Returns the column's name and aliases in the form in which names are compared, for example `bloodtype` for
    /// `Blood Type` (see `column_key`).
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.aliases.iter().map(String::as_str).chain([self.column]).map(column_key)
    }
}

impl Node {
    /// Returns the name of the element in its document.
    pub fn name(&self) -> &str {
        match self {
            Self::Leaf { name, .. } | Self::List { name, .. } | Self::Group { name, .. } => name,
        }
    }

    /// Returns the index of the element's first field.
    pub fn first_field(&self) -> usize {
        match self {
            Self::Leaf { field, .. } | Self::List { field, .. } => *field,
            Self::Group { children, .. } => children.first().map_or(0, Self::first_field),
        }
    }

    /// Returns the indices of all fields of the element.
    pub fn fields(&self) -> Range<usize> {
        let first = self.first_field();
        first..first + self.count()
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf { .. } | Self::List { .. } => 1,
            Self::Group { children, .. } => children.iter().map(Self::count).sum(),
        }
    }

    /// Returns a copy of the element with larger indices. `fields` and `groups` are added to the indices of fields and
    /// groups.
    fn moved(&self, fields: usize, groups: usize) -> Self {
        match self {
            Self::Leaf { name, field } => Self::Leaf { name: name.clone(), field: field + fields },
            Self::List { name, field } => Self::List { name: name.clone(), field: field + fields },
            Self::Group { name, repeats, children } => Self::Group {
                name: name.clone(),
                repeats: repeats.map(|group| group + groups),
                children: children.iter().map(|child| child.moved(fields, groups)).collect(),
            },
        }
    }

    /// Returns true if the element is an array.
    pub fn is_array(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Group { repeats: Some(_), .. })
    }
}

/// Splits a dotted name at its dots.
pub(super) fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split('.')
}

/// Returns the dotted prefixes of a name, shortest first: `a` and `a.b` for `a.b.c`.
pub(super) fn prefixes(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(dot, _)| &name[..dot])
}

/// Returns the innermost repeating group around the field or group with this dotted name. `None` if it is outside all
/// groups.
pub(super) fn group_around<'g>(name: &str, groups: &'g [Group]) -> Option<&'g Group> {
    prefixes(name).filter_map(|prefix| groups.iter().find(|group| group.name == prefix)).last()
}

/// Returns the part of a dotted name after the innermost repeating group. For `names.used.start`, if `names` repeats,
/// that is `used.start`.
pub(super) fn name_in_item<'n>(name: &'n str, groups: &[Group]) -> &'n str {
    group_around(name, groups).map_or(name, |group| &name[group.name.len() + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    fn spec() -> Spec {
        let field =
            |name: &str, more: &str| format!("[[field]]\nname = '{name}'\ntype = 'string'\nprivacy = 'none'\n{more}\n");
        let group = |name: &str, repeats: &str| format!("[[group]]\nname = '{name}'\nrepeats = '{repeats}'\n");
        let fields = [
            field("id", ""),
            field("names.family", ""),
            field("names.given", "repeats = true"),
            field("names.used.periods.start", ""),
            field("contact.tags", "repeats = true\ncolumn = 'tag'"),
        ];
        let groups = [group("names", "name"), group("names.used.periods", "use.period")];
        let text = format!("name = 'x'\n{}{}", groups.concat(), fields.concat());
        Spec::from_toml(&text, "test").expect("a valid spec")
    }

    #[test]
    fn names_with_dots_become_a_tree() {
        let spec = spec();
        let leaf = |name: &str, field| Node::Leaf { name: name.to_owned(), field };
        let list = |name: &str, field| Node::List { name: name.to_owned(), field };
        let group = |name: &str, repeats, children| Node::Group { name: name.to_owned(), repeats, children };
        let used = group("used", None, vec![group("periods", Some(1), vec![leaf("start", 3)])]);
        let names = group("names", Some(0), vec![leaf("family", 1), list("given", 2), used]);
        assert_eq!(spec.shape.roots, [leaf("id", 0), names, group("contact", None, vec![list("tags", 4)])]);
        assert_eq!(spec.shape.roots[1].fields(), 1..4);
    }

    #[test]
    fn an_array_is_one_column_and_its_items_have_columns_of_their_own() {
        let spec = spec();
        let seen = |nodes: &[Node]| {
            let columns = spec.shape.columns(nodes, &spec.fields);
            let told = |column: &Column<'_>| (column.name.clone(), column.column.to_owned(), column.field);
            columns.iter().map(told).collect::<Vec<_>>()
        };
        let told = |name: &str, column: &str, field| (name.to_owned(), column.to_owned(), field);
        let expected = [told("id", "id", 0), told("names", "name", 1), told("contact.tags", "tag", 4)];
        assert_eq!(seen(&spec.shape.roots), expected);
        let Node::Group { children, .. } = &spec.shape.roots[1] else { panic!("not a group") };
        let expected = [told("family", "family", 1), told("given", "given", 2), told("used.periods", "use.period", 3)];
        assert_eq!(seen(children), expected);
    }

    #[test]
    fn the_arrays_around_a_field_are_marked_in_its_name() {
        let spec = spec();
        let marked: Vec<String> = spec.fields.iter().map(|field| spec.shape.marked_name(field)).collect();
        let expected = ["id", "names[].family", "names[].given[]", "names[].used.periods[].start", "contact.tags[]"];
        assert_eq!(marked, expected);
        assert_eq!(spec.shape.arrays_of(&spec.fields[3]), ["names", "names.used.periods"]);
        assert_eq!(spec.shape.arrays_of(&spec.fields[2]), ["names", "names.given"]);
        assert!(spec.shape.arrays_of(&spec.fields[0]).is_empty());
    }
}
