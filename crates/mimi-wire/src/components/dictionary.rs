//! The application data dictionary, lists of components, and Safe AAD
//! (draft-ietf-mls-extensions-10 sections 4.2, 4.6, 4.9).

use super::component_id;
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, wire_fields};
use serde::Serialize;

/// `ComponentData`: one entry of a dictionary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ComponentData {
    /// See [`component_id`].
    pub component_id: u16,
    /// The component's own encoding.
    pub data: Opaque,
}

wire_fields!(ComponentData { component_id, data });

/// `AppDataDictionary`: data by component, strictly ascending by identifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct AppDataDictionary {
    component_data: Vec<ComponentData>,
}

impl AppDataDictionary {
    /// A dictionary without entries.
    pub const fn new() -> Self {
        Self {
            component_data: Vec::new(),
        }
    }

    /// The data of a component.
    pub fn get(&self, component_id: u16) -> Option<&[u8]> {
        let found = self
            .component_data
            .binary_search_by_key(&component_id, |c| c.component_id)
            .ok()?;
        self.component_data.get(found).map(|c| c.data.as_bytes())
    }

    /// The data of a component, decoded.
    pub fn get_as<T: Decode>(&self, component_id: u16) -> Option<Result<T, DecodeError>> {
        self.get(component_id).map(T::from_bytes)
    }

    /// Sets the data of a component.
    pub fn set(&mut self, component_id: u16, data: impl Into<Vec<u8>>) {
        let entry = ComponentData {
            component_id,
            data: Opaque(data.into()),
        };
        match self
            .component_data
            .binary_search_by_key(&component_id, |c| c.component_id)
        {
            Ok(found) => {
                if let Some(slot) = self.component_data.get_mut(found) {
                    *slot = entry;
                }
            }
            Err(place) => self.component_data.insert(place, entry),
        }
    }

    /// Takes a component out; whether it was there.
    pub fn remove(&mut self, component_id: u16) -> bool {
        let before = self.component_data.len();
        self.component_data.retain(|c| c.component_id != component_id);
        self.component_data.len() != before
    }

    /// The entries, ascending.
    pub fn iter(&self) -> std::slice::Iter<'_, ComponentData> {
        self.component_data.iter()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.component_data.is_empty()
    }
}

impl<'a> IntoIterator for &'a AppDataDictionary {
    type Item = &'a ComponentData;
    type IntoIter = std::slice::Iter<'a, ComponentData>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Encode for AppDataDictionary {
    fn encode(&self, out: &mut Vec<u8>) {
        self.component_data.encode(out);
    }
}

impl Decode for AppDataDictionary {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        let component_data = <Vec<ComponentData>>::decode(r)?;
        if !component_data.is_sorted_by(|a, b| a.component_id < b.component_id) {
            return Err(at.invalid("component identifiers must be strictly ascending"));
        }
        Ok(Self { component_data })
    }
}

/// `ComponentsList`: the data of `app_components` and of `safe_aad`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct ComponentsList {
    /// Component identifiers.
    pub component_ids: Vec<u16>,
}

wire_fields!(ComponentsList { component_ids });

/// `SafeAADItem`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SafeAadItem {
    /// See [`component_id`].
    pub component_id: u16,
    /// The component's own encoding.
    pub aad_item_data: Opaque,
}

wire_fields!(SafeAadItem {
    component_id,
    aad_item_data
});

/// `SafeAAD`: what `authenticated_data` is in a group that has the `safe_aad` component; ascending.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct SafeAad {
    aad_items: Vec<SafeAadItem>,
}

impl SafeAad {
    /// No items.
    pub const fn new() -> Self {
        Self {
            aad_items: Vec::new(),
        }
    }

    /// The one item that MIMI puts there: a franking tag.
    pub fn with_franking_tag(tag: &[u8; 32]) -> Self {
        let item = SafeAadItem {
            component_id: component_id::FRANK_AAD,
            aad_item_data: Opaque(tag.to_vec()),
        };
        Self {
            aad_items: vec![item],
        }
    }

    /// The item of a component.
    pub fn get(&self, component_id: u16) -> Option<&[u8]> {
        self.aad_items
            .iter()
            .find(|i| i.component_id == component_id)
            .map(|i| i.aad_item_data.as_bytes())
    }

    /// The franking tag, if there is one of the right length.
    pub fn franking_tag(&self) -> Option<[u8; 32]> {
        self.get(component_id::FRANK_AAD)?.try_into().ok()
    }
}

impl Encode for SafeAad {
    fn encode(&self, out: &mut Vec<u8>) {
        self.aad_items.encode(out);
    }
}

impl Decode for SafeAad {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        let aad_items = <Vec<SafeAadItem>>::decode(r)?;
        if !aad_items.is_sorted_by(|a, b| a.component_id < b.component_id) {
            return Err(at.invalid("Safe AAD items must be strictly ascending"));
        }
        Ok(Self { aad_items })
    }
}
