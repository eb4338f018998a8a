//! Tests of the whole parser, on files made here.

use lopdf::{
    Document, EncryptionState, EncryptionVersion, Object, Permissions, Stream, StringFormat,
    dictionary,
};
use proptest::prelude::*;

use super::*;

/// A document under construction: one A4 page for each content stream.
struct Draft {
    doc: Document,
    tree: ObjectId,
    pages: Vec<ObjectId>,
    resources: ObjectId,
}

impl Draft {
    fn new(contents: &[&str]) -> Self {
        let mut doc = Document::with_version("1.5");
        let tree = doc.new_object_id();
        let font = |name: &str| {
            dictionary! {
                "Type" => "Font", "Subtype" => "Type1", "BaseFont" => name,
                "Encoding" => "WinAnsiEncoding",
            }
        };
        let resources = doc.add_object(dictionary! {
            "Font" => dictionary! {
                "F1" => font("Helvetica"), "F2" => font("Helvetica-Bold"), "F3" => font("Courier"),
            },
        });
        let mut pages = Vec::new();
        for content in contents {
            // Accents are one byte each in the font's encoding.
            let bytes: Vec<u8> = content.chars().map(|c| u8::try_from(c).unwrap()).collect();
            let content = doc.add_object(Stream::new(Dictionary::new(), bytes));
            pages.push(doc.add_object(dictionary! {
                "Type" => "Page", "Parent" => tree, "Contents" => content,
                "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()],
                "Resources" => resources,
            }));
        }
        let kids: Vec<Object> = pages.iter().map(|id| (*id).into()).collect();
        let n = i64::try_from(kids.len()).unwrap();
        doc.set_object(tree, dictionary! { "Type" => "Pages", "Kids" => kids, "Count" => n });
        let catalog = doc.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
        doc.trailer.set("Root", catalog);
        Self { doc, tree, pages, resources }
    }

    fn catalog(&mut self) -> &mut Dictionary {
        self.doc.catalog_mut().unwrap()
    }

    fn page(&mut self, idx: usize) -> &mut Dictionary {
        self.doc.get_dictionary_mut(self.pages[idx]).unwrap()
    }

    /// Names an object in the resources of all pages.
    fn resource(&mut self, kind: &str, name: &str, value: impl Into<Object>) {
        let resources = self.doc.get_dictionary_mut(self.resources).unwrap();
        if !resources.has(kind.as_bytes()) {
            resources.set(kind, Dictionary::new());
        }
        let kinds = resources.get_mut(kind.as_bytes()).unwrap().as_dict_mut().unwrap();
        kinds.set(name, value);
    }

    fn image(&mut self) {
        let image = dictionary! {
            "Type" => "XObject", "Subtype" => "Image", "Width" => 1, "Height" => 1,
            "ColorSpace" => "DeviceGray", "BitsPerComponent" => 8,
        };
        let image = self.doc.add_object(Stream::new(image, vec![0]));
        self.resource("XObject", "Scan", image);
    }

    fn bytes(mut self) -> Vec<u8> {
        let mut res = Vec::new();
        self.doc.save_to(&mut res).unwrap();
        res
    }

    fn parse(self) -> Result<Parsed, ParseError> {
        read(&self.bytes(), &[])
    }
}

fn read(bytes: &[u8], passwords: &[&str]) -> Result<Parsed, ParseError> {
    let passwords: Vec<String> = passwords.iter().map(|it| (*it).to_owned()).collect();
    parse(bytes, &Limits::default(), &passwords, &|| false)
}

/// Shows lines of text: x, y, size, words.
fn lines(lines: &[(i32, i32, i32, &str)]) -> String {
    let show = |(x, y, size, text): &(i32, i32, i32, &str)| {
        format!("BT /F1 {size} Tf 1 0 0 1 {x} {y} Tm ({text}) Tj ET\n")
    };
    lines.iter().map(show).collect()
}

#[track_caller]
fn check(content: &str, expected: &str) {
    let parsed = Draft::new(&[content]).parse().unwrap();
    assert_eq!(parsed.pages, [Page { number: Some(1), text: expected.to_owned() }]);
    assert_eq!(parsed.findings, []);
}

