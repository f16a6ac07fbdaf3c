//! Translates a pattern (regular expression) of a spec for the server, or says why the server cannot check it.
//!
//! Cleaning uses the Rust crate `regex`, which matches in a time proportional to the text. The server uses PCRE. PCRE
//! reads some notation differently, and gives up after a certain number of steps. So the server receives a translated
//! pattern that has only parts with the same meaning in both: characters, sets of code points, sequences, alternatives
//! and repetitions. If PCRE could give up on a text that cleaning accepts, the pattern is not translated.
//!
//! PCRE tries the possible ways to match a text one after another. For some patterns, the next character always shows
//! which way is right (see [`Writer`]). PCRE then never has to go back. If the number of ways or steps can grow with
//! the length of the text, as with `[ab]*b`, the field needs a maximum length.

use std::fmt::Write as _;

use std::fmt;

use regex_syntax::Parser;
use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Look, Repetition};

/// Maximum length of a pattern on the server, in bytes (`BSONRegEx` in MongoDB's `matcher/expression_leaf.cpp`).
const PATTERN_BYTES_MAX: usize = 32_764;
/// Maximum count in a repetition (`pcrelimits`). `a{0,65536}` exceeds it.
const COUNT_MAX: u32 = 65_535;
/// Maximum estimated size of a compiled pattern, in bytes. PCRE permits 64 KiB (`pcrelimits`). This limit is lower,
/// because the sizes are estimates.
const COMPILED_BYTES_MAX: u64 = 48_000;
/// Maximum nesting depth of groups, and maximum number of groups. PCRE permits a depth of 250. The number of groups
/// is limited because older versions of PCRE use stack memory for each group.
const NESTING_MAX: u32 = 200;
const GROUPS_MAX: u32 = 1000;
/// Maximum number of steps for a text, as [`Cost`] estimates them. PCRE counts the calls of its own matching
/// function, and gives up after 10,000,000 calls. This limit is a hundredth of that.
const STEPS_MAX: u64 = 100_000;
/// Maximum number of repetitions of a group, if the next character does not show whether to repeat once more (see
/// [`Writer`]). For each repetition, PCRE stores data on a stack, which has only 32 KiB.
const ROUNDS_MAX: u64 = 200;

/// The reason why the server does not check a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unchecked {
    /// The pattern contains a word boundary, or an anchor for the start or end of a line.
    Boundary,
    /// A repetition in the pattern has a count that PCRE does not allow, for example `a{0,70000}`.
    Count,
    /// The translated pattern is too long for the server, or its compiled form may be too large.
    Long,
    /// The pattern has too many groups, or they are nested too deeply.
    Groups,
    /// A long text might need too many steps, and the field has no maximum length.
    NoLength,
    /// A text can match the pattern in too many ways, for example `(a+)+b`.
    Steps,
    /// A part of the pattern cannot match any text, for example `[a&&b]`. Or it matches bytes that are not characters.
    Nothing,
}

impl fmt::Display for Unchecked {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::Boundary => "word boundaries and line anchors have another meaning on the server",
            Self::Count => "a repetition in it has a count above 65535, the server's limit",
            Self::Long => "it is too long for the server when its character classes are expanded",
            Self::Groups => "it has too many groups for the server",
            Self::NoLength => "the server could give up on a long text; set a maximum with `length`",
            Self::Steps => "a text can match it in too many ways, so the server could give up",
            Self::Nothing => "a part of it matches no text",
        })
    }
}

/// Translates a pattern for the server. `chars_max` is the maximum length of the field, in characters.
pub(super) fn server_pattern(pattern: &str, chars_max: Option<u32>) -> Result<String, Unchecked> {
    let pattern = Parser::new().parse(pattern).map_err(|_| Unchecked::Nothing)?;
    let mut writer = Writer { out: String::new(), chars_max: chars_max.map(u64::from), depth: 0, groups: 0 };
    let cost = writer.write(&pattern, &ClassUnicode::empty())?;
    let steps = cost.ways.saturating_mul(cost.steps);
    match () {
        () if writer.out.len() > PATTERN_BYTES_MAX || cost.compiled_bytes > COMPILED_BYTES_MAX => Err(Unchecked::Long),
        () if steps <= STEPS_MAX => Ok(writer.out),
        () if chars_max.is_none() => Err(Unchecked::NoLength),
        () => Err(Unchecked::Steps),
    }
}

