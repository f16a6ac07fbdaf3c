//! The steps that write the elements of a document. They are made once, from the tree of the spec.

use super::element::{Name, write_element};
use crate::clean::{Record, Value};
use crate::spec::{Column, Node, Spec};

/// The names `0`, `1`, … are prepared for this many elements of an array. The names of later elements are made when
/// they are written.
const POSITIONS_MAX: usize = 256;

/// One step of writing a document.
#[derive(Debug)]
pub(super) enum Step {
    Open(Name),
    Close,
    /// Writes the value with this index.
    Leaf(usize, Name),
    /// Writes an array of single values.
    List(usize, Name),
    /// Writes an array of documents. Each document has `width` values, which `steps` write.
    Items {
        value: usize,
        name: Name,
        width: usize,
        steps: Vec<Step>,
    },
}

/// Writes elements. It uses its memory again for each document.
#[derive(Debug)]
pub(super) struct ElementWriter {
    /// Positions of the documents and arrays that are not complete yet. When one is complete, its length is written at
    /// its position.
    open: Vec<usize>,
    /// The prepared names of array elements.
    positions: Vec<Name>,
}

impl ElementWriter {
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), positions: (0..POSITIONS_MAX).map(position).collect() }
    }

    /// Writes the elements of a document with the values `values`.
    #[inline]
    pub(super) fn write(&mut self, steps: &[Step], record: &Record, values: &[Value], out: &mut Vec<u8>) {
        for step in steps {
            match step {
                Step::Leaf(value, name) => write_element(record, &values[*value], name, out),
                Step::Open(name) => self.open(0x03, name, out),
                Step::Close => self.close(out),
                Step::List(..) | Step::Items { .. } => self.write_array(step, record, values, out),
            }
        }
    }

    /// Writes an array. Its elements have the names `0`, `1` and so on.
    fn write_array(&mut self, step: &Step, record: &Record, values: &[Value], out: &mut Vec<u8>) {
        let (value, name, width, steps) = match step {
            Step::Items { value, name, width, steps } => (*value, name, *width, steps.as_slice()),
            Step::List(value, name) => (*value, name, 1, &[][..]),
            _ => return,
        };
        let Value::Items(range) = &values[value] else { unreachable!("the cleaner stores an array for this column") };
        self.open(0x04, name, out);
        for (index, item) in record.items(range).chunks_exact(width).enumerate() {
            let made;
            let name = if index < POSITIONS_MAX {
                &self.positions[index]
            } else {
                made = position(index);
                &made
            };
            if steps.is_empty() {
                write_element(record, &item[0], name, out);
            } else {
                name.write(0x03, out);
                self.open.push(out.len());
                out.extend_from_slice(&[0; 4]);
                self.write(steps, record, item, out);
                self.close(out);
            }
        }
        self.close(out);
    }

    fn open(&mut self, kind: u8, name: &Name, out: &mut Vec<u8>) {
        name.write(kind, out);
        self.open.push(out.len());
        out.extend_from_slice(&[0; 4]);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        out.push(0);
        let start = self.open.pop().expect("each Close step has an Open step before it");
        let len = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }
}

fn position(index: usize) -> Name {
    Name::new(&index.to_string())
}

/// Returns the steps that write the body of a document.
pub(super) fn of_body(spec: &Spec) -> Vec<Step> {
    // A record has one value per field, in the order of the fields.
    of_nodes(spec, &spec.shape.roots, &mut |node| node.first_field())
}

/// Returns the steps that write the identity elements: each identity field under its dotted name, and an array as one
/// element. Returns `None` if the document's body has exactly these elements.
pub(super) fn of_identity(spec: &Spec) -> Option<Vec<Step>> {
    let is_plain = |node: &Node| !matches!(node, Node::Group { repeats: None, .. });
    if spec.identity.fields.len() == spec.fields.len() && spec.shape.roots.iter().all(is_plain) {
        return None;
    }
    let columns = spec.columns().into_iter().filter(|column| spec.identity.fields.contains(&column.field));
    Some(columns.map(|Column { name, field, node, .. }| of_value(spec, node, field, &name)).collect())
}

/// Returns the steps that write elements. `value_of` returns the index of an element's value.
fn of_nodes(spec: &Spec, nodes: &[Node], value_of: &mut dyn FnMut(&Node) -> usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for node in nodes {
        if let Node::Group { name, repeats: None, children } = node {
            steps.push(Step::Open(Name::new(name)));
            steps.extend(of_nodes(spec, children, value_of));
            steps.push(Step::Close);
        } else {
            let value = value_of(node);
            steps.push(of_value(spec, node, value, node.name()));
        }
    }
    steps
}

fn of_value(spec: &Spec, node: &Node, value: usize, name: &str) -> Step {
    let name = Name::new(name);
    match node {
        Node::Leaf { .. } => Step::Leaf(value, name),
        Node::List { .. } => Step::List(value, name),
        Node::Group { children, .. } => {
            // The values of an item are in the order of the item's columns.
            let mut width = 0;
            let mut next = |_: &Node| {
                width += 1;
                width - 1
            };
            let steps = of_nodes(spec, children, &mut next);
            Step::Items { value, name, width, steps }
        }
    }
}
