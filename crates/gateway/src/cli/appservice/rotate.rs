//! `causeway appservice rotate`: new tokens without downtime.
//!
//! The registration of before moves beside the new one. While it is there, both pairs of tokens are good; the running
//! service reads them anew when it meets a token that it doesn't know. A crash between the steps leaves either the old
//! registration, or both.

use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::{files, matrix};
use appservice::{Registration, TokenPair};
use std::path::{Path, PathBuf};

pub(super) fn begin(config: &Config) -> Result<(), Failure> {
    let section = config.appservice.as_ref();
    if section.is_some_and(|s| s.as_token.is_some() || s.hs_token.is_some()) {
        return Err(Failure::new(
            Code::ConfigSecret,
            "the tokens come from the environment, where this command can't change them",
            "keep them in the registration (or in files), or rotate them where the environment is made",
        ));
    }
    let (path, previous) = (matrix::registration_path(config), matrix::previous_path(config));
    if previous.exists() {
        return Err(Failure::new(
            Code::Exists,
            format!("a rotation is going on: {} is there", previous.display()),
            "finish it with --finish, or go back with --abort",
        ));
    }
    // The file as it is: an operator may have added keys of the homeserver's own.
    let mut before = matrix::registration(config)?;
    TokenPair {
        as_token: before.as_token,
        hs_token: before.hs_token,
    } = matrix::tokens(config)?;
    let mut new = before.clone();
    TokenPair {
        as_token: new.as_token,
        hs_token: new.hs_token,
    } = TokenPair::generate(getrandom::fill)
        .map_err(|e| Failure::new(Code::Registration, "no new tokens", "try again").with_source(e))?;
    files::write_secret(&previous, &yaml(&before)?)?;
    put(config, &new)?;
    println!(
        "New tokens are in {0}; those of before are good until you finish.\n\
         1. If the homeserver loads a copy of {0}, copy it there again.\n\
         2. Restart the homeserver. Nothing is lost meanwhile: what is for it waits, what is for us it keeps.\n\
         3. causeway doctor, then: causeway appservice rotate --finish",
        path.display()
    );
    Ok(())
}

pub(super) fn finish(config: &Config) -> Result<(), Failure> {
    let previous = going_on(config)?;
    std::fs::remove_file(&previous).map_err(|e| failed(&previous, e))?;
    println!("The tokens of before are good no more.");
    Ok(())
}

pub(super) fn abort(config: &Config) -> Result<(), Failure> {
    let previous = going_on(config)?;
    let before = matrix::read(&previous)?;
    put(config, &before)?;
    std::fs::remove_file(&previous).map_err(|e| failed(&previous, e))?;
    println!("The tokens of before are in use again. If the homeserver has loaded the new ones, restart it.");
    Ok(())
}

fn going_on(config: &Config) -> Result<PathBuf, Failure> {
    let previous = matrix::previous_path(config);
    if previous.exists() {
        return Ok(previous);
    }
    Err(Failure::new(
        Code::NotFound,
        "no rotation is going on",
        "begin one with `causeway appservice rotate`",
    ))
}

/// Puts a registration where the configuration looks for it, and its tokens into their files where they have some.
fn put(config: &Config, registration: &Registration) -> Result<(), Failure> {
    let TokenPair { as_token, hs_token } = registration.pair();
    let section = config.appservice.as_ref();
    for (file, token) in [
        (section.and_then(|s| s.as_token_file.as_ref()), as_token),
        (section.and_then(|s| s.hs_token_file.as_ref()), hs_token),
    ] {
        if let Some(file) = file {
            files::replace_secret(&config.path(file), token.expose())?;
        }
    }
    files::replace_secret(&matrix::registration_path(config), &yaml(registration)?)
}

fn yaml(registration: &Registration) -> Result<zeroize::Zeroizing<String>, Failure> {
    registration.to_yaml().map_err(|e| {
        Failure::new(Code::Internal, "the registration can't be written", "report this").with_source(e)
    })
}

fn failed(path: &Path, error: std::io::Error) -> Failure {
    Failure::new(
        Code::Internal,
        format!("{} can't be removed", path.display()),
        "check the folder's permissions",
    )
    .with_source(error)
}
