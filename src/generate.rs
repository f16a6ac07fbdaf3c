//! Generates synthetic admissions. They have the columns, the values and the typical errors of a hospital's export, and
//! contain no real patients.
//!
//! The content of a row depends only on the seed, the chosen errors ([`Damage`]) and the row's number. Therefore a
//! duplicate of an earlier row is generated from the number of that row, and no rows are stored.

mod names;
mod random;

use std::io::{self, Write};

use names::{NAMES, mix_case, push_doctor, push_hospital, push_name};
use random::Random;

use crate::parse::dates::{DAY_MS, iso_text};

/// Which errors the rows have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// No errors. All rows are valid and different.
    None,
    /// Errors that a load repairs or recognises. Patients' names are in mixed case, and some have a title or a degree.
    /// Some hospitals' names have a superfluous "and" or comma.
    ///
    /// About 1 % of the rows are duplicates. About 9 % differ from an earlier row only in the age. About 0.2 % of the
    /// amounts are negative.
    Typical,
    /// The errors of `Typical`. In addition, about 2 % of the rows must be rejected.
    Heavy,
}

const HEADER: &[u8] =
    b"Name,Age,Gender,Blood Type,Medical Condition,Date of Admission,Doctor,Hospital,Insurance Provider,\
Billing Amount,Room Number,Admission Type,Discharge Date,Medication,Test Results\r\n";

const GENDERS: [&str; 2] = ["Male", "Female"];
const BLOOD_TYPES: [&str; 8] = ["A+", "A-", "AB+", "AB-", "B+", "B-", "O+", "O-"];
const CONDITIONS: [&str; 6] = ["Arthritis", "Asthma", "Cancer", "Diabetes", "Hypertension", "Obesity"];
const INSURERS: [&str; 5] = ["Harbour Mutual", "Northlight", "Open Care", "Three Rivers", "Union Health Fund"];
const ADMISSION_TYPES: [&str; 3] = ["Elective", "Emergency", "Urgent"];
const MEDICATIONS: [&str; 5] = ["Aspirin", "Ibuprofen", "Lipitor", "Paracetamol", "Penicillin"];
const TEST_RESULTS: [&str; 3] = ["Abnormal", "Inconclusive", "Normal"];
const TITLES: [&str; 4] = ["Mr. ", "Mrs. ", "Dr. ", "Miss "];
const SUFFIXES: [&str; 8] = [" MD", " DDS", " DVM", " PhD", " Jr.", " II", " III", " IV"];

/// The first day of admission, 2019-05-08, as days since 1970-01-01.
const FIRST_DAY: u64 = 18_024;
/// Number of different days of admission, which is five years.
const DAYS: u64 = 1827;
const STAY_DAYS_MAX: u64 = 30;
/// Number of possible admissions: one for each combination of first name, last name and day.
const ADMISSIONS: u64 = NAMES * NAMES * DAYS;
/// Each possible admission has a number. Each row takes the number of the previous row plus `STEP`, modulo
/// [`ADMISSIONS`]. The seed chooses the number of the first row. `STEP` is a prime that does not divide `ADMISSIONS`.
/// Therefore no admission repeats before all have occurred.
const STEP: u64 = 1_000_000_007;
const YEARS_OFF: [i64; 9] = [-5, -4, -3, -2, -1, 1, 2, 3, 4];
/// A duplicate copies an earlier row that is not a duplicate itself. The generator tries at most this number of random
/// earlier rows. If all of them are duplicates or have errors, the row becomes a new admission.
const TRIES_MAX: u32 = 4;
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes `rows` rows of CSV with a header. Lines end with CR LF. The same arguments always give the same bytes.
pub fn write(out: &mut impl Write, rows: u64, seed: u64, damage: Damage) -> io::Result<()> {
    let generator = Generator::new(seed, damage);
    let mut buffer = HEADER.to_vec();
    for row in 0..rows {
        generator.push_row(row, &mut buffer)?;
        if buffer.len() >= BUFFER_BYTES {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    out.flush()
}

/// What a row contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A new admission.
    Own,
    /// A copy of the row with this number.
    Copy(u64),
    /// A copy of an earlier row with another age: the number of the row, and the difference of the ages in years.
    AgeOff(u64, i64),
    /// An admission with an error, which must be rejected.
    Bad(Flaw),
}

/// The error in a row that must be rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    BloodType,
    Age,
    EmptyName,
    MissingCells,
    DischargeFirst,
    Undecodable,
}

