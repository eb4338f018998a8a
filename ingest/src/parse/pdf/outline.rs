//! The document's outline ("bookmarks"), title and date (ISO 32000-1, 12.3.3 and 14.3.3).

use std::collections::{HashMap, HashSet};

use lopdf::{Dictionary, Document, Object, ObjectId, decode_text_string};

use super::geometry::resolve;

/// Entries beyond which the rest of an outline is not read.
const ENTRIES_MAX: usize = 10_000;
/// Names looked up in name trees.
const NAME_NODES_MAX: usize = 100_000;

/// One line of the outline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// 1 for the outermost.
    pub(super) level: u8,
    pub(super) title: String,
    /// Index of the page that it leads to.
    pub(super) page_idx: usize,
}

/// The outline in order, without the entries that lead to no page.
pub(super) fn read(doc: &Document, pages: &[ObjectId]) -> Vec<Entry> {
    let root = || doc.catalog().ok()?.get_deref(b"Outlines", doc).ok()?.as_dict().ok();
    let Some(root) = root() else { return Vec::new() };
    let page_idx: HashMap<ObjectId, usize> =
        pages.iter().enumerate().map(|(idx, id)| (*id, idx)).collect();
    let names = named_destinations(doc);
    let mut res = Vec::new();
    let mut seen = HashSet::new();
    // Brothers and children wait on a stack, so that depth costs no recursion.
    let mut open: Vec<(&Object, u8)> =
        root.get(b"First").ok().map(|it| (it, 1)).into_iter().collect();
    while let Some((object, level)) = open.pop() {
        let is_new = object.as_reference().is_ok_and(|id| seen.insert(id));
        if !is_new || seen.len() > ENTRIES_MAX {
            continue;
        }
        let Some(Ok(item)) = resolve(doc, object).map(Object::as_dict) else { continue };
        open.extend(item.get(b"Next").ok().map(|it| (it, level)));
        open.extend(item.get(b"First").ok().map(|it| (it, level.saturating_add(1))));
        let title = item.get_deref(b"Title", doc).ok().and_then(|it| decode_text_string(it).ok());
        let page = destination(doc, item, &names).and_then(|it| match it {
            Object::Integer(idx) => usize::try_from(*idx).ok().filter(|it| *it < pages.len()),
            other => page_idx.get(&other.as_reference().ok()?).copied(),
        });
        if let (Some(title), Some(page_idx)) = (title, page) {
            res.push(Entry { level, title, page_idx });
        }
    }
    res
}

/// The page that an outline item leads to: a reference, or an index.
fn destination<'a>(
    doc: &'a Document,
    item: &'a Dictionary,
    names: &HashMap<Vec<u8>, &'a Object>,
) -> Option<&'a Object> {
    let direct = item.get_deref(b"Dest", doc).ok();
    let action = || item.get_deref(b"A", doc).ok()?.as_dict().ok()?.get_deref(b"D", doc).ok();
    let mut target = direct.or_else(action)?;
    for _ in 0..4 {
        target = match target {
            Object::Array(items) => return items.first(),
            Object::Dictionary(dict) => dict.get_deref(b"D", doc).ok()?,
            Object::Name(name) | Object::String(name, _) => names.get(name)?,
            _ => return None,
        };
    }
    None
}

