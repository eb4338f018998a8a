//! What kind of Markdown line a line is. Cleaning and chunking must agree on it.

/// Follows fenced code blocks through the lines of a text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fence {
    /// The character of the open fence and how often it stands there.
    open: Option<(u8, usize)>,
}

impl Fence {
    /// Takes the next line into account; whether it belongs to a fenced code block, its fences
    /// included.
    pub(crate) fn holds(&mut self, line: &str) -> bool {
        let trimmed = line.trim_start();
        let Some(&mark @ (b'`' | b'~')) = trimmed.as_bytes().first() else {
            return self.open.is_some();
        };
        let n = trimmed.bytes().take_while(|&byte| byte == mark).count();
        let rest = &trimmed[n..];
        match self.open {
            Some((open, n_open)) => {
                if open == mark && n >= n_open && rest.trim().is_empty() {
                    self.open = None;
                }
                true
            }
            // A backtick after the fence makes it inline code (CommonMark 0.31, 4.5).
            None if n >= 3 && !(mark == b'`' && rest.contains('`')) => {
                self.open = Some((mark, n));
                true
            }
            None => false,
        }
    }
}

/// The level of an ATX heading (CommonMark 0.31, 4.2) that holds some text.
pub(crate) fn atx_level(line: &str) -> Option<u8> {
    let trimmed = line.trim_start_matches(' ');
    if !trimmed.starts_with('#') || line.len() - trimmed.len() > 3 {
        return None;
    }
    let level = trimmed.bytes().take_while(|&byte| byte == b'#').count();
    let rest = &trimmed[level..];
    let titled = rest.starts_with([' ', '\t']) && !rest.trim_matches(['#', ' ', '\t']).is_empty();
    u8::try_from(level).ok().filter(|&level| level <= 6 && titled)
}

/// The level of the heading that a line underlines (CommonMark 0.31, 4.3).
pub(crate) fn setext_level(line: &str) -> Option<u8> {
    let trimmed = line.trim_end();
    let is_all = |mark: u8| trimmed.len() >= 2 && trimmed.bytes().all(|byte| byte == mark);
    if is_all(b'=') {
        Some(1)
    } else if is_all(b'-') {
        Some(2)
    } else {
        None
    }
}

/// Whether a line is a row of a pipe table.
pub(crate) fn is_table_row(line: &str) -> bool {
    line.trim_start().starts_with('|')
}

/// Whether a line is what stands between the header and the rows of a pipe table.
pub(crate) fn is_table_separator(line: &str) -> bool {
    is_table_row(line)
        && line.contains('-')
        && line.bytes().all(|byte| matches!(byte, b'|' | b'-' | b':' | b' ' | b'\t' | b'\n'))
}

/// Whether a line begins an item of a list.
pub(crate) fn is_list_item(line: &str) -> bool {
    let trimmed = line.trim_start();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let after = if digits == 0 {
        trimmed.strip_prefix(['-', '*', '+'])
    } else if digits <= 9 {
        trimmed[digits..].strip_prefix(['.', ')'])
    } else {
        None
    };
    after.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// Whether a line is running text, so that its line breaks carry no meaning.
pub(crate) fn is_prose(line: &str) -> bool {
    let indented = line.starts_with("    ") || line.starts_with('\t');
    !line.trim().is_empty()
        && !indented
        && !line.trim_start().starts_with(['|', '>', '<'])
        && atx_level(line).is_none()
        && setext_level(line).is_none()
        && !is_list_item(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_fence(text: &str, expected: &[bool]) {
        let mut fence = Fence::default();
        let held: Vec<_> = text.lines().map(|line| fence.holds(line)).collect();
        assert_eq!(held, expected);
    }

    #[test]
    fn a_fence_ends_with_as_many_of_the_same_marks() {
        check_fence(
            "a\n```rust\n# b\n~~~\n``\n````\nc",
            &[false, true, true, true, true, true, false],
        );
        check_fence("``` a ``` b\nc", &[false, false]);
        check_fence("~~~\nnever closed", &[true, true]);
    }

    #[track_caller]
    fn check_atx(line: &str, expected: Option<u8>) {
        assert_eq!(atx_level(line), expected, "{line}");
    }

    #[test]
    fn a_heading_needs_a_space_a_title_and_at_most_six_marks() {
        check_atx("# a", Some(1));
        check_atx("   ###### a", Some(6));
        check_atx("####### a", None);
        check_atx("    # a", None);
        check_atx("#a", None);
        check_atx("# #", None);
        check_atx("#", None);
    }

    #[track_caller]
    fn check_prose(line: &str, expected: bool) {
        assert_eq!(is_prose(line), expected, "{line}");
    }

    #[test]
    fn lists_tables_headings_and_code_are_not_prose() {
        check_prose("Le texte court.", true);
        check_prose("-5 °C ce matin", true);
        check_prose("2024 fut une bonne année", true);
        for line in ["- a", "12. a", "1) a", "| a |", "> a", "# a", "    code", "---", "", "  "] {
            check_prose(line, false);
        }
    }

    #[test]
    fn a_separator_of_a_table_is_told_from_a_row() {
        assert!(is_table_separator("| --- | :-: |"));
        assert!(!is_table_separator("| a | - |"));
        assert!(!is_table_separator("|   |"));
        assert!(!is_table_separator("---"));
    }
}
