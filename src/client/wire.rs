//! A server of raw bytes for the client tests: it does to a connection exactly what a script says.
//!
//! Owns one loopback listener and the requests it saw. Test code only; knows nothing of either service, so that a test
//! of the transport cannot share a mistake with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// What to do with one request.
pub(super) enum Act {
    /// Write these bytes and keep the connection.
    Write(String),
    /// Write these bytes and end the connection.
    WriteAndClose(String),
    /// Write these bytes, then nothing more.
    WriteAndHang(String),
    /// Reset the connection once the request was read.
    Reset,
    /// End the connection once the request was read.
    Close,
}

/// A whole answer with a JSON body.
pub(super) fn json(status: u16, body: &str) -> Act {
    with_headers(status, "", body)
}

/// A whole answer with more header lines, each ended by CRLF.
pub(super) fn with_headers(status: u16, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Write(format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n{body}"))
}

/// The listener; stops when dropped.
pub(super) struct Wire {
    pub(super) url: Url,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Serves the script, one act per request, over as many connections as come. A request beyond it hangs.
    pub(super) async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let url = format!("http://{}/prefix", listener.local_addr().expect("an address")).parse().expect("a URL");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(script.into_iter()));
        let record = seen.clone();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (script, record) = (script.clone(), record.clone());
                tokio::spawn(async move {
                    while let Some(request) = read_request(&mut stream).await {
                        record.lock().expect("no panic holds it").push(request);
                        let act = script.lock().expect("no panic holds it").next();
                        if !perform(&mut stream, act).await {
                            break;
                        }
                    }
                });
            }
        });
        Self { url, seen, connections, task }
    }

    /// How many connections were made so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Every request so far, head and body.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic holds it").clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether the connection goes on.
async fn perform(stream: &mut TcpStream, act: Option<Act>) -> bool {
    let (bytes, goes_on, hangs) = match act {
        Some(Act::Write(bytes)) => (bytes, true, false),
        Some(Act::WriteAndClose(bytes)) => (bytes, false, false),
        Some(Act::WriteAndHang(bytes)) => (bytes, false, true),
        Some(Act::Close) => return false,
        Some(Act::Reset) => {
            stream.set_zero_linger().expect("a TCP socket");
            return false;
        }
        None => (String::new(), false, true),
    };
    // The client may have gone away: that is part of some tests.
    let _ = stream.write_all(bytes.as_bytes()).await;
    if hangs {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    goes_on
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.parse().expect("a length"));
            if body.len() >= length {
                return Some(text);
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// An address on which nobody listens.
pub(super) async fn nobody() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    format!("http://{}", listener.local_addr().expect("an address")).parse().expect("a URL")
}

/// Says `greeting` to every connection as soon as it is made, then nothing more.
pub(super) async fn greeter(scheme: &str, greeting: &'static str) -> (Url, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("an address");
    let url = format!("{scheme}://{address}").parse().expect("a URL");
    let task = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // The client may have gone away: that is part of some tests.
            let _ = stream.write_all(greeting.as_bytes()).await;
            kept.push(stream);
        }
    });
    (url, task)
}
