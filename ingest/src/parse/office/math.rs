//! Equations: Office's own notation (OMML; ISO/IEC 29500-1, 22.1) as LaTeX.
//!
//! A tree lists parents before children, so a walk backwards meets a node when its children are
//! already written. No recursion, whatever the nesting.

use super::xml::{NodeId, Tree};

/// Longer equations are not equations. They are given as their bare text.
const EQUATION_NODES_MAX: usize = 50_000;

/// The LaTeX of an equation, without `$`.
pub(crate) fn latex(tree: &Tree, equation: NodeId) -> String {
    let nodes = tree.descendants(equation);
    if nodes.len() > EQUATION_NODES_MAX {
        return tree.text(equation);
    }
    let mut written = vec![String::new(); nodes.end];
    for node in nodes.rev() {
        written[node] = element(tree, node, &mut written);
    }
    let whole = joined(tree, equation, &mut written);
    super::text::one_line(&whole)
}

/// What the children of a node gave, in order.
fn joined(tree: &Tree, node: NodeId, written: &mut [String]) -> String {
    let mut text = String::new();
    for child in tree.children(node) {
        text.push_str(&std::mem::take(&mut written[child]));
    }
    text
}

fn element(tree: &Tree, node: NodeId, written: &mut [String]) -> String {
    let mut part = |name: &str| {
        tree.child(node, name).map(|it| std::mem::take(&mut written[it])).unwrap_or_default()
    };
    match tree.name(node) {
        "t" => symbols(&tree.text(node)),
        "f" => fraction(property(tree, node, "fPr", "type"), &part("num"), &part("den")),
        "sSup" => format!("{}^{{{}}}", grouped(&part("e")), part("sup")),
        "sSub" => format!("{}_{{{}}}", grouped(&part("e")), part("sub")),
        "sSubSup" => format!("{}_{{{}}}^{{{}}}", grouped(&part("e")), part("sub"), part("sup")),
        "sPre" => format!("{{}}_{{{}}}^{{{}}}{}", part("sub"), part("sup"), part("e")),
        "nary" => {
            let sign = property(tree, node, "naryPr", "chr").unwrap_or("∫");
            let sign = large_operator(sign);
            format!("{sign}_{{{}}}^{{{}}}{}", part("sub"), part("sup"), part("e"))
        }
        "rad" => match part("deg").trim() {
            "" => format!("\\sqrt{{{}}}", part("e")),
            degree => format!("\\sqrt[{degree}]{{{}}}", part("e")),
        },
        "func" => {
            let name = part("fName");
            format!("{}{}", function_name(&name), spaced(&part("e")))
        }
        "limLow" => format!("{}_{{{}}}", function_name(&part("e")), part("lim")),
        "limUpp" => format!("\\overset{{{}}}{{{}}}", part("lim"), part("e")),
        "groupChr" => {
            let brace = property(tree, node, "groupChrPr", "chr").unwrap_or("⏟");
            accent(brace, &part("e"))
        }
        "acc" => accent(property(tree, node, "accPr", "chr").unwrap_or("\u{302}"), &part("e")),
        "bar" => {
            let is_top = property(tree, node, "barPr", "pos") == Some("top");
            format!("\\{}{{{}}}", if is_top { "overline" } else { "underline" }, part("e"))
        }
        "d" => delimited(tree, node, written),
        "m" => {
            let rows = parts(tree, node, "mr", written).join(" \\\\ ");
            format!("\\begin{{matrix}}{rows}\\end{{matrix}}")
        }
        "mr" => parts(tree, node, "e", written).join(" & "),
        "eqArr" => parts(tree, node, "e", written).join(" \\\\ "),
        // Properties say how it looks. Their own children have been used by now, or never will be.
        name if name.ends_with("Pr") => String::new(),
        _ => joined(tree, node, written),
    }
}

/// The children of one name, one by one.
fn parts(tree: &Tree, node: NodeId, name: &str, written: &mut [String]) -> Vec<String> {
    tree.children_named(node, name).map(|it| std::mem::take(&mut written[it])).collect()
}

/// A property's value. Office leaves the default ones out.
fn property<'t>(tree: &'t Tree, node: NodeId, bag: &str, name: &str) -> Option<&'t str> {
    tree.child_val(tree.child(node, bag)?, name)
}

fn fraction(kind: Option<&str>, numerator: &str, denominator: &str) -> String {
    match kind {
        Some("noBar") => format!("\\genfrac{{}}{{}}{{0pt}}{{}}{{{numerator}}}{{{denominator}}}"),
        Some("lin") => format!("{numerator}/{denominator}"),
        _ => format!("\\frac{{{numerator}}}{{{denominator}}}"),
    }
}

