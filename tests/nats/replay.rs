//! `trunkline replay` on a node's own database and log: equal as they are, and whatever is changed is named.

use crate::{
    harness::Server,
    node::database,
    world::{World, node},
};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Orders through their lives: delivered, cancelled, under way, with late and doubled fixes and refusals.
async fn life(world: &World) -> u64 {
    let now = trunkline::clock::wall().0;
    let say = |subject: String, body: Value| async move {
        world.publish(&subject, Default::default(), body.to_string()).await
    };
    for n in 0..12 {
        let order = format!("o{n}");
        world.create(&order).await;
        world.command(&order, "pay", &format!("{order}-pay"), &json!({})).await;
        say(format!("warehouse.default.w1.{order}.packed"), json!({})).await;
        world.command(&order, "assign", &format!("{order}-assign"), &json!({"rider": format!("r{}", n % 3)})).await;
    }
    // The phone of rider r0, who has four orders, is about to go out.
    let fix = |n: i64, at_ms: i64| {
        json!({"lat": 31.2 + 1e-5 * n as f64, "lon": 121.47, "fix_time_ms": at_ms,
        "accuracy_m": 5, "battery_pct": if n % 3 == 0 { 12 } else { 50 }})
    };
    for n in 0..80 {
        say(format!("rider.default.r{}.fix", n % 3), fix(n, now + n * 100)).await;
    }
    let batch = json!({"fixes": (0..20).map(|n| fix(3 * n, now + 50 + n * 300)).collect::<Vec<_>>()});
    say("rider.default.r1.fixes".into(), batch.clone()).await;
    say("rider.default.r1.fixes".into(), batch).await;
    for n in 0..6 {
        world.command(&format!("o{n}"), "deliver", &format!("o{n}-deliver"), &json!({})).await;
    }
    world.command("o6", "cancel", "o6-cancel", &json!({"reason": "shut"})).await;
    say("rider.default.r9.shift".into(), json!({"on": "perhaps"})).await;
    say("rider.default.r9.shift".into(), json!({"on": true})).await
}

fn replay(args: &[&str], paths: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trunkline")).arg("replay").args(args).args(paths).output().unwrap()
}

/// What it said, and whether all was well.
fn said(output: &Output) -> (String, bool) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).join("");
    (text, output.status.success())
}

