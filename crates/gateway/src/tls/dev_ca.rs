//! A certificate authority for development: two providers that share its folder trust each other.

use super::validity::civil;
use crate::failure::{Code, Failure};
use crate::files;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const NAME: &str = "Causeway development CA";
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const DAY: i64 = 86_400;

/// An authority in a folder.
pub struct DevCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: PathBuf,
}

fn failed(what: &str, error: rcgen::Error) -> Failure {
    Failure::new(
        Code::Certificate,
        format!("{what} can't be made"),
        "check the names that were given",
    )
    .with_source(error)
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0))
}

/// Valid from yesterday on, for clocks that differ.
fn valid(params: &mut CertificateParams, days: i64) {
    let date = |seconds| {
        let (year, month, day) = civil(seconds);
        date_time_ymd(i32::try_from(year).unwrap_or(2100), month, day)
    };
    params.not_before = date(now() - DAY);
    params.not_after = date(now() + days * DAY);
}

/// The authority's parameters. They depend on nothing that is kept in its certificate, so that key and name suffice
/// to sign with it later.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, 3650);
    params
}

impl DevCa {
    /// Opens the authority in `folder`, or makes it there.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let certificate = folder.join(CERTIFICATE);
        let key_path = folder.join(KEY);
        let params = ca_params();
        let key = if certificate.exists() && key_path.exists() {
            let pem = zeroize::Zeroizing::new(files::read(&key_path)?);
            KeyPair::from_pem(&pem).map_err(|e| failed("the authority's key", e))?
        } else {
            let key = KeyPair::generate().map_err(|e| failed("the authority's key", e))?;
            let made = params
                .self_signed(&key)
                .map_err(|e| failed("the authority's certificate", e))?;
            files::write_secret(&key_path, &zeroize::Zeroizing::new(key.serialize_pem()))?;
            files::write(&certificate, &made.pem())?;
            key
        };
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// The authority's own certificate, for `mimi.trusted_ca`.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Writes a certificate for `names` that serves on both sides of a connection, and its key (EC P-256).
    pub fn issue(&self, names: &[String], certificate: &Path, key_path: &Path) -> Result<(), Failure> {
        let usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue_for(names, usages, certificate, key_path)
    }

    /// The same for some sides only.
    pub(super) fn issue_for(
        &self,
        names: &[String],
        usages: Vec<ExtendedKeyUsagePurpose>,
        certificate: &Path,
        key_path: &Path,
    ) -> Result<(), Failure> {
        let mut params = CertificateParams::new(names.to_vec()).map_err(|e| failed("the certificate", e))?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, 825);
        let key = KeyPair::generate().map_err(|e| failed("the certificate's key", e))?;
        let made = params
            .signed_by(&key, &self.issuer)
            .map_err(|e| failed("the certificate", e))?;
        files::write_secret(key_path, &zeroize::Zeroizing::new(key.serialize_pem()))?;
        files::write(certificate, &made.pem())
    }
}
