//! Constructed cases: what must be said of answers whose worth is known.

use super::{
    arms::parse_arms,
    kept::Reply,
    questions::Questions,
    report::{html::html, json, markdown::markdown, words::Words},
    result::{Comparison, Entrant, compare},
    scores::{Footprint, Metric},
    stats::Outcome,
    trained::Trained,
    verdict::Decision,
};
use crate::{
    eval::answers::{KnownQuestion, Maker},
    stale::Stale,
};
use ingest::document::Language;
use tune::train::ability::{Ability, Change, Score};

/// Answers of one arm: `R`ight, in `L`onger words but right, `W`rong, re`F`used.
fn replies(pattern: &str, milliseconds: u64) -> Vec<Reply> {
    let reply = |(i, c): (usize, char)| {
        let text = match c {
            'R' => format!("answer{i}"),
            'L' => format!("well, as far as the documents go, it is answer{i}, no more"),
            'W' => "something else".to_owned(),
            _ => "not in the documents".to_owned(),
        };
        let total_us = milliseconds * 1000;
        Reply { text, refused: c == 'F', total_us, ..Reply::default() }
    };
    pattern.chars().enumerate().map(reply).collect()
}

fn known(i: usize, is_answerable: bool) -> KnownQuestion {
    KnownQuestion {
        question: format!("What is asked as number {i}?"),
        answers: if is_answerable { vec![format!("answer{i}")] } else { Vec::new() },
        document: is_answerable.then(|| format!("rh/d{}.md", i % 3)),
        language: Some("en".to_owned()),
        kind: Some(if i.is_multiple_of(2) { "fact" } else { "table" }.to_owned()),
        ..KnownQuestion::default()
    }
}

/// Arms with a pattern and the milliseconds of an answer each. The last `n_unanswerable`
/// questions have no answer.
fn compared(arms: &str, patterns: &[(&str, u64)], n_unanswerable: usize) -> Comparison {
    let of_arms: Vec<Vec<Reply>> = patterns.iter().map(|(it, ms)| replies(it, *ms)).collect();
    let n = of_arms[0].len();
    let questions = (0..n).map(|i| known(i, i + n_unanswerable < n)).collect();
    let of_questions = (0..n).map(|i| of_arms.iter().map(|it| it[i].clone()).collect()).collect();
    compare(entrants(arms, &[]), Questions { asked: questions, n_left_out: 0 }, of_questions)
}

/// Arms, of which those with an adapter have been trained in these ways, the rest in none.
fn entrants(arms: &str, trained: &[Trained]) -> Vec<Entrant> {
    let mut trained = trained.iter();
    let each = parse_arms(arms).unwrap().into_iter().map(|arm| {
        let told = arm.adapter.as_ref().and_then(|_| trained.next().cloned());
        Entrant { arm, trained: told.unwrap_or_default(), footprint: None }
    });
    each.collect()
}

/// What both arms answer to questions that only one of them has right now and then.
fn nearly_alike(n: usize) -> [Vec<Reply>; 2] {
    let first = "RWRRWRRRWR".repeat(n.div_ceil(10));
    let mut second = first.clone();
    second.replace_range(0..4, "WRWW");
    [replies(&first[..n], 900), replies(&second[..n], 400)]
}

fn side_by_side([first, second]: [Vec<Reply>; 2]) -> Vec<Vec<Reply>> {
    first.into_iter().zip(second).map(|(a, b)| vec![a, b]).collect()
}

#[track_caller]
fn says(it: &Comparison, english: &[&str], french: &[&str]) {
    for word in english {
        assert!(it.verdict.english.contains(word), "`{word}`: {}", it.verdict.english);
    }
    for word in french {
        assert!(it.verdict.french.contains(word), "`{word}`: {}", it.verdict.french);
    }
}

fn outcome(it: &Comparison, metric: Metric) -> Outcome {
    it.pairs_by(metric).next().unwrap().outcome
}

#[test]
fn one_question_concludes_nothing() {
    let it = compared("base,rag", &[("W", 900), ("R", 400)], 0);
    assert_eq!(it.verdict.decision, Decision::TooFew);
    says(&it, &["Nothing can be concluded: 1 question was asked"], &["Rien ne peut être conclu"]);
    assert_eq!(outcome(&it, Metric::Right), Outcome::CannotTell);
}

