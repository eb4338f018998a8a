use ingest::parse::*;
fn walk(d: &std::path::Path, out: &mut Vec<std::path::PathBuf>) {
    if d.is_file() {
        out.push(d.to_path_buf());
        return;
    }
    for e in std::fs::read_dir(d).unwrap() {
        walk(&e.unwrap().path(), out);
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut files = vec![];
    walk(a[2].as_ref(), &mut files);
    files.sort();
    let data: Vec<_> = files
        .iter()
        .filter(|p| p.to_string_lossy().ends_with(&a[3]))
        .map(|p| (p.clone(), std::fs::read(p).unwrap()))
        .collect();
    let n: usize = data.iter().map(|d| d.1.len()).sum();
    let l = Limits::default();
    let f = |b: &[u8]| match a[3].as_str() {
        "md" | "mdx" => markdown::parse(b, &l),
        "html" => html::parse(b, &l),
        "csv" => csv::parse(b, &l),
        "eml" => email::parse(b, &l, &|_, b| text::parse(b, &l)),
        _ => text::parse(b, &l),
    };
    for _ in 0..if a[1] == "time" { 5 } else { 0 } {
        let t = std::time::Instant::now();
        let mut out = 0;
        for (_, b) in &data {
            out += f(b).map(|p| p.pages[0].text.len()).unwrap_or(0);
        }
        println!(
            "{} files {} MB -> {} MB {:.1} MB/s",
            data.len(),
            n as f64 / 1e6,
            out as f64 / 1e6,
            n as f64 / 1e6 / t.elapsed().as_secs_f64()
        );
    }
    if a[1] == "dump" {
        for (p, b) in &data {
            match f(b) {
                Ok(x) => println!(
                    "\n##### {} {:?} {:?} {:?}\n{}",
                    p.display(),
                    x.title,
                    x.metadata,
                    x.findings,
                    x.pages[0].text
                ),
                Err(e) => println!("\n##### {} ERR {e}", p.display()),
            }
        }
    }
}
