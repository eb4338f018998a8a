//! What a Markdown file states of itself above its text.
//!
//! TOML (`+++`) goes through the `toml` crate. YAML (`---`) is read by hand, because the front
//! matter of real handbooks often is not YAML: `title: Congés : mode d'emploi` is an error to a
//! YAML parser and would cost the whole block, and none of the aliases, anchors and tags that a
//! parser adds belongs here. Read are `key: value` at the margin, `[a, b]` and `- a` lists; what
//! is nested below another key is passed over.

use std::borrow::Cow;

use crate::document::{Finding, Language, Metadata};
use crate::parse::ParseError;
use crate::parse::text::written_date;

/// Front matter beyond this is text that happens to stand between two rules.
const BYTES_MAX: usize = 64 << 10;

/// Keys that date a file, the most telling first.
const DATE_KEYS: [&str; 9] = [
    "last_modified",
    "last_modified_at",
    "lastmod",
    "modified",
    "updated",
    "updated_at",
    "last_updated",
    "last_update",
    "date",
];

/// Keys that restrict who may read a file.
const GROUP_KEYS: [&str; 2] = ["groups", "access_groups"];

/// Keys that are not ours but were surely meant to restrict who may read a file. A document that
/// has one is not read: a slip must not publish it. Other misspellings of `groups` count too.
const NEAR_GROUP_KEYS: [&str; 12] = [
    "group",
    "groupe",
    "groupes",
    "groupe_acces",
    "groupes_acces",
    "acces",
    "access",
    "acl",
    "allowed_groups",
    "droits",
    "readers",
    "restricted_to",
];

/// A text divided into what it states of itself and the rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FrontMatter<'a> {
    pub(super) metadata: Metadata,
    /// The text below.
    pub(super) body: Cow<'a, str>,
    /// What could not be read. Front matter that is no front matter at all is part of the body,
    /// as code, so that none of it becomes a heading.
    pub(super) findings: Vec<Finding>,
}

/// Takes the front matter off a text.
///
/// # Errors
///
/// When access groups are named but cannot be read, or by a key that is not ours: the document must
/// not become everyone's. When it names several collections: it can belong to one.
pub(super) fn split(text: &str) -> Result<FrontMatter<'_>, ParseError> {
    let start = text.trim_start_matches('\n');
    let none = FrontMatter { body: Cow::Borrowed(text), ..FrontMatter::default() };
    let (fence, closings): (_, &[&str]) = match start.lines().next().map(str::trim_end) {
        Some("---") => ("---", &["---", "..."]),
        Some("+++") => ("+++", &["+++"]),
        _ => return Ok(none),
    };
    let Some((block, body)) = cut(start, closings) else { return Ok(none) };
    let entries = if fence == "+++" { toml_entries(block) } else { yaml_entries(block) };
    let names_groups = |line: &str| {
        let key = normal_key(scalar(line.split([':', '=']).next().unwrap_or_default()));
        GROUP_KEYS.contains(&key.as_str()) || is_near_group_key(&key)
    };
    match entries {
        Ok(entries) => {
            check_keys(&entries)?;
            let metadata = metadata(&entries);
            let restricts = entries.iter().any(|(key, _)| GROUP_KEYS.contains(&key.as_str()));
            if metadata.groups.is_empty() && restricts {
                return Err(unreadable_groups("no group is named"));
            }
            let findings = Vec::from_iter(unread_date(&entries, &metadata));
            Ok(FrontMatter { metadata, body: Cow::Borrowed(body), findings })
        }
        Err(why) if block.lines().any(names_groups) => Err(unreadable_groups(&why)),
        // Two rules with text between them are no front matter, and no fault either.
        Err(_) if fence == "---" && !block.lines().any(|line| key_value(line).is_some()) => {
            Ok(none)
        }
        Err(why) => {
            let what = format!("front matter, kept as text: {why}");
            Ok(FrontMatter {
                metadata: Metadata::default(),
                body: Cow::Owned(format!("{CODE_FENCE}\n{block}{CODE_FENCE}\n\n{body}")),
                findings: vec![Finding::LeftOut { what }],
            })
        }
    }
}

/// Longer than any that a block of keys and values holds.
const CODE_FENCE: &str = "~~~~~~~~";

