//! Reading the group context: its dictionary of components.

use super::Group;
use openmls::extensions::{AppDataDictionary, AppDataDictionaryExtension};
use openmls::group::GroupContext;

pub(super) fn dictionary(context: &GroupContext) -> Option<&AppDataDictionary> {
    context
        .extensions()
        .app_data_dictionary()
        .map(AppDataDictionaryExtension::dictionary)
}

impl Group {
    /// The data of a component in the committed group context.
    pub fn component(&self, id: u16) -> Option<&[u8]> {
        dictionary(self.mls.group_context())?.get(&id)
    }

    /// The encoded GroupContext.
    pub(super) fn encoded_context(context: &GroupContext) -> Vec<u8> {
        use tls_codec::Serialize as _;
        // What was decoded or computed by openmls can be encoded again.
        context.tls_serialize_detached().unwrap_or_default()
    }
}