/// What is left of a page that hides something, and how many characters were hidden.
#[track_caller]
fn check_hidden(content: &str, expected: &str, n_chars: usize) {
    let parsed = Draft::new(&[content]).parse().unwrap();
    assert_eq!(parsed.pages[0].text, expected);
    let finding = Finding::InvisibleText { kind: Hidden::Pdf, n_chars };
    assert_eq!(parsed.findings, [finding]);
}

#[test]
fn keeps_accents_line_breaks_and_paragraphs() {
    let content = lines(&[
        (70, 700, 11, "Les congés payés sont acquis à raison de deux jours. La rémuné-"),
        (70, 686, 11, "ration est versée le 28 du mois, à l\u{92}échéance."),
        (70, 650, 11, "Un autre paragraphe."),
    ]);
    // The apostrophe is byte 0x92 of the font's encoding.
    check(
        &content,
        "Les congés payés sont acquis à raison de deux jours. La rémuné-\n\
         ration est versée le 28 du mois, à l’échéance.\n\nUn autre paragraphe.",
    );
}

#[test]
fn finds_words_by_gaps_when_no_space_is_drawn() {
    check("BT /F1 10 Tf 70 700 Td [(No) -300 (spa) -20 (ce) -300 (here)] TJ ET", "No space here");
}

#[test]
fn takes_ligatures_apart() {
    let mut draft = Draft::new(&["BT /L 10 Tf 70 700 Td (de\\001nition) Tj ET"]);
    let encoding = dictionary! {
        "Type" => "Encoding", "BaseEncoding" => "WinAnsiEncoding",
        "Differences" => vec![1.into(), Object::Name(b"fi".to_vec())],
    };
    draft.resource(
        "Font",
        "L",
        dictionary! {
            "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Times-Roman",
            "Encoding" => encoding,
        },
    );
    assert_eq!(draft.parse().unwrap().pages[0].text, "definition");
}

#[test]
fn reads_a_column_to_its_end_before_the_next() {
    let mut all = vec![(
        70,
        780,
        11,
        "A title above that is as wide as both of the columns together are, no less",
    )];
    for (i, (left, right)) in [
        ("The first column begins in this line", "The second column begins in this line"),
        ("and it goes on with a line of words", "and goes on with another line of words"),
        ("that fill the column from side to side", "that fill the column from side to side"),
        ("as the lines of a column of text do", "as the lines of a column of text do"),
        ("until it ends with its last line here.", "until it ends with its last line there."),
    ]
    .into_iter()
    .enumerate()
    {
        let y = 740 - 14 * i32::try_from(i).unwrap();
        all.push((70, y, 11, left));
        all.push((310, y, 11, right));
    }
    let parsed = Draft::new(&[&lines(&all)]).parse().unwrap();
    let text = &parsed.pages[0].text;
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words} in {text}"));
    assert!(at("A title above") < at("The first column"));
    assert!(at("its last line here") < at("The second column"), "{text}");
}

#[test]
fn a_table_with_lines_becomes_pipe_rows() {
    let mut content = lines(&[
        (72, 706, 10, "Grade"),
        (172, 706, 10, "Prime"),
        (72, 686, 10, "Junior"),
        (172, 686, 10, "1 000"),
        (72, 666, 10, "a|b"),
        (172, 670, 6, "deux"),
        (172, 663, 6, "lignes"),
        (70, 600, 10, "Text below."),
    ]);
    for y in [720, 700, 680, 660] {
        content.push_str(&format!("70 {y} m 270 {y} l S\n"));
    }
    for x in [70, 170, 270] {
        content.push_str(&format!("{x} 660 m {x} 720 l S\n"));
    }
    check(
        &content,
        "| Grade | Prime |\n| --- | --- |\n| Junior | 1 000 |\n| a\\|b | deux lignes |\n\n\
         Text below.",
    );
}