/// Refuses what must not be guessed at.
fn check_keys(entries: &[Entry]) -> Result<(), ParseError> {
    if let Some((key, _)) = entries.iter().find(|(key, _)| is_near_group_key(key)) {
        return Err(ParseError::Corrupt {
            detail: format!(
                "front matter has `{key}`, which is not read: to restrict who may read the \
                 document write `groups`"
            ),
        });
    }
    match entries.iter().find(|(key, values)| key == "collection" && values.len() > 1) {
        Some((_, values)) => Err(ParseError::Corrupt {
            detail: format!(
                "front matter names several collections ({}): a document belongs to one",
                values.join(", ")
            ),
        }),
        None => Ok(()),
    }
}

fn is_near_group_key(key: &str) -> bool {
    let plain = key.replace(['é', 'è', 'ê'], "e");
    if GROUP_KEYS.contains(&plain.as_str()) {
        return false;
    }
    NEAR_GROUP_KEYS.contains(&plain.as_str())
        || (plain.starts_with('g') && distance(&plain, "groups") <= 2)
        || GROUP_KEYS.iter().any(|it| distance(&plain, it) <= 1)
}

/// Letters to change, add or take out to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let above = row[j + 1];
            let swap = diagonal + usize::from(c != b[j]);
            row[j + 1] = swap.min(row[j] + 1).min(above + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// A date that was stated and not understood: filters by date then go by the file's own.
fn unread_date(entries: &[Entry], metadata: &Metadata) -> Option<Finding> {
    if metadata.modified.is_some() {
        return None;
    }
    let (key, values) = entries.iter().find(|(key, _)| DATE_KEYS.contains(&key.as_str()))?;
    let value = values.first().filter(|it| !it.trim().is_empty())?;
    let what = format!("front matter `{key}: {value}`: no date that is understood");
    Some(Finding::LeftOut { what })
}

fn unreadable_groups(why: &str) -> ParseError {
    ParseError::Corrupt { detail: format!("front matter restricts access, but {why}") }
}

/// The lines between the first line and the first closing one, and the text after that.
fn cut<'a>(text: &'a str, closings: &[&str]) -> Option<(&'a str, &'a str)> {
    let first_len = text.find('\n')? + 1;
    let mut at = first_len;
    for line in text[first_len..].split_inclusive('\n') {
        if closings.contains(&line.trim_end()) {
            return Some((&text[first_len..at], &text[at + line.len()..]));
        }
        at += line.len();
        if at > BYTES_MAX {
            return None;
        }
    }
    None
}

/// A key of the outermost level, in lower case with `_`, and its values.
type Entry = (String, Vec<String>);

fn toml_entries(block: &str) -> Result<Vec<Entry>, String> {
    let table: toml::Table = toml::from_str(block).map_err(|error| error.message().to_owned())?;
    let scalar = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Datetime(at) => Some(at.to_string()),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
            Some(value.to_string())
        }
        toml::Value::Array(_) | toml::Value::Table(_) => None,
    };
    let values = |value: &toml::Value| match value {
        toml::Value::Array(values) => values.iter().filter_map(scalar).collect(),
        other => Vec::from_iter(scalar(other)),
    };
    Ok(table.iter().map(|(key, value)| (normal_key(key), values(value))).collect())
}

/// Reads the flat part of a YAML mapping.
fn yaml_entries(block: &str) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    // What the lines below the last key belong to.
    let mut below = Below::Nothing;
    for (i, line) in block.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || (trimmed.starts_with('#') && below != Below::Folded) {
            continue;
        }
        let item = trimmed.strip_prefix("- ").or((trimmed == "-").then_some(""));
        let indented = line.starts_with([' ', '\t']);
        match (indented, item, &below) {
            (_, Some(item), Below::List) if !item.is_empty() => {
                if let Some((_, values)) = entries.last_mut() {
                    values.push(scalar(item).to_owned());
                }
            }
            (true, _, Below::Folded) => {
                if let Some(value) = entries.last_mut().and_then(|(_, values)| values.first_mut()) {
                    value.push_str(if value.is_empty() { "" } else { " " });
                    value.push_str(trimmed);
                }
            }
            (true, ..) | (false, Some(_), Below::List | Below::Nested) => {
                below = if below == Below::List { Below::List } else { Below::Nested };
            }
            (false, ..) => {
                let Some((key, value)) = key_value(line) else {
                    return Err(format!("its line {} is not `key: value`", i + 1));
                };
                let (values, next) =
                    read_value(value).map_err(|why| format!("its line {}: {why}", i + 1))?;
                entries.push((normal_key(key), values));
                below = next;
            }
        }
    }
    Ok(entries)
}

/// What lines below a key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Nothing,
    List,
    /// The lines of a `>` or `|` text.
    Folded,
    Nested,
}

