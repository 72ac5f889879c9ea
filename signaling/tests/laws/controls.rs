//! `docs/controls.md` names every test that proves a check, and no other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The letters with which checks begin, in the names of their tests.
const LETTERS: &str = "hmlnxpcrbt";

/// True for a name such as `h_14_every_reading`.
fn is_check(name: &str) -> bool {
    let mut parts = name.split('_');
    let letter = parts.next().is_some_and(|part| part.len() == 1 && LETTERS.contains(part));
    let number = parts.next().is_some_and(|part| (1..=2).contains(&part.len()) && part.parse::<u8>().is_ok());
    letter && number && parts.next().is_some()
}

fn walk(folder: &Path, found: &mut BTreeSet<(String, String)>, root: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                walk(&path, found, root);
            }
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        for line in text.lines() {
            let line = line.trim_start().trim_start_matches("async ");
            let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.split(['(', '<']).next()) else { continue };
            if is_check(name) {
                found.insert((name.to_owned(), file.clone()));
            }
        }
    }
}

#[test]
fn the_page_of_controls_names_every_proof_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut there = BTreeSet::new();
    for folder in ["signaling", "src", "tests", "sfu", "recorder"] {
        walk(&root.join(folder), &mut there, root);
    }
    let page = std::fs::read_to_string(root.join("docs/controls.md")).unwrap();
    let mut named = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let parts: Vec<&str> = line.split('`').collect();
        if let [_, name, between, file, _] = parts[..]
            && between == " in "
        {
            // A test may prove two checks.
            named.insert((name.to_owned(), file.to_owned()));
        }
    }
    assert_eq!(there.difference(&named).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "not on the page");
    assert_eq!(named.difference(&there).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "not in the source");
    assert!(named.len() > 60);
}
