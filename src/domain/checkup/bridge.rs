//! The set-up check of the bridge itself: disk, clock, and what its configuration is set to.
//!
//! Owns the words of these rows, as `checkup` does of an installation's. Pure.

use super::super::installation::GrantKind;
use super::super::scope;
use super::super::time::{CLOCKS_APART, UnixMillis, in_words};
use super::{Check, Row, Verdict};

/// What was found about the bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BridgeFindings {
    /// Bytes left to the embedded store; absent where the disk is the database server's.
    pub disk_free: Option<u64>,
    /// `DISK_RESERVE`.
    pub disk_reserve: u64,
    /// Our time and GHL's, of one moment; absent where GHL did not answer.
    pub clocks: Option<Clocks>,
    /// `GHL_CONVERSATION_PROVIDER_ID` is set.
    pub provider_id_set: bool,
    /// `GHL_SCOPES`, or what stands in for it.
    pub asked_scopes: Vec<String>,
    /// `DEFAULT_LOCATION_ID`, where it is set.
    pub default_location: Option<DefaultLocation>,
}

/// One moment on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    pub ours: UnixMillis,
    pub theirs: UnixMillis,
}

/// What is to be known of `DEFAULT_LOCATION_ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultLocation {
    Works,
    NotInstalled,
    /// Installations of more than one company exist.
    Ignored,
}

/// Clocks further apart are worth a word; GHL's header counts whole seconds, and the way there takes time.
const CLOCKS_DIFFER: std::time::Duration = std::time::Duration::from_secs(60);
/// Below so many times `DISK_RESERVE` the disk is worth a word.
const NEARLY_FULL: u64 = 2;

/// The rows of the bridge.
#[must_use]
pub fn bridge(found: &BridgeFindings) -> Vec<Row> {
    let default = found.default_location.map(default_location);
    [disk(found), clock(found.clocks), provider_id(found), asked_scopes(found)].into_iter().chain(default).collect()
}

fn disk(found: &BridgeFindings) -> Row {
    let row = |verdict, means: String| Row::new(Check::Disk, verdict, means);
    let Some(free) = found.disk_free else {
        return row(Verdict::Unknown, "MongoDB's disk can't be seen from here".into())
            .next("watch it on the database server");
    };
    let reserve = found.disk_reserve;
    let sizes = format!("{} free, {} of it kept in reserve", size(free), size(reserve));
    let make_room = "make room, or move DATA_DIR to a larger disk while `serve` is stopped";
    if free <= reserve {
        row(Verdict::Bad, format!("{sizes}: webhooks are answered 429 and replies 503")).next(make_room)
    } else if free < reserve.saturating_mul(NEARLY_FULL) {
        row(Verdict::Warn, format!("{sizes}: soon webhooks are answered 429")).next(make_room)
    } else {
        row(Verdict::Ok, sizes)
    }
}

/// In the largest unit of which there are ten.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let found = units.into_iter().find(|(shift, _)| bytes >> shift >= 10);
    found.map_or_else(|| format!("{bytes} bytes"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

fn clock(clocks: Option<Clocks>) -> Row {
    let row = |verdict, means: String| Row::new(Check::Clock, verdict, means);
    let Some(Clocks { ours, theirs }) = clocks else {
        return row(
            Verdict::Unknown,
            "GHL was not asked or did not answer, so there is no clock to compare with".into(),
        );
    };
    let (apart, which) = if ours > theirs { (ours.since(theirs), "ahead of") } else { (theirs.since(ours), "behind") };
    if apart <= CLOCKS_DIFFER {
        return row(Verdict::Ok, "this machine's agrees with GHL's".into());
    }
    let verdict = if apart > CLOCKS_APART { Verdict::Bad } else { Verdict::Warn };
    let means = format!(
        "this machine's is {} {which} GHL's: tokens seem to end, and messages to expire, at other times than they do",
        in_words(apart)
    );
    row(verdict, means).next("set it by NTP, here and on every replica")
}

fn provider_id(found: &BridgeFindings) -> Row {
    if found.provider_id_set {
        return Row::new(Check::ProviderId, Verdict::Ok, "GHL_CONVERSATION_PROVIDER_ID is set");
    }
    let means = "GHL_CONVERSATION_PROVIDER_ID is not set here: our provider is known by its name alone, and messages of other \
                 providers are not told apart";
    Row::new(Check::ProviderId, Verdict::Warn, means)
        .next("copy the id from the marketplace app → Conversation Providers")
}

fn asked_scopes(found: &BridgeFindings) -> Row {
    let row = |verdict, means: String| Row::new(Check::AskedScopes, verdict, means);
    let missing = scope::missing(&found.asked_scopes, GrantKind::Company);
    if missing.is_empty() {
        return row(Verdict::Ok, "all nine are asked for at an install".into());
    }
    let lacking: Vec<String> = missing.iter().map(|s| format!("{}: {}", s.name, s.without)).collect();
    row(Verdict::Warn, format!("GHL_SCOPES asks for fewer than nine; without {}", lacking.join("; without ")))
        .next("unset GHL_SCOPES, unless the app was published with fewer")
}

fn default_location(found: DefaultLocation) -> Row {
    let row = |verdict, means| Row::new(Check::DefaultLocation, verdict, means);
    match found {
        DefaultLocation::Works => row(Verdict::Ok, "DEFAULT_LOCATION_ID gets the replies nobody else can be found for"),
        DefaultLocation::NotInstalled => {
            row(Verdict::Warn, "DEFAULT_LOCATION_ID names a sub-account that is not connected: its replies wait in vain")
                .next("connect it, or name another")
        }
        DefaultLocation::Ignored => row(
            Verdict::Warn,
            "DEFAULT_LOCATION_ID is ignored: companies other than its own are installed, and a reply must not get into a stranger's CRM",
        )
        .next("unset it; place replies by `cast-ghl inbound route`"),
    }
}
