//! Cleans the cells of one field: finds null markers, applies the rules, converts the text, and checks the
//! constraints. A null marker is a text that means "no value", such as `N/A`.

use super::short_text::ShortText;
use super::tally::{NULL_MARKER, RULES, TRIM};
use super::whitespace::trim;
use super::{Record, Value, constraints, convert};
use super::{letter_case, normal_form, organisation_name, person_name, whitespace};
use crate::parse::{Cells, DateFormat, Layout};
use crate::reject::{Reason, Reject};
use crate::spec::{Field, FieldType, Presence, Rule};

/// Cleans the cells of one field.
#[derive(Debug)]
pub(super) struct FieldCleaner {
    index: usize,
    pub(super) field: Field,
    pub(super) cell: Option<usize>,
    date: DateFormat,
    /// Length of the longest null marker, in bytes. A longer cell cannot be a null marker and is not compared. Most
    /// cells are longer.
    marker_bytes_max: usize,
    /// True if a rule may change plain text, which is printable ASCII without consecutive spaces.
    acts_on_plain: bool,
    /// True if applying the rules once is enough for plain text, because at most one rule may change it.
    settles_plain_at_once: bool,
    /// The null markers, converted to the field's type. Markers that cannot be converted are left out. The converted
    /// cell is compared with them. For example, the marker `9999` of a double field is also found in the cell `9999.0`.
    marker_values: Vec<Value>,
    /// The values of an enum that have at most 16 bytes.
    short_values: Vec<ShortText>,
}

/// Buffers for applying rules: two for the text before and after a rule, and one for the text before a pass. A pass
/// applies all rules of the field once.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    current: String,
    next: String,
    before: String,
}

/// Largest number of times that the rules are applied to a text. If the text still changes the last time, the row is
/// rejected. No known text needs more than five passes.
const PASSES_MAX: usize = 16;

/// The changes and warnings of the current row. They are counted only if the row is accepted.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) changed: Vec<(usize, usize)>,
    pub(super) warned: Vec<usize>,
}

impl FieldCleaner {
    pub(super) fn new(index: usize, field: &Field, layout: &Layout) -> Self {
        let date = layout.dates[index].unwrap_or(DateFormat::Iso);
        Self::of(index, field, layout.cell_of_field[index], date)
    }

    /// Creates the cleaner for a field whose texts are in `cell` and whose dates have the format `date`.
    pub(super) fn of(index: usize, field: &Field, cell: Option<usize>, date: DateFormat) -> Self {
        let on_plain = field.clean.iter().filter(|rule| !matches!(rule, Rule::Nfc | Rule::CollapseWhitespace)).count();
        Self {
            index,
            field: field.clone(),
            // The value of a derived field is not read, even if the source has a column with its name.
            cell: cell.filter(|_| !field.is_derived()),
            date,
            marker_bytes_max: field.null_markers.iter().map(String::len).max().unwrap_or(0),
            acts_on_plain: on_plain > 0,
            settles_plain_at_once: on_plain <= 1,
            marker_values: marker_values(field, date),
            short_values: match &field.kind {
                FieldType::Enum { values, .. } => values.iter().filter_map(|value| ShortText::new(value)).collect(),
                _ => Vec::new(),
            },
        }
    }