#[test]
fn identical_arms_do_not_differ() {
    let pattern = "RWRRWRRRWR".repeat(3);
    let it = compared("rag,rag", &[(&pattern, 900), (&pattern, 400)], 0);
    assert_eq!(it.verdict.decision, Decision::Same(1));
    says(&it, &["No difference", "`rag#2`"], &["Aucune différence", "0,4\u{a0}s"]);
    let pair = it.pairs_by(Metric::Right).next().unwrap();
    assert_eq!((pair.difference.mean.value, pair.p_holm, pair.outcome), (0.0, 1.0, Outcome::Same));
    assert_eq!((pair.difference.wins, pair.difference.ties, pair.difference.losses), (0, 30, 0));
}

#[test]
fn a_clear_winner_is_named_with_its_difference() {
    let it = compared(
        "base,rag,extract",
        &[(&"WWWWR".repeat(10), 900), (&"RRRRR".repeat(10), 400), (&"RWRWR".repeat(10), 20)],
        0,
    );
    assert_eq!(it.verdict.decision, Decision::Best(1));
    says(
        &it,
        &["`rag` is best: 100%", "against 60% of `extract`", "40.0 points", "worse: `base` (20%)"],
        &["`rag` est la meilleure", "40,0 points", "Temps médian", "`extract` 0,02"],
    );
    assert_eq!(it.flipped(0, 1), (vec![], (0..50).filter(|i| i % 5 != 4).collect()));
}

#[test]
fn overlapping_arms_cannot_be_told_apart_and_more_questions_would() {
    let mut other = "RWRRWRRRWR".repeat(4);
    other.replace_range(0..4, "WRWW");
    let it = compared("rag,extract", &[(&"RWRRWRRRWR".repeat(4), 900), (&other, 400)], 0);
    let Decision::CannotTell(them) = &it.verdict.decision else { panic!("{:?}", it.verdict) };
    assert_eq!(them, &[0, 1]);
    let more = it.pairs_by(Metric::Right).next().unwrap().difference.more_questions.unwrap();
    assert!(more > 40, "{more}");
    says(
        &it,
        &["cannot be told", "within noise", &format!("{more} more questions")],
        &["Rien ne permet de dire", &format!("{more} questions de plus")],
    );
}

#[test]
fn arms_that_are_as_good_are_alike_with_enough_questions() {
    let pattern = "RWRRWRRRWR".repeat(10);
    let longer = pattern.replace('R', "L");
    let it = compared("rag,rag[passages=2]", &[(&pattern, 900), (&longer, 300)], 0);
    assert_eq!(it.verdict.decision, Decision::Alike(vec![1, 0]));
    says(&it, &["as good as each other", "5 points"], &["se valent"]);
}

#[test]
fn an_adapter_that_changes_words_and_not_facts_is_told() {
    let pattern = "RWRRWRRRWR".repeat(10);
    let it = compared(
        "rag,rag+ft:rh=adapters/rh",
        &[(&pattern.replace('R', "L"), 900), (&pattern, 900)],
        0,
    );
    assert_eq!(outcome(&it, Metric::F1), Outcome::Better);
    says(&it, &["RAG suffices so far", "changes form"], &["Le RAG suffit", "change la forme"]);
    let better = "RRRRRRRRRR".repeat(10);
    let it = compared("rag,rag+ft:rh=adapters/rh", &[(&pattern, 900), (&better, 900)], 0);
    assert_eq!(it.verdict.decision, Decision::Best(1));
    says(&it, &["Fine-tuning pays"], &["L'affinage paie"]);
    let it = compared("rag,ft:rh=adapters/rh", &[(&better, 900), (&pattern, 900)], 0);
    says(&it, &["RAG suffices:", "for the worse"], &["en moins bien"]);
}

#[test]
fn refusals_are_told_where_questions_have_no_answer() {
    let it = compared("base,rag", &[("RRRRRRRRRRWWWWW", 900), ("RRRRRRRRRRFFFFW", 900)], 5);
    says(&it, &["refused: `base` 0, `rag` 4"], &["refusées : `base` 0, `rag` 4"]);
    let no = it.slices.iter().find(|it| (it.by, it.value.as_str()) == ("answerable", "no"));
    let no = no.unwrap();
    assert_eq!((no.n, no.right[0].value, no.right[1].value), (5, 0.0, 0.8));
    let kinds: Vec<&str> = it.slices.iter().map(|it| it.by).collect();
    assert_eq!(kinds, ["answerable", "answerable", "type", "type"], "one language sorts nothing");
}

