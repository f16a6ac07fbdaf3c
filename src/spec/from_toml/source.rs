//! TOML tables with their positions in the text, so that error messages can contain the line.

use std::cell::RefCell;
use std::fmt::Display;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::spec::SpecError;
use crate::spec::range::{Bound, Decimal};
use crate::spec::spelling::closest;

/// The text of a spec, its name in messages (`origin`), and the errors found so far.
pub(super) struct Source<'t> {
    pub(super) origin: &'t str,
    pub(super) text: &'t str,
    errors: RefCell<Vec<SpecError>>,
    /// The correct keys that were suggested for mistyped keys. For each, the line of its table and the dotted key. If
    /// `tpye` was reported with the suggestion `type`, then `type` must not also be reported as missing.
    suggested: RefCell<Vec<(usize, String)>>,
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str, origin: &'t str) -> Self {
        Self { origin, text, errors: RefCell::default(), suggested: RefCell::default() }
    }

    /// Parses the text. Notes every syntax error.
    pub(super) fn parse(&self) -> DeTable<'t> {
        let (entries, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.add(SpecError::NotToml {
                origin: self.origin.to_owned(),
                line: self.line(error.span().map_or(0, |span| span.start)),
                problem: error.message().replace('\n', ", "),
            });
        }
        entries.into_inner()
    }

    /// Notes an error. Ignores it if it was noted before. Also ignores it if its key was already suggested for a
    /// mistyped key: if the user wrote `tpye`, then `type` is not also reported as missing.
    fn add(&self, error: SpecError) {
        let mut errors = self.errors.borrow_mut();
        if let SpecError::Wrong { line, key, problem, .. } = &error {
            let is_same = |other: &SpecError| matches!(other, SpecError::Wrong { line: l, key: k, problem: p, .. } if l == line && k == key && p == problem);
            let follows = self.suggested.borrow().iter().any(|(suggested, of)| suggested == line && of == key);
            if follows || errors.iter().any(is_same) {
                return;
            }
        }
        errors.push(error);
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// Returns the noted errors in the order of their lines. Returns `None` if there are none.
    pub(super) fn take_errors(&self) -> Option<SpecError> {
        let mut errors = self.errors.take();
        errors.sort_by_key(SpecError::line);
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(SpecError::Several { origin: self.origin.to_owned(), errors }),
        }
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
    }
}

/// One table of the spec, with its dotted path and its position in the text.
#[derive(Clone)]
pub(super) struct Table<'t> {
    source: &'t Source<'t>,
    path: String,
    offset: usize,
    entries: &'t DeTable<'t>,
}

impl<'t> Table<'t> {
    pub(super) fn root(source: &'t Source<'t>, entries: &'t DeTable<'t>) -> Self {
        Self { source, path: String::new(), offset: 0, entries }
    }

    /// Returns the same table with `name` appended to its path: `field` becomes `field."Blood Type"`.
    pub(super) fn named(&self, name: &str) -> Self {
        Self { path: join(&self.path, name), ..self.clone() }
    }

    /// Creates an error with the line of `key`. If the table does not have the key, the line is that of the table.
    pub(super) fn wrong(&self, key: &str, problem: impl Display, remedy: impl Display) -> SpecError {
        let offset = self.entries.get_key_value(key).map_or(self.offset, |(key, _)| key.span().start);
        SpecError::Wrong {
            origin: self.source.origin.to_owned(),
            line: self.source.line(offset),
            key: join(&self.path, key),
            problem: problem.to_string(),
            remedy: remedy.to_string(),
        }
    }

    /// Notes an error, so that the rest of the spec can be checked.
    pub(super) fn add(&self, error: SpecError) {
        self.source.add(error);
    }

    /// Notes the error of a result, so that the rest of the spec can be checked. Returns the value.
    pub(super) fn note<T>(&self, result: Result<T, SpecError>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// Like [`note`](Self::note), for the result of reading a key that may be absent.
    pub(super) fn noted<T>(&self, result: Result<Option<T>, SpecError>) -> Option<T> {
        self.note(result).flatten()
    }

    /// Notes every key that is not among the known ones.
    pub(super) fn only(&self, known: &[&str]) {
        for key in self.keys().filter(|key| !known.contains(key)) {
            self.add(self.wrong(key, "unknown key", suggest(key, known)));
            if let Some(near) = closest(key, known.iter().copied()) {
                let place = (self.source.line(self.offset), join(&self.path, near));
                self.source.suggested.borrow_mut().push(place);
            }
        }
    }

    /// Notes unknown keys, and the error if the table has no `name`. Returns the name, and the table with the name
    /// appended to its path.
    pub(super) fn opened(&self, known: &[&str], remedy: &str) -> Option<(&'t str, Self)> {
        let table = match self.text("name") {
            Ok(Some(name)) => self.named(name),
            _ => self.clone(),
        };
        table.only(known);
        Some((self.note(self.needed_text("name", remedy))?, table))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'t str> {
        self.entries.keys().map(|key| key.get_ref().as_ref())
    }

    /// Returns the keys in the order in which they are written.
    pub(super) fn keys_as_written(&self) -> Vec<&'t str> {
        let mut keys: Vec<_> = self.entries.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter().map(|key| key.get_ref().as_ref()).collect()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'t str>, SpecError> {
        self.value(key)
            .map(|value| value.as_str().ok_or_else(|| self.mistyped(key, value, "a text in quotes")))
            .transpose()
    }

