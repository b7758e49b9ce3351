//! The screens: their forms, caches and policies, what they load, and the base map's files. The files are the test's own, so that
//! it says the same of a binary with screens and of one without.

use crate::{
    fake::{Fake, Rig},
    rest::serve,
};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::path::Path;
use trunkline::{
    bridge::{
        Options,
        screens::{self, File, Files},
    },
    config::{Map, MapSettings},
};

const fn page(path: &'static str) -> File {
    File {
        path,
        media_type: "text/html; charset=utf-8",
        hash: "1a2b",
        identity: b"<!doctype html>",
        br: None,
        gzip: None,
    }
}

const BUILT: [File; 7] = [
    page("/customer.html"),
    page("/rider.html"),
    page("/ops.html"),
    File {
        path: "/assets/ops-Bx3.js",
        media_type: "text/javascript; charset=utf-8",
        hash: "3c4d",
        identity: b"let a=1;let b=2",
        br: Some(b"br"),
        gzip: Some(b"gzip"),
    },
    File { path: "/rider-sw.js", media_type: "text/javascript; charset=utf-8", ..page("") },
    File { path: "/rider.webmanifest", media_type: "application/manifest+json", ..page("") },
    File { path: "/icons/rider-192.png", media_type: "image/png", ..page("") },
];

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!((self.status, self.header("content-type")), (status, "application/problem+json"), "{}", self.body);
        assert_eq!(self.json()["type"], kind);
    }
}

struct Caller {
    base: String,
    http: reqwest::Client,
    _rig: Rig,
}

impl Caller {
    async fn of(options: screens::Options) -> Self {
        let rig = Fake::default().bridge(Options { screens: options, ..Options::default() });
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base: format!("http://{}", serve(&rig).await), http, _rig: rig }
    }

    async fn built() -> Self {
        Self::of(screens::Options { files: Files::of(&BUILT), ..screens::Options::default() }).await
    }

    async fn over(map: Map) -> Self {
        Self::of(screens::Options { files: Files::of(&BUILT), map, ..screens::Options::default() }).await
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: String::from_utf8(response.bytes().await.unwrap().into()).unwrap() }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers).await
    }
}

const PAGES: [&str; 9] = [
    "/t/o1",
    "/t/eyJh.eyJz.c2ln",
    "/rider",
    "/rider/",
    "/rider/stops",
    "/ops",
    "/ops/",
    "/ops/alerts",
    "/ops/orders/o1",
];

#[tokio::test]
async fn pages_are_found_wherever_their_scripts_have_led() {
    let call = Caller::built().await;
    for path in PAGES {
        let page = call.get(path, &[]).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        assert_eq!(page.header("cache-control"), "no-cache", "{path}");
        assert!(page.body.starts_with("<!doctype html>"));
        let again = call.get(path, &[("if-none-match", page.header("etag"))]).await;
        assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", page.header("etag")), "{path}");
        call.send(Method::POST, path, &[]).await.is_problem(405, "no_method");
    }
    let root = call.get("/", &[]).await;
    assert_eq!((root.status, root.header("location")), (302, "/ops"));
    for path in ["/t", "/t/", "/t/o1/x", "/rider.html", "/customer.html", "/opsx"] {
        call.get(path, &[]).await.is_problem(404, "no_route");
    }
}

