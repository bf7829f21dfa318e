//! The real binary as a process: started with an environment of its own, read line by line, signalled, waited for.
//!
//! Invariant: a child ends with its handle, whatever becomes of the test. Waiting polls for what is expected, up to a bound
//! that only a broken bridge reaches; nothing here sleeps and hopes.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Only something broken takes longer, even while a build has all cores.
pub const LIMIT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(10);

/// A variable of the child's environment, which holds nothing else.
pub type Var = (String, String);

/// Variables from literals.
pub fn vars(pairs: &[(&str, &str)]) -> Vec<Var> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// `vars` with `extra` in place of what has the same name.
pub fn replaced(mut vars: Vec<Var>, extra: &[(&str, &str)]) -> Vec<Var> {
    for (name, value) in extra {
        vars.retain(|(n, _)| n != name);
        vars.push(((*name).to_owned(), (*value).to_owned()));
    }
    vars
}

/// A running `cast-ghl`.
pub struct Child {
    process: std::process::Child,
    out: Output,
    err: Output,
}

/// How a process ended, and all it said.
pub struct Ended {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Child {
    /// Starts `cast-ghl` with these arguments in `dir`, which is made where it is missing.
    pub fn start(args: &[&str], vars: &[Var], dir: &Path) -> Self {
        Self::start_under(&[], args, vars, dir)
    }

    /// The same as the last arguments of another command, which must become it.
    pub fn start_under(runner: &[String], args: &[&str], vars: &[Var], dir: &Path) -> Self {
        let mut words = runner.iter().map(Into::into).chain([binary().into_os_string()]);
        let mut command = Command::new(words.next().expect("the binary at least"));
        command.args(words).args(args);
        Self::spawn(command, vars, dir)
    }

    /// Starts any command the same way.
    pub fn spawn(mut command: Command, vars: &[Var], dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a directory");
        command.env_clear().envs(vars.iter().cloned()).current_dir(dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|e| panic!("{command:?} can't be started: {e}"));
        let out = Output::of(process.stdout.take().expect("a pipe"));
        let err = Output::of(process.stderr.take().expect("a pipe"));
        Self { process, out, err }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the first log line with this message (`LOG_FORMAT=json`).
    pub async fn logged(&mut self, message: &str) -> serde_json::Value {
        let found = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["message"] == message).then_some(line)
        };
        said(&mut self.process, &mut self.err, message, |lines| lines.iter().find_map(found)).await
    }

    /// Waits for a line of its standard output that contains `words`; all it printed until then.
    pub async fn printed(&mut self, words: &str) -> String {
        let found = |lines: &[String]| lines.iter().any(|line| line.contains(words)).then(|| lines.join("\n"));
        said(&mut self.process, &mut self.out, words, found).await
    }

    /// Sends a signal by name: `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        // The shell's own `kill`: the program of that name is not everywhere.
        let sent = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &pid]).status().expect("a shell");
        assert!(sent.success(), "SIG{name} could not be sent");
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        self.process.kill().expect("a child of ours");
        self.process.wait().expect("a child of ours");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Ended {
        let end = async {
            loop {
                if let Some(status) = self.process.try_wait().expect("a child of ours") {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let end = tokio::time::timeout(LIMIT, end).await;
        let status = end.unwrap_or_else(|_| panic!("it does not end:\n{}", self.err.lines().join("\n")));
        Ended {
            code: status.code(),
            signal: status.signal(),
            out: self.out.all().join("\n"),
            err: self.err.all().join("\n"),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a child that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until `find` finds something in what the process says.
async fn said<T>(
    process: &mut std::process::Child,
    output: &mut Output,
    what: &str,
    find: impl Fn(&[String]) -> Option<T>,
) -> T {
    let search = async {
        loop {
            let ended = process.try_wait().expect("a child of ours").is_some();
            let lines = if ended { output.all() } else { output.lines() };
            if let Some(found) = find(&lines) {
                return found;
            }
            assert!(!ended, "it ended without saying {what:?}:\n{}", lines.join("\n"));
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(LIMIT, search).await.unwrap_or_else(|_| panic!("it never said {what:?}"))
}

/// Runs `cast-ghl` to its end.
pub async fn run(args: &[&str], vars: &[Var], dir: &Path) -> Ended {
    Child::start(args, vars, dir).ended().await
}

/// The binary under test.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_cast-ghl"))
}

/// What a child writes, read as it comes so that its pipe never fills.
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                shared.lock().expect("no reader panics").push(line);
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// Everything, once the child has ended.
    fn all(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no reader panics");
        }
        self.lines()
    }
}
