use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Title, text and language of chunks whose ids count from 1.
type Sample<'a> = (&'a str, &'a str, Option<Language>);

const FRENCH: Option<Language> = Some(Language::French);
const ENGLISH: Option<Language> = Some(Language::English);

fn chunk<'a>(id: i64, title: &'a str, text: &'a str, facets: &'a Facets) -> LexicalChunk<'a> {
    let language = facets.language;
    LexicalChunk { id: ChunkId(id), title, heading_path: "", text, language, facets }
}

fn lexical(samples: &[Sample<'_>]) -> (tempfile::TempDir, Lexical) {
    let dir = tempfile::tempdir().unwrap();
    let lexical = Lexical::open(dir.path()).unwrap();
    for (id, &(title, text, language)) in (1..).zip(samples) {
        let facets = Facets { language, ..Facets::default() };
        lexical.put(&chunk(id, title, text, &facets)).unwrap();
    }
    lexical.commit(1).unwrap();
    (dir, lexical)
}

fn found(lexical: &Lexical, question: &str, language: Option<Language>) -> Vec<i64> {
    let hits = lexical.search(question, language, &Filter::default(), 10).unwrap();
    assert!(hits.iter().all(|it| it.score.is_finite() && it.score > 0.0));
    hits.into_iter().map(|it| it.chunk.0).collect()
}

#[track_caller]
fn check(samples: &[Sample<'_>], question: &str, language: Option<Language>, expected: &[i64]) {
    let (_dir, lexical) = lexical(samples);
    assert_eq!(found(&lexical, question, language), expected, "{question}");
}

#[test]
fn finds_french_words_in_any_form() {
    let samples = [
        ("", "Les congés payés sont de cinq semaines.", FRENCH),
        ("", "Le badge ouvre la porte.", FRENCH),
    ];
    for question in ["conge paye", "Combien de CONGÉS ?", "l'élu congé", "d’un congé"] {
        check(&samples, question, FRENCH, &[1]);
    }
    check(&samples, "La porte", FRENCH, &[2]);
    check(&samples, "Où est la cantine ?", FRENCH, &[]);
}

#[test]
fn a_word_of_the_title_counts_more_than_one_of_the_text() {
    let samples = [
        ("Badge", "Il ouvre la porte du bureau.", FRENCH),
        ("Porte", "Elle demande un badge au bureau.", FRENCH),
    ];
    check(&samples, "badge", FRENCH, &[1, 2]);
    check(&samples, "porte", FRENCH, &[2, 1]);
}

#[test]
fn a_code_finds_its_document_first_and_its_neighbours_after() {
    let samples = [
        ("", "Voir la procédure RH-2024-018 du service.", FRENCH),
        ("", "Voir la procédure RH-2024-017 du service.", FRENCH),
        ("", "Contract art. L.1234-5 applies.", ENGLISH),
    ];
    check(&samples, "RH-2024-017", None, &[2, 1]);
    check(&samples, "rh-2024-017", FRENCH, &[2, 1]);
    check(&samples, "L1234-5", FRENCH, &[3]);
}

#[test]
fn a_chunk_of_unknown_language_matches_in_each_but_does_not_count_twice() {
    let samples =
        [("", "congés policies", None), ("", "congés badge", FRENCH), ("", "policies", ENGLISH)];
    check(&samples, "congé", FRENCH, &[1, 2]);
    check(&samples, "policy", ENGLISH, &[3, 1]);
    let (_dir, lexical) = lexical(&samples);
    let hits = lexical.search("congé", None, &Filter::default(), 10).unwrap();
    assert!((hits[0].score - hits[1].score).abs() < 0.2 * hits[0].score, "{hits:?}");
}

#[test]
fn names_are_found_across_languages() {
    let samples = [("", "Ask Zoé Lemaître for access.", ENGLISH)];
    check(&samples, "Qui est Zoe LEMAITRE ?", FRENCH, &[1]);
}

#[test]
fn nothing_in_a_question_is_syntax() {
    let samples = [("", "alpha", ENGLISH)];
    for question in ["alpha AND (", "\"alpha", "title:alpha~", "alpha^-1 [TO}", "+alpha -alpha \\"]
    {
        check(&samples, question, ENGLISH, &[1]);
    }
    for question in ["", " ", "*", "the", "\u{0}", "🎭"] {
        check(&samples, question, ENGLISH, &[]);
    }
}

#[test]
fn a_huge_question_is_answered_by_its_rarest_words() {
    let (_dir, lexical) = lexical(&[("", "alpha beta", ENGLISH), ("", "gamma", ENGLISH)]);
    let mut question: String = (0..12_000).map(|i| format!("word{i} ")).collect();
    question.push_str("gamma");
    assert!(question.len() > 100_000);
    assert_eq!(found(&lexical, &question, ENGLISH), [2]);
}

#[test]
fn equal_scores_are_cut_by_id() {
    let samples = vec![("", "same words", ENGLISH); 60];
    let (_dir, lexical) = lexical(&samples);
    for k in [0, 1, 5, 60, 1_000, usize::MAX] {
        let hits = lexical.search("words", ENGLISH, &Filter::default(), k).unwrap();
        let ids: Vec<_> = hits.iter().map(|it| it.chunk.0).collect();
        assert_eq!(ids, (1..=60).take(k).collect::<Vec<_>>());
    }
}

#[test]
fn a_language_does_not_shift_the_lengths_of_the_other() {
    let french = [("", "badge porte bureau", FRENCH), ("", "badge porte bureau étage clé", FRENCH)];
    let (_dir, alone) = lexical(&french);
    let mut samples = french.to_vec();
    samples.extend([("", "one two three four", ENGLISH); 2]);
    let (_dir, beside) = lexical(&samples);
    // The ratio depends on lengths only, for the rarity is the same factor in both scores.
    let ratio = |lexical: &Lexical| {
        let terms = |id| lexical.explain("badge", FRENCH, ChunkId(id)).unwrap();
        let stem = |id| terms(id).iter().find(|it| it.kind != TermKind::Exact).unwrap().score;
        stem(1) / stem(2)
    };
    assert!((ratio(&alone) - ratio(&beside)).abs() < 1e-6);
}

#[test]
fn the_explanation_adds_up_to_the_score() {
    let samples = [
        ("Congés", "Les congés payés de Zoé.", FRENCH),
        ("", "zoé congés", None),
        ("Leave", "Paid leave.", ENGLISH),
    ];
    let (_dir, lexical) = lexical(&samples);
    for language in [None, FRENCH, ENGLISH] {
        let question = "Quels congés pour Zoé, paid leave ?";
        let hits = lexical.search(question, language, &Filter::default(), 10).unwrap();
        assert!(!hits.is_empty());
        for hit in hits {
            let terms = lexical.explain(question, language, hit.chunk).unwrap();
            let total: f32 = terms.iter().map(|it| it.score).sum();
            assert!((total - hit.score).abs() < 1e-5, "{hit:?}: {terms:?}");
            assert!(terms.is_sorted_by(|a, b| a.score >= b.score));
        }
    }
    assert_eq!(lexical.explain("congés", FRENCH, ChunkId(99)).unwrap(), []);
    assert_eq!(lexical.explain("cantine", FRENCH, ChunkId(1)).unwrap(), []);
}

#[test]
fn changes_show_after_the_commit_and_survive_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let facets = Facets { language: ENGLISH, ..Facets::default() };
    let lexical = Lexical::open(dir.path()).unwrap();
    assert_eq!(lexical.watermark(), 0);
    lexical.put(&chunk(1, "", "alpha", &facets)).unwrap();
    lexical.put(&chunk(1, "", "beta", &facets)).unwrap();
    lexical.put(&chunk(2, "", "beta", &facets)).unwrap();
    assert_eq!(found(&lexical, "beta", ENGLISH), [0; 0]);
    lexical.commit(7).unwrap();
    lexical.delete(ChunkId(2)).unwrap();
    lexical.delete(ChunkId(99)).unwrap();
    assert_eq!(found(&lexical, "beta", ENGLISH), [1, 2]);
    drop(lexical);

    let lexical = Lexical::open(dir.path()).unwrap();
    assert_eq!(lexical.watermark(), 7, "the delete was not committed");
    assert_eq!(found(&lexical, "beta", ENGLISH), [1, 2]);
    assert_eq!(found(&lexical, "alpha", ENGLISH), [0; 0]);
    lexical.delete(ChunkId(2)).unwrap();
    lexical.commit(8).unwrap();
    lexical.optimize().unwrap();
    drop(lexical);

    let lexical = Lexical::open(dir.path()).unwrap();
    assert_eq!(lexical.watermark(), 8, "merging keeps the watermark");
    assert_eq!(found(&lexical, "beta", ENGLISH), [1]);
}

#[test]
fn a_chunk_more_does_not_write_a_large_index_anew() {
    let (_dir, lexical) = lexical(&[("", "alpha", ENGLISH); 40]);
    let sizes = || {
        let metas = lexical.index.searchable_segment_metas().unwrap();
        let mut sizes: Vec<u32> = metas.iter().map(SegmentMeta::num_docs).collect();
        sizes.sort_unstable();
        sizes
    };
    let add = |ids: std::ops::Range<i64>| {
        for id in ids {
            lexical.put(&chunk(id, "", "beta", &Facets::default())).unwrap();
            lexical.commit(1).unwrap();
        }
        lexical.optimize().unwrap();
    };
    lexical.optimize().unwrap();
    assert_eq!(sizes(), [40]);
    add(100..102);
    assert_eq!(sizes(), [2, 40]);
    assert_eq!(found(&lexical, "beta", None), [100, 101]);
    add(102..105);
    assert_eq!(sizes(), [45], "a tenth is worth it");
    (1..6).for_each(|id| lexical.delete(ChunkId(id)).unwrap());
    add(105..106);
    assert_eq!(sizes(), [41], "and so is a tenth that is gone");
}

#[test]
fn a_commit_without_changes_moves_the_watermark() {
    let dir = tempfile::tempdir().unwrap();
    Lexical::open(dir.path()).unwrap().commit(5).unwrap();
    assert_eq!(Lexical::open(dir.path()).unwrap().watermark(), 5);
}

#[test]
fn readers_need_no_lock_and_a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Lexical::open(dir.path()).unwrap();
    first.delete(ChunkId(1)).unwrap();
    let second = Lexical::open(dir.path()).unwrap();
    assert_eq!(found(&second, "alpha", None), [0; 0]);
    let error = second.delete(ChunkId(1)).unwrap_err();
    assert!(matches!(error, LexicalError::Write { .. }), "{error}");
    drop(first);
    second.delete(ChunkId(1)).unwrap();
}

