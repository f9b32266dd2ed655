//! openmls as a MIMI client uses it: storage that lives in the profile, capabilities, configuration.

mod groups;
mod provider;
mod setup;

pub(crate) use groups::Held;
pub(crate) use provider::Provider;
pub(crate) use setup::*;
