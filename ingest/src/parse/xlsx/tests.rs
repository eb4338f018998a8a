use super::*;
use crate::parse::office::fixture::{check_survives_damage, rels, zip_of};

const STRINGS: &str = "<sst><si><t>Poste</t></si><si><r><t>Jours </t></r><r><t>dus</t></r>\
    <rPh><t>no</t></rPh></si></sst>";

/// Styles 0 to 3: general, date, percentage, shown as nothing.
const STYLES: &str = "<styleSheet><numFmts><numFmt numFmtId=\"164\" formatCode=\";;;\"/></numFmts>\
    <cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/><xf numFmtId=\"9\"/><xf numFmtId=\"164\"/>\
    </cellXfs></styleSheet>";

const COMMENTS: &str = "<comments><authors><author>Léa</author><author>tc={1}</author></authors>\
    <commentList><comment ref=\"B2\" authorId=\"0\"><text><r><t>Sûr ?</t></r></text></comment>\
    <comment ref=\"C3\" authorId=\"1\"><text><t>[Threaded comment] no</t></text></comment>\
    </commentList></comments>";

const THREADS: &str = "<ThreadedComments><threadedComment ref=\"C3\" dT=\"2024-01-05T10:00:00.00\" \
    personId=\"{1}\"><text>Oui</text></threadedComment></ThreadedComments>";

const PERSONS: &str = "<personList><person displayName=\"Max\" id=\"{1}\"/></personList>";

/// A workbook of one sheet, `Congés`, with more sheets of the given state and content after it.
fn xlsx(sheet: &str, relations: &[(&str, &str, &str)], more: &[(&str, &str)]) -> Vec<u8> {
    let mut sheets = String::from("<sheet name=\"Congés\" r:id=\"s0\"/>");
    let mut links = vec![
        ("t1".to_owned(), "sharedStrings", "sharedStrings.xml".to_owned()),
        ("t2".to_owned(), "styles", "styles.xml".to_owned()),
        ("t3".to_owned(), "person", "persons/person.xml".to_owned()),
        ("s0".to_owned(), "worksheet", "worksheets/sheet0.xml".to_owned()),
    ];
    let mut parts = vec![
        ("xl/worksheets/sheet0.xml".to_owned(), format!("<worksheet>{sheet}</worksheet>")),
        ("xl/worksheets/_rels/sheet0.xml.rels".to_owned(), rels(relations)),
    ];
    for (i, (state, sheet)) in more.iter().enumerate() {
        let i = i + 1;
        sheets.push_str(&format!("<sheet name=\"F{i}\" state=\"{state}\" r:id=\"s{i}\"/>"));
        links.push((format!("s{i}"), "worksheet", format!("worksheets/sheet{i}.xml")));
        let name = format!("xl/worksheets/sheet{i}.xml");
        parts.push((name, format!("<worksheet>{sheet}</worksheet>")));
    }
    let links: Vec<_> = links.iter().map(|(id, kind, name)| (&**id, *kind, &**name)).collect();
    parts.extend(
        [
            ("_rels/.rels", rels(&[("r1", "officeDocument", "xl/workbook.xml")])),
            ("xl/workbook.xml", format!("<workbook><sheets>{sheets}</sheets></workbook>")),
            ("xl/_rels/workbook.xml.rels", rels(&links)),
            ("xl/sharedStrings.xml", STRINGS.to_owned()),
            ("xl/styles.xml", STYLES.to_owned()),
            ("xl/persons/person.xml", PERSONS.to_owned()),
            ("xl/comments1.xml", COMMENTS.to_owned()),
            ("xl/threadedComments/t1.xml", THREADS.to_owned()),
            ("xl/drawings/drawing1.xml", DRAWING.to_owned()),
            ("xl/drawings/_rels/drawing1.xml.rels", rels(&[("r1", "chart", "../chart1.xml")])),
            ("xl/chart1.xml", CHART.to_owned()),
        ]
        .map(|(name, text)| (name.to_owned(), text)),
    );
    let parts: Vec<_> = parts.iter().map(|(name, text)| (&**name, &**text)).collect();
    zip_of(&parts)
}

const DRAWING: &str = "<xdr:wsDr><xdr:sp><xdr:txBody><a:p><a:r><a:t>Bulle</a:t></a:r></a:p>\
    </xdr:txBody></xdr:sp><c:chart r:id=\"r1\"/></xdr:wsDr>";

const CHART: &str =
    "<c:chartSpace><c:chart><c:title><a:t>Ventes</a:t></c:title></c:chart></c:chartSpace>";

