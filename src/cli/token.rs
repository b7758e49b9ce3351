//! `trunkline token`: makes tokens and keys, and looks into tokens. It knows what `serve` knows, from the same configuration,
//! so that what verifies here verifies there.

use crate::{
    auth::{self, Options, Time, Tokens, keygen},
    clock,
    config::{
        Settings,
        auth::{Algorithm, AuthSettings, IssuerSettings, KeySettings, SIMPLE_KID, SIMPLE_NAME},
    },
    domain::{CellId, OrderId, UnixMillis},
    metrics::Metrics,
    ports::{Authenticator, Claims, TokenSigner},
    wire::access::Role,
};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Print a token, signed by the configuration's key or by the one that is named.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    issue: Option<IssueArgs>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make a key, write it into a folder, and print the lines for the configuration.
    Keygen(KeygenArgs),
    /// Show what a token says, and whether it verifies by the configuration.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
struct IssueArgs {
    /// customer, shared, rider, warehouse, system or operations.
    #[arg(long)]
    role: Role,
    /// Who: the user, rider, warehouse, shop or operator; with `--role shared`, who shares.
    #[arg(long)]
    sub: String,
    /// Cells that it may ask about; without it, all that the issuer may grant.
    #[arg(long, value_delimiter = ',')]
    cells: Option<Vec<CellId>>,
    /// How long it holds: 90s, 15m, 8h, 3d.
    #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = span)]
    lifetime: Duration,
    /// The one order of `--role shared`.
    #[arg(long)]
    order: Option<OrderId>,
    /// The share link's own id; without it, a new one.
    #[arg(long, requires = "order")]
    jti: Option<String>,
    /// Configuration whose signing key is used; the environment counts too.
    #[arg(long, conflicts_with_all = ["key_file", "secret_file"])]
    config: Option<PathBuf>,
    /// Private key (PEM) to sign with instead.
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    key_file: Option<PathBuf>,
    /// HS256 secret to sign with instead.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Of --key-file: EdDSA (as without it) or RS256.
    #[arg(long, requires = "key_file")]
    alg: Option<Algorithm>,
    /// The key's id, with --key-file or --secret-file.
    #[arg(long, default_value = SIMPLE_KID)]
    kid: String,
    /// `iss`, with --key-file or --secret-file.
    #[arg(long, default_value = SIMPLE_NAME)]
    issuer: String,
    /// `aud`, with --key-file or --secret-file.
    #[arg(long, default_value = SIMPLE_NAME)]
    audience: String,
}

#[derive(Debug, Args)]
struct KeygenArgs {
    /// EdDSA, RS256 or HS256.
    #[arg(long, default_value = "EdDSA")]
    alg: Algorithm,
    /// Where to write it; made if need be.
    #[arg(long)]
    dir: PathBuf,
    /// Its id; without it, a new one.
    #[arg(long, value_parser = file_stem)]
    kid: Option<String>,
    #[arg(long, default_value = SIMPLE_NAME)]
    issuer: String,
    #[arg(long, default_value = SIMPLE_NAME)]
    audience: String,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// The token; without it, it is read from standard input, where other users can't see it.
    token: Option<String>,
    /// Configuration whose issuers and keys count; the environment counts too.
    #[arg(long)]
    config: Option<PathBuf>,
}

fn span(text: &str) -> Result<Duration, String> {
    let unit_s = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let parsed = text.char_indices().last().and_then(|(end, unit)| {
        let (_, unit_s) = unit_s.into_iter().find(|(name, _)| *name == unit)?;
        text[..end].parse::<u32>().ok().map(|n| Duration::from_secs(u64::from(n) * unit_s))
    });
    parsed.filter(|span| !span.is_zero()).ok_or_else(|| "must be a time as 90s, 15m, 8h, 3d".to_owned())
}

/// An id that may begin a file's name.
fn file_stem(text: &str) -> Result<String, String> {
    match crate::domain::ids::is_token(text) {
        true => Ok(text.to_owned()),
        false => Err(crate::domain::ids::IdError.to_string()),
    }
}

pub(super) async fn run(args: TokenArgs) -> anyhow::Result<ExitCode> {
    match (args.task, args.issue) {
        (Some(Task::Keygen(args)), _) => make_key(&args),
        (Some(Task::Inspect(args)), _) => inspect(args).await,
        (None, Some(args)) => {
            say(&issue(&args)?);
            Ok(ExitCode::SUCCESS)
        }
        (None, None) => anyhow::bail!("say --role and --sub, or one of keygen, inspect (see --help)"),
    }
}

#[allow(clippy::print_stdout, reason = "this is the command's result")]
fn say(text: &str) {
    println!("{text}");
}

/// Issuers and keys, by a configuration. The other settings needn't fit this machine.
fn configured(config: Option<&Path>) -> anyhow::Result<AuthSettings> {
    Ok(Settings::read(config)?.auth)
}

