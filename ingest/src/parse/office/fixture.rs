//! Office packages for tests, built from the XML of their parts.

use std::io::{Cursor, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A zip archive of named texts.
pub(crate) fn zip_of(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A `.rels` part. Each relation is its id, the last word of its type, and its target.
pub(crate) fn rels(relations: &[(&str, &str, &str)]) -> String {
    let mut xml = String::from("<Relationships>");
    for (id, kind, target) in relations {
        xml.push_str(&format!(
            r#"<Relationship Id="{id}" Type="http://x/relationships/{kind}" Target="{target}"/>"#
        ));
    }
    xml + "</Relationships>"
}

/// Every tenth truncation and a bit flip at every seventh byte must give an answer, never a panic.
pub(crate) fn check_survives_damage<T>(valid: &[u8], parse: impl Fn(&[u8]) -> T) {
    for length in (0..valid.len()).step_by(10) {
        parse(&valid[..length]);
    }
    for position in (0..valid.len()).step_by(7) {
        let mut damaged = valid.to_vec();
        damaged[position] ^= 1 << (position % 8);
        parse(&damaged);
    }
}
