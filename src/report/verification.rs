//! The verification as text: the counts, then the differences by kind, `_id`, row and field. Values appear only on
//! request.

use std::fmt;

use crate::verify::{Difference, Kind, RowOfSource, Verification};

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = match (self.is_clean(), self.refused + self.kept_out) {
            (true, 0) => "verified: the collection holds what the source says",
            (true, _) => "verified: the collection differs from the source only in what was kept or refused",
            (false, _) => "verification found differences",
        };
        writeln!(f, "{clean}")?;
        self.write_details(f)
    }
}

impl Verification {
    /// The counts and the differences, without the headline.
    pub(super) fn write_details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count, shown) in [
            ("documents expected", self.expected, true),
            ("documents found", self.found, true),
            ("equal", self.equal, true),
            ("missing", self.missing, true),
            ("different", self.different, true),
            ("refused by server", self.refused, self.refused > 0),
            ("kept as stored", self.kept_out, self.kept_out > 0),
            ("extra", self.extra, true),
            ("  of which foreign", self.foreign, self.foreign > 0 && self.extra > 0),
            ("other documents", self.others, self.others > 0),
        ] {
            if shown {
                writeln!(f, "  {name:<20}{count:>12}")?;
            }
        }
        self.listed.iter().try_for_each(|difference| write_difference(f, difference))?;
        let left_out = (self.missing + self.different + self.extra).saturating_sub(self.listed.len() as u64);
        if left_out > 0 {
            writeln!(f, "  … and {left_out} more; --max-differences shows more of them")?;
        }
        Ok(())
    }
}

fn write_difference(f: &mut fmt::Formatter<'_>, difference: &Difference) -> fmt::Result {
    let kind = match difference.kind {
        Kind::Missing => "missing",
        Kind::Extra => "extra",
        Kind::Different => "different",
    };
    write!(f, "  {kind:<10}{}", difference.id)?;
    let rows: Vec<String> = difference.rows.iter().map(row).collect();
    if !rows.is_empty() {
        write!(f, "  row {}", rows.join(", "))?;
    }
    let names: Vec<&str> = difference.fields.iter().map(|field| field.name.as_str()).collect();
    writeln!(f, "{}{}", if names.is_empty() { "" } else { "  in " }, names.join(", "))?;
    for field in &difference.fields {
        if let (Some(expected), Some(stored)) = (&field.expected, &field.stored) {
            writeln!(f, "            {}: expected {expected}, stored {stored}", field.name)?;
        }
    }
    Ok(())
}

/// Rows of the first source have no source number, because usually there is only one source.
fn row(place: &RowOfSource) -> String {
    if place.source == 0 { place.row.to_string() } else { format!("{} of source {}", place.row, place.source + 1) }
}
