use crate::{
    harness::Server,
    world::{World, node},
};
use serde_json::json;
use std::path::Path;
use trunkline::{
    app::backup::{self, BackupError, Manifest, RestoreOptions, Restored},
    config::{Config, NatsSettings, Settings},
    domain::CellId,
    nats::epoch,
    store::state_hash,
};

fn config(server: &Server, data: &Path) -> Config {
    let nats = NatsSettings { url: Some(server.ready.url()), ..NatsSettings::default() };
    let settings = Settings { data: data.to_owned(), roles: vec!["tracker".to_owned()], nats, ..Settings::default() };
    settings.check().unwrap()
}

async fn restore(server: &Server, data: &Path, from: &Path) -> Result<Restored, BackupError> {
    let options = RestoreOptions { from: from.to_owned(), keep_buckets: false };
    backup::restore(&config(server, data), options).await
}

async fn save(server: &Server, data: &Path, to: &Path) -> Manifest {
    backup::backup(&server.ready.url(), data, &CellId::default(), to).await.unwrap()
}

/// Orders through their life, fixes and a refusal; gives the log's last sequence.
async fn life(world: &World, from: usize, to: usize) -> u64 {
    let mut last = 0;
    for n in from..to {
        let order = format!("o{n}");
        world.create(&order).await;
        world.command(&order, "pay", &format!("{order}-pay"), &json!({})).await;
        world.publish(&format!("warehouse.default.w1.{order}.picking"), Default::default(), String::new()).await;
        world.command(&order, "assign", &format!("{order}-assign"), &json!({"rider": "r1"})).await;
        let fix = json!({"lat": 31.22, "lon": 121.47, "fix_time_ms": trunkline::clock::wall().0, "accuracy_m": 5});
        world.publish("rider.default.r1.fix", Default::default(), fix.to_string()).await;
        last = world.command(&order, "deliver", &format!("too-early-{n}"), &json!({"if_rev": 99})).await;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_wipe_restore_and_the_server_goes_on_from_there() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    let app = node(&server, data.path()).await;
    let last = life(&world, 0, 20).await;
    world.applied(last).await;
    let o7 = world.ask("order", &json!({"order": "o7"})).await["ok"]["state"].clone();
    assert_eq!(o7["stage"], "picking", "{o7}");
    let personal = world.js.get_key_value("personal").await.unwrap();
    personal.put("o1", "{}".into()).await.unwrap();

    // While it serves; what comes after the backup is lost with the wipe.
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("monday");
    let manifest = save(&server, data.path(), &to).await;
    assert_eq!(manifest.database.cursor, last);
    assert_eq!(manifest.streams.len(), 9);
    world.create("after-the-backup").await;
    app.stop().await;
    let taken = epoch::take(&world.js, &CellId::default()).await.unwrap();

    // In the way: everything, and nothing is touched.
    let error = restore(&server, data.path(), &to).await.unwrap_err().to_string();
    for what in ["default.sqlite", "CELL_default", "KV_personal"] {
        assert!(error.contains(what), "{error}");
    }

    // Another machine: no stream, no database.
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    let restored = restore(&server, data.path(), &to).await.unwrap();
    assert_eq!(restored.database, data.path().join("cells/default.sqlite"));
    assert_eq!(state_hash(&restored.database).unwrap().to_string(), manifest.database.state_hash);
    assert!(restored.epoch > taken, "no owner's number comes again: {} {taken}", restored.epoch);

    // It goes on: the state as it was, the keys known, new orders taken, and one hash with a rebuild of the whole log.
    let app = node(&server, data.path()).await;
    world.applied(last).await;
    assert_eq!(world.ask("order", &json!({"order": "o7"})).await["ok"]["state"], o7);
    assert_eq!(world.ask("order", &json!({"order": "after-the-backup"})).await, json!("not_found"));
    let kept = world.js.get_key_value("personal").await.unwrap().get("o1").await.unwrap();
    assert_eq!(kept.as_deref(), Some(&b"{}"[..]));
    let repeated = world.command("o7", "pay", "o7-pay", &json!({})).await;
    assert_eq!(repeated, last + 1, "the log goes on at its next place");
    let last = life(&world, 20, 30).await;
    world.applied(last).await;
    assert_eq!(world.status("o25").await, 2);
    let tasks = world.js.get_stream("TASK_default").await.unwrap().cached_info().state.clone();
    assert_eq!((tasks.messages, tasks.last_sequence), (30, 30), "no picking task is lost or said twice");
    app.stop().await;
    let live = state_hash(&restored.database).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let options = trunkline::app::RebuildOptions { cell: CellId::default(), batch: 7, passivate_each: false };
    let rebuilt = trunkline::app::rebuild(&server.ready.url(), fresh.path(), options).await.unwrap();
    assert_eq!(live.differing_tables(&state_hash(&rebuilt).unwrap()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_restores_to_what_its_log_gives() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    let app = node(&server, data.path()).await;
    let place = tempfile::tempdir().unwrap();
    let (shop, to) = (World::of(&server).await, place.path().join("busy"));
    let busy = tokio::spawn(async move { life(&shop, 0, 300).await });
    world.applied(100).await;
    let manifest = save(&server, data.path(), &to).await;
    assert!(!busy.is_finished(), "the backup was made in the middle");
    assert!(manifest.streams[0].figures.last_seq >= manifest.database.cursor);
    let last = busy.await.unwrap();
    world.applied(last).await;
    app.stop().await;

    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let restored = restore(&server, data.path(), &to).await.unwrap();
    let world = World::of(&server).await;
    let app = node(&server, data.path()).await;
    world.applied(manifest.streams[0].figures.last_seq).await;
    app.stop().await;
    let fresh = tempfile::tempdir().unwrap();
    let options = trunkline::app::RebuildOptions { cell: CellId::default(), batch: 1_000, passivate_each: false };
    let rebuilt = trunkline::app::rebuild(&server.ready.url(), fresh.path(), options).await.unwrap();
    let (live, anew) = (state_hash(&restored.database).unwrap(), state_hash(&rebuilt).unwrap());
    assert_eq!(live.differing_tables(&anew), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("backup");
    let none = backup::backup(&server.ready.url(), data.path(), &CellId::default(), &to).await.unwrap_err();
    assert!(none.to_string().contains("default.sqlite"), "{none}");
    let app = node(&server, data.path()).await;
    let last = life(&world, 0, 3).await;
    world.applied(last).await;
    save(&server, data.path(), &to).await;
    let twice = backup::backup(&server.ready.url(), data.path(), &CellId::default(), &to).await.unwrap_err();
    assert!(matches!(twice, BackupError::Taken(_)), "{twice}");
    app.stop().await;
    // A log that isn't the database's.
    for name in [
        "CELL_default",
        "TASK_default",
        "ALERT_default",
        "DEAD_default",
        "KV_directory",
        "KV_personal",
        "KV_phones",
        "KV_epoch",
    ] {
        world.js.delete_stream(name).await.unwrap();
    }
    crate::harness::ensure(&world.js).await;
    let other = place.path().join("other");
    let apart = backup::backup(&server.ready.url(), data.path(), &CellId::default(), &other).await.unwrap_err();
    assert!(matches!(apart, BackupError::Apart(_)), "{apart}");
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["backup"]);

    // Damage is found before anything is made.
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    let log = to.join("streams/CELL_default/stream.tar.s2");
    let whole = std::fs::read(&log).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&log, damaged).unwrap();
    let error = restore(&server, data.path(), &to).await.unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    std::fs::write(&log, &whole).unwrap();

    // A database of another log, with its checksum right: found by the message at its cursor.
    let foreign = place.path().join("foreign");
    copy(&to, &foreign);
    let file = foreign.join("database.sqlite");
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute("UPDATE cell_state SET cursor_digest = zeroblob(32)", [])
        .unwrap();
    let (hash, bytes) = trunkline::nats::snapshot::checksum(&file).await.unwrap();
    let manifest = foreign.join("manifest.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    json["database"]["sha256"] = hash.into();
    json["database"]["bytes"] = bytes.into();
    std::fs::write(&manifest, json.to_string()).unwrap();
    let error = restore(&server, data.path(), &foreign).await.unwrap_err();
    assert!(matches!(error, BackupError::Apart(_)), "{error}");
    for name in [
        "CELL_default",
        "TASK_default",
        "ALERT_default",
        "DEAD_default",
        "KV_directory",
        "KV_personal",
        "KV_phones",
        "KV_epoch",
    ] {
        assert!(world.js.get_stream(name).await.is_err(), "{name} was taken back");
    }
    assert_eq!(std::fs::read_dir(data.path().join("cells")).unwrap().count(), 0);

    // Names that lead elsewhere.
    for (at, name) in [("/streams/1/stream", "../up"), ("/database/file", "../up"), ("/streams/0/stream", "CELL_other")]
    {
        let mut wrong = json.clone();
        *wrong.pointer_mut(at).unwrap() = name.into();
        std::fs::write(&manifest, wrong.to_string()).unwrap();
        let error = restore(&server, data.path(), &foreign).await.unwrap_err();
        assert!(matches!(error, BackupError::Manifest { .. }), "{at}: {error}");
    }

    // Other cells' buckets may stay.
    crate::harness::ensure(&world.js).await;
    for name in ["CELL_default", "TASK_default", "ALERT_default", "DEAD_default"] {
        world.js.delete_stream(name).await.unwrap();
    }
    let options = RestoreOptions { from: to.clone(), keep_buckets: true };
    let restored = backup::restore(&config(&server, data.path()), options).await.unwrap();
    assert_eq!(restored.kept, ["KV_directory", "KV_personal", "KV_phones", "KV_epoch", "KV_shares"]);
    let app = node(&server, data.path()).await;
    world.applied(last).await;
    app.stop().await;
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}
