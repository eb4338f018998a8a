use super::*;
use crate::parse::office::fixture::{check_survives_damage, rels, zip_of};

const STYLES: &str = "<w:styles>\
    <w:style w:styleId=\"Titre1\"><w:name w:val=\"heading 1\"/></w:style>\
    <w:style w:styleId=\"T\"><w:name w:val=\"Title\"/></w:style>\
    <w:style w:styleId=\"Code\"><w:name w:val=\"Source Code\"/></w:style>\
    <w:style w:styleId=\"Cache\"><w:name w:val=\"Cache\"/><w:rPr><w:vanish/></w:rPr></w:style>\
    </w:styles>";

const NUMBERING: &str = "<w:numbering><w:abstractNum w:abstractNumId=\"0\">\
    <w:lvl w:ilvl=\"0\"><w:numFmt w:val=\"decimal\"/><w:lvlText w:val=\"%1.\"/></w:lvl>\
    <w:lvl w:ilvl=\"1\"><w:numFmt w:val=\"bullet\"/><w:lvlText w:val=\"o\"/></w:lvl>\
    </w:abstractNum>\
    <w:num w:numId=\"1\"><w:abstractNumId w:val=\"0\"/></w:num></w:numbering>";

const NOTES: &str = "<w:footnotes><w:footnote w:id=\"0\" w:type=\"separator\"><w:p><w:r>\
    <w:t>no</w:t></w:r></w:p></w:footnote><w:footnote w:id=\"2\"><w:p><w:r>\
    <w:t>Sauf en août.</w:t></w:r></w:p></w:footnote></w:footnotes>";

const COMMENTS: &str = "<w:comments><w:comment w:id=\"7\" w:author=\"Léa\" w:initials=\"L\" \
    w:date=\"2024-01-05T10:00:00Z\"><w:p><w:r><w:t>À revoir</w:t></w:r></w:p></w:comment>\
    </w:comments>";

fn docx(body: &str) -> Vec<u8> {
    zip_of(&[
        ("_rels/.rels", &rels(&[("r1", "officeDocument", "word/document.xml")])),
        (
            "word/_rels/document.xml.rels",
            &rels(&[
                ("r1", "styles", "styles.xml"),
                ("r2", "numbering", "numbering.xml"),
                ("r3", "footnotes", "footnotes.xml"),
                ("r4", "comments", "comments.xml"),
                ("r5", "chart", "charts/chart1.xml"),
            ]),
        ),
        ("word/styles.xml", STYLES),
        ("word/numbering.xml", NUMBERING),
        ("word/footnotes.xml", NOTES),
        ("word/comments.xml", COMMENTS),
        (
            "word/charts/chart1.xml",
            "<c:chartSpace><c:chart><c:title><a:t>Ventes</a:t></c:title></c:chart></c:chartSpace>",
        ),
        ("word/document.xml", &format!("<w:document><w:body>{body}</w:body></w:document>")),
    ])
}

fn parsed(body: &str) -> Parsed {
    parse(&docx(body), &Limits::default()).unwrap()
}

/// A paragraph with properties and content.
fn p(properties: &str, content: &str) -> String {
    format!("<w:p><w:pPr>{properties}</w:pPr>{content}</w:p>")
}

fn r(text: &str) -> String {
    format!("<w:r><w:t xml:space=\"preserve\">{text}</w:t></w:r>")
}

fn style(id: &str) -> String {
    format!("<w:pStyle w:val=\"{id}\"/>")
}

fn list(level: u8) -> String {
    format!("<w:numPr><w:ilvl w:val=\"{level}\"/><w:numId w:val=\"1\"/></w:numPr>")
}

fn tc(properties: &str, text: &str) -> String {
    format!("<w:tc><w:tcPr>{properties}</w:tcPr>{}</w:tc>", p("", &r(text)))
}

/// Comments that nothing refers to close every document of these tests.
const REST: &str = "\n\nComment [author: Léa (L), time: 2024-01-05T10:00:00Z]: À revoir";

fn check(body: &str, expected: &str) {
    let parsed = parsed(body);
    assert_eq!(parsed.pages.len(), 1);
    assert_eq!(parsed.pages[0].number, None);
    let text = &parsed.pages[0].text;
    assert_eq!(text.strip_suffix(REST.trim_start()).unwrap_or(text).trim_end(), expected);
}

#[test]
fn headings_follow_styles_and_levels() {
    check(
        &[
            p(&style("Titre1"), &r("Congés")),
            p("<w:outlineLvl w:val=\"1\"/>", &r("Durée")),
            p("", &r("25 jours")),
        ]
        .concat(),
        "# Congés\n\n## Durée\n\n25 jours",
    );
}

#[test]
fn numbered_headings_carry_their_number() {
    check(&p(&format!("{}{}", style("Titre1"), list(0)), &r("Objet")), "# 1. Objet");
}

#[test]
fn a_list_goes_on_after_a_paragraph() {
    check(
        &[
            p(&list(0), &r("un")),
            p(&list(1), &r("point")),
            p("", &r("entre")),
            p(&list(0), &r("deux")),
        ]
        .concat(),
        "1. un\n    - point\n\nentre\n\n2. deux",
    );
}

