//! The estimate of tokens beside real tokenizers, on the sample handbook.
//!
//! Reads `SOUFFLEUR_TEST_MODELS`, a models folder; says loudly that it was skipped without it, and
//! fails in CI.

use std::path::{Path, PathBuf};

use model::tokens::{self, Counter};
use souffleur::upstream::estimate::estimate;

use crate::variable;

/// Bytes of a text as long as a passage.
const TEXT_BYTES: usize = 800;

/// Texts as long as passages, of all sample documents that are text.
fn texts() -> Vec<String> {
    let mut open = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/handbook")];
    let mut res = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs_err::read_dir(path).unwrap().map(|it| it.unwrap().path()));
            continue;
        }
        let Ok(text) = fs_err::read_to_string(&path) else { continue };
        let mut piece = String::new();
        for line in text.lines() {
            piece.push_str(line);
            piece.push('\n');
            if piece.len() >= TEXT_BYTES {
                res.push(std::mem::take(&mut piece));
            }
        }
    }
    res
}

#[test]
fn the_estimate_is_above_what_real_tokenizers_give() {
    let Some(models) = variable("SOUFFLEUR_TEST_MODELS") else {
        assert!(variable("CI").is_none(), "CI must set SOUFFLEUR_TEST_MODELS");
        println!("SKIPPED: set SOUFFLEUR_TEST_MODELS to a models folder to run this test");
        return;
    };
    let texts = texts();
    assert!(texts.len() > 20, "the handbook has more text than that");
    let gguf = fs_err::read_dir(Path::new(&models).join("smollm2-135m-instruct"))
        .unwrap()
        .map(|it| it.unwrap().path())
        .find(|it| it.extension().is_some_and(|it| it == "gguf"))
        .unwrap();
    let json = Path::new(&models).join("all-minilm-l6-v2/tokenizer.json");
    for path in [gguf, json] {
        let counter = Counter::load(&path).unwrap();
        let pieces = match path.ends_with("tokenizer.json") {
            true => tokens::of_file(&path, &texts[0]),
            false => tokens::of_generator(&path, &texts[0]),
        };
        assert_eq!(counter.count(&texts[0]), pieces.unwrap().len());
        let (mut estimated, mut counted) = (0, 0);
        for text in &texts {
            let (more, n) = (estimate(text), counter.count(text));
            assert!(more >= n, "{}: {more} for {n} tokens of {text}", path.display());
            estimated += more;
            counted += n;
        }
        println!("{}: {estimated} estimated, {counted} counted", path.display());
        assert!(estimated < 2 * counted, "so high that it wastes half of the context");
    }
}
