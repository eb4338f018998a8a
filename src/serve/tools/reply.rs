//! An answer as all chat tools show it, whatever their markup.

use std::collections::BTreeSet;

use ingest::document::Language;
use serde_json::{Value, json};

use super::words::Words;

/// An answer, read from its JSON: as it is given, or as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) struct Reply {
    /// The answer's id, `a_…`.
    pub(super) id: String,
    pub(super) language: Language,
    pub(super) question: String,
    refused: bool,
    /// Where there are no sentences.
    text: String,
    sentences: Vec<Sentence>,
    /// Those that the sentences cite.
    sources: Vec<Source>,
    quoted: bool,
    truncated: bool,
    older: Vec<String>,
    /// Leads to the form that says what was wrong with it.
    pub(super) link: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sentence {
    text: String,
    /// Places in [`Reply::sources`].
    citations: Vec<usize>,
    verdict: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    /// From 1, as in the text.
    index: usize,
    title: String,
    heading: String,
    url: String,
}

/// How a tool writes what is more than plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum Markup {
    /// None: addresses stand beside what they are for.
    Plain,
    /// Slack's mrkdwn.
    Slack,
    /// Markdown, as Mattermost and Teams read it.
    Markdown,
}

impl Markup {
    /// A text of which nothing acts as markup that could mislead: no link, no picture, nobody called.
    pub(super) fn escape(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            // The three characters that Slack names ("Formatting message text").
            Self::Slack => bold_for_slack(
                &text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
            ),
            Self::Markdown => {
                let mut res = String::with_capacity(text.len());
                let mut last = ' ';
                for c in text.chars() {
                    match c {
                        '\\' | '[' | ']' | '<' | '>' | '`' => res.extend(['\\', c]),
                        // `@channel` would call everyone; addresses of mail stay as they are.
                        '@' if !last.is_alphanumeric() => res.extend([c, '\u{200b}']),
                        _ => res.push(c),
                    }
                    last = c;
                }
                res
            }
        }
    }

    pub(super) fn link(self, label: &str, url: &str) -> String {
        match self {
            Self::Plain => label.to_owned(),
            Self::Slack => {
                format!("<{}|{}>", self.escape(url), self.escape(label).replace('|', "¦"))
            }
            Self::Markdown => {
                format!("[{}]({})", self.escape(label), url.replace('(', "%28").replace(')', "%29"))
            }
        }
    }
}

/// Slack's bold has one star where Markdown's has two.
fn bold_for_slack(text: &str) -> String {
    let parts: Vec<&str> = text.split("**").collect();
    // An odd number of marks closes nothing.
    if parts.len().is_multiple_of(2) { text.to_owned() } else { parts.join("*") }
}

impl Reply {
    /// From the answer's JSON.
    pub(in crate::serve) fn new(json: &Value) -> Self {
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        let list = |it: &Value| it.as_array().cloned().unwrap_or_default();
        let given = list(&json["sentences"]);
        let cites = |it: &Value| -> Vec<usize> {
            list(&it["citations"]).iter().filter_map(Value::as_u64).map(|n| n as usize).collect()
        };
        let refused = json["refused"] == true;
        let mut cited: BTreeSet<usize> = given.iter().flat_map(&cites).collect();
        if cited.is_empty() && !refused {
            cited.extend(1..=list(&json["sources"]).len());
        }
        let all = list(&json["sources"]);
        let sources: Vec<Source> = cited
            .into_iter()
            .filter_map(|index| Some((index, all.get(index.checked_sub(1)?)?)))
            .map(|(index, it)| {
                let evidence =
                    given.iter().map(|it| &it["evidence"]).find(|it| it["source"] == index);
                Source::new(index, it, evidence.unwrap_or(&Value::Null))
            })
            .collect();
        let places = |it: &Value| {
            let found = cites(it).into_iter().map(|n| sources.iter().position(|it| it.index == n));
            found.flatten().collect()
        };
        let sentences = given.iter().map(|it| Sentence {
            text: text(&it["text"]),
            citations: places(it),
            verdict: text(&it["verdict"]),
        });
        Self {
            id: text(&json["id"]),
            language: if json["language"] == "fr" { Language::French } else { Language::English },
            question: text(&json["question"]),
            refused,
            text: text(&json["answer"]),
            sentences: sentences.collect(),
            quoted: json["generator"] == "extract" && !refused,
            truncated: json["truncated"] == true,
            older: list(&json["older_versions"]).iter().map(|it| text(&it["document"])).collect(),
            sources,
            link: None,
        }
    }

    /// Whether it is in sentences that were checked.
    pub(super) fn has_sentences(&self) -> bool {
        !self.sentences.is_empty()
    }