/// `None` where nobody is configured.
fn tokens(settings: AuthSettings) -> anyhow::Result<Option<Tokens>> {
    let checked = Settings { auth: settings, ..Settings::default() }.check()?;
    let Some(auth) = checked.auth else { return Ok(None) };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    Ok(Some(Tokens::start(&auth, Options::default(), Time::machine(), Metrics::default(), tasks, stop)?))
}

fn issue(args: &IssueArgs) -> anyhow::Result<String> {
    let settings = match args.named()? {
        Some(settings) => settings,
        None => {
            let mut settings = configured(args.config.as_deref())?;
            // Signing needs nobody else's keys.
            settings.issuers.iter_mut().filter(|issuer| !issuer.keys.is_empty()).for_each(|one| one.jwks_url = None);
            settings.issuers.retain(|issuer| !issuer.keys.is_empty());
            settings
        }
    };
    let tokens = tokens(settings)?.context(
        "there is no key to sign with: name --config, --key-file or --secret-file, or set TRUNKLINE_AUTH__SECRET",
    )?;
    let lifetime_ms = i64::try_from(args.lifetime.as_millis()).unwrap_or(i64::MAX);
    let jti = match (&args.jti, args.role) {
        (Some(jti), _) => Some(jti.clone()),
        (None, Role::Shared) => Some(uuid::Uuid::now_v7().simple().to_string()),
        (None, Role::Customer | Role::Rider | Role::Warehouse | Role::System | Role::Operations) => None,
    };
    let claims = Claims {
        role: args.role,
        sub: args.sub.clone(),
        cells: args.cells.as_ref().map(|cells| cells.iter().cloned().collect()),
        order: args.order.clone(),
        jti,
        not_before: None,
        expires_at: clock::wall().plus(lifetime_ms),
    };
    Ok(tokens.signer().sign(&claims)?)
}

impl IssueArgs {
    /// The key named on the command line, as settings.
    fn named(&self) -> anyhow::Result<Option<AuthSettings>> {
        let alg = match (&self.key_file, &self.secret_file) {
            (None, None) => return Ok(None),
            (Some(_), _) => self.alg.unwrap_or(Algorithm::EdDsa),
            (None, Some(_)) => Algorithm::Hs256,
        };
        anyhow::ensure!(self.key_file.is_none() || alg != Algorithm::Hs256, "HS256 signs with --secret-file");
        let key = KeySettings {
            kid: self.kid.clone(),
            alg: alg.name().to_owned(),
            secret_file: self.secret_file.clone(),
            private_key_file: self.key_file.clone(),
            sign: true,
            ..KeySettings::default()
        };
        let issuer = IssuerSettings {
            name: self.issuer.clone(),
            audience: self.audience.clone(),
            keys: vec![key],
            roles: Role::ALL.map(|role| role.name().to_owned()).into(),
            ..IssuerSettings::default()
        };
        // What a server takes at most is its own matter.
        let most = AuthSettings { lifetime_max_s: 366 * 86_400, ..AuthSettings::default() };
        Ok(Some(AuthSettings { issuers: vec![issuer], ..most }))
    }
}

fn make_key(args: &KeygenArgs) -> anyhow::Result<ExitCode> {
    let kid = args.kid.clone().map_or_else(keygen::fresh_kid, Ok)?;
    let made = keygen::make(args.alg, &kid, &args.dir)?;
    say(&lines(&made, &args.issuer, &args.audience));
    Ok(ExitCode::SUCCESS)
}

/// What a configuration says of a new key: TOML.
fn lines(made: &keygen::Made, issuer: &str, audience: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let file = |path: &Path| quoted(&path.to_string_lossy());
    let field = match made.alg {
        Algorithm::Hs256 => "secret_file",
        Algorithm::EdDsa | Algorithm::Rs256 => "private_key_file",
    };
    let (kid, alg, private) = (quoted(&made.kid), made.alg.name(), file(&made.private));
    let others = made.public.as_ref().map(|public| {
        let key = format!("{{ kid = {kid}, alg = \"{alg}\", public_key_file = {} }}", file(public));
        format!("\n# A node that only verifies needs no more than\n# keys = [{key}]")
    });
    format!(
        "[[auth.issuers]]\nname = {}\naudience = {}\nroles = [{}]\n\
         keys = [{{ kid = {kid}, alg = \"{alg}\", {field} = {private}, sign = true }}]{}",
        quoted(issuer),
        quoted(audience),
        Role::ALL.map(|role| quoted(role.name())).join(", "),
        others.unwrap_or_default()
    )
}