/// Reads what stands behind a key, and tells what the lines below it will be.
fn read_value(value: &str) -> Result<(Vec<String>, Below), &'static str> {
    let value = value.trim();
    if value.is_empty() || value.starts_with('#') {
        return Ok((Vec::new(), Below::List));
    }
    if matches!(value.trim_end_matches(['-', '+']), ">" | "|") {
        return Ok((vec![String::new()], Below::Folded));
    }
    if let Some(list) = value.strip_prefix('[') {
        let list = list.rfind(']').map(|end| &list[..end]).ok_or("`[` is not closed")?;
        let items = list.split(',').map(|item| scalar(item).to_owned());
        return Ok((items.filter(|item| !item.is_empty()).collect(), Below::Nothing));
    }
    if value.starts_with('{') && !value.contains('}') {
        return Err("`{` is not closed");
    }
    if value.starts_with(['"', '\'']) && value.matches(&value[..1]).count() < 2 {
        return Err("a quotation mark is not closed");
    }
    Ok((vec![scalar(value).to_owned()], Below::Nothing))
}

/// Splits `key: value`; the key is one word, perhaps quoted.
fn key_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let key = scalar(key);
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    let is_key = !key.is_empty() && key.len() <= 64 && key.chars().all(plain);
    (is_key && (value.is_empty() || value.starts_with([' ', '\t']))).then_some((key, value))
}

/// A scalar without its quotes or the comment behind it.
fn scalar(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote)
            && let Some(end) = rest.rfind(quote)
            && (rest[end + 1..].trim().is_empty() || rest[end + 1..].trim().starts_with('#'))
        {
            return &rest[..end];
        }
    }
    value.split_once(" #").map_or(value, |(value, _)| value.trim_end())
}

fn normal_key(key: &str) -> String {
    key.trim().to_lowercase().replace(['-', ' '], "_")
}

