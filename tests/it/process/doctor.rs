//! `cast-ghl doctor` beside a running `serve`: its tables, its JSON, its exit codes.

use super::serving::{Serving, Spot};
use crate::support::world::LOCATION;
use crate::{Cases, cases};

/// On each store.
pub fn cases() -> Cases<Spot> {
    cases![the_doctor_says_what_to_do_next_beside_a_running_serve]
}

async fn the_doctor_says_what_to_do_next_beside_a_running_serve(spot: Spot) {
    let serving = Serving::connected(&spot, &[]).await;
    let answer = serving.sms("hello").await;
    assert_eq!(serving.told(&answer).await, "delivered");
    let api = serving.ghl.url();
    let vars = [("GHL_API_URL", api.as_str()), ("BASE_URL", "http://bridge.test")];
    let well = serving.command_with(&["doctor"], &vars).await;
    assert_eq!((well.code, well.err.as_str()), (Some(0), ""), "{}", well.out);
    let loc = format!("loc:{LOCATION}");
    for words in ["bridge", "CHECK", "VERDICT", &loc, "ok", "Cast SMS is the sub-account's SMS provider", "→ "] {
        assert!(well.out.contains(words), "{words} in\n{}", well.out);
    }

    serving.ghl.choose_other_provider(LOCATION);
    let table = serving.command_with(&["doctor", LOCATION], &vars).await;
    assert_eq!(table.code, Some(1), "{}", table.err);
    assert!(table.out.contains("by “Phone System”") && table.out.contains("Something is bad"), "{}", table.out);
    let json = serving.command_with(&["doctor", LOCATION, "--json"], &vars).await;
    assert_eq!(json.code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&json.out).expect("one JSON document");
    assert_eq!((&report["verdict"], &report["installations"][0]["id"]), (&"bad".into(), &loc.as_str().into()));
    let rows = report["installations"][0]["rows"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["check"] == "provider" && row["verdict"] == "bad"), "{report}");
    assert!(!json.out.contains("fake-access") && !json.out.contains("eyJ") && !json.out.contains("hello"));

    let nobodys = serving.command_with(&["doctor", "LOCnowhere0000000001"], &vars).await;
    assert_eq!(nobodys.code, Some(1));
    assert!(nobodys.out.contains("nobody has connected it"), "{}", nobodys.out);
    let wrong = serving.command_with(&["doctor"], &[("GHL_API_URL", "nonsense")]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("GHL_API_URL"), "{}", wrong.err);
    serving.end();
}
