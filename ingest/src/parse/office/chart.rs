//! Charts and diagrams as text: what they say, not how they look.

use super::number_format::{Epoch, NumberFormat};
use super::text::{Block, Kind};
use super::xml::{NodeId, Tree};
use crate::parse::table::markdown_table;
use std::collections::BTreeMap;

/// The values of a series or the names of its categories, by position.
type Points = BTreeMap<u32, String>;

/// A chart (ISO/IEC 29500-1, 21.2, or Office's later `chartex`): title, type, and a table of its
/// categories and series.
pub(crate) fn chart(tree: &Tree) -> Vec<Block> {
    let Some(root) = tree.root() else { return Vec::new() };
    let mut blocks = Vec::new();
    if let Some(title) = tree.at(root, &["chart", "title"]) {
        let title = runs(tree, title);
        if !title.is_empty() {
            blocks.push(Block::paragraph(title));
        }
    }
    if let Some(kind) = chart_type(tree, root) {
        blocks.push(Block::paragraph(format!("{kind} chart")));
    }
    let rows = match tree.child(root, "chartData") {
        Some(data) => extended_rows(tree, data),
        None => classic_rows(tree, root),
    };
    let table = markdown_table(&rows);
    if !table.is_empty() {
        blocks.push(Block { kind: Kind::Table, text: table });
    }
    blocks
}

/// The text of a diagram (SmartArt; ISO/IEC 29500-1, 21.4): a list of its points.
pub(crate) fn diagram(tree: &Tree) -> Vec<Block> {
    let Some(list) = tree.root().and_then(|root| tree.child(root, "ptLst")) else {
        return Vec::new();
    };
    // Points of other types hold the layout's own placeholders.
    let is_content = |&point: &NodeId| matches!(tree.attr(point, "type"), None | Some("node"));
    tree.children_named(list, "pt")
        .filter(is_content)
        .filter_map(|point| tree.child(point, "t"))
        .map(|text| runs(tree, text))
        .filter(|text| !text.is_empty())
        .map(|text| Block::item(0, text))
        .collect()
}

/// The text of DrawingML paragraphs on one line; of a cached cell when there is no paragraph.
fn runs(tree: &Tree, node: NodeId) -> String {
    let texts = tree.descendants(node).filter(|&it| matches!(tree.name(it), "t" | "v"));
    let mut line = String::new();
    for text in texts {
        line.push_str(&tree.text(text));
    }
    super::text::one_line(&line)
}

/// `Bar`, `Line`, `Waterfall` …
fn chart_type(tree: &Tree, root: NodeId) -> Option<String> {
    let plot = tree.find(root, "plotArea")?;
    let name = match tree.find(plot, "series") {
        Some(series) => tree.attr(series, "layoutId")?,
        None => tree
            .children(plot)
            .find_map(|it| tree.name(it).strip_suffix("Chart"))?
            .trim_end_matches("3D"),
    };
    let mut chars = name.chars();
    Some(chars.next()?.to_uppercase().chain(chars).collect())
}

fn classic_rows(tree: &Tree, root: NodeId) -> Vec<Vec<String>> {
    let Some(plot) = tree.find(root, "plotArea") else { return Vec::new() };
    let mut categories = Points::new();
    let mut series = Vec::new();
    for ser in tree.descendants(plot).filter(|&it| tree.name(it) == "ser") {
        let points_of = |names: [&str; 2]| {
            let node = names.iter().find_map(|name| tree.child(ser, name));
            node.map(|node| points(tree, node)).unwrap_or_default()
        };
        if categories.is_empty() {
            categories = points_of(["cat", "xVal"]);
        }
        let name = tree.child(ser, "tx").map(|tx| runs(tree, tx)).unwrap_or_default();
        series.push((name, points_of(["val", "yVal"])));
    }
    table(&categories, &series)
}

/// The points of a cache. Categories of several levels give their innermost one.
fn points(tree: &Tree, node: NodeId) -> Points {
    let level = tree.find(node, "lvl").unwrap_or(node);
    let format = tree.find(node, "formatCode").map(|it| NumberFormat::parse(&tree.text(it)));
    let format = format.unwrap_or(NumberFormat::General);
    let mut points = Points::new();
    for pt in tree.descendants(level).filter(|&it| tree.name(it) == "pt") {
        let Some(position) = tree.attr(pt, "idx").and_then(|it| it.parse().ok()) else { continue };
        let text = tree.text(pt);
        let shown = match text.trim().parse::<f64>() {
            Ok(number) => format.show(number, Epoch::Y1900),
            Err(_) => text,
        };
        points.insert(position, shown);
    }
    points
}