#[test]
fn a_table_without_lines_becomes_pipe_rows() {
    let mut all = vec![(70, 740, 10, "Some text above the table, in a line of its own.")];
    for (i, row) in [["Ville", "Loyer", "Jours"], ["Lyon", "700", "25"], ["Paris", "1 100", "30"]]
        .into_iter()
        .enumerate()
    {
        for (j, cell) in row.into_iter().enumerate() {
            let (i, j) = (i32::try_from(i).unwrap(), i32::try_from(j).unwrap());
            all.push((70 + 120 * j, 700 - 15 * i, 10, cell));
        }
    }
    check(
        &lines(&all),
        "Some text above the table, in a line of its own.\n\n\
         | Ville | Loyer | Jours |\n| --- | --- | --- |\n| Lyon | 700 | 25 |\n\
         | Paris | 1 100 | 30 |",
    );
}

#[test]
fn a_list_is_no_table() {
    let content = lines(&[
        (70, 700, 10, "\u{95}"),
        (90, 700, 10, "First item"),
        (70, 685, 10, "\u{95}"),
        (90, 685, 10, "Second item"),
        (70, 670, 10, "\u{95}"),
        (90, 670, 10, "Third item"),
    ]);
    check(&content, "- First item\n\n- Second item\n\n- Third item");
}

#[test]
fn removes_text_that_is_not_painted() {
    let content = "BT /F1 10 Tf 70 700 Td (Seen) Tj 3 Tr 0 -50 Td (Ignore this) Tj ET";
    check_hidden(content, "Seen", 10);
}

#[test]
fn removes_text_in_the_colour_of_the_page() {
    let seen = lines(&[(70, 700, 10, "Seen")]);
    check_hidden(&format!("{seen} 1 g {}", lines(&[(70, 650, 10, "white")])), "Seen", 5);
    check_hidden(&format!("{seen} 0.99 1 1 rg {}", lines(&[(70, 650, 10, "white")])), "Seen", 5);
    check_hidden(&format!("{seen} 0 0 0 0 k {}", lines(&[(70, 650, 10, "white")])), "Seen", 5);
}

#[test]
fn removes_text_in_the_colour_of_the_box_below_it() {
    let hidden = format!("0 0 0.5 rg 60 640 200 30 re f {}", lines(&[(70, 650, 10, "blue")]));
    check_hidden(&format!("{} {hidden}", lines(&[(70, 700, 10, "Seen")])), "Seen", 4);
}

#[test]
fn removes_text_that_a_box_was_painted_over() {
    let content = lines(&[(70, 700, 10, "Seen"), (70, 650, 10, "covered")]);
    check_hidden(&format!("{content} 0 g 60 640 200 30 re f"), "Seen", 7);
}

#[test]
fn removes_text_too_small_or_outside_of_the_page() {
    let tiny = "BT /F1 0.2 Tf 70 600 Td (tiny) Tj ET";
    check_hidden(&format!("{} {tiny}", lines(&[(70, 700, 10, "Seen")])), "Seen", 4);
    check_hidden(&lines(&[(70, 700, 10, "Seen"), (70, 2000, 10, "off")]), "Seen", 3);
}

#[test]
fn keeps_white_text_on_a_dark_box() {
    let content = format!("0 g 60 690 200 30 re f 1 g {}", lines(&[(70, 700, 10, "White")]));
    check(&content, "White");
}

#[test]
fn keeps_text_inside_a_frame_of_its_own_colour() {
    let frame = "0 g 50 640 300 100 re 52 642 296 96 re f*";
    check(&format!("{frame} {}", lines(&[(70, 700, 10, "Framed")])), "Framed");
}

#[test]
fn keeps_white_text_on_an_image() {
    let content =
        format!("q 595 0 0 842 0 0 cm /Scan Do Q 1 g {}", lines(&[(70, 700, 10, "Cover")]));
    let mut draft = Draft::new(&[&content]);
    draft.image();
    assert_eq!(draft.parse().unwrap().pages[0].text, "Cover");
}

#[test]
fn removes_text_of_a_layer_that_is_off() {
    let content = format!(
        "/OC /L BDC {} EMC {}",
        lines(&[(70, 650, 10, "draft")]),
        lines(&[(70, 700, 10, "Seen")]),
    );
    let mut draft = Draft::new(&[&content]);
    let layer = draft.doc.add_object(dictionary! { "Type" => "OCG" });
    draft.resource("Properties", "L", layer);
    let off: Vec<Object> = vec![layer.into()];
    draft.catalog().set("OCProperties", dictionary! { "D" => dictionary! { "OFF" => off } });
    let parsed = draft.parse().unwrap();
    assert_eq!(parsed.pages[0].text, "Seen");
    assert_eq!(parsed.findings, [Finding::InvisibleText { kind: Hidden::Pdf, n_chars: 5 }]);
}

