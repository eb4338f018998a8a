use super::*;
use crate::parse::office::fixture::{check_survives_damage, rels, zip_of};

/// A presentation of slides, each given as what stands in its root element's tag and shape tree.
fn pptx(slides: &[(&str, &str)]) -> Vec<u8> {
    let ids: String =
        (0..slides.len()).map(|i| format!("<p:sldId id=\"256\" r:id=\"s{i}\"/>")).collect();
    let presentation = format!("<p:presentation><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>");
    let names: Vec<_> = (0..slides.len()).map(|i| format!("slides/slide{i}.xml")).collect();
    let slide_ids: Vec<_> = (0..slides.len()).map(|i| format!("s{i}")).collect();
    let mut relations: Vec<_> =
        slide_ids.iter().zip(&names).map(|(id, name)| (&**id, "slide", &**name)).collect();
    relations.push(("a1", "commentAuthors", "commentAuthors.xml"));
    let relations = rels(&relations);
    let root = rels(&[("r1", "officeDocument", "ppt/presentation.xml")]);
    let slide_relations = rels(&[
        ("r1", "slideLayout", "../slideLayouts/layout1.xml"),
        ("r2", "chart", "../charts/chart1.xml"),
        ("r3", "diagramData", "../diagrams/data1.xml"),
    ]);
    let first_relations = rels(&[
        ("r1", "slideLayout", "../slideLayouts/layout1.xml"),
        ("r4", "notesSlide", "../notes1.xml"),
        ("r5", "comments", "../comments1.xml"),
    ]);
    let layout_relations = rels(&[("r1", "slideMaster", "../master1.xml")]);
    let mut parts = vec![
        ("_rels/.rels".to_owned(), root),
        ("ppt/presentation.xml".to_owned(), presentation),
        ("ppt/_rels/presentation.xml.rels".to_owned(), relations),
        ("ppt/slideLayouts/layout1.xml".to_owned(), LAYOUT.to_owned()),
        ("ppt/slideLayouts/_rels/layout1.xml.rels".to_owned(), layout_relations),
        ("ppt/master1.xml".to_owned(), MASTER.to_owned()),
        ("ppt/notes1.xml".to_owned(), NOTES.to_owned()),
        ("ppt/comments1.xml".to_owned(), COMMENTS.to_owned()),
        ("ppt/commentAuthors.xml".to_owned(), AUTHORS.to_owned()),
        ("ppt/charts/chart1.xml".to_owned(), CHART.to_owned()),
        ("ppt/diagrams/data1.xml".to_owned(), DIAGRAM.to_owned()),
    ];
    for (i, (attributes, shapes)) in slides.iter().enumerate() {
        let xml = format!(
            "<p:sld {attributes}><p:cSld><p:spTree><p:nvGrpSpPr/>{shapes}</p:spTree></p:cSld>\
             </p:sld>"
        );
        parts.push((format!("ppt/slides/slide{i}.xml"), xml));
        // Only the last slide has notes and comments, so that one test sees them.
        let relations =
            if *attributes == "notes=\"1\"" { &first_relations } else { &slide_relations };
        parts.push((format!("ppt/slides/_rels/slide{i}.xml.rels"), relations.clone()));
    }
    let parts: Vec<_> = parts.iter().map(|(name, text)| (&**name, &**text)).collect();
    zip_of(&parts)
}

const LAYOUT: &str = "<p:sldLayout><p:cSld><p:spTree><p:sp><p:nvSpPr><p:nvPr>\
    <p:ph type=\"body\" idx=\"1\"/></p:nvPr></p:nvSpPr><p:spPr><a:xfrm><a:off x=\"0\" y=\"900\"/>\
    <a:ext cx=\"100\" cy=\"100\"/></a:xfrm></p:spPr></p:sp></p:spTree></p:cSld></p:sldLayout>";

const MASTER: &str = "<p:sldMaster><p:txStyles><p:bodyStyle><a:lvl1pPr><a:buChar char=\"o\"/>\
    </a:lvl1pPr></p:bodyStyle></p:txStyles></p:sldMaster>";