#[test]
fn a_damaged_index_is_an_error_that_names_its_folder() {
    let (dir, lexical) = lexical(&[("", "alpha", ENGLISH)]);
    drop(lexical);
    fs_err::write(dir.path().join("meta.json"), "{").unwrap();
    let error = Lexical::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
}

fn any_facets() -> impl Strategy<Value = Facets> {
    let name = || prop::sample::select(vec!["hr", "it", "hr/leave", "board"]);
    let path = prop::collection::vec(prop::sample::select(vec!["hr", "leave", "a.md"]), 0..3);
    let languages = vec![None, FRENCH, ENGLISH];
    (
        prop::option::of(name()),
        prop::sample::select(languages),
        path,
        prop::option::of(-2_i64..3),
        prop::collection::vec(name(), 0..3),
    )
        .prop_map(|(collection, language, path, modified, groups)| Facets {
            collection: collection.map(str::to_owned),
            language,
            path: path.join("/"),
            modified,
            groups: groups.into_iter().map(str::to_owned).collect(),
        })
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let date = || prop::option::of(prop_oneof![-2_i64..3, Just(i64::MIN), Just(i64::MAX)]);
    let path = prop::sample::select(vec!["", "/", "hr", "hr/leave/", "/leave", "hr/a.md"]);
    (any_facets(), any_facets(), date(), date(), any::<[bool; 3]>(), path).prop_map(
        |(a, b, modified_from, modified_to, [languages, path_set, groups], path)| Filter {
            collections: a.collection.into_iter().collect(),
            languages: a.language.into_iter().chain(b.language).filter(|_| languages).collect(),
            path_prefix: path_set.then(|| path.to_owned()),
            modified_from,
            modified_to,
            groups: groups.then_some(b.groups),
        },
    )
}

