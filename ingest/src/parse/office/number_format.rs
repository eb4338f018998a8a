//! Excel's number formats, as far as a reader needs them: dates, times, percentages, currencies.
//!
//! Dates come out as ISO 8601 whatever the format's order, so that 03/04 has one meaning.

use jiff::ToSpan;
use jiff::civil::{Date, date};

/// How a number is shown (ISO/IEC 29500-1, 18.8.30 and 18.8.31).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NumberFormat {
    /// As it is.
    General,
    /// Times a hundred, with a number of decimals.
    Percent {
        decimals: usize,
    },
    /// With a sign before or after it.
    Currency {
        before: String,
        after: String,
        decimals: usize,
    },
    Date,
    DateTime,
    Time,
    /// A duration: hours go past 24.
    Elapsed,
    /// `;;;`, which shows nothing.
    Hidden,
}

/// Which day is number zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Epoch {
    Y1900,
    Y1904,
}

impl NumberFormat {
    /// A format that has a number instead of a code.
    pub(crate) fn built_in(id: u32) -> Self {
        match id {
            9 => Self::Percent { decimals: 0 },
            10 => Self::Percent { decimals: 2 },
            14..=17 | 27..=31 | 36 | 50..=54 | 57 | 58 => Self::Date,
            18..=21 | 32..=35 | 45 | 47 | 55 | 56 => Self::Time,
            22 => Self::DateTime,
            46 => Self::Elapsed,
            _ => Self::General,
        }
    }

    /// Reads a format code.
    pub(crate) fn parse(code: &str) -> Self {
        if code.trim() == ";;;" {
            return Self::Hidden;
        }
        let code = Code::read(code);
        let has = |letters: &[char]| code.placeholders.contains(letters);
        if code.elapsed {
            return Self::Elapsed;
        }
        if has(&['%']) {
            return Self::Percent { decimals: code.decimals() };
        }
        let has_time = has(&['h', 's']);
        let has_date = has(&['y', 'd']) || (has(&['m']) && !has_time);
        match (has_date, has_time) {
            (true, true) => Self::DateTime,
            (true, false) => Self::Date,
            (false, true) => Self::Time,
            (false, false) if code.before.is_empty() && code.after.is_empty() => Self::General,
            (false, false) => {
                let decimals = code.decimals();
                Self::Currency { before: code.before, after: code.after, decimals }
            }
        }
    }

    /// A number as a reader sees it.
    pub(crate) fn show(&self, number: f64, epoch: Epoch) -> String {
        match self {
            Self::General | Self::Hidden => general(number),
            Self::Percent { decimals } => format!("{:.*}%", *decimals, number * 100.0),
            Self::Currency { before, after, decimals } => {
                let space = if after.is_empty() { "" } else { " " };
                format!("{before}{number:.*}{space}{after}", *decimals)
            }
            Self::Elapsed => elapsed(number),
            Self::Date | Self::DateTime | Self::Time => {
                self.moment(number, epoch).unwrap_or_else(|| general(number))
            }
        }
    }

    /// A date or time of day; `None` for numbers that are no date.
    fn moment(&self, number: f64, epoch: Epoch) -> Option<String> {
        // The last day that Excel knows is 9999-12-31.
        if !(0.0..2_958_466.0).contains(&number) {
            return None;
        }
        let seconds = (number * 86_400.0).round();
        let (days, seconds) = ((seconds / 86_400.0).floor(), seconds.rem_euclid(86_400.0));
        let time = clock(seconds);
        if *self == Self::Time {
            return Some(time);
        }
        let day = day_zero(days, epoch).checked_add((days as i64).days()).ok()?;
        Some(if *self == Self::Date { day.to_string() } else { format!("{day} {time}") })
    }
}

/// Excel's 1900 was a leap year, so the days before its 60th count from a day later.
fn day_zero(days: f64, epoch: Epoch) -> Date {
    match epoch {
        Epoch::Y1904 => date(1904, 1, 1),
        Epoch::Y1900 if days < 60.0 => date(1899, 12, 31),
        Epoch::Y1900 => date(1899, 12, 30),
    }
}

/// Hours, minutes and, when there are any, seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if s == 0 { format!("{h:02}:{m:02}") } else { format!("{h:02}:{m:02}:{s:02}") }
}

fn elapsed(days: f64) -> String {
    let sign = if days < 0.0 { "-" } else { "" };
    format!("{sign}{}", clock((days.abs() * 86_400.0).round()))
}