#[tokio::test]
async fn a_page_may_load_from_this_server_and_from_the_tiles_alone() {
    let tiles = |url: &str| MapSettings { tiles_url: Some(url.into()), ..MapSettings::default() }.check().unwrap();
    let plain = Caller::built().await;
    let tiled = Caller::over(tiles("https://tiles.example:8443/{z}/{x}/{y}.png?key=1")).await;
    for path in PAGES.into_iter().chain(["/rider-sw.js"]) {
        let page = plain.get(path, &[]).await;
        let policy = page.header("content-security-policy");
        let directives: Vec<_> = policy.split("; ").collect();
        for said in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data: blob:",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "manifest-src 'self'",
            "font-src 'self'",
        ] {
            assert!(directives.contains(&said), "{path}: {said} in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert_eq!(page.header("permissions-policy"), "geolocation=(self)");
        assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(page.header("x-content-type-options"), "nosniff");

        let page = tiled.get(path, &[]).await;
        let with: Vec<_> = page.header("content-security-policy").split("; ").collect();
        let named: Vec<_> =
            with.iter().filter(|directive| directive.ends_with(" https://tiles.example:8443")).collect();
        assert_eq!(
            named,
            [
                &"img-src 'self' data: blob: https://tiles.example:8443",
                &"connect-src 'self' https://tiles.example:8443"
            ]
        );
    }
    // Answers of the API have none of it.
    assert_eq!(plain.get("/v1/screens", &[]).await.header("content-security-policy"), "");
}

#[tokio::test]
async fn files_come_in_the_form_that_the_client_takes() {
    let call = Caller::built().await;
    let path = "/assets/ops-Bx3.js";
    for (takes, coding, body, tag) in [
        ("gzip, deflate, br", "br", "br", "\"3c4d-br\""),
        ("gzip", "gzip", "gzip", "\"3c4d-gz\""),
        ("br;q=0, gzip;q=0.5", "gzip", "gzip", "\"3c4d-gz\""),
        ("br;q=0, *;q=0.1", "gzip", "gzip", "\"3c4d-gz\""),
        ("identity", "", "let a=1;let b=2", "\"3c4d\""),
        ("zstd", "", "let a=1;let b=2", "\"3c4d\""),
    ] {
        let file = call.get(path, &[("accept-encoding", takes)]).await;
        let seen = (file.status, file.header("content-encoding"), file.body.as_str(), file.header("etag"));
        assert_eq!(seen, (200, coding, body, tag), "{takes}");
        assert_eq!(file.header("vary"), "accept-encoding");
        assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(file.header("content-type"), "text/javascript; charset=utf-8");
        assert_eq!(file.header("x-content-type-options"), "nosniff");

        let head = call.send(Method::HEAD, path, &[("accept-encoding", takes)]).await;
        assert_eq!((head.status, head.body.as_str(), head.header("etag")), (200, "", tag), "{takes}");
        assert_eq!(head.header("content-length"), body.len().to_string());

        for has in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = call.get(path, &[("accept-encoding", takes), ("if-none-match", &has)]).await;
            assert_eq!(
                (again.status, again.header("etag"), again.header("vary")),
                (304, tag, "accept-encoding"),
                "{has}"
            );
        }
        let other = call.get(path, &[("accept-encoding", takes), ("if-none-match", "\"3c4e\"")]).await;
        assert_eq!(other.status, 200);
    }
    call.get(path, &[("accept-encoding", "identity;q=0")]).await.is_problem(406, "not_acceptable");
    let refused = call.get(path, &[("accept-encoding", "*;q=0")]).await;
    refused.is_problem(406, "not_acceptable");
    assert_eq!(refused.json()["field"], "Accept-Encoding");
    // What has one form only comes in this one.
    let icon = call.get("/icons/rider-192.png", &[("accept-encoding", "br, gzip")]).await;
    assert_eq!((icon.status, icon.header("content-encoding"), icon.header("cache-control")), (200, "", "no-cache"));
    let manifest = call.get("/rider.webmanifest", &[]).await;
    assert_eq!((manifest.status, manifest.header("content-type")), (200, "application/manifest+json"));
    let worker = call.get("/rider-sw.js", &[]).await;
    assert_eq!((worker.status, worker.header("cache-control")), (200, "no-cache"));
    assert_eq!(worker.header("content-type"), "text/javascript; charset=utf-8");
}

#[tokio::test]
async fn a_missing_file_is_no_page() {
    let call = Caller::built().await;
    for path in
        ["/assets/ops-old.js", "/assets/a/b.js", "/assets/../ops.html", "/assets/%2e%2e/ops.html", "/icons/x.png"]
    {
        let answer = call.get(path, &[("accept", "text/html")]).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"), "{path}");
        assert_ne!(answer.header("cache-control"), "public, max-age=31536000, immutable");
    }
    call.get("/assets/ops-old.js", &[]).await.is_problem(404, "no_file");
    call.send(Method::DELETE, "/assets/ops-Bx3.js", &[]).await.is_problem(405, "no_method");
}

