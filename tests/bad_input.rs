//! Bad files, bad questions, a full disk, a taken folder, other models: a clear message, the right
//! exit status, and nothing changed afterwards.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
#[cfg(target_os = "linux")]
use support::SmallDisk;
use support::{
    EMBEDDER, GENERATOR, POLICY, QUESTION, World, check_failure, error_of, json_of, skipped,
    with_input,
};
use zip::write::SimpleFileOptions;

/// A world with one document in its index, and what `status` says of it.
fn indexed() -> Option<(World, Value)> {
    let world = World::new()?;
    world.write("docs/remote.md", POLICY);
    world.json(&["ingest", "docs"]);
    let status = world.json(&["status"]);
    assert_eq!(status["documents"], 1);
    Some((world, status))
}

/// A bad file beside a good one becomes a line of the report, and the index stays as it was.
#[track_caller]
fn check_file(name: &str, content: &[u8], words: &[&str]) {
    let Some((world, before)) = indexed() else { return };
    world.write(&format!("docs/{name}"), content);
    check_skipped(&world, &before, name, words);
}

#[track_caller]
fn check_skipped(world: &World, before: &Value, name: &str, words: &[&str]) {
    let out = world.command(&["ingest", "docs", "--json"]).output().unwrap();
    check_report(&out, name, words);
    assert_eq!(world.json(&["status"]), *before);
    let text = world.text(&["ingest", "docs"]);
    assert!(text.contains(name), "people are told too: {text}");
}

