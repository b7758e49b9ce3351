//! Embeds the screens that `scripts/web` built, `web/dist`: a table of their files in each form they are served in. Where
//! they aren't built the table is empty, and everything else builds as ever.
//!
//! The bytes are in the binary in debug builds too: it runs anywhere, and tests see what is released.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "that is how cargo is spoken to")]

use sha2::{Digest, Sha256};
use std::{
    env,
    error::Error,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const DIST: &str = "web/dist";
/// Without one of these they aren't built.
const PAGES: [&str; 3] = ["customer.html", "rider.html", "ops.html"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let dist = root.join(DIST);
    if watch(&dist).is_ok() {
        println!("cargo::rerun-if-changed={DIST}");
    }
    let mut files = Vec::new();
    let missing: Vec<_> = PAGES.iter().filter(|page| !dist.join(page).is_file()).collect();
    if missing.is_empty() {
        collect(&dist, "", &mut files)?;
    } else if missing.len() < PAGES.len() {
        println!("cargo::warning={DIST} has no {missing:?}: built without the screens");
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        row(&mut table, &dist, file)?;
    }
    table.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("screens.rs"), table)?;
    Ok(())
}

/// Cargo takes a path that isn't there for one that changes all the time. So the folder is made where it is missing, and dated
/// back: made during this run, it would count as changed after it.
fn watch(dist: &Path) -> io::Result<()> {
    if dist.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dist)?;
    fs::File::open(dist)?.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
}

/// Paths under `at` as URLs have them, without their compressed forms, maps of sources and what is hidden.
fn collect(dist: &Path, at: &str, files: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dist.join(at))? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| format!("{DIST}: {name:?} isn't UTF-8"))?;
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err(format!("{DIST}/{at}: {name:?} is no name for a URL").into());
        }
        let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
        let aside = name.starts_with('.') || [".br", ".gz", ".map"].iter().any(|end| name.ends_with(end));
        if aside {
            continue;
        }
        if entry.path().is_dir() {
            collect(dist, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn row(table: &mut String, dist: &Path, file: &str) -> Result<(), Box<dyn Error>> {
    let media_type = media_type(file).ok_or_else(|| format!("{DIST}/{file}: no media type is known for it"))?;
    let digest = Sha256::digest(fs::read(dist.join(file))?);
    let mut hash = String::new();
    for byte in &digest[..12] {
        write!(hash, "{byte:02x}")?;
    }
    let bytes = |end: &str| format!("include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/{DIST}/{file}{end}\"))");
    let compressed = |end: &str| {
        if dist.join(format!("{file}{end}")).is_file() { format!("Some({})", bytes(end)) } else { "None".to_owned() }
    };
    writeln!(
        table,
        "File {{ path: \"/{file}\", media_type: \"{media_type}\", hash: \"{hash}\",\n    identity: {},\n    br: {},\n    gzip: {} }},",
        bytes(""),
        compressed(".br"),
        compressed(".gz"),
    )?;
    Ok(())
}

fn media_type(file: &str) -> Option<&'static str> {
    Some(match file.rsplit('.').next()? {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}