#[tokio::test]
async fn a_binary_without_screens_says_how_to_get_them() {
    let call = Caller::of(screens::Options { files: Files::of(&[]), ..screens::Options::default() }).await;
    for path in PAGES {
        let page = call.get(path, &[]).await;
        assert_eq!((page.status, page.header("cache-control")), (503, "no-store"), "{path}");
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        assert!(page.body.contains("scripts/web") && page.body.contains("网页") && page.body.contains("lang=\"en\""));
    }
    for path in ["/assets/ops-Bx3.js", "/rider-sw.js", "/rider.webmanifest", "/icons/rider-192.png"] {
        call.get(path, &[]).await.is_problem(404, "no_file");
    }
    assert_eq!(call.get("/v1/screens", &[]).await.status, 200);
    assert_eq!(call.get("/", &[]).await.status, 302);
}

/// A folder with a cell's files, and one beside it that nobody may have.
fn maps(folder: &Path) -> Map {
    let maps = folder.join("maps");
    std::fs::create_dir(&maps).unwrap();
    std::fs::write(maps.join("default.pmtiles"), "0123456789").unwrap();
    std::fs::write(maps.join("default.geojson"), "{}").unwrap();
    std::fs::write(maps.join("notes.txt"), "no").unwrap();
    std::fs::write(folder.join("secret.pmtiles"), "no").unwrap();
    Map { folder: Some(maps), ..MapSettings::default().check().unwrap() }
}

#[tokio::test]
async fn tiles_are_read_by_ranges_of_one_version_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let map = maps(dir.path());
    let file = map.folder.clone().unwrap().join("default.pmtiles");
    let call = Caller::over(map).await;
    let path = "/base-map/default.pmtiles";
    let whole = call.get(path, &[]).await;
    assert_eq!((whole.status, whole.body.as_str(), whole.header("accept-ranges")), (200, "0123456789", "bytes"));
    assert_eq!((whole.header("content-type"), whole.header("cache-control")), ("application/vnd.pmtiles", "no-cache"));
    let tag = whole.header("etag").to_owned();
    assert!(tag.starts_with('"'), "{tag}");
    let part = call.get(path, &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.body.as_str(), part.header("content-range")), (206, "234", "bytes 2-4/10"));
    assert_eq!(part.header("etag"), tag);
    let last = call.get(path, &[("range", "bytes=-3")]).await;
    assert_eq!((last.status, last.body.as_str()), (206, "789"));
    let beyond = call.get(path, &[("range", "bytes=10-20")]).await;
    beyond.is_problem(416, "range");
    assert_eq!(beyond.header("content-range"), "bytes */10");
    let head = call.send(Method::HEAD, path, &[]).await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, "10", ""));
    assert_eq!(call.get(path, &[("if-none-match", &tag)]).await.status, 304);
    // A part counts only if it is of the file that the client knows.
    let modified = whole.header("last-modified").to_owned();
    for known in [&tag, &modified] {
        let same = call.get(path, &[("range", "bytes=2-4"), ("if-range", known)]).await;
        assert_eq!((same.status, same.body.as_str()), (206, "234"), "{known}");
    }
    for other in ["\"other\"", &format!("W/{tag}"), "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let other = call.get(path, &[("range", "bytes=2-4"), ("if-range", other)]).await;
        assert_eq!((other.status, other.body.as_str()), (200, "0123456789"));
    }
    std::fs::write(file, "abcdefghijk").unwrap();
    let changed = call.get(path, &[("range", "bytes=2-4"), ("if-range", &tag), ("if-none-match", &tag)]).await;
    assert_eq!((changed.status, changed.body.as_str()), (200, "abcdefghijk"));
    assert_ne!(changed.header("etag"), tag);
}

