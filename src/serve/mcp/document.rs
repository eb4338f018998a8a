//! The text of a document, or as much of it as a model can take at once.

use std::path::Path;

use index::catalog::{StoredDocument, StoredText};
use ingest::document::Language;
use serde_json::{Value, json};

use super::{Caller, Given, tools::DocumentParams};
use crate::{
    build_index::place,
    serve::{documents::find, error::ApiError, state::App},
};

/// Characters of one part at most: some 5,000 tokens.
const PART_CHARS_MAX: usize = 20_000;

pub(super) fn get(app: &App, caller: &Caller, params: &DocumentParams) -> Result<Given, ApiError> {
    let document = match (params.id, &params.path) {
        (Some(id), None) => find(app, &caller.reader, id)?,
        (None, Some(path)) => find_path(app, caller, path)?,
        _ => return Err(ApiError::bad_request("give either `id` or `path`")),
    };
    let stored = app.engine.index.catalog().text(document.id)?;
    let stored = stored.ok_or_else(|| ApiError::not_found("document", document.id.0))?;
    let reader = &caller.reader;
    app.audit(
        reader,
        "mcp.document.read",
        Some(&document.id.0.to_string()),
        Some(&document.source.path),
    )?;
    let url = match caller.base.as_str() {
        "" => file_url(&place(&document)),
        base => format!("{base}/v1/documents/{}/original", document.id.0),
    };
    given(&document, &stored, params, &url)
}

fn find_path(app: &App, caller: &Caller, path: &str) -> Result<StoredDocument, ApiError> {
    let path = path.trim_start_matches("./");
    let mut found = app.engine.index.catalog().list()?;
    found.retain(|it| it.source.path == path && caller.reader.reads(&it.labels.groups));
    match found.len() {
        0 => Err(ApiError::not_found("document", path)),
        1 => Ok(found.remove(0)),
        _ => {
            let ids: Vec<String> = found.iter().map(|it| it.id.0.to_string()).collect();
            let ids = ids.join(", ");
            let message =
                format!("several documents have the path `{path}`: give one of the ids {ids}");
            Err(ApiError::bad_request(message))
        }
    }
}

fn given(
    document: &StoredDocument,
    stored: &StoredText,
    params: &DocumentParams,
    url: &str,
) -> Result<Given, ApiError> {
    let n_chars = stored.text.chars().count();
    let (start, wanted_end) = range(stored, params, n_chars)?;
    let end = wanted_end.min(start + PART_CHARS_MAX);
    let text: String = stored.text.chars().skip(start).take(end - start).collect();
    let next = (end < wanted_end).then_some(end);
    let last_page = stored.pages.last().map(|it| it.page);
    let data = json!({
        "id": document.id.0,
        "path": document.source.path,
        "title": document.title,
        "collection": document.labels.collection,
        "language": document.language.map(Language::code),
        "url": url,
        "pages": last_page,
        "chars": n_chars,
        "char_start": start,
        "char_end": end,
        "next_char_start": next,
        "text": text,
    });
    let kept: serde_json::Map<String, Value> = match data {
        Value::Object(it) => it.into_iter().filter(|(_, it)| !it.is_null()).collect(),
        _ => serde_json::Map::new(),
    };
    let title = match document.title.as_str() {
        "" => &document.source.path,
        it => it,
    };
    let head = format!("{title} ({}, document {})\n{url}", document.source.path, document.id.0);
    let place = format!("characters {start} to {end} of {n_chars}");
    let more = match next {
        Some(next) => format!("\n\n(There is more: call again with char_start {next}.)"),
        None => String::new(),
    };
    Ok(Given { text: format!("{head}\n{place}\n\n{text}{more}"), data: Value::Object(kept) })
}

/// The characters that are asked for, from and to.
fn range(
    stored: &StoredText,
    params: &DocumentParams,
    n_chars: usize,
) -> Result<(usize, usize), ApiError> {
    let by_page = params.first_page.is_some() || params.last_page.is_some();
    let by_char = params.char_start.is_some() || params.char_end.is_some();
    if by_page && by_char {
        return Err(ApiError::bad_request("give pages or characters, not both"));
    }
    if !by_page {
        let start = params.char_start.unwrap_or(0);
        let end = params.char_end.unwrap_or(n_chars).min(n_chars);
        if start > end {
            let message = format!(
                "there is nothing from {start} to {end}: the document has {n_chars} characters"
            );
            return Err(ApiError::bad_field("char_start", message));
        }
        return Ok((start, end));
    }
    let (Some(first), Some(last)) = (stored.pages.first(), stored.pages.last()) else {
        let message = "this document has no pages: use char_start and char_end";
        return Err(ApiError::bad_field("first_page", message));
    };
    let from = params.first_page.unwrap_or(first.page);
    let to = params.last_page.unwrap_or(last.page);
    if from > to || to < first.page || from > last.page {
        let message =
            format!("there are no pages {from} to {to}: it has {} to {}", first.page, last.page);
        return Err(ApiError::bad_field("first_page", message));
    }
    let chars = |offset: usize| stored.text.get(..offset).map_or(n_chars, |it| it.chars().count());
    let start = stored.pages.iter().find(|it| it.page >= from).map_or(0, |it| chars(it.offset));
    let end = stored.pages.iter().find(|it| it.page > to).map_or(n_chars, |it| chars(it.offset));
    Ok((start, end))
}

/// A file's address (RFC 8089).
pub(super) fn file_url(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut res = "file://".to_owned();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                res.push(byte as char);
            }
            _ => res.push_str(&format!("%{byte:02X}")),
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use ingest::document::PageStart;

    use super::*;

    fn stored() -> StoredText {
        let pages = vec![
            PageStart { page: 1, offset: 0 },
            PageStart { page: 2, offset: "été ".len() },
            PageStart { page: 3, offset: "été deux ".len() },
        ];
        StoredText { text: "été deux trois".to_owned(), pages, headings: Vec::new() }
    }

    fn check(params: DocumentParams, expected: Result<(usize, usize), &str>) {
        let found = range(&stored(), &params, 14);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(word)) => assert!(error.message().contains(word), "{error:?}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn pages_and_characters_cut_the_text() {
        let pages = |first_page, last_page| DocumentParams {
            first_page,
            last_page,
            ..DocumentParams::default()
        };
        let chars = |char_start, char_end| DocumentParams {
            char_start,
            char_end,
            ..DocumentParams::default()
        };
        check(DocumentParams::default(), Ok((0, 14)));
        check(pages(Some(1), Some(1)), Ok((0, 4)));
        check(pages(Some(2), None), Ok((4, 14)));
        check(pages(None, Some(2)), Ok((0, 9)));
        check(pages(Some(3), Some(9)), Ok((9, 14)));
        check(pages(Some(4), None), Err("1 to 3"));
        check(pages(Some(3), Some(2)), Err("no pages"));
        check(chars(Some(4), Some(8)), Ok((4, 8)));
        check(chars(Some(4), Some(99)), Ok((4, 14)));
        check(chars(Some(15), None), Err("14 characters"));
        let both = DocumentParams { first_page: Some(1), ..chars(Some(1), None) };
        check(both, Err("not both"));
    }

    #[test]
    fn a_file_has_an_address() {
        assert_eq!(file_url(Path::new("/a b/é.md")), "file:///a%20b/%C3%A9.md");
    }
}