fn parsed(sheet: &str) -> Parsed {
    parse(&xlsx(sheet, &[], &[]), &Limits::default()).unwrap()
}

fn check(sheet: &str, expected: &str) {
    let parsed = parsed(sheet);
    let text = format!("## Congés{expected}");
    assert_eq!(parsed.pages, [Page { number: None, text }]);
}

fn hidden(n_chars: usize) -> Finding {
    Finding::InvisibleText { kind: Hidden::Office, n_chars }
}

#[test]
fn values_come_as_one_sees_them() {
    check(
        "<sheetData><row r=\"1\"><c r=\"A1\" t=\"s\"><v>0</v></c><c r=\"B1\" t=\"s\"><v>1</v></c>\
         <c t=\"inlineStr\"><is><t>Ici</t></is></c></row>\
         <row><c s=\"1\"><v>45296</v></c><c s=\"2\"><v>0.5</v></c><c t=\"b\"><v>1</v></c></row>\
         <row><c><f>A1+1</f><v>0.30000000000000004</v></c><c t=\"e\"><v>#N/A</v></c>\
         <c t=\"str\"><f>X</f><v>mot</v></c></row></sheetData>",
        "\n\n| Poste | Jours dus | Ici |\n| --- | --- | --- |\n| 2024-01-05 | 50% | TRUE |\n\
         | 0.3 | #N/A | mot |",
    );
}

#[test]
fn formulas_without_a_value_are_reported() {
    let parsed = parsed("<row><c><f>A1</f></c><c><v>1</v></c></row>");
    assert!(matches!(&parsed.findings[..], [Finding::LeftOut { what }] if what.starts_with('1')));
}

#[test]
fn hidden_rows_columns_and_cells_are_removed_and_reported() {
    let parsed = parsed(
        "<cols><col min=\"2\" max=\"2\" hidden=\"1\"/></cols>\
         <row r=\"1\"><c r=\"A1\"><v>1</v></c><c r=\"B1\"><v>22</v></c><c r=\"C1\"><v>3</v></c></row>\
         <row r=\"2\" hidden=\"1\"><c r=\"A2\"><v>444</v></c></row>\
         <row r=\"3\"><c r=\"A3\"><v>5</v></c><c r=\"C3\" s=\"3\"><v>6666</v></c></row>",
    );
    assert_eq!(parsed.pages[0].text, "## Congés\n\n| 1 | 3 |\n| --- | --- |\n| 5 |  |");
    assert_eq!(parsed.findings, [hidden(9)]);
}

#[test]
fn hidden_sheets_are_removed_and_reported() {
    let cell = "<row><c><v>12</v></c></row>";
    let bytes = xlsx(cell, &[], &[("hidden", cell), ("veryHidden", cell), ("visible", cell)]);
    let parsed = parse(&bytes, &Limits::default()).unwrap();
    assert_eq!(parsed.pages[0].text, "## Congés\n\n12\n\n## F3\n\n12");
    assert_eq!(parsed.findings, [hidden(4)]);
}

#[test]
fn comments_and_drawings_follow_the_tables() {
    let bytes = xlsx(
        "<row><c><v>1</v></c></row>",
        &[
            ("r1", "comments", "../comments1.xml"),
            ("r2", "threadedComment", "../threadedComments/t1.xml"),
            ("r3", "drawing", "../drawings/drawing1.xml"),
        ],
        &[],
    );
    assert_eq!(
        parse(&bytes, &Limits::default()).unwrap().pages[0].text,
        "## Congés\n\n1\n\nBulle\n\nVentes\n\nB2: Comment [author: Léa]: Sûr ?\n\n\
         C3: Comment [author: Max, time: 2024-01-05T10:00:00.00]: Oui"
    );
}

#[test]
fn one_cell_at_the_far_end_costs_no_grid() {
    check(
        "<row r=\"1\"><c r=\"A1\"><v>1</v></c></row>\
         <row r=\"1048576\"><c r=\"XFD1048576\"><v>2</v></c></row>\
         <mergeCells><mergeCell ref=\"A1:XFD1048576\"/></mergeCells>",
        "\n\n1\n\n2",
    );
}

#[test]
fn damaged_files_never_panic() {
    let valid = xlsx("<row><c s=\"1\"><v>45296</v></c><c t=\"s\"><v>1</v></c></row>", &[], &[]);
    check_survives_damage(&valid, |bytes| parse(bytes, &Limits::default()));
}
