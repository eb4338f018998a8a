//! What the sheets of a workbook share: its strings and its cells' formats.

use crate::parse::ParseError;
use crate::parse::office::number_format::NumberFormat;
use crate::parse::office::package::Package;
use crate::parse::office::xml::{Token, Tree, Xml};
use std::collections::HashMap;

/// Reads the strings that cells refer to by position.
pub(super) fn read_strings(
    package: &mut Package<'_>,
    part: Option<&str>,
) -> Result<Vec<String>, ParseError> {
    let Some(text) = part.map(|it| package.text(it)).transpose()?.flatten() else {
        return Ok(Vec::new());
    };
    let mut xml = Xml::new(&text);
    let mut strings = Vec::new();
    loop {
        match xml.next()? {
            Token::Open(tag) if tag.name() == "si" => strings.push(read_string(&mut xml)?),
            Token::End => return Ok(strings),
            Token::Open(_) | Token::Close(_) | Token::Text(_) => {}
        }
    }
}

/// Reads the runs of a string (`si` or `is`) up to its end tag, without phonetic hints.
pub(super) fn read_string(xml: &mut Xml<'_>) -> Result<String, ParseError> {
    let mut string = String::new();
    let mut in_text = false;
    loop {
        match xml.next()? {
            Token::Open(tag) => match tag.name() {
                "t" => in_text = true,
                "rPh" => xml.skip()?,
                _ => {}
            },
            Token::Close(tag) => match tag.name() {
                "t" => in_text = false,
                "si" | "is" => return Ok(unescaped(string)),
                _ => {}
            },
            Token::Text(text) if in_text => string.push_str(&text),
            Token::Text(_) => {}
            Token::End => return Ok(string),
        }
    }
}

/// Undoes Excel's way to write control characters: `_x000D_` (ISO/IEC 29500-1, 22.9.2.19).
pub(super) fn unescaped(string: String) -> String {
    if !string.contains("_x") {
        return string;
    }
    let mut plain = String::with_capacity(string.len());
    let mut rest = string.as_str();
    while let Some(start) = rest.find("_x") {
        plain.push_str(&rest[..start]);
        let code = rest.get(start + 2..start + 6);
        let is_closed = rest.as_bytes().get(start + 6) == Some(&b'_');
        let c = code.and_then(|it| u32::from_str_radix(it, 16).ok()).and_then(char::from_u32);
        match c.filter(|_| is_closed) {
            Some(c) => {
                plain.push(if c.is_control() { '\n' } else { c });
                rest = &rest[start + 7..];
            }
            None => {
                plain.push_str("_x");
                rest = &rest[start + 2..];
            }
        }
    }
    plain + rest
}

/// Reads the number formats of cell styles, by position.
pub(super) fn read_formats(tree: &Tree) -> Vec<NumberFormat> {
    let Some(root) = tree.root() else { return Vec::new() };
    let mut codes = HashMap::new();
    if let Some(formats) = tree.child(root, "numFmts") {
        for format in tree.children_named(formats, "numFmt") {
            if let (Some(id), Some(code)) =
                (tree.attr(format, "numFmtId"), tree.attr(format, "formatCode"))
            {
                codes.insert(id, NumberFormat::parse(code));
            }
        }
    }
    let Some(styles) = tree.child(root, "cellXfs") else { return Vec::new() };
    let format = |style| {
        let id = tree.attr(style, "numFmtId").unwrap_or("0");
        let built_in = || NumberFormat::built_in(id.parse().unwrap_or(0));
        codes.get(id).cloned().unwrap_or_else(built_in)
    };
    tree.children_named(styles, "xf").map(format).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_control_characters_become_line_breaks() {
        assert_eq!(unescaped("a_x000D_b_x00E9__xZZ_é_x".to_owned()), "a\nbé_xZZ_é_x");
    }
}
