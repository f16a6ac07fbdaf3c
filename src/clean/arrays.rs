//! Cleans the items of arrays. The cells of an item are cleaned like the cells of a row.

use std::ops::Range;

use super::field_cleaner::{FieldCleaner, Marks, Scratch};
use super::{Record, Value};
use crate::parse::{Cells, Layout};
use crate::reject::{Reason, Reject};
use crate::spec::{Column, Node, Presence, Spec};

/// How a column of the source, or of a repeating group's items, is cleaned.
#[derive(Debug)]
pub(super) enum ColumnPlan {
    /// A single value of the field with this index.
    Value(usize),
    Array(ArrayPlan),
}

/// How the items of one array are cleaned.
#[derive(Debug)]
pub(super) struct ArrayPlan {
    /// The indices of all fields inside the array.
    pub(super) fields: Range<usize>,
    /// Number of the array in its row, from 0. Not used for an array inside another array.
    pub(super) number: usize,
    is_required: bool,
    /// The columns of an item. An item of a list has one column.
    columns: Vec<ColumnPlan>,
    /// The keys of the columns, for messages. The item of a list has no keys.
    keys: Vec<String>,
}

/// The row for which [`ArrayPlan::clean`] is called.
pub(super) struct ArrayCells<'a> {
    pub(super) row: &'a str,
    pub(super) row_is_plain: bool,
    pub(super) cells: &'a Cells,
    pub(super) plans: &'a [FieldCleaner],
}

/// Returns the plans of the spec's columns. Returns an empty list if the spec has no arrays.
pub(super) fn plan(spec: &Spec, layout: &Layout) -> Vec<ColumnPlan> {
    let columns = spec.columns();
    let has_arrays = columns.iter().any(|column| column.node.is_array());
    if has_arrays { plan_columns(spec, layout, &columns) } else { Vec::new() }
}

fn plan_columns(spec: &Spec, layout: &Layout, columns: &[Column<'_>]) -> Vec<ColumnPlan> {
    let plan = |column: &Column<'_>| {
        let (columns, keys) = match column.node {
            Node::Leaf { field, .. } => return ColumnPlan::Value(*field),
            Node::List { field, .. } => (vec![ColumnPlan::Value(*field)], Vec::new()),
            Node::Group { children, .. } => {
                let columns = spec.columns_of(children);
                let keys = columns.iter().map(|column| column.column.to_owned()).collect();
                (plan_columns(spec, layout, &columns), keys)
            }
        };
        let is_required = column.presence == Presence::Required;
        let number = layout.array_of_field[column.field].unwrap_or(0);
        ColumnPlan::Array(ArrayPlan { fields: column.node.fields(), number, is_required, columns, keys })
    };
    columns.iter().map(plan).collect()
}

impl ArrayPlan {
    /// Cleans the items of an array and adds their values to the record. `cells` are the indices of the items' cells.
    /// Returns the value of the array, which is the range of these values in [`Record::items`].
    pub(super) fn clean(
        &self,
        cells: Range<u32>,
        of: &ArrayCells<'_>,
        scratch: &mut Scratch,
        marks: &mut Marks,
        record: &mut Record,
    ) -> Result<Value, Reject> {
        if cells.is_empty() && self.is_required {
            let message = "expected at least one item: the array is required".to_owned();
            return Err(Reject { field: Some(self.fields.start), reason: Reason::Missing, message });
        }
        // The items of this array are adjacent in `record.items`. The items of arrays inside them follow later.
        let start = record.items.len();
        let end = start + cells.len();
        record.items.resize(end, Value::Null);
        for (place, cell) in cells.enumerate() {
            let value = self.clean_cell(place, cell, of, scratch, marks, record);
            record.items[start + place] = value.map_err(|reject| self.locate(reject, place))?;
        }
        Ok(Value::Items(start as u32..end as u32))
    }

    /// Adds the number of the refused item and its key to the message. `place` is the number of the cell among all
    /// cells of the array, from 0.
    fn locate(&self, reject: Reject, place: usize) -> Reject {
        let (item, column) = (place / self.columns.len(), place % self.columns.len());
        let reject = match self.keys.get(column) {
            Some(key) => reject.in_key(key),
            None => reject,
        };
        reject.in_item(item + 1)
    }

    /// Cleans one cell of the array. `place` is the number of the cell among all cells of the array, from 0.
    fn clean_cell(
        &self,
        place: usize,
        cell: u32,
        of: &ArrayCells<'_>,
        scratch: &mut Scratch,
        marks: &mut Marks,
        record: &mut Record,
    ) -> Result<Value, Reject> {
        match &self.columns[place % self.columns.len()] {
            ColumnPlan::Array(array) => array.clean(of.cells.array_in_item(cell), of, scratch, marks, record),
            ColumnPlan::Value(field) => {
                let plan = &of.plans[*field];
                let text = of.cells.item_text(of.row, cell);
                let (text, in_row) = text.ok_or_else(|| plan.reject(Reason::Undecodable))?;
                let cleaned = plan.clean_beside_arrays(text, in_row && of.row_is_plain, scratch, marks, record);
                cleaned.map_err(|reason| plan.reject(reason))?;
                // `clean_beside_arrays` appends the value to the record. The value belongs in an item, so it is removed
                // here again.
                Ok(record.values.pop().unwrap_or(Value::Null))
            }
        }
    }
}

#[cfg(test)]
mod tests;
