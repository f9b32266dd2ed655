//! Signing in, and the stock of KeyPackages.

use super::Engine;
use crate::api::{B64, KeyPackageStock, ProviderInfo, Session, UploadKeyPackages};
use crate::error::ClientError;
use crate::mls;
use crate::state::{Account, MatrixSession};
use crate::wire;
use openmls::prelude::KeyPackage;
use openmls_basic_credential::SignatureKeyPair;

/// How many one-time KeyPackages a device keeps with its provider.
const STOCK: u32 = 20;
/// Refilled when fewer are left.
const LOW: u32 = 10;

impl Engine {
    /// Takes in a session. The first time it makes the device's signature key; later it must be the same device.
    pub fn signed_in(
        &mut self,
        provider_url: &str,
        ca_file: Option<String>,
        provider: ProviderInfo,
        session: Session,
        matrix: Option<MatrixSession>,
    ) -> Result<(), ClientError> {
        self.saving(|engine| {
            let signer = match engine.state.account.take() {
                Some(old) if old.session.client == session.client => old.signer,
                Some(old) => {
                    let why = format!(
                        "this profile belongs to {}; use another --profile",
                        old.session.client
                    );
                    return Err(ClientError::BadIdentity(why));
                }
                None => {
                    let suite = super::founding::suite_of(&provider.cipher_suites)?;
                    SignatureKeyPair::new(suite.signature_algorithm()).map_err(|e| ClientError::Mls {
                        what: "make the signature key",
                        why: format!("{e:?}"),
                    })?
                }
            };
            engine.state.account = Some(Account {
                provider_url: provider_url.into(),
                ca_file,
                provider,
                session,
                signer,
                matrix,
            });
            Ok(())
        })
    }

    /// Forgets the session's token; keys and history stay.
    pub fn signed_out(&mut self) -> Result<(), ClientError> {
        self.saving(|engine| {
            if let Some(account) = &mut engine.state.account {
                account.session.token.clear();
                account.matrix = None;
            }
            Ok(())
        })
    }

    /// What is to be uploaded given the stock the provider reports: first what was made before and may not have
    /// arrived, else what refills the stock (to `at_least`, where given). `None` if nothing is needed.
    pub fn key_packages(
        &mut self,
        stock: KeyPackageStock,
        at_least: Option<u32>,
    ) -> Result<Option<UploadKeyPackages>, ClientError> {
        if self.state.upload.is_empty() {
            let wanted = match at_least {
                Some(n) => n.saturating_sub(stock.available),
                None if stock.available < LOW => STOCK - stock.available,
                None => 0,
            };
            // One of last resort that was handed out is replaced: whoever has it may use it once more.
            let last_resort = !stock.last_resort || stock.last_resort_used;
            if wanted == 0 && !last_resort {
                return Ok(None);
            }
            self.saving(|engine| {
                for _ in 0..wanted {
                    let made = engine.key_package(false)?;
                    engine.state.upload.push(made);
                }
                if last_resort {
                    let made = engine.key_package(true)?;
                    engine.state.upload.push(made);
                }
                Ok(())
            })?;
        }
        Ok(Some(UploadKeyPackages {
            key_packages: self.state.upload.clone(),
        }))
    }

    /// The upload arrived.
    pub fn key_packages_uploaded(&mut self) -> Result<(), ClientError> {
        self.saving(|engine| {
            engine.state.upload.clear();
            Ok(())
        })
    }

    fn key_package(&self, last_resort: bool) -> Result<B64, ClientError> {
        let account = self.account()?;
        let suite = super::founding::suite_of(&account.provider.cipher_suites)?;
        let mut builder = KeyPackage::builder()
            .leaf_node_capabilities(mls::capabilities())
            .leaf_node_extensions(mls::leaf_extensions()?);
        if last_resort {
            builder = builder
                .key_package_extensions(mls::last_resort_extensions()?)
                .mark_as_last_resort();
        }
        let credential = mls::credential(&account.session.client, &account.signer);
        let bundle = builder
            .build(suite, &self.mls, &account.signer, credential)
            .map_err(ClientError::mls("make a KeyPackage"))?;
        Ok(wire::tls(bundle.key_package())?.into())
    }
}
