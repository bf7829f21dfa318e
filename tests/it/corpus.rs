//! The corpus: what both vendors have said or might say, as bytes in files, and beside each what must come of it.
//!
//! Every file goes in through the door its like comes in by: a signed webhook through the router, a reply to the client over
//! loopback. A kind of file nobody reads, a file without its expectation and an expectation without its file all fail.

mod answer;
mod file;
mod hook;
mod post;

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::Trial;

use self::file::{Findings, kinds, samples, samples_in};
use crate::support::world::Place;
use crate::{Cases, trial};

/// Kinds that go in through the router, into a store.
const POSTED: [&str; 5] = ["ghl/message", "ghl/event", "ghl/dnd", "cast/reply", "cast/receipt"];

/// What is posted to us, on every store.
pub fn cases() -> Cases<Place> {
    [hook::cases(), post::cases()].concat()
}

/// What is answered to us, and the corpus itself.
pub fn trials() -> Vec<Trial> {
    let own: [(&str, fn()); 2] = [
        ("every_kind_of_file_is_read_by_a_case", every_kind_of_file_is_read_by_a_case),
        ("a_file_alone_and_an_expectation_alone_are_found", a_file_alone_and_an_expectation_alone_are_found),
    ];
    let own = own.into_iter().map(|(name, case)| {
        Trial::test(format!("corpus::{name}"), move || {
            case();
            Ok(())
        })
    });
    let answered = answer::KINDS.iter().map(|(kind, sentence)| {
        trial(format!("corpus::{sentence}"), move || {
            Box::pin(async move {
                let mut findings = Findings::default();
                for sample in samples(kind) {
                    let heard = answer::heard(kind, &sample).await;
                    findings.compare(&sample, heard);
                }
                findings.end();
            })
        })
    });
    own.chain(answered).collect()
}

fn every_kind_of_file_is_read_by_a_case() {
    let read: BTreeSet<String> =
        POSTED.into_iter().chain(answer::KINDS.iter().map(|(kind, _)| *kind)).map(str::to_owned).collect();
    assert_eq!(kinds(), read);
}

fn a_file_alone_and_an_expectation_alone_are_found() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus");
    let write = |name: &str| std::fs::write(dir.join(name), "{}").expect("a file");
    std::fs::create_dir_all(&dir).expect("a directory");
    for name in ["both.json", "both.expect.json", "page.txt", "page.expect.json", "alone.json", "lost.expect.json"] {
        write(name);
    }
    let alone = ["alone.json has no alone.expect.json", "lost.expect.json has no lost.json or lost.txt"];
    assert_eq!(samples_in(&dir).err(), Some(alone.map(str::to_owned).to_vec()));
    for name in ["alone.json", "lost.expect.json"] {
        std::fs::remove_file(dir.join(name)).expect("a file");
    }
    assert_eq!(samples_in(&dir).map(|samples| samples.len()), Ok(2));
    std::fs::remove_dir_all(&dir).expect("a directory");
    assert!(samples_in(&dir).is_err(), "a kind without files is none");
}