    /// Returns the text of the field's cell. The `bool` is false if the parser stored a changed copy of the text, as
    /// for `"a ""b"""`. It is true if the text is a part of `row`. A field without a column has an empty cell.
    #[inline]
    pub(super) fn text<'a>(&self, row: &'a str, cells: &'a Cells) -> Result<(&'a str, bool), Reject> {
        match self.cell {
            None => Ok(("", true)),
            Some(cell) => cells.text(row, cell).ok_or_else(|| self.reject(Reason::Undecodable)),
        }
    }

    /// Does the same as [`clean`](Self::clean), but is not inlined. Rows with arrays use it.
    #[inline(never)]
    pub(super) fn clean_beside_arrays(
        &self,
        cell: &str,
        plain: bool,
        scratch: &mut Scratch,
        marks: &mut Marks,
        record: &mut Record,
    ) -> Result<(), Reason> {
        self.clean(cell, plain, scratch, marks, record)
    }

    /// Cleans one cell and appends its value to the record. `plain` is true if the cell is known to be printable ASCII
    /// without consecutive spaces.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the loop over the cells of a table needs 5 % fewer instructions")]
    pub(super) fn clean(
        &self,
        cell: &str,
        plain: bool,
        scratch: &mut Scratch,
        marks: &mut Marks,
        record: &mut Record,
    ) -> Result<(), Reason> {
        let text = trim(cell);
        if text.len() != cell.len() {
            marks.change(self.index, TRIM);
        }
        if text.is_empty() {
            return self.push_nothing(record);
        }
        if self.is_null_marker(text) {
            marks.change(self.index, NULL_MARKER);
            return self.push_nothing(record);
        }
        match &self.field.kind {
            FieldType::String => {
                let text = scratch.apply(self, text, plain, marks)?;
                if self.is_nothing(text, marks) {
                    return self.push_nothing(record);
                }
                constraints::check_text(text, plain, &self.field.constraints)?;
                record.push_text(text);
                Ok(())
            }
            FieldType::Enum { values, synonyms } => {
                // A value that is in the list is stored unchanged. The rules could otherwise change it to a text that
                // is not in the list.
                if self.is_listed(text, values) {
                    record.push_text(text);
                    return Ok(());
                }
                let text = scratch.apply(self, text, plain, marks)?;
                if self.is_nothing(text, marks) {
                    return self.push_nothing(record);
                }
                let value = convert::listed(text, values, synonyms).ok_or(Reason::NotAllowed)?;
                if value != text {
                    marks.change(self.index, RULES + self.field.clean.len());
                }
                record.push_text(value);
                Ok(())
            }
            _ => self.push_typed(text, scratch, marks, record),
        }
    }

    /// Returns true if the text is exactly one of the enum's values.
    fn is_listed(&self, text: &str, values: &[String]) -> bool {
        match ShortText::new(text) {
            Some(short) => self.short_values.contains(&short),
            None => values.iter().any(|value| value == text),
        }
    }

    /// Returns true if no value is left after the rules, because the text is empty or a null marker.
    fn is_nothing(&self, text: &str, marks: &mut Marks) -> bool {
        let is_marker = self.is_null_marker(text);
        if is_marker {
            marks.change(self.index, NULL_MARKER);
        }
        is_marker || text.is_empty()
    }

    /// Returns the index of the rule for which changes by the last step are counted. The last step normalizes the text
    /// after all rules. Its changes are counted for the rule `nfc`. If the field does not have this rule, they are
    /// counted for the last rule.
    pub(super) fn normalizing_slot(&self) -> usize {
        let rules = &self.field.clean;
        rules.iter().position(|rule| *rule == Rule::Nfc).unwrap_or(rules.len().saturating_sub(1))
    }

    fn is_null_marker(&self, text: &str) -> bool {
        text.len() <= self.marker_bytes_max
            && self.field.null_markers.iter().any(|marker| marker.eq_ignore_ascii_case(text))
    }

    /// Appends the value of a field whose cell is empty.
    fn push_nothing(&self, record: &mut Record) -> Result<(), Reason> {
        // A field with the whole record has no cell.
        if self.field.is_whole() {
            record.values.push(if self.field.kind == FieldType::Resource { Value::Resource } else { Value::Whole });
            return Ok(());
        }
        if self.field.presence == Presence::Required {
            return Err(Reason::Missing);
        }
        record.values.push(Value::Null);
        Ok(())
    }

    fn push_typed(
        &self,
        text: &str,
        scratch: &mut Scratch,
        marks: &mut Marks,
        record: &mut Record,
    ) -> Result<(), Reason> {
        let value = convert::typed(text, &self.field.kind, self.date, &mut scratch.current)?;
        if self.marker_values.iter().any(|marker| convert::same_value(marker, &value)) {
            marks.change(self.index, NULL_MARKER);
            return self.push_nothing(record);
        }
        let null_if_negative = self.field.clean.iter().position(|rule| *rule == Rule::NullIfNegative);
        if let Some(slot) = null_if_negative
            && convert::is_negative(&value)
        {
            marks.change(self.index, RULES + slot);
            return self.push_nothing(record);
        }
        if !self.field.constraints.range.as_ref().is_none_or(|range| constraints::in_range(&value, range)) {
            return Err(Reason::OutOfRange);
        }
        record.values.push(value);
        Ok(())
    }

    pub(super) fn reject(&self, reason: Reason) -> Reject {
        Reject { field: Some(self.index), reason, message: constraints::expectation(&self.field, self.date, reason) }
    }
}

