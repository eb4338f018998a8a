//! The file of a document: sent piece by piece, and only as it was when it was read.

use std::{
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use fs_err::File;
use futures_util::stream;
use index::catalog::StoredDocument;
use ingest::document::MediaType;

use super::{
    access::Reader,
    documents::{find, mime},
    error::ApiError,
    extract::Id,
    state::App,
    work::on_thread,
};
use crate::build_index::place;

/// Bytes that are read from the disk at a time.
const PIECE_BYTES: u64 = 1 << 18;

/// A file that holds what was read from it.
struct Original {
    document: StoredDocument,
    file: File,
    n_bytes: u64,
}

/// The file itself, or the part of it that `Range` asks for.
#[utoipa::path(get, path = "/v1/documents/{id}/original", tag = "Documents",
    params(("id" = i64, Path, description = "The document's number")),
    responses((status = 200, description = "The file"),
              (status = 206, description = "A part of it"),
              (status = 404, description = "There is no such document, or its file is gone", body = Value),
              (status = 409, description = "The file has changed since it was read", body = Value),
              (status = 416, description = "The file has no such part", body = Value)))]
pub(crate) async fn original(
    State(app): State<Arc<App>>,
    reader: Reader,
    headers: HeaderMap,
    Id(id): Id<i64>,
) -> Result<Response, ApiError> {
    let opened = on_thread(&app, move |app| open(app, &reader, id)).await?;
    let Original { document, file, n_bytes } = opened;
    let asked = headers.get(header::RANGE).and_then(|it| it.to_str().ok());
    let mut response = match part_of(asked, n_bytes) {
        Part::Whole => Body::from_stream(pieces(file, 0..n_bytes)).into_response(),
        Part::Bytes(bytes) => {
            let said = format!("bytes {}-{}/{n_bytes}", bytes.start, bytes.end - 1);
            let body = Body::from_stream(pieces(file, bytes.clone()));
            let mut response = (StatusCode::PARTIAL_CONTENT, body).into_response();
            set(&mut response, header::CONTENT_RANGE, &said);
            set(&mut response, header::CONTENT_LENGTH, &(bytes.end - bytes.start).to_string());
            response
        }
        Part::Beyond => {
            let why = format!("the file has {n_bytes} bytes: there is nothing at this range");
            let mut response =
                ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, why).into_response();
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{n_bytes}"));
            return Ok(response);
        }
    };
    if response.status() == StatusCode::OK {
        set(&mut response, header::CONTENT_LENGTH, &n_bytes.to_string());
    }
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    describe(&mut response, &document);
    Ok(response)
}

/// Opens a document's file and compares it with what was read. Whoever may read what a document
/// said may not for that read what lies at its path by now.
fn open(app: &App, reader: &Reader, id: i64) -> Result<Original, ApiError> {
    let document = find(app, reader, id)?;
    let path = place(&document);
    let gone = || ApiError::not_found("file of document", id);
    // Whatever is no file, such as a pipe, would be waited for.
    if !path.is_file() {
        return Err(gone());
    }
    let mut file = File::open(&path).map_err(|_| gone())?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file).map_err(|error| ApiError::of_disk(&error))?;
    if hasher.finalize().to_hex().as_str() != document.source.content_hash {
        let why = "the file has changed since it was read: its next ingestion reads it again";
        return Err(ApiError::conflict(why).with_code("changed"));
    }
    app.audit(
        reader,
        "document.read",
        Some(&document.id.0.to_string()),
        Some(&document.source.path),
    )?;
    Ok(Original { document, file, n_bytes: hasher.count() })
}

/// What a request wants of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(Range<u64>),
    /// Something that is not there.
    Beyond,
}

/// What `Range` asks for (RFC 9110, 14.2): a range of bytes. What is of another form, or asks for
/// several, gets the whole, as the standard allows.
fn part_of(asked: Option<&str>, n_bytes: u64) -> Part {
    let range = asked.and_then(|it| it.strip_prefix("bytes=")).and_then(|it| it.split_once('-'));
    let Some((first, last)) = range else { return Part::Whole };
    let bytes = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(n_bytes),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..n_bytes,
        (Err(_), Ok(n_last)) if first.trim().is_empty() => n_bytes.saturating_sub(n_last)..n_bytes,
        _ => return Part::Whole,
    };
    if bytes.start < bytes.end { Part::Bytes(bytes) } else { Part::Beyond }
}

/// A part of a file, piece by piece: no thread waits for the client, and no more than a piece is
/// held.
fn pieces(file: File, bytes: Range<u64>) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((file, bytes), |(mut file, bytes)| async move {
        if bytes.is_empty() {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || -> io::Result<_> {
            file.seek(SeekFrom::Start(bytes.start))?;
            let n_bytes = (bytes.end - bytes.start).min(PIECE_BYTES);
            let mut piece = Vec::new();
            (&mut file).take(n_bytes).read_to_end(&mut piece)?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let next = bytes.start + piece.len() as u64..bytes.end;
            Ok((Bytes::from(piece), (file, next)))
        });
        read.await.map_err(io::Error::other)?.map(Some)
    })
}

/// What kind of file it is, and what a browser may do with it.
fn describe(response: &mut Response, document: &StoredDocument) {
    let name = document.source.path.rsplit('/').next().unwrap_or("document");
    // A browser shows only what cannot act in our name.
    let (mime, place) = match document.media_type {
        MediaType::Pdf => ("application/pdf", "inline"),
        MediaType::Text | MediaType::Markdown | MediaType::Csv => {
            ("text/plain; charset=utf-8", "inline")
        }
        other => (mime(other), "attachment"),
    };
    set(response, header::CONTENT_TYPE, mime);
    let disposition = format!("{place}; filename*=UTF-8''{}", percent_encoded(name));
    set(response, header::CONTENT_DISPOSITION, &disposition);
}

/// Sets a header whose value is plain ASCII.
fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Everything but letters, digits and a few signs as `%XX` (RFC 8187).
fn percent_encoded(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => res.push(byte as char),
            _ => res.push_str(&format!("%{byte:02X}")),
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_of_the_file_or_none() {
        for (asked, expected) in [
            (None, Part::Whole),
            (Some("bytes=0-3"), Part::Bytes(0..4)),
            (Some("bytes=8-"), Part::Bytes(8..10)),
            (Some("bytes=8-99"), Part::Bytes(8..10)),
            (Some("bytes=-4"), Part::Bytes(6..10)),
            (Some("bytes=-99"), Part::Bytes(0..10)),
            (Some("bytes=0-18446744073709551615"), Part::Bytes(0..10)),
            (Some("bytes=10-"), Part::Beyond),
            (Some("bytes=-0"), Part::Beyond),
            (Some("bytes=3-1"), Part::Whole),
            (Some("bytes=0-1,4-5"), Part::Whole),
            (Some("lines=0-1"), Part::Whole),
            (Some("bytes=-"), Part::Whole),
        ] {
            assert_eq!(part_of(asked, 10), expected, "{asked:?}");
        }
        assert_eq!(part_of(Some("bytes=0-"), 0), Part::Beyond);
    }
}
