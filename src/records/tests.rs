use index::hit::DocumentId;
use serde_json::json;

use super::*;

fn open() -> (tempfile::TempDir, Records) {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).unwrap();
    (dir, records)
}

fn answer(id: &str, conversation: &str, document: i64) -> AnswerRecord {
    AnswerRecord {
        id: id.to_owned(),
        owner: "k_1".to_owned(),
        conversation: Some(conversation.to_owned()),
        question: "Et le mercredi ?".to_owned(),
        understood_as: Some("Peut-on télétravailler le mercredi ?".to_owned()),
        text: "Non. [1]".to_owned(),
        json: json!({"answer": "Non. [1]"}),
        why: json!({"prompt": []}),
        documents: vec![DocumentId(document)],
    }
}

#[test]
fn a_key_opens_until_it_is_revoked_and_its_secret_is_nowhere() {
    let (dir, records) = open();
    assert!(!records.has_keys().unwrap());
    let groups = ["rh".to_owned()];
    let NewKey { key, secret } = records.create_key("chat", Scope::Read, &groups).unwrap();
    assert_eq!(records.key_of(&secret).unwrap().as_ref(), Some(&key));
    assert_eq!(records.key_of(&secret.to_uppercase()).unwrap(), None);
    let session = records.open_session(&key).unwrap();
    assert_eq!(records.key_of_session(&session).unwrap().as_ref(), Some(&key));
    assert!(records.revoke_key(&key.id).unwrap());
    assert!(!records.revoke_key(&key.id).unwrap());
    assert_eq!(records.key_of(&secret).unwrap(), None);
    assert_eq!(records.key_of_session(&session).unwrap(), None);
    assert!(records.has_keys().unwrap(), "a revoked key must not open the door to everyone");
    drop(records);
    let file = fs_err::read(dir.path().join(Records::FILE)).unwrap();
    let holds = |text: &str| file.windows(text.len()).any(|it| it == text.as_bytes());
    assert!(holds(&key.id) && !holds(&secret) && !holds(&session));
}

#[test]
fn whose_key_it_is_waits_for_nobody_who_writes() {
    let (_dir, records) = open();
    let NewKey { key, secret } = records.create_key("chat", Scope::Read, &[]).unwrap();
    let session = records.open_session(&key).unwrap();
    let writer = records.lock();
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM keys").unwrap();
    assert_eq!(records.key_of(&secret).unwrap().as_ref(), Some(&key));
    assert_eq!(records.key_of_session(&session).unwrap().as_ref(), Some(&key));
    assert!(records.has_keys().unwrap());
    writer.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn the_audit_record_only_grows() {
    let (_dir, records) = open();
    for action in ["ask", "document.delete"] {
        records.audit(&NewEntry { action, object: Some("7"), ..NewEntry::default() }).unwrap();
    }
    let connection = records.lock();
    connection.execute("DELETE FROM audit", []).unwrap_err();
    connection.execute("UPDATE audit SET action = 'x'", []).unwrap_err();
    drop(connection);
    let entries = records.audit_after(1, 10).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].action, "document.delete");
}

#[test]
fn a_conversation_is_its_owners_alone() {
    let (_dir, records) = open();
    records.open_conversation("c_1", "k_1", "Combien de jours ?").unwrap();
    records.record_answer(&answer("a_1", "c_1", 7)).unwrap();
    assert_eq!(records.conversation("c_1", "k_2").unwrap(), None);
    assert!(records.conversations("k_2", 9).unwrap().is_empty());
    assert!(!records.delete_conversation("c_1", "k_2").unwrap());
    let found = records.conversation("c_1", "k_1").unwrap().unwrap();
    assert_eq!(found.title, "Combien de jours ?");
    let turns = records.turns("c_1").unwrap();
    assert_eq!(turns.len(), 1);
    assert_eq!(turns[0].0, AnswerRecord { documents: Vec::new(), ..answer("a_1", "c_1", 7) });
}

#[test]
fn the_last_feedback_counts_and_goes_with_its_answer() {
    let (_dir, records) = open();
    records.open_conversation("c_1", "k_1", "?").unwrap();
    records.record_answer(&answer("a_1", "c_1", 7)).unwrap();
    let up = Feedback {
        answer: "a_1".to_owned(),
        rating: Rating::Up,
        reason: None,
        correction: None,
        labels: Labels { helpful: Some(true), ..Labels::default() },
        comment: None,
    };
    let down = Feedback {
        rating: Rating::Down,
        reason: Some(Reason::WrongSource),
        correction: Some("Oui".to_owned()),
        ..up.clone()
    };
    assert!(records.give_feedback(&up, "k_1").unwrap());
    assert!(records.give_feedback(&down, "k_1").unwrap());
    let unknown = Feedback { answer: "a_2".to_owned(), ..up };
    assert!(!records.give_feedback(&unknown, "k_1").unwrap());
    let all = records.feedback().unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].feedback, down);
    assert_eq!(all[0].question, "Peut-on télétravailler le mercredi ?");
    assert!(records.delete_conversation("c_1", "k_1").unwrap());
    assert!(records.feedback().unwrap().is_empty());
}

