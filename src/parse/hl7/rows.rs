//! Reads the values that a spec names from a message into cells.

use super::{Charset, Decoder, Element, Index, Message, Path, Problem, Time, Value};
use crate::parse::Cells;
use crate::reject::{Reason, Reject};
use crate::spec::{Column, Node, Spec, Zone};

/// Reads messages into cells: one cell per column of the spec. The cell of an array contains JSON, as in every format.
#[derive(Debug, Clone)]
pub(in crate::parse) struct Hl7 {
    slots: Vec<Slot>,
    /// The character set of a message that names none and is not UTF-8.
    charset: Charset,
    reader: ValueReader,
    index: Index,
    cell: Vec<u8>,
}

/// How the cell of one column is filled.
#[derive(Debug, Clone)]
enum Slot {
    /// The field is derived, and its cell stays empty.
    None,
    Value(Path),
    /// An array of values: one per repetition.
    List(Path),
    /// An array of objects: one per segment or repetition at `over`. Each object has the values at `columns`, each
    /// under its key.
    Group {
        over: Path,
        columns: Vec<(String, Path)>,
    },
}

/// Reads single values.
#[derive(Debug, Clone)]
struct ValueReader {
    zone: Zone,
    text: Vec<u8>,
    /// Number of escapes that Medlift does not know. They stay in the text as they are.
    kept_escapes: u64,
}

impl Hl7 {
    /// Creates the reader for messages of a spec. The spec's paths are valid, because they were checked when the spec
    /// was read.
    pub(in crate::parse) fn new(spec: &Spec, charset: Charset) -> Self {
        let slots = spec.columns().iter().map(|column| Slot::new(spec, column)).collect();
        let reader = ValueReader { zone: spec.source.zone, text: Vec::new(), kept_escapes: 0 };
        Self { slots, charset, reader, index: Index::default(), cell: Vec::new() }
    }

    /// Reads a message into cells.
    ///
    /// # Errors
    /// The row is not a message, or its character set is not known.
    pub(in crate::parse) fn parse(&mut self, row: &[u8], cells: &mut Cells) -> Result<(), Reject> {
        cells.clear_for(self.slots.len());
        let message = Message::split(row, &mut self.index).map_err(|problem| refusal(&problem))?;
        let decoder = Decoder::new(message, self.charset).map_err(|problem| refusal(&problem))?;
        for (number, slot) in self.slots.iter().enumerate() {
            self.cell.clear();
            match slot {
                Slot::None => continue,
                Slot::Value(path) => {
                    if let Some(element) = message.find(path) {
                        self.reader.read(decoder, element, path, &mut self.cell);
                    }
                }
                Slot::List(path) => self.reader.write_list(decoder, message, path, &mut self.cell),
                Slot::Group { over, columns } => {
                    self.reader.write_group(decoder, message, over, columns, &mut self.cell);
                }
            }
            cells.set_owned(number, &self.cell);
        }
        Ok(())
    }

    /// Returns the number of unknown escapes since the last call.
    pub(in crate::parse) fn take_kept_escapes(&mut self) -> u64 {
        std::mem::take(&mut self.reader.kept_escapes)
    }
}

impl Slot {
    fn new(spec: &Spec, column: &Column<'_>) -> Self {
        match column.node {
            _ if spec.is_derived(column) => Self::None,
            Node::Leaf { .. } => Self::Value(path(column.column)),
            Node::List { .. } => Self::List(path(column.column)),
            Node::Group { children, .. } => {
                let inner = spec.columns_of(children);
                let columns = inner.iter().map(|column| (column.column.to_owned(), path(column.column))).collect();
                Self::Group { over: path(column.column), columns }
            }
        }
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).expect("the paths of a spec were checked when it was read")
}

impl ValueReader {
    /// Appends the text of a value. Appends nothing if the value is absent, or if it is `""`, which deletes a value.
    fn read(&mut self, decoder: Decoder, element: Element<'_>, path: &Path, out: &mut Vec<u8>) {
        match element.value() {
            Value::Empty | Value::Delete => {}
            _ if path.is_precision => {
                let time = Time::read(element.text(), self.zone);
                out.extend_from_slice(time.map_or("", |time| time.precision.name()).as_bytes());
            }
            value => self.kept_escapes += u64::from(decoder.decode(value, out)),
        }
    }

    /// Writes a JSON array with the value of each repetition. Repetitions without a value are left out.
    fn write_list(&mut self, decoder: Decoder, message: Message<'_>, path: &Path, out: &mut Vec<u8>) {
        out.push(b'[');
        for segment in message.segments_of(path.segment) {
            for element in segment.find_all(path) {
                self.text.clear();
                let mut text = std::mem::take(&mut self.text);
                self.read(decoder, element, path, &mut text);
                if !text.is_empty() {
                    separate(out);
                    write_json(&text, out);
                }
                self.text = text;
            }
        }
        out.push(b']');
    }

    /// Writes a JSON array with one object per segment or repetition. An empty repetition is left out.
    fn write_group(
        &mut self,
        decoder: Decoder,
        message: Message<'_>,
        over: &Path,
        columns: &[(String, Path)],
        out: &mut Vec<u8>,
    ) {
        out.push(b'[');
        for segment in message.segments_of(over.segment) {
            if over.field.is_none() {
                separate(out);
                self.write_object(decoder, columns, |path| segment.find(path), out);
                continue;
            }
            for repetition in segment.find_all(over).filter(|repetition| !repetition.text().is_empty()) {
                separate(out);
                self.write_object(decoder, columns, |path| repetition.find(path), out);
            }
        }
        out.push(b']');
    }

    fn write_object<'m>(
        &mut self,
        decoder: Decoder,
        columns: &[(String, Path)],
        find: impl Fn(&Path) -> Element<'m>,
        out: &mut Vec<u8>,
    ) {
        out.push(b'{');
        for (number, (key, path)) in columns.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            write_json(key.as_bytes(), out);
            out.push(b':');
            self.text.clear();
            let mut text = std::mem::take(&mut self.text);
            self.read(decoder, find(path), path, &mut text);
            if text.is_empty() {
                out.extend_from_slice(b"null");
            } else {
                write_json(&text, out);
            }
            self.text = text;
        }
        out.push(b'}');
    }
}

/// Writes a comma if an item of the array precedes.
fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'[') {
        out.push(b',');
    }
}

/// Writes a text as a JSON string.
fn write_json(text: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(text);
    serde_json::to_writer(out, text.as_ref()).expect("writing to memory cannot fail");
}

fn refusal(problem: &Problem) -> Reject {
    let reason = match problem {
        Problem::UnknownCharset | Problem::Undecodable { .. } => Reason::Undecodable,
        _ => Reason::NotHl7,
    };
    Reject { field: None, reason, message: problem.to_string() }
}