#[track_caller]
fn check_report(out: &Output, name: &str, words: &[&str]) {
    assert_eq!(out.status.code(), Some(0), "{}", error_of(out));
    assert!(!error_of(out).contains("panicked"), "{}", error_of(out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let skipped = report["documents"]["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1, "{report}");
    assert!(skipped[0]["path"].as_str().unwrap().ends_with(name), "{report}");
    let reason = skipped[0]["reason"].as_str().unwrap();
    for word in words {
        assert!(reason.contains(word), "must say `{word}`: {reason}");
    }
    assert_eq!(report["documents"]["unchanged"], 1, "{report}");
}

/// A PDF of these objects, with a correct table of their places.
fn pdf(objects: &[&str], trailer: &str) -> Vec<u8> {
    let mut res = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        places.push(res.len());
        write!(res, "{} 0 obj\n{object}\nendobj\n", i + 1).unwrap();
    }
    let table = res.len();
    write!(res, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).unwrap();
    for place in places {
        writeln!(res, "{place:010} 00000 n ").unwrap();
    }
    let size = objects.len() + 1;
    write!(res, "trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{table}\n%%EOF\n")
        .unwrap();
    res
}

const STREAM: &str = "BT /F1 12 Tf 72 720 Td (Remote work is allowed) Tj ET";

fn pdf_objects(stream: &str) -> [String; 5] {
    [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font \
         << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{stream}\nendstream", stream.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ]
}

#[test]
fn a_corrupt_pdf_is_reported() {
    check_file("broken.pdf", b"%PDF-1.4 and then nothing", &["damaged"]);
    let objects = pdf_objects(STREAM);
    let whole = pdf(&objects.each_ref().map(String::as_str), "");
    check_file("third.pdf", &whole[..whole.len() / 3], &["damaged", "0 of 1 pages"]);
}

#[test]
fn an_encrypted_pdf_is_reported_as_such() {
    let mut objects = pdf_objects(STREAM).to_vec();
    // The standard handler with a user's password that nobody knows.
    let (owner, user) = ("4a".repeat(32), "5b".repeat(32));
    objects.push(format!(
        "<< /Filter /Standard /V 1 /R 2 /Length 40 /P -44 /O <{owner}> /U <{user}> >>"
    ));
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    let id = "00112233445566778899aabbccddeeff";
    let bytes = pdf(&objects, &format!("/Encrypt 6 0 R /ID [<{id}> <{id}>]"));
    check_file("secret.pdf", &bytes, &["password"]);
}

const TYPES: &str = "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/\
    content-types\"><Override PartName=\"/word/document.xml\" ContentType=\"application/\
    vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml\"/></Types>";

const RELATIONS: &str = "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/\
    relationships\"><Relationship Id=\"r1\" Type=\"http://schemas.openxmlformats.org/\
    officeDocument/2006/relationships/officeDocument\" Target=\"word/document.xml\"/>\
    </Relationships>";

const HEAD: &str = "<w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/\
    2006/main\"><w:body><w:p><w:r><w:t>";

/// A docx whose text is `n` megabytes of spaces: a thousandth of that on disk.
fn bomb(path: &Path, n: usize) {
    let mut archive = zip::ZipWriter::new(fs_err::File::create(path).unwrap());
    let options = SimpleFileOptions::default();
    let mut add = |name: &str, text: &str| {
        archive.start_file(name, options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    };
    add("[Content_Types].xml", TYPES);
    add("_rels/.rels", RELATIONS);
    add("word/document.xml", HEAD);
    let megabyte = vec![b' '; 1 << 20];
    for _ in 0..n {
        archive.write_all(&megabyte).unwrap();
    }
    archive.write_all(b"</w:t></w:r></w:p></w:body></w:document>").unwrap();
    archive.finish().unwrap();
}

#[test]
fn a_zip_bomb_in_a_docx_is_reported() {
    let Some((world, before)) = indexed() else { return };
    bomb(&world.path().join("docs/bomb.docx"), 600);
    assert!(fs_err::metadata(world.path().join("docs/bomb.docx")).unwrap().len() < 2_000_000);
    check_skipped(&world, &before, "bomb.docx", &["limit"]);
}

#[test]
fn a_text_file_of_a_gigabyte_is_reported() {
    let Some((world, before)) = indexed() else { return };
    let file = fs_err::File::create(world.path().join("docs/huge.txt")).unwrap();
    file.set_len(1 << 30).unwrap();
    check_skipped(&world, &before, "huge.txt", &["limit", "MB"]);
}

#[test]
fn bytes_that_are_no_text_are_reported() {
    check_file("bytes.txt", &[0_u8, 1, 2, 3, 255, 254, 0, 0, 7].repeat(50), &[]);
    check_file("empty.md", b"", &["empty"]);
}

#[test]
fn text_that_is_no_utf_8_is_read_by_its_encoding() {
    let Some((world, _)) = indexed() else { return };
    let text = "Le télétravail des salariés est limité à trois jours. Les congés payés sont \
                accordés après l'été. ";
    let latin: Vec<u8> =
        text.repeat(5).chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    assert!(std::str::from_utf8(&latin).is_err());
    world.write("docs/ancien.txt", &latin);
    // A few bytes that fit no encoding do not hide the rest of a file.
    let mut mixed = POLICY.replace("Remote", "Distant").into_bytes();
    mixed.extend(b"\nA stray byte \xff\xfe here.\n");
    world.write("docs/mixed.md", &mixed);
    let report = world.json(&["ingest", "docs"]);
    assert_eq!(report["documents"]["added"], 2, "{report}");
    let hits = world.json(&["search", "congés payés accordés après l'été"]);
    let text = hits["hits"][0]["text"].as_str().unwrap();
    assert!(text.contains("télétravail des salariés"), "{text}");
}

#[test]
fn a_missing_folder_and_an_empty_one_are_named() {
    let Some((world, before)) = indexed() else { return };
    fs_err::create_dir_all(world.path().join("empty")).unwrap();
    world.write("others/data.bin", "no document");
    for command in [["ingest", ""], ["ask", "--docs"]] {
        let with = |folder: &'static str| -> Vec<&str> {
            match command {
                ["ingest", _] => vec!["ingest", folder],
                [ask, docs] => vec![ask, QUESTION, docs, folder],
            }
        };
        world.fails(&with("nowhere"), 1, &["nowhere", "hint"]);
        world.fails(&with("empty"), 1, &["no document in", "empty", "hint"]);
        world.fails(&with("others"), 1, &["no document in", "1 other file"]);
    }
    assert_eq!(world.json(&["status"]), before);
    // Where there was no data folder, none is made.
    let other = world.path().join("other");
    let out = world.command_on(&["ingest", "nowhere"], &other).output().unwrap();
    check_failure(&out, 1, &["nowhere"]);
    assert!(!other.exists());
}

#[test]
fn questions_of_no_and_of_too_many_characters_are_refused() {
    let Some((world, before)) = indexed() else { return };
    let long = "mot é ".repeat(17_000);
    assert!(long.chars().count() > 100_000);
    for command in ["ask", "search", "inspect"] {
        world.fails(&[command, ""], 2, &["empty"]);
        world.fails(&[command, " \n\t "], 2, &["empty"]);
        world.fails(&[command, &long], 2, &["101999 characters", "limit is 4000"]);
        let out = with_input(world.command(&[command, "-"]), long.as_bytes());
        check_failure(&out, 2, &["characters", "limit"]);
        check_failure(&with_input(world.command(&[command, "-"]), b""), 2, &["empty"]);
        let out = with_input(world.command(&[command, "-"]), b"caf\xe9 ?");
        check_failure(&out, 1, &["standard input", "UTF-8"]);
    }
    assert_eq!(world.json(&["status"]), before);
}

#[test]
fn without_an_index_the_first_step_is_named() {
    let Some(world) = World::new() else { return };
    for args in [vec!["ask", QUESTION], vec!["search", "x"], vec!["inspect", "x"], vec!["status"]] {
        world.fails(&args, 1, &["no index", "souffleur ingest"]);
    }
    world.fails(&["ingest"], 2, &["name the folders"]);
    world.fails(&["ingest", "--dry-run"], 2, &["name the folders"]);
    assert!(!world.path().join("data").exists(), "asking makes no data folder");
}

/// The command as a user who must obey the permissions of files, which root need not.
#[cfg(unix)]
fn obeying(command: Command) -> Option<Command> {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        return Some(command);
    }
    let mut res = Command::new("setpriv");
    res.args(["--bounding-set", "-dac_override,-dac_read_search"]);
    let works = res.arg("true").output().is_ok_and(|it| it.status.success());
    if !works {
        skipped("as root, setpriv is needed to make a file unreadable");
        return None;
    }
    let mut res = Command::new("setpriv");
    res.args(["--bounding-set", "-dac_override,-dac_read_search"]);
    res.arg(command.get_program()).args(command.get_args());
    res.current_dir(command.get_current_dir().unwrap());
    Some(res)
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_and_an_unreadable_folder_are_reported() {
    use std::os::unix::fs::PermissionsExt;

    let Some((world, before)) = indexed() else { return };
    let secret = PathBuf::from(world.write("docs/secret.md", POLICY));
    let closed = |mode| std::fs::Permissions::from_mode(mode);
    fs_err::set_permissions(&secret, closed(0o000)).unwrap();
    let Some(mut ingest) = obeying(world.command(&["ingest", "docs", "--json"])) else { return };
    check_report(&ingest.output().unwrap(), "secret.md", &["secret.md", "ermission denied"]);
    assert_eq!(world.json(&["status"]), before);

    fs_err::remove_file(&secret).unwrap();
    world.write("closed/remote.md", POLICY);
    let folder = world.path().join("closed");
    fs_err::set_permissions(&folder, closed(0o000)).unwrap();
    let out = obeying(world.command(&["ingest", "closed"])).unwrap().output().unwrap();
    fs_err::set_permissions(&folder, closed(0o755)).unwrap();
    check_failure(&out, 1, &["closed", "ermission denied"]);
    assert_eq!(world.json(&["status"]), before);
}

/// A subfolder that was closed for a moment once lost its documents.
#[cfg(unix)]
#[test]
fn documents_of_a_closed_subfolder_are_kept_and_reported() {
    use std::os::unix::fs::PermissionsExt;

    let Some((world, _)) = indexed() else { return };
    world.write("docs/closed/pay.md", "# Pay\n\nSalaries are paid on the 28th.\n");
    world.json(&["ingest", "docs"]);
    let before = world.json(&["status"]);
    let folder = world.path().join("docs/closed");
    let closed = |mode| std::fs::Permissions::from_mode(mode);
    fs_err::set_permissions(&folder, closed(0o000)).unwrap();
    let out = obeying(world.command(&["ingest", "docs", "--json"])).map(|mut it| it.output());
    fs_err::set_permissions(&folder, closed(0o755)).unwrap();
    let Some(out) = out else { return };
    let out = out.unwrap();
    assert!(out.status.success(), "{}", error_of(&out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["documents"]["removed"], 0, "{report}");
    assert_eq!(report["unreachable"][0]["documents"], 1, "{report}");
    assert!(report["documents"]["skipped"][0]["path"].as_str().unwrap().contains("closed"));
    assert_eq!(world.json(&["status"]), before);
    // A file that is gone beside it is removed all the same.
    world.remove("docs/remote.md");
    assert_eq!(world.json(&["ingest", "docs"])["documents"]["removed"], 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_changes_nothing_and_what_is_there_still_answers() {
    let Some(world) = World::new() else { return };
    let Some(disk) = SmallDisk::mount(world.path().join("data"), 110) else { return };
    world.write("docs/remote.md", POLICY);
    world.json(&["ingest", "docs"]);
    let before = world.json(&["status"]);
    for i in 0..40 {
        world.write(&format!("docs/{i}.md"), format!("# Sheet {i}\n\n{}", POLICY.repeat(10)));
    }
    disk.fill(0);
    for args in [vec!["ingest", "docs"], vec!["search", QUESTION], vec!["status"]] {
        world.fails(&args, 1, &["disk is full", "make room"]);
    }
    world.remove("data/filler");
    assert_eq!(world.json(&["status"]), before);
    // With 60 KB left the catalog opens, and once the process died in the index.
    for left in [60, 1_000] {
        disk.fill(left);
        world.fails(&["ingest", "docs"], 1, &["MB left", "make room"]);
        assert_eq!(world.json(&["status"]), before);
        let found = world.json(&["search", QUESTION]);
        assert_eq!(found["hits"][0]["document"], "remote.md", "{found}");
        world.remove("data/filler");
    }
    let report = world.json(&["ingest", "docs"]);
    assert_eq!(report["documents"]["added"], 40, "{report}");
    assert_eq!(world.json(&["status"])["documents"], 41);
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_too_small_for_an_index_says_so() {
    let Some(world) = World::new() else { return };
    let Some(_disk) = SmallDisk::mount(world.path().join("data"), 1) else { return };
    world.write("docs/remote.md", POLICY);
    let out = world.run(&["ingest", "docs"]);
    assert_eq!(out.status.code(), Some(1), "{}", error_of(&out));
    check_failure(&out, 1, &["make room"]);
}

#[test]
fn a_second_process_on_the_same_data_is_told_so() {
    let Some((world, before)) = indexed() else { return };
    let lock = fs_err::File::options().write(true).open(world.path().join("data/lock")).unwrap();
    lock.file().lock().unwrap();
    for args in [vec!["search", "remote"], vec!["ingest", "docs"], vec!["ask", QUESTION]] {
        world.fails(&args, 1, &["in use by another process", "--data-dir"]);
    }
    drop(lock);
    assert_eq!(world.json(&["status"]), before);
}

#[test]
fn an_index_built_with_another_embedder_is_not_used() {
    let Some((world, before)) = indexed() else { return };
    let copy = world.copy_model(EMBEDDER);
    let weights = copy.join("model.safetensors");
    let mut bytes = fs_err::read(&weights).unwrap();
    // The last digit of one weight.
    let at = bytes.len() - 400_000;
    bytes[at - at % 4] ^= 1;
    fs_err::write(&weights, bytes).unwrap();
    world.write("docs/parking.md", "# Parking\n\nThe car park opens at 7:00.\n");
    let other = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("SOUFFLEUR_MODELS__EMBEDDER", &copy);
        command
    };
    for args in [vec!["search", "remote"], vec!["ingest", "docs"], vec!["ask", QUESTION]] {
        let out = other(&args).output().unwrap();
        check_failure(&out, 1, &["was built with", "embeds with", "souffleur ingest --rebuild"]);
    }
    assert_eq!(world.json(&["status"]), before);
    let doctor = other(&["doctor"]).output().unwrap();
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1), "{text}");
    assert!(text.contains("souffleur ingest --rebuild"), "{text}");
    // What the message says to do works.
    let report = json_of(&mut other(&["ingest", "docs", "--rebuild", "--json"]));
    assert_eq!(report["documents"]["added"], 1, "{report}");
    let found = json_of(&mut other(&["search", "car park", "--json"]));
    assert_eq!(found["hits"][0]["document"], "parking.md");
    world.fails(&["search", "remote"], 1, &["was built with", "souffleur ingest --rebuild"]);
}

#[test]
fn other_sizes_of_chunks_are_an_error_that_names_both() {
    let Some((world, before)) = indexed() else { return };
    world.write("souffleur.toml", "[ingest]\nchunk_tokens_max = 100\n");
    world.fails(&["ingest", "docs"], 1, &["254 tokens", "100", "souffleur ingest --rebuild"]);
    assert_eq!(world.json(&["status"]), before);
}

#[test]
fn a_truncated_embedder_is_named() {
    let Some((world, before)) = indexed() else { return };
    let copy = world.copy_model(EMBEDDER);
    let weights = copy.join("model.safetensors");
    let whole = fs_err::read(&weights).unwrap();
    let mut known = support::program();
    known.args(["ingest", "docs", "--offline", "--models-dir", "models"]);
    known.current_dir(world.path());
    for n in [0, 7, 1_000, whole.len() / 2, whole.len() - 1] {
        fs_err::write(&weights, &whole[..n]).unwrap();
        let words = ["model.safetensors", &format!("{n} bytes"), "models pull"];
        check_failure(&known.output().unwrap(), 1, &words);
        // As a folder of the user's: nobody knows how long its files should be.
        let mut folder = world.command(&["search", "remote"]);
        let out = folder.env("SOUFFLEUR_MODELS__EMBEDDER", &copy).output().unwrap();
        check_failure(&out, 1, &["model.safetensors"]);
    }
    for name in ["tokenizer.json", "config.json"] {
        let path = copy.join(name);
        let text = fs_err::read(&path).unwrap();
        fs_err::write(&weights, &whole).unwrap();
        fs_err::write(&path, &text[..text.len() / 2]).unwrap();
        let mut folder = world.command(&["search", "remote"]);
        let out = folder.env("SOUFFLEUR_MODELS__EMBEDDER", &copy).output().unwrap();
        check_failure(&out, 1, &[name]);
        fs_err::write(&path, &text).unwrap();
    }
    assert_eq!(world.json(&["status"]), before);
}

#[test]
fn a_truncated_generator_is_named() {
    let Some((world, before)) = indexed() else { return };
    let copy = world.copy_model(GENERATOR);
    let file = fs_err::read_dir(&copy).unwrap().map(|it| it.unwrap().path());
    let gguf = file.into_iter().find(|it| it.extension().is_some_and(|it| it == "gguf")).unwrap();
    let whole = fs_err::read(&gguf).unwrap();
    let name = gguf.file_name().unwrap().to_string_lossy().into_owned();
    let path = gguf.to_string_lossy().into_owned();
    for n in [0, 3, 20, 5_000, 1_000_000, whole.len() / 2, whole.len() - 1] {
        fs_err::write(&gguf, &whole[..n]).unwrap();
        world.fails(&["ask", QUESTION, "--generator", &path], 1, &[&name]);
        // The words of the vocabulary come first.
        if n < 10_000 {
            world.fails(&["tokens", "text", "--model", &path], 1, &[&name]);
        }
    }
    assert_eq!(world.json(&["status"]), before);
    world.fails(&["ask", QUESTION, "--generator", "nowhere.gguf"], 1, &["nowhere.gguf"]);
    world.fails(&["ask", QUESTION, "--generator", "no-such"], 2, &["no-such", GENERATOR]);
}

/// A file that turns bad is not answered from any more: what it said may be wrong by now.
#[test]
fn a_file_that_turns_bad_is_reported_and_forgotten() {
    let Some((world, _)) = indexed() else { return };
    world.write("docs/remote.md", [0_u8, 1, 2, 3, 255, 254, 0, 0, 7].repeat(50));
    let report = world.json(&["ingest", "docs"]);
    assert_eq!(report["documents"]["removed"], 1, "{report}");
    assert_eq!(report["documents"]["skipped"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(world.json(&["search", "remote"])["hits"].as_array().unwrap().len(), 0);
}
