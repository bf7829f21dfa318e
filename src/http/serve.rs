//! The listener and its connections, over hyper: bounds on both, and a stop that cuts off nobody who has asked something.
//!
//! axum's own graceful shutdown drops the listener at its signal and then waits without limit, and sets no deadline for
//! headers (axum 0.8); so connections are served through hyper-util. Invariant: a connection that the kernel completed before
//! the listener closed is accepted, and its request answered, if it is sent within the [`LAST_CALL`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// A client that does not finish its headers is cut off; so is one that asks nothing for so long.
const HEADERS: Duration = Duration::from_secs(10);
/// Bytes of a head; with [`CONNECTIONS`] this bounds what clients can make us hold: 128 MiB.
const HEAD: usize = 64 * 1024;
/// Connections at once; the next waits in the kernel's queue until one ends, [`HEADERS`] at most where clients are silent.
const CONNECTIONS: usize = 2048;
/// Before the listener closes: nothing new connects any more, and what is connected may still ask.
const LAST_CALL: Duration = Duration::from_secs(1);
/// After that, answers under way get this long: more than the longest `ACCEPT_TIMEOUT`.
const LINGER: Duration = Duration::from_secs(12);
/// An accept that failed (no file descriptors) is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("{addr} can't be bound: {source}")]
pub struct ServeError {
    pub addr: SocketAddr,
    #[source]
    pub source: std::io::Error,
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    addr: SocketAddr,
}

impl Listener {
    /// Binds `addr`; port 0 takes any free one.
    ///
    /// # Errors
    /// [`ServeError`]
    pub async fn bind(addr: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError { addr, source };
        let tcp = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, addr })
    }

    /// Where it really listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Serves until `close` is cancelled, then closes the listener and lets answers under way end.
pub async fn serve(listener: Listener, router: Router, close: CancellationToken) {
    let server = Server::new(router, connections());
    tokio::select! {
        () = server.accept(&listener.tcp) => {}
        () = close.cancelled() => {}
    }
    server.close(listener, tokio::time::sleep(LAST_CALL)).await;
}

/// Half of the files this process may open, at most: the store and the calls to the vendors need some, too.
fn connections() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    files.and_then(|files| usize::try_from(files / 2).ok()).map_or(CONNECTIONS, |half| half.clamp(1, CONNECTIONS))
}

/// Drops every further SYN: who knocks now is told nothing until the listener has closed, and then that nobody listens.
/// Without this there would always be one whose connection the kernel completes between the last accept and the close, and
/// whose request would be answered by a reset.
fn refuse_new(listener: &TcpListener) -> std::io::Result<()> {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Where a TCP header has its flags.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

struct Server {
    router: Router,
    graceful: GracefulShutdown,
    room: Arc<Semaphore>,
}

impl Server {
    fn new(router: Router, connections: usize) -> Self {
        Self { router, graceful: GracefulShutdown::new(), room: Arc::new(Semaphore::new(connections)) }
    }

    /// Closes the listener once `last_call` has ended, and waits for the answers under way.
    async fn close(self, listener: Listener, last_call: impl Future<Output = ()>) {
        if let Err(e) = refuse_new(&listener.tcp) {
            tracing::debug!(error = %e, "the kernel does not let the listener refuse connections before it closes");
        }
        // Answers say `Connection: close` by now, so each connection ends with its next one. An idle one has been silent
        // all through the drain, but one made just now may have its request under way.
        tokio::select! {
            () = self.accept(&listener.tcp) => {}
            () = last_call => {}
        }
        self.empty(listener.tcp);
        tokio::select! {
            () = self.graceful.shutdown() => {}
            () = tokio::time::sleep(LINGER) => tracing::warn!("connections were cut off at shutdown"),
        }
    }

    /// Accepts for as long as it is polled; no further than there is room.
    async fn accept(&self, listener: &TcpListener) {
        // Nobody closes the semaphore.
        while let Ok(room) = Arc::clone(&self.room).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => self.connection(stream, Some(room)),
                Err(e) => {
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Takes what the kernel has accepted for us, be there room or not, and closes the listener, with nothing in between.
    fn empty(&self, listener: TcpListener) {
        // Through tokio a look could be put off although somebody waits.
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, _)) = listener.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.connection(stream, None);
            }
        }
    }

    fn connection(&self, stream: TcpStream, room: Option<OwnedSemaphorePermit>) {
        // Small answers must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEAD).keep_alive(true);
        let router = TowerToHyperService::new(self.router.clone());
        let connection = self.graceful.watch(builder.serve_connection(TokioIo::new(stream), router));
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(error = %e, "a connection ended early");
            }
            drop(room);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    async fn listener() -> Listener {
        Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap()
    }

    fn router() -> Router {
        Router::new().route("/", get(|| async { "here" }))
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn no_more_connections_are_served_than_there_is_room_and_the_next_when_one_ends() {
        let listener = listener().await;
        let server = Server::new(router(), 1);
        let room = Arc::clone(&server.room);
        let addr = listener.addr();
        tokio::spawn(async move { server.accept(&listener.tcp).await });
        let mut first = TcpStream::connect(addr).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut byte = [0];
        first.read_exact(&mut byte).await.unwrap();
        // It holds the only room while it is kept alive.
        assert_eq!(room.available_permits(), 0);
        let mut second = TcpStream::connect(addr).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        assert_eq!(second.try_read(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(first);
        assert!(answer(second).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn who_was_connected_before_the_listener_closed_is_answered_and_who_comes_after_is_refused() {
        let listener = listener().await;
        let addr = listener.addr();
        // Nobody has accepted these yet, and one of them has not asked yet.
        let mut asked = TcpStream::connect(addr).await.unwrap();
        asked.write_all(REQUEST).await.unwrap();
        let mut silent = TcpStream::connect(addr).await.unwrap();
        let (ended, last_call) = tokio::sync::oneshot::channel::<()>();
        let closing = Server::new(router(), 9).close(listener, async { drop(last_call.await) });
        let closing = tokio::spawn(closing);
        assert!(answer(asked).await.starts_with("HTTP/1.1 200"));
        silent.write_all(REQUEST).await.unwrap();
        assert!(answer(silent).await.starts_with("HTTP/1.1 200"));
        drop(ended);
        closing.await.unwrap();
        assert_eq!(TcpStream::connect(addr).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_listener_that_refuses_new_connections_keeps_those_it_has() {
        let listener = listener().await;
        let addr = listener.addr();
        let mut before = TcpStream::connect(addr).await.unwrap();
        refuse_new(&listener.tcp).unwrap();
        let after = TcpStream::connect(addr);
        let (mut accepted, _) = listener.tcp.accept().await.unwrap();
        before.write_all(b"x").await.unwrap();
        let mut byte = [0];
        accepted.read_exact(&mut byte).await.unwrap();
        // Its SYN is dropped: not refused, not connected, until the kernel is asked again without a listener.
        tokio::pin!(after);
        assert!(futures_util::poll!(&mut after).is_pending());
        drop(listener);
        assert_eq!(after.await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