#[test]
fn documents_that_an_adapter_was_trained_on_are_told() {
    let trained = Trained {
        seconds: Some(90.0),
        documents: ["d0.md".to_owned()].into(),
        tells_documents: true,
        ..Trained::default()
    };
    let questions: Vec<KnownQuestion> = (0..12).map(|i| known(i, true)).collect();
    let answers = side_by_side([replies("RRRRRRRRRRRR", 100), replies("RWRRRRRRRRRR", 100)]);
    let asked = Questions { asked: questions, n_left_out: 0 };
    let it = compare(
        entrants("rag,rag+ft:rh=x", std::slice::from_ref(&trained)),
        asked.clone(),
        answers.clone(),
    );
    assert_eq!(it.arms[1].n_seen, 4);
    says(&it, &["4 questions are about documents", "trained in 1.5 min"], &["4 questions portent"]);
    assert!(!it.verdict.english.contains("does not say what"), "{}", it.verdict.english);
    let page = html(&it, Words { language: Language::English });
    assert_eq!(page.matches("trained on its document: rag+ft:rh").count(), 4);
    assert_eq!(json::comparison(&it)["questions"][0]["trained_on"][0], "rag+ft:rh");

    let untold = Trained { tells_documents: false, ..trained };
    let it = compare(entrants("rag,rag+ft:rh=x", &[untold]), asked, answers);
    says(
        &it,
        &["4 questions are about", "`rag+ft:rh` does not say what it was trained on"],
        &["`rag+ft:rh` ne dit pas de quoi elle a été affinée"],
    );
    let adapter = &json::comparison(&it)["arms"][1];
    assert_eq!(adapter["questions_trained_on"], serde_json::Value::Null, "nobody knows");
}

fn general(perplexity: f64, n_right: usize) -> Ability {
    let score = Score { perplexity, n_right, n_questions: 40 };
    Ability { all: score, en: score, fr: score }
}

/// An adapter that forgot, and whose documents have changed.
fn forgetful() -> Trained {
    Trained {
        seconds: Some(240.0),
        peak_bytes: Some(1_234_000_000),
        tells_documents: true,
        ability: Some(Change { before: general(20.1, 30), after: general(25.3, 24) }),
        stale: Some(Stale {
            changed: vec!["a.md".to_owned()],
            deleted: vec!["b.md".to_owned(), "c.md".to_owned()],
            n_documents: 5,
        }),
        ..Trained::default()
    }
}

/// Three arms, two of them with an adapter, one of which a server writes; 30 questions.
fn with_costs(trained: [Trained; 2]) -> Comparison {
    let mut entrants = entrants("rag,ft:rh=x,rag+ft:rh", &trained);
    let weights_bytes = 300_000_000;
    entrants[0].footprint = Some(Footprint { weights_bytes, token_bytes: 100_000 });
    entrants[1].footprint = Some(Footprint { weights_bytes: 1_400_000_000, token_bytes: 0 });
    let mut written = replies(&"RWRRWRRRWR".repeat(3), 100);
    (written[7].n_prompt_tokens, written[7].n_tokens) = (800, 200);
    written[7].generator = Some("tiny".to_owned());
    let answers: Vec<Vec<Reply>> = written.iter().map(|it| vec![it.clone(); 3]).collect();
    let questions: Vec<KnownQuestion> = (0..30).map(|i| known(i, true)).collect();
    compare(entrants, Questions { asked: questions, n_left_out: 0 }, answers)
}

#[test]
fn costs_forgetting_and_staleness_are_told() {
    let it = with_costs([forgetful(), forgetful()]);
    says(
        &it,
        &[
            "`ft:rh` 0.1\u{a0}s (trained in 4.0 min with 1.2\u{a0}GB at most)",
            "Memory for the largest answer, computed: `rag` 400\u{a0}MB, `ft:rh` 1.4\u{a0}GB.",
            "Forgetting (`ft:rh`, `rag+ft:rh`): perplexity of general texts 20.1 → 25.3, right \
             answers 30 → 24 of 40; its general ability dropped.",
            "Staleness (`ft:rh`, `rag+ft:rh`): of the documents of its training (5) 1 changed and \
             2 went",
        ],
        &[
            "(affinée en 4,0 min, 1,2\u{a0}Go au plus)",
            "Mémoire pour la plus grande réponse, calculée : `rag` 400\u{a0}Mo",
            "Oubli (`ft:rh`, `rag+ft:rh`) : perplexité de textes généraux 20,1 → 25,3",
            "ses capacités générales ont baissé.",
            "modifiés : 1, disparus : 2",
        ],
    );
    let fresh = Trained {
        ability: Some(Change { before: general(20.1, 30), after: general(20.3, 31) }),
        stale: Some(Stale { n_documents: 5, ..Stale::default() }),
        ..forgetful()
    };
    says(
        &with_costs([fresh.clone(), fresh]),
        &["its general ability is kept", "the documents of its training (5) did not change"],
        &["ses capacités générales se maintiennent", "(5) sont inchangés"],
    );
    let it = with_costs([Trained::default(), Trained::default()]);
    says(&it, &["Forgetting (`ft:rh`, `rag+ft:rh`): not measured."], &["Oubli", "non mesuré."]);
    says(
        &it,
        &["`ft:rh` and `rag+ft:rh` do not say what they were trained on"],
        &["`ft:rh` et `rag+ft:rh` ne disent pas de quoi elles ont été affinées"],
    );
    assert!(!it.verdict.english.contains("Staleness"), "nobody knows: {}", it.verdict.english);
}

