//! A TCP proxy with faults, on loopback: what stands between the bridge and a neighbour, and breaks when a case says so.
//!
//! Owns its port and the connections through it. Invariant: a [`Way`] holds for open connections and new ones alike, from the
//! moment [`Proxy::set`] returns; bytes arrive whole and in order unless that way cuts them off. Knows no protocol; sleeps for
//! [`Way::Slow`] alone. Imports the tests' MongoDB for its URI and nothing of the crate under test.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::mongo;
use super::world::Place;

/// Bytes moved at once.
const CHUNK: usize = 16 * 1024;

/// What becomes of bytes and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They pass.
    Pass,
    /// The port refuses; connections that were open are reset.
    Refuse,
    /// Connections are taken, and nothing moves either way. A later way finds what was sent meanwhile.
    Hang,
    /// As [`Way::Hang`], but what goes in the other direction passes.
    Hold(Toward),
    /// Each piece waits this long, on the machine's clock, before it goes on.
    Slow(Toward, Duration),
    /// A connection ends when this many bytes have passed in this direction since the way was set.
    Cut { toward: Toward, after: usize, end: End },
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    /// From whoever connects to the neighbour behind the proxy.
    Server,
    /// Back.
    Client,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// RST to both sides.
    Reset,
    /// FIN to both sides.
    Close,
    /// FIN in the direction of the cut; the other one stays open.
    Half,
}

/// A way, and its number: the same way set again counts its bytes anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setting {
    number: u64,
    way: Way,
}

/// Ends the connections that are open now; each holds a receiver as long as it is.
type Open = Arc<Mutex<watch::Sender<Option<End>>>>;

/// A running proxy. Dropped, it closes its port and its connections.
pub struct Proxy {
    addr: SocketAddr,
    way: watch::Sender<Setting>,
    /// The number of the way the port obeys.
    obeyed: watch::Receiver<u64>,
    open: Open,
    taken: Arc<AtomicUsize>,
    port: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to `server`, a `host:port`, that lets everything pass.
    pub async fn to(server: impl Into<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("a bound port");
        let (way, seen) = watch::channel(Setting { number: 0, way: Way::Pass });
        let (obey, obeyed) = watch::channel(0);
        let (open, taken) = (Open::default(), Arc::<AtomicUsize>::default());
        let line = Line { server: server.into().into(), way: seen };
        let port = tokio::spawn(keep_port(listener, line, obey, Arc::clone(&open), Arc::clone(&taken)));
        Self { addr, way, obeyed, open, taken, port }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address as a base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Changes the way. After [`Way::Refuse`] the port refuses and no connection is open when this returns.
    pub async fn set(&self, way: Way) {
        self.way.send_modify(|setting| *setting = Setting { number: setting.number + 1, way });
        let number = self.way.borrow().number;
        let mut obeyed = self.obeyed.clone();
        obeyed.wait_for(|seen| *seen >= number).await.expect("the proxy can bind its port again");
    }

    /// Ends the connections that are open now, and returns when they are closed; new ones are taken as before.
    pub async fn end_open(&self, end: End) {
        let open = std::mem::replace(&mut *lock(&self.open), watch::Sender::new(None));
        open.send_replace(Some(end));
        open.closed().await;
    }

    /// Connections taken so far.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.port.abort();
    }
}

/// A proxy before the MongoDB of a place, and the place behind it. `directConnection=true`: a driver that looked for the
/// other members of a set would go round the proxy.
///
/// # Panics
/// On an embedded place, and on a URI without a plain `host:port`.
pub async fn before_mongo(place: &Place) -> (Proxy, Place) {
    let Place::Mongo { uri } = place else { panic!("a place in MongoDB") };
    let server = mongo::hosts(uri).and_then(|hosts| hosts.into_iter().next()).expect("a URI that names a host");
    let proxy = Proxy::to(server).await;
    let uri = mongo::at_host(uri, &proxy.addr().to_string());
    (proxy, Place::Mongo { uri })
}

/// What each connection needs.
#[derive(Clone)]
struct Line {
    server: Arc<str>,
    way: watch::Receiver<Setting>,
}

/// Listens, except while the way is to refuse.
async fn keep_port(
    listener: TcpListener,
    mut line: Line,
    obey: watch::Sender<u64>,
    open: Open,
    taken: Arc<AtomicUsize>,
) {
    let addr = listener.local_addr().expect("a bound port");
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let setting = *line.way.borrow_and_update();
        if setting.way == Way::Refuse {
            listener = None;
            // They end by themselves at this way.
            while connections.join_next().await.is_some() {}
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(addr).await.expect("its own port is free"));
        }
        obey.send_replace(setting.number);
        tokio::select! {
            changed = line.way.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
            Some(Ok((client, _))) = accept(listener.as_ref()) => {
                taken.fetch_add(1, Ordering::SeqCst);
                let ended = lock(&open).subscribe();
                connections.spawn(connect(client, line.clone(), ended));
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    Some(listener?.accept().await)
}

/// One connection, to its end.
async fn connect(mut client: TcpStream, mut line: Line, mut ended: watch::Receiver<Option<End>>) {
    let Ok(mut server) = TcpStream::connect(&*line.server).await else {
        // A neighbour that is away refuses; this is the nearest thing for a connection already taken.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let up = pump(from_client, to_server, Toward::Server, line.way.clone());
        let down = pump(from_server, to_client, Toward::Client, line.way.clone());
        tokio::select! {
            // In this order, so that a refusal is never taken for an end of stream.
            biased;
            _ = line.way.wait_for(|setting| setting.way == Way::Refuse) => End::Reset,
            end = ended.wait_for(Option::is_some) => end.ok().and_then(|end| *end).unwrap_or(End::Close),
            moved = async { tokio::try_join!(up, down) } => moved.err().unwrap_or(End::Close),
        }
    };
    if end == End::Reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    // Closed before `ended` is let go, which says so.
    drop((client, server));
    drop(ended);
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("nobody panics with it")
}

/// Moves bytes in one direction until their source ends, which is passed on. An error is how the whole connection ends.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    toward: Toward,
    mut way: watch::Receiver<Setting>,
) -> Result<(), End> {
    let mut bytes = vec![0; CHUNK];
    let mut counted = (way.borrow().number, 0);
    loop {
        let read = from.read(&mut bytes).await.map_err(|_| End::Reset)?;
        // Also what was read just before the way was closed.
        let setting = way.wait_for(|setting| !holds(setting.way, toward)).await.map(|open| *open);
        let setting = setting.map_err(|_| End::Close)?;
        if read == 0 {
            return to.shutdown().await.map_err(|_| End::Reset);
        }
        if counted.0 != setting.number {
            counted = (setting.number, 0);
        }
        let mut passing = read;
        let mut cut = None;
        match setting.way {
            Way::Slow(slowed, by) if slowed == toward => tokio::time::sleep(by).await,
            Way::Cut { toward: direction, after, end } if direction == toward && counted.1 + read > after => {
                passing = after.saturating_sub(counted.1);
                cut = Some(end);
            }
            _ => {}
        }
        counted.1 += passing;
        to.write_all(&bytes[..passing]).await.map_err(|_| End::Reset)?;
        match cut {
            None => {}
            Some(End::Half) => return to.shutdown().await.map_err(|_| End::Reset),
            Some(end) => return Err(end),
        }
    }
}

fn holds(way: Way, toward: Toward) -> bool {
    way == Way::Hang || way == Way::Hold(toward)
}
