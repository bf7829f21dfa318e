//! What an answer of 200 rests on, seen from outside: the system calls of the real binary, in their order, on the embedded
//! store. A kill alone can't show it, since the system keeps what a killed process has written; a power cut does not.
//!
//! Owns the reading of a trace. A line of it is a call's whole life, or its beginning, or its end; lines stand in the order of
//! what they tell.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::serving::{Serving, Spot};
use crate::support::world::word;
use crate::{Cases, cases};

/// How files are written and made durable, and how answers leave.
const TRACED: &str = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync";

/// Cases that need the `strace` command.
pub fn strace_cases() -> Cases<Spot> {
    cases![
        a_200_leaves_only_after_the_log_with_its_message_was_synced,
        a_repeated_200_leaves_only_after_a_sync_of_its_own
    ]
}

pub fn cases() -> Cases<PathBuf> {
    cases![a_trace_without_the_sync_in_its_place_is_noticed]
}

/// Why the cases of [`strace_cases`] can't run here.
pub fn strace_missing() -> Option<String> {
    let traced = Command::new("strace").args(["-D", "-f", "-o", "/dev/null", "-e", TRACED, "true"]).output();
    match traced {
        Ok(traced) if traced.status.success() => None,
        Ok(traced) => Some(format!("strace can't trace here: {}", String::from_utf8_lossy(&traced.stderr).trim())),
        Err(_) => Some("there is no strace command on the PATH".to_owned()),
    }
}

/// Whether a machine without strace fails the run.
#[expect(clippy::disallowed_methods, reason = "what is demanded of a test run is said by the environment")]
pub fn strace_demanded() -> bool {
    std::env::var("REQUIRE_STRACE").is_ok_and(|demanded| demanded == "1")
}

async fn a_200_leaves_only_after_the_log_with_its_message_was_synced(spot: Spot) {
    let (mut serving, trace) = traced(&spot).await;
    let mut answers = Vec::new();
    for text in ["one", "two", "three"] {
        let answer = serving.sms(text).await;
        assert_eq!((answer.status, word(&answer).as_str()), (Some(200), "accepted"));
        answers.push(answer);
    }
    serving.taken(3).await;
    let trace = Trace::of_ended(&mut serving, &trace).await;
    for answer in answers {
        let id = answer.message_id.expect("a message of the fake");
        let answered = trace.answer(&id, 0).unwrap_or_else(|| panic!("no answer about {id}:\n{}", trace.0.join("\n")));
        trace.synced(&id, 0, answered).unwrap_or_else(|why| panic!("{why}:\n{}", trace.0[..=answered].join("\n")));
    }
    serving.end();
}

/// With what nobody works on, so that every write about it is an answer's.
async fn a_repeated_200_leaves_only_after_a_sync_of_its_own(spot: Spot) {
    let (mut serving, trace) = traced(&spot).await;
    let mut id = String::new();
    for _ in 0..3 {
        let answer = serving.ghl.post_signed(b"{\"type\":\"SMS\"}".to_vec(), &serving.key).await;
        assert_eq!((answer.status, word(&answer).as_str()), (Some(200), "dead_letter"));
        let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        id = body["id"].as_str().expect("an id").to_owned();
    }
    let trace = Trace::of_ended(&mut serving, &trace).await;
    let mut from = 0;
    for _ in 0..3 {
        let answered = trace.answer(&id, from).unwrap_or_else(|| panic!("no answer about {id}"));
        trace
            .synced(&id, from, answered)
            .unwrap_or_else(|why| panic!("{why}:\n{}", trace.0[from..=answered].join("\n")));
        from = answered + 1;
    }
    serving.end();
}

/// A bridge under strace, and where its trace is.
async fn traced(spot: &Spot) -> (Serving, PathBuf) {
    std::fs::create_dir_all(&spot.dir).expect("a directory");
    let trace = spot.dir.join("trace");
    let strace = on_path("strace").expect("it was found before");
    // -D: the bridge itself is the child, so that signals reach it and no bridge outlives the test.
    let runner = [strace.display().to_string(), "-D".into(), "-f".into(), "-y".into()];
    let options = ["-s".into(), "8192".into(), "-e".into(), TRACED.into(), "-e".into(), "signal=none".into()];
    let output = ["-o".into(), trace.display().to_string(), "--".into()];
    let runner: Vec<String> = runner.into_iter().chain(options).chain(output).collect();
    (Serving::connected_under(&runner, spot, &[("DRAIN", "1s")]).await, trace)
}

#[expect(clippy::disallowed_methods, reason = "the traced program has an environment of its own, without a PATH")]
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").ok()?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The lines of a trace, each without its process id.
struct Trace(Vec<String>);

impl Trace {
    /// The whole trace of a bridge, which is stopped for it.
    async fn of_ended(serving: &mut Serving, file: &Path) -> Self {
        serving.process.signal("TERM");
        // Its standard error ends with strace, which has then written everything.
        let ended = serving.process.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        Self::read(&String::from_utf8_lossy(&std::fs::read(file).expect("a trace")))
    }

