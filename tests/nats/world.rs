//! A whole node without clients, and the world around it over NATS.

use crate::harness::Server;
use async_nats::{Client, HeaderMap, jetstream::Context};
use serde_json::{Value, json};
use std::path::Path;
use trunkline::{
    app::App,
    config::{NatsSettings, Settings},
};

/// A tracker of the cell `default` on this server, with its database under `data`.
pub(crate) async fn node(server: &Server, data: &Path) -> App {
    let settings = Settings {
        data: data.to_owned(),
        roles: vec!["tracker".to_owned()],
        nats: NatsSettings { url: Some(server.ready.url()), log_max_mib: Some(256), ..NatsSettings::default() },
        ..Settings::default()
    };
    App::start(settings.check().unwrap()).await.unwrap()
}

/// Who publishes and asks.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) js: Context,
}

impl World {
    pub(crate) async fn of(server: &Server) -> Self {
        let client = server.client().await;
        Self { js: trunkline::nats::client::jetstream(&client), client }
    }

    /// Publishes a command; gives its place in the log. Nobody waits for an answer.
    pub(crate) async fn command(&self, order: &str, verb: &str, key: &str, body: &Value) -> u64 {
        let mut headers = HeaderMap::new();
        headers.insert("Idempotency-Key", key);
        headers.insert("Trunkline-Publisher", "system.shop");
        headers.insert("traceparent", "00-abc-def-01");
        self.publish(&format!("order.default.{order}.{verb}"), headers, body.to_string()).await
    }

    pub(crate) async fn publish(&self, subject: &str, headers: HeaderMap, payload: String) -> u64 {
        let ack = self.js.publish_with_headers(subject.to_owned(), headers, payload.into()).await.unwrap();
        ack.await.unwrap().sequence
    }

    pub(crate) async fn create(&self, order: &str) -> u64 {
        let body = json!({
            "user_id": "u1", "items": 1, "amount_minor": 1000, "currency": "CNY",
            "warehouse": {"id": "w1", "name": "W", "lat": 31.23, "lon": 121.47},
            "destination": {"lat": 31.22, "lon": 121.48},
        });
        self.command(order, "create", &format!("{order}-create"), &body).await
    }

    /// The owner's word, as soon as there is one.
    pub(crate) async fn ask(&self, what: &str, payload: &Value) -> Value {
        loop {
            // No responders until the subscription is there.
            let reply = self.client.request(format!("query.default.{what}"), payload.to_string().into()).await;
            if let Ok(reply) = reply {
                return serde_json::from_slice(&reply.payload).unwrap();
            }
        }
    }

    /// Waits until the owner has applied the log up to there.
    pub(crate) async fn applied(&self, seq: u64) {
        for _ in 0..600 {
            if self.ask("cell", &json!({})).await["ok"]["cursor"].as_u64() >= Some(seq) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the log is not applied up to {seq}");
    }

    /// 1 pending payment, 2 paid, …
    pub(crate) async fn status(&self, order: &str) -> Value {
        self.ask("order", &json!({"order": order})).await["ok"]["state"]["status"].clone()
    }
}
