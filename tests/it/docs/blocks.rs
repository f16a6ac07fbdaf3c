//! Finds the commands in a document.

/// A command of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Line of the document, from 1.
    pub line: usize,
    pub text: String,
}

/// The part of a document to which a line belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Sentence,
    Indented,
    /// A block of which every line is a command.
    Shell,
    /// A block in which commands begin with `$ `. The other lines are their output.
    Console,
    /// A block that is not for a shell, such as TOML.
    Data,
}

/// Returns the commands of the blocks. A command that continues on the next line is one command.
pub(super) fn commands(name: &str, text: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut continues = false;
    for (line, part, text) in parts(name, text) {
        let typed = match part {
            Part::Indented | Part::Shell => text.trim(),
            Part::Console if continues => text.trim(),
            Part::Console => text.strip_prefix("$ ").unwrap_or_default(),
            Part::Sentence | Part::Data => continue,
        };
        let (typed, ends_with_backslash) = typed.strip_suffix('\\').map_or((typed, false), |typed| (typed, true));
        match commands.last_mut() {
            Some(last) if continues => last.text.push_str(typed),
            _ if typed.is_empty() || typed.starts_with('#') => (),
            _ => commands.push(Command { line, text: typed.to_owned() }),
        }
        continues = ends_with_backslash;
    }
    commands
}

/// Returns the `medlift` commands between backquotes in the sentences and tables.
pub(super) fn within_sentences(text: &str) -> Vec<Command> {
    // The lines of a paragraph are joined, because a command between backquotes may continue on the next line.
    let mut paragraphs: Vec<(usize, String)> = Vec::new();
    let mut is_new = true;
    for (line, part, text) in parts("", text) {
        let is_sentence = part == Part::Sentence && !text.trim().is_empty();
        match paragraphs.last_mut() {
            Some((_, paragraph)) if is_sentence && !is_new => paragraph.extend([" ", text.trim()]),
            _ if is_sentence => paragraphs.push((line, text.trim().to_owned())),
            _ => (),
        }
        is_new = !is_sentence;
    }
    let quoted = |(line, paragraph): &(usize, String)| -> Vec<Command> {
        let spans = paragraph.split('`').skip(1).step_by(2).filter(|span| span.starts_with("medlift "));
        spans.map(|span| Command { line: *line, text: span.to_owned() }).collect()
    };
    paragraphs.iter().flat_map(quoted).collect()
}

/// Returns the lines with their numbers and parts, without the fences.
fn parts<'text>(name: &str, text: &'text str) -> Vec<(usize, Part, &'text str)> {
    let mut lines = Vec::new();
    let (mut fence, mut last) = (None, Part::Sentence);
    let mut is_after_blank = true;
    for (index, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = match fence {
                Some(_) => None,
                None => Some(part_of(language, name, index + 1)),
            };
            last = Part::Sentence;
            continue;
        }
        let is_indented = line.starts_with("    ") && (is_after_blank || last == Part::Indented);
        let part = match fence {
            Some(part) => part,
            None if is_indented => Part::Indented,
            None => Part::Sentence,
        };
        lines.push((index + 1, part, line));
        (last, is_after_blank) = (part, line.trim().is_empty());
    }
    lines
}

fn part_of(language: &str, name: &str, line: usize) -> Part {
    match language {
        "sh" => Part::Shell,
        "console" => Part::Console,
        "" => panic!("{name}:{line}: name the language of this block, for example text, toml or sh"),
        _ => Part::Data,
    }
}

#[test]
fn commands_are_found_in_blocks_only() {
    let text = "a `medlift load x`\n    not indented\n\n    one  # why\n    two \\\n        more\n\n    three\n\nb\n\
                ```sh\nfour\n```\n```toml\nno = 1\n```\n```console\n$ five\noutput\n```\n";
    let found: Vec<(usize, String)> = commands("x", text).into_iter().map(|found| (found.line, found.text)).collect();
    let expected = [(4, "one  # why"), (5, "two more"), (8, "three"), (12, "four"), (18, "five")];
    assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
}

#[test]
fn commands_are_found_between_backquotes() {
    let text = "a `x` and `medlift load\na.csv`.\n\n| `medlift doctor` | `y` |\n\n    `medlift no`\n";
    let found: Vec<(usize, String)> =
        within_sentences(text).into_iter().map(|found| (found.line, found.text)).collect();
    assert_eq!(found, [(1, "medlift load a.csv".to_owned()), (4, "medlift doctor".to_owned())]);
}
