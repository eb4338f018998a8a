//! A chunk as a point of the collection: its payload, there and back, and filters over it.
//!
//! The payload holds all that an answer needs, so that whoever reads from the cluster needs
//! nothing else. Its names are a promise to later versions: [`super::mark::SCHEMA_VERSION`].

use std::collections::HashMap;

use ingest::document::Span;
use qdrant_client::Payload;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::{Condition, PointId, Range, Value};
use serde::{Deserialize, Serialize};

use super::error::ClusterError;
use crate::catalog::{Duplicate, Labels, Source, StoredChunk, StoredDocument, StoredText, encode};
use crate::filter::{Facets, Filter};
use crate::hit::{ChunkId, DocumentId};

/// A chunk's payload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    document: i64,
    root: String,
    path: String,
    /// Folders above the document, and itself: a path filter is one exact match.
    paths: Vec<String>,
    title: String,
    ordinal: u32,
    start: usize,
    end: usize,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table_header: Option<String>,
    headings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page: Option<u32>,
    simhash: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<i64>,
    groups: Vec<String>,
    /// BLAKE3 of the document's file.
    hash: String,
    /// What is known of the document besides; with its first chunk only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<About>,
}

/// What is known of a document. Lists are JSON as the catalog keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    size: u64,
    mtime_ns: i64,
    media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    licence: Option<String>,
    made_by: String,
    ingested_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    similarity: Option<f32>,
    findings: String,
    n_chunks: u64,
    pages: String,
    headings: String,
}

impl About {
    fn new(document: &StoredDocument, text: &StoredText) -> Self {
        Self {
            size: document.source.size,
            mtime_ns: document.source.mtime_ns,
            media_type: encode::media_type_name(document.media_type).to_owned(),
            language: document.language.map(|it| it.code().to_owned()),
            licence: document.labels.licence.clone(),
            made_by: document.made_by.clone(),
            ingested_at: document.ingested_at,
            duplicate_of: document.duplicate.map(|it| it.of.0),
            similarity: document.duplicate.map(|it| it.similarity),
            findings: encode::findings_json(&document.findings),
            n_chunks: document.n_chunks,
            pages: encode::pages_json(&text.pages),
            headings: encode::headings_json(&text.headings),
        }
    }
}

/// What a document's points say of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) document: StoredDocument,
    /// Pages and headings, without the text.
    pub(super) maps: StoredText,
}

impl Row {
    /// `document` is given with its maps where the chunk is its first one.
    pub(super) fn new(
        chunk: &StoredChunk,
        content_hash: &str,
        document: Option<(&StoredDocument, &StoredText)>,
    ) -> Self {
        let facets = &chunk.facets;
        Self {
            document: chunk.document.0,
            root: chunk.root.clone(),
            path: facets.path.clone(),
            paths: facets.path_prefixes().map(str::to_owned).collect(),
            title: chunk.title.clone(),
            ordinal: chunk.ordinal,
            start: chunk.span.start,
            end: chunk.span.end,
            text: chunk.text.clone(),
            table_header: chunk.table_header.clone(),
            headings: chunk.heading_path.clone(),
            page: chunk.page,
            simhash: chunk.simhash.cast_signed(),
            collection: facets.collection.clone(),
            language: facets.language.map(|it| it.code().to_owned()),
            modified: facets.modified,
            groups: facets.groups.clone(),
            hash: content_hash.to_owned(),
            about: document.map(|(document, text)| About::new(document, text)),
        }
    }

    pub(super) fn into_payload(self) -> Payload {
        let json = serde_json::to_value(self).expect("strings, numbers and lists are JSON");
        Payload::try_from(json).expect("a struct is a JSON object")
    }

    fn read(id: ChunkId, payload: HashMap<String, Value>) -> Result<Self, ClusterError> {
        Payload::from(payload).deserialize().map_err(|it| damaged(id, &it))
    }

