//! The end of a connection that we end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a peer may take to hang up as well.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream that is shut down together with its peer: it says that nothing follows, and reads what still comes until
/// the peer says the same, for five seconds at most.
///
/// If we went first while the peer still sends, its system would throw away what we said last (the refusal of a body
/// that is too large), and its writes would fail before it sees the end: the thread of paho's Python client dies of
/// that, and its user waits for ever. Over WebSocket these are the two Close frames (RFC 6455, 7.1.1).
pub struct Lingering<S> {
    stream: S,
    deadline: Option<Pin<Box<Sleep>>>,
    has_said: bool,
}

impl<S> Lingering<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        Self { stream, deadline: None, has_said: false }
    }
}

/// Shuts a stream down as [`Lingering`] does.
pub(crate) async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    Lingering::new(stream).shutdown().await
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(LINGER_TIMEOUT)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !this.has_said {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.has_said = true;
        }
        let mut ignored = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut ignored);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer));
            // However the peer goes, it is gone.
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::pin::pin;
    use tokio::io::AsyncReadExt as _;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_still_sends_is_heard_out() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        ours.write_all(b"bye").await.unwrap();
        let mut parting = pin!(hang_up(&mut ours));
        assert!(poll!(&mut parting).is_pending());
        let mut said = vec![];
        theirs.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"bye");
        for _ in 0..8 {
            theirs.write_all(&[0; 64]).await.expect("the peer may go on");
            assert!(poll!(&mut parting).is_pending());
        }
        drop(theirs);
        parting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stays_is_left() {
        let (mut ours, _theirs) = tokio::io::duplex(64);
        let begun = Instant::now();
        hang_up(&mut ours).await.unwrap();
        assert_eq!(begun.elapsed(), LINGER_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_stops_is_left() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let begun = Instant::now();
        let sending = async {
            loop {
                if theirs.write_all(&[0; 64]).await.is_err() {
                    std::future::pending::<()>().await;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = sending => {}
            parted = hang_up(&mut ours) => parted.unwrap(),
        }
        assert_eq!(begun.elapsed(), LINGER_TIMEOUT);
    }
}
