//! keyMaterial (section 5.2): fetch KeyPackages of a user's clients.

use super::{PROTOCOL_MLS10, read_protocol};
use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, wire_codes};
use crate::labels;
use crate::mls::{Capabilities, CipherSuite, Credential, KeyPackage, RequiredCapabilities};
use crate::uri::{MimiUri, or_empty};
use serde::Serialize;

/// `KeyMaterialRequest`. Note that nothing in it is fresh: a captured one can be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyMaterialRequest {
    /// Who asks.
    pub requesting_user: MimiUri,
    /// Whose KeyPackages.
    pub target_user: MimiUri,
    /// For which room. An empty URI on the wire, as it must be when it is for no room yet, is `None`.
    pub room_id: Option<MimiUri>,
    /// Suites the requester can use; not empty.
    pub acceptable_ciphersuites: Vec<CipherSuite>,
    /// What the clients must support.
    pub required_capabilities: RequiredCapabilities,
    /// The requester's signature public key.
    pub requester_signature_key: Opaque,
    /// The requester's credential.
    pub requester_credential: Credential,
    /// Signature over [`KeyMaterialRequest::tbs`] with label [`labels::KEY_MATERIAL_REQUEST`].
    pub key_material_request_signature: Opaque,
}

impl KeyMaterialRequest {
    /// `KeyMaterialRequestTBS`: all fields but the signature.
    pub fn tbs(&self) -> Vec<u8> {
        let mut out = vec![PROTOCOL_MLS10];
        self.requesting_user.encode(&mut out);
        self.target_user.encode(&mut out);
        or_empty::encode(self.room_id.as_ref(), &mut out);
        self.acceptable_ciphersuites.encode(&mut out);
        self.required_capabilities.encode(&mut out);
        self.requester_signature_key.encode(&mut out);
        self.requester_credential.encode(&mut out);
        out
    }

    /// The octets that the signature is over.
    pub fn sign_content(&self) -> Vec<u8> {
        labels::sign_content(labels::KEY_MATERIAL_REQUEST, &self.tbs())
    }
}

impl Encode for KeyMaterialRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tbs());
        self.key_material_request_signature.encode(out);
    }
}

impl Decode for KeyMaterialRequest {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_protocol(r.field("KeyMaterialRequest.protocol"))?;
        let request = Self {
            requesting_user: MimiUri::decode(r.field("KeyMaterialRequest.requestingUser"))?,
            target_user: MimiUri::decode(r.field("KeyMaterialRequest.targetUser"))?,
            room_id: or_empty::decode(r.field("KeyMaterialRequest.roomId"))?,
            acceptable_ciphersuites: Vec::decode(r.field("KeyMaterialRequest.acceptableCiphersuites"))?,
            required_capabilities: RequiredCapabilities::decode(
                r.field("KeyMaterialRequest.requiredCapabilities"),
            )?,
            requester_signature_key: Opaque::decode(r.field("KeyMaterialRequest.requesterSignatureKey"))?,
            requester_credential: Credential::decode(r.field("KeyMaterialRequest.requesterCredential"))?,
            key_material_request_signature: Opaque::decode(r.field("KeyMaterialRequest.signature"))?,
        };
        if request.acceptable_ciphersuites.is_empty() {
            return Err(r
                .field("KeyMaterialRequest.acceptableCiphersuites")
                .invalid("no cipher suite"));
        }
        Ok(request)
    }
}

wire_codes! {
    /// `KeyMaterialUserCode`.
    KeyMaterialUserCode, "key material user code" {
        /// Every client's KeyPackage is there.
        Success = 0,
        /// Some clients' KeyPackages are there.
        PartialSuccess = 1,
        /// The target has no protocol in common.
        IncompatibleProtocol = 2,
        /// No client has a fitting KeyPackage.
        NoCompatibleMaterial = 3,
        /// No such user.
        UserUnknown = 4,
        /// The target has not consented; may stand for any other refusal.
        NoConsent = 5,
        /// The target has consented, but not for this room.
        NoConsentForThisRoom = 6,
        /// The user was deleted.
        UserDeleted = 7,
    }
}

impl KeyMaterialUserCode {
    /// Whether an answer with this code may list clients.
    pub fn may_list_clients(self) -> bool {
        matches!(
            self,
            Self::Success | Self::PartialSuccess | Self::NoCompatibleMaterial
        )
    }
}