/// Picks what is known among the entries; the rest is the site generator's.
fn metadata(entries: &[Entry]) -> Metadata {
    let values = |names: &[&str]| {
        names.iter().find_map(|name| {
            let (_, values) = entries.iter().find(|(key, _)| key == name)?;
            Some(values.iter().filter(|value| !value.trim().is_empty()))
        })
    };
    let first = |names: &[&str]| values(names).and_then(|mut values| values.next().cloned());
    Metadata {
        title: first(&["title"]),
        language: first(&["language", "lang", "locale"]).and_then(|it| Language::from_code(&it)),
        collection: first(&["collection"]),
        licence: first(&["licence", "license"]),
        groups: values(&GROUP_KEYS)
            .map(|values| {
                values.flat_map(|it| it.split(',')).map(|it| it.trim().to_owned()).collect()
            })
            .unwrap_or_default(),
        modified: DATE_KEYS.iter().find_map(|key| first(&[key]).and_then(|it| written_date(&it))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Metadata, body: &str) {
        let body = Cow::Borrowed(body);
        let findings = Vec::new();
        assert_eq!(split(text).unwrap(), FrontMatter { metadata: expected, body, findings });
    }

    #[test]
    fn yaml_is_read() {
        check(
            "---\ntitle: \"Congés payés\"  # comment\nlang: fr-FR\ncollection: rh\n\
             license: CC-BY-4.0\ngroups: [rh, 'direction']\nlast-modified: 2024-05-01\n---\nTexte\n",
            Metadata {
                title: Some("Congés payés".to_owned()),
                language: Some(Language::French),
                collection: Some("rh".to_owned()),
                licence: Some("CC-BY-4.0".to_owned()),
                groups: vec!["rh".to_owned(), "direction".to_owned()],
                modified: Some(1_714_521_600),
            },
            "Texte\n",
        );
    }

    #[test]
    fn a_colon_in_a_title_is_no_fault() {
        let title = Some("Congés : mode d'emploi".to_owned());
        check(
            "---\ntitle: Congés : mode d'emploi\n---\n",
            Metadata { title, ..Metadata::default() },
            "",
        );
    }

    #[test]
    fn lists_nested_keys_and_folded_text_are_understood_or_passed_over() {
        check(
            "---\nsidebar:\n  navigation: travel\n  - x\nquestions:\n  - travel\n  - text: Book\n\
             \x20   url: https://example.org\naccess_groups:\n- paie\n- rh\ntitle: >-\n  Deux\n\
             \x20 lignes\nredirect_from: /a/\n---\nTexte",
            Metadata {
                title: Some("Deux lignes".to_owned()),
                groups: vec!["paie".to_owned(), "rh".to_owned()],
                ..Metadata::default()
            },
            "Texte",
        );
    }

    #[test]
    fn toml_is_read() {
        check(
            "+++\ntitle = 'Guide'\ndate = 2024-05-01\ngroups = ['a']\n[extra]\nx = 1\n+++\nTexte",
            Metadata {
                title: Some("Guide".to_owned()),
                groups: vec!["a".to_owned()],
                modified: Some(1_714_521_600),
                ..Metadata::default()
            },
            "Texte",
        );
    }

    #[test]
    fn the_change_dates_a_file_rather_than_its_creation() {
        check(
            "---\ndate: 2020-01-01\nupdated: 2024-05-01\n---\n",
            Metadata { modified: Some(1_714_521_600), ..Metadata::default() },
            "",
        );
    }

    #[test]
    fn rules_around_text_are_no_front_matter() {
        for text in ["---\nUne phrase.\n---\nSuite", "---\ntitle: x\n", "---", "--\n--\n", "texte"]
        {
            check(text, Metadata::default(), text);
        }
    }

    #[test]
    fn access_groups_that_cannot_be_read_do_not_become_everyone() {
        for text in [
            "---\ngroups: rh\n}{\n---\nSecret",
            "---\ngroups:\n---\nSecret",
            "---\naccess-groups: []\n---\nSecret",
            "+++\ngroups = {\n+++\nSecret",
        ] {
            assert!(matches!(split(text), Err(ParseError::Corrupt { .. })), "{text}");
        }
        assert_eq!(split("---\ngroups: rh, paie\n---\n").unwrap().metadata.groups, ["rh", "paie"]);
    }

    /// A list that is not closed once gave the title `[broken`, and no report.
    #[test]
    fn malformed_front_matter_stays_as_code_and_is_reported() {
        for (text, block, why) in [
            ("---\ntitle: x\n}{\n---\nSuite", "title: x\n}{\n", "its line 2 is not"),
            ("---\ntitle: [broken\n---\nSuite", "title: [broken\n", "its line 1: `[`"),
            ("---\ntitle: \"a\n---\nSuite", "title: \"a\n", "quotation mark"),
            ("---\nx: {a\n---\nSuite", "x: {a\n", "`{`"),
            ("+++\ntitle = \n+++\nSuite", "title = \n", "kept as text"),
        ] {
            let res = split(text).unwrap();
            assert_eq!(res.body, format!("{CODE_FENCE}\n{block}{CODE_FENCE}\n\nSuite"));
            assert_eq!(res.metadata, Metadata::default());
            let [Finding::LeftOut { what }] = &res.findings[..] else { panic!("{res:?}") };
            assert!(what.contains(why), "`{what}` does not say `{why}`");
        }
    }

    /// `group` for `groups` once made a document everyone's.
    #[test]
    fn a_key_like_groups_is_refused_with_the_right_one() {
        for key in [
            "group",
            "Groupe",
            "groupes",
            "gruops",
            "grops",
            "access",
            "accès",
            "acces",
            "access-group",
            "groupes accès",
            "readers",
        ] {
            for text in
                [format!("---\n{key}: rh\n---\nSecret"), format!("---\n{key}: [rh\n---\nSecret")]
            {
                let known = split(&text);
                let Err(error) = known else { panic!("{text}: {known:?}") };
                let error = error.to_string();
                assert!(error.contains("restrict"), "{text}: {error}");
            }
        }
        for key in ["title", "category", "tags", "grade", "accent", "region", "grounds for"] {
            split(&format!("---\n{key}: rh\n---\nTexte")).unwrap();
        }
    }

    #[test]
    fn several_collections_are_refused_and_one_in_a_list_is_not() {
        let error = split("---\ncollection: [secu, it]\n---\n").unwrap_err().to_string();
        assert!(error.contains("secu, it") && error.contains("belongs to one"), "{error}");
        let one = split("---\ncollection: [secu]\n---\n").unwrap();
        assert_eq!(one.metadata.collection.as_deref(), Some("secu"));
    }

    #[test]
    fn french_dates_are_read_and_others_reported() {
        for date in ["12 mars 2026", "12/03/2026"] {
            let text = format!("---\ndate: {date}\n---\nTexte");
            let res = split(&text).unwrap();
            assert_eq!((res.metadata.modified, res.findings), (Some(1_773_273_600), Vec::new()));
        }
        let res = split("---\ndate: avant-hier\n---\nTexte").unwrap();
        let [Finding::LeftOut { what }] = &res.findings[..] else { panic!("{res:?}") };
        assert!(what.contains("date: avant-hier"), "{what}");
    }
}
