//! Which HTML a reader does not see. Such text is how instructions are smuggled to a language
//! model, and it must not be quoted as if it stood in the document.

use std::collections::BTreeSet;

/// Pixels beyond which a negative offset puts text off any screen.
const OFF_SCREEN_PX: f32 = 500.0;

/// The largest font size, in pixels, that nobody can read.
const FONT_PX_MAX: f32 = 1.0;

/// The highest opacity that nobody can see.
const OPACITY_MAX: f32 = 0.05;

/// What an element's own style does to the text in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Visibility {
    /// Everything in it is invisible, whatever the elements inside say.
    pub(crate) removed: bool,
    /// Its text is too small to see, or not any more. Mail layouts set a size of zero around
    /// boxes that set their own.
    pub(crate) tiny: Option<bool>,
    /// Its text is not painted, or is again.
    pub(crate) unpainted: Option<bool>,
}

impl Visibility {
    /// Reads an element's attributes. `aria-hidden` is none of them: it hides from screen readers
    /// what everyone else sees.
    pub(crate) fn of<'a>(attributes: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut res = Self::default();
        for (name, value) in attributes {
            if name.eq_ignore_ascii_case("hidden") {
                // `until-found` opens when the reader searches the page for the text.
                res.removed |= !value.eq_ignore_ascii_case("until-found");
            } else if name.eq_ignore_ascii_case("style") {
                let style = Self::of_style(value);
                res = Self { removed: res.removed | style.removed, ..style };
            }
        }
        res
    }

    /// Reads CSS declarations.
    pub(crate) fn of_style(style: &str) -> Self {
        let style = style.to_ascii_lowercase();
        let mut res = Self::default();
        let (mut colour, mut background) = (None, None);
        for (property, value) in declarations(&style) {
            match property {
                "display" => res.removed |= value == "none",
                "visibility" => res.unpainted = Some(matches!(value, "hidden" | "collapse")),
                "opacity" => res.removed |= fraction(value).is_some_and(|it| it <= OPACITY_MAX),
                "font-size" => res.tiny = pixels(value).map(|it| it <= FONT_PX_MAX).or(res.tiny),
                "text-indent" | "left" | "top" | "right" | "margin-left" | "margin-top" => {
                    res.removed |= pixels(value).is_some_and(|it| it <= -OFF_SCREEN_PX);
                }
                "color" if value == "transparent" => res.unpainted = Some(true),
                "color" => colour = plain_colour(value),
                "background" | "background-color" => background = plain_colour(value),
                _ => {}
            }
        }
        res.removed |= colour.is_some() && colour == background;
        res
    }

    /// Whether the element's text cannot be seen, as far as its own style tells.
    pub(crate) fn hides(self) -> bool {
        self.removed || self.tiny == Some(true) || self.unpainted == Some(true)
    }
}

/// Classes and ids that a page's own style sheet makes invisible.
///
/// Only plain `.class`, `#id` and `tag.class` rules outside of `@media` and the like are read. A
/// name that another rule shows again (tabs, menus) is not hidden for good, and stays.
#[derive(Debug, Default)]
pub(super) struct HiddenNames {
    /// `.name` and `#name`.
    names: BTreeSet<String>,
    /// Names in a rule that sets how they are displayed.
    shown: BTreeSet<String>,
}

impl HiddenNames {
    /// Reads one `<style>` element.
    pub(super) fn read(&mut self, css: &str) {
        let mut rest = css;
        while let Some((selectors, after)) = rest.split_once('{') {
            let selectors = after_comments(selectors);
            if selectors.starts_with('@') {
                rest = after_block(after);
                continue;
            }
            let (body, after) = after.split_once('}').unwrap_or((after, ""));
            self.read_rule(selectors, body);
            rest = after;
        }
    }

    fn read_rule(&mut self, selectors: &str, body: &str) {
        let hides = Visibility::of_style(body).hides();
        let lower = body.to_ascii_lowercase();
        let shows = !hides
            && declarations(&lower)
                .any(|(property, _)| matches!(property, "display" | "visibility" | "opacity"));
        if !hides && !shows {
            return;
        }
        for selector in selectors.split(',').map(str::trim) {
            if shows {
                self.shown.extend(names_in(selector).map(str::to_owned));
            } else if let Some(at) = selector.find(['.', '#'])
                && selector[..at].bytes().all(|b| b.is_ascii_alphanumeric())
                && names_in(selector).next() == Some(&selector[at..])
            {
                self.names.insert(selector[at..].to_owned());
            }
        }
    }

    /// Whether an element with this id and these classes is hidden.
    pub(super) fn hide(&self, id: Option<&str>, classes: Option<&str>) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let hidden = |name: String| self.names.contains(&name) && !self.shown.contains(&name);
        id.is_some_and(|id| hidden(format!("#{id}")))
            || classes
                .is_some_and(|it| it.split_ascii_whitespace().any(|it| hidden(format!(".{it}"))))
    }
}

