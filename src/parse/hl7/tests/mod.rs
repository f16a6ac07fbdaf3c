//! Tests of the whole decoder.

mod peer;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A message with every kind of part.
const MESSAGE: &[u8] = b"MSH|^~\\&|LAB^2.16&x||ADT||20040629165819.5-0500||ADT^A01^ADT_A01|7|P|2.5\r\
PID|1||A1^^^H&1.2&ISO~B2^^^G||Do\\T\\e^Ann~\"\"||\"\"|F\rOBX|1|TX|a||x\\.br\\y^z~second\rOBX|2|NM|b\rZP1|own";

/// Returns the value of `path` in [`MESSAGE`], and the number of escapes that stay.
fn found(path: &str) -> (String, u32) {
    let mut index = Index::default();
    let message = Message::split(MESSAGE, &mut index).unwrap();
    let element = message.find(&Path::parse(path).unwrap()).unwrap();
    decoded(Decoder::new(message, Charset::Utf8).unwrap(), element.value())
}

fn decoded(decoder: Decoder, value: Value<'_>) -> (String, u32) {
    let mut out = Vec::new();
    let kept = decoder.decode(value, &mut out);
    (String::from_utf8(out).unwrap(), kept)
}

#[test]
fn a_path_finds_its_part() {
    let check = |path: &str, expected: &str| assert_eq!(found(path), (expected.to_owned(), 0), "{path}");
    check("MSH-1", "|");
    check("MSH-2", "^~\\&");
    check("MSH-2.1", "^~\\&");
    check("MSH-3.1", "LAB");
    check("MSH-3.2", "2.16&x");
    check("MSH-3.2.2", "x");
    check("MSH-4", "");
    check("MSH-9", "ADT^A01^ADT_A01");
    check("MSH-9.2", "A01");
    check("MSH-9.4", "");
    check("MSH-12", "2.5");
    check("MSH-12.1.1", "2.5");
    check("MSH-12.1.2", "");
    check("MSH-13", "");
    check("MSH-40.2.1", "");
    check("PID-1", "1");
    check("PID-3", "A1^^^H&1.2&ISO");
    check("PID-3.1", "A1");
    check("PID-3[1].4.1", "H");
    check("PID-3[2].1", "B2");
    check("PID-3[2].4", "G");
    check("PID-3[3].1", "");
    check("PID-5", "Do\\T\\e^Ann");
    check("PID-5.1", "Do&e");
    check("PID-5[2]", "\"\"");
    check("OBX-5", "x\\.br\\y^z");
    check("OBX-5.1", "x\ny");
    check("OBX-5[2]", "second");
    check("OBX-1", "1");
    check("ZP1-1", "own");
    check("ZP1", "ZP1|own");
    check("MSH-7@precision", "20040629165819.5-0500");
}

#[test]
fn empty_deleted_and_composite_values_are_kept_apart() {
    let mut index = Index::default();
    let message = Message::split(MESSAGE, &mut index).unwrap();
    let check = |path: &str, expected: Value<'_>| {
        assert_eq!(message.find(&Path::parse(path).unwrap()).unwrap().value(), expected, "{path}");
    };
    check("PID-2", Value::Empty);
    check("PID-99", Value::Empty);
    check("PID-7", Value::Delete);
    check("PID-8", Value::Text(b"F"));
    check("PID-5.1", Value::Text(b"Do\\T\\e"));
    check("PID-5", Value::Composite(b"Do\\T\\e^Ann"));
    check("PID-3.4", Value::Composite(b"H&1.2&ISO"));
    check("MSH-1", Value::Composite(b"|"));
    assert_eq!(message.first(SegmentId::new("PID").unwrap()).unwrap().field(3).value(), {
        Value::Composite(b"A1^^^H&1.2&ISO~B2^^^G")
    });
    assert!(message.find(&Path::parse("PV1-2").unwrap()).is_none());
}

