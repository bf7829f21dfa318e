//! What a driver's error means to the store, in words of our own.
//!
//! Owns the reading of error codes. Invariant: no text made here repeats a URI, a host, a document or a value; the
//! driver's own texts may. Imports the driver and `StoreError` alone.

use std::error::Error as _;

use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::super::StoreError;

/// `DuplicateKey`: the only unique index is that of `_id`.
const DUPLICATE_KEY: i32 = 11000;

/// The server refuses who we are or what we may do: `UserNotFound`, `Unauthorized`, `AuthenticationFailed`,
/// `MechanismUnavailable`, and Atlas's one code for all of them.
const CREDENTIALS: [i32; 5] = [11, 13, 18, 334, 8000];

/// An index of our name exists with other keys or options: `IndexOptionsConflict`, `IndexKeySpecsConflict`.
const OTHER_INDEX: [i32; 2] = [85, 86];

/// Why an operation of the driver has no result.
pub(super) enum Trouble {
    /// The driver or the server says so.
    Driver(Error),
    /// Not within its limit.
    Late,
    /// Its task ended without a word.
    Lost,
}

impl Trouble {
    /// Whether an insert found its `_id` there.
    pub(super) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Driver(e) if code(e) == Some(DUPLICATE_KEY))
    }

    /// The trouble of a start, where what no waiting will mend is told apart.
    pub(super) fn at_start(self) -> StoreError {
        match &self {
            Self::Driver(e) if hopeless(e) => StoreError::Refused(format!("MongoDB: {}", words(e))),
            _ => self.into(),
        }
    }
}

/// The trouble of an operation: it may have happened all the same.
impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(match trouble {
            Trouble::Driver(e) => words(&e),
            Trouble::Late => "MongoDB did not answer in time".to_owned(),
            Trouble::Lost => "the MongoDB driver failed".to_owned(),
        })
    }
}

fn hopeless(e: &Error) -> bool {
    credentials_refused(e)
        || code(e).is_some_and(|code| OTHER_INDEX.contains(&code))
        || matches!(*e.kind, ErrorKind::IncompatibleServer { .. })
}

/// The error of a URI or of the files it names, met before any server was asked; a name that does not resolve may yet.
pub(super) fn in_settings(e: &Error) -> StoreError {
    match &*e.kind {
        ErrorKind::DnsResolve { .. } | ErrorKind::Io(_) => StoreError::Unavailable(words(e)),
        ErrorKind::InvalidTlsConfig { .. } => {
            StoreError::Refused("the certificate files that MONGO_URI names can't be used".into())
        }
        ErrorKind::InvalidArgument { message, .. } => StoreError::Refused(match named_option(message) {
            Some(option) => format!("MONGO_URI: the driver does not take its option {option}"),
            None => "MONGO_URI is not a connection string the driver takes".into(),
        }),
        _ => StoreError::Refused("MONGO_URI is not a connection string the driver takes".into()),
    }
}

/// Options of a connection string, those first that hold the name of another. Only these are ever repeated: what stands
/// where an option should may be the end of a password with a `?` in it.
const OPTIONS: [&str; 31] = [
    "serverSelectionTimeoutMS",
    "waitQueueTimeoutMS",
    "heartbeatFrequencyMS",
    "tlsAllowInvalidCertificates",
    "tlsAllowInvalidHostnames",
    "tlsCertificateKeyFile",
    "tlsCAFile",
    "tlsInsecure",
    "authMechanismProperties",
    "authMechanism",
    "authSource",
    "connectTimeoutMS",
    "directConnection",
    "loadBalanced",
    "localThresholdMS",
    "maxConnecting",
    "maxIdleTimeMS",
    "maxPoolSize",
    "maxStaleness",
    "minPoolSize",
    "readConcernLevel",
    "readPreference",
    "replicaSet",
    "retryReads",
    "retryWrites",
    "socketTimeoutMS",
    "srvMaxHosts",
    "srvServiceName",
    "uuidRepresentation",
    "zlibCompressionLevel",
    "compressors",
];

fn named_option(message: &str) -> Option<&'static str> {
    let message = message.to_ascii_lowercase();
    OPTIONS.into_iter().find(|option| message.contains(&option.to_ascii_lowercase()))
}

fn credentials_refused(e: &Error) -> bool {
    match &*e.kind {
        // A server that shuts down or steps down breaks authentication off with that code: not the credentials' fault.
        ErrorKind::Authentication { .. } => e
            .source()
            .and_then(|source| source.downcast_ref::<Box<Error>>())
            .and_then(|cause| code(cause))
            .is_none_or(|code| CREDENTIALS.contains(&code)),
        _ => code(e).is_some_and(|code| CREDENTIALS.contains(&code)),
    }
}

fn code(e: &Error) -> Option<i32> {
    match &*e.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        _ => None,
    }
}

fn words(e: &Error) -> String {
    if credentials_refused(e) {
        let code = code(e).map(|code| format!(" (error {code})")).unwrap_or_default();
        return format!("the server refuses these credentials or their rights{code}");
    }
    match &*e.kind {
        ErrorKind::ServerSelection { message, .. } => {
            format!("no primary can be reached{}", because(message))
        }
        ErrorKind::Authentication { .. } => "the server broke off authentication".to_owned(),
        ErrorKind::Io(io) => format!("the connection broke: {}", io.kind()),
        ErrorKind::ConnectionPoolCleared { .. } => "the connection broke".to_owned(),
        ErrorKind::DnsResolve { .. } => "the name in MONGO_URI does not resolve now".to_owned(),
        ErrorKind::Command(command) if OTHER_INDEX.contains(&command.code) => {
            format!("an index exists under our name but with other keys (error {})", command.code)
        }
        ErrorKind::Command(command) => format!("the server answered with error {}", command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => {
            format!("the server refused the write with error {}", write.code)
        }
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => {
            format!("the write is not known to be with a majority (error {})", concern.code)
        }
        ErrorKind::IncompatibleServer { .. } => "the server is too old for the driver".to_owned(),
        ErrorKind::Bson(_) | ErrorKind::InvalidResponse { .. } => "the server's answer can't be read".to_owned(),
        _ => "the driver failed".to_owned(),
    }
}

/// What the driver's monitors say of servers they can't reach: the words to look for, and ours.
const REASONS: [(&str, &str); 5] = [
    ("Connection refused", ": the connection is refused"),
    ("certificate", ": its certificate is not accepted"),
    ("failed to lookup", ": its name does not resolve"),
    ("timed out", ": it does not answer"),
    ("unexpected end of file", ": it closes the connection, as a server that wants TLS does"),
];

fn because(topology: &str) -> &'static str {
    REASONS.iter().find(|(theirs, _)| topology.contains(theirs)).map_or("", |(_, ours)| ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_holds_the_name_of_another_comes_before_it() {
        for (at, option) in OPTIONS.iter().enumerate() {
            assert_eq!(named_option(&format!("{option} is an invalid option")), Some(*option));
            assert!(OPTIONS[..at].iter().all(|earlier| !option.contains(earlier)), "{option}");
        }
        assert_eq!(named_option("hunter2 is an invalid option"), None);
    }
}