/// A copy of the database with something changed.
fn changed(from: &Path, dir: &Path, sql: &str) -> PathBuf {
    let to = dir.join("changed.sqlite");
    let _ = std::fs::remove_file(&to);
    let connection = Connection::open(from).unwrap();
    connection.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
    let connection = Connection::open(&to).unwrap();
    connection.execute_batch(sql).unwrap();
    to
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_what_its_log_gives_and_what_was_changed_is_named() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    let app = node(&server, data.path()).await;
    let last = life(&world).await;
    world.applied(last).await;
    let (url, db) = (server.ready.url(), database(data.path()));

    // While the node serves.
    let (text, equal) = said(&replay(&["--nats", &url, "--verify"], &[&db]));
    assert!(
        equal && text.contains("equal: 12 of 12 orders, 10 of 10 alerts, 4 of 4 riders, and the cell is equal"),
        "{text}"
    );
    app.stop().await;

    let log = data.path().join("log.jsonl");
    let (text, saved) = said(&replay(&["--nats", &url, "--save-log"], &[&log]));
    assert!(saved && text.contains("messages saved"), "{text}");
    let verify = |db: &Path| {
        let output = replay(&["--json", "--log-file", log.to_str().unwrap(), "--verify"], &[db]);
        let text = said(&output).0;
        let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{text}"));
        (result, output.status.code())
    };
    let (whole, code) = verify(&db);
    assert_eq!((code, &whole["equal_orders"], &whole["cursor"]), (Some(0), &json!(12), &json!(last)));
    assert_eq!((&whole["alerts"], &whole["equal_alerts"]), (&json!(10), &json!(10)));
    assert_eq!(whole["database_hash"], whole["log_hash"]);

    for (sql, what, field) in [
        // One byte of a state: the order's version, which follows its id (two characters and their length).
        (
            "UPDATE orders SET state = CAST(substr(state, 1, 4) || x'7f' || substr(state, 6) AS BLOB) WHERE id = 'o3'",
            "order o3",
            "state.version",
        ),
        (
            "UPDATE order_track_chunk SET data = CAST(data || x'00' AS BLOB) WHERE order_id = 'o4' AND n = 0",
            "order o4",
            "track chunk 0",
        ),
        ("UPDATE orders SET version = version + 1 WHERE id = 'o5'", "order o5", "column version"),
        ("UPDATE orders SET status = 4 WHERE id = 'o7'", "order o7", "column status"),
        ("DELETE FROM orders WHERE id = 'o8'", "order o8", "order"),
        ("DELETE FROM order_tracking WHERE order_id = 'o9' AND kind = 'pay'", "order o9", "history lines"),
        ("INSERT INTO timers VALUES ('o10', 'unpaid', 1, 7)", "order o10", "timers"),
        ("UPDATE alerts SET state = 'raised' WHERE id = 'o0.1'", "order o0", "alert 1.state"),
        ("UPDATE alerts SET measure = 13 WHERE id = 'o9.1'", "order o9", "alert 1.measure"),
        (
            "UPDATE alerts SET body = replace(body, '\"measure\":12.0', '\"measure\":13.0') WHERE id = 'o6.1'",
            "order o6",
            "alert 1.body.evidence.measure",
        ),
        ("DELETE FROM alerts WHERE id = 'o1.1'", "order o1", "alert 1"),
        (
            "CREATE TEMP TABLE stray AS SELECT * FROM alerts WHERE id = 'o2.1';
             UPDATE stray SET id = 'nobody.1', order_id = 'nobody'; INSERT INTO alerts SELECT * FROM stray",
            "order nobody",
            "alert 1",
        ),
        ("UPDATE riders SET state = (SELECT state FROM riders WHERE id = 'r9') WHERE id = 'r2'", "rider r2", "state"),
        ("UPDATE cell_state SET cell_time = cell_time + 1", "cell", "column cell_time"),
    ] {
        let (result, code) = verify(&changed(&db, data.path(), sql));
        let differing = result["differing"].as_array().unwrap();
        assert_eq!((code, differing.len()), (Some(1), 1), "{sql}: {result}");
        assert_eq!(differing[0]["what"], what, "{sql}: {result}");
        let found = differing[0]["details"][0]["field"].as_str().unwrap();
        assert!(found.starts_with(field), "{sql}: {result}");
        let same_hash = result["database_hash"] == result["log_hash"];
        let is_hashed = ["state.", "track", "alert"].iter().any(|part| field.starts_with(part)) || field == "order";
        assert_eq!(same_hash, !is_hashed, "{result}");
    }

    // Logs that aren't this database's.
    let refused = |log: &Path, db: &Path, words: &str| {
        let (text, ok) = said(&replay(&["--log-file", log.to_str().unwrap(), "--verify"], &[db]));
        assert!(!ok && text.contains(words), "{text}");
    };
    let text = std::fs::read_to_string(&log).unwrap();
    let other = data.path().join("other.jsonl");
    let with = |from: &str, to: &str, words: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(&other, text.replacen(from, to, 1)).unwrap();
        refused(&other, &db, words);
    };
    with("\"created_ns\":1", "\"created_ns\":", "was created at");
    with("\"cell\":\"default\"", "\"cell\":\"north\"", "is cell north's");
    with("\"first_seq\":1", "\"first_seq\":3", "begins at sequence 3");
    let last_line = text.lines().rev().nth(1).unwrap();
    with(last_line, &last_line.replace("true", "false"), "is not the one that was applied");
    with(&format!("\"last_seq\":{last}"), "\"last_seq\":3", "it ends at 3");
    let foreign = changed(&db, data.path(), "PRAGMA user_version = 1");
    refused(&log, &foreign, "schema 1");
    let elsewhere = Server::start().await;
    crate::harness::ensure(&elsewhere.jetstream().await).await;
    let (text, ok) = said(&replay(&["--nats", &elsewhere.ready.url(), "--verify"], &[&db]));
    assert!(!ok && text.contains("was created at"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_has_one_story_and_what_if_tells_what_settings_would_have_done() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    let app = node(&server, data.path()).await;
    let last = life(&world).await;
    world.create("unpaid").await;
    let jump = json!({"scale": 1, "cell_time_ms": trunkline::clock::wall().0 + 3_600_000});
    let last = world.publish("control.default.clock", Default::default(), jump.to_string()).await.max(last);
    world.applied(last).await;
    let (url, db) = (server.ready.url(), database(data.path()));
    while world.status("unpaid").await != 5 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    app.stop().await;

    let db_arg = db.to_str().unwrap();
    for order in ["o1", "o6", "o11", "unpaid"] {
        let from_db = replay(&[order, "--db", db_arg], &[]);
        let from_log = replay(&[order, "--nats", &url], &[]);
        assert!(from_db.status.success(), "{}", said(&from_db).0);
        // Of refusals only the log knows.
        let lines = |output: &Output| -> Vec<String> {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().filter(|line| !line.contains("  refused: ")).map(str::to_owned).collect()
        };
        assert_eq!(lines(&from_db), lines(&from_log));
        for format in ["csv", "geojson", "gpx"] {
            let from_db = replay(&[order, "--db", db_arg, "--format", format], &[]);
            let from_log = replay(&[order, "--nats", &url, "--format", format], &[]);
            assert!(from_db.status.success() && from_db.stdout.len() > 100, "{format}");
            let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
            for (from_db, from_log) in text(&from_db).lines().zip(text(&from_log).lines()) {
                assert_eq!(from_db, from_log, "{order} as {format}");
            }
            assert_eq!(from_db.stdout.len(), from_log.stdout.len(), "{order} as {format}");
        }
        let json = replay(&[order, "--db", db_arg, "--format", "json"], &[]);
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!((&json["order"], &json["lines"][0]["kind"]), (&json!(order), &json!("create")));
    }
    let (text, _) = said(&replay(&["o1", "--db", db_arg], &[]));
    for words in [
        "order o1: completed",
        "paid, by system shop",
        "given to rider r1",
        "fixes of rider r1, taken",
        "now completed",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let (text, ok) = said(&replay(&["nobody", "--db", db_arg], &[]));
    assert!(!ok && text.contains("there is no order nobody"), "{text}");

    let what_if = |settings: &[&str]| {
        let args = [&["--json", "--nats", &url, "--what-if"], settings].concat();
        let output = replay(&args, &[]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output).0))
    };
    let same = what_if(&["unpaid_ms=1800000"]);
    assert_eq!((&same["changes"], &same["kinds"]["unpaid"]["before"]), (&json!([]), &json!(1)), "{same}");
    let later = what_if(&["unpaid_ms=7200000"]);
    assert_eq!(later["changes"][0]["change"], "disappears", "{later}");
    assert_eq!((&later["changes"][0]["order"], &later["changes"][0]["kind"]), (&json!("unpaid"), &json!("unpaid")));
    let late = what_if(&["late"]);
    assert_eq!(late["changes"], json!([]), "{late}");
    assert!(late["late_fixes"].is_u64());
    let (text, ok) = said(&replay(&["--nats", &url, "--what-if", "unpaid=7"], &[]));
    assert!(!ok && text.contains("`unpaid` is no rule") && text.contains("unpaid_ms"), "{text}");
}