#[test]
fn reports_and_json_hold_costs() {
    let it = with_costs([forgetful(), forgetful()]);
    let report = json::comparison(&it);
    let arms = report["arms"].as_array().unwrap();
    assert_eq!(arms[0]["memory_bytes"], 400_000_000);
    assert_eq!(arms[0]["metrics"]["memory_mb"]["n"], 30);
    assert_eq!(report["questions"][7]["answers"][0]["scores"]["memory_mb"], 400.0);
    assert_eq!(arms[2]["memory_bytes"], serde_json::Value::Null, "a server writes");
    assert_eq!(arms[1]["ability"]["dropped"], true);
    assert_eq!(arms[1]["staleness"]["deleted"], 2);
    assert_eq!(arms[1]["training_peak_bytes"], 1_234_000_000);
    let words = Words { language: Language::French };
    for page in [html(&it, words), markdown(&it, words)] {
        for fact in ["poids sur disque", "300\u{a0}Mo", "1 + 2 / 5", "20,1 → 25,3", "écrites par"]
        {
            assert!(page.contains(fact), "`{fact}`: {page}");
        }
    }
}

#[test]
fn what_would_settle_a_difference_within_noise_is_told_of_adapters_too() {
    // 250 questions, of which the adapter has eight that the other has not, and lacks five: 1.2 points.
    let pattern = "LWLLWLLLWL".repeat(25);
    let mut tuned = pattern.replace('L', "R");
    for (at, c) in
        [(1, 'R'), (4, 'R'), (8, 'R'), (11, 'R'), (14, 'R'), (18, 'R'), (21, 'R'), (24, 'R')]
            .into_iter()
            .chain([(30, 'W'), (32, 'W'), (33, 'W'), (35, 'W'), (36, 'W')])
    {
        tuned.replace_range(at..=at, &c.to_string());
    }
    let it = compared("rag,rag+ft:rh=x", &[(&pattern, 900), (&tuned, 900)], 0);
    let difference = &it.pairs_by(Metric::Right).next().unwrap().difference;
    assert_eq!((difference.wins, difference.losses), (8, 5));
    let more = difference.more_questions.unwrap();
    says(
        &it,
        &[
            "RAG suffices so far: `rag+ft:rh` changes form (F1), not facts; its difference of 1.2 \
             points",
            &format!("to `rag` is within noise; {more} more questions like these would settle it."),
        ],
        &[
            "change la forme (F1), pas les faits ; son écart de 1,2 points",
            &format!("tient du bruit ; {more} questions de plus, semblables, trancheraient."),
        ],
    );
}

#[test]
fn an_adapter_that_changes_nothing_is_not_worth_its_cost() {
    let questions = (0..40).map(|i| known(i, true)).collect();
    let asked = Questions { asked: questions, n_left_out: 0 };
    let it = compare(entrants("rag,rag+ft:rh=x", &[]), asked, side_by_side(nearly_alike(40)));
    let more = it.pairs_by(Metric::Right).next().unwrap().difference.more_questions.unwrap();
    says(
        &it,
        &[
            "Nothing shows that fine-tuning is worth its cost: `rag+ft:rh` differs from `rag`",
            &format!("; {more} more questions like these would settle it."),
        ],
        &["Rien ne montre que l'affinage vaille son coût"],
    );
}