const NOTES: &str = "<p:notes><p:cSld><p:spTree><p:sp><p:nvSpPr><p:nvPr><p:ph type=\"sldImg\"/>\
    </p:nvPr></p:nvSpPr></p:sp><p:sp><p:nvSpPr><p:nvPr><p:ph type=\"body\"/></p:nvPr></p:nvSpPr>\
    <p:txBody><a:p><a:r><a:t>Parler lentement.</a:t></a:r></a:p></p:txBody></p:sp></p:spTree>\
    </p:cSld></p:notes>";

const COMMENTS: &str = "<p:cmLst><p:cm authorId=\"0\" dt=\"2024-01-05T10:00:00\">\
    <p:text>Bien</p:text></p:cm></p:cmLst>";

const AUTHORS: &str =
    "<p:cmAuthorLst><p:cmAuthor id=\"0\" name=\"Léa Roy\" initials=\"LR\"/></p:cmAuthorLst>";

const CHART: &str =
    "<c:chartSpace><c:chart><c:title><a:t>Ventes</a:t></c:title></c:chart></c:chartSpace>";

const DIAGRAM: &str = "<dgm:dataModel><dgm:ptLst><dgm:pt><dgm:t><a:p><a:r><a:t>Étape</a:t></a:r>\
    </a:p></dgm:t></dgm:pt></dgm:ptLst></dgm:dataModel>";

/// A shape at a height, with the XML of its placeholder and its paragraphs.
fn shape(y: u32, placeholder: &str, paragraphs: &str) -> String {
    format!(
        "<p:sp><p:nvSpPr><p:cNvPr id=\"1\"/><p:nvPr>{placeholder}</p:nvPr></p:nvSpPr><p:spPr>\
         <a:xfrm><a:off x=\"0\" y=\"{y}\"/><a:ext cx=\"10\" cy=\"10\"/></a:xfrm></p:spPr>\
         <p:txBody>{paragraphs}</p:txBody></p:sp>"
    )
}

fn a(properties: &str, text: &str) -> String {
    format!("<a:p><a:pPr>{properties}</a:pPr><a:r><a:t>{text}</a:t></a:r></a:p>")
}

fn parsed(slides: &[(&str, &str)]) -> Parsed {
    parse(&pptx(slides), &Limits::default()).unwrap()
}

fn check(shapes: &str, expected: &str) {
    let parsed = parsed(&[("", shapes)]);
    assert_eq!(parsed.pages, [Page { number: Some(1), text: expected.to_owned() }]);
}

#[test]
fn the_title_comes_first_and_shapes_by_their_place() {
    check(
        &[
            shape(500, "", &a("", "bas")),
            shape(100, "", &a("", "haut")),
            shape(
                300,
                "<p:ph type=\"ctrTitle\"/>",
                "<a:p><a:r><a:t>Bilan</a:t></a:r><a:br/>\
             <a:r><a:t>2024</a:t></a:r></a:p>",
            ),
        ]
        .concat(),
        "# Bilan 2024\n\nhaut\n\nbas",
    );
}

#[test]
fn placeholders_take_place_and_bullets_from_their_template() {
    let body = "<p:sp><p:nvSpPr><p:nvPr><p:ph idx=\"1\"/></p:nvPr></p:nvSpPr><p:spPr/><p:txBody>\
        <a:p><a:r><a:t>point</a:t></a:r></a:p></p:txBody></p:sp>";
    check(
        &[body, &shape(1000, "", &a("", "sous")), &shape(800, "", &a("", "sur"))].concat(),
        "sur\n\n- point\n\nsous",
    );
}

#[test]
fn numbers_and_levels_of_lists() {
    let number = "<a:buAutoNum type=\"arabicParenR\"/>";
    let deep = "<a:p><a:pPr lvl=\"1\"><a:buChar char=\"-\"/></a:pPr><a:r><a:t>b</a:t></a:r></a:p>";
    let none = a("<a:buNone/>", "fin");
    check(
        &shape(0, "", &[&a(number, "a"), deep, &a(number, "c"), &none].concat()),
        "1) a\n    - b\n2) c\n\nfin",
    );
}