fn extended_rows(tree: &Tree, data: NodeId) -> Vec<Vec<String>> {
    let names: Vec<String> = tree
        .root()
        .into_iter()
        .flat_map(|root| tree.descendants(root))
        .filter(|&it| tree.name(it) == "series")
        .map(|it| tree.child(it, "tx").map(|tx| series_name(tree, tx)).unwrap_or_default())
        .collect();
    let mut categories = Points::new();
    let mut series = Vec::new();
    for (i, data) in tree.children_named(data, "data").enumerate() {
        for dimension in tree.children(data) {
            match tree.name(dimension) {
                "strDim" if categories.is_empty() => categories = points(tree, dimension),
                "numDim" => {
                    let name = names.get(i).cloned().unwrap_or_default();
                    series.push((name, points(tree, dimension)));
                }
                _ => {}
            }
        }
    }
    table(&categories, &series)
}

/// A series' cached name, without the formula beside it.
fn series_name(tree: &Tree, tx: NodeId) -> String {
    tree.find(tx, "v").map(|it| tree.text(it)).unwrap_or_default()
}

/// A row for each category; series in columns.
fn table(categories: &Points, series: &[(String, Points)]) -> Vec<Vec<String>> {
    let mut header = vec![String::new()];
    header.extend(series.iter().map(|(name, _)| name.clone()));
    let mut rows: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (position, category) in categories {
        rows.insert(*position, vec![category.clone()]);
    }
    for (column, (_, points)) in series.iter().enumerate() {
        for (position, value) in points {
            let row = rows.entry(*position).or_insert_with(|| vec![String::new()]);
            row.resize(column + 1, String::new());
            row.push(value.clone());
        }
    }
    if rows.is_empty() {
        return Vec::new();
    }
    std::iter::once(header).chain(rows.into_values()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::office::text::markdown;

    #[test]
    fn a_chart_gives_title_type_and_table() {
        let tree = Tree::parse(
            "<c:chartSpace><c:chart><c:title><c:tx><c:rich><a:p><a:r><a:t>Effectifs</a:t></a:r>\
             </a:p></c:rich></c:tx></c:title><c:plotArea><c:bar3DChart><c:ser>\
             <c:tx><c:strRef><c:f>S!$B$1</c:f><c:strCache><c:pt idx=\"0\"><c:v>Lyon</c:v></c:pt>\
             </c:strCache></c:strRef></c:tx>\
             <c:cat><c:strCache><c:pt idx=\"0\"><c:v>2023</c:v></c:pt>\
             <c:pt idx=\"1\"><c:v>2024</c:v></c:pt></c:strCache></c:cat>\
             <c:val><c:numCache><c:formatCode>0%</c:formatCode>\
             <c:pt idx=\"1\"><c:v>0.5</c:v></c:pt></c:numCache></c:val></c:ser></c:bar3DChart>\
             </c:plotArea></c:chart></c:chartSpace>",
        )
        .unwrap();
        assert_eq!(
            markdown(&chart(&tree)),
            "Effectifs\n\nBar chart\n\n|  | Lyon |\n| --- | --- |\n| 2023 |  |\n| 2024 | 50% |"
        );
    }

    #[test]
    fn an_extended_chart_gives_its_data() {
        let tree = Tree::parse(
            "<cx:chartSpace><cx:chartData><cx:data><cx:strDim><cx:lvl>\
             <cx:pt idx=\"0\">T1</cx:pt></cx:lvl></cx:strDim><cx:numDim><cx:lvl>\
             <cx:pt idx=\"0\">12</cx:pt></cx:lvl></cx:numDim></cx:data></cx:chartData>\
             <cx:chart><cx:plotArea><cx:plotAreaRegion><cx:series layoutId=\"waterfall\">\
             <cx:tx><cx:txData><cx:f>A1</cx:f><cx:v>Ventes</cx:v></cx:txData></cx:tx>\
             </cx:series></cx:plotAreaRegion></cx:plotArea></cx:chart></cx:chartSpace>",
        )
        .unwrap();
        assert_eq!(
            markdown(&chart(&tree)),
            "Waterfall chart\n\n|  | Ventes |\n| --- | --- |\n| T1 | 12 |"
        );
    }

    #[test]
    fn a_diagram_gives_its_points_as_a_list() {
        let tree = Tree::parse(
            "<dgm:dataModel><dgm:ptLst><dgm:pt type=\"doc\"><dgm:t><a:t>no</a:t></dgm:t></dgm:pt>\
             <dgm:pt><dgm:t><a:p><a:r><a:t>Plan</a:t></a:r></a:p></dgm:t></dgm:pt>\
             <dgm:pt type=\"pres\"><dgm:t><a:t>no</a:t></dgm:t></dgm:pt></dgm:ptLst>\
             </dgm:dataModel>",
        )
        .unwrap();
        assert_eq!(markdown(&diagram(&tree)), "- Plan");
    }
}
