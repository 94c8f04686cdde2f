//! Connections take turns: nothing more is read of a connection that has had its turn while many tasks wait.
//!
//! A connection reads as long as there is something to read, and each small call in it becomes a task. Thousands of calls
//! that arrive at once on one connection would therefore stand before the next call of every other connection, and before
//! the lane. They would also pile up in memory before the first of them is looked at, for which HTTP/2 cuts a connection.
//!
//! A connection that was read to its end gets a small turn at once, so a client that asks for little never waits for a
//! crowd. What it has beyond that is read when few tasks wait, or after a while.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    runtime::RuntimeMetrics,
    time::{Sleep, sleep},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Bytes of a small turn: some twenty small calls.
const TURN_BYTES: usize = 2 * 1024;
/// Tasks that wait for a thread while a connection is read beyond its small turn.
const TASKS_WAITING_MAX: usize = 32;
/// When a connection that was passed over is looked at again.
const PASSED_OVER_FOR: Duration = Duration::from_millis(1);
/// How often it is passed over before it gets another small turn, however many tasks wait.
const PASSED_OVER_MAX: u32 = 100;

/// A connection that lets others have their turn.
pub(crate) struct InTurns<S = TcpStream> {
    stream: S,
    metrics: RuntimeMetrics,
    /// It has had its small turn, and may have more to read.
    has_more: bool,
    passed_over: u32,
    /// Until it is looked at again.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> InTurns<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            metrics: tokio::runtime::Handle::current().metrics(),
            has_more: false,
            passed_over: 0,
            pause: None,
        }
    }

    /// Waits until it is the turn of this connection.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let crowd = self.has_more && self.metrics.global_queue_depth() > TASKS_WAITING_MAX;
            if !crowd || self.passed_over >= PASSED_OVER_MAX {
                self.has_more &= !crowd;
                self.passed_over = 0;
                return Poll::Ready(());
            }
            self.passed_over += 1;
            self.pause = Some(Box::pin(sleep(PASSED_OVER_FOR)));
        }
    }
}

impl Connected for InTurns {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InTurns<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_turn(cx));
        let polled = if self.has_more {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        } else {
            let mut turn = [0; TURN_BYTES];
            let room = buf.remaining().min(TURN_BYTES);
            let mut turn = ReadBuf::new(&mut turn[..room]);
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut turn);
            buf.put_slice(turn.filled());
            self.has_more = turn.filled().len() == room;
            polled
        };
        if polled.is_pending() {
            self.has_more = false;
        }
        ready!(polled)?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InTurns<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
    use futures_util::FutureExt;
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read(connection: &mut InTurns<&[u8]>) -> usize {
        let mut buf = [0; 64 * 1024];
        connection.read(&mut buf).await.expect("a slice")
    }

    #[tokio::test]
    async fn a_connection_gets_a_small_turn_and_then_waits_for_other_tasks() {
        let sent = vec![0; 10 * TURN_BYTES];
        let (mut busy, mut fresh) = (InTurns::new(&sent[..]), InTurns::new(&sent[..]));
        // From another thread: such tasks wait in the queue that all threads share, which is looked at now and then.
        let crowd = || {
            let runtime = tokio::runtime::Handle::current();
            let crowd = std::thread::spawn(move || {
                for _ in 0..10_000 {
                    runtime.spawn(async {});
                }
            });
            crowd.join().expect("no panic");
        };
        crowd();
        assert_eq!(read(&mut busy).now_or_never(), Some(TURN_BYTES));
        assert_eq!(read(&mut busy).now_or_never(), None, "it is passed over");
        assert_eq!(read(&mut fresh).now_or_never(), Some(TURN_BYTES));
        for _ in 0..PASSED_OVER_MAX {
            busy.pause = None;
            assert!(busy.passed_over > 0);
            read(&mut busy).now_or_never();
        }
        assert!(
            !busy.has_more || busy.stream.len() < 9 * TURN_BYTES,
            "it is not starved"
        );
        // Nobody waits any more.
        let left = fresh.stream.len();
        assert_eq!(read(&mut fresh).await, left);
    }
}