#[test]
fn merged_cells_repeat_their_text() {
    let row = |cells: &[String]| format!("<w:tr>{}</w:tr>", cells.concat());
    check(
        &format!(
            "<w:tbl>{}{}{}</w:tbl>",
            row(&[tc("<w:gridSpan w:val=\"2\"/>", "A"), tc("", "B")]),
            row(&[tc("<w:vMerge w:val=\"restart\"/>", "v"), tc("", "x"), tc("", "1")]),
            row(&[tc("<w:vMerge/>", ""), tc("", "y"), tc("", "2")]),
        ),
        "| A | A | B |\n| --- | --- | --- |\n| v | x | 1 |\n| v | y | 2 |",
    );
}

#[test]
fn a_table_in_a_cell_stays_in_that_cell() {
    let inner = format!("<w:tbl><w:tr>{}{}</w:tr></w:tbl>", tc("", "a"), tc("", "b"));
    let outer = format!("<w:tc>{inner}<w:p/></w:tc>{}", tc("", "c"));
    check(&format!("<w:tbl><w:tr>{outer}</w:tr></w:tbl>"), "| a b | c |\n| --- | --- |");
}

#[test]
fn a_frame_of_one_cell_is_no_table() {
    let cell = format!("<w:tc>{}{}</w:tc>", p(&style("Titre1"), &r("Note")), p("", &r("texte")));
    check(&format!("<w:tbl><w:tr>{cell}</w:tr></w:tbl>"), "# Note\n\ntexte");
}

#[test]
fn deletions_go_and_insertions_stay() {
    check(
        &p(
            "",
            "<w:del><w:r><w:delText>30</w:delText></w:r></w:del>\
             <w:ins><w:r><w:t>25</w:t></w:r></w:ins>\
             <w:moveFrom><w:r><w:t>non</w:t></w:r></w:moveFrom><w:r><w:t> jours</w:t></w:r>",
        ),
        "25 jours",
    );
}

#[test]
fn a_paragraph_whose_end_was_deleted_goes_on_with_the_next() {
    check(&[p("<w:rPr><w:del/></w:rPr>", &r("a")), p("", &r("b"))].concat(), "ab");
}

#[test]
fn deleted_rows_go() {
    let deleted = format!("<w:tr><w:trPr><w:del/></w:trPr>{}{}</w:tr>", tc("", "x"), tc("", "y"));
    let kept = format!("<w:tr>{}{}</w:tr>", tc("", "a"), tc("", "b"));
    check(&format!("<w:tbl>{kept}{deleted}</w:tbl>"), "| a | b |\n| --- | --- |");
}

#[test]
fn hidden_text_is_removed_and_reported() {
    let run = |properties: &str| format!("<w:r><w:rPr>{properties}</w:rPr><w:t>secret</w:t></w:r>");
    let body = [
        p("", &[r("vu"), run("<w:vanish/>"), run("<w:rStyle w:val=\"Cache\"/>")].concat()),
        p(&style("Cache"), &run("")),
        p(&style("Cache"), &run("<w:vanish w:val=\"false\"/>")),
    ]
    .concat();
    let parsed = parsed(&body);
    assert_eq!(parsed.pages[0].text, format!("vu\n\nsecret{REST}"));
    let kind = Hidden::Office;
    assert_eq!(parsed.findings, [Finding::InvisibleText { kind, n_chars: 18 }]);
}

#[test]
fn text_boxes_are_read_once() {
    let content = format!("<w:txbxContent>{}</w:txbxContent>", p("", &r("boîte")));
    let drawing = format!(
        "<w:r><mc:AlternateContent><mc:Choice Requires=\"wps\">{content}</mc:Choice>\
         <mc:Fallback>{content}</mc:Fallback></mc:AlternateContent></w:r>"
    );
    check(&p("", &[r("avant"), drawing, r(" après")].concat()), "avant après\n\nboîte");
}

#[test]
fn notes_and_comments_follow_the_paragraph_that_refers_to_them() {
    let references = "<w:r><w:footnoteReference w:id=\"2\"/><w:commentReference w:id=\"7\"/></w:r>";
    let body = [p("", &[r("Ouvert"), references.to_owned()].concat()), p("", &r("fin"))].concat();
    assert_eq!(
        parsed(&body).pages[0].text,
        "Ouvert[^1]\n\n[^1]: Sauf en août.\n\n\
         Comment [author: Léa (L), time: 2024-01-05T10:00:00Z]: À revoir\n\nfin"
    );
}

#[test]
fn fields_links_breaks_and_hyphens_give_what_one_sees() {
    check(
        &p(
            "",
            "<w:r><w:fldChar w:fldCharType=\"begin\"/></w:r>\
             <w:r><w:instrText>PAGEREF x</w:instrText></w:r>\
             <w:hyperlink r:id=\"r9\"><w:r><w:t>lien</w:t></w:r></w:hyperlink>\
             <w:r><w:noBreakHyphen/><w:t>a</w:t><w:br/><w:t>b</w:t><w:tab/><w:t>c</w:t></w:r>",
        ),
        "lien-a\nb\tc",
    );
}

