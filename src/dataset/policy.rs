//! What may not be in a row, whoever made it: personal data, by the policy of the settings, and
//! texts whose licence forbids training.

use tune::dataset::{
    corpus::Allowed,
    filter::Dropped,
    personal::{self, PersonalPolicy},
    row::{Body, Row},
};

/// The row as the policy on personal data lets it be.
pub(super) fn without_personal(mut row: Row, policy: PersonalPolicy) -> Result<Row, Dropped> {
    if policy == PersonalPolicy::Keep {
        return Ok(row);
    }
    let is_text = matches!(row.body, Body::Text(_));
    let teaches = row.body.targets().iter().any(|it| !personal::find(it).is_empty());
    let mut texts = row.body.texts_mut();
    texts.extend(row.meta.context.iter_mut().map(|it| &mut it.text));
    texts.extend(row.meta.quote.as_mut());
    texts.extend(row.meta.question.as_mut());
    texts.extend(row.meta.value.as_mut());
    texts.extend(row.meta.comment.as_mut());
    let holds = texts.iter().any(|it| !personal::find(it).is_empty());
    if policy == PersonalPolicy::Refuse && holds || teaches && !is_text {
        return Err(Dropped::PersonalData);
    }
    for text in texts {
        if let Some(masked) = personal::masked(text) {
            *text = masked;
        }
    }
    Ok(row)
}

/// Rows of others, as far as they may be trained on.
#[derive(Debug)]
pub struct Lawful {
    /// The rows, personal data masked where it is only shown.
    pub rows: Vec<Row>,
    /// What was changed and left out.
    pub counts: LawfulCounts,
}

/// What was changed and left out of rows of others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LawfulCounts {
    /// Rows whose personal data was masked.
    pub masked: usize,
    /// Rows left out because they would teach personal data, or hold any.
    pub personal_data: usize,
    /// Rows left out because their licence forbids training.
    pub licence: usize,
}

/// Goes through rows of others: what holds for documents holds for them.
#[must_use]
pub fn lawful(rows: Vec<Row>, licences_forbidden: &[String], policy: PersonalPolicy) -> Lawful {
    let allowed = Allowed { licences_forbidden: licences_forbidden.to_vec(), groups: Vec::new() };
    let mut res = Lawful { rows: Vec::new(), counts: LawfulCounts::default() };
    for row in rows {
        if allowed.left_out(row.meta.licence.as_deref(), &[]).is_some() {
            res.counts.licence += 1;
            continue;
        }
        match without_personal(row.clone(), policy) {
            Ok(kept) => {
                res.counts.masked += usize::from(kept != row);
                res.rows.push(kept);
            }
            Err(_) => res.counts.personal_data += 1,
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;
    use tune::dataset::row::{Message, Meta, Role};

    fn row(asked: &str, answered: &str) -> Row {
        let messages =
            vec![Message::new(Role::User, asked), Message::new(Role::Assistant, answered)];
        Row::new(&["x"], Body::Messages(messages), Meta::default())
    }

    #[test]
    fn personal_data_is_masked_where_shown_and_refused_where_taught() {
        let shown = row("Écrivez à a.b@c.example. Quand ?", "Demain.");
        let masked = without_personal(shown.clone(), PersonalPolicy::Mask).unwrap();
        assert_eq!(masked.body.prompt()[0].content, "Écrivez à [e-mail]. Quand ?");
        let refused = without_personal(shown.clone(), PersonalPolicy::Refuse);
        assert_eq!(refused, Err(Dropped::PersonalData));
        assert_eq!(without_personal(shown.clone(), PersonalPolicy::Keep), Ok(shown));
        let taught = row("Quel est le numéro ?", "Le 02 61 91 35 35.");
        assert_eq!(without_personal(taught, PersonalPolicy::Mask), Err(Dropped::PersonalData));
        let plain = Body::Text("Appelez le 02 61 91 35 35.".to_owned());
        let text = Row::new(&["t"], plain, Meta::default());
        let masked = without_personal(text, PersonalPolicy::Mask).unwrap();
        assert_eq!(masked.body, Body::Text("Appelez le [phone].".to_owned()));
    }

    #[test]
    fn rows_of_others_are_held_to_the_same_rules() {
        let forbidden = ["no derivatives".to_owned()];
        let licensed = |licence: &str| {
            let it = row("Where?", "There.");
            Row { meta: Meta { licence: Some(licence.to_owned()), ..Meta::default() }, ..it }
        };
        let rows = vec![
            row("Write to a.b@c.example?", "Yes."),
            row("Who?", "Call 02 61 91 35 35."),
            licensed("CC0"),
            licensed("CC-BY, No Derivatives"),
        ];
        let found = lawful(rows.clone(), &forbidden, PersonalPolicy::Mask);
        let expected = LawfulCounts { masked: 1, personal_data: 1, licence: 1 };
        assert_eq!((found.rows.len(), found.counts), (2, expected));
        let expected = LawfulCounts { licence: 1, ..LawfulCounts::default() };
        assert_eq!(lawful(rows, &forbidden, PersonalPolicy::Keep).counts, expected);
    }
}
