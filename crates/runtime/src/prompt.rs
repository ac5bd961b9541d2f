//! A bound on how long a peer may take to say what it wants.
//!
//! HTTP has a bound of its own once its version is known, but the one that finds out, and the
//! HTTP/2 handshake, wait for the client's preface for ever. [`Prompt`] ends such a connection.
//! What comes after the preface is none of its business.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The HTTP/2 connection preface, RFC 9113, 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose reads fail unless its first bytes come in time: the whole preface of HTTP/2,
/// or one byte that is not of it.
pub struct Prompt<S> {
    stream: S,
    /// Bytes of the preface seen, and until when the rest may come; absent once it is settled.
    waiting: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<S> Prompt<S> {
    /// Begins to wait now.
    pub fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, waiting: Some((0, Box::pin(tokio::time::sleep(timeout)))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let Some((seen, deadline)) = &mut this.waiting else {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        };
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            result?;
            let read = &buffer.filled()[before..];
            let rest = &PREFACE[*seen..];
            *seen += read.len();
            if *seen >= PREFACE.len() || !rest.starts_with(read) {
                this.waiting = None;
            }
            return Poll::Ready(Ok(()));
        }
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not say what it wants")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const TIMEOUT: Duration = Duration::from_millis(50);

    /// What a read after `first` gives when nothing more comes.
    async fn read_after(first: &[u8]) -> io::Result<usize> {
        let (mut client, server) = tokio::io::duplex(256);
        client.write_all(first).await?;
        let mut prompt = Prompt::new(server, TIMEOUT);
        let mut buffer = vec![0; first.len()];
        prompt.read_exact(&mut buffer).await?;
        assert_eq!(buffer, first);
        tokio::time::timeout(TIMEOUT * 10, prompt.read(&mut [0; 1])).await.unwrap_or(Ok(usize::MAX))
    }

    #[tokio::test]
    async fn a_part_of_the_preface_is_not_enough() {
        for part in [&PREFACE[..0], &PREFACE[..1], &PREFACE[..23]] {
            assert_eq!(read_after(part).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test]
    async fn the_preface_or_another_protocol_settles_it() {
        for first in [&PREFACE[..], b"GET", b"PUT"] {
            assert_eq!(read_after(first).await.unwrap(), usize::MAX, "no bound any more");
        }
    }
}
