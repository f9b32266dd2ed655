//! What the program says when it can't go on: cause, remedy, a stable code with a page in `docs/errors`.

use std::error::Error as StdError;

/// Stable name of a failure. `docs/errors/<name>.md` explains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The configuration file is not there or can't be read.
    ConfigMissing,
    /// The configuration is no TOML, or a value has the wrong type.
    ConfigSyntax,
    /// A key that doesn't exist.
    ConfigUnknownKey,
    /// A value that can't work.
    ConfigValue,
    /// A secret is missing, unreadable, or stands where secrets must not stand.
    ConfigSecret,
    /// A key file is missing, malformed or readable by others.
    KeyFile,
    /// A certificate is missing, malformed, expired or for another name.
    Certificate,
    /// The appservice registration is missing, malformed or contradicts the configuration.
    Registration,
    /// The store can't be opened.
    StoreOpen,
    /// Another process holds the store.
    StoreLocked,
    /// The store's contents are not what they should be.
    StoreDamaged,
    /// A backup is not whole, or not one.
    BackupDamaged,
    /// An address can't be listened on.
    Listen,
    /// The admin API of the running service doesn't answer or refuses.
    Admin,
    /// Something would be overwritten.
    Exists,
    /// There is no such account or room.
    NotFound,
    /// `check` found errors.
    CheckFailed,
    /// Arguments that don't go together.
    Usage,
    /// Octets or JSON that are no MIMI content.
    Content,
    /// A file that is no event graph, or lacks what it needs.
    GraphFile,
    /// The command-line client could not do what it was asked.
    Client,
    /// A fault of the program.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 22] = [
        Self::ConfigMissing,
        Self::ConfigSyntax,
        Self::ConfigUnknownKey,
        Self::ConfigValue,
        Self::ConfigSecret,
        Self::KeyFile,
        Self::Certificate,
        Self::Registration,
        Self::StoreOpen,
        Self::StoreLocked,
        Self::StoreDamaged,
        Self::BackupDamaged,
        Self::Listen,
        Self::Admin,
        Self::Exists,
        Self::NotFound,
        Self::CheckFailed,
        Self::Usage,
        Self::Content,
        Self::GraphFile,
        Self::Client,
        Self::Internal,
    ];

    /// The name that is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMissing => "config-missing",
            Self::ConfigSyntax => "config-syntax",
            Self::ConfigUnknownKey => "config-unknown-key",
            Self::ConfigValue => "config-value",
            Self::ConfigSecret => "config-secret",
            Self::KeyFile => "key-file",
            Self::Certificate => "certificate",
            Self::Registration => "registration",
            Self::StoreOpen => "store-open",
            Self::StoreLocked => "store-locked",
            Self::StoreDamaged => "store-damaged",
            Self::BackupDamaged => "backup-damaged",
            Self::Listen => "listen",
            Self::Admin => "admin",
            Self::Exists => "exists",
            Self::NotFound => "not-found",
            Self::CheckFailed => "check-failed",
            Self::Usage => "usage",
            Self::Content => "content",
            Self::GraphFile => "graph-file",
            Self::Client => "client",
            Self::Internal => "internal",
        }
    }

    /// The exit code of the process. 2 is also what a malformed command line gives.
    pub fn exit(self) -> u8 {
        match self {
            Self::Usage | Self::GraphFile => 2,
            Self::ConfigMissing
            | Self::ConfigSyntax
            | Self::ConfigUnknownKey
            | Self::ConfigValue
            | Self::ConfigSecret => 3,
            Self::KeyFile | Self::Certificate | Self::Registration => 4,
            Self::StoreOpen | Self::StoreLocked | Self::StoreDamaged | Self::BackupDamaged => 5,
            Self::Listen | Self::Admin => 6,
            Self::CheckFailed => 7,
            Self::Exists | Self::NotFound => 8,
            Self::Content | Self::Client | Self::Internal => 1,
        }
    }
}

/// Exit codes, for `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 configuration, \
4 keys, certificates or registration, 5 store, 6 network or running service, 7 check found errors, \
8 exists already or isn't there, 9 saved but not accepted yet (client). Errors carry a code; docs/errors/<code>.md explains it.";

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    cause: String,
    remedy: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    exit: u8,
}

impl Failure {
    /// `cause` says what is wrong, `remedy` what to do about it.
    pub fn new(code: Code, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            code,
            cause: cause.into(),
            remedy: remedy.into(),
            source: None,
            exit: code.exit(),
        }
    }

    /// Adds the error below it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Gives the process another exit code than the one that goes with the failure's code.
    #[must_use]
    pub fn with_exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// The exit code of the process.
    pub fn exit(&self) -> u8 {
        self.exit
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is wrong, with the chain of errors below.
    pub fn cause(&self) -> String {
        let mut text = self.cause.clone();
        let mut next: Option<&(dyn StdError + 'static)> = self.source.as_deref().map(|e| e as _);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// As printed on a terminal.
    pub fn report(&self) -> String {
        format!(
            "error[{}]: {}\n  remedy: {}",
            self.code.name(),
            self.cause(),
            self.remedy
        )
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.cause)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