/// The cost of matching a part of a pattern with PCRE.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Number of ways in which the part can match from one position of the text. PCRE may try each of them.
    ways: u64,
    /// Number of steps for each way.
    steps: u64,
    /// Estimated size of the compiled part, in bytes.
    compiled_bytes: u64,
}

/// Writes the parts of a pattern, from left to right.
///
/// For each part, the writer needs `follow`: the set of characters that can come after the part.
///
/// A choice between alternatives is *decided* if the next character shows which alternative is right. Example: `a|b`
/// is decided, `ab|ac` is not. The alternatives must begin with different characters. At most one of them may match
/// the empty text. If one does, no other alternative may begin with a character that can come after the choice: the
/// choice in `(a|)b` is decided, the one in `(b|)b` is not.
///
/// A repetition is *decided* if the next character shows whether to repeat once more. Example: in `[0-9]*-` it is
/// decided, in `[ab]*b` it is not. A decided repetition is written as a possessive repetition (`*+`), which matches the
/// same texts. PCRE then stores no positions to go back to. A repetition with a fixed count (`{2}`) needs no `+`.
struct Writer {
    out: String,
    chars_max: Option<u64>,
    depth: u32,
    groups: u32,
}

impl Writer {
    fn write(&mut self, part: &Hir, follow: &ClassUnicode) -> Result<Cost, Unchecked> {
        if part.properties().minimum_len().is_none() {
            return Err(Unchecked::Nothing);
        }
        match part.kind() {
            HirKind::Empty => Ok(Cost { ways: 1, steps: 0, compiled_bytes: 0 }),
            HirKind::Literal(literal) => self.literal(&literal.0),
            HirKind::Class(class) => self.class(&characters(class).ok_or(Unchecked::Nothing)?),
            HirKind::Look(Look::Start) => Ok(self.look(r"\A")),
            HirKind::Look(Look::End) => Ok(self.look(r"\z")),
            HirKind::Look(_) => Err(Unchecked::Boundary),
            HirKind::Repetition(repetition) => self.repetition(repetition, follow),
            HirKind::Capture(capture) => self.write(&capture.sub, follow),
            HirKind::Concat(parts) => self.concat(parts, follow),
            HirKind::Alternation(branches) => self.alternation(branches, follow),
        }
    }

    fn literal(&mut self, text: &[u8]) -> Result<Cost, Unchecked> {
        let text = std::str::from_utf8(text).map_err(|_| Unchecked::Nothing)?;
        text.chars().for_each(|c| self.character(c));
        self.check_length()?;
        Ok(Cost { ways: 1, steps: 1, compiled_bytes: 2 * text.len() as u64 })
    }

    /// Writes an ASCII letter or digit unchanged, and any other character as its code point.
    fn character(&mut self, c: char) {
        if c.is_ascii_alphanumeric() {
            self.out.push(c);
        } else {
            let _ = write!(self.out, "\\x{{{:x}}}", u32::from(c));
        }
    }

    fn class(&mut self, class: &ClassUnicode) -> Result<Cost, Unchecked> {
        self.out.push('[');
        for range in class.iter() {
            // Between U+D7FF and U+E000 are only surrogates. They are not characters, and PCRE refuses them. A range
            // that would include them is split.
            match (range.start(), range.end()) {
                (start @ ..='\u{d7ff}', end @ '\u{e000}'..) => {
                    self.range(start, '\u{d7ff}');
                    self.range('\u{e000}', end);
                }
                (start, end) => self.range(start, end),
            }
        }
        self.out.push(']');
        self.check_length()?;
        Ok(Cost { ways: 1, steps: 1, compiled_bytes: 40 + 9 * class.ranges().len() as u64 })
    }

    fn range(&mut self, start: char, end: char) {
        self.character(start);
        if start != end {
            self.out.push('-');
            self.character(end);
        }
    }

