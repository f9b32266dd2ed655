//! Secrets on their way in, and the list of those inside.

use super::CliError;
use super::output::{Output, line};
use crate::engine::Engine;
use crate::storage::Passphrase;
use clap::Args;
use serde_json::json;
use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use zeroize::Zeroizing;

/// Print every private key and secret of this profile as hex.
///
/// For an audit that searches servers' data for them. Whoever sees this output can read your messages and speak
/// as you: keep it nowhere.
#[derive(Debug, Args)]
pub(super) struct SecretsArgs {
    /// Yes, print them.
    #[arg(long, required = true)]
    for_audit: bool,
}

pub(super) fn secrets(engine: &Engine, args: &SecretsArgs, out: Output) -> Result<(), CliError> {
    if !args.for_audit {
        return Err(CliError::usage(
            "this prints secrets",
            "add --for-audit if you mean it",
        ));
    }
    eprintln!("warning: what follows opens this profile's messages to whoever sees it");
    let secrets = engine.secrets()?;
    if out.json {
        let list: Vec<_> = secrets
            .iter()
            .map(|s| json!({"label": s.label, "hex": hex::encode(&s.octets)}))
            .collect();
        return line(&serde_json::Value::Array(list).to_string());
    }
    secrets
        .iter()
        .try_for_each(|s| line(&format!("{} {}", hex::encode(&s.octets), s.label)))
}

/// A secret from a file (`-`: standard input), else from the environment.
pub(super) fn given(file: Option<&Path>, variable: &str) -> Result<Option<Zeroizing<String>>, CliError> {
    let trimmed = |text: &str| Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned());
    let Some(file) = file else {
        return Ok(std::env::var(variable)
            .ok()
            .filter(|v| !v.is_empty())
            .map(Zeroizing::new));
    };
    let mut text = Zeroizing::new(String::new());
    let read = if file == Path::new("-") {
        std::io::stdin().read_line(&mut text).map(drop)
    } else {
        std::fs::File::open(file)
            .and_then(|mut f| f.read_to_string(&mut text))
            .map(drop)
    };
    read.map_err(|e| CliError::usage(format!("{}: {e}", file.display()), "name a readable file"))?;
    Ok(Some(trimmed(&text)))
}

/// A secret that has to be there: given, or asked for at a terminal.
pub(super) fn needed(
    file: Option<&Path>,
    variable: &str,
    prompt: &str,
    option: &str,
) -> Result<Zeroizing<String>, CliError> {
    if let Some(secret) = given(file, variable)? {
        return Ok(secret);
    }
    if !std::io::stdin().is_terminal() {
        let remedy = format!("give it with {option} FILE (`-`: standard input) or in {variable}");
        return Err(CliError::usage(format!("{prompt} is needed"), remedy));
    }
    rpassword::prompt_password(format!("{prompt}: "))
        .map(Zeroizing::new)
        .map_err(|e| CliError::usage(format!("the terminal: {e}"), format!("use {option}")))
}

pub(super) fn passphrase(file: Option<&Path>) -> Result<Option<Passphrase>, CliError> {
    Ok(given(file, "CAUSEWAY_PASSPHRASE")?.map(|p| Passphrase::new(p.as_str())))
}