async fn inspect(args: InspectArgs) -> anyhow::Result<ExitCode> {
    let token = match args.token {
        Some(token) => token,
        None => {
            let mut text = String::new();
            std::io::stdin().take(64 << 10).read_to_string(&mut text)?;
            text
        }
    };
    let token = token.trim().trim_start_matches("Bearer ");
    let read = auth::read(token)?;
    say(&serde_json::to_string_pretty(&read.header)?);
    say(&serde_json::to_string_pretty(&read.claims)?);
    let Some(tokens) = tokens(configured(args.config.as_deref())?)? else {
        say("not verified: no keys are configured (--config, TRUNKLINE_AUTH__SECRET)");
        return Ok(ExitCode::FAILURE);
    };
    match tokens.authenticate(token).await {
        Ok(principal) => {
            let ends = principal.expires_at.map(|at| format!(", until {}", time(at))).unwrap_or_default();
            say(&format!("verifies: {} `{}`{ends}", principal.role.name(), principal.id));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            say(&format!("does not verify: {error}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn time(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        token: TokenArgs,
    }

    fn parsed(words: &[&str]) -> Result<TokenArgs, String> {
        let line = Line::try_parse_from(["token"].iter().chain(words)).map_err(|error| error.to_string());
        line.map(|line| line.token)
    }

    fn issued(words: &[&str]) -> anyhow::Result<String> {
        issue(&parsed(words).map_err(anyhow::Error::msg)?.issue.context("no --role")?)
    }

    #[test]
    fn spans() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("8h"), Ok(Duration::from_secs(28_800)));
        for bad in ["", "8", "0h", "-1h", "8 h", "8w", "é"] {
            assert!(span(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn arguments() {
        assert!(parsed(&["--role", "rider", "--sub", "r1", "--cells", "a,b", "--for", "3d"]).is_ok());
        assert!(parsed(&["keygen", "--dir", "keys"]).is_ok_and(|args| args.issue.is_none()));
        assert!(parsed(&["inspect"]).is_ok());
        for (words, named) in [
            (&["--role", "king", "--sub", "a"][..], "king"),
            (&["--role", "rider"], "--sub"),
            (&["--role", "rider", "--sub", "r", "--cells", "a.b"], "--cells"),
            (&["--role", "rider", "--sub", "r", "--alg", "RS256"], "--key-file"),
            (&["keygen", "--dir", "d", "--kid", "../up"], "--kid"),
            (&["keygen", "--dir", "d", "--alg", "none"], "HS256, EdDSA, RS256"),
        ] {
            let error = parsed(words).unwrap_err();
            assert!(error.contains(named), "{words:?}: {error}");
        }
    }

    /// What keygen prints is a configuration by which `token` signs, `inspect` verifies and `serve` starts.
    #[tokio::test]
    async fn from_new_keys_to_a_token_that_verifies() {
        let dir = tempfile::tempdir().unwrap();
        for alg in [Algorithm::EdDsa, Algorithm::Hs256] {
            let made = keygen::make(alg, alg.name(), dir.path()).unwrap();
            let config = dir.path().join(format!("{}.toml", alg.name()));
            std::fs::write(&config, lines(&made, "acme", "me")).unwrap();
            let settings = Settings::read(Some(&config)).unwrap();
            assert!(crate::app::check(&settings.check().unwrap()).is_ok());

            let file = config.to_str().unwrap();
            let words = ["--role", "shared", "--sub", "alice", "--order", "o1", "--for", "1h", "--config", file];
            let token = issued(&words).unwrap();
            let by_hand = {
                let flag = if alg == Algorithm::Hs256 { "--secret-file" } else { "--key-file" };
                let key = made.private.to_str().unwrap();
                let names = ["--kid", alg.name(), "--issuer", "acme", "--audience", "me"];
                issued(&[&["--role", "rider", "--sub", "r1", flag, key][..], &names].concat()).unwrap()
            };
            let tokens = tokens(configured(Some(&config)).unwrap()).unwrap().unwrap();
            let shared = tokens.authenticate(&token).await.unwrap();
            assert_eq!((shared.role, shared.order.unwrap().as_str(), shared.id.len()), (Role::Shared, "o1", 32));
            assert_eq!(tokens.authenticate(&by_hand).await.unwrap().publisher(), "rider.r1");
            let inspected = |token: String| inspect(InspectArgs { token: Some(token), config: Some(config.clone()) });
            assert_eq!(inspected(token.clone()).await.unwrap(), ExitCode::SUCCESS);
            assert_eq!(inspected(format!("{token}A")).await.unwrap(), ExitCode::FAILURE);
            assert!(inspected("x".into()).await.is_err());
        }
        let empty = dir.path().join("empty.toml");
        std::fs::write(&empty, "").unwrap();
        let error = issued(&["--role", "rider", "--sub", "r1", "--config", empty.to_str().unwrap()]).unwrap_err();
        assert!(error.to_string().contains("no key to sign with"), "{error}");
    }
}
