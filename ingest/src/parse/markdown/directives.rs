//! The single marks of site generators: admonitions, callouts, lines of MDX, and what the arguments
//! of a tag show to a reader.

/// Attributes whose value is shown to the reader.
const SHOWN_ATTRIBUTES: [&str; 9] =
    ["title", "label", "caption", "summary", "alt", "heading", "header", "text", "description"];

/// The title of an admonition that a line opens or closes (`:::note Title`, `!!! tip "Title"`,
/// `=== "Tab"`); `None` when the line is none.
pub(super) fn admonition(line: &str) -> Option<String> {
    if let Some(rest) = line.strip_prefix("===").filter(|it| it.trim_start().starts_with('"')) {
        return Some(rest.trim().trim_matches('"').to_owned());
    }
    if let Some(rest) = line.strip_prefix("!!!").or_else(|| line.strip_prefix("???")) {
        let rest = rest.trim_start_matches('+').strip_prefix(' ')?.trim();
        let is_kind = rest.starts_with(|c: char| c.is_ascii_alphabetic());
        let title = rest.split_once('"').map_or("", |(_, title)| title.trim_end_matches('"'));
        return is_kind.then(|| title.to_owned());
    }
    let rest = line.strip_prefix(":::")?.trim_start_matches(':').trim();
    let rest =
        rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if let Some((title, _)) = rest.strip_prefix('[').and_then(|it| it.rsplit_once(']')) {
        return Some(title.trim().to_owned());
    }
    match rest.split_once('{') {
        Some((title, attributes)) if title.trim().is_empty() => {
            let (attributes, title) = attributes.split_once('}')?;
            Some(format!("{} {}", shown_attributes(attributes), title.trim()).trim().to_owned())
        }
        Some((title, _)) => Some(title.trim().to_owned()),
        None => Some(rest.trim().to_owned()),
    }
}

/// The text behind the mark of a callout (`> [!NOTE] Title`).
pub(super) fn callout(line: &str) -> Option<&str> {
    let (kind, rest) = line.strip_prefix('>')?.trim_start().strip_prefix("[!")?.split_once(']')?;
    let is_kind = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    is_kind.then(|| rest.trim_start_matches(['+', '-']).trim())
}

/// A line of JavaScript in MDX.
pub(super) enum Module {
    /// All of the statement.
    Line,
    /// The beginning of one that goes on to the next blank line.
    Statement,
}

pub(super) fn module_line(line: &str) -> Option<Module> {
    if let Some(rest) = line.strip_prefix("import ") {
        let quoted = |it: &str| it.starts_with(['\'', '"']);
        let from = rest.split_once(" from ").is_some_and(|(_, source)| quoted(source.trim_start()));
        if from || (quoted(rest) && rest.trim_end().ends_with([';', '\'', '"'])) {
            return Some(Module::Line);
        }
        return (rest.trim() == "{").then_some(Module::Statement);
    }
    let rest = line.strip_prefix("export ")?;
    let keywords = ["const ", "default ", "function ", "let ", "class ", "async "];
    let is_code = rest.contains(['=', '{', '(', ';']);
    (is_code && keywords.iter().any(|it| rest.starts_with(it))).then_some(Module::Statement)
}

/// Length of a component's tag, from `<` to the `>` that is in no quotes or braces.
pub(super) fn component_len(tag: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0usize);
    for (at, b) in tag.bytes().enumerate() {
        match (quote, b) {
            (Some(open), b) if b == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(b),
            (None, b'{') => depth += 1,
            (None, b'}') => depth = depth.checked_sub(1)?,
            (None, b'>') if depth == 0 => return Some(at + 1),
            (None, b'<') if at > 0 && depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// What a tag's arguments show to the reader: titles, and quoted words that are no path.
pub(super) fn shown(arguments: &str) -> String {
    let mut res: Vec<&str> = Vec::new();
    for (name, value) in quoted(arguments) {
        let is_path =
            value.starts_with('/') || (value.contains(['/', '.']) && !value.contains(' '));
        if SHOWN_ATTRIBUTES.contains(&name) || (name.is_empty() && !is_path) {
            res.push(value);
        }
    }
    res.join(" ")
}

/// What a component's attributes show to the reader.
pub(super) fn shown_attributes(attributes: &str) -> String {
    let shown = quoted(attributes).filter(|(name, _)| SHOWN_ATTRIBUTES.contains(name));
    shown.map(|(_, value)| value).collect::<Vec<_>>().join(" ")
}

/// The quoted values in a tag, each with the name in front of it, or none.
pub(super) fn quoted(arguments: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = arguments;
    std::iter::from_fn(move || {
        let at = rest.find(['"', '\'', '“'])?;
        let open = rest[at..].chars().next()?;
        let close = if open == '“' { '”' } else { open };
        let inside = &rest[at + open.len_utf8()..];
        let len = inside.find(close)?;
        let name = rest[..at].trim_end().strip_suffix('=').map_or("", |before| {
            let start =
                before.rfind(|c: char| c.is_whitespace() || c == ',').map_or(0, |at| at + 1);
            &before[start..]
        });
        let value = &inside[..len];
        rest = &inside[len + close.len_utf8()..];
        Some((name, value.trim()))
    })
}
