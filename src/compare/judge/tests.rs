use super::*;

#[test]
fn an_answer_wins_only_in_both_orders() {
    use Said::{First, Nonsense, Second, Tie};
    assert_eq!(better([First, Second]), Better::A);
    assert_eq!(better([Second, First]), Better::B);
    // What always prefers the place prefers no answer.
    assert_eq!(better([First, First]), Better::Tie);
    assert_eq!(better([Second, Second]), Better::Tie);
    assert_eq!(better([Tie, Second]), Better::Tie);
    assert_eq!(better([First, Nonsense]), Better::Unknown);
}

#[test]
fn nonsense_is_nonsense_and_never_a_judgement() {
    assert_eq!(read("{\"better\":\"second\"}"), Said::Second);
    assert_eq!(read("Well: {\"better\": \"tie\"}."), Said::Tie);
    for text in ["", "first", "{", "}{", "{\"better\": \"A\"}", "{\"worse\": \"first\"}", "NaN"] {
        assert_eq!(read(text), Said::Nonsense, "{text}");
    }
}

#[test]
fn agreement_is_of_votes_that_decide_and_is_never_nan() {
    assert_eq!(agreement_of(&[]), None);
    assert_eq!(agreement_of(&[(Choice::Left, Better::Unknown)]), None);
    let found = agreement_of(&[
        (Choice::Left, Better::A),
        (Choice::Right, Better::A),
        (Choice::Right, Better::B),
        (Choice::Left, Better::Tie),
        (Choice::Left, Better::Unknown),
    ])
    .unwrap();
    assert_eq!((found.n, found.agreed, found.ties), (4, 2, 1));
    assert!(found.interval.0 > 0.1 && found.interval.1 < 0.9, "{found:?}");
}

#[test]
fn pairs_are_counted_and_tested() {
    let counts = BTreeMap::from([((0, 1), [9, 1, 3, 0]), ((0, 2), [0, 0, 4, 9])]);
    let found = pairs(counts);
    assert_eq!((found[0].a_wins, found[0].b_wins, found[0].ties), (9, 1, 3));
    assert!((found[0].p_holm - 2.0 * mcnemar(9, 1)).abs() < 1e-12);
    assert_eq!((found[1].nonsense, found[1].p_holm), (9, 1.0), "nobody wins");
}

#[test]
fn a_judgement_that_was_cut_short_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = Judgements::open(dir.path()).unwrap();
    kept.put("a".to_owned(), Said::First).unwrap();
    kept.put("b".to_owned(), Said::Tie).unwrap();
    drop(kept);
    let path = dir.path().join(FILE);
    let whole = fs_err::read(&path).unwrap();
    fs_err::write(&path, &whole[..whole.len() - 3]).unwrap();
    let kept = Judgements::open(dir.path()).unwrap();
    assert_eq!(kept.kept.get("a"), Some(&Said::First));
    assert_eq!(kept.kept.get("b"), None);
}