#[test]
fn a_forgotten_document_takes_what_was_said_of_it_along() {
    let (dir, records) = open();
    for (conversation, document) in [("c_1", 7), ("c_2", 8)] {
        records.open_conversation(conversation, "k_1", "?").unwrap();
        let mut answer = answer(&format!("a_{document}"), conversation, document);
        answer.text = format!("secret numéro {document}");
        answer.json = json!({"answer": answer.text});
        records.record_answer(&answer).unwrap();
    }
    assert_eq!(records.forget_documents(&[DocumentId(7)]).unwrap(), 1);
    assert!(records.answer("a_7").unwrap().is_none());
    assert!(records.answer("a_8").unwrap().is_some());
    assert_eq!(records.conversations("k_1", 9).unwrap().len(), 1);
    for entry in fs_err::read_dir(dir.path()).unwrap() {
        let file = fs_err::read(entry.unwrap().path()).unwrap();
        let text = "secret numéro 7".as_bytes();
        assert!(!file.windows(text.len()).any(|it| it == text));
    }
}

#[test]
fn old_conversations_go_and_judged_answers_stay() {
    let (_dir, records) = open();
    records.open_conversation("c_1", "k_1", "?").unwrap();
    records.record_answer(&answer("a_1", "c_1", 7)).unwrap();
    records.forget_before(now() - 60).unwrap();
    assert_eq!(records.conversations("k_1", 9).unwrap().len(), 1);
    records.forget_before(now() + 60).unwrap();
    assert!(records.conversations("k_1", 9).unwrap().is_empty());
    assert!(records.answer("a_1").unwrap().is_none());
}

fn opened(records: &Records) -> Match {
    records.open_conversation("c_1", "k_1", "?").unwrap();
    for (id, document) in [("a_1", 7), ("a_2", 8)] {
        let answer = AnswerRecord { conversation: None, ..answer(id, "c_1", document) };
        records.record_answer(&answer).unwrap();
    }
    let side =
        |answer: &str, arm: &str| Side { answer: answer.to_owned(), arm: Some(arm.to_owned()) };
    let it = Match {
        id: "m_1".to_owned(),
        owner: "k_1".to_owned(),
        question: "Combien ?".to_owned(),
        left: side("a_1", "rag"),
        right: side("a_2", "extract"),
    };
    records.open_match(&it).unwrap();
    it
}

#[test]
fn a_match_is_decided_once_by_its_owner_and_its_answers_are_hidden_until_then() {
    let (_dir, records) = open();
    let it = opened(&records);
    assert!(records.answer("a_1").unwrap().is_none());
    assert!(!records.prefer("k_1", "a_1", &["a_2".to_owned()], None).unwrap());
    assert!(records.votes().unwrap().is_empty() && records.arena().unwrap().is_empty());
    let vote = |owner| records.vote("m_1", owner, Choice::Right, Some("plus court")).unwrap();
    assert_eq!(vote("k_2"), VoteOutcome::Unknown);
    assert_eq!(vote("k_1"), VoteOutcome::Recorded(it.clone()));
    assert_eq!(vote("k_1"), VoteOutcome::Decided);
    assert!(records.answer("a_1").unwrap().is_some());
    let votes = records.votes().unwrap();
    assert_eq!(votes.len(), 1);
    assert_eq!((&votes[0].left.side, &votes[0].right.side), (&it.left, &it.right));
    assert_eq!(votes[0].left.text, "Non. [1]");
    assert_eq!(votes[0].reason.as_deref(), Some("plus court"));
    let arena = [("rag".to_owned(), "extract".to_owned(), Choice::Right)];
    assert_eq!(records.arena().unwrap(), arena);
}

#[test]
fn answers_that_were_voted_on_stay_and_go_with_their_documents() {
    let (_dir, records) = open();
    opened(&records);
    records.vote("m_1", "k_1", Choice::Both, None).unwrap();
    records.forget_before(now() + 60).unwrap();
    assert_eq!(records.votes().unwrap().len(), 1);
    records.forget_documents(&[DocumentId(8)]).unwrap();
    assert!(records.votes().unwrap().is_empty(), "half a match is none");
    assert!(records.answer("a_1").unwrap().is_some());
}

#[test]
fn matches_that_nobody_decided_go_with_time() {
    let (_dir, records) = open();
    opened(&records);
    records.forget_before(now() + 60).unwrap();
    let vote = records.vote("m_1", "k_1", Choice::Left, None).unwrap();
    assert_eq!(vote, VoteOutcome::Unknown);
}

#[test]
fn a_file_of_the_first_version_gains_matches_and_examples() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(Records::FILE);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(MIGRATIONS[0]).unwrap();
    let entry = "INSERT INTO audit (at, action, object, detail) VALUES (0, ?1, 'a_9', '/p/a.toml')";
    for action in ["feedback.promote", "feedback.promote", "ask"] {
        connection.execute(entry, [action]).unwrap();
    }
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    let records = Records::open(dir.path()).unwrap();
    let it = opened(&records);
    let vote = records.vote("m_1", "k_1", Choice::Left, None).unwrap();
    assert_eq!(vote, VoteOutcome::Recorded(it));
    let examples = [(PathBuf::from("/p/a.toml"), "a_9".to_owned())];
    assert_eq!(records.orphaned_examples().unwrap(), examples);
}

#[test]
fn a_file_of_a_newer_program_is_left_alone() {
    let (dir, records) = open();
    records.lock().pragma_update(None, "user_version", 99).unwrap();
    drop(records);
    assert!(matches!(Records::open(dir.path()), Err(RecordsError::Newer { found: 99, .. })));
}