    pub(super) fn needed_text(&self, key: &str, remedy: impl Display) -> Result<&'t str, SpecError> {
        self.text(key)?.ok_or_else(|| self.wrong(key, "missing", remedy))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, SpecError> {
        self.value(key)
            .map(|value| value.as_bool().ok_or_else(|| self.mistyped(key, value, "true or false")))
            .transpose()
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&'t str>>, SpecError> {
        let wanted = "a list of texts, e.g. [\"one\", \"two\"]";
        let Some(array) = self.array(key, wanted)? else { return Ok(None) };
        let text = |item: &'t Spanned<DeValue<'t>>| item.get_ref().as_str();
        array
            .iter()
            .map(|item| text(item).ok_or_else(|| self.mistyped(key, item.get_ref(), wanted)))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Reads a pair of numbers, the smallest and the largest allowed value.
    pub(super) fn bounds(&self, key: &str) -> Result<Option<(Bound, Bound)>, SpecError> {
        let wanted = "two numbers, smallest and largest, e.g. [0, 130]";
        let Some(array) = self.array(key, wanted)? else { return Ok(None) };
        let numbers: Vec<Bound> = array.iter().filter_map(|item| bound(item.get_ref())).collect();
        match numbers[..] {
            [least, most] if array.len() == 2 && least.compare(most).is_le() => Ok(Some((least, most))),
            [least, most] if array.len() == 2 => {
                Err(self.wrong(key, "the smallest value is above the largest", format!("write [{most}, {least}]")))
            }
            _ => Err(self.wrong(key, "not a pair of numbers", format!("write {wanted}"))),
        }
    }

    /// Reads one word, which must be one of `choices`.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>, SpecError> {
        self.text(key)?.map(|word| self.chosen(key, word, choices)).transpose()
    }

    /// Returns the value of `word` in `choices`. `key` is the TOML key of the word, for the error message.
    pub(super) fn chosen<T: Copy>(&self, key: &str, word: &str, choices: &[(&str, T)]) -> Result<T, SpecError> {
        choices.iter().find(|(name, _)| *name == word).map(|&(_, choice)| choice).ok_or_else(|| {
            let known: Vec<&str> = choices.iter().map(|&(name, _)| name).collect();
            self.wrong(key, format!("`{word}` is not known here"), suggest(word, &known))
        })
    }

    pub(super) fn table(&self, key: &str) -> Result<Option<Self>, SpecError> {
        let Some((name, value)) = self.entries.get_key_value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(entries) => Ok(Some(self.inner(key, name.span().start, entries))),
            other => Err(self.mistyped(key, other, "a table")),
        }
    }

    /// Returns the tables that are written as `[[key]]`.
    pub(super) fn tables(&self, key: &str) -> Result<Vec<Self>, SpecError> {
        let wanted = format!("one or more tables, each with the heading [[{key}]]");
        let Some(array) = self.array(key, &wanted)? else { return Ok(Vec::new()) };
        let table = |item: &'t Spanned<DeValue<'t>>| match item.get_ref() {
            DeValue::Table(entries) => Ok(self.inner(key, item.span().start, entries)),
            other => Err(self.mistyped(key, other, &wanted)),
        };
        array.iter().map(table).collect()
    }

    fn inner(&self, key: &str, offset: usize, entries: &'t DeTable<'t>) -> Self {
        Self { source: self.source, path: join(&self.path, key), offset, entries }
    }

    fn value(&self, key: &str) -> Option<&'t DeValue<'t>> {
        self.entries.get(key).map(Spanned::get_ref)
    }

    fn array(&self, key: &str, wanted: &str) -> Result<Option<&'t DeArray<'t>>, SpecError> {
        self.value(key).map(|value| value.as_array().ok_or_else(|| self.mistyped(key, value, wanted))).transpose()
    }

    fn mistyped(&self, key: &str, found: &DeValue<'_>, wanted: &str) -> SpecError {
        self.wrong(key, format!("a TOML {} is not allowed here", found.type_str()), format!("write {wanted}"))
    }
}

/// Suggests the most similar known word, or lists all known words.
pub(super) fn suggest(word: &str, known: &[&str]) -> String {
    match closest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// Reads a TOML number exactly. Returns `None` for a NaN, for a number that [`Decimal::from_toml`] refuses, and for a
/// value that is not a number.
fn bound(value: &DeValue<'_>) -> Option<Bound> {
    let number = match value {
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().to_owned(),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix()).ok()?.to_string(),
        DeValue::Float(float) => float.as_str().to_owned(),
        _ => return None,
    };
    match number.trim_start_matches('+') {
        "inf" => Some(Bound::Highest),
        "-inf" => Some(Bound::Lowest),
        text => Decimal::from_toml(text).map(Bound::At),
    }
}

/// Appends a key to a dotted path. The key is quoted if TOML requires it.
fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
