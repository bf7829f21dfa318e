//! `cast-ghl doctor`: arguments in, tables or JSON out; what is looked at is `operator`'s.
//!
//! Reads the store and key variables and the few that the checks are about, requires none of them, and changes nothing. Exit
//! codes: 0 nothing is bad, 1 something is, 2 configuration, 3 the store.

use std::fmt::Write as _;

use clap::Args;

use super::commands::{bad_config, complain, explain, in_runtime, print, print_json, vars};
use super::messages::refuse;
use super::{logging, table};
use crate::app::open_doctor;
use crate::clock::Clock;
use crate::config::{DoctorConfig, LogConfig, LogFormat};
use crate::domain::checkup::{Row, Verdict};
use crate::domain::id::LocationId;
use crate::domain::installation::GrantKind;
use crate::domain::time::{UnixMillis, in_words};
use crate::operator::{DoctorRequest, Examined, LastCheckView, Report, doctor};

const CONFIG: u8 = 2;
const BAD: u8 = 1;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 nothing is bad (there may be warnings), 1 something is bad, 2 configuration, 3 the store.

It changes nothing, renews no token and works beside a running `serve`; run it with the same environment. It asks GHL once \
for each sub-account, with the token that is stored.")]
pub(super) struct Doctor {
    /// This sub-account alone
    #[arg(value_name = "LOCATION", value_parser = LocationId::parse)]
    location: Option<LocationId>,
    /// Most installations to look at
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// The next page: what the one before this ended with
    #[arg(long, value_name = "ID", conflicts_with = "location")]
    after: Option<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Doctor) -> u8 {
    let vars = match vars() {
        Ok(vars) => vars,
        Err(e) => return complain(&e.to_string(), CONFIG),
    };
    let config = match DoctorConfig::from_vars(vars.into_iter()) {
        Ok(config) => config,
        Err(e) => return bad_config(&e),
    };
    logging::start(&LogConfig { format: LogFormat::Text, filter: "warn".to_owned() });
    in_runtime(async move {
        let (inspector, settings) = match open_doctor(&config, Clock::System).await {
            Ok(opened) => opened,
            Err(e) => return complain(&explain(&e), e.exit_code()),
        };
        let request =
            DoctorRequest { location: args.location.clone(), after: args.after.clone(), limit: args.limit.into() };
        let report = match doctor(&inspector, &settings, &request).await {
            Ok(report) => report,
            Err(e) => return refuse(e),
        };
        let printed = if args.json { print_json(&report) } else { print(&text(&report)) };
        printed.max(if report.verdict == Verdict::Bad { BAD } else { 0 })
    })
}

/// A table for the bridge and one for each installation; of several installations what is well is only counted.
fn text(report: &Report) -> String {
    let mut text = String::from("bridge\n");
    table_of(&mut text, report.bridge.iter());
    let several = report.installations.len() > 1;
    for examined in &report.installations {
        text.push_str(&title(examined));
        table_of(&mut text, examined.rows.iter().filter(|row| !several || row.verdict != Verdict::Ok));
        text.extend(examined.last_check.as_ref().map(|last| own_check(last, report.checked_at)));
    }
    if report.installations.is_empty() {
        text.push_str("\nNobody has connected.\n");
    }
    text.push_str(match report.verdict {
        Verdict::Bad => "\nSomething is bad: see what is to be done next.\n",
        Verdict::Warn => "\nNothing is bad; there are warnings.\n",
        Verdict::Unknown => "\nNothing is bad; not everything could be found out.\n",
        Verdict::Ok => "\nAll is well.\n",
    });
    if several {
        text.push_str("`cast-ghl doctor LOCATION` shows all of one.\n");
    }
    if let Some(next) = &report.next {
        let _ = writeln!(text, "More: --after '{}'", table::plain(next.as_str()));
    }
    text
}

