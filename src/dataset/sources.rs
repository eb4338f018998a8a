//! The documents that rows are made of, from the catalog.

use std::collections::BTreeMap;

use index::{
    catalog::{Catalog, CatalogError, StoredDocument},
    hit::DocumentId,
};
use ingest::duplicates::{Signature, near_pairs};
use tune::dataset::{
    corpus::{Allowed, LeftOut, Source, SourceChunk},
    near::Groups,
    questions::reference,
};

/// Similarity from which two documents share a cluster: lower than for a near duplicate, because
/// half of a document in the test is half of a leak.
const SIMILARITY_MIN: f32 = 0.5;

/// Documents of the catalog.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Those that rows may be made of, by number.
    pub(super) allowed: BTreeMap<i64, Source>,
    /// Paths of those that may not, and why.
    pub(super) left_out: Vec<(String, LeftOut)>,
}

/// Reads all documents.
pub(super) fn read(catalog: &Catalog, allowed: &Allowed) -> Result<Sources, CatalogError> {
    let documents = catalog.list()?;
    let mut texts = Vec::new();
    for document in &documents {
        texts.push(catalog.text(document.id)?.map(|it| it.text));
    }
    let clusters = clusters(catalog, &documents, &texts)?;
    let mut res = Sources::default();
    for (document, text) in documents.into_iter().zip(texts) {
        let labels = &document.labels;
        if let Some(why) = allowed.left_out(labels.licence.as_deref(), &labels.groups) {
            res.left_out.push((document.source.path, why));
            continue;
        }
        let Some(text) = text else { continue };
        let chunks = catalog.chunks(&catalog.chunk_ids(document.id)?)?;
        let chunks = chunks.into_iter().map(|it| SourceChunk {
            id: it.id.0,
            span: it.span,
            page: it.page,
            language: it.facets.language,
        });
        let source = Source {
            id: document.id.0,
            path: document.source.path,
            content_hash: document.source.content_hash,
            title: document.title,
            language: document.language,
            licence: document.labels.licence,
            groups: document.labels.groups,
            cluster: clusters.get(&document.id).copied().unwrap_or(document.id.0),
            text,
            chunks: chunks.collect(),
        };
        res.allowed.insert(source.id, source);
    }
    res.left_out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(res)
}

/// The smallest number of a document in each one's cluster: duplicates, documents whose texts are
/// alike, versions of one title, and translations, which share a reference.
fn clusters(
    catalog: &Catalog,
    documents: &[StoredDocument],
    texts: &[Option<String>],
) -> Result<BTreeMap<DocumentId, i64>, CatalogError> {
    let at: BTreeMap<DocumentId, usize> =
        documents.iter().enumerate().map(|(i, it)| (it.id, i)).collect();
    let mut groups = Groups::new(documents.len());
    let mut by_reference: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, document) in documents.iter().enumerate() {
        if let Some(reference) = texts[i].as_deref().and_then(reference) {
            groups.join(*by_reference.entry(reference).or_insert(i), i);
        }
        if let Some(of) = document.duplicate.and_then(|it| at.get(&it.of)) {
            groups.join(i, *of);
        }
        let same_family = |it: &&StoredDocument| is_version(&it.title, &document.title);
        for other in documents[..i].iter().filter(same_family) {
            groups.join(i, at[&other.id]);
        }
    }
    let stored = catalog.signatures()?;
    let (ids, signatures): (Vec<DocumentId>, Vec<Signature>) =
        stored.iter().filter_map(|(id, bytes)| Some((*id, Signature::from_bytes(bytes)?))).unzip();
    for pair in near_pairs(&signatures, SIMILARITY_MIN) {
        if let (Some(a), Some(b)) = (at.get(&ids[pair.a]), at.get(&ids[pair.b])) {
            groups.join(*a, *b);
        }
    }
    Ok(at.iter().map(|(id, i)| (*id, documents[groups.of(*i)].id.0)).collect())
}

/// Whether two titles name versions of one document: the same words, years and remarks apart.
fn is_version(a: &str, b: &str) -> bool {
    let (a, b) = (bare_title(a), bare_title(b));
    a.len() >= 2 && a == b
}

fn bare_title(title: &str) -> Vec<String> {
    // A remark in parentheses says which version it is.
    let bare = title.split('(').next().unwrap_or(title);
    let words = tune::dataset::near::words_of(bare);
    const SMALL: [&str; 14] =
        ["du", "de", "des", "la", "le", "les", "the", "of", "and", "et", "a", "an", "d", "l"];
    let says =
        |it: &String| !SMALL.contains(&it.as_str()) && !it.chars().all(|c| c.is_ascii_digit());
    words.into_iter().filter(says).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_one_title() {
        assert!(is_version("Charte du télétravail", "Charte du télétravail (2023, abrogée)"));
        assert!(is_version("Travel policy 2025", "Travel policy 2026"));
        assert!(!is_version("Travel policy", "Purchase policy"));
        assert!(!is_version("catalogue", "catalogue"), "one word names many things");
    }
}