#[test]
fn groups_stay_together() {
    let group = format!(
        "<p:grpSp><p:grpSpPr><a:xfrm><a:off x=\"0\" y=\"0\"/><a:ext cx=\"100\" cy=\"1000\"/>\
         <a:chOff x=\"0\" y=\"0\"/><a:chExt cx=\"100\" cy=\"1000\"/></a:xfrm></p:grpSpPr>{}{}\
         </p:grpSp>",
        shape(900, "", &a("", "deux")),
        shape(10, "", &a("", "un"))
    );
    check(&[group, shape(600, "", &a("", "trois"))].concat(), "un\n\ndeux\n\ntrois");
}

#[test]
fn tables_repeat_merged_cells() {
    let tc = |attributes: &str, text: &str| {
        format!("<a:tc {attributes}><a:txBody>{}</a:txBody></a:tc>", a("", text))
    };
    let table = format!(
        "<p:graphicFrame><a:graphic><a:graphicData><a:tbl><a:tr>{}{}</a:tr><a:tr>{}{}</a:tr>\
         </a:tbl></a:graphicData></a:graphic></p:graphicFrame>",
        tc("gridSpan=\"2\"", "A"),
        tc("hMerge=\"1\"", ""),
        tc("", "1"),
        tc("", "2"),
    );
    check(&table, "| A | A |\n| --- | --- |\n| 1 | 2 |");
}

#[test]
fn charts_and_diagrams_give_their_text() {
    let frame = |content: &str| {
        format!(
            "<p:graphicFrame><a:graphic><a:graphicData>{content}</a:graphicData></a:graphic>\
             </p:graphicFrame>"
        )
    };
    check(
        &[frame("<c:chart r:id=\"r2\"/>"), frame("<dgm:relIds r:dm=\"r3\"/>")].concat(),
        "Ventes\n\n- Étape",
    );
}

#[test]
fn of_two_versions_of_a_shape_one_is_read() {
    check(
        &format!(
            "<mc:AlternateContent><mc:Choice>{}</mc:Choice><mc:Fallback>{}</mc:Fallback>\
             </mc:AlternateContent>",
            shape(0, "", &a("", "neuf")),
            shape(0, "", &a("", "vieux"))
        ),
        "neuf",
    );
}

#[test]
fn footers_dates_and_slide_numbers_are_left_out() {
    let shapes: String = ["ftr", "dt", "sldNum"]
        .iter()
        .map(|role| shape(0, &format!("<p:ph type=\"{role}\"/>"), &a("", "répété")))
        .collect();
    check(&shapes, "");
}

#[test]
fn comments_and_notes_end_the_slide() {
    let shapes = shape(0, "", &a("", "texte"));
    assert_eq!(
        parsed(&[("notes=\"1\"", &shapes)]).pages[0].text,
        "texte\n\nComment [author: Léa Roy (LR), time: 2024-01-05T10:00:00]: Bien\n\n\
         Notes: Parler lentement."
    );
}

#[test]
fn hidden_slides_and_shapes_are_removed_and_reported() {
    let shown = shape(0, "", &a("", "vu"));
    let hidden = shown.replace("id=\"1\"", "id=\"1\" hidden=\"1\"");
    let parsed = parsed(&[("", &hidden), ("show=\"0\"", &shown), ("", &shown)]);
    let pages: Vec<_> = parsed.pages.iter().map(|it| (it.number, it.text.as_str())).collect();
    assert_eq!(pages, [(Some(1), ""), (Some(3), "vu")]);
    let kind = Hidden::Office;
    assert_eq!(parsed.findings, [Finding::InvisibleText { kind, n_chars: 4 }]);
}

#[test]
fn more_slides_than_allowed_are_refused() {
    let limits = Limits { pages_max: 1, ..Limits::default() };
    let error = parse(&pptx(&[("", ""), ("", "")]), &limits).unwrap_err();
    assert!(matches!(error, ParseError::OverLimit { .. }), "{error}");
}

#[test]
fn damaged_files_never_panic() {
    let valid = pptx(&[("", &shape(0, "<p:ph type=\"title\"/>", &a("", "Bilan")))]);
    check_survives_damage(&valid, |bytes| parse(bytes, &Limits::default()));
}