proptest! {
    // Each case writes an index.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn filters_mean_what_the_filter_says(
        facets in prop::collection::vec(any_facets(), 1..12),
        filters in prop::collection::vec(any_filter(), 40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let lexical = Lexical::open(dir.path()).unwrap();
        for (id, facets) in (1..).zip(&facets) {
            lexical.put(&chunk(id, "", "alpha", facets)).unwrap();
        }
        lexical.commit(1).unwrap();
        for filter in filters {
            let hits = lexical.search("alpha", None, &filter, 100).unwrap();
            let mut ids: Vec<_> = hits.iter().map(|it| it.chunk.0).collect();
            ids.sort_unstable();
            let allowed = (1..).zip(&facets).filter(|(_, facets)| filter.matches(facets));
            prop_assert_eq!(ids, allowed.map(|(id, _)| id).collect::<Vec<_>>(), "{:?}", filter);
        }
    }

    #[test]
    fn random_changes_leave_what_a_map_would_hold(
        steps in prop::collection::vec((0_i64..6, 0_u8..5), 1..40),
    ) {
        let words = ["alpha", "beta", "gamma"];
        let dir = tempfile::tempdir().unwrap();
        let mut lexical = Lexical::open(dir.path()).unwrap();
        let mut model = BTreeMap::new();
        for (n, &(id, action)) in (1..).zip(&steps) {
            match action {
                0..3 => {
                    let word = words[usize::from(action)];
                    lexical.put(&chunk(id, "", word, &Facets::default())).unwrap();
                    model.insert(id, word);
                }
                3 => {
                    lexical.delete(ChunkId(id)).unwrap();
                    model.remove(&id);
                }
                _ => {
                    lexical.commit(n).unwrap();
                    drop(lexical);
                    lexical = Lexical::open(dir.path()).unwrap();
                    prop_assert_eq!(lexical.watermark(), n);
                }
            }
        }
        lexical.commit(99).unwrap();
        for word in words {
            let mut ids = found(&lexical, word, None);
            ids.sort_unstable();
            let expected = model.iter().filter(|(_, it)| **it == word).map(|(&id, _)| id);
            prop_assert_eq!(ids, expected.collect::<Vec<_>>());
        }
    }
}
