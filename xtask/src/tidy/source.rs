//! A Rust file in the form that the rules check: comments, literals and tests are replaced by blanks.

/// One Rust file.
#[derive(Debug)]
pub(super) struct Source<'a> {
    /// The path from the repository's root.
    pub(super) path: &'a str,
    /// The code, with comments and literals replaced by blanks. Line breaks stay.
    pub(super) code: String,
    /// [`Source::code`] with every `#[cfg(test)]` item also replaced by blanks. Empty for a file of tests.
    pub(super) production: String,
    /// The number of lines in the production code, including comments and blank lines.
    pub(super) production_lines: usize,
}

/// The position and size of a function.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) lines: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(path: &'a str, text: &str) -> Self {
        let code = without_literals(text);
        let is_tests = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        let (production, test_lines) =
            if is_tests { (String::new(), code.lines().count()) } else { without_tests(&code) };
        let production_lines = code.lines().count() - test_lines;
        Self { path, code, production, production_lines }
    }

    /// The functions with a body in the production code, including nested ones.
    pub(super) fn functions(&self) -> Vec<Function<'_>> {
        let code = &self.production;
        word_offsets(code, "fn").filter_map(|offset| function_at(code, offset)).collect()
    }
}

/// Returns the numbers of the lines, counted from 1, that contain `word` as a whole word.
pub(super) fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    word_offsets(code, word).map(|offset| line_of(code, offset)).collect()
}

/// Returns the byte offsets of `word` as a whole word: no letter, digit or underscore is before or after it. If `word`
/// ends with `!` or `:`, anything may come after it.
pub(super) fn word_offsets<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(offset, _)| offset).filter(move |&offset| {
        !code[..offset].ends_with(is_word)
            && (word.ends_with(['!', ':']) || !code[offset + word.len()..].starts_with(is_word))
    })
}

/// The line number of a byte offset, counted from 1.
pub(super) fn line_of(code: &str, offset: usize) -> usize {
    code[..offset].matches('\n').count() + 1
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn function_at(code: &str, offset: usize) -> Option<Function<'_>> {
    let rest = &code[offset..];
    let after = rest[2..].trim_start();
    let name = after.split(|letter| !is_word(letter)).next().filter(|name| !name.is_empty())?;
    let length = item_length(rest);
    rest[..length].ends_with('}').then(|| Function {
        name,
        line: line_of(code, offset),
        lines: rest[..length].matches('\n').count() + 1,
    })
}

/// The length in bytes of the item at the start of `code`. The item ends at its first semicolon outside brackets, or
/// at the end of its body.
fn item_length(code: &str) -> usize {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (offset, letter) in code.char_indices() {
        match letter {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '{' => braces += 1,
            '}' if braces <= 1 => return offset + 1,
            '}' => braces -= 1,
            ';' if braces == 0 && brackets == 0 => return offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// Replaces the items under `#[cfg(test)]` by blanks. Also returns the number of lines of these items.
fn without_tests(code: &str) -> (String, usize) {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut rest, mut lines) = (String::with_capacity(code.len()), code, 0);
    while let Some(start) = rest.find(MARK) {
        let length = MARK.len() + item_length(&rest[start + MARK.len()..]);
        let (item, after) = rest[start..].split_at(length);
        kept.push_str(&rest[..start]);
        kept.push_str(&blank(item));
        lines += item.matches('\n').count() + 1;
        rest = after;
    }
    (kept + rest, lines)
}

fn without_literals(text: &str) -> String {
    let (mut code, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(letter) = rest.chars().next() {
        let length = opaque_length(rest, code.ends_with(is_word)).unwrap_or(0);
        let (opaque, after) = rest.split_at(length);
        code.push_str(&blank(opaque));
        rest = after;
        if length == 0 {
            code.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    code
}

fn blank(text: &str) -> String {
    text.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }).collect()
}

/// The length in bytes of the comment or literal at the start of `text`, if there is one.
fn opaque_length(text: &str, after_word: bool) -> Option<usize> {
    match text.as_bytes().first()? {
        b'/' if text.starts_with("//") => Some(text.find('\n').unwrap_or(text.len())),
        b'/' if text.starts_with("/*") => Some(block_comment_length(text)),
        b'"' => Some(string_length(text)),
        b'\'' => char_length(text),
        b'r' | b'b' | b'c' if !after_word => raw_string_length(text),
        _ => None,
    }
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut offset) = (0_usize, 0);
    while offset < text.len() {
        let rest = &text.as_bytes()[offset..];
        let step = if rest.starts_with(b"/*") {
            depth += 1;
            2
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            2
        } else {
            1
        };
        offset += step;
        if depth == 0 {
            break;
        }
    }
    offset
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (offset, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length in bytes of the character literal at the start of `text`; `None` if it is a lifetime.
fn char_length(text: &str) -> Option<usize> {
    let mut letters = text.char_indices().skip(1);
    let (_, first) = letters.next()?;
    if first == '\\' {
        return text.get(3..)?.find('\'').map(|offset| offset + 4);
    }
    letters.next().filter(|&(_, letter)| letter == '\'').map(|(offset, _)| offset + 1)
}

fn raw_string_length(text: &str) -> Option<usize> {
    let after_prefix = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let after_hashes = after_prefix.trim_start_matches('#');
    let hashes = &after_prefix[..after_prefix.len() - after_hashes.len()];
    let content = after_hashes.strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let length = content.find(&end).map_or(content.len(), |offset| offset + end.len());
    Some(text.len() - content.len() + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_blanks() {
        let check = |text: &str, expected: &str| assert_eq!(without_literals(text), expected, "{text}");
        check("a // b\nc", "a     \nc");
        check("a /* /* b */ */ c", &format!("a{}c", " ".repeat(15)));
        check(r#"f("a\"b", 'c', '\'', b'"')"#, r"f(      ,    ,     , b   )");
        check("r#\"a\"b\"# + br\"\\\" x", &format!("{}+{}x", " ".repeat(9), " ".repeat(7)));
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("r#type = for_r \"x\"", "r#type = for_r    ");
    }

    #[test]
    fn tests_are_not_production() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x {} }\n}\nfn c() {}\n";
        let source = Source::new("src/x.rs", text);
        let names: Vec<&str> = source.functions().iter().map(|function| function.name).collect();
        assert_eq!((names, source.production_lines), (vec!["a", "c"], 2));
        assert_eq!(Source::new("src/spec/tests.rs", text).production_lines, 0);
        assert_eq!(Source::new("src/x.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n").production_lines, 1);
    }

    #[test]
    fn functions_are_measured() {
        let text = "trait T { fn none(&self) -> [u8; 2]; }\nfn two(a: [u8; 2])\n{ let f: fn(u8) = x; }\n";
        let source = Source::new("src/x.rs", text);
        assert_eq!(source.functions(), [Function { name: "two", line: 2, lines: 2 }]);
    }

    #[test]
    fn only_whole_words_are_found() {
        assert_eq!(lines_with_word("use clap;\nclapper\n_clap\nclap::x", "clap"), [1, 4]);
        assert_eq!(lines_with_word("dbg!(x)\nmy_dbg!(x)", "dbg!"), [1]);
    }
}
