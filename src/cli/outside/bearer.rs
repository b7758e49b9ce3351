//! The token by which a program proves who it is.

use super::OutsideError;
use reqwest::header::HeaderValue;
use std::path::PathBuf;

/// Where the token comes from. Without any, the server must be one that asks for none (`serve --insecure`).
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TokenOptions {
    /// File with the token, as `trunkline token` prints it; goes before the token itself
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The token itself. Better in the environment than here, where other users of the machine see it
    #[arg(long, env = "TRUNKLINE_TOKEN", hide_env_values = true)]
    pub token: Option<Token>,
}

/// A token that doesn't show itself.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

impl std::str::FromStr for Token {
    type Err = &'static str;

    /// Takes what a header takes; whether it is any good, the server says.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let printable = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let header = printable.then(|| HeaderValue::try_from(format!("Bearer {text}")).ok()).flatten();
        let mut header = header.ok_or("must be one word of printable ASCII")?;
        header.set_sensitive(true);
        Ok(Self(header))
    }
}

impl Token {
    /// The value of `Authorization`.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl TokenOptions {
    /// Reads the file, if one is named.
    pub fn read(&self) -> Result<Option<Token>, OutsideError> {
        let Some(file) = &self.token_file else { return Ok(self.token.clone()) };
        let bad = |reason: String| OutsideError::Argument { field: "token-file", reason };
        let text = std::fs::read_to_string(file).map_err(|error| bad(format!("{}: {error}", file.display())))?;
        text.parse().map(Some).map_err(|reason: &str| bad(format!("{}: {reason}", file.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_a_file_or_as_it_is_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "a.b.c\n").unwrap();
        let options = TokenOptions { token_file: Some(file.clone()), token: None };
        let token = options.read().unwrap().unwrap();
        assert_eq!(token.header(), "Bearer a.b.c");
        assert!(!format!("{token:?} {:?}", token.header()).contains("a.b.c"));
        assert!(TokenOptions::default().read().unwrap().is_none());
        for bad in ["", " \n", "a b", "a\u{0}b", "é"] {
            std::fs::write(&file, bad).unwrap();
            assert!(options.read().unwrap_err().to_string().contains("token-file"), "{bad:?}");
        }
    }
}