#[test]
fn keeps_the_text_that_ocr_laid_over_a_scan() {
    let content = "q 595 0 0 842 0 0 cm /Scan Do Q BT 3 Tr /F1 10 Tf 70 700 Td (Recognised) Tj ET";
    let mut draft = Draft::new(&[content]);
    draft.image();
    let parsed = draft.parse().unwrap();
    assert_eq!(parsed.pages[0].text, "Recognised");
    assert_eq!(parsed.findings, []);
}

/// A file of pages with its catalog in front, as many programs write it.
fn catalog_first(n_pages: usize) -> Vec<u8> {
    let kids: Vec<String> = (0..n_pages).map(|i| format!("{} 0 R", 10 + 2 * i)).collect();
    let mut res = format!(
        "%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n\
         2 0 obj\n<</Type/Pages/Kids[{}]/Count {n_pages}/MediaBox[0 0 595 842]\
         /Resources<</Font<</F1 3 0 R>>>>>>\nendobj\n\
         3 0 obj\n<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>\nendobj\n",
        kids.join(" ")
    );
    for i in 0..n_pages {
        let text = format!("BT /F1 11 Tf 70 700 Td (Page {i} of the rules.) Tj ET");
        let (page, content, len) = (10 + 2 * i, 11 + 2 * i, text.len());
        res += &format!(
            "{page} 0 obj\n<</Type/Page/Parent 2 0 R/Contents {content} 0 R>>\nendobj\n\
             {content} 0 obj\n<</Length {len}>>\nstream\n{text}\nendstream\nendobj\n"
        );
    }
    res += "trailer\n<</Root 1 0 R/Size 100>>\nstartxref\n0\n%%EOF\n";
    res.into_bytes()
}

/// A file that was cut short was once added without a word.
#[test]
fn a_pdf_that_lost_pages_says_how_many_were_read() {
    let whole = catalog_first(6);
    let at = whole.windows(8).position(|it| it == b"14 0 obj").unwrap();
    let parsed = read(&whole[..at], &[]).unwrap();
    assert_eq!(parsed.pages[1].text, "Page 1 of the rules.");
    let damaged = |what: &str| Finding::Damaged { what: what.to_owned() };
    assert_eq!(parsed.findings, [damaged("2 of 6 pages read")]);
    // Within the content of the third page.
    let parsed = read(&whole[..at + 80], &[]).unwrap();
    assert_eq!(parsed.findings, [damaged("2 of 6 pages read")]);
    let parsed = read(&whole, &[]).unwrap();
    let [Finding::Damaged { what }] = &parsed.findings[..] else { panic!("{parsed:?}") };
    assert!(what.starts_with("6 of 6 pages read; its list of objects is lost"), "{what}");
    let none = whole.windows(9).position(|it| it == b"11 0 obj\n").unwrap();
    let error = read(&whole[..none], &[]).unwrap_err().to_string();
    assert_eq!(error, "damaged: 0 of 6 pages read");
}

#[test]
fn drawings_without_text_are_not_an_empty_file() {
    let error = Draft::new(&["10 10 m 90 20 30 40 50 60 c S"]).parse().unwrap_err();
    assert!(matches!(error, ParseError::Drawings), "{error}");
    assert!(error.to_string().contains("no text layer"), "{error}");
    assert!(matches!(Draft::new(&[""]).parse(), Err(ParseError::Empty)));
}

