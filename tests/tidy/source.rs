//! Just enough of Rust's surface to tell code from comments, literals and tests. A parser would know more, and would be
//! the largest dependency of the project for the least of its purposes.

/// A file, with its text taken apart.
pub(crate) struct Source {
    /// With `/`, from the package's root.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and the insides of literals blanked; same line breaks.
    pub(crate) code: String,
    /// `code` without `#[cfg(test)]` modules.
    pub(crate) product: String,
    /// String literals outside `#[cfg(test)]` modules, with their lines.
    pub(crate) literals: Vec<(usize, String)>,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let (code, mut literals) = blank(&text);
        let product = without_tests(&code);
        // A literal belongs to the product if its opening quote survived.
        literals.retain(|(at, _)| product.as_bytes().get(*at) == Some(&b'"'));
        let literals = literals.into_iter().map(|(at, l)| (line_of(&text, at), l)).collect();
        Self { path, text, code, product, literals }
    }

    /// The layer: `src/wire/fix.rs` and `src/wire.rs` are `wire`'s.
    pub(crate) fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first)).filter(|layer| *layer != "lib")
    }

    /// Files of this one's modules that exist for tests alone: `#[cfg(test)] mod x;`.
    pub(crate) fn test_files(&self) -> Vec<String> {
        let folder = self.path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib");
        let marked = self.code.split("#[cfg(test)]").skip(1).map(str::trim_start);
        let named = marked.filter_map(|rest| rest.trim_start_matches("pub(crate) ").strip_prefix("mod "));
        let files = named.filter(|rest| rest[ident(rest).len()..].starts_with(';'));
        files.flat_map(|rest| [".rs", "/"].map(|end| format!("{folder}/{}{end}", ident(rest)))).collect()
    }

    /// The same file, known to be for tests alone.
    pub(crate) fn of_tests(mut self) -> Self {
        self.product.clear();
        self.literals.clear();
        self
    }

    pub(crate) fn complaint(&self, at: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{}: {what}", self.path, line_of(&self.text, at))
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// Blanks comments and literals, byte for byte; gives the string literals with the places of their opening quotes.
fn blank(text: &str) -> (String, Vec<(usize, String)>) {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut literals = Vec::new();
    let wipe = |out: &mut Vec<u8>, from: usize, to: usize| {
        out[from..to].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
    };
    let find = |from: usize, what: &str| text.as_bytes()[from..].windows(what.len()).position(|w| w == what.as_bytes());
    let mut i = 0;
    while i < bytes.len() {
        let ident_before = i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
        let end = match bytes[i] {
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                let end = find(i, "\n").map_or(bytes.len(), |n| i + n);
                wipe(&mut out, i, end);
                end
            }
            b'/' if bytes.get(i + 1) == Some(&b'*') => {
                let end = find(i, "*/").map_or(bytes.len(), |n| i + n + 2);
                wipe(&mut out, i, end);
                end
            }
            b'r' if !ident_before || bytes[i - 1] == b'b' => {
                let hashes = bytes[i + 1..].iter().take_while(|b| **b == b'#').count();
                let quote = i + 1 + hashes;
                if bytes.get(quote) == Some(&b'"') {
                    let close = format!("\"{}", "#".repeat(hashes));
                    let end = find(quote + 1, &close).map_or(bytes.len(), |n| quote + 1 + n);
                    literals.push((quote, text[quote + 1..end].to_owned()));
                    wipe(&mut out, quote + 1, end);
                    end + close.len()
                } else {
                    i + 1
                }
            }
            b'"' => {
                let mut end = i + 1;
                while end < bytes.len() && bytes[end] != b'"' {
                    end += if bytes[end] == b'\\' { 2 } else { 1 };
                }
                let end = end.min(bytes.len());
                literals.push((i, text[i + 1..end].to_owned()));
                wipe(&mut out, i + 1, end);
                end + 1
            }
            b'\'' => {
                // A lifetime has no closing quote after one character.
                let mut inside = text[i + 1..].char_indices();
                let end = match inside.next() {
                    Some((_, '\\')) => find(i + 3, "'").map(|n| i + 3 + n),
                    Some((_, c)) if text[i + 1 + c.len_utf8()..].starts_with('\'') => Some(i + 1 + c.len_utf8()),
                    Some(_) | None => None,
                };
                if let Some(end) = end {
                    wipe(&mut out, i + 1, end);
                }
                end.unwrap_or(i) + 1
            }
            _ => i + 1,
        };
        i = end;
    }
    (String::from_utf8_lossy(&out).into_owned(), literals)
}

/// Blanks `#[cfg(test)] mod … { … }`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(at) = code[from..].find(MARK).map(|n| from + n) {
        from = at + MARK.len();
        let rest = code[from..].trim_start();
        let Some(open) = code[from..].find('{').filter(|_| rest.starts_with("mod ")).map(|n| from + n) else {
            continue;
        };
        let mut depth = 0_usize;
        let close = code[open..].bytes().position(|b| {
            depth = match b {
                b'{' => depth + 1,
                b'}' => depth - 1,
                _ => depth,
            };
            depth == 0
        });
        from = close.map_or(code.len(), |n| open + n + 1);
        out[at..from].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

pub(crate) fn ident(text: &str) -> &str {
    &text[..text.bytes().position(|b| !is_ident(b)).unwrap_or(text.len())]
}

/// Places where `path` begins a path (not the tail of a longer one).
pub(crate) fn starts<'a>(code: &'a str, path: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(path).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].trim_end();
        !before.ends_with("::") && !code.as_bytes()[..*at].last().is_some_and(|b| is_ident(*b))
    })
}

/// First names after a path's beginning: one, or those of a group `{a, b::{c}, d}`.
pub(crate) fn heads(after: &str) -> Vec<&str> {
    let Some(group) = after.strip_prefix('{') else { return vec![ident(after)] };
    let (mut depth, mut names, mut begin) = (1_usize, Vec::new(), 0);
    for (i, b) in group.bytes().enumerate() {
        match b {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && b == b',') {
            names.push(ident(group[begin..i].trim_start()));
            begin = i + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|n| !n.is_empty());
    names
}