fn delimited(tree: &Tree, node: NodeId, written: &mut [String]) -> String {
    let sign = |name, default| match property(tree, node, "dPr", name) {
        Some("") => ".".to_owned(),
        Some("{") => "\\{".to_owned(),
        Some("}") => "\\}".to_owned(),
        Some(other) => other.to_owned(),
        None => String::from(default),
    };
    let separator = property(tree, node, "dPr", "sepChr").unwrap_or("|");
    let inside = parts(tree, node, "e", written).join(separator);
    format!("\\left{}{inside}\\right{}", sign("begChr", "("), sign("endChr", ")"))
}

/// Braces around a base that is more than one sign.
fn grouped(base: &str) -> String {
    let base = base.trim();
    let is_fenced = base.starts_with("\\left") && base.ends_with(')');
    if base.chars().count() <= 1 || is_fenced { base.to_owned() } else { format!("{{{base}}}") }
}

/// A space before an argument that would otherwise join the function's name.
fn spaced(argument: &str) -> String {
    let needs_space = argument.chars().next().is_some_and(char::is_alphanumeric);
    format!("{}{argument}", if needs_space { " " } else { "" })
}

/// `\sin` for the functions that LaTeX has.
fn function_name(name: &str) -> String {
    const KNOWN: &[&str] = &[
        "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det",
        "dim", "exp", "gcd", "hom", "inf", "ker", "lg", "lim", "liminf", "limsup", "ln", "log",
        "max", "min", "Pr", "sec", "sin", "sinh", "sup", "tan", "tanh",
    ];
    let name = name.trim();
    if KNOWN.contains(&name) {
        return format!("\\{name}");
    }
    let is_word = name.len() > 1 && name.chars().all(char::is_alphabetic);
    if is_word { format!("\\operatorname{{{name}}}") } else { name.to_owned() }
}

fn large_operator(sign: &str) -> &str {
    match sign {
        "∑" => "\\sum",
        "∏" => "\\prod",
        "∐" => "\\coprod",
        "∫" => "\\int",
        "∬" => "\\iint",
        "∭" => "\\iiint",
        "∮" => "\\oint",
        "∯" => "\\oiint",
        "∰" => "\\oiiint",
        "⋃" => "\\bigcup",
        "⋂" => "\\bigcap",
        "⋁" => "\\bigvee",
        "⋀" => "\\bigwedge",
        other => other,
    }
}

fn accent(sign: &str, base: &str) -> String {
    let command = match sign {
        "\u{302}" => "hat",
        "\u{303}" => "tilde",
        "\u{304}" | "\u{305}" | "¯" => "bar",
        "\u{307}" => "dot",
        "\u{308}" => "ddot",
        "\u{20D7}" | "→" => "vec",
        "⏞" => "overbrace",
        "⏟" => "underbrace",
        _ => return base.to_owned(),
    };
    format!("\\{command}{{{base}}}")
}

/// Greek letters and operators by their LaTeX names; all else as it is.
fn symbols(text: &str) -> String {
    let mut latex = String::with_capacity(text.len());
    for c in text.chars() {
        match symbol(c) {
            Some(name) => {
                latex.push('\\');
                latex.push_str(name);
                latex.push(' ');
            }
            None if matches!(c, '{' | '}' | '%' | '#' | '&' | '$') => {
                latex.push('\\');
                latex.push(c);
            }
            None => latex.push(mathematical_letter(c)),
        }
    }
    latex
}

/// Office writes italic variables as letters of their own (U+1D434 …). A search needs plain ones.
fn mathematical_letter(c: char) -> char {
    match c {
        '\u{1D434}'..='\u{1D44D}' => shifted(c, '\u{1D434}', b'A'),
        '\u{1D44E}'..='\u{1D467}' => shifted(c, '\u{1D44E}', b'a'),
        '\u{1D400}'..='\u{1D419}' => shifted(c, '\u{1D400}', b'A'),
        '\u{1D41A}'..='\u{1D433}' => shifted(c, '\u{1D41A}', b'a'),
        '\u{210E}' => 'h',
        _ => c,
    }
}

fn shifted(c: char, from: char, to: u8) -> char {
    char::from_u32(u32::from(c) - u32::from(from) + u32::from(to)).unwrap_or(c)
}

