//! A server that answers every request with the same bytes, whether or not they are HTTP: what no honest fake can say.
//!
//! Owns its port. Invariant: it writes only what it was told, and counts what the other side took. Imports nothing of the
//! crate under test.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What it answers, after the last byte of a request.
#[derive(Clone)]
pub enum Says {
    /// This, and closes.
    Bytes(String),
    /// This, and then zeros without end or until so many were taken.
    Flood { head: String, most: usize },
}

/// A running server. Dropped, it closes its port and its connections.
pub struct Blunt {
    url: String,
    asked: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Blunt {
    pub async fn start(says: Says) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let (asked, written) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&asked), Arc::clone(&written));
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(answer(stream, says.clone(), counts.clone()));
            }
        });
        Self { url, asked, written, task }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Requests read to their end.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Bytes that were taken from it, by the other side or on the way there.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }
}

impl Drop for Blunt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, says: Says, (asked, written): (Arc<AtomicUsize>, Arc<AtomicUsize>)) {
    if request(&mut stream).await.is_none() {
        return;
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let (head, most) = match says {
        Says::Bytes(bytes) => (bytes, 0),
        Says::Flood { head, most } => (head, most),
    };
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    let zeros = vec![b'0'; 64 * 1024];
    let mut left = most;
    while left > 0 {
        // A refusal to take more is what a flood is for.
        let Ok(taken) = stream.write(&zeros[..zeros.len().min(left)]).await else { return };
        written.fetch_add(taken, Ordering::SeqCst);
        left -= taken;
    }
    let _ = stream.shutdown().await;
}

/// Reads one request with a `Content-Length` or without a body.
async fn request(stream: &mut TcpStream) -> Option<()> {
    let mut read = Vec::new();
    let mut chunk = vec![0; 4096];
    loop {
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        read.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(());
        }
    }
}