#[test]
fn more_pairs_need_more_questions() {
    let [first, second] = nearly_alike(40);
    let asked = || Questions { asked: (0..40).map(|i| known(i, true)).collect(), n_left_out: 0 };
    let two = compare(
        entrants("rag,extract", &[]),
        asked(),
        side_by_side([first.clone(), second.clone()]),
    );
    let three = first.into_iter().zip(second).map(|(a, b)| vec![a.clone(), b, a]).collect();
    let three = compare(entrants("rag,extract,base", &[]), asked(), three);
    let of = |it: &Comparison| {
        let difference = it.pairs_by(Metric::Right).next().unwrap().difference.clone();
        (difference.detectable.unwrap(), difference.more_questions.unwrap())
    };
    let ((shown, more), (shown_of_three, more_of_three)) = (of(&two), of(&three));
    // The quantiles of tests at 5 % and at 5 % by three pairs, each with that of 80 % power.
    let factor = (2.393_98 + 0.841_62) / (1.959_96 + 0.841_62);
    assert!((shown_of_three / shown - factor).abs() < 1e-4, "{shown_of_three} {shown}");
    assert!(more_of_three > more, "{more_of_three} {more}");
}

#[test]
fn where_questions_come_from_is_told() {
    let mut questions: Vec<KnownQuestion> = (0..12).map(|i| known(i, true)).collect();
    questions[0].generated = Some(Maker::Model);
    for it in &mut questions[1..4] {
        it.generated = Some(Maker::Rules);
    }
    questions[4].approved = true;
    questions[5].answers =
        vec!["The company lends a screen and a chair to everybody who asks.".to_owned()];
    let asked = Questions { asked: questions, n_left_out: 7 };
    let mut answers = side_by_side([replies("RRRRRRRRRRRR", 100), replies("RWRRRRRRRRRR", 100)]);
    for it in &mut answers[..3] {
        it[0].quoted = true;
    }
    let it = compare(entrants("rag,extract", &[]), asked, answers);
    says(
        &it,
        &[
            "1 question was written by a language model",
            "3 questions were made from the documents by rules",
            "accepted answer some variant wrote and a reader called good: 1.",
            "whole sentences without a figure: 1.",
            "not asked, because their answers are not a value: 7.",
            "`rag` quotes in 3 answers: its model does not write their language.",
        ],
        &[
            "1 question a été écrite par un modèle de langue",
            "3 questions ont été tirées des documents par des règles",
            "jugée bonne par un lecteur : 1.",
            "phrases entières, sans chiffre : 1.",
            "gardées de côté et non posées",
            "`rag` cite les documents dans 3 réponses",
        ],
    );
    let report = json::comparison(&it);
    assert_eq!(
        (&report["questions_generated"], &report["questions_made_by_rules"]),
        (&1.into(), &3.into())
    );
    assert_eq!(report["questions_left_out"], 7);
    assert_eq!(report["questions"][1]["generated"], "rules");
    let page = html(&it, Words { language: Language::English });
    assert_eq!(page.matches("made by rules</span>").count(), 3);
    assert_eq!(page.matches("written by a model</span>").count(), 1);
}

#[test]
fn kinds_of_questions_are_named_in_both_languages() {
    let it = compared("base,rag", &[("RRRRRRRRRRWWWWW", 900), ("RRRRRRRRRRFFFFW", 900)], 5);
    let french = markdown(&it, Words { language: Language::French });
    assert!(french.contains("| a une réponse : oui | 10 |"), "{french}");
    assert!(french.contains("| type : fact |"), "{french}");
    let page = html(&it, Words { language: Language::English });
    assert!(page.contains("has an answer: no (5)"), "{page}");
}

#[test]
fn reports_hold_everything_and_no_markup_of_others() {
    let mut it = compared("base,rag", &[(&"W".repeat(30), 900), (&"R".repeat(30), 400)], 0);
    it.replies[0][0].text = "<script>alert(1)</script> & | co".to_owned();
    for language in [Language::English, Language::French] {
        let words = Words { language };
        let page = html(&it, words);
        assert!(!page.contains("<script"), "a page that stands alone runs nothing");
        assert!(page.contains("&lt;script&gt;"));
        assert!(!page.contains("http"), "nothing comes from elsewhere");
        assert!(page.contains("<svg") && page.contains("prefers-color-scheme"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.contains("What is asked as number 29?"));
        let text = markdown(&it, words);
        assert!(text.contains("| `base` | `rag` |"), "{text}");
        assert!(text.contains("\\| co"), "{text}");
        assert!(text.contains("20 more") || text.contains("20 autres"), "what is left out is told");
        assert!(!text.contains("NaN") && !page.contains("NaN"));
    }
}
