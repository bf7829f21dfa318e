//! The MongoDB server of a test run: found, started, stopped, and started again on the same port.
//!
//! Owns the search (`TEST_MONGO_URI`, a `mongod`, the stand-in of tests/mongo-standin) and the server's process.
//! Invariant: a server started here listens on loopback alone and ends with the test process, however that ends, because
//! it lives on a pipe from it. Blocking, `std` alone; databases and their names are the tests' affair. Must not import
//! the crate under test. The crash test (`src/bin/crash-test`) takes its server from here too.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// For a server of ours to listen: a second as a rule, more when a build has both cores.
const START_LIMIT: Duration = Duration::from_secs(60);

/// For a server of ours to end: the stand-in takes one second.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Tries, one second apart, to reach `TEST_MONGO_URI`: CI services come up in no order.
const GIVEN_TRIES: u32 = 30;

/// What a test run has for a MongoDB. No `Debug`: the URI may hold a password.
pub enum Found {
    /// The server that `TEST_MONGO_URI` names.
    Uri(String),
    /// A `mongod` on the PATH.
    Mongod(PathBuf),
    /// The stand-in: built already, or a JDK and Maven are there to build it.
    Standin,
    /// Nothing, and the sentence that says what to do.
    None(String),
}

/// Looks for a server in the order of [`Found`]'s variants; starts and builds nothing.
pub fn find() -> Found {
    if let Some(uri) = variable("TEST_MONGO_URI") {
        return Found::Uri(uri);
    }
    if let Some(mongod) = on_path("mongod") {
        return Found::Mongod(mongod);
    }
    let buildable = || on_path("javac").is_some() && on_path("mvn").is_some();
    if on_path("java").is_some() && (standin::is_built() || buildable()) {
        return Found::Standin;
    }
    Found::None(
        "no MongoDB found: set TEST_MONGO_URI, or put a mongod on the PATH, or install a JDK (17 or newer) and \
         Maven for the stand-in (Debian: apt-get install default-jdk-headless maven)"
            .to_owned(),
    )
}

/// Starts what was found, its data in a new directory under `scratch`, and waits until it listens; the stand-in is built
/// first where its sources changed.
///
/// # Errors
///
/// A sentence for the person who runs the tests; for [`Found::None`] its own.
pub fn start(found: &Found, scratch: &Path) -> Result<MongoServer, String> {
    let program = match found {
        Found::Uri(uri) => {
            wait_for(uri)?;
            return Ok(MongoServer(Kind::Given(uri.clone())));
        }
        Found::Mongod(path) => Program::Mongod(path.clone()),
        Found::Standin => {
            standin::build()?;
            Program::Standin
        }
        Found::None(what_to_do) => return Err(what_to_do.clone()),
    };
    Local::start(program, scratch).map(|local| MongoServer(Kind::Local(local)))
}

/// A MongoDB server. Dropping one that was started here ends it and removes its data.
pub struct MongoServer(Kind);

enum Kind {
    Given(String),
    Local(Local),
}

impl MongoServer {
    /// The URI without a database name. `directConnection=true`, but the options of `TEST_MONGO_URI` are the user's.
    pub fn uri(&self) -> String {
        self.uri_for("")
    }

    /// [`Self::uri`] with `database` in its path, for programs that take the name from there.
    pub fn uri_for(&self, database: &str) -> String {
        match &self.0 {
            Kind::Given(uri) => renamed(uri, database),
            Kind::Local(Local { port, .. }) => {
                format!("mongodb://127.0.0.1:{port}/{database}?directConnection=true")
            }
        }
    }

    /// What the tests ran against, in words; never the URI.
    pub fn describe(&self) -> String {
        match &self.0 {
            Kind::Given(_) => "the given MongoDB".to_owned(),
            Kind::Local(local) => local.program.describe(),
        }
    }

    /// Ends the server; its port refuses until [`Self::start_again`]. A `mongod` is killed, since it must keep what it
    /// acknowledged with `j: true`; the stand-in keeps no such promise and is let close its file.
    ///
    /// # Errors
    ///
    /// When the server is not ours (`TEST_MONGO_URI`), is stopped already, or had to be forced.
    pub fn stop(&mut self) -> Result<(), String> {
        match self.local()?.running.take() {
            Some(running) => running.end(),
            None => Err("the server is stopped already".to_owned()),
        }
    }

