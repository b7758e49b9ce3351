//! The listener: HTTP/1.1 with a bound on connections and on the time that a request's head may take.
//!
//! `axum::serve` has neither; hyper has. HTTP/2 isn't offered: WebSocket clients don't want it, and a proxy in front
//! speaks it to browsers.

use super::Inner;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Bytes that the kernel takes of a connection beyond what it has sent: some tens of frames. A client that doesn't keep up is
/// then noticed where newer positions replace older ones, and not after megabytes of old ones.
const NOTSENT_BYTES: u32 = 16 << 10;

/// Why clients aren't served at this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error(
        "no keys are configured by which clients could prove who they are: set TRUNKLINE_AUTH__SECRET (32 bytes or more) or \
         [[auth.issuers]] (`trunkline token keygen` makes keys), or say --insecure to serve without tokens on loopback"
    )]
    NoKeys,
    #[error(
        "--insecure serves without tokens, so only on loopback, which {0} is not: bind to 127.0.0.1, or configure keys"
    )]
    NotLoopback(SocketAddr),
    #[error("keys are configured, so tokens are asked for: leave out --insecure (`http.insecure`), or the keys")]
    Both,
}

/// Refuses to serve without tokens unless told that this is meant, and then on loopback only. `tokens`: whether there are keys.
pub fn check_bind(addr: SocketAddr, tokens: bool, insecure: bool) -> Result<(), BindError> {
    match (tokens, insecure) {
        (true, true) => Err(BindError::Both),
        (true, false) => Ok(()),
        (false, false) => Err(BindError::NoKeys),
        (false, true) if addr.ip().to_canonical().is_loopback() => Ok(()),
        (false, true) => Err(BindError::NotLoopback(addr)),
    }
}

pub(super) async fn serve(bridge: Arc<Inner>, router: Router, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(bridge.options.connections_max));
    loop {
        let accepted = async {
            // Without a free place nothing is accepted: the kernel's queue holds a few, the rest hear nothing and retry.
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let accepted = tokio::select! {
            biased;
            () = bridge.cancel.cancelled() => return,
            accepted = accepted => accepted,
        };
        let Some((place, accepted)) = accepted else { return };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would only spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Updates are small and late ones are worthless.
        let _ = stream.set_nodelay(true);
        // Not all platforms have it, and it only helps.
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(NOTSENT_BYTES);
        let (router, cancel, timeout) = (router.clone(), bridge.cancel.clone(), bridge.options.header_timeout);
        bridge.tracker.spawn(async move {
            let io = TokioIo::new(Placed { stream, _place: place });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(timeout).max_buf_size(64 << 10);
            let mut connection = pin!(http.serve_connection(io, TowerToHyperService::new(router)).with_upgrades());
            tokio::select! {
                _ = connection.as_mut() => {}
                () = cancel.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        });
    }
}

/// A socket that keeps its place until it is dropped, also after an upgrade.
#[derive(Debug)]
pub(super) struct Placed {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Placed {
    /// The socket, for those who share it.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_or_the_word_and_the_word_on_loopback_only() {
        for (addr, loopback) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("[::ffff:127.0.0.1]:1", true), ("0.0.0.0:1", false)]
        {
            let addr = addr.parse().unwrap();
            assert_eq!(check_bind(addr, true, false), Ok(()));
            assert_eq!(check_bind(addr, false, false), Err(BindError::NoKeys));
            assert_eq!(check_bind(addr, true, true), Err(BindError::Both));
            let expected = if loopback { Ok(()) } else { Err(BindError::NotLoopback(addr)) };
            assert_eq!(check_bind(addr, false, true), expected);
        }
    }
}
