//! openmls as a MIMI client uses it: storage that lives in the profile, capabilities, configuration.

mod provider;
mod setup;

pub(crate) use provider::Provider;
pub(crate) use setup::*;
