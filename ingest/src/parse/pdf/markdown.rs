//! From lines and tables to Markdown: headings, paragraphs, lists, code.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::layout::{Block, Line};
use super::outline::Entry;
use super::table::Table;

/// How much larger than the body's a heading's size is, at least.
const HEADING_SIZE_MIN: f64 = 1.15;
/// Characters of the longest heading.
const HEADING_CHARS_MAX: usize = 160;
/// Lines of the longest heading.
const HEADING_LINES_MAX: usize = 3;
/// Pages on which the same heading makes it a running header.
const RUNNING_PAGES_MIN: usize = 3;
/// Outline entries of one page beyond which the rest is no table of contents.
const ENTRIES_PER_PAGE_MAX: usize = 200;
/// Deepest heading of Markdown.
const LEVEL_MAX: u8 = 6;

/// A page's paragraphs and tables.
#[derive(Debug)]
enum Part {
    Paragraph(Vec<Line>),
    Heading(u8, String),
    Table(Table),
}

/// Writes the pages as Markdown. Headings come from the outline where it names lines of the
/// text, else from size and weight.
pub(super) fn write(pages: Vec<Vec<Block>>, outline: &[Entry]) -> Vec<String> {
    let mut pages: Vec<Vec<Part>> = pages.into_iter().map(paragraphs).collect();
    if mark_by_outline(&mut pages, outline) == 0 {
        mark_by_style(&mut pages);
    }
    let is_typescript = is_mostly_monospaced(&pages);
    pages.iter().map(|parts| write_page(parts, is_typescript)).collect()
}

fn paragraphs(blocks: Vec<Block>) -> Vec<Part> {
    let mut res: Vec<Part> = Vec::new();
    for block in blocks {
        let lines = match block {
            Block::Table(table) => {
                res.push(Part::Table(table));
                continue;
            }
            Block::Lines(lines) => lines,
        };
        let leading = typical_leading(&lines);
        let left = lines.iter().map(|it| it.x0).fold(f64::INFINITY, f64::min);
        for line in lines.into_iter().filter(|line| !line.text.is_empty()) {
            match res.last_mut() {
                Some(Part::Paragraph(above)) if goes_on(above, &line, leading, left) => {
                    above.push(line);
                }
                _ => res.push(Part::Paragraph(vec![line])),
            }
        }
    }
    res
}

/// The usual distance between two baselines of a column.
fn typical_leading(lines: &[Line]) -> f64 {
    let mut gaps: Vec<f64> =
        lines.windows(2).map(|pair| pair[0].y - pair[1].y).filter(|gap| *gap > 0.0).collect();
    gaps.sort_by(f64::total_cmp);
    // Low, because gaps between paragraphs count too.
    gaps.get(gaps.len() / 3).copied().unwrap_or(f64::INFINITY)
}

/// Whether a line goes on with the paragraph above it.
fn goes_on(above: &[Line], line: &Line, leading: f64, left: f64) -> bool {
    let (Some(first), Some(last)) = (above.first(), above.last()) else { return false };
    let size = line.size.max(last.size);
    if line.size.min(last.size) < size * 0.9 || line.is_bold != last.is_bold {
        return false;
    }
    if starts_item(&line.text) {
        return false;
    }
    let gap = last.y - line.y;
    if gap <= 0.0 {
        // The next column goes on with a sentence that the last one left open.
        let is_open = last.text.ends_with('-') || last.text.ends_with(char::is_lowercase);
        return is_open && line.text.starts_with(char::is_lowercase);
    }
    let is_indented = line.x0 > left + 0.8 * size && last.x0 < left + 0.4 * size;
    let is_list = starts_item(&first.text);
    gap <= (leading * 1.35).max(size * 1.15).min(size * 2.2)
        && (!is_indented || is_list || line.is_monospaced)
}

const BULLETS: [char; 8] = ['•', '▪', '●', '◦', '‣', '■', '○', '∙'];

fn starts_item(text: &str) -> bool {
    let Some((mark, rest)) = text.split_once(' ') else { return false };
    let is_number = mark.len() <= 4
        && mark.ends_with(['.', ')'])
        && mark[..mark.len() - 1].bytes().all(|b| b.is_ascii_digit())
        && mark.len() > 1;
    (is_number || matches!(mark, "-" | "–" | "*") || text.starts_with(BULLETS)) && !rest.is_empty()
}

