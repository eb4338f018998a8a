use super::*;

#[test]
fn built_in_prompts_are_complete_in_both_languages() {
    let prompts = Prompts::load(None).unwrap();
    for (name, _) in PROMPTS {
        for language in [Language::French, Language::English] {
            let name = format!("{name}.{}.md", language.code());
            prompts.environment.get_template(&name).unwrap();
        }
    }
    for language in [Language::French, Language::English] {
        assert!(prompts.examples(language).count() >= 6);
        for example in prompts.examples(language) {
            assert!(!example.passages.is_empty() && !example.answer.is_empty());
        }
    }
}

#[test]
fn the_question_and_its_passages_are_shown() {
    let prompts = Prompts::load(None).unwrap();
    let passage = PassageArg {
        index: 1,
        title: "Notes".to_owned(),
        heading: "Repas".to_owned(),
        page: Some(3),
        text: "Le repas coûte {{ 19,40 }} €.".to_owned(),
    };
    let text = prompts.user(Language::French, &[passage], "Combien ?").unwrap();
    assert!(text.contains("[1]") && text.contains("{{ 19,40 }} €") && text.contains("Combien ?"));
}

#[test]
fn a_users_file_replaces_the_built_in_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("refuse.fr.md"), "Rien.").unwrap();
    let prompts = Prompts::load(Some(dir.path())).unwrap();
    assert_eq!(prompts.refusal(Language::French).unwrap(), "Rien.");
    assert_ne!(prompts.hash(), Prompts::load(None).unwrap().hash());
}

#[test]
fn a_prompt_that_forgets_an_argument_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("answer_user.fr.md"), "{{ question }}").unwrap();
    let error = Prompts::load(Some(dir.path())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "prompt `answer_user.fr.md` must use exactly the arguments [passages, question], and \
         uses [question]"
    );
}

#[test]
fn the_refusal_that_prompts_ask_for_is_recognised() {
    let prompts = Prompts::load(None).unwrap();
    for language in [Language::French, Language::English] {
        for style in [Style::Plain, Style::Cot] {
            let system = prompts.system(language, style).unwrap();
            assert!(prompts.is_refusal(language, &system), "{system}");
        }
        assert!(!prompts.is_refusal(language, "Three days [1]. Trois jours [1]."));
    }
}

#[test]
fn reasoning_is_taken_off_an_answer() {
    for language in [Language::French, Language::English] {
        let draft = Prompts::reasoned(language, "Passage 1.", "Trois [1].");
        let parts = Prompts::split_reasoned(language, &draft);
        assert_eq!(parts, (Some("Passage 1.".to_owned()), "Trois [1].".to_owned()));
        let system = Prompts::load(None).unwrap().system(language, Style::Cot).unwrap();
        let (first, second) = markers(language);
        assert!(system.contains(first.trim_end_matches([' ', ':'])) && system.contains(second));
    }
    let bare = Prompts::split_reasoned(Language::English, "Three [1].");
    assert_eq!(bare, (None, "Three [1].".to_owned()));
}

#[test]
fn a_file_that_is_no_prompt_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("anwser.fr.md"), "x").unwrap();
    assert!(matches!(Prompts::load(Some(dir.path())), Err(PromptError::Unknown { .. })));
}

#[test]
fn an_example_that_was_withdrawn_is_shown_no_more() {
    let prompts = Prompts::load(None).unwrap();
    let count = || prompts.examples(Language::English).count();
    let before = count();
    let (name, _) = prompts.examples.iter().find(|(_, it)| it.language == "en").unwrap();
    prompts.withdraw(&Path::new("anywhere").join(name));
    assert_eq!(count(), before - 1);
    prompts.withdraw(Path::new("unknown.toml"));
    assert_eq!(count(), before - 1);
}