#[tokio::test]
async fn only_a_cells_files_are_served_from_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let map = maps(dir.path());
    let folder = map.folder.clone().unwrap();
    std::fs::create_dir(folder.join("place.pmtiles")).unwrap();
    let call = Caller::over(map).await;
    for path in [
        "notes.txt",
        "other.pmtiles",
        "other.geojson",
        "place.pmtiles",
        "default",
        "default.pmtiles.gz",
        ".pmtiles",
        "../secret.pmtiles",
        "..%2fsecret.pmtiles",
        "%2e%2e%2fsecret.pmtiles",
        "..%5csecret.pmtiles",
        "default.pmtiles%00.txt",
        "%64efault.pmtiles",
    ] {
        // Sent as it stands: a client's library would have tidied it up.
        let (status, body) = raw(&call.base, &format!("/base-map/{path}")).await;
        assert_eq!(status, 404, "{path}: {body}");
        assert!(body.contains("\"no_file\"") || body.contains("\"no_route\""), "{path}: {body}");
    }
    let ground = call.get("/base-map/default.geojson", &[("accept-encoding", "gzip")]).await;
    assert_eq!((ground.status, ground.header("content-type")), (200, "application/geo+json"));
    assert_eq!((ground.body.as_str(), ground.header("content-encoding")), ("{}", ""));
    // Compressed beforehand.
    std::fs::write(folder.join("default.geojson.gz"), "gz").unwrap();
    let ground = call.get("/base-map/default.geojson", &[("accept-encoding", "gzip")]).await;
    assert_eq!((ground.body.as_str(), ground.header("content-encoding")), ("gz", "gzip"));
    assert!(ground.header("vary").contains("accept-encoding"));
    assert_eq!(ground.header("content-type"), "application/geo+json");
    call.send(Method::PUT, "/base-map/default.pmtiles", &[]).await.is_problem(405, "no_method");
    // Without a folder there is nothing.
    Caller::built().await.get("/base-map/default.pmtiles", &[]).await.is_problem(404, "no_file");
}

/// Status and whole text of an answer to a GET whose path is sent as it is.
async fn raw(base: &str, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = base.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap();
    (StatusCode::from_u16(status).unwrap().as_u16(), answer)
}

#[tokio::test]
async fn pages_are_told_how_they_are_set_up() {
    let plain = Caller::built().await.get("/v1/screens", &[]).await;
    assert_eq!((plain.status, plain.header("cache-control")), (200, "no-cache"));
    let none = json!({"cell": "default", "insecure": true, "base_map": {"attribution": ""}});
    assert_eq!(plain.json(), none);

    let dir = tempfile::tempdir().unwrap();
    let settings = MapSettings {
        tiles_url: Some("https://tiles.example/{z}/{x}/{y}.png".into()),
        tiles_datum: trunkline::geo::Datum::Gcj02,
        tiles_max_zoom: 17,
        attribution: "© 高德".into(),
        ..MapSettings::default()
    };
    let map = Map { folder: maps(dir.path()).folder, ..settings.check().unwrap() };
    let (folder, sign_in_url) = (map.folder.clone().unwrap(), Some("https://shop.example/sign-in".to_owned()));
    let call = Caller::of(screens::Options { map, sign_in_url, ..screens::Options::default() }).await;
    let full = json!({
        "cell": "default", "insecure": true, "sign_in_url": "https://shop.example/sign-in",
        "base_map": {"pmtiles": "/base-map/default.pmtiles", "ground": "/base-map/default.geojson",
            "tiles": {"url": "https://tiles.example/{z}/{x}/{y}.png", "datum": "gcj02", "max_zoom": 17},
            "attribution": "© 高德"},
    });
    assert_eq!(call.get("/v1/screens", &[]).await.json(), full);
    // Files come and go while the node runs.
    std::fs::remove_file(folder.join("default.pmtiles")).unwrap();
    assert_eq!(call.get("/v1/screens", &[]).await.json()["base_map"]["pmtiles"], Value::Null);
    assert_eq!(call.get("/v1/screens?slip=1", &[]).await.json()["field"], "slip");
}
