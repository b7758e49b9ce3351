//! Keeps what no compiler checks: layers that import one way, pure cores, subjects formatted in one place, names, sizes.
//!
//! Every rule is a function from a file to complaints. It is run over the tree, and over a planted violation of its own,
//! so that a rule that stopped finding anything is noticed.

#[path = "tidy/source.rs"]
mod source;

use source::{Source, heads, ident, starts};
use std::{fs, path::Path};

/// Who may import whom inside the crate. A folder of `src` that isn't here is a complaint of its own.
/// `geo ← domain ← wire ← ports ← { nats, feed, publish, router, store, actors, auth, bridge } ← app ← cli ← main`; the braces' members
/// don't know each other, but whoever speaks NATS may use `nats`. `clock`, `config` and `metrics` serve all but the pure ones.
const ARROWS: &[(&str, &[&str])] = &[
    ("geo", &[]),
    ("domain", &["geo"]),
    ("wire", &["geo", "domain"]),
    ("clock", &["domain"]),
    ("metrics", &["domain", "wire"]),
    ("config", &["geo", "domain", "wire", "clock"]),
    ("ports", &["geo", "domain", "wire", "clock", "config", "metrics"]),
    ("nats", PART),
    ("store", PART),
    ("actors", PART),
    ("router", PART),
    ("auth", SPEAKS_NATS),
    ("feed", SPEAKS_NATS),
    ("publish", SPEAKS_NATS),
    ("bridge", SPEAKS_NATS),
    ("app", EVERY_PART),
    ("cli", ALL_BUT_MAIN),
    ("main", ALL_BUT_MAIN),
];
const PART: &[&str] = &["geo", "domain", "wire", "ports", "clock", "config", "metrics"];
const SPEAKS_NATS: &[&str] = &["geo", "domain", "wire", "ports", "clock", "config", "metrics", "nats"];
const EVERY_PART: &[&str] = &[
    "geo", "domain", "wire", "ports", "clock", "config", "metrics", "nats", "feed", "publish", "router", "store",
    "actors", "auth", "bridge",
];
const ALL_BUT_MAIN: &[&str] = &[
    "geo", "domain", "wire", "ports", "clock", "config", "metrics", "nats", "feed", "publish", "router", "store",
    "actors", "auth", "bridge", "app", "cli",
];

/// Programs of `cli` that act as the outside world: their word counts because they see no more than it does.
const OUTSIDERS: &[&str] = &["src/cli/import", "src/cli/watch", "src/cli/simulate", "src/cli/outside"];
const INSIDE: &[&str] = &["app", "store", "actors", "feed", "publish", "router", "bridge"];

/// Packages that a layer may use at all, where the list is short enough to be closed.
const PURE_PACKAGES: &[&str] = &["serde", "thiserror", "libm", "geo"];
const PURE: &[&str] = &["geo", "domain"];

/// Packages that a layer must not know.
const FOREIGN: &[(&str, &[&str])] = &[
    ("wire", &["tokio", "async_nats", "axum", "rusqlite", "ractor"]),
    ("ports", &["tokio", "async_nats", "axum", "rusqlite", "ractor"]),
    ("store", &["async_nats", "axum", "ractor"]),
    ("actors", &["async_nats", "axum", "rusqlite"]),
    ("nats", &["axum", "rusqlite", "ractor"]),
    ("feed", &["axum", "rusqlite", "ractor"]),
    ("publish", &["axum", "rusqlite", "ractor"]),
    ("router", &["axum", "rusqlite", "ractor"]),
    ("auth", &["axum", "rusqlite", "ractor"]),
    ("bridge", &["rusqlite", "ractor"]),
];

/// Functions whose last bit depends on the machine's C library. The pure layers use `libm`, which is the same everywhere.
const INEXACT: &[&str] = &[
    ".sin()",
    ".cos()",
    ".tan()",
    ".asin()",
    ".acos()",
    ".atan()",
    ".atan2(",
    ".sin_cos()",
    ".sinh()",
    ".cosh()",
    ".tanh()",
    ".exp()",
    ".exp2()",
    ".exp_m1()",
    ".ln()",
    ".ln_1p()",
    ".log(",
    ".log2()",
    ".log10()",
    ".powf(",
    ".powi(",
    ".hypot(",
    ".cbrt()",
];
/// Where time, randomness and the machine come from: not from the pure layers.
const IMPURE: &[&str] =
    &["SystemTime", "Instant::", "std::env", "std::fs", "std::net", "std::thread", "std::process", "RandomState"];