    fn look(&mut self, look: &str) -> Cost {
        self.out.push_str(look);
        Cost { ways: 1, steps: 1, compiled_bytes: 1 }
    }

    fn check_length(&self) -> Result<(), Unchecked> {
        if self.out.len() > PATTERN_BYTES_MAX { Err(Unchecked::Long) } else { Ok(()) }
    }

    fn concat(&mut self, parts: &[Hir], follow: &ClassUnicode) -> Result<Cost, Unchecked> {
        let mut follows = vec![follow.clone()];
        for part in parts.iter().skip(1).rev() {
            follows.push(first(part, &follows[follows.len() - 1]));
        }
        let mut cost = Cost { ways: 1, steps: 0, compiled_bytes: 0 };
        for (part, follow) in parts.iter().zip(follows.iter().rev()) {
            let more = self.write(part, follow)?;
            cost.ways = cost.ways.saturating_mul(more.ways);
            cost.steps = cost.steps.saturating_add(more.steps);
            cost.compiled_bytes = cost.compiled_bytes.saturating_add(more.compiled_bytes);
        }
        Ok(cost)
    }

    /// Writes a choice between alternatives. In a decided choice (see [`Writer`]), an alternative that can be empty is
    /// written last, because PCRE tries the alternatives from left to right and takes the first one that matches.
    fn alternation(&mut self, branches: &[Hir], follow: &ClassUnicode) -> Result<Cost, Unchecked> {
        let is_decided = is_decided(branches, follow);
        let mut order: Vec<&Hir> = branches.iter().collect();
        if is_decided {
            order.sort_by_key(|branch| is_nullable(branch));
        }
        let mut cost = Cost { ways: 0, steps: 1, compiled_bytes: 8 };
        let mut mark = "(?:";
        self.enter()?;
        for branch in order {
            self.out.push_str(mark);
            mark = "|";
            let more = self.write(branch, follow)?;
            cost.ways = if is_decided { cost.ways.max(more.ways) } else { cost.ways.saturating_add(more.ways) };
            cost.steps = cost.steps.saturating_add(1 + more.steps);
            cost.compiled_bytes = cost.compiled_bytes.saturating_add(4 + more.compiled_bytes);
        }
        self.leave();
        Ok(cost)
    }

