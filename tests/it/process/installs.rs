//! `cast-ghl installs` beside a running `serve`: an agency connects, its sub-accounts follow by themselves, and it shows.

use std::time::Duration;

use cast_ghl_provider::fake::ghl::Install;

use super::child::LIMIT;
use super::serving::{Serving, Spot};
use crate::support::world::LOCATION;
use crate::{Cases, cases};

const AGENCY: &str = "COMagency00000000001";
const SUBS: [&str; 3] = ["LOCsub00000000000001", "LOCsub00000000000002", "LOCsub00000000000003"];

/// On each store.
pub fn cases() -> Cases<Spot> {
    cases![an_agency_and_its_sub_accounts_are_listed_as_they_stand_beside_a_running_serve]
}

async fn an_agency_and_its_sub_accounts_are_listed_as_they_stand_beside_a_running_serve(spot: Spot) {
    let serving = Serving::connected(&spot, &[]).await;
    let code = serving.ghl.marketplace_code(Install::company(AGENCY, &SUBS));
    assert_eq!(serving.get(&format!("/oauth-callback?code={code}")).await.status(), 200);
    // The token is given before it is stored: ask until the list says so.
    let all = async {
        loop {
            let list = serving.command(&["installs", "list", "--company", AGENCY, "--json"]).await;
            assert_eq!(list.code, Some(0), "{}", list.err);
            let list: serde_json::Value = serde_json::from_str(&list.out).expect("one JSON document");
            let rows = list["installations"].as_array().expect("a list");
            if rows[0]["progress"]["connected"] == SUBS.len() && rows.iter().all(|row| row["state"] == "active") {
                return list;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let list = tokio::time::timeout(LIMIT, all).await.expect("they are connected");
    let rows = list["installations"].as_array().expect("a list");
    let of = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let ids: Vec<String> = rows.iter().map(|row| of(row, "id")).collect();
    let due: Vec<String> =
        std::iter::once(format!("company:{AGENCY}")).chain(SUBS.iter().map(|id| format!("loc:{id}"))).collect();
    assert_eq!(ids, due);
    assert!(rows.iter().all(|row| of(row, "state") == "active"), "{list}");
    assert_eq!(rows[0]["progress"]["known"], SUBS.len());
    assert!(!list.to_string().contains("fake-"), "no token");

    let table = serving.command(&["installs", "list", "--limit", "2"]).await;
    for cell in ["ID", "TOKEN ENDS", &ids[0], "active", "3/3", "More: --after", LOCATION] {
        assert!(table.out.contains(cell), "{cell} in\n{}", table.out);
    }
    let next = serving.command(&["installs", "list", "--after", &format!("loc:{LOCATION}")]).await;
    assert!(next.out.contains(SUBS[2]) && !next.out.contains(LOCATION) && !next.out.contains("More:"), "{}", next.out);
    let nobody = serving.command(&["installs", "list", "--company", "COMnobody"]).await;
    assert_eq!((nobody.code, nobody.out.as_str()), (Some(0), "None."));
    serving.end();
}
