//! Character maps: codes of a font to Unicode (ISO 32000-1, 9.7.5 and 9.10.3).
//!
//! lopdf reads them too, but expands every range into a table, which a hostile range of four
//! billion codes turns into as many bytes; here a range stays a range.

use std::collections::HashMap;

/// A parsed map.
#[derive(Debug, Default)]
pub(super) struct CMap {
    /// Code lengths in bytes with their first and last code.
    codespaces: Vec<(usize, u32, u32)>,
    chars: HashMap<u32, String>,
    /// First and last code, and the text of the first, whose last UTF-16 unit counts up.
    ranges: Vec<(u32, u32, Vec<u16>)>,
}

#[derive(Debug)]
enum Token<'a> {
    Hex(Vec<u8>),
    Open,
    Close,
    Word(&'a [u8]),
}

impl CMap {
    /// Reads what it can. Damage ends a section, not the map.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut res = Self::default();
        let mut tokens = Tokens { bytes };
        while let Some(token) = tokens.next() {
            match token {
                Token::Word(b"begincodespacerange") => res.read_codespaces(&mut tokens),
                Token::Word(b"beginbfchar") => res.read_chars(&mut tokens),
                Token::Word(b"beginbfrange") => res.read_ranges(&mut tokens),
                _ => {}
            }
        }
        // Later definitions win, as in PostScript; the search walks from the end of equals.
        res.ranges.sort_by_key(|range| range.0);
        res
    }

    /// The text of a code, `None` when the map does not say or says U+0000 or U+FFFD.
    pub(super) fn get(&self, code: u32) -> Option<String> {
        if let Some(text) = self.chars.get(&code) {
            return Some(text.clone()).filter(|text| is_text(text));
        }
        let after = self.ranges.partition_point(|range| range.0 <= code);
        let (first, last, base) = self.ranges[..after].last()?;
        if code > *last {
            return None;
        }
        let mut units = base.clone();
        let unit = units.last_mut()?;
        *unit = unit.wrapping_add(u16::try_from((code - first) & 0xffff).unwrap_or(0));
        Some(String::from_utf16_lossy(&units)).filter(|text| is_text(text))
    }

    /// Takes the next code off a string: its value and its length in bytes.
    pub(super) fn next_code(&self, bytes: &[u8]) -> (u32, usize) {
        let mut code = 0u32;
        for (i, byte) in bytes.iter().take(4).enumerate() {
            code = code << 8 | u32::from(*byte);
            let fits = |&(length, lo, hi): &(usize, u32, u32)| {
                length == i + 1 && (lo..=hi).contains(&code)
            };
            if self.codespaces.iter().any(fits) {
                return (code, i + 1);
            }
        }
        let shortest = self.codespaces.iter().map(|space| space.0).min().unwrap_or(2);
        let length = shortest.min(bytes.len()).max(1);
        (be(&bytes[..length.min(bytes.len())]), length)
    }

    /// Whether code lengths are known.
    pub(super) fn has_codespaces(&self) -> bool {
        !self.codespaces.is_empty()
    }

    fn read_codespaces(&mut self, tokens: &mut Tokens<'_>) {
        while let Some(Token::Hex(lo)) = tokens.next() {
            let Some(Token::Hex(hi)) = tokens.next() else { return };
            if (1..=4).contains(&lo.len()) && lo.len() == hi.len() {
                self.codespaces.push((lo.len(), be(&lo), be(&hi)));
            }
        }
    }

    fn read_chars(&mut self, tokens: &mut Tokens<'_>) {
        while let Some(Token::Hex(code)) = tokens.next() {
            let Some(Token::Hex(text)) = tokens.next() else { return };
            self.chars.insert(be(&code), String::from_utf16_lossy(&units(&text)));
        }
    }

    fn read_ranges(&mut self, tokens: &mut Tokens<'_>) {
        while let Some(Token::Hex(lo)) = tokens.next() {
            let Some(Token::Hex(hi)) = tokens.next() else { return };
            let (lo, hi) = (be(&lo), be(&hi));
            match tokens.next() {
                Some(Token::Hex(text)) if lo <= hi => self.ranges.push((lo, hi, units(&text))),
                Some(Token::Hex(_)) => {}
                Some(Token::Open) => {
                    let mut code = lo;
                    while let Some(Token::Hex(text)) = tokens.next() {
                        if code <= hi {
                            self.chars.insert(code, String::from_utf16_lossy(&units(&text)));
                        }
                        code = code.saturating_add(1);
                    }
                }
                _ => return,
            }
        }
    }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && !text.contains(['\0', '\u{fffd}'])
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn units(bytes: &[u8]) -> Vec<u16> {
    match bytes {
        [one] => vec![u16::from(*one)],
        _ => bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect(),
    }
}