#[test]
fn all_segments_and_repetitions_of_a_path_are_found() {
    let mut index = Index::default();
    let message = Message::split(MESSAGE, &mut index).unwrap();
    let all = |segment: Segment<'_>, path: &str| -> Vec<String> {
        let path = Path::parse(path).unwrap();
        segment.find_all(&path).map(|element| String::from_utf8(element.text().to_vec()).unwrap()).collect()
    };
    let results: Vec<Segment<'_>> = message.segments_of(SegmentId::new("OBX").unwrap()).collect();
    assert_eq!(results.len(), 2);
    assert_eq!(all(results[0], "OBX-5[*]"), ["x\\.br\\y^z", "second"]);
    assert_eq!(all(results[0], "OBX-5[*].1"), ["x\\.br\\y", "second"]);
    assert_eq!(all(results[1], "OBX-5[*]"), [""; 0]);
    assert_eq!(all(results[1], "OBX-3[*]"), ["b"]);
    assert_eq!(
        message.segments().map(|segment| segment.id().to_string()).collect::<Vec<_>>(),
        ["MSH", "PID", "OBX", "OBX", "ZP1"]
    );
}

#[test]
fn a_message_that_is_not_one_is_refused() {
    let check = |text: &[u8], expected: Result<usize, Problem>| {
        let mut index = Index::default();
        let segments = Message::split(text, &mut index).map(|message| message.segments().count());
        assert_eq!(segments, expected, "{}", text.escape_ascii());
    };
    check(b"MSH|^~\\&", Ok(1));
    check(b"MSH|", Ok(1));
    for line_end in ["\r", "\n", "\r\n"] {
        check(format!("MSH|^~\\&{line_end}PID{line_end}ZZ1|1").as_bytes(), Ok(3));
        check(format!("MSH|^~\\&{line_end}PID|1{line_end}").as_bytes(), Ok(2));
        check(format!("MSH|^~\\&{line_end}{line_end}PID|1").as_bytes(), Err(Problem::EmptySegment { number: 2 }));
    }
    check(b"MSH|^~\\&\n\rPID|1", Err(Problem::EmptySegment { number: 2 }));
    for segment in ["pid|1", "PI|1", "P", "PIDX|1", "1ID|1", " PID|1", "PI\u{e9}|1", "PID^1"] {
        let text = format!("MSH|^~\\&\rEVN|\r{segment}\rPV1|1");
        check(text.as_bytes(), Err(Problem::BadSegmentId { number: 3 }));
    }
    for text in ["", "MSH", "PID|1", "MSH\r|", "\rMSH|^~\\&", "mSH|^~\\&"] {
        check(text.as_bytes(), Err(Problem::NotAMessage));
    }
    check(b"MSH|^~\\^|x", Err(Separators::read(b"MSH|^~\\^|x").unwrap_err()));
}

#[test]
fn a_message_uses_the_separators_that_it_declares() {
    let mut index = Index::default();
    let message = Message::split(b"MSH#*:?!#a*b!c:d?F?#\rPID#1|2*3^4", &mut index).unwrap();
    let decoder = Decoder::new(message, Charset::Utf8).unwrap();
    let check = |path: &str, expected: &str| {
        let element = message.find(&Path::parse(path).unwrap()).unwrap();
        assert_eq!(decoded(decoder, element.value()), (expected.to_owned(), 0), "{path}");
    };
    check("MSH-1", "#");
    check("MSH-2", "*:?!");
    check("MSH-3.2.2", "c");
    check("MSH-3[2]", "d#");
    check("PID-1.1", "1|2");
    check("PID-1.2", "3^4");
    let message = Message::split(b"MSH|^|a^b~c&d\\F\\", &mut index).unwrap();
    let decoder = Decoder::new(message, Charset::Utf8).unwrap();
    let value = message.find(&Path::parse("MSH-3.2").unwrap()).unwrap().value();
    assert_eq!(decoded(decoder, value), ("b~c&d\\F\\".to_owned(), 0), "what is not declared is text");
}

