//! What the appservice crate needs, read from the configuration.

use crate::config::{Config, Secret as Token};
use crate::failure::{Code, Failure};
use appservice::{Registration, Secret};

/// Both tokens.
#[derive(Debug)]
pub struct Tokens {
    /// What we present to the homeserver.
    pub as_token: Secret,
    /// What the homeserver presents to us.
    pub hs_token: Secret,
}

/// Reads the registration that the configuration names.
pub fn registration(config: &Config) -> Result<Registration, Failure> {
    let path = config
        .appservice
        .as_ref()
        .map(|a| config.path(&a.registration))
        .unwrap_or_default();
    let failure = |cause: &str| {
        Failure::new(
            Code::Registration,
            format!("{}: {cause}", path.display()),
            "`causeway init` makes it; correct appservice.registration, and the file's permissions",
        )
    };
    let text = std::fs::read_to_string(&path)
        .map(zeroize::Zeroizing::new)
        .map_err(|e| failure("the registration can't be read").with_source(e))?;
    Registration::from_yaml(&text).map_err(|e| failure("not usable").with_source(e))
}

/// The tokens: from the environment, else from their files, else from the registration.
pub fn tokens(config: &Config) -> Result<Tokens, Failure> {
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
        (Some(as_token), Some(hs_token)) => Ok(Tokens { as_token, hs_token }),
        (as_token, hs_token) => {
            let registration = registration(config)?;
            Ok(Tokens {
                as_token: as_token.unwrap_or(registration.as_token),
                hs_token: hs_token.unwrap_or(registration.hs_token),
            })
        }
    }
}
