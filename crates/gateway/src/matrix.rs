//! What the appservice crate needs, read from the configuration.

use crate::config::{Config, Secret as Token};
use crate::failure::{Code, Failure};
use appservice::{KeyRing, Registration, Secret, TokenPair};
use std::path::{Path, PathBuf};

/// Where the registration is.
pub fn registration_path(config: &Config) -> PathBuf {
    config
        .appservice
        .as_ref()
        .map(|a| config.path(&a.registration))
        .unwrap_or_default()
}

/// Where the registration of before is kept while tokens are rotated.
pub fn previous_path(config: &Config) -> PathBuf {
    let mut path = registration_path(config).into_os_string();
    path.push(".previous");
    path.into()
}

/// Reads the registration that the configuration names.
pub fn registration(config: &Config) -> Result<Registration, Failure> {
    read(&registration_path(config))
}

/// Reads a registration.
pub fn read(path: &Path) -> Result<Registration, Failure> {
    let failure = |cause: &str| {
        Failure::new(
            Code::Registration,
            format!("{}: {cause}", path.display()),
            "`causeway init` makes it; correct appservice.registration, and the file's permissions",
        )
    };
    let text = std::fs::read_to_string(path)
        .map(zeroize::Zeroizing::new)
        .map_err(|e| failure("the registration can't be read").with_source(e))?;
    Registration::from_yaml(&text).map_err(|e| failure("not usable").with_source(e))
}

/// The tokens: from the environment, else from their files, else from the registration.
pub fn tokens(config: &Config) -> Result<TokenPair, Failure> {
    let section = config.appservice.as_ref();
    let given = |env: Option<&Token>, file: Option<&std::path::PathBuf>| -> Result<Option<Secret>, Failure> {
        let token = match (env, file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => Some(Token::from_file(&config.path(file))?),
            (None, None) => None,
        };
        Ok(token.map(|t| Secret::new(t.expose())))
    };
    let as_token = given(
        section.and_then(|s| s.as_token.as_ref()),
        section.and_then(|s| s.as_token_file.as_ref()),
    )?;
    let hs_token = given(
        section.and_then(|s| s.hs_token.as_ref()),
        section.and_then(|s| s.hs_token_file.as_ref()),
    )?;
    match (as_token, hs_token) {
        (Some(as_token), Some(hs_token)) => Ok(TokenPair { as_token, hs_token }),
        (as_token, hs_token) => {
            let registration = registration(config)?;
            Ok(TokenPair {
                as_token: as_token.unwrap_or(registration.as_token),
                hs_token: hs_token.unwrap_or(registration.hs_token),
            })
        }
    }
}

/// All tokens that are good now: those of the configuration, and while a rotation goes on those of before. They are read
/// anew when a token turns out to be unknown.
pub fn key_ring(config: &Config) -> Result<KeyRing, Failure> {
    // Says what is wrong in the operator's terms; what goes wrong later is logged.
    tokens(config)?;
    let config = config.clone();
    KeyRing::reading(Box::new(move || pairs(&config).map_err(|e| e.cause()))).map_err(|e| {
        Failure::new(
            Code::Registration,
            format!("the tokens can't be read: {e}"),
            "see `causeway check`",
        )
    })
}

fn pairs(config: &Config) -> Result<Vec<TokenPair>, Failure> {
    let mut pairs = vec![tokens(config)?];
    let previous = previous_path(config);
    if previous.exists() {
        pairs.push(read(&previous)?.pair());
    }
    Ok(pairs)
}
