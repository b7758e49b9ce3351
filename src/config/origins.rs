//! `http.origins`: which other sites' pages may use the API from a browser, and with a cookie.

/// Origins as browsers send them, `https://shop.example`; none by default. A server's own origin isn't among them: it is
/// known by the request's `Host`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Checks each; an error says which doesn't fit, and why.
    pub fn parse(list: &[String]) -> Result<Self, String> {
        list.iter().map(|text| origin(text)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a request's `Origin` is one of them.
    pub fn list(&self, origin: &str) -> bool {
        self.0.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }

    /// Whether none is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn origin(text: &str) -> Result<String, String> {
    let bad = |reason: &str| {
        format!("`{text}` {reason}; an origin is written as https://shop.example or http://localhost:5173")
    };
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = authority.ok_or_else(|| bad("begins with neither https:// nor http://"))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Err(bad("has more or less than a host and perhaps a port after its scheme"));
    }
    // Browsers leave these out, so such an origin would never match.
    if (text.starts_with("https://") && text.ends_with(":443"))
        || (text.starts_with("http://") && text.ends_with(":80"))
    {
        return Err(bad("names the port that its scheme has anyway"));
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        let list = ["https://Shop.example", "http://localhost:5173", "http://[::1]:8080"].map(str::to_owned);
        let origins = Origins::parse(&list).unwrap();
        for listed in ["https://shop.example", "http://localhost:5173", "http://[::1]:8080"] {
            assert!(origins.list(listed), "{listed}");
        }
        let others = ["null", "", "https://shop.example:8443", "http://shop.example", "https://shop.example.evil", "*"];
        for other in others {
            assert!(!origins.list(other), "{other}");
        }
        for wrong in
            ["*", "shop.example", "https://", "https://a/", "https://a/b", "https://u@a", "ftp://a", "https://a:443"]
        {
            let error = Origins::parse(&[wrong.to_owned()]).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
