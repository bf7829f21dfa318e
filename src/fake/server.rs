//! The server under each fake: one listener, HTTP/1.1, and the ways a server can fail to answer.
//!
//! Owns the socket and the life of its connections. Its invariant: when `stop` returns, or the last handle is dropped,
//! the port refuses and every open connection is being closed, as when a process dies; the site's books stay, so
//! `restart` continues on the same port with the same memory. Knows nothing of either vendor.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response, StatusCode};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::lock;
use crate::clock::Clock;

/// Bytes of a request body a fake reads: twice the bridge's own largest limit.
const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// Pause after a failed `accept`, so that a process out of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What is served: a decision per call, made at once and under the site's own lock.
pub(super) trait Site: Send + Sync + 'static {
    /// Decides one call. `body` has been read to its end.
    fn answer(&self, call: &Request<Bytes>) -> Reply;
}

/// What the wire does with a call.
pub(super) enum Reply {
    /// Answers at once.
    Answer(Response<Body>),
    /// Answers after `by` on the fake's clock.
    Late { by: Duration, answer: Response<Body> },
    /// Says nothing until [`Server::release`]; then this answer, or a reset where there is none.
    Hang { released: Option<Response<Body>> },
    /// Drops the connection with a TCP reset, no byte of an answer sent.
    Reset,
}

impl Reply {
    /// The status the caller will see, if it is to see one.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(answer) | Self::Late { answer, .. } => Some(answer.status().as_u16()),
            Self::Hang { .. } | Self::Reset => None,
        }
    }
}

struct Shared<S> {
    site: S,
    clock: Clock,
    /// Counts `release` calls.
    release: watch::Sender<u64>,
    /// Counts changes of the site's books.
    changes: watch::Sender<u64>,
}

struct Running {
    /// Dropping it stops the accept loop.
    _stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// A site on a socket. Dropped, it stops.
pub(super) struct Server<S> {
    shared: Arc<Shared<S>>,
    addr: SocketAddr,
    running: Mutex<Option<Running>>,
}

impl<S: Site> Server<S> {
    /// Binds `addr` (port 0: a free one) and serves `site`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(super) async fn start(addr: SocketAddr, clock: Clock, site: S) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared { site, clock, release: watch::Sender::new(0), changes: watch::Sender::new(0) });
        let running = Mutex::new(Some(run(listener, Arc::clone(&shared))));
        Ok(Self { shared, addr, running })
    }

    pub(super) fn site(&self) -> &S {
        &self.shared.site
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets every hanging call go on.
    pub(super) fn release(&self) {
        self.shared.release.send_modify(|count| *count += 1);
    }

    /// Tells those who wait on [`Server::changes`] that the books changed outside a call.
    pub(super) fn touch(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Moves whenever the site's books may have changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Closes the listener and every connection; returns when they are closed. Stopping twice is stopping once.
    pub(super) async fn stop(&self) {
        let running = lock(&self.running).take();
        if let Some(Running { _stop, task }) = running {
            drop(_stop);
            // A join error is a panic of the accept loop, which has closed everything as well.
            let _ = task.await;
        }
    }

    /// Serves again on the same port.
    ///
    /// # Errors
    /// The port is taken, by another process or by this server itself when it was not stopped.
    pub(super) async fn restart(&self) -> io::Result<()> {
        let listener = TcpListener::bind(self.addr).await?;
        *lock(&self.running) = Some(run(listener, Arc::clone(&self.shared)));
        Ok(())
    }
}

fn run<S: Site>(listener: TcpListener, shared: Arc<Shared<S>>) -> Running {
    let (stop, stopped) = oneshot::channel();
    Running { _stop: stop, task: tokio::spawn(accept(listener, shared, stopped)) }
}

async fn accept<S: Site>(listener: TcpListener, shared: Arc<Shared<S>>, mut stopped: oneshot::Receiver<()>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    open.spawn(serve(stream, Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the fake could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    open.shutdown().await;
}

/// The service's only error: end this connection with a reset.
#[derive(Debug, thiserror::Error)]
#[error("the fake drops this connection")]
struct Dropped;

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Dropped>> + Send>>;

async fn serve<S: Site>(stream: TcpStream, shared: Arc<Shared<S>>) {
    // Small answers must not wait for the peer's delayed acknowledgement; a socket that refuses is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| -> Answering { Box::pin(handle(Arc::clone(&shared), request)) });
    let mut connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    if ended.is_err_and(|error| error.source().is_some_and(|source| source.is::<Dropped>())) {
        // Closing with a zero linger sends RST in place of FIN. Where it fails the peer sees an early end of stream.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn handle<S: Site>(shared: Arc<Shared<S>>, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let (head, body) = request.into_parts();
    // Subscribed before the decision, so that a release right after it is not missed.
    let mut released = shared.release.subscribe();
    let Ok(body) = axum::body::to_bytes(Body::new(body), BODY_LIMIT).await else {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(answer);
    };
    let reply = shared.site.answer(&Request::from_parts(head, body));
    shared.changes.send_modify(|count| *count += 1);
    match reply {
        Reply::Answer(answer) => Ok(answer),
        Reply::Late { by, answer } => {
            shared.clock.sleep(by).await;
            Ok(answer)
        }
        Reply::Hang { released: answer } => {
            // The sender lives in `shared`, so this cannot fail.
            let _ = released.changed().await;
            answer.ok_or(Dropped)
        }
        Reply::Reset => Err(Dropped),
    }
}

/// How a body of [`chunked`] ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Properly.
    Whole,
    /// Never: the connection stays open and nothing more comes.
    Stalled,
}

/// A body without a declared length, sent chunk by chunk.
pub(super) fn chunked(chunks: Vec<Bytes>, ending: Ending) -> Body {
    Body::new(Chunks { rest: chunks.into_iter(), ending })
}

struct Chunks {
    rest: std::vec::IntoIter<Bytes>,
    ending: Ending,
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.rest.next(), self.ending) {
            (Some(chunk), _) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            (None, Ending::Whole) => Poll::Ready(None),
            // No waker: the connection's own reading notices when the peer leaves.
            (None, Ending::Stalled) => Poll::Pending,
        }
    }
}
