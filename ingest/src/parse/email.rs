//! Mail messages (RFC 5322 and MIME): who wrote to whom and when, the text, the attachments.

use mail_parser::{Address, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::html;
use super::text::{check_size, one_page};
use super::{Limits, ParseError, Parsed};
use crate::document::{Finding, Metadata};

/// Attachments read from one message.
const ATTACHMENTS_MAX: usize = 100;

/// Messages forwarded inside each other that are read.
const DEPTH_MAX: usize = 4;

/// Parses what is attached under a file name.
pub type Attach<'a> = &'a dyn Fn(&str, &[u8]) -> Result<Parsed, ParseError>;

/// Parses a message. Its attachments become sections `## Attachment: name`, read by `attach`;
/// messages attached as messages are read here.
///
/// # Errors
///
/// When the file is no message, or has more text than the limit. An attachment that cannot be
/// read is a finding.
pub fn parse(bytes: &[u8], limits: &Limits, attach: Attach<'_>) -> Result<Parsed, ParseError> {
    if bytes.trim_ascii().is_empty() {
        return Err(ParseError::Empty);
    }
    let message = MessageParser::default().parse(bytes);
    // The parser takes any text for a message without headers.
    let message = message
        .filter(|it| it.from().is_some() || it.subject().is_some() || it.date().is_some())
        .ok_or_else(|| ParseError::Corrupt { detail: "no mail headers".to_owned() })?;
    let mut reader = Reader { limits, attach, findings: Vec::new(), text: String::new() };
    reader.message(&message, 0)?;
    let parsed = Parsed {
        title: message.subject().map(one_line).filter(|subject| !subject.is_empty()),
        metadata: Metadata {
            modified: message.date().filter(|it| it.is_valid()).map(|it| it.to_timestamp()),
            ..Metadata::default()
        },
        findings: reader.findings,
        pages: Vec::new(),
    };
    one_page(parsed, reader.text, limits)
}

/// Writes a message and what is in it.
struct Reader<'a> {
    limits: &'a Limits,
    attach: Attach<'a>,
    findings: Vec<Finding>,
    text: String,
}