const MAX_LINES: usize = 500;
const SUBJECT_HOME: &str = "src/wire/subject.rs";
const SUBJECT_KINDS: &[&str] =
    &["order", "warehouse", "rider", "timer", "control", "update", "task", "alert", "query", "dead"];
const STREAM_PREFIXES: &[&str] = &["CELL_", "TASK_", "DEAD_", "ARCHIVE_", "$KV.", "$JS."];
const TIRED_ENDINGS: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils", "Service", "Handler", "Processor"];

/// Modules of the crate's root that a file names, with the places.
fn imports(source: &Source) -> Vec<(usize, &str)> {
    let code = source.code.as_str();
    let mut found = Vec::new();
    for root in ["crate::", "trunkline::"] {
        for at in starts(code, root) {
            found.extend(heads(&code[at + root.len()..]).into_iter().map(|name| (at, name)));
        }
    }
    // `super::super::…` up to the root is the same as `crate::`.
    let inside = source.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inside.split('/').count();
    for at in starts(code, "super::") {
        let climbed = code[at..].split("super::").take_while(|s| s.is_empty()).count();
        let rest = code[at..].trim_start_matches("super::");
        let known = |name: &&str| ARROWS.iter().any(|(layer, _)| layer == name);
        if climbed >= depth {
            found.extend(heads(rest).into_iter().filter(known).map(|name| (at, name)));
        }
    }
    found
}

fn arrows(source: &Source) -> Vec<String> {
    let Some(layer) = source.layer() else { return Vec::new() };
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == layer) else {
        return vec![source.complaint(0, format!("`{layer}` has no place among the layers"))];
    };
    let outsider = OUTSIDERS.iter().any(|prefix| source.path.starts_with(prefix));
    let refused = |name: &str| {
        // Names that are no module are items of the crate's root; there are none, but macros may come.
        let module = ARROWS.iter().any(|(module, _)| *module == name);
        module && name != layer && (!allowed.contains(&name) || (outsider && INSIDE.contains(&name)))
    };
    let backwards = imports(source).into_iter().filter(|(_, name)| refused(name));
    backwards.map(|(at, name)| source.complaint(at, format!("`{layer}` must not import `{name}`"))).collect()
}

fn packages(source: &Source, dependencies: &[String]) -> Vec<String> {
    let Some(layer) = source.layer() else { return Vec::new() };
    let pure = PURE.contains(&layer);
    let foreign = FOREIGN.iter().find(|(name, _)| *name == layer).map_or(&[][..], |(_, list)| list);
    let refused = |name: &str| if pure { !PURE_PACKAGES.contains(&name) } else { foreign.contains(&name) };
    let mut found = Vec::new();
    for name in dependencies.iter().filter(|name| refused(name)) {
        let path = format!("{name}::");
        for at in starts(&source.product, &path) {
            found.push(source.complaint(at, format!("`{layer}` must not know the package `{name}`")));
        }
    }
    for what in INEXACT.iter().chain(IMPURE).filter(|_| pure) {
        for (at, _) in source.product.match_indices(what) {
            found.push(source.complaint(at, format!("`{what}` makes `{layer}` depend on the machine")));
        }
    }
    found
}

/// At least three tokens of which the first is a kind, or the name of a stream.
fn looks_like_subject(literal: &str) -> bool {
    let tokens: Vec<_> = literal.split('.').collect();
    let subject = tokens.len() >= 3 && SUBJECT_KINDS.contains(&tokens[0]);
    !literal.contains(char::is_whitespace) && (subject || STREAM_PREFIXES.iter().any(|p| literal.starts_with(p)))
}