/// The `.class` and `#id` parts of a selector.
fn names_in(selector: &str) -> impl Iterator<Item = &str> {
    selector.match_indices(['.', '#']).map(|(at, _)| {
        let end = selector[at + 1..]
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_')))
            .map_or(selector.len(), |len| at + 1 + len);
        &selector[at..end]
    })
}

/// Leaves out comments in front of a selector.
fn after_comments(selectors: &str) -> &str {
    selectors.rsplit("*/").next().unwrap_or(selectors).trim()
}

/// The text after a block whose `{` has been read, with the blocks inside it.
fn after_block(css: &str) -> &str {
    let mut depth = 1usize;
    for (at, brace) in css.match_indices(['{', '}']) {
        depth = if brace == "{" { depth + 1 } else { depth - 1 };
        if depth == 0 {
            return &css[at + 1..];
        }
    }
    ""
}

/// The property and value pairs of lower-case CSS declarations.
fn declarations(style: &str) -> impl Iterator<Item = (&str, &str)> {
    style.split(';').filter_map(|declaration| {
        let (property, value) = declaration.split_once(':')?;
        let value = value.trim();
        Some((property.trim(), value.strip_suffix("!important").unwrap_or(value).trim()))
    })
}

/// A length in pixels, with 16 pixels to a text unit; `None` when it is no plain length.
fn pixels(value: &str) -> Option<f32> {
    let unit_at = value.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(value.len());
    let number: f32 = value[..unit_at].trim().parse().ok()?;
    match &value[unit_at..] {
        "" | "px" => Some(number),
        "pt" => Some(number * 4.0 / 3.0),
        "em" | "rem" | "ch" | "ex" => Some(number * 16.0),
        "%" | "vw" | "vh" => Some(number * 10.0),
        _ => None,
    }
}

/// A number or a percentage, as a fraction.
fn fraction(value: &str) -> Option<f32> {
    match value.strip_suffix('%') {
        Some(percent) => percent.trim().parse().ok().map(|it: f32| it / 100.0),
        None => value.parse().ok(),
    }
}

/// A colour, the usual ones under one name each; `None` when it comes from elsewhere.
fn plain_colour(value: &str) -> Option<&str> {
    Some(match value {
        "#fff" | "#ffffff" | "rgb(255,255,255)" | "rgb(255, 255, 255)" => "white",
        "#000" | "#000000" | "rgb(0,0,0)" | "rgb(0, 0, 0)" => "black",
        "inherit" | "initial" | "unset" | "revert" | "currentcolor" | "none" => return None,
        other if other.contains("var(") => return None,
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_that_hide() {
        for style in [
            "display:none",
            "color: red; DISPLAY : None !important",
            "visibility: hidden",
            "opacity: 0",
            "opacity:0.0",
            "opacity: 1%",
            "font-size:0",
            "font-size: 0.5px",
            "font-size:0%",
            "text-indent:-9999px",
            "position:absolute; left:-9999px",
            "position:fixed;top:-100em",
            "color:transparent",
            "color:#fff;background:white",
        ] {
            assert!(Visibility::of_style(style).hides(), "{style}");
        }
    }

    #[test]
    fn styles_that_do_not_hide() {
        for style in [
            "",
            "display:block",
            "opacity:0.5",
            "font-size:12px",
            "font-size:80%",
            "text-indent:-2em",
            "margin-left:-20px",
            "color:#fff;background:#003",
            "color:#fff",
            "color:inherit;background:inherit",
            "nonsense",
            "display",
        ] {
            assert!(!Visibility::of_style(style).hides(), "{style}");
        }
    }

    #[test]
    fn attributes_that_hide() {
        let hides = |name: &str, value: &str| Visibility::of([(name, value)].into_iter()).hides();
        assert!(hides("hidden", ""));
        assert!(hides("style", "display:none"));
        assert!(!hides("hidden", "until-found"));
        assert!(!hides("aria-hidden", "true"));
        assert!(!hides("class", "hidden"));
    }

    #[test]
    fn what_is_inside_can_be_shown_again_only_where_css_lets_it() {
        let inner = Visibility::of_style("font-size:13px; visibility:visible");
        assert_eq!((inner.tiny, inner.unpainted), (Some(false), Some(false)));
        assert!(!Visibility::of_style("font-size:0").removed);
        assert!(Visibility::of_style("display:none").removed);
    }

    #[test]
    fn style_sheets_hide_by_class_and_id() {
        let mut names = HiddenNames::default();
        names.read(
            "/* menu */ .a, p.b { font-size: 0 } #c{display:none} .d .e {display:none}\
             @media print { .f { display: none } } .g{display:none} .g.open{display:block}\
             .h { color: red }",
        );
        assert!(names.hide(None, Some("x a")));
        assert!(names.hide(None, Some("b")));
        assert!(names.hide(Some("c"), None));
        for shown in ["d", "e", "f", "g", "h", "c", "open"] {
            assert!(!names.hide(None, Some(shown)), "{shown}");
        }
    }

    #[test]
    fn broken_style_sheets_are_read_to_their_end() {
        for css in ["{", "}", "@media {", ".a {", "}}{{", ".{display:none}", "@x{{}", "é{"] {
            HiddenNames::default().read(css);
        }
    }
}