/// Returns the text that the first field after `MSH-2` has, if a message declares `charset`.
fn decode_field(charset: &[u8], field: &[u8]) -> Result<(String, u32), Problem> {
    let text = [b"MSH|^~\\&#|", field, &b"|".repeat(15), charset].concat();
    let mut index = Index::default();
    let message = Message::split(&text, &mut index)?;
    let element = message.find(&Path::parse("MSH-3").unwrap()).unwrap();
    Ok(decoded(Decoder::new(message, Charset::Utf8)?, element.value()))
}

#[test]
fn escapes_are_replaced_or_stay_and_are_counted() {
    let check = |text: &str, expected: &str, kept| {
        assert_eq!(decode_field(b"", text.as_bytes()), Ok((expected.to_owned(), kept)), "{text}");
    };
    check("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\P\\", "a|b^c&d~e\\f#", 0);
    check("\\H\\high\\N\\", "high", 0);
    check("\\X0D0a\\", "\r\n", 0);
    check("\\XC3AB\\", "ë", 0);
    check("\\XEB\\", "\\XEB\\", 1);
    check("1\\.br\\2\\.BR\\3\\.ce\\4", "1\n2\n3\n4", 0);
    check("1\\.sp\\2\\.sp3\\3\\.sp 1\\4", "1\n2\n\n\n3\n4", 0);
    check("1\\.sk\\2\\.sk+3\\3", "1 2   3", 0);
    check("\\.fi\\1\\.nf\\\\.in+4\\2\\.ti-2\\\\.in\\", "12", 0);
    for kept in ["\\C2842\\", "\\M2442\\", "\\M244221\\", "\\Zown\\", "\\XFF\\"] {
        check(&format!("a{kept}\\F\\"), &format!("a{kept}|"), 1);
    }
    for lone in
        ["\\", "a\\b", "\\F", "\\f\\", "\\.br2\\", "\\.sp1000\\", "\\.sk-1\\", "\\.\\", "\\.xx\\", "\\X\\", "\\X1\\"]
    {
        check(&format!("{lone} \\T\\"), &format!("{lone} &"), lone.matches('\\').count() as u32);
    }
    check("C:\\temp\\Files", "C:\\temp\\Files", 2);
    check("\\\\server\\share", "\\\\server\\share", 3);
    check("\\\\F\\", "\\|", 1);
    check("\\C28\\\\XG0\\\\M24422\\", "\\C28\\\\XG0\\\\M24422\\", 6);
    check("\\E\\F\\E\\", "\\F\\", 0);
    check("é\\T\\é\\Zé\\", "é&é\\Zé\\", 1);
    check("\\F\\^\\F\\", "\\F\\^\\F\\", 0);
}

#[test]
fn msh_18_decides_about_the_bytes() {
    let check = |charset: &[u8], bytes: &[u8], expected: Result<&str, Problem>| {
        let expected = expected.map(|text| (text.to_owned(), 0));
        assert_eq!(decode_field(charset, bytes), expected, "{}", charset.escape_ascii());
    };
    let undecodable = |charset| Err(Problem::Undecodable { number: 1, charset });
    check(b"", b"Zo\xc3\xab", Ok("Zoë"));
    check(b"ASCII", b"Zo\xc3\xab", Ok("Zoë"));
    check(b"", b"Zo\xeb", undecodable(Charset::Utf8));
    check(b"ASCII", b"Zo\xeb", undecodable(Charset::Utf8));
    check(b"8859/1", b"Zo\xeb", Ok("Zoë"));
    check(b"8859/1", b"Zo\\XEB\\", Ok("Zoë"));
    check(b"8859/1~UNICODE UTF-8", b"Zo\xeb", Ok("Zoë"));
    check(b"8859/15", b"\xa4", Ok("€"));
    check(b"8859/5", b"\xb8\xd2\xd0\xdd", Ok("Иван"));
    check(b"8859/3", b"\xa5", undecodable(Charset::Iso8859(3)));
    check(b"UNICODE UTF-8", b"Zo\xc3\xab", Ok("Zoë"));
    check(b"UNICODE UTF-8", b"Zo\xeb", undecodable(Charset::Utf8));
    check(b"ISO IR87", b"a", Err(Problem::UnknownCharset));
}