fn subjects(source: &Source) -> Vec<String> {
    if source.layer().is_none() || source.path == SUBJECT_HOME {
        return Vec::new();
    }
    let found = source.literals.iter().filter(|(_, literal)| looks_like_subject(literal));
    found.map(|(line, literal)| format!("{}:{line}: `{literal}` belongs into {SUBJECT_HOME}", source.path)).collect()
}

fn form(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        found.push(source.complaint(0, format!("{lines} lines, at most {MAX_LINES}")));
    }
    let first = source.text.lines().next().unwrap_or_default();
    let explains_itself = source.path.ends_with("/tests.rs");
    if source.path.starts_with("src/")
        && !explains_itself
        && !(first.starts_with("//! ") && first.len() > "//! stub".len())
    {
        found.push(source.complaint(0, "does not open with a `//!` that says what it is for"));
    }
    let stem = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    if TIRED_ENDINGS.iter().any(|e| stem.trim_end_matches('s').ends_with(&e.to_lowercase())) {
        found.push(source.complaint(0, format!("`{stem}` says nothing; take the field's noun")));
    }
    for keyword in ["struct ", "enum ", "trait ", "type "] {
        for at in starts(&source.code, keyword) {
            let name = ident(source.code[at + keyword.len()..].trim_start());
            if TIRED_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                found.push(source.complaint(at, format!("`{name}` says nothing; take the field's noun")));
            }
        }
    }
    found
}

/// Holds for every text of the project: nothing left undone, nothing of one machine.
fn leftovers(source: &Source) -> Vec<String> {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("to", "do!"),
        concat!("un", "implemented!"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
    ];
    let found = words.iter().flat_map(|word| source.text.match_indices(word));
    found.map(|(at, word)| source.complaint(at, format!("`{word}` is left in"))).collect()
}

/// Every text file under `folder`, or `folder` itself if it is a file.
fn read(root: &Path, folder: &str, into: &mut Vec<Source>) {
    let path = root.join(folder);
    if path.is_file() {
        if let Ok(text) = fs::read_to_string(&path) {
            into.push(Source::new(folder, text));
        }
        return;
    }
    let Ok(entries) = fs::read_dir(&path) else { return };
    let mut names: Vec<_> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for name in names.iter().filter(|name| *name != "__pycache__") {
        read(root, &format!("{folder}/{name}"), into);
    }
}

/// Names of the packages in `Cargo.toml`'s `[dependencies]`, as code spells them.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.lines().skip_while(|l| *l != "[dependencies]").skip(1).take_while(|l| !l.starts_with('['));
    section.filter_map(|l| l.split_once('=')).map(|(name, _)| name.trim().replace('-', "_")).collect()
}

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in
        ["src", "tests", "benches", "scripts", "docs", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "nats.conf"]
    {
        read(root, folder, &mut sources);
    }
    let tests: Vec<_> = sources.iter().flat_map(Source::test_files).collect();
    let is_test = |path: &str| tests.iter().any(|test| path == test || (test.ends_with('/') && path.starts_with(test)));
    let sources: Vec<_> = sources.into_iter().map(|s| if is_test(&s.path) { s.of_tests() } else { s }).collect();
    let dependencies = dependencies(&fs::read_to_string(root.join("Cargo.toml")).unwrap());
    assert!(sources.iter().filter(|s| s.layer().is_some()).count() > 20 && dependencies.len() > 20, "nothing was read");

    let mut complaints = Vec::new();
    for source in &sources {
        complaints.extend(leftovers(source));
        if source.path.ends_with(".rs") {
            let rules = [arrows(source), packages(source, &dependencies), subjects(source), form(source)];
            complaints.extend(rules.concat());
        }
    }
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn planted_arrows_are_found() {
    let count = |path: &str, text: &str| arrows(&Source::new(path, text)).len();
    assert_eq!(count("src/wire/a.rs", "use crate::domain::OrderId;"), 0);
    assert_eq!(count("src/domain/a.rs", "use crate::wire::merge;"), 1);
    assert_eq!(count("src/domain/a.rs", "use crate::{\n    geo::{Point, x},\n    wire::{self, merge}, store};"), 2);
    assert_eq!(count("src/bridge/a.rs", "fn f() { crate::actors::go() }"), 1);
    assert_eq!(count("src/bridge/a.rs", "use crate::nats::connect;"), 0);
    assert_eq!(count("src/store/a.rs", "use crate::nats::connect;"), 1);
    assert_eq!(count("src/store/mod.rs", "use super::actors::Cell;"), 1);
    assert_eq!(count("src/store/rows.rs", "use super::super::feed;"), 1);
    assert_eq!(count("src/store/rows.rs", "use super::feed;"), 0, "a child of its own may be called so");
    assert_eq!(count("src/cli/watch.rs", "use crate::store::Store;"), 1);
    assert_eq!(count("src/cli/doctor.rs", "use crate::store::Store;"), 0);
    assert_eq!(count("src/novel/a.rs", ""), 1);
    assert_eq!(count("src/domain/a.rs", "// crate::wire\nconst A: &str = \"crate::wire\"; /* crate::store */"), 0);
}

