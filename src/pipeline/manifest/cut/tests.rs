use super::*;
use crate::encode::IdentityKey;
use crate::pipeline::plan::{Plan, Wishes};
use crate::spec::Spec;

const SPEC: &str = "name = 'a'\ncollection = 'a'\n[identity]\nfields = 'all'\n\
                    [[field]]\nname = 'No'\ntype = 'string'\nprivacy = 'none'\n\
                    [[field]]\nname = 'Note'\ntype = 'string'\nprivacy = 'none'\n\
                    [[field]]\nname = 'Last'\ntype = 'string'\nprivacy = 'none'\n";

/// Cuts a file with this name and text into parts of about 1,000 bytes.
fn ranges(name: &str, text: &[u8]) -> (Vec<Range<u64>>, Format) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    let wishes = Wishes { sources: vec![path.display().to_string()], ..Wishes::default() };
    let plan = Plan::new(Spec::from_toml(SPEC, "a test").unwrap(), IdentityKey::default(), &wishes).unwrap();
    let source = &plan.sources[0];
    (cut(source, &plan.spec, 1_000).unwrap(), source.layout.format)
}

/// Checks that the parts cover the whole file, and that each part begins at the beginning of a row. Returns the number
/// of parts.
fn check(text: &str) -> usize {
    let (ranges, format) = ranges("a.csv", text.as_bytes());
    if ranges.is_empty() {
        return 0;
    }
    let starts: Vec<u64> = records(text.as_bytes(), format.framing()).map(|span| u64::from(span.start)).collect();
    assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, text.len() as u64));
    for pair in ranges.windows(2) {
        assert_eq!(pair[0].end, pair[1].start);
        assert!(starts.contains(&pair[1].start), "no row begins at {}", pair[1].start);
    }
    ranges.len()
}

fn rows(row: impl Fn(u32) -> String) -> String {
    std::iter::once("No,Note,Last\n".to_owned()).chain((0..400).map(|number| format!("{}\n", row(number)))).collect()
}

#[test]
fn a_file_is_cut_where_rows_begin() {
    assert!(check(&rows(|number| format!("{number},a note,x"))) >= 5);
    assert!(check(&rows(|number| format!("\"{number}\",\"a \"\"note\"\"\",\"x\""))) >= 8);
    // A note has several lines.
    assert!(check(&rows(|number| format!("{number},\"first\nsecond\nthird, and more\",x"))) >= 8);
    assert!(check(&rows(|number| format!("{number},\"{}\",x", "a line\n".repeat(number as usize % 7)))) >= 8);
    // One row in ten is damaged.
    assert!(check(&rows(|number| if number % 10 == 0 { format!("{number},x") } else { format!("{number},y,x") })) >= 3);
}

#[test]
fn a_file_is_not_cut_where_a_place_could_be_inside_quotes() {
    // The lines of a note look like rows.
    let inner = "1,a,b\n2,c,d\n3,e,f\n4,g,h\n".repeat(3);
    check(&rows(|number| format!("{number},\"{inner}\",x")));
    // All rows after the first are text in quotes.
    let text = format!("No,Note,Last\n1,\"{}\",x\n", "2,a,b\n".repeat(1_000));
    assert_eq!(check(&text), 0);
}

#[test]
fn only_large_text_with_a_row_per_line_is_cut() {
    let lines = "{\"No\": \"1\", \"Note\": \"a\", \"Last\": \"x\"}\n".repeat(200);
    assert!(ranges("a.ndjson", lines.as_bytes()).0.len() >= 8);
    let array = format!("[{}{{}}]", lines.replace('\n', ",\n"));
    assert_eq!(ranges("a.json", array.as_bytes()).0, []);
    let text = rows(|number| format!("{number},a note,x"));
    assert_eq!(ranges("a.csv", &text.as_bytes()[..1_000]).0, []);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
    assert_eq!(ranges("a.csv.gz", &gzip.finish().unwrap()).0, []);
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(ranges("a.csv", &[&[0xff, 0xfe], &wide[..]].concat()).0, []);
}

/// Cuts a file of messages into parts of about 1,000 bytes. Returns the text of each part.
fn parts_of_messages(text: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.hl7");
    std::fs::write(&path, text).unwrap();
    let wishes = Wishes { sources: vec![path.display().to_string()], ..Wishes::default() };
    let dataset = crate::spec::Dataset::built_in("hl7v2").expect("a built-in spec");
    let plan = Plan::new(dataset, IdentityKey::default(), &wishes).unwrap();
    let ranges = cut(&plan.sources[0], &plan.spec, 1_000).unwrap();
    ranges.into_iter().map(|range| text[range.start as usize..range.end as usize].to_owned()).collect()
}

#[test]
fn a_file_of_messages_is_cut_between_messages_unless_it_has_batches() {
    let message = |number: usize, end: &str| {
        let note = "MSH|x BTS| ".repeat(number % 5);
        format!("MSH|^~\\&|{number}{end}PID|1|{note}{end}NTE|1|text{end}")
    };
    for end in ["\r", "\n", "\r\n"] {
        let text: String = (0..200).map(|number| message(number, end)).collect();
        let parts = parts_of_messages(&text);
        assert!(parts.len() >= 8 && parts.concat() == text, "{} parts", parts.len());
        assert!(parts.iter().all(|part| part.starts_with("MSH|^") && part.ends_with(&format!("text{end}"))));
        for segment in ["BHS|^~\\&", "BTS|200", "FHS|", "FTS|1"] {
            assert_eq!(parts_of_messages(&format!("{text}{segment}{end}")), Vec::<String>::new(), "{segment}");
            assert_eq!(
                parts_of_messages(&format!("{text}\u{b}{segment}{end}{text}")),
                Vec::<String>::new(),
                "{segment}"
            );
        }
    }
}