    /// Starts a stopped server on its old port with its old data.
    ///
    /// # Errors
    ///
    /// When the server is not ours, runs already, or does not start.
    pub fn start_again(&mut self) -> Result<(), String> {
        let local = self.local()?;
        if local.running.is_some() {
            return Err("the server runs already".to_owned());
        }
        let (running, _) = Running::spawn(&local.program, local.port, &local.directory)?;
        local.running = Some(running);
        Ok(())
    }

    fn local(&mut self) -> Result<&mut Local, String> {
        match &mut self.0 {
            Kind::Given(_) => Err("the server of TEST_MONGO_URI is not ours to stop".to_owned()),
            Kind::Local(local) => Ok(local),
        }
    }
}

/// A server of our own: running or stopped, with its directory.
struct Local {
    program: Program,
    port: u16,
    directory: PathBuf,
    running: Option<Running>,
}

impl Local {
    fn start(program: Program, scratch: &Path) -> Result<Self, String> {
        let trouble = |error| format!("no place for {}: {error}", program.describe());
        let directory = fresh_directory(scratch).map_err(trouble)?;
        let port = program.choose_port().map_err(trouble)?;
        let (running, port) = Running::spawn(&program, port, &directory)?;
        Ok(Self { program, port, directory, running: Some(running) })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // Nobody is left to tell, and forced or not it is gone.
            let _ = running.end();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A server program of this machine.
#[derive(Clone)]
enum Program {
    Mongod(PathBuf),
    Standin,
}

impl Program {
    fn describe(&self) -> String {
        match self {
            Self::Mongod(path) => {
                mongod_version(path).map_or_else(|| "mongod".to_owned(), |version| format!("mongod {version}"))
            }
            Self::Standin => "the stand-in (mongo-java-server)".to_owned(),
        }
    }

    fn choose_port(&self) -> io::Result<u16> {
        match self {
            // A mongod takes no port 0, so it gets one that was free a moment ago.
            Self::Mongod(_) => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()),
            Self::Standin => Ok(0),
        }
    }

    fn command(&self, port: u16, data: &Path) -> Command {
        // A mongod doesn't look at its stdin; this shell does, and kills it when the pipe ends. The shell lets go of
        // stdout first, so that the pipe from there ends with the mongod.
        const ON_A_PIPE: &str = r#""$0" "$@" & exec >/dev/null 2>&1; cat; kill -KILL $!; wait $!; exit 0"#;
        let port = port.to_string();
        match self {
            Self::Mongod(path) => {
                let mut command = Command::new("sh");
                command.args(["-c", ON_A_PIPE]).arg(path);
                command.args(["--bind_ip", "127.0.0.1", "--port", &port]);
                command.arg("--nounixsocket").arg("--dbpath").arg(data);
                command
            }
            Self::Standin => {
                let mut command = Command::new("java");
                // The serial collector starts quickest; the heap is bounded because test builds want the memory.
                command.args(["-XX:+UseSerialGC", "-Xmx512m", "-cp"]);
                command.arg(standin::class_path()).arg("Standin");
                command.args(["--port", &port]);
                command.arg("--file").arg(data.join("standin.h2"));
                command
            }
        }
    }

    /// The port, if this line of its output says that it listens.
    fn listens(&self, line: &str, asked: u16) -> Option<u16> {
        match self {
            // In the JSON of 4.4 and later "Waiting for connections", in older text "waiting for …".
            Self::Mongod(_) => line.to_ascii_lowercase().contains("waiting for connections").then_some(asked),
            Self::Standin => line.strip_prefix("listening 127.0.0.1:")?.parse().ok(),
        }
    }
}

/// A server process, alive as long as the pipe to its stdin.
struct Running(Child);

impl Running {
    /// Spawns `program` on `directory` and waits for its word that it listens; returns its port.
    fn spawn(program: &Program, port: u16, directory: &Path) -> Result<(Self, u16), String> {
        let log = directory.join("server.log");
        let (running, told) = Self::follow(program, port, directory, &log)
            .map_err(|error| format!("{} did not start: {error}", program.describe()))?;
        let trouble = match told.recv_timeout(START_LIMIT) {
            Ok(port) => return Ok((running, port)),
            Err(RecvTimeoutError::Disconnected) => "ended before it listened",
            Err(RecvTimeoutError::Timeout) => "is not listening after a minute",
        };
        let _ = running.end();
        let name = program.describe();
        Err(format!("{name} {trouble}; its log: {}", log.display()))
    }