/// Turns the lines that the outline names into headings; returns how many there were.
fn mark_by_outline(pages: &mut [Vec<Part>], outline: &[Entry]) -> usize {
    let mut n_found = 0;
    let mut n_tried = vec![0usize; pages.len()];
    for entry in outline {
        if let Some(n) = n_tried.get_mut(entry.page_idx) {
            *n += 1;
            if *n > ENTRIES_PER_PAGE_MAX {
                continue;
            }
        }
        let title = letters(&entry.title);
        let Some(parts) = pages.get_mut(entry.page_idx).filter(|_| !title.is_empty()) else {
            continue;
        };
        let found = parts.iter().enumerate().find_map(|(idx, part)| {
            let Part::Paragraph(lines) = part else { return None };
            find_title(lines, &title).map(|(from, to)| (idx, from, to))
        });
        if let Some((idx, from, to)) = found {
            split_heading(parts, (idx, from, to), entry.level.clamp(1, LEVEL_MAX));
            n_found += 1;
        }
    }
    n_found
}

/// The lines of a paragraph that together are a title, with or without its number.
fn find_title(lines: &[Line], title: &str) -> Option<(usize, usize)> {
    for from in 0..lines.len() {
        let mut text = String::new();
        for (to, line) in lines.iter().enumerate().skip(from).take(HEADING_LINES_MAX) {
            text.push_str(&letters(&line.text));
            let number = text.strip_suffix(title);
            if number.is_some_and(|it| it.len() <= 8 && !it.contains(char::is_alphabetic)) {
                return Some((from, to + 1));
            }
            if text.len() > title.len() + 8 {
                break;
            }
        }
    }
    None
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Makes some lines of a paragraph a heading, and leaves the others as paragraphs around it.
fn split_heading(parts: &mut Vec<Part>, (idx, from, to): (usize, usize, usize), level: u8) {
    let Some(Part::Paragraph(lines)) = parts.get_mut(idx) else { return };
    let mut before = std::mem::take(lines);
    let after = before.split_off(to);
    let title = join(&before.split_off(from));
    let mut new = Vec::new();
    if !before.is_empty() {
        new.push(Part::Paragraph(before));
    }
    new.push(Part::Heading(level, title));
    if !after.is_empty() {
        new.push(Part::Paragraph(after));
    }
    parts.splice(idx..=idx, new);
}

fn join(lines: &[Line]) -> String {
    lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Half points, so that sizes can be counted.
fn half_points(size: f64) -> i64 {
    (size * 2.0).round() as i64
}

/// Turns what is set in larger or bolder type than the body into headings.
fn mark_by_style(pages: &mut [Vec<Part>]) {
    let mut by_size: BTreeMap<i64, usize> = BTreeMap::new();
    let (mut n_bold, mut n_all) = (0, 0);
    for line in lines(pages) {
        *by_size.entry(half_points(line.size)).or_default() += line.text.len();
        n_all += line.text.len();
        n_bold += if line.is_bold { line.text.len() } else { 0 };
    }
    let Some((&body, _)) = by_size.iter().max_by_key(|it| *it.1) else { return };
    let body = body as f64 / 2.0;
    let bold_counts = n_bold * 4 < n_all;
    let running = running_lines(pages);
    let rank = |lines: &[Line]| -> Option<i64> {
        let line = lines.first()?;
        let text = join(lines);
        let n_letters = text.chars().filter(|c| c.is_alphabetic()).count();
        let n_chars = text.chars().filter(|c| !c.is_whitespace()).count();
        let is_title = lines.len() <= HEADING_LINES_MAX
            && text.len() <= HEADING_CHARS_MAX
            && n_letters >= 3
            && n_letters * 2 > n_chars
            && !lines.iter().any(|it| it.is_monospaced)
            && !text.trim_start().starts_with(BULLETS)
            && !running.contains(&letters_only(&text));
        let is_large = line.size >= body * HEADING_SIZE_MIN;
        let is_bold = bold_counts
            && lines.iter().all(|it| it.is_bold)
            && line.size >= body * 0.95
            && !text.ends_with(['.', ',', ';', ':'])
            && text.split_whitespace().count() <= 14;
        match (is_title, is_large, is_bold) {
            (true, true, _) => Some(half_points(line.size)),
            (true, false, true) => Some(0),
            _ => None,
        }
    };
    let mut ranks: Vec<i64> = pages
        .iter()
        .flatten()
        .filter_map(|part| match part {
            Part::Paragraph(lines) => rank(lines),
            Part::Heading(..) | Part::Table(_) => None,
        })
        .collect();
    ranks.sort_unstable_by(|a, b| b.cmp(a));
    ranks.dedup();
    let levels: HashMap<i64, u8> =
        ranks.into_iter().zip((1..=LEVEL_MAX).chain(std::iter::repeat(LEVEL_MAX))).collect();
    for part in pages.iter_mut().flatten() {
        if let Part::Paragraph(lines) = part
            && let Some(level) = rank(lines).and_then(|it| levels.get(&it))
        {
            *part = Part::Heading(*level, join(lines));
        }
    }
}

fn lines(pages: &[Vec<Part>]) -> impl Iterator<Item = &Line> {
    pages.iter().flatten().flat_map(|part| match part {
        Part::Paragraph(lines) => lines.as_slice(),
        Part::Heading(..) | Part::Table(_) => &[],
    })
}

/// Lines that come back on page after page, without their numbers: headers and footers. They
/// stay in the text (a later stage removes them), but are no headings.
fn running_lines(pages: &[Vec<Part>]) -> HashSet<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for page in pages {
        let own: HashSet<String> =
            lines(std::slice::from_ref(page)).map(|line| letters_only(&line.text)).collect();
        for text in own {
            *counts.entry(text).or_default() += 1;
        }
    }
    counts.into_iter().filter(|it| it.1 >= RUNNING_PAGES_MIN).map(|it| it.0).collect()
}

fn letters_only(text: &str) -> String {
    text.chars().filter(|c| c.is_alphabetic()).collect()
}

/// Whether the document is typed throughout, so that fixed width does not mean code.
fn is_mostly_monospaced(pages: &[Vec<Part>]) -> bool {
    let (mut n_fixed, mut n_all) = (0, 0);
    for line in lines(pages) {
        n_all += line.text.len();
        n_fixed += if line.is_monospaced { line.text.len() } else { 0 };
    }
    n_fixed * 2 > n_all
}

fn write_page(parts: &[Part], is_typescript: bool) -> String {
    let mut res = String::new();
    let mut parts = parts.iter().peekable();
    while let Some(part) = parts.next() {
        if !res.is_empty() {
            res.push_str("\n\n");
        }
        match part {
            Part::Heading(level, title) => {
                res.push_str(&"#".repeat(usize::from(*level)));
                res.push(' ');
                res.push_str(title);
            }
            Part::Table(table) => write_table(table, &mut res),
            Part::Paragraph(lines) if is_code(lines) && !is_typescript => {
                let mut code: Vec<&Line> = lines.iter().collect();
                // Blank lines part code into paragraphs; together they are one listing.
                while let Some(Part::Paragraph(more)) = parts.next_if(|it| {
                    matches!(it, Part::Paragraph(lines) if lines.iter().all(|it| it.is_monospaced))
                }) {
                    code.extend(more);
                }
                write_code(&code, &mut res);
            }
            Part::Paragraph(lines) => write_paragraph(lines, &mut res),
        }
    }
    res
}

fn is_code(lines: &[Line]) -> bool {
    lines.len() >= 2 && lines.iter().all(|it| it.is_monospaced && !it.text.contains("```"))
}

fn write_code(lines: &[&Line], res: &mut String) {
    let left = lines.iter().map(|it| it.x0).fold(f64::INFINITY, f64::min);
    res.push_str("```\n");
    for line in lines {
        let n_chars = line.text.chars().count().max(1) as f64;
        let width = ((line.x1 - line.x0) / n_chars).max(1.0);
        let indent = ((line.x0 - left) / width).round().clamp(0.0, 40.0) as usize;
        res.push_str(&" ".repeat(indent));
        res.push_str(&line.text);
        res.push('\n');
    }
    res.push_str("```");
}

fn write_paragraph(lines: &[Line], res: &mut String) {
    for (i, line) in lines.iter().enumerate() {
        if i > 0 {
            res.push('\n');
        }
        let text = line.text.as_str();
        match text.strip_prefix(BULLETS).map(str::trim_start) {
            Some(item) if !item.is_empty() => {
                res.push_str("- ");
                res.push_str(item);
            }
            _ => {
                // What Markdown would take for a heading, a table or a quotation is text here.
                if text.starts_with(['#', '|', '>']) {
                    res.push('\\');
                }
                res.push_str(text);
            }
        }
    }
}

fn write_table(table: &Table, res: &mut String) {
    for (i, row) in table.rows.iter().enumerate() {
        if i > 0 {
            res.push('\n');
        }
        for cell in row {
            res.push_str("| ");
            res.push_str(&cell.replace('|', "\\|"));
            res.push(' ');
        }
        res.push('|');
        if i == 0 {
            res.push('\n');
            res.push_str(&"| --- ".repeat(row.len()));
            res.push('|');
        }
    }
}