    fn read(text: &str) -> Self {
        Self(text.lines().map(str::to_owned).collect())
    }

    /// Where the writing of the first 200 about `id` begins, from the line `from` on.
    fn answer(&self, id: &str, from: usize) -> Option<usize> {
        let is_answer = |line: &&String| line.contains("\"HTTP/1.1 200 ") && line.contains(id);
        self.0.iter().skip(from).position(|line| is_answer(&line)).map(|at| at + from)
    }

    /// Whether between the lines `from` and `until` `id` was written to the write-ahead log, and then a sync of the log
    /// both began and succeeded.
    fn synced(&self, id: &str, from: usize, until: usize) -> Result<(), String> {
        let written = (from..until).rev().find(|at| self.writes_log(*at, id)).and_then(|at| self.end(at, until));
        let Some(written) = written else { return Err(format!("{id} was not written to the log before its 200")) };
        let synced = (written + 1..until).any(|at| {
            self.syncs_log(at) && self.end(at, until).is_some_and(|end| self.0[end].trim_end().ends_with("= 0"))
        });
        if synced { Ok(()) } else { Err(format!("no sync of the log between the write of {id} and its 200")) }
    }

    fn writes_log(&self, at: usize, id: &str) -> bool {
        let call = call(&self.0[at]);
        (call.starts_with("pwrite") || call.starts_with("write")) && self.on_log(at) && self.0[at].contains(id)
    }

    fn syncs_log(&self, at: usize) -> bool {
        let call = call(&self.0[at]);
        (call.starts_with("fdatasync(") || call.starts_with("fsync(")) && self.on_log(at)
    }

    fn on_log(&self, at: usize) -> bool {
        self.0[at].contains(".sqlite3-wal>")
    }

    /// The line, before `until`, in which the call that begins at `at` ends.
    fn end(&self, at: usize, until: usize) -> Option<usize> {
        let line = &self.0[at];
        if !line.contains("<unfinished ...>") {
            return Some(at);
        }
        let thread = thread(line);
        (at + 1..until).find(|later| thread == self::thread(&self.0[*later]))
    }
}

/// `1234 fsync(5</x>) = 0` → `1234`.
fn thread(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// `1234 fsync(5</x>) = 0` → `fsync(5</x>) = 0`.
fn call(line: &str) -> &str {
    line.split_once(char::is_whitespace).map_or("", |(_, call)| call.trim_start())
}

async fn a_trace_without_the_sync_in_its_place_is_noticed(_: PathBuf) {
    const WRITE: &str = r#"7 pwrite64(9</d/x.sqlite3-wal>, "..out:L:M1..", 4096, 56) = 4096"#;
    const SYNC: &str = "7 fdatasync(9</d/x.sqlite3-wal>) = 0";
    const SYNC_BEGINS: &str = "7 fdatasync(9</d/x.sqlite3-wal> <unfinished ...>";
    const SYNC_ENDS: &str = "7 <... fdatasync resumed>) = 0";
    const ANSWER: &str = r#"8 writev(12<socket:[5]>, [{iov_base="HTTP/1.1 200 OK\r\n\r\n", iov_len=19}, {iov_base="{\"id\":\"out:L:M1\"}", iov_len=17}], 2) = 36"#;
    let judge = |lines: &[&str]| {
        let trace = Trace::read(&lines.join("\n"));
        trace.synced("M1", 0, trace.answer("M1", 0).expect("an answer"))
    };
    assert_eq!(judge(&[WRITE, SYNC, ANSWER]), Ok(()));
    assert_eq!(judge(&[WRITE, SYNC_BEGINS, "9 fsync(1</d/y>) = 0", SYNC_ENDS, ANSWER]), Ok(()));
    for unsynced in [
        vec![WRITE, ANSWER],
        vec![WRITE, ANSWER, SYNC],
        vec![SYNC, WRITE, ANSWER],
        vec![SYNC_BEGINS, WRITE, SYNC_ENDS, ANSWER],
        vec![WRITE, SYNC_BEGINS, ANSWER, SYNC_ENDS],
        vec![WRITE, "7 fdatasync(9</d/x.sqlite3-wal>) = -1 EIO (Input/output error)", ANSWER],
        vec![WRITE, "7 fdatasync(9</d/x.sqlite3>) = 0", ANSWER],
        vec!["7 pwrite64(9</d/x.sqlite3-wal>, \"..M2..\", 4096, 56) = 4096", SYNC, ANSWER],
        vec!["7 pwrite64(9</d/x.sqlite3>, \"..M1..\", 4096, 56) = 4096", SYNC, ANSWER],
        vec![SYNC, ANSWER],
    ] {
        assert!(judge(&unsynced).is_err(), "{unsynced:?}");
    }
}