#[test]
fn bytes_of_an_unknown_character_set_are_read_in_the_default() {
    let check = |text: &[u8], default, expected: Result<&str, Problem>| {
        let mut index = Index::default();
        let message = Message::split(text, &mut index).unwrap();
        let decoder = Decoder::new(message, default);
        let path = Path::parse("PID-5").unwrap();
        let seen = decoder.map(|decoder| decoded(decoder, message.find(&path).unwrap().value()).0);
        assert_eq!(seen, expected.map(str::to_owned));
    };
    let latin1 = Charset::Iso8859(1);
    check(b"MSH|^~\\&|\rPID|||||Zo\xeb", latin1, Ok("Zoë"));
    check(b"MSH|^~\\&|\rPID|||||Zo\xc3\xab", latin1, Ok("Zoë"));
    check(
        b"MSH|^~\\&|\rPID|||||Zo\xeb",
        Charset::Utf8,
        Err(Problem::Undecodable { number: 2, charset: Charset::Utf8 }),
    );
    let missing = Problem::Undecodable { number: 3, charset: latin1 };
    check(b"MSH|^~\\&|\r\nPID|||||a\r\nPV1|Zo\x81", latin1, Err(missing));
}

/// The message as a tree of its parts: the text of each segment, field, repetition, component and subcomponent.
type Tree = Vec<(Vec<Vec<Vec<Vec<Vec<u8>>>>>, Vec<u8>)>;

/// Divides a message into its smallest parts. Each segment has its line end beside it.
fn tree(message: Message<'_>) -> Tree {
    let segments: Vec<Segment<'_>> = message.segments().collect();
    let mut at = 0;
    let mut tree = Tree::new();
    for (place, segment) in segments.iter().enumerate() {
        at += segment.text().len();
        let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let rest = &message.text()[at..];
        let length = if place + 1 == segments.len() { rest.len() } else { rest.iter().take_while(is_line_end).count() };
        let fields = segment.fields().map(|field| {
            let components = |repetition: Element<'_>| repetition.children().map(subcomponents).collect();
            field.children().map(components).collect()
        });
        tree.push((fields.collect(), rest[..length].to_vec()));
        at += length;
    }
    tree
}

fn subcomponents(component: Element<'_>) -> Vec<Vec<u8>> {
    component.children().map(|part| part.text().to_vec()).collect()
}

/// Writes the message whose parts are given. `names` are the names of the segments.
fn written(tree: &Tree, names: &[[u8; 3]], separators: Separators) -> Vec<u8> {
    let joined =
        |parts: Vec<Vec<u8>>, separator: Option<u8>| parts.join(&separator.into_iter().collect::<Vec<_>>()[..]);
    let field = |repetitions: &Vec<Vec<Vec<Vec<u8>>>>| {
        let component = |parts: &Vec<Vec<u8>>| joined(parts.clone(), separators.subcomponent);
        let repetition =
            |parts: &Vec<Vec<Vec<u8>>>| joined(parts.iter().map(component).collect(), separators.component);
        joined(repetitions.iter().map(repetition).collect(), separators.repetition)
    };
    let mut out = Vec::new();
    for ((fields, line_end), name) in tree.iter().zip(names) {
        out.extend_from_slice(name);
        // The first field of `MSH` is the separator itself.
        let first = usize::from(name == b"MSH");
        for part in fields.iter().skip(first).map(field) {
            out.push(separators.field);
            out.extend(part);
        }
        out.extend_from_slice(line_end);
    }
    out
}

