//! Formats the result of a verification: the counts, then the differences with `_id`, row and fields. Values are shown
//! only if the user wants them.

use std::fmt;

use super::references;
use crate::verify::{Difference, Kind, OtherLoad, RowOfSource, Verification};
use crate::wording::counted;

/// Largest number of other loads that are named. The others are only counted.
const LOADS_NAMED_MAX: usize = 5;

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        writeln!(f, "  {:<20}{:>12}", "rejected", self.rejected)?;
        references::write(f, self)?;
        self.write_details(f)
    }
}

/// Writes one line for each kind of document whose collection contains exactly the accepted rows. Reason: a load of FHIR
/// resources can have fifty kinds.
pub(super) fn write_exact<'v>(
    f: &mut fmt::Formatter<'_>,
    kinds: impl Iterator<Item = (&'v str, &'v Verification)>,
) -> fmt::Result {
    for (number, (kind, proof)) in kinds.enumerate() {
        if number == 0 {
            writeln!(f, "verified: these collections contain exactly the accepted rows of the source")?;
        }
        writeln!(f, "  {kind:<26}{:>10} equal", proof.equal)?;
    }
    Ok(())
}

impl Verification {
    /// Returns true if the collection contains exactly the accepted rows of the source, and nothing else.
    pub fn is_exact(&self) -> bool {
        self.is_clean() && self.refused + self.kept_out + self.superseded + self.extra + self.others == 0
    }

    /// Writes the result without two numbers: the rejected rows, and the references to documents that do not exist.
    /// Reason: the summary of a load already has these numbers. Its number of rejected rows also includes the records
    /// that the server or the conflict rule refused.
    pub(super) fn write_in_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        self.write_details(f)
    }

    /// Returns the first line of the result.
    const fn headline(&self) -> &'static str {
        match (self.is_clean(), self.refused + self.kept_out + self.superseded, self.others) {
            (true, 0, 0) => "verified: the collection contains exactly the accepted rows of the source",
            (true, 0, _) => "verified: the collection contains all accepted rows of the source, and other documents",
            (true, _, 0) => {
                "verified: the collection equals the source, except for the records that are counted below as refused, kept as \
                 stored or superseded"
            }
            (true, _, _) => {
                "verified: the collection contains all accepted rows of the source, except for the records that are counted \
                 below as refused, kept as stored or superseded; it also contains other documents"
            }
            (false, _, _) => "verification found differences",
        }
    }

    /// Writes the counts and the differences, without the first line.
    fn write_details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count, shown) in [
            ("documents expected", self.expected, true),
            ("documents found", self.found, true),
            ("equal", self.equal, true),
            ("missing", self.missing, true),
            ("different", self.different, true),
            ("refused by server", self.refused, self.refused > 0),
            ("kept as stored", self.kept_out, self.kept_out > 0),
            ("superseded", self.superseded, self.superseded > 0),
            ("  of which ties", self.superseded_ties, self.superseded_ties > 0),
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
        self.write_other_loads(f)
    }

    /// Names the loads of other sources that may have written the extra documents. If these loads explain all extra
    /// documents, also proposes `--ignore-extra`.
    fn write_other_loads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.extra == 0 || self.other_loads.is_empty() {
            return Ok(());
        }
        for OtherLoad { load, sources, written, extra } in self.other_loads.iter().take(LOADS_NAMED_MAX) {
            let of = format!("load {load} of {}", sources.join(", "));
            match extra {
                Some(extra) => {
                    let extra = counted(*extra, "extra document belongs", "extra documents belong");
                    writeln!(f, "  {extra} to {of}")?;
                }
                None => writeln!(f, "  {} into this collection by {of}", written_documents(*written))?,
            }
        }
        let left_out = self.other_loads.get(LOADS_NAMED_MAX..).unwrap_or_default();
        if !left_out.is_empty() {
            let written: u64 = left_out.iter().map(|load| load.written).sum();
            let loads = counted(left_out.len() as u64, "more load", "more loads");
            writeln!(f, "  {} into this collection by {loads}", written_documents(written))?;
        }
        match self.extra_of_nobody() {
            0 => writeln!(
                f,
                "  so all extra documents may be from other sources; to verify this source alone, add --ignore-extra"
            ),
            nobody => {
                let nobody = counted(nobody, "extra document was", "extra documents were");
                writeln!(f, "  so at least {nobody} not written by these loads")
            }
        }
    }
}

