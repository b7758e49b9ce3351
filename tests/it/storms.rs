//! What comes all at once and what must not: tickets used twice, pages of other sites, storms of sessions, a node that leaves.

use crate::{
    access::{HOUR, gate, options, state, token},
    fake::{Beside, Fake, Owned, Rig},
    rest::serve,
    rig::eventually,
    socket::{Socket, next, send},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest},
};
use tokio_util::sync::CancellationToken;
use trunkline::{
    bridge::{Options, bucket::MemoryBucket},
    config::Origins,
};

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A socket of this query and these headers, or the status of the refusal and what it said.
async fn open(address: &str, query: &str, headers: &[(&'static str, &str)]) -> Result<Socket, (u16, Value)> {
    let mut request = format!("ws://{address}/v1/ws?{query}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err((response.status().as_u16(), serde_json::from_slice(body).unwrap_or_default()))
        }
        Err(error) => panic!("{error}"),
    }
}

async fn ticket(address: &str, token: &str) -> String {
    let made = http().post(format!("http://{address}/v1/tickets")).bearer_auth(token).send().await.unwrap();
    assert_eq!((made.status(), &made.headers()["cache-control"]), (StatusCode::CREATED, &"no-store".parse().unwrap()));
    let made: Value = made.json().await.unwrap();
    assert!(made["expires_at_ms"].as_i64().unwrap() <= trunkline::clock::wall().plus(30_000).0);
    made["ticket"].as_str().unwrap().to_owned()
}

fn nodes(options: impl Fn() -> Options) -> (Fake, [Rig; 2]) {
    let (fake, tickets) = (Fake::default(), MemoryBucket::default());
    fake.put("o1", Owned::new(state()));
    let node = || {
        fake.bridge_beside(options(), gate(), Beside { tickets: tickets.clone(), others: true, ..Beside::default() })
    };
    let rigs = [node(), node()];
    (fake, rigs)
}

#[tokio::test]
async fn a_ticket_opens_one_door_of_any_node_once() {
    let (_fake, [here, there]) = nodes(options);
    let (here, there) = (serve(&here).await, serve(&there).await);
    let good = token("customer", "u", HOUR);
    let one = ticket(&here, &good).await;
    let mut socket = open(&there, &format!("ticket={one}"), &[]).await.unwrap();
    assert_eq!(next(&mut socket).await["view"], "customer");
    for address in [&here, &there] {
        let (status, problem) = open(address, &format!("ticket={one}"), &[]).await.err().unwrap();
        assert_eq!((status, &problem["field"]), (401, &json!("ticket")));
        assert!(!problem.to_string().contains(&one), "and nobody repeats it");
    }
    // Wherever a token is taken.
    let get = |query: String| http().get(format!("http://{there}/v1/orders/o1?{query}")).send();
    let two = ticket(&here, &good).await;
    assert_eq!(get(format!("ticket={two}")).await.unwrap().status(), 200);
    assert_eq!(get(format!("ticket={two}")).await.unwrap().status(), 401);
    assert_eq!(get("ticket=x".into()).await.unwrap().status(), 401);
    let three = ticket(&here, &good).await;
    let both =
        http().get(format!("http://{here}/v1/orders/o1?ticket={three}")).bearer_auth(&good).send().await.unwrap();
    assert_eq!(both.status(), 400);
    let nobody = http().post(format!("http://{here}/v1/tickets")).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
}

#[tokio::test]
async fn what_a_ticket_stands_for_ends_as_it_would() {
    let (_fake, [here, _there]) = nodes(options);
    let address = serve(&here).await;
    // The token's end holds on the connection.
    let short = ticket(&address, &token("customer", "u", 600)).await;
    let mut socket = open(&address, &format!("ticket={short}"), &[]).await.unwrap();
    while next(&mut socket).await["type"] != "expired" {}
    assert_eq!(next(&mut socket).await, json!(4202));
    // And a share link's revocation.
    here.share("o1", "s").await;
    let shared = format!("{}-o1", token("shared", "s", HOUR));
    let (used, unused) = (ticket(&address, &shared).await, ticket(&address, &shared).await);
    let mut socket = open(&address, &format!("ticket={used}"), &[]).await.unwrap();
    assert_eq!(next(&mut socket).await["view"], "shared");
    let customer = token("customer", "u", HOUR);
    let revoke = http().delete(format!("http://{address}/v1/orders/o1/shares/s")).bearer_auth(customer);
    assert_eq!(revoke.send().await.unwrap().status(), 204);
    let closed = loop {
        let frame = next(&mut socket).await;
        if frame.is_u64() {
            break frame;
        }
    };
    assert_eq!(closed, json!(4204));
    assert_eq!(open(&address, &format!("ticket={unused}"), &[]).await.err().unwrap().0, 401);
}

#[tokio::test]
async fn a_poll_lasts_no_longer_than_who_asks_may() {
    let (_fake, [rig, _other]) = nodes(options);
    let address = serve(&rig).await;
    let poll = |token: String| {
        let request = http().get(format!("http://{address}/v1/orders/o1/updates?since=1.1&wait=50")).bearer_auth(token);
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let metric = |text: &str| rig.metrics.encode().unwrap().contains(text);
    rig.share("o1", "s").await;
    let revoked = async {
        eventually("it polls", || metric(r#"connections{transport="poll"} 1"#)).await;
        let customer = token("customer", "u", HOUR);
        let revoke = http().delete(format!("http://{address}/v1/orders/o1/shares/s")).bearer_auth(customer);
        assert_eq!(revoke.send().await.unwrap().status(), 204);
    };
    let shared = async { tokio::join!(poll(format!("{}-o1", token("shared", "s", HOUR))), revoked).0 };
    let (status, problem) = tokio::time::timeout(Duration::from_secs(20), shared).await.unwrap();
    assert_eq!((status, &problem["detail"]), (401, &json!("revoked")));
    let expires = poll(token("customer", "u", 600));
    let (status, problem) = tokio::time::timeout(Duration::from_secs(20), expires).await.unwrap();
    assert_eq!((status, &problem["detail"]), (401, &json!("token_expired")));
    let first = http().get(format!("http://{address}/v1/orders/o1/updates")).bearer_auth(token("customer", "u", HOUR));
    let first: Value = first.send().await.unwrap().json().await.unwrap();
    assert_eq!(first["frames"].as_array().unwrap().len(), 3, "{first}");
    assert!(metric(r#"connections{transport="poll"} 0"#) && metric(r#"frames_delivered_total{transport="poll"} 3"#));
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_and_others_may_not() {
    let origins = || Origins::parse(&["https://shop.example".to_owned()]).unwrap();
    let (_fake, [rig, _other]) = nodes(|| Options { origins: origins(), ..options() });
    let address = serve(&rig).await;
    let url = format!("http://{address}/v1/orders/o1");
    let good = token("customer", "u", HOUR);
    let header = |response: &reqwest::Response, name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let preflight = |origin: &'static str, path: &str| {
        let asked =
            http().request(reqwest::Method::OPTIONS, format!("http://{address}{path}")).header("origin", origin);
        asked.header("access-control-request-method", "POST").header("access-control-request-headers", "authorization")
    };
    let allowed = preflight("https://shop.example", "/v1/orders").send().await.unwrap();
    assert_eq!(allowed.status(), 204);
    assert_eq!(header(&allowed, "access-control-allow-origin").as_deref(), Some("https://shop.example"));
    assert_eq!(header(&allowed, "access-control-allow-credentials").as_deref(), Some("true"));
    assert!(header(&allowed, "access-control-allow-headers").unwrap().contains("authorization"));
    assert!(header(&allowed, "access-control-allow-methods").unwrap().contains("POST"));
    let refused = preflight("https://evil.example", "/v1/orders").send().await.unwrap();
    assert!(header(&refused, "access-control-allow-origin").is_none());
    assert!(header(&refused, "access-control-allow-credentials").is_none());
    // SockJS has rules of its own, and says them once.
    let sockjs = preflight("https://shop.example", "/ws/info").send().await.unwrap();
    assert_eq!(sockjs.headers().get_all("access-control-allow-origin").iter().count(), 1);
    let get = |origin: &'static str| http().get(&url).header("origin", origin);
    let read = get("https://shop.example").bearer_auth(&good).send().await.unwrap();
    assert_eq!((read.status(), header(&read, "vary").as_deref()), (StatusCode::OK, Some("origin")));
    assert_eq!(header(&read, "access-control-allow-origin").as_deref(), Some("https://shop.example"));
    let unread = get("https://evil.example").bearer_auth(&good).send().await.unwrap();
    assert!(header(&unread, "access-control-allow-origin").is_none());
    // An error is to be read as well.
    let unknown = get("https://shop.example").send().await.unwrap();
    assert_eq!(unknown.status(), 401);
    assert!(header(&unknown, "access-control-allow-origin").is_some());
    // A cookie counts for listed origins.
    let cookie = format!("trunkline_token={good}");
    let with_cookie = |origin| get(origin).header("cookie", &cookie).send();
    assert_eq!(with_cookie("https://shop.example").await.unwrap().status(), 200);
    assert_eq!(with_cookie("https://evil.example").await.unwrap().status(), 403);
    let from = |origin: &'static str| [("cookie", cookie.as_str()), ("origin", origin)];
    assert!(open(&address, "", &from("https://shop.example")).await.is_ok());
    assert_eq!(open(&address, "", &from("https://evil.example")).await.err().unwrap().0, 403);
}

#[tokio::test]
async fn beyond_the_rate_sessions_are_told_when_to_come() {
    let options = || Options { admissions_per_s: 1, admissions_burst: Duration::from_secs(3), ..options() };
    let (_fake, [rig, _other]) = nodes(options);
    let address = serve(&rig).await;
    let good = format!("Bearer {}", token("customer", "u", HOUR));
    let mut open_ones = Vec::new();
    for _ in 0..3 {
        open_ones.push(open(&address, "", &[("authorization", &good)]).await.unwrap());
    }
    let mut waits = Vec::new();
    for _ in 0..4 {
        let (status, problem) = open(&address, "", &[("authorization", &good)]).await.err().unwrap();
        assert_eq!((status, &problem["type"]), (503, &json!("busy")));
        waits.push(problem["retry_after_ms"].as_u64().unwrap());
    }
    assert!(waits.is_sorted() && waits[3] >= waits[0] + 2_000, "one after another: {waits:?}");
    let asked = http().get(format!("http://{address}/v1/ws")).header("authorization", &good).send().await.unwrap();
    let header: u64 = asked.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let problem: Value = asked.json().await.unwrap();
    assert_eq!(header, problem["retry_after_ms"].as_u64().unwrap().div_ceil(1_000));
    // Those who are there are served, and requests that are no session are.
    send(&mut open_ones[0], json!({"type": "ping", "id": 4})).await;
    while next(&mut open_ones[0]).await["type"] != "pong" {}
    let read =
        http().get(format!("http://{address}/v1/orders/o1")).header("authorization", &good).send().await.unwrap();
    assert_eq!(read.status(), 200);
    assert!(rig.metrics.encode().unwrap().contains(r#"trunkline_sessions_refused_total{reason="rate"} 5"#));
}

/// Opens so many sockets that follow `o1`, and has the snapshot in each.
async fn followers(address: &str, count: usize) -> Vec<Socket> {
    let good = format!("Bearer {}", token("customer", "u", HOUR));
    let mut sockets = Vec::new();
    for _ in 0..count {
        let mut socket = open(address, "", &[("authorization", &good)]).await.unwrap();
        send(&mut socket, json!({"type": "subscribe", "topic": "order/o1"})).await;
        while next(&mut socket).await["type"] != "snapshot" {}
        sockets.push(socket);
    }
    sockets
}

#[tokio::test]
async fn a_node_that_leaves_serves_each_until_its_turn_and_says_when_to_come() {
    for elsewhere in [true, false] {
        let (fake, tickets) = (Fake::default(), MemoryBucket::default());
        fake.put("o1", Owned::new(state()));
        let rig = fake.bridge_beside(options(), gate(), Beside { tickets, others: elsewhere, ..Beside::default() });
        let address = serve(&rig).await;
        let sockets = followers(&address, 40).await;
        let ready = || http().get(format!("http://{address}/readyz")).send();
        assert_eq!(ready().await.unwrap().status(), 200);
        // One that is being closed when its turn comes is no trouble.
        let hurry = CancellationToken::new();
        let window = Duration::from_millis(400);
        let rest = async {
            assert_eq!(ready().await.unwrap().status(), 503);
            let good = format!("Bearer {}", token("customer", "u", HOUR));
            let (status, problem) = open(&address, "", &[("authorization", &good)]).await.err().unwrap();
            assert_eq!((status, &problem["type"]), (503, &json!("draining")));
            assert!(problem["retry_after_ms"].is_u64());
            // What happens meanwhile reaches all whose turn hasn't come.
            let update = fake.with("o1", |owned| {
                let mut next = owned.state.clone();
                next["status"] = json!(4);
                owned.step(next)
            });
            fake.say("o1", &update);
            let watch = trunkline::clock::Stopwatch::start();
            let ends = sockets.into_iter().map(|mut socket| async move {
                let (mut seen, mut told) = (false, None);
                loop {
                    let frame = next(&mut socket).await;
                    match frame["type"].as_str() {
                        Some("delta") => seen = true,
                        Some("going_away") => told = frame["reconnect_in_ms"].as_u64(),
                        None => {
                            assert_eq!(frame, json!(4100), "the last word");
                            return (watch.elapsed(), told.expect("told before it was closed"), seen);
                        }
                        Some(_) => assert!(told.is_none(), "nothing comes after: {frame}"),
                    }
                }
            });
            futures::future::join_all(ends).await
        };
        let (ends, ()) = tokio::join!(
            async {
                while rig.bridge.is_ready() {
                    tokio::task::yield_now().await;
                }
                rest.await
            },
            rig.bridge.drain(&hurry)
        );
        assert!(ends.iter().any(|(_, _, seen)| *seen), "served until their turn");
        let (mut at, mut back): (Vec<_>, Vec<_>) = ends.into_iter().map(|(at, told, _)| (at, told)).unzip();
        at.sort_unstable();
        back.sort_unstable();
        assert!(at[39] - at[0] > window / 2, "one after another: {at:?}");
        let (least, most) = if elsewhere { (0, 1_000) } else { (2_000, 3_500) };
        assert!(back[0] >= least && back[39] <= most && back[39] - back[0] > 500, "{back:?}");
        rig.bridge.drain(&hurry).await;
    }
}

#[tokio::test]
async fn a_drain_ends_with_its_last_client_and_at_once_in_a_hurry() {
    let (_fake, [rig, hasty]) = nodes(options);
    // Nobody is there: no time is spent.
    let begun = trunkline::clock::Stopwatch::start();
    rig.bridge.drain(&CancellationToken::new()).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    let address = serve(&hasty).await;
    let mut sockets = followers(&address, 30).await;
    let hurry = CancellationToken::new();
    hurry.cancel();
    hasty.bridge.drain(&hurry).await;
    hasty.cancel.cancel();
    for socket in &mut sockets {
        let closed = loop {
            let frame = next(socket).await;
            if frame.is_u64() {
                break frame;
            }
        };
        assert_eq!(closed, json!(4100));
    }
}