const FLAWS: [Flaw; 6] =
    [Flaw::BloodType, Flaw::Age, Flaw::EmptyName, Flaw::MissingCells, Flaw::DischargeFirst, Flaw::Undecodable];

struct Generator {
    seed: u64,
    damage: Damage,
    /// All days of admission and discharge, as text.
    days: Vec<[u8; 10]>,
}

impl Generator {
    fn new(seed: u64, damage: Damage) -> Self {
        Self { seed, damage, days: (0..=DAYS + STAY_DAYS_MAX).map(|day| iso_day(FIRST_DAY + day)).collect() }
    }

    fn push_row(&self, row: u64, out: &mut Vec<u8>) -> io::Result<()> {
        match self.kind(row) {
            Kind::Own => self.push_admission(row, 0, None, out),
            Kind::Copy(earlier) => self.push_admission(earlier, 0, None, out),
            Kind::AgeOff(earlier, years) => self.push_admission(earlier, years, None, out),
            Kind::Bad(flaw) => self.push_admission(row, 0, Some(flaw), out),
        }
    }

    fn kind(&self, row: u64) -> Kind {
        if self.damage == Damage::None {
            return Kind::Own;
        }
        let mut random = Random::new(self.seed, 2 * row + 1);
        let share = random.below(1000);
        if share >= 980 && self.damage == Damage::Heavy {
            return Kind::Bad(FLAWS[random.below(FLAWS.len() as u64) as usize]);
        }
        if share >= 100 || row == 0 {
            return Kind::Own;
        }
        match (0..TRIES_MAX).map(|_| random.below(row)).find(|&earlier| self.is_own(earlier)) {
            Some(earlier) if share < 10 => Kind::Copy(earlier),
            Some(earlier) => Kind::AgeOff(earlier, YEARS_OFF[random.below(YEARS_OFF.len() as u64) as usize]),
            None => Kind::Own,
        }
    }

    /// Returns true if the row's own random number makes the row a new admission. A row can also become a new admission
    /// because `kind` finds no earlier row to copy. For such a row, this function returns false.
    fn is_own(&self, row: u64) -> bool {
        let share = Random::new(self.seed, 2 * row + 1).below(1000);
        share >= 100 && (share < 980 || self.damage != Damage::Heavy)
    }

