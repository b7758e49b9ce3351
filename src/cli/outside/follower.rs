//! WebSocket clients that follow orders for as long as they are told to: they come back after every loss of the connection
//! and resume each order from the version they have.

use super::{Board, FollowTally, Http, Record, StatusChange, backoff, http::WS_PATH};
use crate::{
    clock::Stopwatch,
    domain::OrderId,
    wire::client::{ClientFrame, ServerFrame},
};
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Before the server has named its own heartbeat.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(10);
/// Close codes of this hundred and above: not before the client changed something.
const FINAL_CLOSE: u16 = 4200;

/// What followers need.
#[derive(Clone, Debug)]
pub struct FollowerOptions {
    /// Its role is the followers' role.
    pub http: Http,
    /// Orders on one connection. Below what a server allows one client.
    pub orders_per_connection: usize,
    /// Where changes of status are told, if anybody listens. A full channel holds the follower up, not its memory.
    pub changes: Option<mpsc::Sender<StatusChange>>,
}

/// One connection's worth of followed orders.
#[derive(Clone, Debug)]
pub struct Follower {
    board: Arc<Mutex<Board>>,
    orders: mpsc::Sender<OrderId>,
}

impl Follower {
    /// Starts a follower without orders.
    pub fn start(options: &FollowerOptions, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let board = Arc::<Mutex<Board>>::default();
        let (orders, asked) = mpsc::channel(1_024);
        let run = Run {
            http: options.http.clone(),
            record: options.http.record().clone(),
            board: board.clone(),
            changes: options.changes.clone(),
            heartbeat: FIRST_HEARTBEAT,
        };
        tasks.spawn(run.until(stop, asked));
        Self { board, orders }
    }

    /// Follows one more order. An order that isn't there yet is asked for again for a while.
    pub async fn follow(&self, order: OrderId) {
        // The receiver lives until `stop`; after that nobody follows anything.
        let _ = self.orders.send(order).await;
    }

    /// Looks at what is known.
    pub fn read<T>(&self, look: impl FnOnce(&Board) -> T) -> T {
        look(&self.board.lock())
    }
}

/// As many followers as the orders need.
#[derive(Debug)]
pub struct Followers {
    options: FollowerOptions,
    tasks: TaskTracker,
    stop: CancellationToken,
    all: Vec<Follower>,
    followed: HashSet<OrderId>,
}

impl Followers {
    /// None yet; they run on `tasks` until `stop`.
    pub fn new(options: FollowerOptions, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { options, tasks, stop, all: Vec::new(), followed: HashSet::new() }
    }

    /// Follows an order; false if it is followed already.
    pub async fn follow(&mut self, order: OrderId) -> bool {
        if !self.followed.insert(order.clone()) {
            return false;
        }
        let room = self.followed.len() <= self.all.len() * self.options.orders_per_connection.max(1);
        if !room {
            self.all.push(Follower::start(&self.options, &self.tasks, self.stop.child_token()));
        }
        if let Some(last) = self.all.last() {
            last.follow(order).await;
        }
        true
    }

    /// The followers, each with its board.
    pub fn all(&self) -> &[Follower] {
        &self.all
    }

    /// All followers' counts.
    pub fn tally(&self) -> FollowTally {
        let mut sum = FollowTally::default();
        for follower in &self.all {
            follower.read(|board| sum.absorb(&board.tally));
        }
        sum
    }

    /// The first error frames' texts.
    pub fn errors(&self) -> Vec<String> {
        self.all.iter().flat_map(|follower| follower.read(|board| board.errors.clone())).take(20).collect()
    }
}

struct Run {
    http: Http,
    record: Record,
    board: Arc<Mutex<Board>>,
    changes: Option<mpsc::Sender<StatusChange>>,
    heartbeat: Duration,
}

/// Why a connection ended.
enum End {
    Lost,
    Stopped,
    /// The server said not to come back.
    Final,
}

