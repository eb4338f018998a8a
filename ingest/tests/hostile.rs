//! Files that are made to do harm, and files that are just broken: each is read within the limits
//! or refused with its reason, through all the steps that a run takes with a file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Cursor, Write as _};
use std::path::Path;

use ingest::chunk::{ChunkLimits, chunk};
use ingest::discover::{DiscoverOptions, Discovered, discover};
use ingest::parse::{Limits, ParseError};
use ingest::read::{load, read};

/// Far more than any of these files needs, far less than what a loop that grows with the square
/// of their size would take.
const LIMITS: Limits = Limits {
    bytes_max: 64 << 20,
    pages_max: 100,
    decompressed_bytes_max: 16 << 20,
    text_bytes_max: 16 << 20,
    seconds_max: 20,
};

fn found(dir: &Path) -> Discovered {
    let options = DiscoverOptions { follow_links: true, ..DiscoverOptions::default() };
    discover(&[dir.to_owned()], &options).unwrap()
}

/// What becomes of the only file of a folder: its chunks, or why there are none.
fn ingested(dir: &Path) -> Result<Vec<String>, ParseError> {
    let found = found(dir);
    let [file] = found.files.as_slice() else { panic!("one file: {:?}", found.files) };
    let document = read(file, load(file, &LIMITS)?, &found.settings.of(&file.path), &LIMITS)?;
    let limits = ChunkLimits { tokens_max: 256, overlap: 32 };
    let count = |text: &str| text.split_whitespace().count() + text.len() / 8;
    let chunks = chunk(&document, &limits, &count);
    Ok(chunks.iter().map(|it| document.text[it.span.range()].to_owned()).collect())
}

fn ingest(name: &str, bytes: &[u8]) -> Result<Vec<String>, ParseError> {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join(name), bytes).unwrap();
    ingested(dir.path())
}

/// The file is read, and its last words are in its last chunk.
#[track_caller]
fn check_read(name: &str, text: &str) {
    let chunks = ingest(name, text.as_bytes()).unwrap();
    assert!(chunks.last().unwrap().contains("fond"), "{:?}", chunks.last());
}

#[track_caller]
fn check_refused(res: &Result<Vec<String>, ParseError>, reason: &str) {
    let Err(error) = res else { panic!("it was read") };
    assert!(error.to_string().contains(reason), "`{error}` does not say `{reason}`");
}

#[test]
fn html_of_any_depth_is_read() {
    for tag in ["div", "ul><li", "blockquote", "b", "p", "table><tr><td", "section", "font"] {
        check_read("a.html", &(format!("<{tag}>").repeat(50_000) + "fond"));
    }
    let closed = "<div>".repeat(50_000) + "<p>fond" + &"</div>".repeat(50_000);
    check_read("a.html", &closed);
    check_read("a.md", &format!("Texte\n\n{closed}\n"));
}

#[test]
fn markdown_of_any_depth_is_read() {
    check_read("a.md", &("> ".repeat(10_000) + "fond"));
    check_read("a.md", &("- ".repeat(10_000) + "fond"));
    check_read("a.md", &("1. ".repeat(10_000) + "fond"));
    check_read("a.md", &format!("{}\n\nfond", format!("{}mot\n", "> ".repeat(300)).repeat(300)));
    let nested: String = (0..400).map(|depth| format!("{}- mot\n", "  ".repeat(depth))).collect();
    check_read("a.md", &(nested + "\nfond"));
}

#[test]
fn marks_that_never_close_are_read() {
    for mark in ["*", "_", "[", "![", "`", "<", "{%", "{{", "\\", "$", "~", "&", "</", "<a "] {
        check_read("a.md", &(mark.repeat(50_000) + "\n\nfond"));
    }
    for mark in ["<", "&", "</", "<p ", "<a href=\"", "<!"] {
        // What such a page shows is up to the parser; that it ends is what counts.
        let _ = ingest("a.html", (mark.repeat(50_000) + "<p>fond").as_bytes());
    }
    check_refused(&ingest("a.md", "<!--".repeat(50_000).as_bytes()), "the file is empty");
    check_read("a.md", &("a `".repeat(20_000) + "\n\nfond"));
    check_read("a.md", &("[a](".repeat(20_000) + "\n\nfond"));
}

