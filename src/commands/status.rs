//! `souffleur status`: what is indexed.

use std::process::ExitCode;

use anyhow::Result;
use index::{StoreKind, catalog::StoredDocument};
use ingest::document::Language;
use serde_json::json;

use super::ingest::language_advice;
use crate::{
    languages::foreign_languages,
    printer::{BOLD, DIM, Printer, styled},
    reasons::{finding_text, told},
    session::Session,
};

pub(super) fn run(session: &Session) -> Result<ExitCode> {
    let data_dir = &session.config.data_dir;
    let (recipe, index) = session.index_as_built()?;
    let embedder = &recipe.embedder;
    let catalog = index.catalog();
    let counts = catalog.counts()?;
    let mut documents = catalog.list()?;
    let place = |it: &StoredDocument| (it.source.root.clone(), it.source.path.clone());
    documents.sort_by_cached_key(place);
    let printer = session.printer;
    printer.line(styled(
        BOLD,
        format!(
            "{} documents, {} chunks, {:.1} MB of text in {}",
            counts.documents,
            counts.chunks,
            megabytes(counts.text_bytes),
            data_dir.display()
        ),
    ))?;
    printer.line(styled(DIM, format!("embedder {embedder}")))?;
    let store = session.config.store;
    if store == StoreKind::Qdrant {
        let qdrant = &session.config.qdrant;
        let place = format!("store {store}: {} at {}", qdrant.collection, qdrant.urls.join(", "));
        printer.line(styled(DIM, place))?;
    }
    list(printer, &documents)?;
    let speaks =
        |it: &str| session.catalogue.find(&embedder.id).is_none_or(|model| model.speaks(it));
    let advice: Vec<String> = foreign_languages(&catalog.languages()?, &speaks)
        .into_iter()
        .map(|(language, share)| language_advice(&embedder.id, language, share))
        .collect();
    for it in &advice {
        printer.note(it);
    }
    let rows: Vec<_> = documents
        .iter()
        .map(|it| {
            json!({
                "root": it.source.root,
                "document": it.source.path,
                "title": it.title,
                "language": it.language.map(Language::code),
                "collection": it.labels.collection,
                "groups": it.labels.groups,
                "licence": it.labels.licence,
                "modified": it.labels.modified,
                "chunks": it.n_chunks,
                "findings": told(&it.findings, Language::English),
            })
        })
        .collect();
    printer.json(&json!({
        "documents": counts.documents,
        "chunks": counts.chunks,
        "text_bytes": counts.text_bytes,
        "duplicates": counts.duplicates,
        "pending": counts.pending,
        "embedder": embedder.id,
        "store": store,
        "advice": advice,
        "list": rows,
    }))?;
    Ok(ExitCode::SUCCESS)
}

/// One line a document under its folder, and what was found in it.
fn list(printer: Printer, documents: &[StoredDocument]) -> Result<()> {
    let mut root = "";
    for it in documents {
        if it.source.root != root {
            root = &it.source.root;
            printer.line(format!("\n{}", styled(BOLD, root)))?;
        }
        let language = it.language.map_or("-", Language::code);
        let groups = match it.labels.groups.as_slice() {
            [] => String::new(),
            groups => format!("  only {}", groups.join(", ")),
        };
        printer.line(format!(
            "  {:<48} {language}  {:>4} chunks  {}{groups}",
            it.source.path,
            it.n_chunks,
            styled(DIM, it.labels.collection.as_deref().unwrap_or("-"))
        ))?;
        for finding in &it.findings {
            printer
                .line(styled(DIM, format!("      {}", finding_text(finding, Language::English))))?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "megabytes need no more digits")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