    /// Spawns `program`; all it says goes to `log`, its port to the receiver, which is cut off when it ends before that.
    fn follow(program: &Program, port: u16, directory: &Path, log: &Path) -> io::Result<(Self, Receiver<u16>)> {
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        let mut log = File::options().create(true).append(true).open(log)?;
        let mut child = program
            .command(port, &data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()?;
        let output = child.stdout.take();
        let running = Self(child);
        let (tell, told) = mpsc::channel();
        let mut output = BufReader::new(output.ok_or_else(|| io::Error::other("no stdout"))?);
        let program = program.clone();
        thread::spawn(move || -> io::Result<u64> {
            let mut line = String::new();
            while output.read_line(&mut line)? > 0 {
                log.write_all(line.as_bytes())?;
                if let Some(port) = program.listens(line.trim_end(), port) {
                    // Fails when nobody waits any longer; the output is drained all the same.
                    let _ = tell.send(port);
                    return io::copy(&mut output, &mut log);
                }
                line.clear();
            }
            Ok(0)
        });
        Ok((running, told))
    }

    fn end(mut self) -> Result<(), String> {
        const POLL: Duration = Duration::from_millis(10);
        drop(self.0.stdin.take());
        let mut left = STOP_LIMIT;
        while !left.is_zero() {
            match self.0.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => thread::sleep(POLL),
                Err(error) => return Err(format!("waiting for the server's end: {error}")),
            }
            left = left.saturating_sub(POLL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
        let limit = STOP_LIMIT.as_secs();
        Err(format!("the server was killed, not having ended within {limit} s"))
    }
}

/// The stand-in's Maven project: built when its sources changed, and where the result lies. A build that failed or was
/// cut off counts as none.
mod standin {
    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::io;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    /// All that a build depends on.
    const SOURCES: [&str; 3] = ["pom.xml", "src/main/java/Standin.java", "src/main/resources/simplelogger.properties"];

    fn home() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mongo-standin")
    }

    fn target() -> PathBuf {
        home().join("target")
    }

    /// The sources of the last build that succeeded. Compared as bytes: a checkout changes times, not contents.
    fn stamp() -> PathBuf {
        target().join("built-from")
    }

    fn sources() -> io::Result<Vec<u8>> {
        let parts: Vec<_> = SOURCES.iter().map(|name| fs::read(home().join(name))).collect();
        Ok(parts.into_iter().collect::<io::Result<Vec<_>>>()?.concat())
    }

    pub(super) fn is_built() -> bool {
        matches!((sources(), fs::read(stamp())), (Ok(now), Ok(then)) if now == then)
    }

    pub(super) fn class_path() -> OsString {
        let mut path = target().join("classes").into_os_string();
        path.push(":");
        path.push(target().join("lib/*"));
        path
    }

    /// Runs Maven, unless these sources are built. Of two test processes one builds and the other waits for it.
    pub(super) fn build() -> Result<(), String> {
        let trouble = |error: io::Error| format!("cannot build the MongoDB stand-in: {error}");
        let sources = sources().map_err(trouble)?;
        fs::create_dir_all(target()).map_err(trouble)?;
        let lock = File::create(target().join("build.lock")).map_err(trouble)?;
        lock.lock().map_err(trouble)?;
        if is_built() {
            return Ok(());
        }
        if stamp().exists() {
            fs::remove_file(stamp()).map_err(trouble)?;
        }
        let log = target().join("build.log");
        let output = File::create(&log).map_err(trouble)?;
        let status = Command::new("mvn")
            .args(["--quiet", "--batch-mode", "-Dstyle.color=never", "compile"])
            .current_dir(home())
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(trouble)?)
            .stderr(output)
            .status()
            .map_err(trouble)?;
        if !status.success() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            // The first of its error lines with words in it says what is wrong; the rest is how to ask for more.
            let said = said
                .lines()
                .filter_map(|line| line.split_once("[ERROR] "))
                .map(|(_, words)| words)
                .find(|words| !words.is_empty());
            return Err(format!(
                "mvn could not build the MongoDB stand-in: {} (log: {})",
                said.unwrap_or("no word why"),
                log.display()
            ));
        }
        fs::write(stamp(), sources).map_err(trouble)
    }
}