    /// Reads a chunk back.
    pub(super) fn chunk(
        id: ChunkId,
        payload: HashMap<String, Value>,
    ) -> Result<StoredChunk, ClusterError> {
        let row = Self::read(id, payload)?;
        Ok(StoredChunk {
            id,
            document: DocumentId(row.document),
            root: row.root,
            title: row.title,
            ordinal: row.ordinal,
            span: Span { start: row.start, end: row.end },
            text: row.text,
            table_header: row.table_header,
            heading_path: row.headings,
            page: row.page,
            simhash: row.simhash.cast_unsigned(),
            facets: Facets {
                path: row.path,
                collection: row.collection,
                language: encode::language(row.language).map_err(|it| damaged(id, &it))?,
                modified: row.modified,
                groups: row.groups,
            },
        })
    }

    /// Reads what a document's first chunk says of it.
    pub(super) fn document(
        id: ChunkId,
        payload: HashMap<String, Value>,
    ) -> Result<Known, ClusterError> {
        let row = Self::read(id, payload)?;
        let damaged = |it: &dyn std::fmt::Display| damaged(id, it);
        let about = row.about.ok_or_else(|| damaged(&"it says nothing of its document"))?;
        let duplicate = about.duplicate_of.zip(about.similarity);
        let document = StoredDocument {
            id: DocumentId(row.document),
            source: Source {
                root: row.root,
                path: row.path,
                content_hash: row.hash,
                size: about.size,
                mtime_ns: about.mtime_ns,
            },
            title: row.title,
            media_type: encode::media_type(&about.media_type).map_err(|it| damaged(&it))?,
            language: encode::language(about.language).map_err(|it| damaged(&it))?,
            labels: Labels {
                collection: row.collection,
                licence: about.licence,
                groups: row.groups,
                modified: row.modified,
            },
            made_by: about.made_by,
            ingested_at: about.ingested_at,
            duplicate: duplicate
                .map(|(of, similarity)| Duplicate { of: DocumentId(of), similarity }),
            findings: encode::findings(&about.findings).map_err(|it| damaged(&it))?,
            n_chunks: about.n_chunks,
        };
        let maps = StoredText {
            text: String::new(),
            pages: encode::pages(&about.pages).map_err(|it| damaged(&it))?,
            headings: encode::headings(&about.headings).map_err(|it| damaged(&it))?,
        };
        Ok(Known { document, maps })
    }
}

fn damaged(id: ChunkId, detail: &dyn std::fmt::Display) -> ClusterError {
    ClusterError::Damaged { detail: format!("{}: {detail}", id.0) }
}

pub(super) fn point_id(chunk: ChunkId) -> PointId {
    chunk.0.cast_unsigned().into()
}

/// The chunk of a point; a point with another kind of id is none of ours.
pub(super) fn chunk_id(id: Option<PointId>) -> Result<ChunkId, ClusterError> {
    match id.and_then(|it| it.point_id_options) {
        Some(PointIdOptions::Num(id)) => Ok(ChunkId(id.cast_signed())),
        other => Err(ClusterError::Damaged { detail: format!("its id is {other:?}") }),
    }
}

/// The server compares numbers as f64, which is exact up to here: 285 million years.
fn clamp(seconds: i64) -> f64 {
    const MAX: i64 = 1 << 53;
    seconds.clamp(-MAX, MAX) as f64
}

/// The same meaning as [`Filter::matches`].
pub(super) fn conditions(filter: &Filter) -> Option<qdrant_client::qdrant::Filter> {
    let mut must = Vec::new();
    if !filter.collections.is_empty() {
        must.push(Condition::matches("collection", filter.collections.clone()));
    }
    if !filter.languages.is_empty() {
        let codes: Vec<String> = filter.languages.iter().map(|it| it.code().to_owned()).collect();
        must.push(Condition::matches("language", codes));
    }
    if let Some(prefix) = filter.path_keyword() {
        must.push(Condition::matches("paths", prefix.to_owned()));
    }
    if filter.modified_from.is_some() || filter.modified_to.is_some() {
        let range = Range {
            gte: filter.modified_from.map(clamp),
            lte: filter.modified_to.map(clamp),
            ..Range::default()
        };
        must.push(Condition::range("modified", range));
    }
    if let Some(groups) = &filter.groups {
        let mut readable = vec![Condition::is_empty("groups")];
        if !groups.is_empty() {
            readable.push(Condition::matches("groups", groups.clone()));
        }
        must.push(qdrant_client::qdrant::Filter::should(readable).into());
    }
    (!must.is_empty()).then(|| qdrant_client::qdrant::Filter::must(must))
}

