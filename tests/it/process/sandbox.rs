//! `cast-ghl sandbox` as a stranger runs it: the story, a load, and the commands it prints to be pasted.

use std::path::PathBuf;
use std::process::Command;

use super::child::{Child, run, vars};
use crate::{Cases, cases};

pub fn cases() -> Cases<PathBuf> {
    cases![
        the_sandbox_tells_its_story_and_finds_everything_as_it_should_be,
        the_sandbox_drives_a_load_and_every_message_is_sent_once,
        the_sandbox_refuses_options_that_make_no_sense,
    ]
}

/// Cases that need the `curl` command.
pub fn curl_cases() -> Cases<PathBuf> {
    cases![the_commands_of_a_sandbox_that_stays_work_as_pasted]
}

/// Why the cases of [`curl_cases`] can't run here.
pub fn curl_missing() -> Option<String> {
    let there = Command::new("curl").arg("--version").output().is_ok_and(|said| said.status.success());
    (!there).then(|| "there is no curl command on the PATH".to_owned())
}

async fn the_sandbox_tells_its_story_and_finds_everything_as_it_should_be(dir: PathBuf) {
    let ended = run(&["sandbox"], &in_dir(&dir), &dir).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    assert!(ended.out.contains("Everything was as it should be."), "{}", ended.out);
    for scene in [
        "token expired under load: refreshes",
        "sub-accounts of an agency given a token",
        "messages after a STOP shown as failed, with the reason",
        "messages after a START shown as delivered",
        "shown as delivered, then failed by a receipt",
    ] {
        let row = ended.out.lines().find(|line| line.trim_start().starts_with(scene));
        assert!(row.is_some_and(|row| row.ends_with("OK")), "{scene} in\n{}", ended.out);
    }
    assert!(!ended.out.contains('\u{1b}'), "no colours and no moving lines in a file:\n{}", ended.out);
    assert_left_nothing(&dir);
}

async fn the_sandbox_drives_a_load_and_every_message_is_sent_once(dir: PathBuf) {
    let ended = run(&["sandbox", "--messages", "300", "--rate", "300"], &in_dir(&dir), &dir).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    assert!(ended.out.contains("Every accepted message was sent exactly once."), "{}", ended.out);
    assert_left_nothing(&dir);
}

async fn the_sandbox_refuses_options_that_make_no_sense(dir: PathBuf) {
    for args in [&["--messages", "0"][..], &["--messages", "5", "--rate", "0"], &["--rate", "5"], &["--messages", "x"]]
    {
        let ended = run(&[&["sandbox"], args].concat(), &in_dir(&dir), &dir).await;
        assert!(matches!(ended.code, Some(1 | 2)), "{args:?}: {:?}", ended.code);
        assert!(!ended.err.is_empty(), "{args:?}");
    }
}

async fn the_commands_of_a_sandbox_that_stays_work_as_pasted(dir: PathBuf) {
    let mut sandbox = Child::start(&["sandbox", "--stay"], &in_dir(&dir), &dir);
    let printed = sandbox.printed("Everything keeps running").await;
    // Paragraphs that begin with a comment, each a command or several.
    let commands: Vec<&str> = printed.split("\n\n").filter(|part| part.starts_with("# ")).collect();
    let paste = |title: &str| {
        let command = commands.iter().find(|command| command.starts_with(title));
        let command = command.unwrap_or_else(|| panic!("{title:?} in:\n{printed}"));
        // sqlite3 is for those who have it.
        let command: Vec<&str> = command.lines().filter(|line| !line.starts_with("sqlite3 ")).collect();
        let done = Command::new("sh").args(["-c", &command.join("\n")]).output().expect("a shell");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{}\n{said}{}", command.join("\n"), String::from_utf8_lossy(&done.stderr));
        said
    };
    for (title, answer) in [
        ("# GHL sends an SMS.", r#""status":"accepted""#),
        ("# GHL sends an SMS.", r#""status":"duplicate""#),
        ("# Another SMS", r#""status":"accepted""#),
        ("# Another SMS", r#""status":"accepted""#),
        ("# A forgery", r#""code":"signature_invalid""#),
        ("# The person answers", r#""accepted":true"#),
        ("# The gateway says", r#""accepted":true"#),
        ("# Is everything set up", "Cast SMS is the sub-account's SMS provider"),
        ("# Look at what happened", r#""status":"ready""#),
    ] {
        let said = paste(title);
        assert!(said.contains(answer), "{title}: {said}");
    }
    sandbox.signal("INT");
    let ended = sandbox.ended().await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    assert_left_nothing(&dir);
}

/// The sandbox's own temporary directory is made in `dir`.
fn in_dir(dir: &std::path::Path) -> Vec<super::child::Var> {
    vars(&[("TMPDIR", &dir.display().to_string())])
}

fn assert_left_nothing(dir: &std::path::Path) {
    let left: Vec<_> = dir.read_dir().expect("a directory").filter_map(Result::ok).map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
