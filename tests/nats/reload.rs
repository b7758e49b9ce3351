//! The program's settings: checked, printed, and read again while it runs.

use crate::{harness::Server, world::World};
use futures::StreamExt;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::process::{Child, Command};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.env_remove("TRUNKLINE_LOG").stdin(Stdio::null()).kill_on_drop(true);
    command
}

struct Node {
    child: Child,
    log: std::path::PathBuf,
    file: std::path::PathBuf,
    /// Bytes of the log that were waited for.
    seen: usize,
}

impl Node {
    async fn start(dir: &Path, settings: &str) -> Self {
        Self::start_as("tracker", dir, settings).await
    }

    async fn start_as(roles: &str, dir: &Path, settings: &str) -> Self {
        let (log, file) = (dir.join("said.log"), dir.join("trunkline.toml"));
        std::fs::write(&file, settings).unwrap();
        let said = std::fs::File::create(&log).unwrap();
        let child = program()
            .args(["serve", "--http", "127.0.0.1:0", "--roles", roles, "--config"])
            .arg(&file)
            .arg("--data")
            .arg(dir.join("data"))
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        let mut node = Self { child, log, file, seen: 0 };
        node.says("reading the log").await;
        node
    }

    /// Waits for a line since the last wait; gives all that was said up to now.
    async fn says(&mut self, words: &str) -> String {
        for _ in 0..1_000 {
            let said = std::fs::read_to_string(&self.log).unwrap();
            let new = said[self.seen..].to_owned();
            if new.contains(words) {
                self.seen = said.len();
                return new;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never said {words:?}:\n{}", std::fs::read_to_string(&self.log).unwrap());
    }

    async fn reload(&mut self, settings: &str, words: &str) -> String {
        std::fs::write(&self.file, settings).unwrap();
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
        self.says(words).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_takes_over_what_it_can_and_says_what_it_cannot() {
    let (server, dir) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    let nats = format!("[nats]\nurl = \"{}\"\n", server.ready.url());
    let mut node = Node::start(dir.path(), &format!("{nats}log_max_mib = 200\n[tracker]\nheartbeat_s = 30\n")).await;
    let limit = || async { world.js.get_stream("CELL_default").await.unwrap().cached_info().config.max_bytes };
    assert_eq!(limit().await, 200 << 20);
    let order = world.create("o1").await;
    world.applied(order).await;

    let log = "log = \"debug\"\ncell = \"north\"\n";
    let said = node
        .reload(
            &format!("{log}{nats}log_max_mib = 300\n[tracker]\nheartbeat_s = 1\npassivate_after_s = 60\n"),
            "settings read again",
        )
        .await;
    for key in ["log", "nats.log_max_mib", "tracker.heartbeat_s", "tracker.passivate_after_s"] {
        assert!(said.lines().any(|l| l.contains("taken over") && l.contains(&format!("\"{key}\""))), "{key}: {said}");
    }
    assert!(said.lines().any(|l| l.contains("needs a restart") && l.contains("\"cell\"")), "{said}");
    assert_eq!(limit().await, 300 << 20);
    let mut updates = world.client.subscribe("update.default.order.o1").await.unwrap();
    for _ in 0..3 {
        tokio::time::timeout(Duration::from_secs(5), updates.next()).await.expect("a heartbeat a second").unwrap();
    }
    node.says("DEBUG").await;

    // Slower than the bridges were told of, while all else holds.
    node.reload(&format!("{nats}[tracker]\nheartbeat_s = 40\n"), "bridges take a slower owner for silent").await;
    for (settings, words) in [
        ("[tracker]\nheartbeat_s = 0\n".to_owned(), "tracker.heartbeat_s"),
        ("colour = 1\n".to_owned(), "colour"),
        ("log = \"trunkline=loud\"\n".to_owned(), "log"),
        ("half a fi".to_owned(), "nothing is changed"),
    ] {
        let said = node.reload(&settings, "nothing is changed").await;
        assert!(said.contains(words), "{words}: {said}");
    }
    let paid = world.command("o1", "pay", "o1-pay", &serde_json::json!({})).await;
    world.applied(paid).await;
    assert_eq!(world.status("o1").await, 2, "it serves as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_taken_over_but_never_none_and_none_that_is_broken() {
    let (server, dir) = (Server::start().await, tempfile::tempdir().unwrap());
    let key = dir.path().join("a.secret");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    let nats = format!("[nats]\nurl = \"{}\"\nlog_max_mib = 200\n", server.ready.url());
    let issuer = |kid: &str, file: &Path| {
        let key = format!("{{ kid = {kid:?}, alg = \"HS256\", secret_file = {file:?}, sign = true }}");
        format!("[[auth.issuers]]\nname = \"acme\"\naudience = \"t\"\nroles = [\"rider\"]\nkeys = [{key}]\n")
    };
    let settings = format!("{nats}{}", issuer("a", &key));
    let mut node = Node::start_as("tracker,bridge", dir.path(), &settings).await;
    let said = node.reload(&format!("{nats}{}", issuer("b", &key)), "settings read again").await;
    assert!(said.lines().any(|l| l.contains("taken over") && l.contains("\"auth.issuers\"")), "{said}");
    for (settings, words) in [
        (nats.clone(), "no keys are configured"),
        (format!("{nats}[http]\ninsecure = true\n"), "needs a restart"),
        (format!("{nats}{}", issuer("c", &dir.path().join("nowhere"))), "key `c`"),
        (format!("{nats}{}", issuer("d", &key).replace("HS256", "RS512")), "key `d`"),
    ] {
        let said = node.reload(&settings, "nothing is changed").await;
        assert!(said.contains(words), "{words}: {said}");
    }
    // The file's own change is one, too.
    std::fs::write(&key, "short").unwrap();
    let said = node.reload(&format!("{nats}{}", issuer("b", &key)), "nothing is changed").await;
    assert!(said.contains("has 5 bytes"), "{said}");
}

#[tokio::test]
async fn check_prints_what_is_in_force_without_secrets_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trunkline.toml");
    std::fs::write(&file, "cell = \"north\"\n[nats]\nurl = \"nats://me:hush@127.0.0.1:1\"\n[http]\ninsecure = true\n")
        .unwrap();
    let check = |more: &'static [&'static str]| {
        let mut command = program();
        command.env("TRUNKLINE_TRACKER__HEARTBEAT_S", "7").args(["serve", "--check", "--config"]).arg(&file).args(more);
        async move { command.output().await.unwrap() }
    };
    let output = check(&["--http", "127.0.0.1:9"]).await;
    let (text, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}");
    for line in [
        "cell = \"north\"",
        "http.addr = \"127.0.0.1:9\"",
        "nats.url = \"nats://***@127.0.0.1:1\"",
        "tracker.heartbeat_s = 7",
        "bridge.heartbeat_s = 10",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    assert!(!text.contains("hush") && !said.contains("hush"));
    let secret = "0123456789abcdef0123456789abcdef";
    let mut keys = program();
    keys.env("TRUNKLINE_AUTH__SECRET", secret).args(["serve", "--check", "--http", "0.0.0.0:80"]);
    let output = keys.output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("auth.secret = \"***\"") && !text.contains(secret), "{text}");
    let neither = program().args(["serve", "--check"]).output().await.unwrap();
    assert!(!neither.status.success());
    assert!(String::from_utf8(neither.stderr).unwrap().contains("say --insecure"), "one line says what to do");
    for (flags, words) in
        [(&["--cell", "a.b"][..], "cell"), (&["--http", "0.0.0.0:80"], "loopback"), (&["--roles", "cook"], "roles")]
    {
        let output = check(flags).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{words}: {said}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made");
}
