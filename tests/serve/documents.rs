//! Uploads, deletions and jobs.

use serde_json::json;

use crate::server::Server;
#[cfg(target_os = "linux")]
use crate::support::SmallDisk;

const OLD: &str = "# Cantine\n\nLa cantine ouvre à midi.\n";

#[test]
fn an_upload_answers_once_its_job_is_done_and_a_deletion_at_once() {
    let Some(server) = Server::quoting(&[("cantine.md", OLD)]) else { return };
    let files: [(&str, &[u8]); 2] = [
        ("parking.md", "# Parking\n\nLe parking ferme à 21 heures.\n".as_bytes()),
        ("photo.xyz", b"\x00\x01"),
    ];
    let job = server.upload(&files, &[("collection", "sites")], &[]).expect(202);
    assert_eq!(job["files"][0], "sites/open/parking.md");
    let job = server.ended(&job);
    assert_eq!((&job["state"], &job["report"]["documents"]["added"]), (&json!("done"), &json!(1)));

    let question =
        json!({ "question": "À quelle heure ferme le parking ?", "collection": "sites" });
    let answer = server.post("/v1/ask", &question).expect(200);
    assert!(answer["answer"].as_str().unwrap().contains("21 heures"), "{answer}");
    let collections = server.get("/v1/collections").expect(200);
    assert!(collections["data"].as_array().unwrap().iter().any(|it| it["id"] == "sites"));
    let skipped = server.get("/v1/documents/skipped").expect(200);
    let photo = &skipped["data"][0];
    assert!(photo["path"].as_str().unwrap().ends_with("photo.xyz"), "{skipped}");
    assert_eq!(photo["reason"], "unsupported format `xyz`");
    assert_eq!(photo["reason_fr"], "format non pris en charge : xyz");

    let listed = server.get("/v1/documents?query=parking").expect(200);
    let document = &listed["data"][0];
    assert_eq!((&document["uploaded"], &document["title"]), (&json!(true), &json!("Parking")));
    let path = format!("/v1/documents/{}", document["id"]);
    let text = server.get(&format!("{path}/text")).expect(200);
    assert!(text["text"].as_str().unwrap().contains("21 heures"));
    let original = server.get(&format!("{path}/original"));
    assert_eq!(original.body, files[0].1);
    assert!(original.header("content-type").unwrap().starts_with("text/plain"));

    let deleted = server.delete(&path).expect(200);
    assert_eq!((&deleted["returns"], &deleted["examples_deleted"]), (&json!(false), &json!(0)));
    server.get(&path).refuses(404, &[]);
    let answer = server.post("/v1/ask", &json!({ "question": question["question"] })).expect(200);
    assert!(!answer.to_string().contains("21 heures"), "{answer}");
    let kept = answer["conversation"].as_str().unwrap();
    let all = server.get("/v1/conversations").expect(200).to_string();
    assert!(all.contains(kept), "conversations about other things stay");
    let job = server.post("/v1/jobs", &json!({ "kind": "ingest" })).expect(202);
    let job = server.ended(&job);
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(server.get("/v1/documents").expect(200)["total"], 1, "it does not come back");
}

#[test]
fn a_document_of_a_folder_says_that_it_comes_back() {
    let Some(server) = Server::quoting(&[("cantine.md", OLD)]) else { return };
    let id = server.get("/v1/documents").expect(200)["data"][0]["id"].clone();
    let deleted = server.delete(&format!("/v1/documents/{id}")).expect(200);
    assert_eq!(deleted["returns"], true);
    assert_eq!(server.get("/v1/documents").expect(200)["total"], 0);
}

#[test]
fn the_original_is_sent_as_it_was_read_or_not_at_all() {
    let Some(server) = Server::quoting(&[("cantine.md", OLD)]) else { return };
    let id = server.get("/v1/documents").expect(200)["data"][0]["id"].clone();
    let path = format!("/v1/documents/{id}/original");
    let whole = server.get(&path);
    assert_eq!((whole.status, whole.body.as_slice()), (200, OLD.as_bytes()));
    assert_eq!(whole.header("content-length"), Some(OLD.len().to_string().as_str()));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let part = |range: &str| server.request("GET", &path, &[("range", range)], b"");
    let beginning = part("bytes=0-8");
    assert_eq!((beginning.status, beginning.text().as_str()), (206, "# Cantine"));
    let said = format!("bytes 0-8/{}", OLD.len());
    assert_eq!(beginning.header("content-range"), Some(said.as_str()));
    assert_eq!(part("bytes=-6").text(), "midi.\n");
    part("bytes=1000-").refuses(416, &["bytes"]);
    // Somebody writes to it, and nobody has read that yet: it may be for others.
    server.world.write("docs/cantine.md", OLD.replace("midi", "onze"));
    let refused = server.get(&path);
    refused.refuses(409, &["changed"]);
    assert_eq!(refused.json()["error"]["code"], "changed");
    server.world.write("docs/cantine.md", OLD);
    assert_eq!(server.get(&path).status, 200);
    server.world.remove("docs/cantine.md");
    server.get(&path).refuses(404, &["file"]);
}

#[test]
fn a_large_original_comes_piece_by_piece_and_whole() {
    // Much to send, and little to read.
    let comment: String = (0..100_000).map(|i| format!("{i} ")).collect();
    let text = format!("<!-- {comment} --><h1>Registre</h1><p>Le registre ouvre à midi.</p>");
    let Some(server) = Server::quoting(&[("registre.html", &text)]) else { return };
    let id = server.get("/v1/documents").expect(200)["data"][0]["id"].clone();
    let original = server.get(&format!("/v1/documents/{id}/original"));
    assert!(original.body == text.as_bytes(), "{} of {} bytes", original.body.len(), text.len());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_leaves_nothing_behind() {
    let Some(server) = Server::quoting(&[("cantine.md", OLD)]) else { return };
    let partial = server.world.path().join("data/uploads.partial");
    let Some(_disk) = SmallDisk::mount(partial.clone(), 1) else { return };
    let large = "Une phrase.\n".repeat(1 << 18);
    let refused = server.upload(&[("large.txt", large.as_bytes())], &[], &[]);
    refused.refuses(507, &["full"]);
    assert_eq!(refused.json()["error"]["code"], "no_room");
    assert_eq!(fs_err::read_dir(&partial).unwrap().count(), 0);
    assert_eq!(server.get("/v1/documents").expect(200)["total"], 1);
}

#[test]
fn the_list_comes_in_pages() {
    let documents: Vec<(String, String)> = (0..7)
        .map(|i| (format!("note-{i}.md"), format!("# Note {i}\n\nContenu numéro {i}.\n")))
        .collect();
    let documents: Vec<(&str, &str)> =
        documents.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let Some(server) = Server::quoting(&documents) else { return };
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = server.get(&format!("/v1/documents?limit=3&after={after}")).expect(200);
        assert_eq!(page["total"], 7);
        let data = page["data"].as_array().unwrap();
        seen.extend(data.iter().map(|it| it["path"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            break;
        }
        after = data.last().unwrap()["id"].as_i64().unwrap();
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 7);
    server.get("/v1/documents?limit=0").refuses(400, &["limit"]);
    server.get("/v1/documents?limit=many").refuses(400, &[]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_server_and_the_next_one_goes_on() {
    let Some(server) = Server::quoting(&[("cantine.md", OLD)]) else { return };
    server.get("/health").expect(200);
    let (code, took) = server.interrupt();
    assert_eq!(code, Some(0));
    assert!(took.as_secs() < 10, "{took:?}");
}