#[test]
fn a_scan_without_text_is_an_error_and_a_scanned_page_a_finding() {
    let scan = "q 595 0 0 842 0 0 cm /Scan Do Q";
    let text = lines(&[(70, 700, 10, "Text")]);
    let mut draft = Draft::new(&[scan, scan]);
    draft.image();
    assert!(matches!(draft.parse(), Err(ParseError::Scan)));

    let mut draft = Draft::new(&[&text, scan, "", &text]);
    draft.image();
    let parsed = draft.parse().unwrap();
    let pages: Vec<_> = parsed.pages.iter().map(|it| (it.number, it.text.as_str())).collect();
    assert_eq!(pages, [(Some(1), "Text"), (Some(2), ""), (Some(3), ""), (Some(4), "Text")]);
    assert_eq!(parsed.findings, [Finding::NoTextLayer { pages: vec![2] }]);
}

#[test]
fn blank_pages_alone_are_empty() {
    assert!(matches!(Draft::new(&["", ""]).parse(), Err(ParseError::Empty)));
}

#[test]
fn turned_pages_read_like_upright_ones() {
    let content = lines(&[(70, 700, 10, "First line."), (70, 688, 10, "Second line.")]);
    for degrees in [90, 180, 270, -90, 450] {
        let mut draft = Draft::new(&[&content]);
        draft.page(0).set("Rotate", degrees);
        assert_eq!(draft.parse().unwrap().pages[0].text, "First line.\nSecond line.");
    }
}

#[test]
fn text_drawn_sideways_comes_after_the_lines() {
    let stamp = "BT /F1 10 Tf 0 1 -1 0 30 300 Tm (Stamp) Tj ET";
    let content =
        format!("{stamp} {}", lines(&[(70, 700, 10, "First line."), (70, 688, 10, "Second.")]));
    check(&content, "First line.\nSecond.\n\nStamp");
}

#[test]
fn right_to_left_text_comes_out_in_reading_order() {
    let mut draft = Draft::new(&["BT /H 10 Tf 70 700 Td (dcba) Tj ET"]);
    let map = "1 begincodespacerange <00> <FF> endcodespacerange \
        1 beginbfrange <61> <64> <05D0> endbfrange";
    let map = draft.doc.add_object(Stream::new(Dictionary::new(), map.into()));
    draft.resource(
        "Font",
        "H",
        dictionary! {
            "Type" => "Font", "Subtype" => "TrueType", "BaseFont" => "David", "ToUnicode" => map,
        },
    );
    assert_eq!(draft.parse().unwrap().pages[0].text, "אבגד");
}

#[test]
fn the_outline_makes_headings() {
    let content = lines(&[
        (70, 750, 11, "1. Congés"),
        (70, 730, 11, "Du texte."),
        (70, 700, 11, "Détail"),
        (70, 680, 11, "Encore."),
    ]);
    let mut draft = Draft::new(&[&content]);
    let page = draft.pages[0];
    let (root, first, inner) =
        (draft.doc.new_object_id(), draft.doc.new_object_id(), draft.doc.new_object_id());
    let to_page: Vec<Object> = vec![page.into(), "Fit".into()];
    draft.doc.set_object(
        first,
        dictionary! {
            "Title" => lopdf::text_string("Congés"), "Dest" => to_page.clone(), "First" => inner,
            // A ring, which must not be followed for ever.
            "Next" => first,
        },
    );
    draft.doc.set_object(
        inner,
        dictionary! {
            "Title" => lopdf::text_string("Détail"),
            "A" => dictionary! { "S" => "GoTo", "D" => to_page },
        },
    );
    draft.doc.set_object(root, dictionary! { "First" => first });
    draft.catalog().set("Outlines", root);
    assert_eq!(
        draft.parse().unwrap().pages[0].text,
        "# 1. Congés\n\nDu texte.\n\n## Détail\n\nEncore."
    );
}

#[test]
fn large_and_bold_lines_make_headings_without_an_outline() {
    let body = "Body text in a line that is long enough to be most of it.";
    let content = format!(
        "{} BT /F2 10 Tf 70 700 Td (Bold line) Tj ET {}",
        lines(&[(70, 750, 18, "Title"), (70, 720, 10, body)]),
        lines(&[(70, 680, 10, body), (70, 668, 10, "# not a heading")]),
    );
    check(&content, &format!("# Title\n\n{body}\n\n## Bold line\n\n{body}\n\\# not a heading"));
}