fn title(examined: &Examined) -> String {
    let agency = examined.company.as_ref().filter(|_| examined.kind == GrantKind::Location);
    let agency = agency.map(|id| format!(" of company {id}")).unwrap_or_default();
    let ok = examined.rows.iter().filter(|row| row.verdict == Verdict::Ok).count();
    format!("\n{}{agency}: {ok} of {} ok\n", table::plain(examined.id.as_str()), examined.rows.len())
}

fn table_of<'a>(text: &mut String, rows: impl Iterator<Item = &'a Row> + Clone) {
    let width = rows.clone().map(|row| row.check.as_str().len()).max().unwrap_or_default().max("CHECK".len());
    let mut line = |check: &str, verdict: &str, words: &str| {
        let _ = writeln!(text, "  {check:width$}  {verdict:7}  {}", table::plain(words));
    };
    if rows.clone().next().is_some() {
        line("CHECK", "VERDICT", "WHAT IT MEANS, AND WHAT TO DO NEXT");
    }
    for row in rows {
        line(row.check.as_str(), row.verdict.as_str(), &row.means);
        if let Some(next) = &row.next {
            line("", "", &format!("→ {next}"));
        }
    }
}

fn own_check(last: &LastCheckView, now: UnixMillis) -> String {
    let verdicts: Vec<String> =
        last.verdicts.iter().map(|row| format!("{} {}", row.check, row.verdict.as_str())).collect();
    let ago = in_words(now.since(last.at));
    format!("  checked by itself after an update, {ago} ago: {}\n", table::plain(&verdicts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::checkup::Check;
    use crate::domain::id::DocId;
    use crate::domain::recheck::CheckedRow;

    fn examined(id: &str) -> Examined {
        let provider = Row::new(Check::Provider, Verdict::Bad, "by “a\u{1b}[31mb”");
        Examined {
            id: DocId(id.to_owned()),
            kind: GrantKind::Location,
            company: None,
            rows: vec![Row::new(Check::Token, Verdict::Ok, "GHL accepts it"), provider],
            last_check: None,
        }
    }

    fn report(installations: Vec<Examined>) -> Report {
        let bridge = vec![Row { next: Some("make room".into()), ..Row::new(Check::Disk, Verdict::Bad, "full") }];
        Report { checked_at: UnixMillis(7_200_000), verdict: Verdict::Bad, bridge, installations, next: None }
    }

    #[test]
    fn one_installation_is_shown_whole_and_of_several_what_is_not_well() {
        let one = text(&report(vec![examined("loc:L1")]));
        assert!(one.contains("  CHECK  VERDICT  WHAT") && one.contains("  disk   bad      full\n"), "{one}");
        assert!(one.contains("                  → make room\n") && one.contains("loc:L1: 1 of 2 ok"), "{one}");
        assert!(one.contains("  token     ok       GHL accepts it\n"), "{one}");
        let two = text(&report(vec![examined("loc:L1"), examined("loc:L2")]));
        assert!(two.contains("loc:L2: 1 of 2 ok") && !two.contains("GHL accepts it"), "{two}");
        assert!(two.contains("`cast-ghl doctor LOCATION`"), "{two}");
        assert!(text(&report(Vec::new())).contains("Nobody has connected."));
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        let text = text(&report(vec![examined("loc:\u{7}")]));
        assert!(!text.contains(['\u{1b}', '\u{7}']) && text.contains(char::REPLACEMENT_CHARACTER), "{text}");
    }

    #[test]
    fn the_bridges_own_check_is_told_with_its_age() {
        let verdicts = vec![CheckedRow { check: "provider".into(), verdict: Verdict::Bad }];
        let last = LastCheckView { at: UnixMillis(0), verdict: Verdict::Bad, verdicts };
        let whole = text(&report(vec![Examined { last_check: Some(last), ..examined("loc:L1") }]));
        assert!(whole.contains("checked by itself after an update, 2h ago: provider bad\n"), "{whole}");
    }
}
