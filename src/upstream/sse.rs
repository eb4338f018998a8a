//! Server-sent events, from bytes as they arrive.
//!
//! Follows the event stream format of the HTML standard, section 9.2.6, of which a chat stream
//! needs data and comments. One addition: older servers of llama.cpp report a failure as a field
//! named `error`, which counts as data here.

/// Bytes of one event at most: more than any server sends, less than would hurt.
pub const EVENT_BYTES_MAX: usize = 4 << 20;

/// Takes a stream apart.
#[derive(Debug, Default)]
pub struct Events {
    /// Bytes of a line that has not ended.
    line: Vec<u8>,
    /// Data lines of an event that has not ended.
    data: Option<String>,
    /// Whether the last byte was a carriage return, which a line feed may belong to.
    after_return: bool,
    /// Whether the stream has begun: a byte order mark may stand before it.
    begun: bool,
}

/// An event is longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Events {
    /// Takes in bytes and gives the data of each event that they complete.
    ///
    /// # Errors
    /// When an event is too long.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut res = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => res.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            let n_bytes = self.line.len() + self.data.as_ref().map_or(0, String::len);
            if n_bytes > EVENT_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(res)
    }

    /// The data of an event that the stream's end cut off before its empty line. The standard
    /// drops it; servers that do not end their last event mean it all the same.
    pub fn finish(&mut self) -> Option<String> {
        if !self.line.is_empty() {
            let _ = self.end_line();
        }
        self.data.take()
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = if self.begun { &*line } else { line.trim_start_matches('\u{feff}') };
        self.begun = true;
        if line.is_empty() {
            return self.data.take();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if matches!(field, "data" | "error") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        let mut events = Events::default();
        let mut found = events.push(stream.as_bytes()).unwrap();
        found.extend(events.finish());
        assert_eq!(found, expected);
    }

    #[test]
    fn events_end_with_an_empty_line() {
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]);
    }

    #[test]
    fn data_of_several_lines_is_joined_and_one_space_is_taken_off() {
        check("data:a\ndata:  b\n\n", &["a\n b"]);
    }

    #[test]
    fn comments_and_other_fields_are_passed_over() {
        check(": ping\n\nevent: message\nid: 7\nretry: 5\ndata: a\n\n: ping\n\n", &["a"]);
        check("\u{feff}data: a\n\n", &["a"]);
    }

    #[test]
    fn a_field_named_error_is_data() {
        check("error: {\"code\":500}\n\n", &["{\"code\":500}"]);
    }

    #[test]
    fn the_last_event_counts_without_its_empty_line() {
        check("data: a\n\ndata: [DONE]", &["a", "[DONE]"]);
        check("data: a\n\n", &["a"]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut events = Events::default();
        assert_eq!(events.push(&vec![b'x'; EVENT_BYTES_MAX + 1]), Err(TooLong));
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(
            texts in prop::collection::vec("[a-zé€😀: \\\\]{0,12}", 0..6),
            ending in prop::sample::select(vec!["\n", "\r\n", "\r"]),
            size in 1_usize..7,
        ) {
            let stream: String =
                texts.iter().map(|it| format!(": c{ending}data: {it}{ending}{ending}")).collect();
            let mut events = Events::default();
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                found.extend(events.push(piece).unwrap());
            }
            found.extend(events.finish());
            prop_assert_eq!(found, texts);
        }
    }
}
