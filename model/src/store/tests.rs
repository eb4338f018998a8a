use std::{io::Write, net::TcpListener, thread};

use zip::write::SimpleFileOptions;

use super::*;
use crate::catalogue::Catalogue;

const CONTENT: &[u8] = b"these are weights, as far as this test is concerned";
const NOWHERE: &str = "http://127.0.0.1:9";

fn entry(sha256: Option<&str>) -> ModelEntry {
    let sha256 = sha256.map(|it| format!(", sha256 = \"{it}\"")).unwrap_or_default();
    let text = format!(
        "[[model]]\nid = \"m\"\nrole = \"generator\"\narchitecture = \"llama\"\nrepository = \
         \"o/m\"\nrevision = \"main\"\nlicence = \"MIT\"\nlanguages = []\ncontext_length = 8\n\
         files = [{{ name = \"w.bin\"{sha256} }}]\n"
    );
    Catalogue::parse(&text).unwrap().models.remove(0)
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn options<'a>(from: Option<&'a Path>, hub_endpoint: &'a str) -> PullOptions<'a> {
    PullOptions { from, hub_endpoint, python: "python3" }
}

fn pull(
    store: &Store,
    entry: &ModelEntry,
    options: &PullOptions<'_>,
) -> Result<InstalledModel, StoreError> {
    store.pull(entry, options, &mut |_| {})
}

/// Serves `responses`, one connection each, and gives back what was asked.
fn serve(responses: Vec<Vec<u8>>) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut asked = Vec::new();
        for response in responses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            asked.push(String::from_utf8_lossy(&request).to_lowercase());
            stream.write_all(&response).unwrap();
        }
        asked
    });
    (endpoint, server)
}

fn response(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn a_folder_given_by_hand_is_copied_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.bin"), CONTENT).unwrap();
    let store = Store::new(dir.path().join("models"));
    assert_eq!(store.installed("m").unwrap(), None);
    let model =
        pull(&store, &entry(Some(&hash(CONTENT))), &options(Some(folder.path()), NOWHERE)).unwrap();
    assert_eq!(store.installed("m").unwrap(), Some(model.clone()));
    assert_eq!(store.verify("m").unwrap(), model);
    assert_eq!(fs::read(model.file_ending(".bin").unwrap()).unwrap(), CONTENT);
    assert!(store.remove("m").unwrap() && !store.remove("m").unwrap());
}

#[test]
fn a_wheel_given_by_hand_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let wheel = dir.path().join("w.whl");
    let mut archive = zip::ZipWriter::new(fs::File::create(&wheel).unwrap());
    archive.start_file("package/model/w.bin", SimpleFileOptions::default()).unwrap();
    archive.write_all(CONTENT).unwrap();
    archive.finish().unwrap();
    let store = Store::new(dir.path().join("models"));
    pull(&store, &entry(Some(&hash(CONTENT))), &options(Some(&wheel), NOWHERE)).unwrap();
    assert!(store.verify("m").is_ok());
}

#[test]
fn a_wrong_file_is_refused_and_nothing_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("w.bin"), CONTENT).unwrap();
    let store = Store::new(dir.path().join("models"));
    let wrong = hash(b"other weights");
    let error = pull(&store, &entry(Some(&wrong)), &options(Some(dir.path()), NOWHERE));
    let Err(StoreError::AllSourcesFailed { attempts, .. }) = error else { panic!("{error:?}") };
    assert!(attempts[0].1.contains(&wrong), "{attempts:?}");
    assert_eq!(store.installed("m").unwrap(), None);
}

#[test]
fn an_unknown_hash_is_recorded_on_the_first_pull_and_held_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    fs::write(dir.path().join("w.bin"), CONTENT).unwrap();
    pull(&store, &entry(None), &options(Some(dir.path()), NOWHERE)).unwrap();
    store.remove("m").unwrap();
    fs::write(dir.path().join("w.bin"), b"something else").unwrap();
    let error = pull(&store, &entry(None), &options(Some(dir.path()), NOWHERE)).unwrap_err();
    assert!(error.to_string().contains(&hash(CONTENT)), "{error}");
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().to_owned());
    let (head, tail) = CONTENT.split_at(20);
    let (endpoint, server) = serve(vec![
        response("200 OK", CONTENT.len(), head),
        response("206 Partial Content", tail.len(), tail),
    ]);
    let entry = entry(Some(&hash(CONTENT)));
    assert!(pull(&store, &entry, &options(None, &endpoint)).is_err());
    assert_eq!(store.installed("m").unwrap(), None);
    pull(&store, &entry, &options(None, &endpoint)).unwrap();
    assert!(store.verify("m").is_ok());
    let asked = server.join().unwrap();
    assert!(asked[0].starts_with("get /o/m/resolve/main/w.bin"), "{asked:?}");
    assert!(asked[1].contains("range: bytes=20-"), "{asked:?}");
}

#[test]
fn a_server_that_ignores_ranges_restarts_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().to_owned());
    let (endpoint, server) = serve(vec![
        response("200 OK", CONTENT.len(), &CONTENT[..20]),
        response("200 OK", CONTENT.len(), CONTENT),
    ]);
    let entry = entry(Some(&hash(CONTENT)));
    assert!(pull(&store, &entry, &options(None, &endpoint)).is_err());
    pull(&store, &entry, &options(None, &endpoint)).unwrap();
    server.join().unwrap();
}

#[test]
fn a_missing_file_names_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let (endpoint, server) = serve(vec![response("404 Not Found", 0, b"")]);
    let store = Store::new(dir.path().to_owned());
    let error = pull(&store, &entry(None), &options(None, &endpoint)).unwrap_err();
    server.join().unwrap();
    assert!(error.to_string().contains("/o/m/resolve/main/w.bin"), "{error}");
    assert!(error.to_string().contains("404"), "{error}");
}

#[test]
fn a_truncated_or_changed_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    fs::write(dir.path().join("w.bin"), CONTENT).unwrap();
    let model = pull(&store, &entry(None), &options(Some(dir.path()), NOWHERE)).unwrap();
    let path = model.file_ending(".bin").unwrap();
    fs::write(&path, &CONTENT[1..]).unwrap();
    assert!(matches!(store.installed("m"), Err(StoreError::Truncated { .. })));
    let mut changed = CONTENT.to_vec();
    changed[3] ^= 1;
    fs::write(&path, changed).unwrap();
    assert!(store.installed("m").unwrap().is_some());
    assert!(matches!(store.verify("m"), Err(StoreError::Mismatch { .. })));
}

#[test]
fn the_catalogue_of_the_project_is_valid() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/models.toml"))
            .unwrap();
    let catalogue = Catalogue::parse(&text).unwrap();
    for id in ["all-minilm-l6-v2", "smollm2-135m-instruct"] {
        let entry = catalogue.find(id).unwrap();
        assert!(entry.wheel.is_some() && entry.files.iter().all(|it| it.sha256.is_some()));
    }
}
