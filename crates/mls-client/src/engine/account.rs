//! Signing in, and the stock of KeyPackages.

use super::Engine;
use crate::api::{B64, KeyPackageStock, ProviderInfo, Session, SuiteStock, UploadKeyPackages};
use crate::error::ClientError;
use crate::mls;
use crate::state::{Account, MatrixSession};
use crate::wire;
use openmls::prelude::{Ciphersuite, KeyPackage};
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::types::SignatureScheme;

/// How many one-time KeyPackages a device keeps with its provider, of the suite that new rooms get.
const STOCK: u32 = 20;
/// The same of each other suite.
const STOCK_OF_OTHERS: u32 = 12;
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
            let (signer, p256) = match engine.state.account.take() {
                Some(old) if old.session.client == session.client => (old.signer, old.p256),
                Some(old) => {
                    let why = format!(
                        "this profile belongs to {}; use another --profile",
                        old.session.client
                    );
                    return Err(ClientError::BadIdentity(why));
                }
                None => (new_key(SignatureScheme::ED25519)?, None),
            };
            engine.state.account = Some(Account {
                provider_url: provider_url.into(),
                ca_file,
                provider,
                session,
                signer,
                p256,
                matrix,
            });
            Ok(())
        })
    }

    /// Makes the key for groups of this suite, where this device has none yet. For work that is saved afterwards.
    pub(super) fn need_signer(&mut self, suite: Ciphersuite) -> Result<(), ClientError> {
        let account = self.state.account.as_mut().ok_or(ClientError::NotSignedIn)?;
        let scheme = suite.signature_algorithm();
        if scheme == SignatureScheme::ECDSA_SECP256R1_SHA256 && account.p256.is_none() {
            account.p256 = Some(new_key(scheme)?);
        }
        Ok(())
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
    /// arrived, else what refills the stock of each suite (to `at_least`, where given; of the others than the best to no
    /// more than usual). `None` if nothing is needed.
    pub fn key_packages(
        &mut self,
        stock: &KeyPackageStock,
        at_least: Option<u32>,
    ) -> Result<Option<UploadKeyPackages>, ClientError> {
        if self.state.upload.is_empty() {
            let mut wanted = Vec::new();
            for (place, (suite, stock)) in self.stocks(stock)?.into_iter().enumerate() {
                let full = if place == 0 { STOCK } else { STOCK_OF_OTHERS };
                let one_time = match at_least {
                    Some(n) if place == 0 => n.saturating_sub(stock.available),
                    Some(n) => n.min(full).saturating_sub(stock.available),
                    None if stock.available < LOW => full.saturating_sub(stock.available),
                    None => 0,
                };
                // One of last resort that was handed out is replaced: whoever has it may use it once more.
                let last_resort = !stock.last_resort || stock.last_resort_used;
                wanted.extend((0..one_time).map(|_| (suite, false)));
                wanted.extend(last_resort.then_some((suite, true)));
            }
            if wanted.is_empty() {
                return Ok(None);
            }
            self.saving(|engine| {
                for (suite, last_resort) in wanted {
                    engine.need_signer(suite)?;
                    let made = engine.key_package(suite, last_resort)?;
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

    /// The stock of each suite that provider and client have in common, best first.
    fn stocks(&self, stock: &KeyPackageStock) -> Result<Vec<(Ciphersuite, SuiteStock)>, ClientError> {
        let known: Vec<_> = stock
            .suites
            .iter()
            .filter_map(|of| Some((mls::suite(of.suite)?, *of)))
            .collect();
        if !known.is_empty() {
            return Ok(known);
        }
        // A provider that tells nothing of suites takes KeyPackages of one.
        let suite = super::founding::suite_of(&self.account()?.provider.cipher_suites, None)?;
        let all = SuiteStock {
            suite: suite.into(),
            available: stock.available,
            last_resort: stock.last_resort,
            last_resort_used: stock.last_resort_used,
        };
        Ok(vec![(suite, all)])
    }

    /// One-time KeyPackages of the best suite.
    pub fn available(&self, stock: &KeyPackageStock) -> Result<u32, ClientError> {
        let stocks = self.stocks(stock)?;
        Ok(stocks.first().map_or(0, |(_, stock)| stock.available))
    }

    fn key_package(&self, suite: Ciphersuite, last_resort: bool) -> Result<B64, ClientError> {
        let account = self.account()?;
        let signer = account.signer(suite)?;
        let mut builder = KeyPackage::builder()
            .leaf_node_capabilities(mls::capabilities())
            .leaf_node_extensions(mls::leaf_extensions()?);
        if last_resort {
            builder = builder
                .key_package_extensions(mls::last_resort_extensions()?)
                .mark_as_last_resort();
        }
        let credential = mls::credential(&account.session.client, signer);
        let bundle = builder
            .build(suite, &self.mls, signer, credential)
            .map_err(ClientError::mls("make a KeyPackage"))?;
        Ok(wire::tls(bundle.key_package())?.into())
    }
}

fn new_key(scheme: SignatureScheme) -> Result<SignatureKeyPair, ClientError> {
    SignatureKeyPair::new(scheme).map_err(|e| ClientError::Mls {
        what: "make the signature key",
        why: format!("{e:?}"),
    })
}