/// Escapes a text, so that it can be written into a message.
fn escaped(text: &[u8], separators: Separators) -> Vec<u8> {
    let Separators { field, component, repetition, escape, subcomponent, truncation } = separators;
    let signs = [Some(field), component, repetition, escape, subcomponent, truncation];
    let mark = escape.unwrap();
    let mut out = Vec::new();
    for &byte in text {
        match signs.iter().position(|sign| *sign == Some(byte)) {
            Some(place) => out.extend([mark, b"FSRETP"[place], mark]),
            None if byte < b' ' => out.extend([&[mark][..], format!("X{byte:02X}").as_bytes(), &[mark]].concat()),
            None => out.push(byte),
        }
    }
    out
}

fn names(message: Message<'_>) -> Vec<[u8; 3]> {
    message.segments().map(|segment| *segment.text().first_chunk().unwrap()).collect()
}

/// Random text with many separators, escapes and names of segments.
fn message_like() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![Just("MSH|^~\\&"), Just("MSH|^~\\&#"), Just("MSH#*:?!"), Just("MSH|^"), Just("MSH|")];
    let piece = prop_oneof![
        8 => "[|^~&\\\\#*:?!a1\"]{0,6}",
        2 => prop_oneof![Just("\rPID|"), Just("\nOBX|"), Just("\r\nZP1"), Just("\rMSH|x"), Just("\\F\\"), Just("\\.br\\")]
            .prop_map(str::to_owned),
        1 => prop_oneof![Just("\r"), Just("\n"), Just("\\X0D\\"), Just("é"), Just("\rMSH"), Just("|8859/1")]
            .prop_map(str::to_owned),
    ];
    (header, vec(piece, 0..20), vec(any::<u8>(), 0..3))
        .prop_map(|(header, pieces, end)| [header.as_bytes(), pieces.concat().as_bytes(), &end].concat())
}

/// Divides a message into its smallest parts, and joins them again. Returns `None` if the text is not a message.
pub(crate) fn joined_again(text: &[u8]) -> Option<Vec<u8>> {
    let mut index = Index::default();
    let message = Message::split(text, &mut index).ok()?;
    Some(written(&tree(message), &names(message), message.separators()))
}

proptest! {
    #[test]
    fn the_parts_of_a_message_joined_again_are_the_message(text in message_like()) {
        if let Some(again) = joined_again(&text) {
            prop_assert_eq!(again.escape_ascii().to_string(), text.escape_ascii().to_string());
        }
    }

    #[test]
    fn an_escaped_text_is_decoded_to_itself(text in "[ -~\r\n\té€]{0,20}", header in prop_oneof![
        Just("MSH|^~\\&#|"), Just("MSH#*:?!\t#"), Just("MSH$%=-+_$"),
    ]) {
        let separators = Separators::read(header.as_bytes()).unwrap();
        let field = escaped(text.as_bytes(), separators);
        let row = [header.as_bytes(), &field].concat();
        let mut index = Index::default();
        let message = Message::split(&row, &mut index).unwrap();
        let path = Path::parse("MSH-3.1.1").unwrap();
        let value = message.find(&path).unwrap().value();
        // The text `""` is read as the delete marker, which is decoded to `""` again.
        prop_assert_eq!(decoded(Decoder::new(message, Charset::Utf8).unwrap(), value), (text, 0));
    }

    #[test]
    fn every_message_that_can_be_decoded_gives_valid_text(text in message_like()) {
        let mut index = Index::default();
        let Ok(message) = Message::split(&text, &mut index) else { return Ok(()) };
        let Ok(decoder) = Decoder::new(message, Charset::Iso8859(1)) else { return Ok(()) };
        for field in message.segments().flat_map(Segment::fields) {
            for part in field.children().flat_map(Element::children).flat_map(Element::children) {
                let (out, kept) = decoded(decoder, part.value());
                let escape = message.separators().escape.map(char::from);
                prop_assert!(kept as usize <= out.chars().filter(|&sign| Some(sign) == escape).count());
            }
        }
    }

    #[test]
    fn no_bytes_make_the_splitter_panic(text in vec(any::<u8>(), 0..60)) {
        let mut index = Index::default();
        let _ = Message::split(&[b"MSH", &text[..]].concat(), &mut index);
        let _ = Message::split(&text, &mut index);
    }
}