#[test]
fn check_boxes_show_their_state() {
    let checkbox = |state: u8| {
        format!(
            "<w:sdt><w:sdtPr><w14:checkbox><w14:checked w14:val=\"{state}\"/></w14:checkbox>\
             </w:sdtPr><w:sdtContent>{}</w:sdtContent></w:sdt>",
            r("☒")
        )
    };
    check(
        &[p("", &[checkbox(1), r(" oui")].concat()), p("", &[checkbox(0), r(" non")].concat())]
            .concat(),
        "[x] oui\n\n[ ] non",
    );
}

#[test]
fn equations_are_latex() {
    let equation = "<m:oMath><m:r><m:t>a=b</m:t></m:r></m:oMath>";
    check(
        &[
            p("", &[r("si "), equation.repeat(2)].concat()),
            p("", &format!("<m:oMathPara>{equation}{equation}</m:oMathPara>")),
        ]
        .concat(),
        "si $a=b$ $a=b$\n\n$$a=b$$\n$$a=b$$",
    );
}

#[test]
fn code_keeps_its_lines() {
    check(
        &[p(&style("Code"), &r("if a:")), p(&style("Code"), &r("    b"))].concat(),
        "```\nif a:\n    b\n```",
    );
}

#[test]
fn charts_follow_their_paragraph() {
    check(
        &p("", &[r("Voir"), "<w:drawing><c:chart r:id=\"r5\"/></w:drawing>".to_owned()].concat()),
        "Voir\n\nVentes",
    );
}

#[test]
fn pages_are_those_that_word_laid_out() {
    let page_break = "<w:r><w:lastRenderedPageBreak/></w:r>";
    let body = [
        p("", &r("un")),
        p("", &[page_break.to_owned(), r("deux")].concat()),
        p("", &[r("à cheval"), page_break.to_owned(), r(" ici")].concat()),
        p("", &r("trois")),
    ]
    .concat();
    let parsed = parsed(&body);
    let pages: Vec<_> = parsed.pages.iter().map(|it| (it.number, it.text.as_str())).collect();
    let last = format!("trois{REST}");
    assert_eq!(pages, [(Some(1), "un"), (Some(2), "deux\n\nà cheval ici"), (Some(3), &last)]);
}

#[test]
fn a_table_over_two_pages_repeats_its_header() {
    let row = |inside: &str, a: &str| {
        let cell = format!("<w:tc>{}</w:tc>", p("", &format!("<w:r>{inside}</w:r>{}", r(a))));
        format!("<w:tr>{cell}{}</w:tr>", tc("", "x"))
    };
    let body = format!(
        "<w:tbl>{}{}{}</w:tbl>",
        row("", "h"),
        row("", "a"),
        row("<w:lastRenderedPageBreak/>", "b")
    );
    let parsed = parsed(&body);
    assert_eq!(parsed.pages[0].text, "| h | x |\n| --- | --- |\n| a | x |");
    assert!(parsed.pages[1].text.starts_with("| h | x |\n| --- | --- |\n| b | x |"));
}

#[test]
fn the_title_paragraph_names_the_document() {
    assert_eq!(parsed(&p(&style("T"), &r("Règlement"))).title.as_deref(), Some("Règlement"));
}

#[test]
fn embedded_documents_are_reported() {
    let what = "embedded documents of other formats: 1".to_owned();
    assert_eq!(parsed("<w:altChunk r:id=\"r9\"/>").findings, [Finding::LeftOut { what }]);
}

#[test]
fn more_text_than_allowed_is_refused() {
    let limits = Limits { text_bytes_max: 100, ..Limits::default() };
    let wide = format!(
        "<w:tbl><w:tr>{}</w:tr></w:tbl>",
        tc("<w:gridSpan w:val=\"1000000\"/>", "0123456789")
    );
    for body in [p("", &r(&"x".repeat(200))), wide] {
        let error = parse(&docx(&body), &limits).unwrap_err();
        assert!(matches!(error, ParseError::OverLimit { .. }), "{error}");
    }
}

#[test]
fn odd_nesting_gives_an_answer() {
    for body in [
        "<w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc>",
        "<w:tr/><w:tbl><w:p/></w:tbl>",
        "<w:r><w:t>a</w:t></w:r>",
        "<w:p><w:p><w:r><w:t>a</w:t></w:r></w:p></w:p>",
        "<w:txbxContent/><mc:Choice/>",
        &format!("{}{}", "<w:tbl><w:tr><w:tc>".repeat(200), "</w:tc></w:tr></w:tbl>".repeat(200)),
    ] {
        parsed(body);
    }
}

#[test]
fn damaged_files_never_panic() {
    let valid = docx(&[p(&list(0), &r("un")), p("", &r("deux"))].concat());
    check_survives_damage(&valid, |bytes| parse(bytes, &Limits::default()));
}