fn written_documents(count: u64) -> String {
    counted(count, "document was written", "documents were written")
}

fn write_difference(f: &mut fmt::Formatter<'_>, difference: &Difference) -> fmt::Result {
    let kind = match difference.kind {
        Kind::Missing => "missing",
        Kind::Extra => "extra",
        Kind::Different => "different",
        Kind::Superseded | Kind::Tie => "superseded",
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

/// Formats the number of a row, for example as `7` or `7 of source 2`. The first source is not mentioned, because most
/// loads have only one source.
fn row(place: &RowOfSource) -> String {
    if place.source == 0 { place.row.to_string() } else { format!("{} of source {}", place.row, place.source + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::DifferingField;

    fn head(found: &Verification) -> String {
        found.to_string().lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn the_first_line_says_whether_collection_and_source_agree() {
        let none = Verification::default;
        let check = |found: Verification, expected: &str| assert_eq!(head(&found), expected);
        check(none(), "verified: the collection contains exactly the accepted rows of the source");
        check(
            Verification { others: 3, ..none() },
            "verified: the collection contains all accepted rows of the source, and other documents",
        );
        let excused = "verified: the collection equals the source, except for the records that are counted below as refused, \
                       kept as stored or superseded";
        check(Verification { refused: 1, ..none() }, excused);
        check(Verification { kept_out: 1, ..none() }, excused);
        check(Verification { superseded: 1, ..none() }, excused);
        let differs = "verification found differences";
        check(Verification { missing: 1, ..none() }, differs);
        check(Verification { different: 1, refused: 1, ..none() }, differs);
        check(Verification { extra: 1, ..none() }, differs);
    }

    #[test]
    fn kinds_without_any_difference_have_one_line_each() {
        struct All(Vec<(&'static str, Verification)>);
        impl fmt::Display for All {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_exact(f, self.0.iter().map(|(kind, proof)| (*kind, proof)))
            }
        }
        let equal = |equal| Verification { expected: equal, found: equal, equal, ..Verification::default() };
        let text = All(vec![("Patient", equal(14)), ("Encounter", equal(1_215))]).to_string();
        let lines = [
            "verified: these collections contain exactly the accepted rows of the source",
            "  Patient                           14 equal",
            "  Encounter                       1215 equal",
        ];
        assert_eq!(text, lines.join("\n") + "\n");
        assert_eq!(All(Vec::new()).to_string(), "");
        assert!(equal(1).is_exact() && equal(0).is_exact());
        for other in [
            Verification { missing: 1, ..equal(1) },
            Verification { refused: 1, ..equal(1) },
            Verification { superseded: 1, ..equal(1) },
            Verification { others: 1, ..equal(1) },
            Verification { extra: 1, ..equal(1) },
        ] {
            assert!(!other.is_exact(), "{other:?}");
        }
    }

    #[test]
    fn rare_counts_are_shown_only_if_they_are_not_zero() {
        let found = Verification {
            rejected: 8,
            expected: 5,
            found: 4,
            equal: 1,
            missing: 3,
            different: 2,
            ..Verification::default()
        };
        let expected = "\
verification found differences
  rejected                       8
  documents expected             5
  documents found                4
  equal                          1
  missing                        3
  different                      2
  extra                          0
  … and 5 more; --max-differences shows more of them
";
        assert_eq!(found.to_string(), expected);
        let found =
            Verification { refused: 6, kept_out: 7, extra: 1, foreign: 1, others: 9, ..Verification::default() };
        let expected = "\
verification found differences
  rejected                       0
  documents expected             0
  documents found                0
  equal                          0
  missing                        0
  different                      0
  refused by server              6
  kept as stored                 7
  extra                          1
    of which foreign             1
  other documents                9
  … and 1 more; --max-differences shows more of them
";
        assert_eq!(found.to_string(), expected);
        // There are no extra documents, so the line "of which foreign" is not shown.
        let found = Verification { foreign: 1, others: 1, ..Verification::default() };
        assert!(!found.to_string().contains("foreign"), "{found}");
    }

    fn difference(kind: Kind, rows: &[(u32, u64)], fields: Vec<DifferingField>) -> Difference {
        let rows = rows.iter().map(|&(source, row)| RowOfSource { source, row }).collect();
        let mut difference = Difference::example(kind, "id");
        (difference.rows, difference.fields) = (rows, fields);
        difference
    }

    fn field(name: &str, expected: Option<&str>, stored: Option<&str>) -> DifferingField {
        DifferingField {
            name: name.to_owned(),
            expected: expected.map(str::to_owned),
            stored: stored.map(str::to_owned),
        }
    }

    #[test]
    fn a_difference_shows_kind_id_rows_and_fields() {
        let fields =
            vec![field("Age", Some("1"), Some("2")), field("Sex", None, Some("3")), field("Bill", Some("4"), None)];
        let listed = vec![
            difference(Kind::Missing, &[(0, 3), (1, 4), (2, 5)], Vec::new()),
            difference(Kind::Extra, &[], Vec::new()),
            difference(Kind::Different, &[(0, 6)], fields),
        ];
        let found = Verification { missing: 1, extra: 1, different: 2, listed, ..Verification::default() };
        let text = found.to_string();
        let expected = [
            "  missing   id  row 3, 4 of source 2, 5 of source 3",
            "  extra     id",
            "  different id  row 6  in Age, Sex, Bill",
            "            Age: expected 1, stored 2",
            "  … and 1 more; --max-differences shows more of them",
        ];
        assert_eq!(text.lines().skip(8).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn other_loads_are_named_only_if_there_are_extra_documents() {
        let load = |load: &str, written, extra| OtherLoad {
            load: load.to_owned(),
            sources: vec!["a.csv".to_owned(), "b.csv".to_owned()],
            written,
            extra,
        };
        let told = |extra: u64, other_loads: Vec<OtherLoad>| {
            let found = Verification { extra, other_loads, ..Verification::default() };
            found.to_string().lines().skip(9).map(str::to_owned).collect::<Vec<_>>()
        };
        let loads = vec![load("x", 7, Some(3)), load("y", 4, None)];
        let mut expected = vec![
            "  3 extra documents belong to load x of a.csv, b.csv",
            "  4 documents were written into this collection by load y of a.csv, b.csv",
            "  so all extra documents may be from other sources; to verify this source alone, add --ignore-extra",
        ];
        assert_eq!(told(7, loads.clone()), expected);
        expected[2] = "  so at least 1 extra document was not written by these loads";
        assert_eq!(told(8, loads.clone()), expected);
        assert_eq!(told(0, loads), Vec::<String>::new());
        assert_eq!(told(7, Vec::new()), Vec::<String>::new());
        let told = told(1, (1..=9).map(|written| load("z", written, None)).collect());
        assert_eq!(
            (told.len(), told[5].as_str()),
            (7, "  30 documents were written into this collection by 4 more loads")
        );
    }

    #[test]
    fn the_note_about_more_differences_is_absent_if_all_are_listed() {
        let listed = vec![difference(Kind::Missing, &[(0, 1)], Vec::new())];
        let found = Verification { missing: 1, listed, ..Verification::default() };
        assert!(!found.to_string().contains("more"), "{found}");
    }
}