    fn enter(&mut self) -> Result<(), Unchecked> {
        self.depth += 1;
        self.groups += 1;
        if self.depth > NESTING_MAX || self.groups > GROUPS_MAX { Err(Unchecked::Groups) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.out.push(')');
        self.depth -= 1;
    }

    fn repetition(&mut self, repetition: &Repetition, follow: &ClassUnicode) -> Result<Cost, Unchecked> {
        let Repetition { min, max, sub, .. } = repetition;
        if *min > COUNT_MAX || max.is_some_and(|max| max > COUNT_MAX) {
            return Err(Unchecked::Count);
        }
        if is_nullable(sub) {
            return Err(Unchecked::Steps);
        }
        let begin = first(sub, &ClassUnicode::empty());
        let mut after = follow.clone();
        if *max != Some(1) {
            after.union(&begin);
        }
        let is_character = is_one_character(sub);
        let body = if is_character {
            self.write(sub, &after)?
        } else {
            self.enter()?;
            self.out.push_str("(?:");
            let body = self.write(sub, &after)?;
            self.leave();
            body
        };
        let is_fixed = *max == Some(*min);
        let is_decided = (is_fixed || are_disjoint(&begin, follow)) && body.ways == 1;
        self.count(*min, *max, is_decided && !is_fixed);
        self.repeated(repetition, body, is_character, is_decided)
    }

    fn count(&mut self, min: u32, max: Option<u32>, is_possessive: bool) {
        let count = match (min, max) {
            (0, None) => "*".to_owned(),
            (1, None) => "+".to_owned(),
            (0, Some(1)) => "?".to_owned(),
            (min, None) => format!("{{{min},}}"),
            (min, Some(max)) if min == max => format!("{{{min}}}"),
            (min, Some(max)) => format!("{{{min},{max}}}"),
        };
        self.out.push_str(&count);
        if is_possessive {
            self.out.push('+');
        }
    }

    /// Returns the cost of a repetition such as `[a-c]*`. `body` is the cost of the repeated part, here `[a-c]`. A
    /// decided repetition (see [`Writer`]) of single characters is one step, even for a long text.
    fn repeated(&self, of: &Repetition, body: Cost, is_character: bool, is_decided: bool) -> Result<Cost, Unchecked> {
        if is_character && is_decided {
            return Ok(Cost { compiled_bytes: body.compiled_bytes + 8, ..body });
        }
        let min = u64::from(of.min);
        let rounds = match (of.max.map(u64::from), self.chars_max) {
            (Some(max), chars_max) => max.min(chars_max.unwrap_or(max)),
            (None, chars_max) => chars_max.ok_or(Unchecked::NoLength)?,
        };
        let rounds = rounds.max(min);
        if is_character {
            return Ok(Cost {
                ways: (rounds - min).saturating_add(1),
                compiled_bytes: body.compiled_bytes + 8,
                ..body
            });
        }
        let copies = of.max.map_or(min + 1, u64::from).max(1);
        let steps = rounds.saturating_mul(body.steps + 1);
        let compiled_bytes = copies.saturating_mul(body.compiled_bytes + 16);
        if is_decided {
            return Ok(Cost { ways: 1, steps, compiled_bytes });
        }
        if rounds > ROUNDS_MAX {
            return Err(if of.max.is_none() { Unchecked::NoLength } else { Unchecked::Steps });
        }
        let ways = (min..=rounds).map(|round| body.ways.saturating_pow(round as u32)).fold(0, u64::saturating_add);
        Ok(Cost { ways, steps, compiled_bytes })
    }
}

/// Returns the set of possible first characters of `part`. `follow` is the set of characters that can come after
/// `part`. If `part` can be empty, the result includes `follow`.
fn first(part: &Hir, follow: &ClassUnicode) -> ClassUnicode {
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => follow.clone(),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).unwrap_or_default();
            ClassUnicode::new(text.chars().next().map(|c| regex_syntax::hir::ClassUnicodeRange::new(c, c)))
        }
        HirKind::Class(class) => characters(class).unwrap_or_else(ClassUnicode::empty),
        HirKind::Repetition(repetition) => {
            let mut begin = first(&repetition.sub, follow);
            if repetition.min == 0 {
                begin.union(follow);
            }
            begin
        }
        HirKind::Capture(capture) => first(&capture.sub, follow),
        HirKind::Concat(parts) => parts.iter().rev().fold(follow.clone(), |follow, part| first(part, &follow)),
        HirKind::Alternation(branches) => {
            branches.iter().map(|branch| first(branch, follow)).fold(ClassUnicode::empty(), |mut all, begin| {
                all.union(&begin);
                all
            })
        }
    }
}

/// Returns true if the next character shows which branch is right (see [`Writer`]).
fn is_decided(branches: &[Hir], follow: &ClassUnicode) -> bool {
    let mut seen = ClassUnicode::empty();
    let differ = branches.iter().all(|branch| {
        let begin = first(branch, follow);
        let differs = are_disjoint(&seen, &begin);
        seen.union(&begin);
        differs
    });
    differ && branches.iter().filter(|branch| is_nullable(branch)).count() <= 1
}

fn are_disjoint(left: &ClassUnicode, right: &ClassUnicode) -> bool {
    let mut both = left.clone();
    both.intersect(right);
    both.ranges().is_empty()
}

fn is_nullable(part: &Hir) -> bool {
    part.properties().minimum_len() == Some(0)
}

fn is_one_character(part: &Hir) -> bool {
    match part.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).is_ok_and(|text| text.chars().count() == 1),
        HirKind::Class(_) => true,
        HirKind::Capture(capture) => is_one_character(&capture.sub),
        _ => false,
    }
}

