//! Passages for unit tests.

use index::{
    catalog::StoredChunk,
    filter::Facets,
    hit::{ChunkId, DocumentId},
};
use ingest::document::{Language, Span};

use crate::{
    asked::{Asked, Reading},
    relevance::Signals,
    retrieve::Passage,
};

/// A chunk that holds all of a French document.
pub(crate) fn chunk(title: &str, text: &str) -> StoredChunk {
    StoredChunk {
        id: ChunkId(1),
        document: DocumentId(1),
        root: "/docs".to_owned(),
        title: title.to_owned(),
        ordinal: 0,
        span: Span { start: 0, end: text.len() },
        text: text.to_owned(),
        table_header: None,
        heading_path: Vec::new(),
        page: None,
        simhash: 0,
        facets: Facets {
            collection: None,
            language: Some(Language::French),
            path: format!("{title}.md"),
            modified: None,
            groups: Vec::new(),
        },
    }
}

/// A passage of a document of its own.
pub(crate) fn passage(document: i64, title: &str, text: &str) -> Passage {
    let chunk =
        StoredChunk { id: ChunkId(document), document: DocumentId(document), ..chunk(title, text) };
    Passage {
        chunk,
        reading: Reading::default(),
        score: 1.0,
        lexical: None,
        dense: None,
        relevance: 1.0,
        signals: Signals::default(),
        rerank: None,
        n_duplicates: 0,
    }
}

/// Passages as retrieval returns them: read for a question.
pub(crate) fn read(asked: &Asked, passages: Vec<Passage>) -> Vec<Passage> {
    let read = |it: Passage| Passage { reading: asked.read(&it.chunk), ..it };
    passages.into_iter().map(read).collect()
}
