//! Word recall of every parser against the expected Markdown of docling's test set.
//!
//! The set is not part of the project. Name its folder and see the figures:
//!
//! ```text
//! SOUFFLEUR_DOCLING_DIR=DIR cargo test --release -p ingest --test docling -- --nocapture
//! ```
//!
//! Word recall: of the words of the expected text, how many are in ours, each as often as there.
//! From the expected text are taken away what is not text of the document: image markers, tags,
//! and the addresses behind links, which our parsers leave out. The second figure counts those
//! addresses as words too.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ingest::parse::{
    Limits, ParseError, Parsed, csv, docx, email, html, markdown, pdf, pptx, text, xlsx,
};
use regex::Regex;

/// What the mean of each format must reach.
const RECALL_MIN: f64 = 0.95;

/// Formats that have expected texts, and the folder of each.
const FORMATS: [&str; 7] = ["csv", "docx", "html", "md", "pdf", "pptx", "xlsx"];

/// Folders without expected texts: every file is parsed or refused.
const OTHER_FOLDERS: [&str; 2] = ["email", "pdf_password"];

#[expect(clippy::disallowed_methods, reason = "the set's place is the machine's, not a setting")]
fn set_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("SOUFFLEUR_DOCLING_DIR").map(PathBuf::from);
    let in_ci = std::env::var("CI").is_ok_and(|it| it == "true");
    assert!(dir.is_some() || !in_ci, "SOUFFLEUR_DOCLING_DIR must be set in continuous integration");
    dir
}

fn parse(path: &Path) -> Result<Parsed, ParseError> {
    let bytes = fs_err::read(path)?;
    let limits = Limits::default();
    let attach = |name: &str, bytes: &[u8]| parse_as(name, bytes, &limits);
    match path.extension().and_then(|it| it.to_str()) {
        Some("eml") => email::parse(&bytes, &limits, &attach),
        _ => parse_as(&path.to_string_lossy(), &bytes, &limits),
    }
}

fn parse_as(name: &str, bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    match name.rsplit('.').next().unwrap_or_default() {
        "csv" => csv::parse(bytes, limits),
        "html" => html::parse(bytes, limits),
        "md" => markdown::parse(bytes, limits),
        "txt" => text::parse(bytes, limits),
        "docx" => docx::parse(bytes, limits),
        "pptx" => pptx::parse(bytes, limits),
        "xlsx" | "xlsm" => xlsx::parse(bytes, limits),
        "pdf" => pdf::parse(bytes, limits, &[], &|| false),
        other => Err(ParseError::Unsupported { extension: other.to_owned() }),
    }
}

/// The files of a folder, sorted by name.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

/// The expected text of a file, under its full name or, for PDF, its stem.
fn expected(dir: &Path, source: &Path) -> Option<String> {
    let name = source.file_name()?.to_str()?;
    let stem = source.file_stem()?.to_str()?;
    let candidates = [format!("{name}.md"), format!("{stem}.md")];
    let mut paths = candidates.iter().map(|it| dir.join("groundtruth").join(it));
    paths.find(|path| path.is_file()).map(|path| fs_err::read_to_string(path).unwrap())
}

fn words(text: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    counts
}

/// Of the expected words, the share that was found; and the missing ones, to look at.
fn recall(expected: &str, found: &str) -> (f64, Vec<String>) {
    let (expected, found) = (words(expected), words(found));
    let n_expected: usize = expected.values().sum();
    let mut n_missing = 0;
    let mut missing = Vec::new();
    for (word, n) in expected {
        let lacking = n.saturating_sub(found.get(&word).copied().unwrap_or(0));
        n_missing += lacking;
        if lacking > 0 {
            missing.push(word);
        }
    }
    missing.sort();
    (1.0 - n_missing as f64 / n_expected.max(1) as f64, missing)
}

fn check_format(dir: &Path, format: &str) -> f64 {
    let markup = Regex::new(r"(?s)<!--.*?-->|</?[A-Za-z][^<>]*>").unwrap();
    let address = Regex::new(r"\]\((?:[^()\s]|\([^()\s]*\))*\)").unwrap();
    let mut recalls = Vec::new();
    for source in files(&dir.join("sources")) {
        let name = source.file_name().unwrap().to_string_lossy().into_owned();
        let text = match parse(&source) {
            Ok(parsed) => parsed.pages.iter().map(|page| page.text.as_str()).collect::<String>(),
            Err(error) => {
                println!("{format:5}               {name}: {error}");
                String::new()
            }
        };
        let Some(expected) = expected(dir, &source) else { continue };
        let expected = markup.replace_all(&expected, " ");
        let (with_addresses, _) = recall(&expected, &text);
        let (share, missing) = recall(&address.replace_all(&expected, "] "), &text);
        let first: Vec<_> = missing.iter().take(12).map(String::as_str).collect();
        println!("{format:5} {share:.4} {with_addresses:.4} {name}  {}", first.join(" "));
        recalls.push((share, with_addresses));
    }
    let n = recalls.len() as f64;
    let mean = recalls.iter().map(|it| it.0).sum::<f64>() / n;
    let with_addresses = recalls.iter().map(|it| it.1).sum::<f64>() / n;
    println!("{format:5} {mean:.4} {with_addresses:.4} MEAN of {n} files");
    mean
}

#[test]
fn word_recall_of_every_format() {
    let Some(set) = set_dir() else {
        println!("SKIPPED: set SOUFFLEUR_DOCLING_DIR to measure the parsers");
        return;
    };
    println!("       recall  with link addresses");
    let means: Vec<_> =
        FORMATS.iter().map(|format| (*format, check_format(&set.join(format), format))).collect();
    for (format, mean) in means {
        assert!(mean >= RECALL_MIN, "{format}: {mean:.4}");
    }
}

#[test]
fn every_file_is_parsed_or_refused() {
    let Some(set) = set_dir() else {
        println!("SKIPPED: set SOUFFLEUR_DOCLING_DIR to parse the set's files");
        return;
    };
    for folder in OTHER_FOLDERS {
        for source in files(&set.join(folder).join("sources")) {
            match parse(&source) {
                Ok(parsed) => println!("{}: {} pages", source.display(), parsed.pages.len()),
                Err(error) => println!("{}: {error}", source.display()),
            }
        }
    }
}