#[rustfmt::skip]
fn symbol(c: char) -> Option<&'static str> {
    Some(match c {
        'α' | '𝛼' => "alpha", 'β' | '𝛽' => "beta", 'γ' | '𝛾' => "gamma", 'δ' | '𝛿' => "delta",
        'ε' | '𝜀' | 'ϵ' | '𝜖' => "epsilon", 'ζ' | '𝜁' => "zeta", 'η' | '𝜂' => "eta",
        'θ' | '𝜃' => "theta", 'κ' | '𝜅' => "kappa", 'λ' | '𝜆' => "lambda", 'μ' | '𝜇' => "mu",
        'ν' | '𝜈' => "nu", 'ξ' | '𝜉' => "xi", 'π' | '𝜋' => "pi", 'ρ' | '𝜌' => "rho",
        'σ' | '𝜎' => "sigma", 'τ' | '𝜏' => "tau", 'φ' | '𝜑' | 'ϕ' | '𝜙' => "phi",
        'χ' | '𝜒' => "chi", 'ψ' | '𝜓' => "psi", 'ω' | '𝜔' => "omega",
        'Γ' => "Gamma", 'Δ' | '∆' => "Delta", 'Θ' => "Theta", 'Λ' => "Lambda", 'Π' => "Pi",
        'Σ' => "Sigma", 'Φ' => "Phi", 'Ψ' => "Psi", 'Ω' => "Omega",
        '×' => "times", '÷' => "div", '·' | '⋅' | '∙' => "cdot", '±' => "pm", '∓' => "mp",
        '≤' => "leq", '≥' => "geq", '≠' => "neq", '≈' => "approx", '≡' => "equiv", '∞' => "infty",
        '∈' => "in", '∉' => "notin", '⊂' => "subset", '⊆' => "subseteq", '∩' => "cap",
        '∪' => "cup", '∧' => "wedge", '∨' => "vee", '∀' => "forall", '∃' => "exists",
        '∂' => "partial", '∇' => "nabla", '→' => "rightarrow", '⇒' => "Rightarrow",
        '↔' => "leftrightarrow", '⇔' => "Leftrightarrow", '…' | '⋯' => "dots",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(omml: &str, expected: &str) {
        let tree = Tree::parse(&format!("<m:oMath>{omml}</m:oMath>")).unwrap();
        assert_eq!(latex(&tree, 0), expected);
    }

    fn run(text: &str) -> String {
        format!("<m:r><m:t>{text}</m:t></m:r>")
    }

    #[test]
    fn scripts_group_bases_of_more_than_one_sign() {
        let squared =
            |base: String| format!("<m:sSup><m:e>{base}</m:e><m:sup>{}</m:sup></m:sSup>", run("2"));
        check(&format!("{}{}", run("A=π"), squared(run("𝑟"))), "A=\\pi r^{2}");
        let fraction =
            format!("<m:f><m:num>{}</m:num><m:den>{}</m:den></m:f>", run("x-c"), run("v"));
        check(&squared(fraction), "{\\frac{x-c}{v}}^{2}");
    }

    #[test]
    fn sums_functions_and_fences() {
        check(
            &format!(
                "<m:nary><m:naryPr><m:chr m:val=\"∑\"/></m:naryPr><m:sub>{}</m:sub>\
                 <m:sup>{}</m:sup><m:e>{}</m:e></m:nary>",
                run("n=1"),
                run("∞"),
                run("x")
            ),
            "\\sum_{n=1}^{\\infty }x",
        );
        check(
            &format!(
                "<m:func><m:fName>{}</m:fName><m:e><m:d><m:e>{}</m:e></m:d></m:e></m:func>",
                run("log"),
                run("x")
            ),
            "\\log\\left(x\\right)",
        );
    }

    #[test]
    fn roots_and_matrices() {
        check(&format!("<m:rad><m:deg/><m:e>{}</m:e></m:rad>", run("x")), "\\sqrt{x}");
        check(
            &format!(
                "<m:m><m:mr><m:e>{}</m:e><m:e>{}</m:e></m:mr><m:mr><m:e>{}</m:e></m:mr></m:m>",
                run("a"),
                run("b"),
                run("c")
            ),
            "\\begin{matrix}a & b \\\\ c\\end{matrix}",
        );
    }

    #[test]
    fn deep_nesting_is_walked_without_recursion() {
        let n = 300;
        let omml = format!("{}{}{}", "<m:e>".repeat(n), run("x"), "</m:e>".repeat(n));
        check(&omml, "x");
    }
}