/// PostScript tokens, as far as character maps need them.
struct Tokens<'a> {
    bytes: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let (&first, rest) = self.bytes.split_first()?;
            match first {
                b'%' => {
                    let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
                    self.bytes = &rest[end.unwrap_or(rest.len())..];
                }
                b'[' => {
                    self.bytes = rest;
                    return Some(Token::Open);
                }
                b']' => {
                    self.bytes = rest;
                    return Some(Token::Close);
                }
                b'<' if rest.first() != Some(&b'<') => {
                    let end = rest.iter().position(|&b| b == b'>').unwrap_or(rest.len());
                    self.bytes = rest.get(end + 1..).unwrap_or_default();
                    return Some(Token::Hex(hex(&rest[..end])));
                }
                b'<' | b'>' | b'(' | b')' | b'/' | b'{' | b'}' => self.bytes = rest,
                _ if first.is_ascii_whitespace() || first == 0 => self.bytes = rest,
                _ => {
                    let ends = |b: &u8| {
                        b.is_ascii_whitespace() || b"\0<>[](){}/%".contains(b)
                    };
                    let end = self.bytes.iter().position(ends).unwrap_or(self.bytes.len());
                    let (word, rest) = self.bytes.split_at(end);
                    self.bytes = rest;
                    return Some(Token::Word(word));
                }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> =
        bytes.iter().filter_map(|b| (*b as char).to_digit(16)).map(|d| d as u8).collect();
    // An odd last digit stands for its tens (ISO 32000-1, 7.3.4.3).
    digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(map: &str, code: u32, expected: Option<&str>) {
        assert_eq!(CMap::parse(map.as_bytes()).get(code).as_deref(), expected);
    }

    #[test]
    fn reads_single_codes() {
        check("1 beginbfchar <0003> <00E9> endbfchar", 3, Some("é"));
        check("1 beginbfchar <0003> <00E9> endbfchar", 4, None);
    }

    #[test]
    fn reads_a_ligature_as_its_letters() {
        check("1 beginbfchar <0c> <00660069> endbfchar", 12, Some("fi"));
    }

    #[test]
    fn counts_up_within_a_range() {
        check("1 beginbfrange <0000> <FFFF> <0041> endbfrange", 2, Some("C"));
    }

    #[test]
    fn reads_a_range_written_as_a_list() {
        check("1 beginbfrange <10> <12> [<0061> <0062> <0063>] endbfrange", 0x12, Some("c"));
    }

    #[test]
    fn keeps_a_range_of_four_billion_codes_small() {
        let map = "1 beginbfrange <00000000> <FFFFFFFF> <0041> endbfrange";
        check(map, 1, Some("B"));
        check(map, u32::MAX, Some("@"));
    }

    #[test]
    fn survives_damage() {
        for end in 0..60 {
            let map = "begincodespacerange <00> <FF> endcodespacerange beginbfchar <0> <é> [ <";
            CMap::parse(&map.as_bytes()[..end.min(map.len())]);
        }
    }

    #[test]
    fn takes_codes_of_mixed_lengths() {
        let map = CMap::parse(
            b"2 begincodespacerange <00> <80> <8140> <FEFE> endcodespacerange",
        );
        assert_eq!(map.next_code(&[0x20, 0x81, 0x40]), (0x20, 1));
        assert_eq!(map.next_code(&[0x81, 0x40]), (0x8140, 2));
        assert_eq!(map.next_code(&[0x81]), (0x81, 1));
    }
}