    pub(super) fn words(&self) -> &'static Words {
        Words::of(self.language)
    }

    /// The answer, a piece for each sentence, with links for citations and a sign of what is not
    /// supported.
    pub(super) fn body(&self, markup: Markup) -> Vec<String> {
        if self.sentences.is_empty() {
            return self.text.lines().map(|it| markup.escape(it)).collect();
        }
        let sentences = self.sentences.iter().map(|it| {
            let mut res = markup.escape(&it.text);
            for source in it.citations.iter().filter_map(|&i| self.sources.get(i)) {
                res.push(' ');
                res.push_str(&markup.link(&format!("[{}]", source.index), &source.url));
            }
            res.push_str(match (self.refused, it.verdict.as_str()) {
                (false, "partly") => " ⚠️",
                (false, "unsupported") => " ❌",
                _ => "",
            });
            res
        });
        sentences.collect()
    }

    /// A line for each source.
    pub(super) fn source_lines(&self, markup: Markup) -> Vec<String> {
        let lines = self.sources.iter().map(|it| {
            let mark = markup.escape(&format!("[{}]", it.index));
            let heading = match it.heading.is_empty() {
                true => String::new(),
                false => format!(" · {}", markup.escape(&it.heading)),
            };
            let address =
                if markup == Markup::Plain { format!(": {}", it.url) } else { String::new() };
            format!("{mark} {}{heading}{address}", markup.link(&it.title, &it.url))
        });
        lines.collect()
    }

    /// What to know about the answer: its verdicts, and what was left out.
    pub(super) fn notes(&self, markup: Markup) -> Vec<String> {
        let words = self.words();
        let has = |verdict: &str| self.sentences.iter().any(|it| it.verdict == verdict);
        let mut res = Vec::new();
        if !self.refused && !self.sentences.is_empty() {
            match (has("partly"), has("unsupported")) {
                (false, false) => res.push(format!("✅ {}", words.supported)),
                (true, false) => res.push(format!("⚠️ {}", words.doubtful)),
                (false, true) => res.push(format!("❌ {}", words.unsupported)),
                (true, true) => {
                    res.push(format!("⚠️ {} · ❌ {}", words.doubtful, words.unsupported));
                }
            }
        }
        if self.quoted {
            res.push(words.quoted.to_owned());
        }
        if self.truncated {
            res.push(words.truncated.to_owned());
        }
        if !self.older.is_empty() {
            let older: Vec<String> = self.older.iter().map(|it| markup.escape(it)).collect();
            res.push(format!("{} {}", words.older, older.join(", ")));
        }
        res
    }

    /// What it shows, as data: for whoever follows its link.
    pub(super) fn shown(&self) -> Value {
        let sentences = self.sentences.iter().map(|it| {
            let citations = it.citations.iter().filter_map(|&i| Some(self.sources.get(i)?.index));
            let citations: Vec<usize> = citations.collect();
            json!({ "text": it.text, "verdict": it.verdict, "citations": citations })
        });
        let sources = self.sources.iter().map(|it| {
            json!({ "index": it.index, "title": it.title, "heading": it.heading, "url": it.url })
        });
        json!({
            "question": self.question,
            "answer": self.text,
            "language": self.language.code(),
            "refused": self.refused,
            "sentences": sentences.collect::<Vec<Value>>(),
            "sources": sources.collect::<Vec<Value>>(),
        })
    }

    /// All of it as one text, parts apart from each other.
    pub(in crate::serve) fn text(&self, markup: Markup) -> String {
        // Teams needs an empty line, or two blanks, between lines.
        let newline = if markup == Markup::Markdown { "  \n" } else { "\n" };
        let parts = [
            self.body(markup).join(if self.sentences.is_empty() { newline } else { " " }),
            self.source_lines(markup).join(newline),
            self.notes(markup).join(newline),
            self.link.as_ref().map_or(String::new(), |it| markup.link(self.words().judge, it)),
        ];
        parts
            .iter()
            .filter(|it| !it.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n\n")
    }
}

impl Source {
    fn new(index: usize, json: &Value, evidence: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default();
        let page = evidence["page"].as_u64().or(json["page"].as_u64());
        let name = if text("title").is_empty() { text("document") } else { text("title") };
        let last = text("heading").rsplit(" > ").next().unwrap_or_default();
        let heading = evidence["heading"].as_str().unwrap_or(last);
        let place = match (evidence["char_start"].as_u64(), evidence["char_end"].as_u64()) {
            (Some(start), Some(end)) if text("url").contains("/v1/sources/") => {
                format!("#char={start}-{end}")
            }
            _ => String::new(),
        };
        Self {
            index,
            title: page.map_or_else(|| name.to_owned(), |page| format!("{name}, p. {page}")),
            heading: if heading == name { String::new() } else { heading.to_owned() },
            url: format!("{}{place}", text("url")),
        }
    }
}