#[test]
fn fixed_width_lines_are_code_with_their_indent() {
    let content = format!(
        "{} BT /F3 10 Tf 70 700 Td (if x:) Tj 24 -12 Td (pass) Tj ET",
        lines(&[(70, 750, 10, "A long enough line of text in an ordinary font."),]),
    );
    check(&content, "A long enough line of text in an ordinary font.\n\n```\nif x:\n    pass\n```");
}

#[test]
fn what_is_typed_into_form_fields_is_read() {
    let mut draft = Draft::new(&[&lines(&[(70, 700, 10, "Nom :")])]);
    let look = dictionary! {
        "Type" => "XObject", "Subtype" => "Form", "Resources" => draft.resources,
        "BBox" => vec![0.into(), 0.into(), 100.into(), 20.into()],
    };
    let look =
        draft.doc.add_object(Stream::new(look, b"BT /F1 10 Tf 2 5 Td (Dupont) Tj ET".into()));
    let field = dictionary! {
        "Type" => "Annot", "Subtype" => "Widget", "AP" => dictionary! { "N" => look },
        "Rect" => vec![110.into(), 695.into(), 210.into(), 715.into()],
    };
    let field = draft.doc.add_object(field);
    draft.page(0).set("Annots", vec![field.into()]);
    assert_eq!(draft.parse().unwrap().pages[0].text, "Nom : Dupont");
}

#[test]
fn the_file_states_its_title_and_date() {
    let mut draft = Draft::new(&[&lines(&[(70, 700, 10, "Text")])]);
    let information = draft.doc.add_object(dictionary! {
        "Title" => lopdf::text_string("Règlement  intérieur"),
        "ModDate" => lopdf::text_string("D:20240229120000Z"),
    });
    draft.doc.trailer.set("Info", information);
    let parsed = draft.parse().unwrap();
    assert_eq!(parsed.title.as_deref(), Some("Règlement intérieur"));
    assert_eq!(parsed.metadata.modified, Some(1_709_208_000));
}

fn encrypted(password: &str) -> Vec<u8> {
    let mut draft = Draft::new(&[&lines(&[(70, 700, 10, "Secret text")])]);
    let id = Object::String(vec![7; 16], StringFormat::Hexadecimal);
    draft.doc.trailer.set("ID", vec![id.clone(), id]);
    let version = EncryptionVersion::V2 {
        document: &draft.doc,
        owner_password: "owner",
        user_password: password,
        key_length: 128,
        permissions: Permissions::all(),
    };
    let state = EncryptionState::try_from(version).unwrap();
    draft.doc.encrypt(&state).unwrap();
    draft.bytes()
}

#[test]
fn an_encrypted_file_opens_with_no_password_or_the_right_one() {
    let text = |parsed: Result<Parsed, ParseError>| parsed.unwrap().pages[0].text.clone();
    assert_eq!(text(read(&encrypted(""), &[])), "Secret text");
    assert_eq!(text(read(&encrypted("1234"), &["wrong", "1234"])), "Secret text");
    assert_eq!(text(read(&encrypted("1234"), &["owner"])), "Secret text");
    assert!(matches!(read(&encrypted("1234"), &[]), Err(ParseError::Encrypted)));
    assert!(matches!(read(&encrypted("1234"), &["wrong"]), Err(ParseError::WrongPassword)));
}

#[test]
fn damaged_files_are_reported() {
    assert!(matches!(read(b"", &[]), Err(ParseError::Empty)));
    for bytes in [&b"%PDF-1.7"[..], b"not a pdf", b"%PDF-1.4\nxref\n0 0\ntrailer<<>>", &[0; 4096]] {
        assert!(matches!(read(bytes, &[]), Err(ParseError::Corrupt { .. })));
    }
}

