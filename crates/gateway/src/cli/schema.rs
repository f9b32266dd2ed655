//! `causeway schema`: what is kept in the folder schemas/, from the types themselves.

use super::output;
use crate::failure::Failure;
use crate::schemas;
use clap::{Args, ValueEnum};

/// Print a JSON Schema or an OpenAPI description made from the program's types.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct SchemaArgs {
    /// Which one.
    what: What,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// JSON Schema of causeway.toml.
    Config,
    /// OpenAPI of the client API.
    ClientApi,
    /// OpenAPI of health, metrics and the admin API.
    AdminApi,
    /// JSON Schemas of the carrier events.
    Events,
    /// JSON Schema of what `causeway doctor --json` prints.
    Doctor,
    /// The annotated example configuration (TOML).
    Example,
}

pub(super) fn run(args: SchemaArgs) -> Result<(), Failure> {
    match args.what {
        What::Config => output::json(&schemas::config()),
        What::ClientApi => output::json(&schemas::client_api()),
        What::AdminApi => output::json(&schemas::admin_api()),
        What::Events => output::json(&schemas::events()),
        What::Doctor => output::json(&schemas::doctor()),
        What::Example => {
            print!("{}", crate::config::example::annotated()?);
            Ok(())
        }
    }
}
