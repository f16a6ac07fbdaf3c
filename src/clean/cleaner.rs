//! Cleans a row: cleans its cells in the order of the spec's fields, then checks the plausibility rules. The first
//! failure rejects the row.

use super::arrays::{self, ArrayCells, ColumnPlan};
use super::field_cleaner::{FieldCleaner, Marks, Scratch};
use super::whitespace::is_single_spaced;
use super::{Record, Tally, Value, slot_names};
use crate::parse::{Cells, Layout};
use crate::reject::{Reason, Reject};
use crate::spec::{Plausibility, Severity, Spec};

/// Turns rows into records. Each worker has its own cleaner. The cleaner reuses its buffers. Once they are large
/// enough, cleaning an accepted row allocates no memory.
#[derive(Debug)]
pub struct Cleaner {
    plans: Vec<FieldCleaner>,
    /// How the columns are cleaned. Empty if the spec has no arrays, because then each column is a field.
    columns: Vec<ColumnPlan>,
    plausibility: Vec<Plausibility>,
    names: Vec<String>,
    scratch: Scratch,
    marks: Marks,
}

impl Cleaner {
    /// Creates a cleaner for the rows of one source.
    pub fn new(spec: &Spec, layout: &Layout) -> Self {
        let plans = spec.fields.iter().enumerate().map(|(index, field)| FieldCleaner::new(index, field, layout));
        Self {
            plans: plans.collect(),
            columns: arrays::plan(spec, layout),
            plausibility: spec.plausibility.clone(),
            names: spec.fields.iter().map(|field| field.name.clone()).collect(),
            scratch: Scratch::default(),
            marks: Marks::default(),
        }
    }

    /// Turns a row into a record, and counts the changes in the tally. `cells` are the cells of `row`. After an error,
    /// the record must not be used, and the tally is unchanged.
    pub fn clean(&mut self, row: &[u8], cells: &Cells, record: &mut Record, tally: &mut Tally) -> Result<(), Reject> {
        self.clean_only(row, cells, record)?;
        self.count(tally);
        Ok(())
    }

    /// Turns a row into a record without counting the changes. [`count`](Self::count) counts them.
    pub fn clean_only(&mut self, row: &[u8], cells: &Cells, record: &mut Record) -> Result<(), Reject> {
        record.clear();
        self.marks.clear();
        let row = decode(row)?;
        let row_is_plain = is_single_spaced(row.as_bytes());
        if self.columns.is_empty() {
            for plan in &self.plans {
                let (text, in_row) = plan.text(row, cells)?;
                plan.clean(text, in_row && row_is_plain, &mut self.scratch, &mut self.marks, record)
                    .map_err(|reason| plan.reject(reason))?;
            }
        } else {
            self.clean_columns(row, row_is_plain, cells, record)?;
        }
        self.check_plausibility(record)
    }

    /// Cleans a row with arrays. A repeating group is an array of nested documents. Its value is stored for the first
    /// field of the group. The group's other fields get null.
    fn clean_columns(
        &mut self,
        row: &str,
        row_is_plain: bool,
        cells: &Cells,
        record: &mut Record,
    ) -> Result<(), Reject> {
        let Self { plans, columns, scratch, marks, .. } = self;
        let of = ArrayCells { row, row_is_plain, cells, plans };
        for column in columns {
            match column {
                ColumnPlan::Value(field) => {
                    let plan = &of.plans[*field];
                    let (text, in_row) = plan.text(row, cells)?;
                    plan.clean_beside_arrays(text, in_row && row_is_plain, scratch, marks, record)
                        .map_err(|reason| plan.reject(reason))?;
                }
                ColumnPlan::Array(array) => {
                    let value = array.clean(cells.array(array.number), &of, scratch, marks, record)?;
                    record.values.push(value);
                    record.values.resize(array.fields.end, Value::Null);
                }
            }
        }
        Ok(())
    }

    fn check_plausibility(&mut self, record: &Record) -> Result<(), Reject> {
        let mut warn_rules = 0;
        for rule in &self.plausibility {
            let broken = comes_after(&record.values[rule.left], &record.values[rule.right]);
            match rule.severity {
                Severity::Reject if broken => return Err(self.implausible(rule)),
                Severity::Reject => {}
                Severity::Warn => {
                    self.marks.warned.extend(broken.then_some(warn_rules));
                    warn_rules += 1;
                }
            }
        }
        Ok(())
    }

    fn implausible(&self, rule: &Plausibility) -> Reject {
        let (left, right) = (&self.names[rule.left], &self.names[rule.right]);
        let message = format!("{}: expected {right} not before {left}", rule.name);
        Reject { field: None, reason: Reason::Implausible, message }
    }

    /// Adds to the tally the changes and warnings of the row that was cleaned last.
    pub fn count(&self, tally: &mut Tally) {
        if tally.changed.len() < self.plans.len() {
            let slots = |plan: &FieldCleaner| vec![0; slot_names(&plan.field).len()];
            let warn_rules = self.plausibility.iter().filter(|rule| rule.severity == Severity::Warn).count();
            tally.add(&Tally { changed: self.plans.iter().map(slots).collect(), warned: vec![0; warn_rules] });
        }
        for &(field, slot) in &self.marks.changed {
            tally.changed[field][slot] += 1;
        }
        for &rule in &self.marks.warned {
            tally.warned[rule] += 1;
        }
    }
}

/// Checks that the row is UTF-8. Checking the whole row at once is faster than checking each cell.
fn decode(row: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(row).map_err(|error| {
        let message = format!("expected UTF-8, found other bytes at byte {} of the row", error.valid_up_to());
        Reject { field: None, reason: Reason::Undecodable, message }
    })
}

/// Returns true if `left` is later or greater than `right`. Returns false if one of them is null. The spec allows
/// plausibility rules only between types that can be compared exactly.
fn comes_after(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Datetime(left), Value::Datetime(right)) => left > right,
        (Value::Double(left), Value::Double(right)) => left > right,
        _ => match (whole(left), whole(right)) {
            (Some(left), Some(right)) => left > right,
            _ => false,
        },
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int32(number) => Some(i64::from(*number)),
        Value::Int64(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
