//! identifierQuery (section 5.8): find a user at a provider.

use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, wire_codes, wire_fields};
use crate::components::AppDataDictionary;
use crate::uri::MimiUri;
use serde::Serialize;

wire_codes! {
    /// `SearchIdentifierType`.
    SearchIdentifierType, "search identifier type" {
        /// Whole handle URI, exactly.
        Handle = 1,
        /// Nickname or user part of the handle, exactly.
        Nick = 2,
        /// Mail address, exactly.
        Email = 3,
        /// E.164 number with `+`, exactly.
        Phone = 4,
        /// Part of a name, in any case.
        PartialName = 5,
        /// Part of any searchable field.
        WholeProfile = 6,
        /// An OpenID Connect claim, exactly.
        OidcStdClaim = 7,
        /// A vCard property, exactly.
        VcardField = 8,
    }
}

/// `QueryElement`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueryElement {
    /// What is compared.
    pub search_type: SearchIdentifierType,
    /// Name of the claim or property; on the wire with [`SearchIdentifierType::OidcStdClaim`] and
    /// [`SearchIdentifierType::VcardField`] only, empty otherwise.
    pub field_name: String,
    /// What it is compared with.
    pub search_value: String,
}

impl QueryElement {
    fn has_field_name(search_type: SearchIdentifierType) -> bool {
        matches!(
            search_type,
            SearchIdentifierType::OidcStdClaim | SearchIdentifierType::VcardField
        )
    }
}

impl Encode for QueryElement {
    fn encode(&self, out: &mut Vec<u8>) {
        self.search_type.encode(out);
        if Self::has_field_name(self.search_type) {
            self.field_name.encode(out);
        }
        self.search_value.encode(out);
    }
}

impl Decode for QueryElement {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let search_type = SearchIdentifierType::decode(r.field("QueryElement.searchType"))?;
        let field_name = if Self::has_field_name(search_type) {
            String::decode(r.field("QueryElement.fieldName"))?
        } else {
            String::new()
        };
        let search_value = String::decode(r.field("QueryElement.searchValue"))?;
        Ok(Self {
            search_type,
            field_name,
            search_value,
        })
    }
}

/// `IdentifierRequest`: all elements must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdentifierRequest {
    /// What is looked for.
    pub query_elements: Vec<QueryElement>,
    /// Extensions.
    pub id_request_extensions: AppDataDictionary,
}

wire_fields!(IdentifierRequest {
    query_elements,
    id_request_extensions
});

wire_codes! {
    /// `IdentifierQueryCode`.
    IdentifierQueryCode, "identifier query code" {
        /// Found.
        Success = 0,
        /// Nobody matches, or nobody who may be found.
        NotFound = 1,
        /// Too many match.
        Ambiguous = 2,
        /// The provider does not answer this.
        Forbidden = 3,
        /// A field can't be searched.
        UnsupportedField = 4,
    }
}

wire_codes! {
    /// `FieldSource`.
    FieldSource, "profile field source" {
        /// An OpenID Connect claim.
        OidcStdClaim = 7,
        /// A vCard property.
        VcardField = 8,
    }
}

/// `ProfileField`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProfileField {
    /// Which vocabulary.
    pub field_source: FieldSource,
    /// Claim or property.
    pub field_name: String,
    /// Its value.
    pub field_value: Opaque,
}

wire_fields!(ProfileField {
    field_source,
    field_name,
    field_value
});

/// `UserProfile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserProfile {
    /// The user.
    pub stable_uri: MimiUri,
    /// What the user shows.
    pub fields: Vec<ProfileField>,
}

wire_fields!(UserProfile { stable_uri, fields });

/// `IdentifierResponse`. We list each match in both lists, in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdentifierResponse {
    /// Outcome.
    pub response_code: IdentifierQueryCode,
    /// Users who match.
    pub uri: Vec<MimiUri>,
    /// Their profiles.
    pub found_profiles: Vec<UserProfile>,
    /// Extensions.
    pub id_response_extensions: AppDataDictionary,
}

wire_fields!(IdentifierResponse {
    response_code,
    uri,
    found_profiles,
    id_response_extensions
});
