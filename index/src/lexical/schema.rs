//! Fields of the lexical index, and chunks as its documents.

use ingest::document::Language;
use tantivy::TantivyDocument;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::LexicalChunk;
use super::analyse::Words;

/// How often a title's terms count, as if the title stood so often in front of the text.
/// Measured: docs/log.md, 2026-11-23.
const TITLE_REPEATS: usize = 2;

/// The tokenizer of terms.
pub(super) const TERMS: &str = "terms";

/// What divides terms that are handed over in one string. No term holds it: it is no letter.
const BETWEEN_TERMS: &str = "\n";

/// The fields. Terms are computed by [`super::analyse`] and handed to tantivy as they are, in one
/// string a field: lists of terms, it writes to JSON and reads again, which takes a third longer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) id: Field,
    /// Stems of chunks in French, or in no known language.
    pub(super) french: Field,
    /// Stems of chunks in English, or in no known language.
    pub(super) english: Field,
    /// Exact terms of all chunks.
    pub(super) exact: Field,
    /// Codes of the languages whose field holds the chunk; counts the documents of a field.
    pub(super) analysed: Field,
    pub(super) collection: Field,
    pub(super) language: Field,
    pub(super) path: Field,
    pub(super) group: Field,
    /// 1 when everyone may read.
    pub(super) open: Field,
    pub(super) modified: Field,
}

impl Fields {
    pub(super) fn new() -> (Schema, Self) {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(TERMS)
            .set_index_option(IndexRecordOption::WithFreqs)
            .set_fieldnorms(true);
        let terms = TextOptions::default().set_indexing_options(indexing);
        let fields = Self {
            id: schema.add_i64_field("id", INDEXED | FAST),
            french: schema.add_text_field("fr", terms.clone()),
            english: schema.add_text_field("en", terms.clone()),
            exact: schema.add_text_field("exact", terms),
            analysed: schema.add_text_field("analysed", STRING),
            collection: schema.add_text_field("collection", STRING),
            language: schema.add_text_field("language", STRING),
            path: schema.add_text_field("path", STRING),
            group: schema.add_text_field("group", STRING),
            open: schema.add_u64_field("open", INDEXED),
            modified: schema.add_i64_field("modified", INDEXED | FAST),
        };
        (schema.build(), fields)
    }

    /// The field with the stems of a language.
    pub(super) fn stems(&self, language: Language) -> Field {
        match language {
            Language::French => self.french,
            Language::English => self.english,
        }
    }

    pub(super) fn document(&self, chunk: &LexicalChunk<'_>) -> TantivyDocument {
        let mut res = TantivyDocument::default();
        res.add_i64(self.id, chunk.id.0);
        self.add_terms(&mut res, chunk);
        let facets = chunk.facets;
        if let Some(collection) = &facets.collection {
            res.add_text(self.collection, collection);
        }
        if let Some(language) = facets.language {
            res.add_text(self.language, language.code());
        }
        for prefix in facets.path_prefixes() {
            res.add_text(self.path, prefix);
        }
        for group in &facets.groups {
            res.add_text(self.group, group);
        }
        res.add_u64(self.open, u64::from(facets.groups.is_empty()));
        if let Some(modified) = facets.modified {
            res.add_i64(self.modified, modified);
        }
        res
    }

    fn add_terms(&self, document: &mut TantivyDocument, chunk: &LexicalChunk<'_>) {
        let terms = chunk_terms(chunk);
        for (language, stems) in terms.stems {
            document.add_text(self.analysed, language.code());
            document.add_text(self.stems(language), stems.join(BETWEEN_TERMS));
        }
        document.add_text(self.exact, terms.exact.join(BETWEEN_TERMS));
    }
}

/// What a chunk is found by. Its title, headings and text make one list, in which the title stands
/// [`TITLE_REPEATS`] times.
#[derive(Debug)]
pub(crate) struct ChunkTerms {
    /// Stems in each language that it is read in.
    pub(crate) stems: Vec<(Language, Vec<String>)>,
    /// Exact terms.
    pub(crate) exact: Vec<String>,
}

pub(crate) fn chunk_terms(chunk: &LexicalChunk<'_>) -> ChunkTerms {
    let title = Words::read(chunk.title);
    let headings = Words::read(chunk.heading_path);
    let text = Words::read(chunk.text);
    let all = |terms: &dyn Fn(&Words) -> Vec<String>| {
        let title = terms(&title);
        let repeated = title.iter().cycle().take(title.len() * TITLE_REPEATS).cloned();
        repeated.chain(terms(&headings)).chain(terms(&text)).collect::<Vec<_>>()
    };
    let languages = analysed_languages(&chunk.language).iter();
    ChunkTerms {
        stems: languages.map(|&it| (it, all(&|words| words.stems(it)))).collect(),
        exact: all(&|words| words.exact(chunk.language)),
    }
}

/// In which languages a text is read: its own, or every one where that is not known.
pub(super) fn analysed_languages(language: &Option<Language>) -> &[Language] {
    language.as_ref().map_or(&[Language::French, Language::English], std::slice::from_ref)
}

/// Divides a string of terms.
#[derive(Clone, Default)]
pub(super) struct Terms {
    token: Token,
}

impl Tokenizer for Terms {
    type TokenStream<'a> = TermStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> TermStream<'a> {
        self.token.reset();
        TermStream { token: &mut self.token, terms: text.split(BETWEEN_TERMS) }
    }
}

pub(super) struct TermStream<'a> {
    token: &'a mut Token,
    terms: std::str::Split<'a, &'static str>,
}

impl TokenStream for TermStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(term) = self.terms.find(|it| !it.is_empty()) else { return false };
        self.token.position = self.token.position.wrapping_add(1);
        self.token.text.clear();
        self.token.text.push_str(term);
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}
