use std::ops::Range;

use ingest::document::{Language, Span};

use super::{unanswerable::with_other_code, *};
use crate::dataset::corpus::SourceChunk;

fn source(title: &str, language: Language, text: &str) -> Source {
    let span = Span { start: 0, end: text.len() };
    Source {
        id: 1,
        path: "a.md".to_owned(),
        content_hash: String::new(),
        title: title.to_owned(),
        language: Some(language),
        licence: None,
        groups: Vec::new(),
        cluster: 1,
        text: text.to_owned(),
        chunks: vec![SourceChunk { id: 7, span, page: None, language: Some(language) }],
    }
}

/// Sentences end at a full stop before a space: enough for these texts.
fn cut(text: &str) -> Vec<Range<usize>> {
    let mut res = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(". ") {
        res.push(start..at + 1);
        start = at + 2;
    }
    res.push(start..text.len());
    res
}

fn made(title: &str, language: Language, text: &str) -> Vec<Qa> {
    questions(&source(title, language, text), &cut)
}

#[track_caller]
fn check(all: &[Qa], made_by: MadeBy, question: &str, answer: &str) {
    let of_kind: Vec<&Qa> = all.iter().filter(|it| it.made_by == made_by).collect();
    let found = of_kind.iter().find(|it| it.question == question);
    let questions: Vec<&str> = of_kind.iter().map(|it| it.question.as_str()).collect();
    let Some(found) = found else { panic!("no `{question}` among {questions:#?}") };
    assert_eq!(found.answer.join(" "), answer);
}

#[test]
fn headings_become_questions() {
    let text = "# Congés\n\n## Poser ses congés\n\nLa demande se fait dans le portail. Elle est \
        lue sous huit jours.\n\n## Peut-on les reporter ?\n\nOui, cinq jours au plus.\n";
    let all = made("Congés", Language::French, text);
    let answer = "La demande se fait dans le portail. Elle est lue sous huit jours.";
    check(&all, MadeBy::Section, "Comment poser ses congés ?", answer);
    check(&all, MadeBy::Faq, "Peut-on les reporter ?", "Oui, cinq jours au plus.");
    let text = "# Sonde\n\n## La garantie\n\nElle vaut trois ans, batterie comprise.\n\n\
        Sous réserve de changements Page 2\n";
    let all = made("Sonde", Language::French, text);
    assert_eq!(all[0].answer, ["Elle vaut trois ans, batterie comprise."]);
    assert_eq!(&text[all[0].span.clone()], "Elle vaut trois ans, batterie comprise.");
    let text = "Notice X-1\n\n# Notice\n\n## Le tiers payant\n\nLa carte suffit partout.\n\n\
        Notice X-1\n\n## Les dispenses\n\nElles se demandent sous quinze jours.\n";
    let all = made("Notice", Language::French, text);
    let answers: Vec<&str> = all.iter().map(|it| it.answer[0].as_str()).collect();
    assert_eq!(answers, ["La carte suffit partout.", "Elles se demandent sous quinze jours."]);
    assert!(all.iter().all(|it| it.answer.len() == 1), "no foot of a page: {all:#?}");
    let text = "# Travel\n\n## How to book\n\nBook through the agency, **14 days** ahead.\n\n\
        ## Contents\n\nTrain . . . . 3\n";
    let all = made("Travel", Language::English, text);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(
        all[0].question.contains("how do I book?") || all[0].question.starts_with("How do I book?")
    );
    assert_eq!(all[0].answer, ["Book through the agency, 14 days ahead."]);
    assert_eq!(&text[all[0].span.clone()], "Book through the agency, **14 days** ahead.");
}

#[test]
fn cells_are_asked_for_by_row_and_column() {
    let text = "# Mutuelle\n\n| Soin | Remboursement | Limite |\n| --- | --- | --- |\n\
        | Lentilles | 150 € | par an |\n| Autre | 10 € | |\n";
    let all = made("Mutuelle", Language::French, text);
    let cells: Vec<&Qa> = all.iter().filter(|it| it.made_by == MadeBy::TableCell).collect();
    assert_eq!(cells.len(), 2, "{all:#?}");
    assert!(
        cells[0].question.contains("le remboursement") && cells[0].question.contains("Lentilles")
    );
    assert_eq!(cells[0].answer, ["Le remboursement pour Lentilles : 150 €."]);
    assert_eq!(cells[0].value.as_ref().unwrap().text, "150 €");
    assert_eq!(&text[cells[0].span.clone()], "| Lentilles | 150 € | par an |");
    assert_eq!(cells[1].answer, ["La limite pour Lentilles : par an."]);
}

#[test]
fn codes_stand_beside_names() {
    let text = "| Reference | Item | Price (EUR) |\n| --- | --- | --- |\n| EQ-1 | Screen | 185 |\n\
        | EQ-2 | Chair | 265 |\n";
    let all = made("Equipment", Language::English, text);
    let cells: Vec<&Qa> = all.iter().filter(|it| it.made_by == MadeBy::TableCell).collect();
    assert_eq!(cells.len(), 2, "the name beside the code is no value: {cells:#?}");
    assert!(cells.iter().all(|it| it.question.contains("price")), "{cells:#?}");
}

#[test]
fn terms_rules_codes_and_records_are_found() {
    let text = "# Glossaire\n\n| Terme | Français | English |\n| --- | --- | --- |\n\
        | RTT | jour de repos | day off |\n";
    let all = made("Glossaire", Language::French, text);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].answer, ["RTT : jour de repos."]);
    assert_eq!((all[1].language, all[1].answer[0].as_str()), (Language::English, "RTT: day off."));
    let text = "# Rules\n\nReference SEC-2025-014. In force from 1 December 2025. Owner: Ada \
        Byron.\n\nR-01 Lock the door. Always. R-02 Wash the cup.\n\nR-03 Smile.\n\nX-9 stands \
        alone.\n";
    let all = made("Rules", Language::English, text);
    check(
        &all,
        MadeBy::Rule,
        all.iter().find(|it| it.subject == "R-01").unwrap().question.clone().as_str(),
        "Lock the door. Always.",
    );
    let n_rules = all.iter().filter(|it| it.made_by == MadeBy::Rule).count();
    let values: Vec<&str> =
        all.iter().filter_map(|it| Some(it.value.as_ref()?.text.as_str())).collect();
    assert_eq!((n_rules, values), (3, vec!["SEC-2025-014", "1 December 2025", "Ada Byron"]));
    let text = "5. Messages\n\nVPN-401 : la clé manque. Attendez.\nVPN-408 : l’horloge est décalée.\n\
         VPN-409 : le poste est inconnu.\n";
    let all = made("VPN", Language::French, text);
    assert_eq!(all.len(), 3, "codes are explained, and no rules: {all:#?}");
    assert_eq!(all[0].answer.join(" "), "VPN-401 : la clé manque. Attendez.");
    let other = with_other_code(&all[0], text).unwrap();
    assert!(other.question.contains(&other.subject) && !text.contains(&other.subject));
    let accented = Qa { subject: "Versement mobilité".to_owned(), ..all[0].clone() };
    assert_eq!(with_other_code(&accented, text), None, "once a panic");
}

#[test]
fn what_no_longer_holds_is_not_asked_about() {
    let text =
        "# Charte\n\n**Abrogé : remplacé par X-2.**\n\n## Durée\n\nDeux jours par semaine.\n";
    assert_eq!(made("Charte", Language::French, text), []);
}
