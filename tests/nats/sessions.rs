//! SockJS sessions of two bridge nodes on one NATS: requests reach whichever node, nothing is lost, nothing comes twice, and
//! a node that dies is noticed on both sides.

use crate::{
    harness::Server,
    node::{Node, PATIENCE, Program, Web, eventually, settings},
};
use serde_json::{Value, json};
use std::{collections::VecDeque, time::Instant};

/// A client with one session, whose requests go by way of its nodes in turn.
struct Page {
    nodes: Vec<Web>,
    path: String,
    turn: usize,
    got: VecDeque<String>,
}

impl Page {
    fn new(nodes: &[&Web], base: &str, id: &str) -> Self {
        let nodes = nodes.iter().map(|web| (*web).clone()).collect();
        Self { nodes, path: format!("{base}/000/{id}"), turn: 0, got: VecDeque::new() }
    }

    async fn post(&mut self, what: &str, body: String) -> (u16, String) {
        self.turn += 1;
        let web = &self.nodes[self.turn % self.nodes.len()];
        let answer = web.send(web.request("POST", &format!("{}/{what}", self.path)).body(body)).await;
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap().trim_end().to_owned())
    }

    async fn poll(&mut self) -> String {
        let (status, body) = self.post("xhr", String::new()).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn send(&mut self, texts: &[String]) {
        let (status, body) = self.post("xhr_send", json!(texts).to_string()).await;
        assert_eq!(status, 204, "{body}");
    }

    async fn next(&mut self) -> String {
        while self.got.is_empty() {
            let body = self.poll().await;
            let array = body.strip_prefix('a').unwrap_or_else(|| panic!("{body}"));
            self.got.extend(serde_json::from_str::<Vec<String>>(array).unwrap());
        }
        self.got.pop_front().unwrap()
    }

    async fn frame(&mut self) -> Value {
        serde_json::from_str(&self.next().await).unwrap()
    }
}

async fn pair(server: &Server) -> [Node; 2] {
    let mut nodes = Vec::new();
    for (name, roles) in [("a", &["tracker", "bridge"][..]), ("b", &["bridge"])] {
        let mut settings = settings(&server.dir.path().join(name), &server.ready.url());
        settings.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        settings.http.sockjs_test_services = true;
        nodes.push(Node::start(settings).await);
    }
    let [a, b] = <[Node; 2]>::try_from(nodes).unwrap_or_else(|_| panic!("two nodes"));
    a.web.ready().await;
    b.web.ready().await;
    [a, b]
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_alternate_between_nodes_and_nothing_is_lost_twice_or_out_of_order() {
    let server = Server::start().await;
    let [a, b] = Box::pin(pair(&server)).await;
    let mut echo = Page::new(&[&a.web, &b.web], "/echo", "s1");
    assert_eq!(echo.poll().await, "o");
    for n in 0..150 {
        let texts = [0, 1, 2].map(|k| (3 * n + k).to_string());
        echo.send(&texts).await;
        for text in texts {
            assert_eq!(echo.next().await, text);
        }
    }
    // The same with the product's own state, which is at the owner, the session at either node.
    a.web.delivering("o1", "r1").await;
    let mut page = Page::new(&[&b.web, &a.web], "/json", "s2");
    assert_eq!(page.poll().await, "o");
    assert_eq!(page.frame().await["type"], "hello");
    page.send(&[json!({"type": "subscribe", "topic": "order/o1"}).to_string()]).await;
    let mut version = 0;
    let now = a.web.cell_time().await;
    for n in 0..30 {
        a.web.fix("r1", (31.2 + f64::from(n) * 1e-3, 121.4), now + i64::from(n) * 5_000).await.ok();
        let due = a.web.version("o1").await;
        while version < due {
            let frame = page.frame().await;
            match frame["type"].as_str().unwrap() {
                "snapshot" => version = frame["version"].as_u64().unwrap(),
                "delta" => {
                    assert_eq!(frame["from"], version, "{frame}");
                    version = frame["to"].as_u64().unwrap();
                }
                _ => {}
            }
        }
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_noticed_on_both_sides() {
    let server = Server::start().await;
    let start = |name: &'static str, roles: &'static str| {
        let wrap = "export TRUNKLINE_HTTP__SOCKJS_TEST_SERVICES=true;";
        Program::spawn(&server.dir.path().join(name), &server.ready.url(), wrap, roles)
    };
    let (a, b, c) = (start("a", "tracker,bridge"), start("b", "bridge"), start("c", "bridge"));
    a.web.ready().await;
    b.web.ready().await;
    c.web.ready().await;
    let stream = async |web: &Web, id: &str| {
        let request = web.request("POST", &format!("/echo/0/{id}/xhr_streaming"));
        request.send().await.unwrap()
    };
    // Sessions of b and of c, each with its receiver by way of the other.
    let (mut of_b, mut of_c) = (Page::new(&[&b.web], "/echo", "sb"), Page::new(&[&c.web], "/echo", "sc"));
    assert_eq!((of_b.poll().await, of_c.poll().await), ("o".into(), "o".into()));
    let (mut at_c, mut at_b) = (stream(&c.web, "sb").await, stream(&b.web, "sc").await);
    for (page, chunks) in [(&mut of_b, &mut at_c), (&mut of_c, &mut at_b)] {
        page.send(&["x".to_owned()]).await;
        let mut read = String::new();
        while !read.ends_with("a[\"x\"]\n") {
            read.push_str(std::str::from_utf8(&chunks.chunk().await.unwrap().unwrap()).unwrap());
        }
    }
    b.kill().await;
    // The response by way of c breaks, for its session is gone; and c ends the session whose receiver was at b.
    let begun = Instant::now();
    let breaks = async {
        loop {
            match at_c.chunk().await {
                Ok(Some(_)) => assert!(begun.elapsed() < PATIENCE),
                end => break end,
            }
        }
    };
    let ends = eventually("the session of the broken receiver to end", || async {
        let mut page = Page::new(&[&c.web], "/echo", "sc");
        page.poll().await == "c[1002,\"Connection interrupted\"]"
    });
    let (last, ()) = tokio::join!(breaks, ends);
    assert!(last.is_err(), "a response that broke isn't one that ended");
    // The id of a session that died with its node is free.
    let mut again = Page::new(&[&a.web, &c.web], "/echo", "sb");
    assert_eq!(again.poll().await, "o");
    again.send(&["y".to_owned()]).await;
    assert_eq!(again.next().await, "y");
}