/// Destinations by name, from both places that files keep them in.
fn named_destinations(doc: &Document) -> HashMap<Vec<u8>, &Object> {
    let mut res = HashMap::new();
    let Ok(catalog) = doc.catalog() else { return res };
    if let Ok(dests) = catalog.get_deref(b"Dests", doc).and_then(Object::as_dict) {
        for (name, value) in dests.iter() {
            res.extend(resolve(doc, value).map(|value| (name.clone(), value)));
        }
    }
    let tree = catalog.get_deref(b"Names", doc).and_then(Object::as_dict);
    let mut open: Vec<&Object> =
        tree.ok().and_then(|it| it.get(b"Dests").ok()).into_iter().collect();
    let mut seen = HashSet::new();
    while let Some(object) = open.pop() {
        if seen.len() > NAME_NODES_MAX || object.as_reference().is_ok_and(|id| !seen.insert(id)) {
            continue;
        }
        let Some(Ok(node)) = resolve(doc, object).map(Object::as_dict) else { continue };
        if let Ok(kids) = node.get_deref(b"Kids", doc).and_then(Object::as_array) {
            open.extend(kids.iter().filter(|kid| kid.as_reference().is_ok()));
        }
        if let Ok(pairs) = node.get_deref(b"Names", doc).and_then(Object::as_array) {
            for pair in pairs.chunks_exact(2) {
                if let (Ok(name), Some(value)) = (pair[0].as_str(), resolve(doc, &pair[1])) {
                    res.insert(name.to_vec(), value);
                }
            }
        }
    }
    res
}

/// The title that the file states, unless it is the name of a file or of the program.
pub(super) fn title(doc: &Document) -> Option<String> {
    let title = decode_text_string(information(doc)?.get_deref(b"Title", doc).ok()?).ok()?;
    let title = title.strip_prefix("Microsoft Word - ").unwrap_or(&title);
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let lower = title.to_lowercase();
    let extensions = [
        ".pdf", ".doc", ".docx", ".odt", ".dvi", ".tex", ".indd", ".ppt", ".pptx", ".xls", ".xlsx",
    ];
    let is_file_name = extensions.iter().any(|it| lower.ends_with(it));
    let is_empty =
        matches!(lower.as_str(), "" | "untitled" | "(anonymous)" | "sans titre" | "document1");
    (!is_file_name && !is_empty).then_some(title)
}

/// When the file was last changed, else created, in seconds since 1970.
pub(super) fn modified(doc: &Document) -> Option<i64> {
    let information = information(doc)?;
    [b"ModDate".as_slice(), b"CreationDate"].into_iter().find_map(|key| {
        let date = decode_text_string(information.get_deref(key, doc).ok()?).ok()?;
        parse_date(&date)
    })
}

fn information(doc: &Document) -> Option<&Dictionary> {
    doc.trailer.get_deref(b"Info", doc).ok()?.as_dict().ok()
}

/// `D:YYYYMMDDHHmmSSOHH'mm'`, of which everything after the year may be missing
/// (ISO 32000-1, 7.9.4).
fn parse_date(date: &str) -> Option<i64> {
    let date = date.trim();
    let date = date.strip_prefix("D:").unwrap_or(date);
    let n_digits = date.bytes().take_while(u8::is_ascii_digit).count().min(14);
    let (digits, zone) = date.split_at(n_digits);
    let field = |from: usize, to: usize, default: i8| match digits.get(from..to) {
        Some(field) => field.parse().ok(),
        None => Some(default),
    };
    let year = digits.get(..4)?.parse().ok()?;
    let date = jiff::civil::DateTime::new(
        year,
        field(4, 6, 1)?,
        field(6, 8, 1)?,
        field(8, 10, 0)?,
        field(10, 12, 0)?,
        field(12, 14, 0)?.min(59),
        0,
    )
    .ok()?;
    let utc = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    let sign = match zone.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some(utc),
    };
    let offset: Vec<i64> =
        zone[1..].split('\'').map_while(|part| part.parse().ok()).take(2).collect();
    let hours = offset.first().copied().unwrap_or(0).clamp(0, 24);
    let minutes = offset.get(1).copied().unwrap_or(0).clamp(0, 60);
    Some(utc - sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_seconds_of_utc() {
        for (date, expected) in [
            ("D:19700102000000Z", Some(86_400)),
            ("D:20240229120000+01'00'", Some(1_709_204_400)),
            ("D:20240229120000-05'30", Some(1_709_227_800)),
            ("D:2024", Some(1_704_067_200)),
            ("20240229", Some(1_709_164_800)),
            ("D:20240230", None),
            ("D:20é4", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse_date(date), expected, "{date}");
        }
    }
}