#[expect(clippy::disallowed_methods, reason = "tests find their server by environment")]
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    (!value.trim().is_empty()).then_some(value)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// A directory of this process alone. One left by a killed process of the same number is emptied.
fn fresh_directory(scratch: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("mongo-{}-{count}", std::process::id());
    let directory = scratch.join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn mongod_version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("db version v"))?;
    Some(version.trim().to_owned())
}

/// Waits until one of the URI's hosts accepts a connection. A `mongodb+srv` URI names none and is taken as it is.
fn wait_for(uri: &str) -> Result<(), String> {
    let Some(hosts) = hosts(uri) else {
        return Ok(());
    };
    for _ in 0..GIVEN_TRIES {
        if hosts.iter().any(|host| accepts(host)) {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(1));
    }
    let hosts = hosts.join(", ");
    Err(format!("nothing answers at {hosts}, where the given MongoDB should be"))
}

fn accepts(host: &str) -> bool {
    let Ok(addresses) = host.to_socket_addrs() else {
        return false;
    };
    let limit = Duration::from_secs(1);
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, limit).is_ok())
}

/// `host:port` for each host of a `mongodb://` URI, without the user and password before them.
pub fn hosts(uri: &str) -> Option<Vec<String>> {
    let rest = uri.strip_prefix("mongodb://")?;
    let authority = rest.split(['/', '?']).next()?;
    let hosts = authority.rsplit('@').next()?.split(',');
    let with_port = |host: &str| match host.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => host.to_owned(),
        _ => format!("{host}:27017"),
    };
    Some(hosts.map(with_port).collect())
}

/// The URI with this `host:port` in place of its hosts, asked for alone; user, database and the other options stay.
pub fn at_host(uri: &str, host: &str) -> String {
    let (address, options) = uri.split_once('?').unwrap_or((uri, ""));
    let (scheme, rest) = address.split_once("://").unwrap_or(("mongodb", address));
    let (servers, database) = rest.split_once('/').unwrap_or((rest, ""));
    let user = servers.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
    let elsewhere = ["replicaset=", "directconnection=", "loadbalanced="];
    let kept = options.split('&').filter(|option| !option.is_empty());
    let kept = kept.filter(|option| !elsewhere.iter().any(|name| option.to_ascii_lowercase().starts_with(name)));
    let options: Vec<&str> = kept.chain(["directConnection=true"]).collect();
    format!("{scheme}://{user}{host}/{database}?{}", options.join("&"))
}

/// The URI with its database replaced; `""` is none. The path is also the default of `authSource` (connection string
/// specification), which is therefore written out before the path changes: credentials stay where they were.
fn renamed(uri: &str, database: &str) -> String {
    let (address, options) = uri.split_once('?').unwrap_or((uri, ""));
    let servers_at = address.find("://").map_or(0, |at| at + "://".len());
    let (servers, old) = match address[servers_at..].split_once('/') {
        Some((servers, old)) => (&address[..servers_at + servers.len()], old),
        None => (address, ""),
    };
    let mut options: Vec<&str> = options.split('&').filter(|option| !option.is_empty()).collect();
    let says = |name: &str| options.iter().any(|option| option.to_ascii_lowercase().starts_with(name));
    let source = format!("authSource={}", if old.is_empty() { "admin" } else { old });
    if servers.contains('@') && !says("authsource=") && !says("authmechanism=") {
        options.push(&source);
    }
    let options = options.join("&");
    let mark = if options.is_empty() { "" } else { "?" };
    format!("{servers}/{database}{mark}{options}")
}
