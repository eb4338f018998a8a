use super::*;

const REMOTE: &str = "Employees may work remotely up to three days per week. Requests go to the \
                      manager at least 5 days before. Remote work is not allowed during the first \
                      month.";
const FRAIS: &str = "Le repas est remboursé jusqu’à 19,40 € par jour. Les notes de frais sont \
                     déposées avant le 5 du mois suivant.";

fn sources() -> Vec<Source<'static>> {
    vec![
        Source {
            heading: "Remote work policy".to_owned(),
            text: REMOTE,
            language: Some(Language::English),
        },
        Source {
            heading: "Notes de frais > Repas".to_owned(),
            text: FRAIS,
            language: Some(Language::French),
        },
    ]
}

/// Checks the draft without an embedder; expects for each sentence its verdict, its citations
/// (from 1) and where they come from.
#[track_caller]
fn check(draft: &str, language: Language, expected: &[(Verdict, &[usize], Origin)]) {
    let sources = sources();
    let checked = Case::new(draft, &sources).check(Some(language), None);
    let found: Vec<(Verdict, Vec<usize>, Origin)> = checked
        .iter()
        .map(|it| (it.verdict, it.citations.iter().map(|it| it + 1).collect(), it.origin))
        .collect();
    let expected: Vec<(Verdict, Vec<usize>, Origin)> = expected
        .iter()
        .map(|(verdict, cited, origin)| (*verdict, cited.to_vec(), *origin))
        .collect();
    assert_eq!(found, expected, "{checked:#?}");
}

#[test]
fn a_sentence_that_its_source_says_is_supported() {
    check(
        "Employees may work remotely up to 3 days per week [1].",
        Language::English,
        &[(Verdict::Supported, &[1], Origin::Cited)],
    );
    check(
        "Le repas est remboursé jusqu’à 19,40 euros par jour.[2]",
        Language::French,
        &[(Verdict::Supported, &[2], Origin::Cited)],
    );
}

#[test]
fn a_wrong_figure_is_unsupported() {
    check(
        "Employees may work remotely up to four days per week [1].",
        Language::English,
        &[(Verdict::Unsupported, &[1], Origin::Cited)],
    );
}

#[test]
fn a_citation_that_does_not_exist_is_dropped() {
    check(
        "Employees may work remotely up to three days per week [7].",
        Language::English,
        &[(Verdict::Supported, &[1], Origin::Attributed)],
    );
}

#[test]
fn a_citation_of_the_wrong_passage_is_corrected() {
    check(
        "Employees may work remotely up to three days per week [2].",
        Language::English,
        &[(Verdict::Supported, &[1], Origin::Attributed)],
    );
}

#[test]
fn a_sentence_without_marks_is_attributed() {
    check(
        "Requests go to the manager 5 days before. Paris is lovely in spring.",
        Language::English,
        &[
            (Verdict::Supported, &[1], Origin::Attributed),
            (Verdict::Unsupported, &[], Origin::None),
        ],
    );
}

#[test]
fn the_opposite_is_not_supported() {
    check(
        "Employees may not work remotely up to three days per week [1].",
        Language::English,
        &[(Verdict::Unsupported, &[1], Origin::Cited)],
    );
}

#[test]
fn an_invented_name_makes_it_partly_supported() {
    check(
        "Requests go to manager Durand at least 5 days before [1].",
        Language::English,
        &[(Verdict::Partly, &[1], Origin::Cited)],
    );
}

#[test]
fn a_figure_of_something_else_is_unsupported() {
    for draft in [
        "Requests go to the manager at least three days before [1].",
        "Employees may work remotely up to three days per month [1].",
    ] {
        check(draft, Language::English, &[(Verdict::Unsupported, &[1], Origin::Cited)]);
    }
    check(
        "Le repas est remboursé jusqu’à 1 940 € par jour [2].",
        Language::French,
        &[(Verdict::Unsupported, &[2], Origin::Cited)],
    );
}

#[test]
fn an_invented_end_makes_it_partly_supported() {
    check(
        "Employees may work remotely up to three days per week, which means that they choose \
         their own schedule [1].",
        Language::English,
        &[(Verdict::Partly, &[1], Origin::Cited)],
    );
}

#[test]
fn a_question_is_no_statement() {
    check(
        "How many days per week may employees work remotely?",
        Language::English,
        &[(Verdict::Unsupported, &[], Origin::None)],
    );
}

#[test]
fn evidence_is_the_sentence_that_says_it() {
    let sources = sources();
    let checked = Case::new("Le repas est remboursé jusqu’à 19,40 € [2].", &sources)
        .check(Some(Language::French), None);
    let evidence = checked[0].evidence.as_ref().unwrap();
    assert_eq!(evidence.source, 1);
    assert_eq!(&FRAIS[evidence.span.clone()], "Le repas est remboursé jusqu’à 19,40 € par jour.");
}

#[test]
fn meaning_by_the_embedder_counts_where_words_differ() {
    let sources = sources();
    let case = Case::new("Staff can telecommute [1].", &sources);
    let verdict = |cosine: f32| {
        let cosines = vec![vec![cosine; case.units().len()]];
        case.check(Some(Language::English), Some(&cosines))[0].verdict
    };
    assert_eq!(verdict(0.8), Verdict::Supported);
    assert_eq!(verdict(0.58), Verdict::Partly);
    assert_eq!(verdict(0.2), Verdict::Unsupported);
}

proptest::proptest! {
    #[test]
    fn no_draft_cites_a_source_that_is_not_there(draft in "([A-Za-z0-9 .,\\[\\]]|\\[[0-9]\\]){0,60}") {
        let sources = sources();
        for it in Case::new(&draft, &sources).check(None, None) {
            proptest::prop_assert!(it.citations.iter().all(|it| *it < sources.len()));
            proptest::prop_assert!(it.evidence.is_none_or(|it| it.source < sources.len()));
        }
    }
}

#[test]
fn a_row_that_is_written_out_is_its_source() {
    let text = "| Dépense | Paris | Autres villes |\n| --- | --- | --- |\n\
                | Nuit d’hôtel | 140,00 € | 98,00 € |\n| Dîner | 31,00 € | 24,00 € |";
    let source = Source { heading: String::new(), text, language: Some(Language::French) };
    let verdict = |draft: &str| {
        let sources = [source.clone()];
        Case::new(draft, &sources).check(Some(Language::French), None)[0].verdict
    };
    let row = |paris: &str| format!("Dépense : Dîner ; Paris : {paris} ; Autres villes : 24,00 €");
    assert_eq!(verdict(&row("31,00 €")), Verdict::Supported);
    assert_ne!(verdict(&row("140,00 €")), Verdict::Supported);
}
