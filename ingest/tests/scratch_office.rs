//! Scratch: word recall against ground truth.
use ingest::parse::{self, Limits};
use std::collections::HashMap;

fn words(text: &str) -> HashMap<String, usize> {
    let re = regex::Regex::new(r"(?s)<!--.*?-->|<[^>]+>").unwrap();
    let text = re.replace_all(text, " ").to_lowercase();
    let mut counts = HashMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
        *counts.entry(word.to_owned()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn recall() {
    let root = std::env::var("DOCLING").unwrap();
    let show = std::env::var("SHOW").unwrap_or_default();
    for format in ["docx", "pptx", "xlsx"] {
        let (mut sum, mut n) = (0.0, 0);
        let mut names: Vec<_> = fs_err::read_dir(format!("{root}/{format}/sources"))
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        names.sort();
        for path in names {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = fs_err::read(&path).unwrap();
            let start = std::time::Instant::now();
            let parsed = match format {
                "docx" => parse::docx::parse(&bytes, &Limits::default()),
                "pptx" => parse::pptx::parse(&bytes, &Limits::default()),
                _ => parse::xlsx::parse(&bytes, &Limits::default()),
            };
            let ms = start.elapsed().as_secs_f64() * 1e3;
            let parsed = match parsed {
                Ok(it) => it,
                Err(e) => {
                    println!("{format} {name}: {e}");
                    continue;
                }
            };
            let ours: String = parsed.pages.iter().map(|p| format!("{}\n\n", p.text)).collect();
            if name == show || show == "all" {
                println!(
                    "=== {name} {:?} {:?} pages {}\n{ours}",
                    parsed.title,
                    parsed.findings,
                    parsed.pages.len()
                );
            }
            let truth = format!("{root}/{format}/groundtruth/{name}.md");
            let Ok(truth) = fs_err::read_to_string(truth) else {
                println!("{format} {name}: no truth");
                continue;
            };
            let (ours, truth) = (words(&ours), words(&truth));
            let total: usize = truth.values().sum();
            let found: usize =
                truth.iter().map(|(w, c)| (*c).min(*ours.get(w).unwrap_or(&0))).sum();
            let recall = found as f64 / total.max(1) as f64;
            let missing: Vec<_> = truth
                .iter()
                .filter(|(w, c)| ours.get(*w).unwrap_or(&0) < c)
                .map(|(w, c)| format!("{w}x{}", c - ours.get(w).unwrap_or(&0)))
                .take(12)
                .collect();
            println!("{format} {name}: {recall:.3} ({ms:.1} ms) {missing:?}");
            sum += recall;
            n += 1;
        }
        println!("{format} MEAN {:.4} over {n}", sum / f64::from(n));
    }
}

#[test]
fn big() {
    for name in ["big.docx", "big.xlsx"] {
        let bytes = fs_err::read(format!("/tmp/x/{name}")).unwrap();
        for _ in 0..3 {
            let cpu = || fs_err::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9;
            let start = cpu();
            let limits = Limits::default();
            let parsed = if name == "big.docx" { parse::docx::parse(&bytes, &limits) } else { parse::xlsx::parse(&bytes, &limits) }.unwrap();
            println!("{name} {:.3} s, {} bytes of text", cpu() - start, parsed.pages[0].text.len());
        }
    }
}