impl Run {
    async fn until(mut self, stop: CancellationToken, mut asked: mpsc::Receiver<OrderId>) {
        let mut failures = 0;
        let mut connected_before = false;
        while !stop.is_cancelled() {
            let opened = async {
                let request = self.http.ws_request().ok()?;
                tokio_tungstenite::connect_async(request).await.ok()
            };
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, opened);
            let socket = tokio::select! {
                () = stop.cancelled() => return,
                connected = connecting => connected,
            };
            if let Ok(Some((socket, _))) = socket {
                if connected_before {
                    self.board.lock().tally.reconnects += 1;
                }
                connected_before = true;
                let since = Stopwatch::start();
                match self.session(socket, &stop, &mut asked).await {
                    End::Lost => {}
                    End::Stopped | End::Final => return,
                }
                // One that lasted was no failure to connect.
                if since.elapsed() > Duration::from_secs(5) {
                    failures = 0;
                }
            }
            failures += 1;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff(failures)) => {}
            }
        }
    }

    async fn session(
        &mut self,
        mut socket: Socket,
        stop: &CancellationToken,
        asked: &mut mpsc::Receiver<OrderId>,
    ) -> End {
        let resume = self.board.lock().reconnected();
        if !send(&mut socket, resume).await {
            return End::Lost;
        }
        let mut heard = Stopwatch::start();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            let frames = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    // Whether the server hears the goodbye makes no difference.
                    let _ = socket.close(None).await;
                    return End::Stopped;
                }
                message = socket.next() => {
                    heard = Stopwatch::start();
                    match self.message(message).await {
                        Ok(frames) => frames,
                        Err(end) => return end,
                    }
                }
                Some(order) = asked.recv() => self.board.lock().follow(order).into_iter().collect(),
                _ = tick.tick() => {
                    // Two heartbeats without a word: the connection is dead and nobody told us.
                    if heard.elapsed() > self.heartbeat * 2 + Duration::from_secs(2) {
                        return End::Lost;
                    }
                    self.board.lock().retry()
                }
            };
            if !send(&mut socket, frames).await {
                return End::Lost;
            }
        }
    }

    async fn message(
        &mut self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<Vec<ClientFrame>, End> {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(Some(close)))) if u16::from(close.code) >= FINAL_CLOSE => {
                let mut board = self.board.lock();
                board.tally.errors += 1;
                board.errors.push(format!("closed for good: {} {}", close.code, close.reason));
                return Err(End::Final);
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Lost),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {
                return Ok(Vec::new());
            }
        };
        self.record.keep(WS_PATH, text.as_bytes());
        let (frames, changes) = {
            let mut board = self.board.lock();
            match serde_json::from_str::<ServerFrame>(text.as_str()) {
                Ok(frame) => {
                    if let ServerFrame::Hello { heartbeat_ms, .. } = &frame {
                        self.heartbeat = Duration::from_millis((*heartbeat_ms).max(100));
                    }
                    (board.take(frame), std::mem::take(&mut board.changes))
                }
                Err(error) => {
                    board.tally.errors += 1;
                    let head: String = text.as_str().chars().take(120).collect();
                    board.errors.push(format!("unreadable frame: {error}: {head}"));
                    (Vec::new(), Vec::new())
                }
            }
        };
        if let Some(tell) = &self.changes {
            for change in changes {
                // Nobody listening any more is no reason to stop following.
                let _ = tell.send(change).await;
            }
        }
        Ok(frames)
    }
}

/// False when the connection is gone.
async fn send(socket: &mut Socket, frames: Vec<ClientFrame>) -> bool {
    if frames.is_empty() {
        return true;
    }
    for frame in frames {
        let text = serde_json::to_string(&frame).unwrap_or_default();
        if socket.feed(Message::text(text)).await.is_err() {
            return false;
        }
    }
    socket.flush().await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::view::View;
    use serde_json::json;

    /// A server that sends a snapshot and a delta, cuts the connection, and is resumed from.
    async fn serve(listener: tokio::net::TcpListener) {
        for round in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let hello = json!({"type": "hello", "session": "s", "view": "operations", "heartbeat_ms": 1000});
            socket.send(Message::text(hello.to_string())).await.unwrap();
            let ask = socket.next().await.unwrap().unwrap().into_text().unwrap();
            let ask: ClientFrame = serde_json::from_str(&ask).unwrap();
            let frames = if round == 0 {
                assert_eq!(
                    ask,
                    ClientFrame::Subscribe { topic: "order/o1".into(), version: None, epoch: None, bounds: None }
                );
                vec![
                    json!({"type": "subscribed", "topic": "order/o1", "recovery": "fresh"}),
                    json!({"type": "snapshot", "topic": "order/o1", "epoch": 2, "version": 1, "at_ms": 0, "state": {"status": 1}}),
                    json!({"type": "delta", "topic": "order/o1", "epoch": 2, "from": 1, "to": 2, "at_ms": 1, "patch": {"status": 2}}),
                ]
            } else {
                assert_eq!(
                    ask,
                    ClientFrame::Subscribe { topic: "order/o1".into(), version: Some(2), epoch: Some(2), bounds: None }
                );
                vec![
                    json!({"type": "subscribed", "topic": "order/o1", "recovery": "resumed"}),
                    json!({"type": "delta", "topic": "order/o1", "epoch": 2, "from": 2, "to": 3, "at_ms": 2, "patch": {"status": 3}}),
                ]
            };
            for frame in frames {
                socket.send(Message::text(frame.to_string())).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn comes_back_and_resumes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http =
            Http::new(&format!("http://{}", listener.local_addr().unwrap()), View::Operations, Duration::ZERO).unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(serve(listener));
        let (changes, mut told) = mpsc::channel(16);
        let options = FollowerOptions { http, orders_per_connection: 1, changes: Some(changes) };
        let mut followers = Followers::new(options, tasks.clone(), stop.clone());
        assert!(followers.follow("o1".parse().unwrap()).await);
        assert!(!followers.follow("o1".parse().unwrap()).await);
        let mut codes = Vec::new();
        while codes.len() < 3 {
            codes.push(told.recv().await.unwrap().after.code());
        }
        assert_eq!(codes, [1, 2, 3]);
        let tally = followers.tally();
        assert_eq!((tally.gaps, tally.deltas, tally.resumes, tally.reconnects), (0, 2, 1, 1));
        stop.cancel();
    }
}