impl Reader<'_> {
    fn message(&mut self, message: &Message<'_>, depth: usize) -> Result<(), ParseError> {
        self.headers(message, depth);
        let body = self.body(message)?;
        self.text.push('\n');
        self.text.push_str(&shift_headings(body.trim(), depth));
        self.text.push('\n');
        check_size(self.text.len(), self.limits)?;
        for (i, part) in message.attachments().enumerate() {
            if i == ATTACHMENTS_MAX {
                let n = message.attachment_count() - ATTACHMENTS_MAX;
                self.left_out(format!("{n} attachments after the first {ATTACHMENTS_MAX}"));
                break;
            }
            self.attachment(part, depth)?;
            check_size(self.text.len(), self.limits)?;
        }
        Ok(())
    }

    fn headers(&mut self, message: &Message<'_>, depth: usize) {
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                // Two spaces: a line break of its own in Markdown.
                self.text.push_str(&format!("{name}: {value}  \n"));
            }
        };
        line("From", &people(message.from()));
        line("To", &people(message.to()));
        line("Cc", &people(message.cc()));
        let date = message.date().filter(|date| date.is_valid());
        line("Date", &date.map(|date| date.to_rfc822()).unwrap_or_default());
        if depth > 0 {
            line("Subject", &one_line(message.subject().unwrap_or_default()));
        }
    }

    /// The message's text: plain where it has one, else that of its HTML.
    fn body(&mut self, message: &Message<'_>) -> Result<String, ParseError> {
        let mut plain = String::new();
        for part in message.text_bodies() {
            match &part.body {
                PartType::Text(text) => plain.push_str(&text.replace("\r\n", "\n")),
                PartType::Html(html) => plain.push_str(&self.html(html)?),
                _ => {}
            }
            plain.push('\n');
        }
        if !plain.trim().is_empty() {
            return Ok(plain);
        }
        let mut res = String::new();
        for part in message.html_bodies() {
            if let PartType::Html(html) = &part.body {
                res.push_str(&self.html(html)?);
            }
        }
        Ok(res)
    }

    fn html(&mut self, html: &str) -> Result<String, ParseError> {
        let fragment = html::fragment(html, self.limits)?;
        self.findings.extend(html::hidden_finding(fragment.n_hidden_chars));
        Ok(fragment.text)
    }

    fn attachment(&mut self, part: &MessagePart<'_>, depth: usize) -> Result<(), ParseError> {
        if let PartType::Message(message) = &part.body {
            let name = one_line(message.subject().unwrap_or("message"));
            if depth + 1 >= DEPTH_MAX {
                self.left_out(format!("message `{name}`: forwarded {DEPTH_MAX} times"));
                return Ok(());
            }
            self.section(&name);
            return self.message(message, depth + 1);
        }
        let name = part.attachment_name().map(one_line);
        // Pictures in the text, such as a logo in a signature, are no documents.
        if part.content_id().is_some() && part.is_content_type("image", part_subtype(part)) {
            return Ok(());
        }
        let name = name.unwrap_or_else(|| "unnamed".to_owned());
        match (self.attach)(&name, part.contents()) {
            Ok(parsed) => {
                self.section(&name);
                for page in &parsed.pages {
                    self.text.push_str(&shift_headings(page.text.trim(), 2));
                    self.text.push_str("\n\n");
                }
                self.findings.extend(parsed.findings);
            }
            Err(error) => self.left_out(format!("attachment `{name}`: {error}")),
        }
        Ok(())
    }

    fn section(&mut self, name: &str) {
        self.text.push_str(&format!("\n## Attachment: {name}\n\n"));
    }

    fn left_out(&mut self, what: String) {
        self.findings.push(Finding::LeftOut { what });
    }
}

fn part_subtype<'a>(part: &'a MessagePart<'_>) -> &'a str {
    part.content_type().and_then(|it| it.subtype()).unwrap_or_default()
}