#[cfg(test)]
mod tests {
    use ingest::document::{Heading, Language, MediaType, PageStart};

    use super::*;

    #[test]
    fn a_chunk_survives_the_way_to_the_cluster_and_back() {
        let chunk = StoredChunk {
            id: ChunkId(7),
            document: DocumentId(3),
            root: "/corpus".to_owned(),
            title: "Congés".to_owned(),
            ordinal: 2,
            span: Span { start: 10, end: 14 },
            text: "Cinq".to_owned(),
            table_header: Some("| Jours |".to_owned()),
            heading_path: vec!["Guide".to_owned(), "Congés".to_owned()],
            page: Some(4),
            simhash: u64::MAX - 1,
            facets: Facets {
                collection: Some("rh".to_owned()),
                language: Some(Language::French),
                path: "rh/conges.md".to_owned(),
                modified: Some(-1),
                groups: vec!["staff".to_owned()],
            },
        };
        let payload = Row::new(&chunk, "abc", None).into_payload();
        assert_eq!(Row::chunk(chunk.id, payload.into()).unwrap(), chunk);
        let bare = StoredChunk {
            table_header: None,
            page: None,
            facets: Facets { path: "a.md".to_owned(), ..Facets::default() },
            ..chunk
        };
        let payload = Row::new(&bare, "abc", None).into_payload();
        assert_eq!(Row::chunk(bare.id, payload.into()).unwrap(), bare);
    }

    #[test]
    fn what_is_known_of_a_document_goes_with_its_first_chunk() {
        let document = StoredDocument {
            id: DocumentId(3),
            source: Source {
                root: "/corpus".to_owned(),
                path: "rh/conges.md".to_owned(),
                content_hash: "abc".to_owned(),
                size: 10,
                mtime_ns: 1_700_000_000_000_000_000,
            },
            title: "Congés".to_owned(),
            media_type: MediaType::Pdf,
            language: Some(Language::French),
            labels: Labels {
                collection: Some("rh".to_owned()),
                licence: Some("interne".to_owned()),
                groups: vec!["staff".to_owned()],
                modified: Some(5),
            },
            made_by: "test 1".to_owned(),
            ingested_at: 7,
            duplicate: Some(Duplicate { of: DocumentId(1), similarity: 0.5 }),
            findings: Vec::new(),
            n_chunks: 2,
        };
        let maps = StoredText {
            text: String::new(),
            pages: vec![PageStart { page: 1, offset: 0 }],
            headings: vec![Heading { level: 1, title: "Congés".to_owned(), offset: 0 }],
        };
        let chunk = StoredChunk {
            id: ChunkId(7),
            document: document.id,
            root: document.source.root.clone(),
            title: document.title.clone(),
            ordinal: 0,
            span: Span { start: 0, end: 4 },
            text: "Cinq".to_owned(),
            table_header: None,
            heading_path: Vec::new(),
            page: Some(1),
            simhash: 0,
            facets: Facets {
                collection: document.labels.collection.clone(),
                language: document.language,
                path: document.source.path.clone(),
                modified: document.labels.modified,
                groups: document.labels.groups.clone(),
            },
        };
        let payload = Row::new(&chunk, "abc", Some((&document, &maps))).into_payload();
        let known = Row::document(chunk.id, payload.into()).unwrap();
        assert_eq!((known.document, known.maps), (document, maps));
    }

    #[test]
    fn a_point_of_others_is_told() {
        let error = Row::chunk(ChunkId(1), HashMap::new()).unwrap_err();
        assert!(matches!(error, ClusterError::Damaged { .. }), "{error}");
        assert!(chunk_id(Some("5c56c793-69f3-4fbf-87e6-c4bf54c28c26".into())).is_err());
    }
}
