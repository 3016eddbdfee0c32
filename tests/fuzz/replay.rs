//! The fuzzer's corpora without the fuzzer: every committed file through its entry point, and the
//! same entry points over edits of these files.
//!
//! A file that fails is a finding that came back. An edit that fails is a new one: it is printed, to
//! be cut down and kept as a file.
#![cfg(not(target_family = "wasm"))]

use fuzz_entry::{TARGETS, Target};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

/// Corpora are read by people and cloned by everybody.
const CORPORA_BYTES_MAX: usize = 1 << 20;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names(folder: PathBuf) -> BTreeSet<String> {
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The files of a target's corpus, by name. None at all is a failure: it would pass for ever.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder("corpus").join(target);
    let files: Vec<_> = names(folder.clone())
        .into_iter()
        .map(|name| (name.clone(), fs::read(folder.join(name)).unwrap()))
        .collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

fn target(name: &str) -> Target {
    TARGETS.iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("no target {name}")).1
}

fn replay(name: &str) {
    let (target, files) = (target(name), corpus(name));
    for (file, bytes) in &files {
        assert!(catch_unwind(|| target(bytes)).is_ok(), "corpus/{name}/{file} fails");
    }
    println!("{name}: {} files hold", files.len());
}

/// A change to a file. Places and lengths are taken modulo what there is.
#[derive(Clone, Debug)]
enum Edit {
    Byte(u16, u8),
    Delete(u16, u8),
    Repeat(u16, u8, u16),
    Word(u16, u16),
    Splice(u16, u16, u8, u16),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        any::<(u16, u8)>().prop_map(|(at, byte)| Edit::Byte(at, byte)),
        any::<(u16, u8)>().prop_map(|(at, len)| Edit::Delete(at, len)),
        any::<(u16, u8, u16)>().prop_map(|(at, len, to)| Edit::Repeat(at, len, to)),
        any::<(u16, u16)>().prop_map(|(at, word)| Edit::Word(at, word)),
        any::<(u16, u16, u8, u16)>().prop_map(|(file, at, len, to)| Edit::Splice(file, at, len, to)),
    ]
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>, words: &[Vec<u8>], files: &[(String, Vec<u8>)]) {
        let place = |at: u16, len: usize| usize::from(at) % (len + 1);
        let piece = |of: &[u8], at: u16, len: u8| {
            let from = place(at, of.len());
            of[from..(from + usize::from(len)).min(of.len())].to_vec()
        };
        let (to, new) = match *self {
            Edit::Byte(at, byte) => {
                let at = place(at, bytes.len().saturating_sub(1));
                return bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte);
            }
            Edit::Delete(at, len) => {
                let from = place(at, bytes.len());
                return drop(bytes.drain(from..(from + usize::from(len)).min(bytes.len())));
            }
            Edit::Repeat(at, len, to) => (to, piece(bytes, at, len)),
            Edit::Word(at, word) => (at, words[usize::from(word) % words.len()].clone()),
            Edit::Splice(file, at, len, to) => {
                (to, piece(&files[usize::from(file) % files.len()].1, at, len))
            }
        };
        let to = place(to, bytes.len());
        bytes.splice(to..to, new);
    }
}

/// The words of the fuzzer's dictionary: a quoted word per line, `\xNN` for what cannot be typed.
fn words() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder("xmpp.dict")).unwrap();
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(unescaped).collect()
}

fn unescaped(word: &str) -> Vec<u8> {
    let mut pieces = word.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    bytes
}

fn edited(name: &str, cases: u32) {
    let (target, files, words) = (target(name), corpus(name), words());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let edits = (any::<u16>(), prop::collection::vec(edit(), 1..6));
    let outcome = TestRunner::new(config).run(&edits, |(file, edits)| {
        let mut bytes = files[usize::from(file) % files.len()].1.clone();
        edits.iter().for_each(|edit| edit.apply(&mut bytes, &words, &files));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let held = catch_unwind(|| target(&bytes)).is_ok();
        prop_assert!(held, "keep this as a file of corpus/{name}: {text:?}");
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn every_target_has_an_entry_point_a_fuzz_target_and_a_corpus() {
    let named: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let sources = names(folder("fuzz_targets"));
    assert_eq!(sources, named.iter().map(|name| format!("{name}.rs")).collect());
    assert_eq!(names(folder("corpus")), named);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in named {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not built");
    }
}

#[test]
fn the_corpora_are_small() {
    let bytes: usize = TARGETS.iter().flat_map(|(name, _)| corpus(name)).map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes < CORPORA_BYTES_MAX, "{bytes} bytes: minimise them (tests/fuzz/README.md)");
}

macro_rules! targets {
    ($($name:ident $cases:literal)*) => {$(
        mod $name {
            #[test]
            fn the_corpus_holds() {
                super::replay(stringify!($name));
            }

            #[test]
            fn edits_of_the_corpus_hold() {
                super::edited(stringify!($name), $cases);
            }
        }
    )*};
}

targets! {
    chunking 256
    client_rows 128
    client_script 128
    differential 512
    frame_reader 512
    jid 1024
    lobby_script 256
    relay_rows 128
    relay_script 128
    roundtrip 512
    sasl 32
    stamp 1024
}