/// Addresses as `Alice <alice@example.com>, bob@example.com`.
fn people(address: Option<&Address<'_>>) -> String {
    let Some(address) = address else { return String::new() };
    let each = address.iter().filter_map(|it| match (it.name(), it.address()) {
        (Some(name), Some(address)) => Some(format!("{} <{address}>", one_line(name))),
        (Some(one), None) | (None, Some(one)) => Some(one_line(one)),
        (None, None) => None,
    });
    each.collect::<Vec<_>>().join(", ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Puts the headings of a part below that of its section. Fenced code is left alone.
fn shift_headings(text: &str, by: usize) -> String {
    if by == 0 {
        return text.to_owned();
    }
    let mut res = String::with_capacity(text.len());
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let level = line.bytes().take_while(|&b| b == b'#').count();
        if !fenced && (1..=6).contains(&level) && line[level..].starts_with(' ') {
            res.push_str(&"#".repeat(by.min(6 - level)));
        }
        res.push_str(line);
        res.push('\n');
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Hidden;
    use crate::parse::text;

    fn read(message: &str) -> Result<Parsed, ParseError> {
        let limits = Limits::default();
        parse(message.replace('\n', "\r\n").as_bytes(), &limits, &|name, bytes| match name
            .rsplit_once('.')
        {
            Some((_, "txt" | "md")) => text::parse(bytes, &limits),
            _ => Err(ParseError::Unsupported { extension: "bin".to_owned() }),
        })
    }

    #[track_caller]
    fn check(message: &str, title: Option<&str>, text: &str) -> Parsed {
        let parsed = read(message).unwrap();
        assert_eq!(parsed.title.as_deref(), title);
        assert_eq!(parsed.pages.len(), 1);
        assert_eq!(parsed.pages[0].text, text);
        parsed
    }

    #[test]
    fn headers_are_decoded_and_dated() {
        let parsed = check(
            "From: =?UTF-8?Q?H=C3=A9l=C3=A8ne?= <h@example.org>\nTo: b@example.org, C <c@example.org>\n\
             Subject: =?ISO-8859-1?Q?Cong=E9s?=\n =?ISO-8859-1?Q?_pay=E9s?=\n\
             Date: Wed, 01 May 2024 12:00:00 +0200\n\
             Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n\
             L'=E9t=E9.\n",
            Some("Congés payés"),
            "From: Hélène <h@example.org>  \nTo: b@example.org, C <c@example.org>  \n\
             Date: Wed, 1 May 2024 12:00:00 +0200  \n\nL'été.\n",
        );
        assert_eq!(parsed.metadata.modified, Some(1_714_557_600));
    }

    const ALTERNATIVE: &str = "From: a@example.org\nSubject: S\n\
        Content-Type: multipart/alternative; boundary=x\n\n\
        --x\nContent-Type: text/plain\n\nPLAIN\n--x\nContent-Type: text/html\n\n\
        <h2>Titre</h2><p>Texte<span style=\"display:none\">caché</span></p>\n--x--\n";

    #[test]
    fn plain_text_is_preferred() {
        check(
            &ALTERNATIVE.replace("PLAIN", "Bonjour"),
            Some("S"),
            "From: a@example.org  \n\nBonjour\n",
        );
    }

    #[test]
    fn html_is_read_where_plain_text_is_empty() {
        let parsed = check(
            &ALTERNATIVE.replace("PLAIN", ""),
            Some("S"),
            "From: a@example.org  \n\n## Titre\n\nTexte\n",
        );
        let hidden = Finding::InvisibleText { kind: Hidden::Html, n_chars: 5 };
        assert_eq!(parsed.findings, [hidden]);
    }

    #[test]
    fn attachments_become_sections_and_others_findings() {
        let parsed = check(
            "From: a@example.org\nSubject: S\nContent-Type: multipart/mixed; boundary=x\n\n\
             --x\nContent-Type: text/plain\n\nVoir.\n\
             --x\nContent-Type: text/plain; name=\"n.txt\"\nContent-Disposition: attachment; \
             filename=\"n.txt\"\nContent-Transfer-Encoding: base64\n\nIyBUaXRyZQp0ZXh0ZQ==\n\
             --x\nContent-Type: application/zip\nContent-Disposition: attachment; filename=\"a.zip\"\n\
             Content-Transfer-Encoding: base64\n\nAAAA\n--x--\n",
            Some("S"),
            "From: a@example.org  \n\nVoir.\n\n## Attachment: n.txt\n\n### Titre\ntexte\n\n\n",
        );
        let what = "attachment `a.zip`: unsupported format `bin`".to_owned();
        assert_eq!(parsed.findings, [Finding::LeftOut { what }]);
    }

    #[test]
    fn forwarded_messages_are_read_to_a_bounded_depth() {
        let mut message = "From: a@example.org\nSubject: fin\n\nDernier\n".to_owned();
        for i in 0..10 {
            message = format!(
                "From: a@example.org\nSubject: n{i}\nContent-Type: multipart/mixed; boundary=b{i}\n\n\
                 --b{i}\nContent-Type: text/plain\n\nCorps {i}\n\
                 --b{i}\nContent-Type: message/rfc822\n\n{message}\n--b{i}--\n"
            );
        }
        let parsed = read(&message).unwrap();
        let text = &parsed.pages[0].text;
        assert!(text.contains("Corps 9") && text.contains("Corps 7"), "{text}");
        assert!(!text.contains("Dernier"), "{text}");
        assert!(!parsed.findings.is_empty());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(matches!(read(""), Err(ParseError::Empty)));
        for text in ["Une phrase.\n", "\u{1}\u{2}\u{3}", "X-Key: value\n\nTexte"] {
            assert!(matches!(read(text), Err(ParseError::Corrupt { .. })), "{text:?}");
        }
    }
}
