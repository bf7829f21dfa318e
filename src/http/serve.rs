//! The listener and its connections, over hyper: header deadline, a stop that first keeps accepting, then closes.
//!
//! axum's own graceful shutdown drops the listener at its signal and then waits without limit, and sets no deadline for
//! headers (axum 0.8); so connections are served through hyper-util.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A client that does not finish its headers is cut off.
const HEADERS: Duration = Duration::from_secs(10);
/// After the listener closed, answers under way get this long.
const LINGER: Duration = Duration::from_secs(10);
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
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.tcp.accept() => match accepted {
                Ok((stream, _)) => connection(stream, router.clone(), &graceful),
                Err(e) => {
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = close.cancelled() => break,
        }
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(LINGER) => tracing::warn!("connections were cut off at shutdown"),
    }
}

fn connection(stream: TcpStream, router: Router, graceful: &GracefulShutdown) {
    // Small answers must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).keep_alive(true);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!(error = %e, "a connection ended early");
        }
    });
}