    fn push_admission(&self, row: u64, years_off: i64, flaw: Option<Flaw>, out: &mut Vec<u8>) -> io::Result<()> {
        let mut random = Random::new(self.seed, 2 * row);
        let start = u128::from(Random::new(self.seed, u64::MAX).below(ADMISSIONS));
        let admission = ((u128::from(row) * u128::from(STEP) + start) % u128::from(ADMISSIONS)) as u64;
        let (people, day) = (admission / DAYS, admission % DAYS);
        self.push_person(people, flaw, &mut random, out);
        let age = 13 + random.below(77);
        let age = if flaw == Some(Flaw::Age) { 200 } else { age.saturating_add_signed(years_off) };
        write!(out, ",{age},{},", random.one_of(&GENDERS))?;
        let blood_type = random.one_of(&BLOOD_TYPES);
        push(if flaw == Some(Flaw::BloodType) { "C+" } else { blood_type }, out);
        push(random.one_of(&CONDITIONS), out);
        if flaw == Some(Flaw::MissingCells) {
            out.extend_from_slice(b"2020-02-20\r\n");
            return Ok(());
        }
        let stay_days = 1 + random.below(STAY_DAYS_MAX);
        let (from, to) =
            if flaw == Some(Flaw::DischargeFirst) { (day + stay_days, day) } else { (day, day + stay_days) };
        out.extend_from_slice(&self.days[from as usize]);
        out.push(b',');
        push_doctor(&mut random, out);
        out.push(b',');
        self.push_hospital(&mut random, out);
        push(random.one_of(&INSURERS), out);
        write!(out, "{},{},", self.amount(&mut random), 101 + random.below(400))?;
        push(random.one_of(&ADMISSION_TYPES), out);
        out.extend_from_slice(&self.days[to as usize]);
        out.push(b',');
        push(random.one_of(&MEDICATIONS), out);
        out.extend_from_slice(random.one_of(&TEST_RESULTS).as_bytes());
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn push_person(&self, people: u64, flaw: Option<Flaw>, random: &mut Random, out: &mut Vec<u8>) {
        if flaw == Some(Flaw::EmptyName) {
            return;
        }
        let start = out.len();
        let is_damaged = self.damage != Damage::None;
        if is_damaged && random.once_in(40) {
            out.extend_from_slice(random.one_of(&TITLES).as_bytes());
        }
        push_name(people / NAMES, out);
        out.push(b' ');
        push_name(people % NAMES, out);
        if is_damaged && random.once_in(40) {
            out.extend_from_slice(random.one_of(&SUFFIXES).as_bytes());
        }
        if is_damaged {
            mix_case(random, &mut out[start..]);
        }
        if flaw == Some(Flaw::Undecodable) {
            // This byte cannot be decoded: it is invalid in UTF-8 here, and has no character in windows-1252.
            out.push(0x81);
        }
    }

    /// Writes the name of a hospital. If the damage is `Typical` or `Heavy`, about 29 % of the names get a superfluous
    /// "and" or comma. Real exports have such names if a list of partners was split at the wrong commas.
    fn push_hospital(&self, random: &mut Random, out: &mut Vec<u8>) {
        let share = if self.damage == Damage::None { 1000 } else { random.below(1000) };
        match share {
            0..104 => out.extend_from_slice(b"and "),
            104..190 => out.push(b'"'),
            _ => {}
        }
        push_hospital(random, out);
        match share {
            104..190 => out.extend_from_slice(b",\","),
            190..291 => out.extend_from_slice(b" and,"),
            _ => out.push(b','),
        }
    }

    fn amount(&self, random: &mut Random) -> f64 {
        let amount = 1000.0 + random.fraction() * 51_000.0;
        if self.damage != Damage::None && random.once_in(500) { -amount / 20.0 } else { amount }
    }
}

fn push(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.push(b',');
}

/// Formats days since 1970-01-01, for example as `2024-01-31`.
fn iso_day(days: u64) -> [u8; 10] {
    let text = iso_text(days.cast_signed() * DAY_MS).expect("a generated day must be in the calendar");
    text.first_chunk().copied().expect("the text must begin with the day")
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const ROWS: u64 = 10_000;

    fn generated(rows: u64, seed: u64, damage: Damage) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, rows, seed, damage).unwrap();
        out
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        assert!(text.ends_with("\r\n"));
        text.split_terminator("\r\n").map(str::to_owned).collect()
    }

    /// Returns the cells of a generated row. Only hospitals' names that end with a comma are quoted. Removes their
    /// quotes and replaces this comma by a space, so that the row can be split at commas.
    fn cells(line: &str) -> Vec<String> {
        line.replace(",\",", " ,").replace(",\"", ",").split(',').map(str::to_owned).collect()
    }

    #[test]
    fn days_are_formatted_by_the_calendar() {
        for (days, expected) in
            [(18_024, b"2019-05-08"), (18_321, b"2020-02-29"), (18_322, b"2020-03-01"), (19_753, b"2024-01-31")]
        {
            assert_eq!(&iso_day(days), expected);
        }
    }

    #[test]
    fn rows_depend_only_on_the_seed_and_their_number() {
        let short = generated(1000, 1, Damage::Typical);
        assert_eq!(short, generated(1000, 1, Damage::Typical));
        assert!(generated(3000, 1, Damage::Typical).starts_with(&short));
        assert_ne!(short, generated(1000, 2, Damage::Typical));
        assert_eq!(lines(&short).len(), 1001);
        assert_eq!(generated(0, 1, Damage::Typical), HEADER);
    }

    #[test]
    fn a_seed_gives_the_same_bytes_in_every_version() {
        let hash = |damage| blake3::hash(&generated(1000, 9, damage)).to_hex()[..16].to_owned();
        assert_eq!(
            [Damage::None, Damage::Typical, Damage::Heavy].map(hash),
            ["ebf51ad014dd0353", "d803ed85ee2d5fda", "8f6e3ffd29b9ca47"]
        );
    }

    #[test]
    fn rows_without_damage_are_unique_and_complete() {
        let lines = lines(&generated(4000, 3, Damage::None));
        let admissions: HashSet<(String, String)> =
            lines[1..].iter().map(|line| (cells(line)[0].to_lowercase(), cells(line)[5].clone())).collect();
        assert_eq!(admissions.len(), 4000, "no two rows have the same name and day");
        assert!(lines[1..].iter().all(|line| cells(line).len() == 15 && !line.contains('"') && !line.contains(",-")));
    }

    #[test]
    fn typical_rows_have_the_documented_shares_of_errors() {
        let lines = lines(&generated(ROWS, 4, Damage::Typical));
        let rows: Vec<Vec<String>> = lines[1..].iter().map(|line| cells(line)).collect();
        let share = |count: usize| count as f64 / ROWS as f64;
        let check = |what: &str, share: f64, expected: std::ops::Range<f64>| {
            assert!(expected.contains(&share), "{what}: {share}");
        };
        let unique: HashSet<&String> = lines[1..].iter().collect();
        check("duplicates", 1.0 - share(unique.len()), 0.007..0.012);
        let but_age = |cells: &Vec<String>| (cells[0].clone(), cells[2..].to_vec());
        let admissions: HashSet<_> = rows.iter().map(but_age).collect();
        check("ages off", share(unique.len() - admissions.len()), 0.08..0.10);
        check("negative", share(rows.iter().filter(|row| row[9].starts_with('-')).count()), 0.001..0.004);
        check("leading and", share(rows.iter().filter(|row| row[7].starts_with("and ")).count()), 0.09..0.12);
        check("trailing and", share(rows.iter().filter(|row| row[7].ends_with(" and")).count()), 0.09..0.12);
        check("trailing comma", share(rows.iter().filter(|row| row[7].ends_with(' ')).count()), 0.07..0.10);
        assert!(rows.iter().all(|row| row.len() == 15 && row[12] > row[5]));
    }

    #[test]
    fn duplicates_are_far_apart() {
        let mut first = HashMap::new();
        let lines = lines(&generated(ROWS, 5, Damage::Typical));
        let mut distances: Vec<usize> = Vec::new();
        for (place, line) in lines.iter().enumerate() {
            match first.get(line) {
                Some(earlier) => distances.push(place - earlier),
                None => _ = first.insert(line, place),
            }
        }
        let mean = distances.iter().sum::<usize>() / distances.len();
        assert!(mean > 1500, "{mean}");
    }

    #[test]
    fn amounts_have_the_fewest_digits_for_their_double() {
        for line in &lines(&generated(2000, 6, Damage::Typical))[1..] {
            let text = &cells(line)[9];
            assert_eq!(*text, text.parse::<f64>().unwrap().to_string());
        }
    }

    #[test]
    fn heavy_rows_have_all_errors() {
        let bytes = generated(ROWS, 7, Damage::Heavy);
        assert!(bytes.contains(&0x81));
        let rows: Vec<Vec<String>> = lines(&bytes)[1..].iter().map(|line| cells(line)).collect();
        let count = |is_flawed: &dyn Fn(&Vec<String>) -> bool| rows.iter().filter(|row| is_flawed(row)).count();
        let flaws = [
            count(&|row| row.len() < 15),
            count(&|row| row[0].is_empty()),
            count(&|row| row[1] == "200"),
            count(&|row| row[3] == "C+"),
            count(&|row| row.len() == 15 && row[12] < row[5]),
            count(&|row| row[0].contains('\u{fffd}')),
        ];
        assert!(flaws.iter().all(|&rows| (15..60).contains(&rows)), "{flaws:?}");
    }
}