#[test]
fn limits_hold() {
    let text = lines(&[(70, 700, 10, "Text")]);
    let limits = Limits::default();
    let check = |bytes: &[u8], limits: Limits| {
        let parsed = parse(bytes, &limits, &[], &|| false);
        assert!(matches!(parsed, Err(ParseError::OverLimit { .. })), "{parsed:?}");
    };
    let two = Draft::new(&[&text, &text]).bytes();
    check(&two, Limits { pages_max: 1, ..limits });
    check(&two, Limits { text_bytes_max: 7, ..limits });
    check(&two, Limits { bytes_max: 100, ..limits });

    let mut bomb = Stream::new(Dictionary::new(), vec![b' '; 8 << 20]);
    bomb.compress().unwrap();
    assert!(bomb.content.len() < 1 << 16);
    let mut draft = Draft::new(&[&text]);
    let bomb = draft.doc.add_object(bomb);
    draft.page(0).set("Contents", bomb);
    check(&draft.bytes(), Limits { decompressed_bytes_max: 4 << 20, ..limits });
}

#[test]
fn a_cancelled_run_stops() {
    let bytes = Draft::new(&[&lines(&[(70, 700, 10, "Text")])]).bytes();
    let parsed = parse(&bytes, &Limits::default(), &[], &|| true);
    assert!(matches!(parsed, Err(ParseError::TimedOut { seconds: 60 })));
}

#[test]
fn rings_and_depth_end() {
    let text = lines(&[(70, 700, 10, "Text")]);
    // A form that draws itself, twice each time.
    let mut draft = Draft::new(&[&format!("{text} /X Do")]);
    let form = draft.doc.new_object_id();
    let look = dictionary! { "Type" => "XObject", "Subtype" => "Form" };
    draft.doc.set_object(form, Stream::new(look, b"/X Do /X Do".into()));
    draft.resource("XObject", "X", form);
    let parsed = draft.parse().unwrap();
    assert_eq!(parsed.pages[0].text, "Text");
    assert!(matches!(&parsed.findings[..], [Finding::LeftOut { .. }]));

    // A page tree that contains itself, and is its own parent.
    let mut draft = Draft::new(&[&text]);
    let (tree, page) = (draft.tree, draft.pages[0]);
    let node = draft.doc.get_dictionary_mut(tree).unwrap();
    node.set("Kids", vec![page.into(), tree.into()]);
    node.set("Parent", tree);
    assert_eq!(draft.parse().unwrap().pages[0].text, "Text");

    // Brackets and saved states without end.
    for deep in
        ["[".repeat(100_000), "q ".repeat(100_000), "(".repeat(100_000), "<<".repeat(100_000)]
    {
        let parsed = Draft::new(&[&format!("{text} {deep}")]).parse().unwrap();
        assert_eq!(parsed.pages[0].text, "Text");
    }
}

#[test]
fn absurd_numbers_are_survived() {
    for absurd in ["1e39", "-1e39", "99999999999999999999", "0", "0.00000000001"] {
        let content = format!(
            "{} {absurd} 0 0 {absurd} {absurd} 0 cm 0 0 {absurd} {absurd} re f \
             BT /F1 {absurd} Tf {absurd} Tz {absurd} Tc {absurd} {absurd} Td (far) Tj ET",
            lines(&[(70, 700, 10, "Text")]),
        );
        assert!(Draft::new(&[&content]).parse().unwrap().pages[0].text.starts_with("Text"));
    }
}

/// A file with a bit of everything, to damage.
fn varied() -> Vec<u8> {
    let page = "q 1 0 0 1 0 0 cm BT /F1 12 Tf 14 TL 70 700 Td [(Some) -300 (text)] TJ \
        T* (more) ' ET Q 70 600 m 270 600 l S 70 580 200 20 re f \
        BI /W 1 /H 1 /BPC 8 /CS /G ID x EI /Scan Do";
    let mut draft = Draft::new(&[page, page]);
    draft.image();
    draft.page(1).set("Rotate", 90);
    draft.bytes()
}

#[test]
fn a_file_cut_anywhere_is_no_panic() {
    let bytes = varied();
    assert!(read(&bytes, &[]).unwrap().pages[0].text.contains("Some text"));
    for end in 0..bytes.len() {
        // Any answer will do, as long as there is one.
        let _ = read(&bytes[..end], &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_file_with_flipped_bits_is_no_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..40),
    ) {
        let mut bytes = varied();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let _ = read(&bytes, &[]);
    }

    #[test]
    fn arbitrary_content_is_no_panic(content in "[ -~\n]{0,200}") {
        let _ = Draft::new(&[&content]).parse();
    }
}