wire_codes! {
    /// `KeyMaterialClientCode`.
    KeyMaterialClientCode, "key material client code" {
        /// A KeyPackage follows.
        Success = 0,
        /// The client has none left.
        KeyMaterialExhausted = 1,
        /// The client has none that fits.
        NothingCompatible = 2,
    }
}

/// `ClientKeyMaterial`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientKeyMaterial {
    /// The client.
    pub client_uri: MimiUri,
    /// What there is for it.
    pub material: ClientMaterial,
}

/// What there is for a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientMaterial {
    /// A KeyPackage, handed out to nobody else.
    Success(Box<KeyPackage>),
    /// None left.
    KeyMaterialExhausted,
    /// None that fits; what the client can do, if its provider says.
    NothingCompatible(Option<Capabilities>),
}

impl ClientMaterial {
    /// The code on the wire.
    pub fn code(&self) -> KeyMaterialClientCode {
        match self {
            Self::Success(_) => KeyMaterialClientCode::Success,
            Self::KeyMaterialExhausted => KeyMaterialClientCode::KeyMaterialExhausted,
            Self::NothingCompatible(_) => KeyMaterialClientCode::NothingCompatible,
        }
    }
}

impl Encode for ClientKeyMaterial {
    fn encode(&self, out: &mut Vec<u8>) {
        self.material.code().encode(out);
        self.client_uri.encode(out);
        match &self.material {
            ClientMaterial::Success(key_package) => key_package.encode(out),
            ClientMaterial::KeyMaterialExhausted => {}
            ClientMaterial::NothingCompatible(capabilities) => capabilities.encode(out),
        }
    }
}

impl Decode for ClientKeyMaterial {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = KeyMaterialClientCode::decode(r.field("ClientKeyMaterial.clientStatus"))?;
        let client_uri = MimiUri::decode(r.field("ClientKeyMaterial.clientUri"))?;
        let material = match code {
            KeyMaterialClientCode::Success => ClientMaterial::Success(Box::new(KeyPackage::decode(r)?)),
            KeyMaterialClientCode::KeyMaterialExhausted => ClientMaterial::KeyMaterialExhausted,
            KeyMaterialClientCode::NothingCompatible => ClientMaterial::NothingCompatible(Option::decode(
                r.field("ClientKeyMaterial.clientCapabilities"),
            )?),
        };
        Ok(Self { client_uri, material })
    }
}

/// `KeyMaterialResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyMaterialResponse {
    /// The outcome for the user as a whole.
    pub user_status: KeyMaterialUserCode,
    /// The user asked for.
    pub user_uri: MimiUri,
    /// The user's clients; empty where the code doesn't allow any.
    pub clients: Vec<ClientKeyMaterial>,
}

impl KeyMaterialResponse {
    /// A refusal: no clients.
    pub fn refusal(user_status: KeyMaterialUserCode, user_uri: MimiUri) -> Self {
        Self {
            user_status,
            user_uri,
            clients: Vec::new(),
        }
    }

    /// The KeyPackages in it, with their clients.
    pub fn key_packages(&self) -> impl Iterator<Item = (&MimiUri, &KeyPackage)> {
        self.clients.iter().filter_map(|c| match &c.material {
            ClientMaterial::Success(key_package) => Some((&c.client_uri, &**key_package)),
            _ => None,
        })
    }
}

impl Encode for KeyMaterialResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(PROTOCOL_MLS10);
        self.user_status.encode(out);
        self.user_uri.encode(out);
        self.clients.encode(out);
    }
}

impl Decode for KeyMaterialResponse {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_protocol(r.field("KeyMaterialResponse.protocol"))?;
        let response = Self {
            user_status: KeyMaterialUserCode::decode(r.field("KeyMaterialResponse.userStatus"))?,
            user_uri: MimiUri::decode(r.field("KeyMaterialResponse.userUri"))?,
            clients: Vec::decode(r.field("KeyMaterialResponse.clients"))?,
        };
        if !response.user_status.may_list_clients() && !response.clients.is_empty() {
            return Err(r
                .field("KeyMaterialResponse.clients")
                .invalid("this status lists no clients"));
        }
        Ok(response)
    }
}
