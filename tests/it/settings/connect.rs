//! The installer's own key, entered behind a link of the success page.

use std::time::Duration;

use cast_ghl_provider::fake::ghl::Install;

use super::{OWN_KEY, keys, stored, world};
use crate::support::world::{COMPANY, LOCATION, Place, World};
use crate::{Cases, cases};

const AGENCY: &str = "COMagency00000000001";

pub(super) fn cases() -> Cases<Place> {
    cases![
        the_success_page_offers_no_key_while_the_shared_one_is_for_everybody,
        an_agencys_page_says_what_its_sub_accounts_need_and_whom_to_ask,
        an_installer_enters_a_key_once_and_the_messages_that_waited_go_on_it,
        of_two_who_post_a_key_at_once_one_is_stored,
        a_link_is_over_after_half_an_hour_and_a_made_up_one_never_was,
        what_is_no_key_is_asked_for_again_and_not_shown,
        the_form_leaks_nothing_and_posts_to_itself_alone,
        no_page_a_person_sees_names_the_vendor_of_the_crm,
    ]
}

/// The path of the link on a success page.
async fn link(w: &World) -> Option<String> {
    let answer = w.callback(&w.ghl.marketplace_code(Install::location(LOCATION, COMPANY))).await;
    assert_eq!(answer.status().as_u16(), 200);
    let page = answer.text().await.unwrap();
    let from = page.find("connect/")?;
    let token: String = page[from + "connect/".len()..].chars().take_while(char::is_ascii_hexdigit).collect();
    assert_eq!(token.len(), 64, "{page}");
    Some(format!("/connect/{token}"))
}

async fn post(w: &World, path: &str, key: &str) -> (u16, String) {
    let body: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("cast_api_key", key).finish();
    let answer = w.post(path, &[("content-type", "application/x-www-form-urlencoded")], body).await;
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn the_success_page_offers_no_key_while_the_shared_one_is_for_everybody(place: Place) {
    let w = world(place, &[]).await;
    assert_eq!(link(&w).await, None);
    w.end();
}

async fn an_agencys_page_says_what_its_sub_accounts_need_and_whom_to_ask(place: Place) {
    let mut w = world(place, &[]).await;
    for (shared, says) in [
        ("allow", None),
        ("approve", Some("wait until it is approved, or has a Cast key of its own")),
        ("off", Some("needs a Cast key of its own before it can send")),
    ] {
        w = w.restart_with(&[("SHARED_KEY", shared)]).await;
        let page = w.install_agency(AGENCY, &["LOCagencys0000000001"]).await;
        assert_eq!(says.is_some(), page.contains("a link to enter it by"), "{shared}: {page}");
        assert!(says.is_none_or(|words| page.contains(words)), "{shared}: {page}");
        assert!(!page.contains("connect/"), "one link holds for one sub-account: {page}");
    }
    w.end();
}

async fn an_installer_enters_a_key_once_and_the_messages_that_waited_go_on_it(place: Place) {
    let w = world(place, &[("SHARED_KEY", "approve")]).await;
    w.sms("waits").await;
    w.send_all().await;
    let path = link(&w).await.expect("a link");
    let form = w.get(&path).await;
    assert_eq!(form.status().as_u16(), 200);
    let (status, page) = post(&w, &path, &format!(" {OWN_KEY} ")).await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("Your key is stored") && !page.contains("cast_1111"), "{page}");
    w.send_all().await;
    assert_eq!(keys(&w), ["0wn1"]);
    let (status, page) = post(&w, &path, "cast_2222222222222222").await;
    assert_eq!(status, 410, "{page}");
    assert_eq!(w.get(&path).await.status().as_u16(), 410);
    assert_eq!(stored(&w, LOCATION).await.cast_key.expect("a key").ending, "0wn1");
    assert_eq!(link(&w).await, None, "it has one now");
    w.end();
}

async fn of_two_who_post_a_key_at_once_one_is_stored(place: Place) {
    let w = world(place, &[("SHARED_KEY", "off")]).await;
    let path = link(&w).await.expect("a link");
    let (one, two) = tokio::join!(post(&w, &path, "cast_aaaaaaaaaaaaaaa1"), post(&w, &path, "cast_bbbbbbbbbbbbbbb2"));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410]);
    let ending = if one.0 == 200 { "aaa1" } else { "bbb2" };
    assert_eq!(stored(&w, LOCATION).await.cast_key.expect("a key").ending, ending);
    w.end();
}

async fn a_link_is_over_after_half_an_hour_and_a_made_up_one_never_was(place: Place) {
    let w = world(place, &[("SHARED_KEY", "off")]).await;
    let path = link(&w).await.expect("a link");
    w.pass(Duration::from_secs(30 * 60 - 1)).await;
    assert_eq!(w.get(&path).await.status().as_u16(), 200);
    w.pass(Duration::from_secs(1)).await;
    assert_eq!(w.get(&path).await.status().as_u16(), 410);
    assert_eq!(post(&w, &path, OWN_KEY).await.0, 410);
    assert_eq!(w.get("/connect/0123456789abcdef").await.status().as_u16(), 410);
    while w.app.purger().step().await.unwrap() > 0 {}
    w.end();
}

async fn what_is_no_key_is_asked_for_again_and_not_shown(place: Place) {
    let w = world(place, &[("SHARED_KEY", "off")]).await;
    let path = link(&w).await.expect("a link");
    for wrong in ["", "short", "hunter2 with spaces and more"] {
        let (status, page) = post(&w, &path, wrong).await;
        assert_eq!(status, 400);
        assert!(page.contains("That is no Cast API key") && !page.contains("hunter2"), "{page}");
    }
    assert_eq!(post(&w, &path, OWN_KEY).await.0, 200, "the link still held");
    w.end();
}

async fn the_form_leaks_nothing_and_posts_to_itself_alone(place: Place) {
    let w = world(place, &[("SHARED_KEY", "off")]).await;
    let path = link(&w).await.expect("a link");
    let answer = w.get(&path).await;
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header("referrer-policy"), header("cache-control")), ("no-referrer".into(), "no-store".into()));
    assert!(header("content-security-policy").contains("form-action 'self'; frame-ancestors 'none'"));
    w.end();
}

async fn no_page_a_person_sees_names_the_vendor_of_the_crm(place: Place) {
    let w = world(place, &[("SHARED_KEY", "off")]).await;
    let path = link(&w).await.expect("a link");
    let refused = post(&w, &path, "short").await.1;
    let stored = post(&w, &path, OWN_KEY).await.1;
    let success = w.callback(&w.ghl.marketplace_code(Install::location(LOCATION, COMPANY))).await.text().await.unwrap();
    let mut pages = vec![refused, stored, success, w.install_agency(AGENCY, &[]).await];
    for path in
        ["/", "/api/docs", &path, "/oauth-callback", "/oauth-callback?error=access_denied", "/oauth-callback?code=x"]
    {
        pages.push(w.get(path).await.text().await.unwrap());
    }
    for page in pages {
        assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
        for name in ["GHL", "GoHighLevel", "HighLevel", "LeadConnector"] {
            assert!(!page.contains(name), "white-label: {name} in {page}");
        }
    }
    w.end();
}
