//! The documents against the code.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The files below `folder` whose names end so, but for what was built.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

/// The names between backticks that only tests have: sentences, and no metrics.
fn names_of_tests(text: &str) -> BTreeSet<String> {
    let is_sentence = |name: &&str| {
        name.matches('_').count() >= 4
            && !name.starts_with("bellhop_")
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    text.split('`')
        .filter(is_sentence)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_test_that_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut documents, mut sources) = (Vec::new(), Vec::new());
    files(&root.join("docs"), ".md", &mut documents);
    files(root, ".rs", &mut sources);
    let code: String = sources
        .iter()
        .map(|source| fs::read_to_string(source).unwrap())
        .collect();
    let mut named = 0;
    let mut missing = Vec::new();
    for document in documents {
        for name in names_of_tests(&fs::read_to_string(&document).unwrap()) {
            named += 1;
            if !code.contains(&format!("fn {name}(")) {
                missing.push(format!("{}: {name}", document.display()));
            }
        }
    }
    assert!(named > 50, "only {named} tests are named");
    assert!(missing.is_empty(), "{missing:#?}");
}
