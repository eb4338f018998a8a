//! What people write in Slack, as plain text.

/// A message without Slack's markup: mentions of people go, channels and links keep their names
/// (Slack, "Formatting message text").
pub(super) fn plain(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        res.push_str(&rest[..start]);
        let inner = &rest[start + 1..];
        let Some(end) = inner.find('>') else {
            rest = inner;
            continue;
        };
        res.push_str(&token(&inner[..end]));
        rest = &inner[end + 1..];
    }
    res.push_str(rest);
    let res = res.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    res.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn token(inner: &str) -> String {
    let (what, label) =
        inner.split_once('|').map_or((inner, None), |(it, label)| (it, Some(label)));
    match (what.chars().next(), label) {
        (Some('@'), Some(label)) => format!("@{label}"),
        (Some('#'), Some(label)) => format!("#{label}"),
        (Some('@' | '#' | '!'), _) => String::new(),
        (_, Some(label)) => label.to_owned(),
        (_, None) => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        for (text, expected) in [
            ("<@U0LAN0Z89> combien de jours ?", "combien de jours ?"),
            ("dis  <@U0LAN0Z89>, R&amp;D &lt;b&gt; ?", "dis , R&D <b> ?"),
            ("<#C024BE7LR|general> ou <#C1> <!here>", "#general ou"),
            ("<https://a.example|a.example> <https://b.example>", "a.example https://b.example"),
            ("<mailto:rh@a.example|rh@a.example>", "rh@a.example"),
            ("&amp;lt; reste &lt;", "&lt; reste <"),
            ("sans fin <@U1", "sans fin @U1"),
            ("", ""),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }
}
