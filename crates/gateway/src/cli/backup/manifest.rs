//! What a backup consists of.

use super::folder;
use crate::config::Config;
use crate::failure::{Code, Failure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the format; every older one can be restored.
pub(in crate::cli) const FORMAT: u32 = 1;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Manifest {
    pub(in crate::cli) causeway_backup: u32,
    /// Of the program that made it.
    pub(in crate::cli) version: String,
    pub(in crate::cli) provider: String,
    pub(in crate::cli) node: String,
    /// When it was begun, Unix ms. Nothing of what happened later is sure to be in it.
    pub(in crate::cli) made_at: u64,
    pub(in crate::cli) store: Store,
    pub(in crate::cli) files: Vec<SavedFile>,
}

/// What the store's export holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Store {
    pub(in crate::cli) records: u64,
    pub(in crate::cli) blobs: u64,
    /// What stands in the export's last line.
    pub(in crate::cli) sha256: String,
}

/// A file of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct SavedFile {
    /// Below the backup's folder.
    pub(in crate::cli) name: String,
    pub(in crate::cli) sha256: String,
    pub(in crate::cli) size: u64,
    pub(in crate::cli) mode: u32,
    pub(in crate::cli) source: Source,
}

/// What a file was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Source {
    /// The store's export.
    Store,
    /// The configuration file.
    Config,
    /// What a setting names.
    Setting {
        /// The setting, as a JSON pointer into the configuration.
        setting: String,
        /// What stood there.
        value: PathBuf,
        /// The file below it, where it is a folder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inside: Option<PathBuf>,
    },
}

/// A manifest as far as one of any version can be read.
#[derive(Deserialize)]
struct Version {
    causeway_backup: u32,
}

impl Manifest {
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let made_at = now.ok().and_then(|now| u64::try_from(now.as_millis()).ok());
        Ok(Self {
            causeway_backup: FORMAT,
            version: crate::version(),
            provider: config.provider.domain.to_string(),
            node: config.provider.node_name.clone(),
            made_at: made_at
                .ok_or_else(|| Failure::new(Code::Internal, "the clock is before 1970", "set the clock"))?,
            store: Store::default(),
            files: Vec::new(),
        })
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec_pretty(self).map_err(|e| {
            Failure::new(Code::Internal, "the manifest can't be written", "report this").with_source(e)
        })
    }

    /// The hash of every file, the manifest's own octets among them.
    pub(super) fn sums(&self, manifest: &[u8]) -> String {
        use std::fmt::Write as _;
        let mut sums = String::new();
        for file in &self.files {
            let _ = writeln!(sums, "{}  {}", file.sha256, file.name);
        }
        let _ = writeln!(sums, "{}  {}", folder::sha256(manifest), folder::MANIFEST);
        sums
    }

    /// Reads a backup's manifest and checks each of its files against it.
    pub(in crate::cli) fn verified(backup: &Path) -> Result<Self, Failure> {
        let damaged = |what: String| {
            Failure::new(
                Code::BackupDamaged,
                what,
                "use another backup, or another copy of this one",
            )
        };
        let text = folder::read(&backup.join(folder::MANIFEST))?;
        let version: Version = serde_json::from_slice(&text)
            .map_err(|e| damaged(format!("{}: no manifest of a backup", backup.display())).with_source(e))?;
        if version.causeway_backup > FORMAT {
            return Err(Failure::new(
                Code::BackupDamaged,
                format!("the backup has format {}", version.causeway_backup),
                "install the version of causeway that made it or a later one",
            ));
        }
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|e| damaged(format!("{}: the manifest", backup.display())).with_source(e))?;
        if folder::read(&backup.join(folder::SUMS))? != manifest.sums(&text).as_bytes() {
            return Err(damaged(format!(
                "{}: the manifest is not what was saved",
                backup.display()
            )));
        }
        for file in &manifest.files {
            folder::plain(&file.name).ok_or_else(|| damaged(format!("{}: a strange name", file.name)))?;
            let found = folder::describe(backup, &file.name, file.source.clone())?;
            if (found.size, &found.sha256) != (file.size, &file.sha256) {
                return Err(damaged(format!(
                    "{} is not what was saved",
                    backup.join(&file.name).display()
                )));
            }
        }
        for needed in [Source::Store, Source::Config] {
            if !manifest.files.iter().any(|file| file.source == needed) {
                return Err(damaged(format!("{needed:?} is not among the files")));
            }
        }
        Ok(manifest)
    }
}

/// A file that the configuration names.
pub(super) struct Named {
    pub(super) path: PathBuf,
    pub(super) source: Source,
}

/// Sections in which settings name files that make this provider what it is.
const SECTIONS: [&str; 6] = ["keys", "mimi", "peers", "client_api", "appservice", "admin"];
/// Most files of a folder that a setting names.
const MOST: usize = 1000;

/// Every file that the configuration names: keys, certificates, tokens, the registration. Found by looking whether
/// what a setting says is a file, so that no list has to be kept in step with the settings. A folder counts in `keys`.
pub(super) fn files_of(config: &Config) -> Result<Vec<Named>, Failure> {
    let value = serde_json::to_value(config).map_err(|e| {
        Failure::new(Code::Internal, "the configuration can't be walked", "report this").with_source(e)
    })?;
    let mut found = Vec::new();
    for section in SECTIONS {
        if let Some(settings) = value.get(section) {
            walk(config, settings, &format!("/{section}"), &mut found)?;
        }
    }
    Ok(found)
}

fn walk(
    config: &Config,
    value: &serde_json::Value,
    pointer: &str,
    found: &mut Vec<Named>,
) -> Result<(), Failure> {
    use serde_json::Value;
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            walk(config, value, &format!("{pointer}/{name}"), found)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(at, item)| walk(config, item, &format!("{pointer}/{at}"), found)),
        Value::String(text) => {
            let path = config.path(Path::new(text));
            let setting = |inside| Source::Setting {
                setting: pointer.to_owned(),
                value: text.into(),
                inside,
            };
            if path.is_file() {
                found.push(Named {
                    path,
                    source: setting(None),
                });
            } else if pointer.starts_with("/keys/") && path.is_dir() {
                for inside in folder::files_below(&path, MOST)? {
                    found.push(Named {
                        path: path.join(&inside),
                        source: setting(Some(inside)),
                    });
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