#[test]
fn planted_packages_are_found() {
    let known = ["tokio", "serde", "serde_json", "rusqlite", "geo"].map(str::to_owned);
    let count = |path: &str, text: &str| packages(&Source::new(path, text), &known).len();
    assert_eq!(count("src/domain/a.rs", "use serde::Serialize;\nuse crate::geo::Point;"), 0);
    assert_eq!(count("src/domain/a.rs", "use tokio::sync::mpsc;\nuse serde_json::Value;"), 2);
    assert_eq!(count("src/domain/a.rs", "#[cfg(test)]\nmod tests { use serde_json::json; fn f() {} }"), 0);
    assert_eq!(count("src/actors/a.rs", "fn f(c: &rusqlite::Connection) {}"), 1);
    assert_eq!(count("src/geo/a.rs", "fn f(x: f64) -> f64 { x.sin() + libm::sin(x) }"), 1);
    assert_eq!(count("src/domain/a.rs", "use std::time::SystemTime;"), 1);
}

#[test]
fn planted_subjects_are_found() {
    let count = |path: &str, text: &str| subjects(&Source::new(path, text)).len();
    assert_eq!(count("src/feed/a.rs", r#"let s = format!("order.{cell}.{order}.pay");"#), 1);
    assert_eq!(count("src/feed/a.rs", r##"let s = r#"CELL_default"#;"##), 1);
    assert_eq!(count(SUBJECT_HOME, r#"let s = format!("order.{cell}.{order}.pay");"#), 0);
    assert_eq!(count("src/wire/a.rs", r#"let field = "warehouse.lat"; let quote = '"';"#), 0);
    assert_eq!(count("src/feed/a.rs", "#[cfg(test)]\nmod tests { const S: &str = \"order.a.b.pay\"; }"), 0);
    let parent = Source::new("src/feed/mod.rs", "#[cfg(test)]\nmod tests;\nmod read;");
    assert_eq!(parent.test_files(), ["src/feed/tests.rs", "src/feed/tests/"]);
    assert_eq!(count("src/feed/a.rs", r#"fn f<'a>(x: &'a str) { g("order.a.b.pay") }"#), 1);
}

#[test]
fn planted_forms_are_found() {
    let count = |path: &str, text: &str| form(&Source::new(path, text)).len();
    assert_eq!(count("src/feed/a.rs", "//! Reads the log.\nstruct Feed;"), 0);
    assert_eq!(count("src/feed/a.rs", "use std::fmt;"), 1);
    assert_eq!(count("src/feed/a.rs", "//! stub"), 1);
    assert_eq!(count("src/feed/a.rs", "//! Reads the log.\npub(crate) struct LogManager;\ntype X = ServiceX;"), 1);
    assert_eq!(count("src/feed/utils.rs", "//! Reads the log."), 1);
    assert_eq!(count("src/feed/a.rs", &format!("//! Reads the log.{}", "\n".repeat(501))), 1);
    let undone = concat!("fn f() { to", "do!() }");
    assert_eq!(leftovers(&Source::new("scripts/x", undone)).len(), 1);
}