#[test]
fn long_lines_words_and_tables_are_read() {
    check_read("a.txt", &("x".repeat(4_000_000) + "\nfond"));
    check_read("a.txt", &("mot ".repeat(1_000_000) + "\nfond"));
    check_read("a.txt", &("\n".repeat(4_000_000) + "fond"));
    check_read("a.md", &format!("| a | b |\n|---|---|\n{}| fond |", "| 1 | 2 |\n".repeat(200_000)));
    let wide = |cell: &str| format!("|{}\n", format!(" {cell} |").repeat(20_000));
    check_read("a.md", &format!("{}{}{}\nfond", wide("a"), wide("---"), wide("1")));
    check_read("a.csv", &format!("{}\n{}fond\n", "a,".repeat(20_000), "1,".repeat(20_000)));
}

/// A docx whose text is this many megabytes of blanks.
fn bomb(megabytes: usize) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("_rels/.rels", options).unwrap();
    let kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument";
    write!(
        zip,
        "<Relationships><Relationship Id='r' Type='{kind}' Target='word/document.xml'/>\
         </Relationships>"
    )
    .unwrap();
    zip.start_file("word/document.xml", options).unwrap();
    for _ in 0..megabytes {
        zip.write_all(&[b' '; 1 << 20]).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_docx_that_unpacks_without_end_is_refused() {
    check_refused(&ingest("a.docx", &bomb(64)), "over the limit of");
}

/// What this process has held in memory at most, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A part of a gigabyte was once held as a whole before it was refused: 657 MB of memory.
#[cfg(target_os = "linux")]
#[test]
fn a_bomb_of_a_gigabyte_takes_little_memory() {
    const CHILD: &str = "SOUFFLEUR_HOSTILE_BOMB";
    if !std::env::args().any(|it| it == CHILD) {
        // In a process of its own: other tests of this one hold memory at the same time.
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "a_bomb_of_a_gigabyte_takes_little_memory", "--nocapture"]);
        let out = child.args(["--skip", CHILD]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("peak of "), "{text}");
        return;
    }
    let bytes = bomb(1_024);
    let before = peak_memory();
    let limits = Limits::default();
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("a.docx"), bytes).unwrap();
    let found = found(dir.path());
    let loaded = load(&found.files[0], &limits).unwrap();
    let error = read(&found.files[0], loaded, &found.settings.of(dir.path()), &limits).unwrap_err();
    assert!(error.to_string().contains("over the limit of"), "{error}");
    let grown = peak_memory() - before;
    println!("peak of {grown} bytes more");
    assert!(grown < 100 << 20, "{grown} bytes");
}

#[test]
fn what_is_broken_is_refused_with_its_reason() {
    check_refused(&ingest("a.pdf", b"%PDF-1.7\n1 0 obj <<"), "damaged");
    check_refused(&ingest("a.docx", b"PK\x03\x04 and no more"), "damaged");
    check_refused(&ingest("a.txt", &[0, 159, 146, 150, 0, 0, 7, 0]), "damaged");
    check_refused(&ingest("a.md", b""), "the file is empty");
    let broken = ingest("a.txt", b"Un mot \xff\xfe cass\xe9, puis la fin.").unwrap();
    assert!(broken[0].contains("puis la fin"), "{broken:?}");
}

#[test]
fn a_large_file_is_refused_by_its_size_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs_err::File::create(dir.path().join("a.txt")).unwrap();
    // A file with a hole: reading it would give zeros, and then another reason.
    file.set_len(1 << 30).unwrap();
    check_refused(&ingested(dir.path()), "file of 1073.8 MB over the limit of 67.2 MB");
}

#[test]
fn a_file_that_is_gone_by_then_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs_err::write(&path, "texte").unwrap();
    let found = found(dir.path());
    fs_err::remove_file(&path).unwrap();
    let error = load(&found.files[0], &LIMITS).unwrap_err().to_string();
    assert!(error.contains("could not be read") && error.contains("a.txt"), "{error}");
}

/// Permissions do not keep out who runs tests as root, so this file refuses by itself.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", dir.path().join("a.txt")).unwrap();
    check_refused(&ingested(dir.path()), "could not be read");
}