/// A number with the 15 significant digits that Excel shows.
pub(crate) fn general(number: f64) -> String {
    // Undoes `0.30000000000000004`, which only a computer would write.
    let rounded: f64 = format!("{number:.14e}").parse().unwrap_or(number);
    if rounded != 0.0 && !(1e-9..1e21).contains(&rounded.abs()) {
        return format!("{rounded:e}");
    }
    rounded.to_string()
}

/// What a code's first section asks for.
#[derive(Default)]
struct Code {
    /// Its characters without literals, in lower case.
    placeholders: String,
    /// Currency signs, by side.
    before: String,
    after: String,
    elapsed: bool,
}

impl Code {
    fn read(code: &str) -> Self {
        let mut read = Self::default();
        let mut chars = code.chars();
        while let Some(c) = chars.next() {
            match c {
                ';' => break,
                '"' => {
                    let literal: String = chars.by_ref().take_while(|c| *c != '"').collect();
                    read.push_signs(&literal);
                }
                '\\' => read.push_signs(chars.next().map(String::from).as_deref().unwrap_or("")),
                // The next character only gives a width, or fills the cell.
                '_' | '*' => drop(chars.next()),
                '[' => {
                    let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                    read.push_bracket(&inside);
                }
                '€' | '$' | '£' | '¥' => read.push_signs(&c.to_string()),
                _ => read.placeholders.extend(c.to_lowercase()),
            }
        }
        read.placeholders = read.placeholders.replace("am/pm", "").replace("general", "");
        read
    }

    /// `[$€-40C]` is a currency, `[h]` a duration; colours, locales and conditions are no matter.
    fn push_bracket(&mut self, inside: &str) {
        if let Some(currency) = inside.strip_prefix('$') {
            let sign = currency.split('-').next().unwrap_or_default();
            self.push_sign(sign);
        } else if !inside.is_empty() && inside.to_lowercase().chars().all(|c| "hms".contains(c)) {
            self.elapsed = true;
        }
    }

    /// Keeps the currency signs of a literal.
    fn push_signs(&mut self, literal: &str) {
        for sign in ["€", "$", "£", "¥", "EUR", "USD", "CHF", "GBP"] {
            if literal.contains(sign) {
                self.push_sign(sign);
            }
        }
    }

    fn push_sign(&mut self, sign: &str) {
        let is_before = !self.placeholders.contains(['0', '#', '?']);
        let side = if is_before { &mut self.before } else { &mut self.after };
        side.push_str(sign.trim());
    }

    fn decimals(&self) -> usize {
        let after_point = self.placeholders.split('.').nth(1).unwrap_or_default();
        after_point.chars().take_while(|c| matches!(c, '0' | '#' | '?')).count().min(15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, number: f64, expected: &str) {
        let shown = NumberFormat::parse(code).show(number, Epoch::Y1900);
        assert_eq!(shown, expected, "{number} as `{code}`");
    }

    #[test]
    fn dates_are_iso_whatever_their_order() {
        check("dd/mm/yyyy", 45_296.0, "2024-01-05");
        check("[$-40C]d\\ mmmm\\ yyyy;@", 45_296.0, "2024-01-05");
        check("yyyy-mm-dd hh:mm:ss", 45_296.5, "2024-01-05 12:00");
        check("h:mm AM/PM", 0.25, "06:00");
        check("[h]:mm", 1.5, "36:00");
    }

    #[test]
    fn both_epochs_and_the_leap_year_that_never_was() {
        assert_eq!(NumberFormat::Date.show(1.0, Epoch::Y1900), "1900-01-01");
        assert_eq!(NumberFormat::Date.show(61.0, Epoch::Y1900), "1900-03-01");
        assert_eq!(NumberFormat::Date.show(0.0, Epoch::Y1904), "1904-01-01");
    }

    #[test]
    fn numbers_that_are_no_date_stay_numbers() {
        check("yyyy", -1.0, "-1");
        check("yyyy", f64::NAN, "NaN");
        check("yyyy", 1e300, "1e300");
    }

    #[test]
    fn percentages_keep_the_decimals_of_their_format() {
        check("0%", 0.185, "18%");
        check("0.00%", 0.185, "18.50%");
    }

    #[test]
    fn currencies_keep_their_sign_and_side() {
        check("#,##0.00\\ \"€\"", 1234.5, "1234.50 €");
        check("[$$-409]#,##0", 12.0, "$12");
        check("#,##0.00 [$€-40C];[Red]-#,##0.00 [$€-40C]", 5.0, "5.00 €");
    }

    #[test]
    fn other_formats_do_not_round() {
        check("0", 3.75, "3.75");
        check("#,##0.0_);\\(#,##0.0\\)", 3.75, "3.75");
        check("0.00E+00", 0.1 + 0.2, "0.3");
        check("\"Days\" 0", 4.0, "4");
    }
}
