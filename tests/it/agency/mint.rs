//! Minting a sub-account's token, and minting it anew: what GHL leaves out, refuses, delays and overtakes.

use std::time::Duration;

use cast_ghl_provider::domain::installation::{Health, Installation};
use cast_ghl_provider::fake::ghl::{GhlFault, GrantHealth, Install, MintShape};
use serde_json::json;

use super::{MINT, agency, calls, works};
use crate::support::world::{COMPANY, LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

const DAY: Duration = Duration::from_secs(86_399);

pub fn cases() -> Cases<Place> {
    cases![
        a_mint_reply_without_user_type_company_location_or_refresh_token_connects,
        a_token_without_a_refresh_token_is_minted_again_before_it_ends,
        a_401_on_a_token_without_a_refresh_token_mints_another_for_the_call,
        a_minted_token_for_another_location_is_not_stored,
        a_dead_grant_of_a_sub_account_is_replaced_by_minting,
        a_sub_account_that_can_be_minted_no_more_has_to_be_connected_again,
        right_after_an_install_a_refusal_to_mint_is_only_not_yet,
        a_paused_sub_account_gets_its_token_when_it_is_active_again,
        an_uninstall_during_the_call_is_not_undone_by_its_answer,
        an_install_of_its_own_during_the_call_keeps_its_own_token,
        an_agency_whose_own_grant_is_dead_makes_its_locations_wait_for_a_new_install,
    ]
}

async fn minted(w: &World) -> Installation {
    w.install_agency(COMPANY, &[LOCATION]).await;
    w.work_all().await;
    w.installation(LOCATION).await.expect("known")
}

async fn a_mint_reply_without_user_type_company_location_or_refresh_token_connects(place: Place) {
    for (n, shape) in [MintShape::Bare, MintShape::WithoutRefresh, MintShape::Full].into_iter().enumerate() {
        let place = match &place {
            Place::Embedded(dir) => Place::Embedded(dir.join(n.to_string())),
            Place::Mongo { uri } => Place::Mongo { uri: uri.replacen('?', &format!("-{n}?"), 1) },
        };
        let w = World::start(place, &[]).await;
        w.ghl.set_mint_shape(shape);
        let stored = minted(&w).await;
        assert_eq!(stored.company.as_ref().map(ToString::to_string).as_deref(), Some(COMPANY));
        let grant = stored.grant.expect("a grant");
        assert_eq!(grant.refresh.is_some(), shape == MintShape::Full, "{shape:?}");
        works(&w, LOCATION).await;
        w.end();
    }
}

async fn a_token_without_a_refresh_token_is_minted_again_before_it_ends(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_mint_shape(MintShape::Bare);
    minted(&w).await;
    w.pass(DAY.mul_f64(0.75)).await;
    w.work_all().await;
    assert_eq!(calls(&w, MINT).len(), 1, "not before its time");
    w.pass(DAY.mul_f64(0.1)).await;
    w.app.tokens().refresh_due().await.unwrap();
    w.work_all().await;
    assert_eq!(calls(&w, MINT).len(), 2);
    w.pass(DAY.mul_f64(0.2)).await;
    works(&w, LOCATION).await;
    assert_eq!(calls(&w, MINT).len(), 2, "the report went with the new one");
    w.end();
}

async fn a_401_on_a_token_without_a_refresh_token_mints_another_for_the_call(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_mint_shape(MintShape::WithoutRefresh);
    let before = minted(&w).await;
    w.ghl.expire_access_tokens(LOCATION);
    works(&w, LOCATION).await;
    let after = w.installation(LOCATION).await.expect("known");
    assert_eq!((calls(&w, MINT).len(), after.installed_at), (2, before.installed_at));
    assert!(after.mint.is_some(), "and it is minted again in its turn");
    w.end();
}

async fn a_minted_token_for_another_location_is_not_stored(place: Place) {
    let w = World::start(place, &[]).await;
    for other in [
        json!({"access_token": "a", "locationId": "LOCstranger000000001"}),
        json!({"access_token": "a", "companyId": "COMstranger000000001"}),
        json!({"access_token": "a", "userType": "Company"}),
    ] {
        w.ghl.fault_next(MINT, GhlFault::Status(201, other.to_string()));
    }
    assert!(!minted(&w).await.installed());
    w.work_for(Duration::from_secs(14)).await;
    assert!(!w.installation(LOCATION).await.expect("known").installed());
    w.work_for(Duration::from_secs(30)).await;
    works(&w, LOCATION).await;
    w.end();
}

async fn a_dead_grant_of_a_sub_account_is_replaced_by_minting(place: Place) {
    let w = World::start(place, &[]).await;
    minted(&w).await;
    // Its pair is spent elsewhere: GHL knows neither token any more, and the app is installed all the same.
    w.ghl.uninstall(LOCATION);
    let _ = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    let answer = w.sms("hello").await;
    w.send_all().await;
    w.pass(DAY).await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    let healed = w.installation(LOCATION).await.expect("known");
    assert_eq!((healed.health, calls(&w, MINT).len()), (Health::Active, 2));
    w.end();
}

async fn a_sub_account_that_can_be_minted_no_more_has_to_be_connected_again(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_mint_shape(MintShape::WithoutRefresh);
    minted(&w).await;
    w.ghl.set_grant_health(LOCATION, GrantHealth::Invalid);
    w.pass(DAY.mul_f64(0.85)).await;
    w.work_for(Duration::from_secs(600)).await;
    assert_eq!(w.installation(LOCATION).await.map(|i| i.health), Some(Health::Reauthorize));
    let asked = calls(&w, MINT).len();
    w.work_for(Duration::from_secs(600)).await;
    assert_eq!(calls(&w, MINT).len(), asked, "and it is not asked again and again");
    let answer = w.sms("still sent").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    w.install(LOCATION).await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn right_after_an_install_a_refusal_to_mint_is_only_not_yet(place: Place) {
    let w = World::start(place, &[]).await;
    for _ in 0..3 {
        w.ghl.fault_next(MINT, GhlFault::refusal(400, "The app is not installed in this location"));
    }
    assert!(!minted(&w).await.installed());
    w.work_for(Duration::from_secs(60)).await;
    works(&w, LOCATION).await;
    assert_eq!(calls(&w, MINT).len(), 4);
    w.end();
}

async fn a_paused_sub_account_gets_its_token_when_it_is_active_again(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.set_grant_health(LOCATION, GrantHealth::NotActive);
    assert!(!minted(&w).await.installed());
    w.pass(Duration::from_secs(14 * 60)).await;
    w.work_all().await;
    assert_eq!(calls(&w, MINT).len(), 1, "asked slowly");
    w.ghl.set_grant_health(LOCATION, GrantHealth::Alive);
    w.pass(Duration::from_secs(60)).await;
    w.work_all().await;
    works(&w, LOCATION).await;
    w.end();
}

async fn an_uninstall_during_the_call_is_not_undone_by_its_answer(place: Place) {
    let w = World::start(place, &[]).await;
    w.install_agency(COMPANY, &[LOCATION]).await;
    w.ghl.fault_next(MINT, GhlFault::Hang { after_applying: true });
    let minting = w.work_all();
    let removing = async {
        w.ghl.until(|ghl| ghl.calls().iter().any(|call| call.path == MINT)).await;
        w.ghl.uninstall(LOCATION);
        let gone = w.ghl.lifecycle_hook("UNINSTALL", Some(LOCATION), Some(COMPANY));
        w.ghl.tell(&gone, &w.key).await;
        // Another look of the loop applies it while the first still waits for GHL.
        w.app.agency().step().await.expect("the store answers");
        w.ghl.release();
    };
    tokio::join!(minting, removing);
    w.work_all().await;
    let gone = w.installation(LOCATION).await.expect("known");
    assert_eq!((gone.grant, gone.mint), (None, None));
    w.end();
}

async fn an_install_of_its_own_during_the_call_keeps_its_own_token(place: Place) {
    let w = World::start(place, &[]).await;
    w.install_agency(COMPANY, &[LOCATION]).await;
    w.ghl.fault_next(MINT, GhlFault::Hang { after_applying: true });
    let installing = async {
        w.ghl.until(|ghl| ghl.calls().iter().any(|call| call.path == MINT)).await;
        w.install(LOCATION).await;
        let own = w.installation(LOCATION).await;
        w.ghl.release();
        own
    };
    let ((), own) = tokio::join!(w.work_all(), installing);
    assert_eq!(w.installation(LOCATION).await, own);
    works(&w, LOCATION).await;
    w.end();
}

async fn an_agency_whose_own_grant_is_dead_makes_its_locations_wait_for_a_new_install(place: Place) {
    let w = World::start(place, &[]).await;
    w.install_agency(COMPANY, &[]).await;
    w.work_all().await;
    w.ghl.set_grant_health(COMPANY, GrantHealth::Invalid);
    w.ghl.expire_access_tokens(COMPANY);
    let _ = w.ghl.marketplace_code(Install::location(LOCATION, COMPANY));
    w.ghl.tell(&w.ghl.lifecycle_hook("INSTALL", Some(LOCATION), Some(COMPANY)), &w.key).await;
    w.work_all().await;
    assert_eq!(agency(&w, COMPANY).await.map(|i| i.health), Some(Health::Reauthorize));
    let waiting = w.installation(LOCATION).await.expect("known");
    assert_eq!(waiting.waits_for().map(ToString::to_string).as_deref(), Some(COMPANY));
    let answer = w.sms_to(LOCATION, PHONE, "held").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 0);
    w.install_agency(COMPANY, &[LOCATION]).await;
    w.work_all().await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}