/// Converts the null markers of a field to values of its type. Markers that cannot be converted are left out. Text
/// fields have no such values, because their markers are compared as texts.
fn marker_values(field: &Field, date: DateFormat) -> Vec<Value> {
    if field.is_derived() || matches!(field.kind, FieldType::String | FieldType::Enum { .. }) {
        return Vec::new();
    }
    let value = |marker: &String| convert::typed(marker, &field.kind, date, &mut String::new()).ok();
    field.null_markers.iter().filter_map(value).collect()
}

impl Scratch {
    /// Applies the field's text rules until they change nothing, at most [`PASSES_MAX`] times. Therefore cleaning the
    /// stored text again does not change it. Returns the cleaned text.
    fn apply<'a>(
        &'a mut self,
        of: &FieldCleaner,
        cell: &'a str,
        plain: bool,
        marks: &mut Marks,
    ) -> Result<&'a str, Reason> {
        if plain && !of.acts_on_plain || of.field.clean.is_empty() {
            return Ok(cell);
        }
        let mut changed = Changed::default();
        if !self.pass(of, cell, plain, &mut changed) {
            return Ok(cell);
        }
        let mut is_settled = plain && of.settles_plain_at_once || self.current == cell;
        for _ in 1..PASSES_MAX {
            if is_settled {
                break;
            }
            let before = std::mem::take(&mut self.before) + &self.current;
            is_settled = !self.pass(of, &before, plain, &mut changed) || self.current == before;
            self.before = before;
            self.before.clear();
        }
        changed.mark(of.index, marks);
        if is_settled { Ok(&self.current) } else { Err(Reason::UnstableText) }
    }

    /// Applies each text rule once, then normalizes and trims the text. Returns true if anything changed. In that case
    /// the new text is in `current`.
    fn pass(&mut self, of: &FieldCleaner, cell: &str, plain: bool, changed: &mut Changed) -> bool {
        let mut in_buffer = false;
        let mut is_nfc = plain;
        for (slot, rule) in of.field.clean.iter().enumerate() {
            let text = if in_buffer { &self.current } else { cell };
            let acts = apply_rule(*rule, text, plain, &mut self.next);
            in_buffer |= acts && self.take(RULES + slot, changed);
            is_nfc = plain || *rule == Rule::Nfc || is_nfc && !acts;
        }
        if !is_nfc && normal_form::nfc(if in_buffer { &self.current } else { cell }, &mut self.next) {
            in_buffer = self.take(RULES + of.normalizing_slot(), changed);
        }
        if !plain && in_buffer && trim(&self.current).len() < self.current.len() {
            self.next.clear();
            self.next.push_str(trim(&self.current));
            self.take(TRIM, changed);
        }
        in_buffer
    }

    /// Exchanges the buffers `next` and `current`, and notes that the step with the number `slot` (trimming or a rule)
    /// changed the text. Always returns true.
    fn take(&mut self, slot: usize, changed: &mut Changed) -> bool {
        std::mem::swap(&mut self.current, &mut self.next);
        changed.0 |= 1 << slot;
        true
    }
}

/// The steps (trimming or a rule) that changed a cell, one bit per step. If a step changes a cell several times, the
/// cell counts once for this step.
#[derive(Default)]
struct Changed(u32);

impl Changed {
    fn mark(&self, field: usize, marks: &mut Marks) {
        let mut slots = self.0;
        while slots != 0 {
            marks.change(field, slots.trailing_zeros() as usize);
            slots &= slots - 1;
        }
    }
}

fn apply_rule(rule: Rule, text: &str, plain: bool, out: &mut String) -> bool {
    match rule {
        Rule::CollapseWhitespace => !plain && whitespace::collapse(text, out),
        Rule::Nfc => !plain && normal_form::nfc(text, out),
        Rule::PersonName => person_name::person_name(text, out),
        Rule::OrganisationName => organisation_name::organisation_name(text, out),
        Rule::Case(casing) => letter_case::apply(casing, text, out),
        // This rule is for numbers. It is applied after the conversion.
        Rule::NullIfNegative => false,
    }
}

impl Marks {
    pub(super) fn clear(&mut self) {
        self.changed.clear();
        self.warned.clear();
    }

    pub(super) fn change(&mut self, field: usize, slot: usize) {
        self.changed.push((field, slot));
    }
}