/// Returns the characters of a class. `None` if the class contains bytes that are not characters.
fn characters(class: &Class) -> Option<ClassUnicode> {
    match class {
        Class::Unicode(class) => Some(class.clone()),
        Class::Bytes(class) => class.to_unicode_class(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, chars_max: Option<u32>, expected: Result<&str, Unchecked>) {
        let whole = format!(r"\A(?:{pattern})\z");
        let found = server_pattern(&whole, chars_max);
        assert_eq!(found, expected.map(|inner| format!(r"\A{inner}\z")), "{pattern}");
    }

    #[test]
    fn parts_with_the_same_meaning_are_translated() {
        check("[A-Z]{2}[0-9]{6}", None, Ok("[A-Z]{2}[0-9]{6}"));
        check("[a-z&&[^x]]+", None, Ok("[a-wy-z]++"));
        check("a.c", None, Ok(r"a[\x{0}-\x{9}\x{b}-\x{d7ff}\x{e000}-\x{10ffff}]c"));
        check("a$", None, Ok(r"a\z"));
        check("(?i)k", None, Ok(r"[Kk\x{212a}]"));
        check(r"(?-u:\w)+", None, Ok(r"[0-9A-Z\x{5f}a-z]++"));
        check(r"\u{e9}-x", None, Ok(r"\x{e9}\x{2d}x"));
        check("(ab|c)?d", None, Ok("(?:(?:ab|c))?+d"));
        check("x(|y)", None, Ok("x(?:y|)"));
    }

    #[test]
    fn a_decided_repetition_is_possessive() {
        check("[0-9]+-[0-9]*", None, Ok(r"[0-9]++\x{2d}[0-9]*+"));
        check("[0-9]+(,[0-9]+)*", Some(30), Ok(r"[0-9]++(?:\x{2c}[0-9]++)*+"));
        check("[ab]*b", Some(30), Ok("[a-b]*b"));
        check("(?:a+)?b", None, Ok("(?:a++)?+b"));
        check("a{2}b{2,3}c{4,}d?", None, Ok("a{2}b{2,3}+c{4,}+d?+"));
    }

    #[test]
    fn parts_with_another_meaning_are_refused() {
        check(r"\bx", None, Err(Unchecked::Boundary));
        check("(?m)^a", None, Err(Unchecked::Boundary));
        check("a{0,70000}", None, Err(Unchecked::Count));
        check("(a+)+b", None, Err(Unchecked::NoLength));
        check("(a+)+b", Some(40), Err(Unchecked::Steps));
        check("[ab]*b", None, Err(Unchecked::NoLength));
        check("(,[0-9]+)*", None, Err(Unchecked::NoLength));
        check(".*a.*b.*c.*", Some(200), Err(Unchecked::Steps));
        check(&format!("x|{}", "y".repeat(40_000)), None, Err(Unchecked::Long));
        check(r"\w\d\w\d\w", None, Err(Unchecked::Long));
        check(r"(\w,){60}", None, Err(Unchecked::Long));
        check("[a&&b]", None, Err(Unchecked::Nothing));
    }

    fn is_taken(pattern: &str, chars_max: Option<u32>) -> Result<(), Unchecked> {
        server_pattern(&format!(r"\A(?:{pattern})\z"), chars_max).map(drop)
    }

    /// Tests the limits for counts, groups and repetitions, each with a pattern at the limit and a pattern above it.
    #[test]
    fn limits_are_exact() {
        assert_eq!(is_taken("a{0,65535}", None), Ok(()));
        assert_eq!(is_taken("a{0,65536}", None), Err(Unchecked::Count));
        assert_eq!(is_taken("a{65535,}", None), Ok(()));
        assert_eq!(is_taken("a{65536,}", None), Err(Unchecked::Count));
        let groups = |count: usize| "(?:ab)?".repeat(count - 1) + "(?:ab|c)";
        assert_ne!(is_taken(&groups(1000), Some(1)), Err(Unchecked::Groups));
        assert_eq!(is_taken(&groups(1001), Some(1)), Err(Unchecked::Groups));
        // If the next character does not show whether to repeat a group once more, at most 200 repetitions are allowed.
        assert_eq!(is_taken("(?:ab)*a?b", Some(200)), Ok(()));
        assert_eq!(is_taken("(?:ab)*a?b", Some(201)), Err(Unchecked::NoLength));
        assert_eq!(is_taken("(?:ab){0,201}a?b", None), Err(Unchecked::Steps));
    }

    #[test]
    fn the_cost_of_a_pattern_is_bounded_by_steps() {
        // In a text of 140 characters, `[ab]*` can match 0 to 140 characters: 141 ways. Each way of the whole pattern
        // has 5 steps. With 140 characters: 141 × 141 × 5 = 99,405. With 141: 142 × 142 × 5 = 100,820. The limit is
        // 100,000.
        assert_eq!(is_taken("[ab]*[ab]*b", Some(140)), Ok(()));
        assert_eq!(is_taken("[ab]*[ab]*b", Some(141)), Err(Unchecked::Steps));
        assert_eq!(is_taken("[ab]*[ab]*b", None), Err(Unchecked::NoLength));
        // If the next character is `b`, PCRE may have to try both alternatives. So each repetition doubles the number
        // of ways.
        let choices = |number: usize| "(?:[ab]|[bc]d)".repeat(number);
        assert_eq!(
            (is_taken(&choices(8), Some(16)), is_taken(&choices(16), Some(32))),
            (Ok(()), Err(Unchecked::Steps))
        );
    }

    #[test]
    fn a_choice_is_decided_only_if_one_branch_may_be_empty() {
        let branches = |pattern: &str| match Parser::new().parse(pattern).expect("a pattern").into_kind() {
            HirKind::Alternation(branches) => branches,
            kind => panic!("{kind:?}"),
        };
        let none = ClassUnicode::empty();
        let class = |c: char| ClassUnicode::new([regex_syntax::hir::ClassUnicodeRange::new(c, c)]);
        let check = |pattern: &str, follow: &ClassUnicode, expected: bool| {
            assert_eq!(is_decided(&branches(pattern), follow), expected, "{pattern}");
        };
        check("ax|by", &none, true);
        check("ax|ay*|b", &none, false);
        check("ax|y*", &none, true);
        check("(?:a*x*)|y*z*", &none, false);
        check("ax|y*", &class('a'), false);
        check("ax|y*", &class('b'), true);
        check("ax|by", &class('a'), true);
    }

    #[test]
    fn every_reason_has_its_message() {
        let words = [
            (Unchecked::Boundary, "word boundaries"),
            (Unchecked::Count, "a count above 65535"),
            (Unchecked::Long, "too long for the server"),
            (Unchecked::Groups, "too many groups"),
            (Unchecked::NoLength, "set a maximum with `length`"),
            (Unchecked::Steps, "in too many ways"),
            (Unchecked::Nothing, "matches no text"),
        ];
        for (reason, part) in words {
            assert!(reason.to_string().contains(part), "{reason}");
        }
    }

    /// Tests the three numbers of `Cost` for each kind of part. The expected numbers were counted by hand.
    #[test]
    fn each_part_has_its_cost() {
        let check = |pattern: &str, chars_max: Option<u64>, expected: (u64, u64, u64)| {
            let part = Parser::new().parse(pattern).expect("a pattern");
            let mut writer = Writer { out: String::new(), chars_max, depth: 0, groups: 0 };
            let cost = writer.write(&part, &ClassUnicode::empty()).expect("a cost");
            assert_eq!((cost.ways, cost.steps, cost.compiled_bytes), expected, "{pattern}");
        };
        check("", None, (1, 0, 0));
        check("abc", None, (1, 1, 6));
        check(r"\Aa\z", None, (1, 3, 4));
        check("[a-c]", None, (1, 1, 49));
        check("[ac]{3}", None, (1, 1, 66));
        check("[ab]*b", Some(10), (11, 2, 59));
        check("[ab]{3,}b", Some(10), (8, 2, 59));
        check("(?:ab|cd)", None, (1, 5, 24));
        check("(?:[ab]|[bc]d)", None, (2, 6, 116));
        check("(?:ab){2,4}", None, (1, 8, 80));
        check("(?:ab){2,4}", Some(3), (1, 6, 80));
        check("(?:ab)+", Some(10), (1, 20, 40));
        check("(?:ab){3,}", Some(2), (1, 6, 80));
        check("(?:ab){0,2}a", None, (3, 5, 42));
    }
}
