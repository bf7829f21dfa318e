//! A person's browser, as far as an install needs one: it keeps a cookie and follows three redirects.
//!
//! Redirects are followed by hand, since each step is to be looked at: the bridge sends the person to GHL's page, GHL
//! sends them back to the bridge's callback and nowhere else.

use anyhow::{Context as _, ensure};
use reqwest::header::{COOKIE, HeaderMap, HeaderName, LOCATION, SET_COOKIE};

use super::stage::Stage;

/// Opens `/install`, lets GHL's page choose, and comes back; fails unless the last page has this title.
///
/// # Errors
/// The step that was not as it should be.
pub(super) async fn install(stage: &Stage, title: &str) -> anyhow::Result<()> {
    let (http, bridge) = (&stage.bridge.http, &stage.bridge.url);
    let begun = http.get(format!("{bridge}/install")).send().await?;
    ensure!(begun.status() == 302, "/install answered {}", begun.status());
    let cookie = header(begun.headers(), &SET_COOKIE)?;
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let chooser = header(begun.headers(), &LOCATION)?;
    ensure!(chooser.starts_with(&stage.ghl.authorize_url()), "/install leads somewhere else than to GHL");

    let chosen = http.get(chooser).send().await?;
    ensure!(chosen.status() == 302, "GHL's page answered {}: {}", chosen.status(), chosen.text().await?);
    let back = header(chosen.headers(), &LOCATION)?;
    ensure!(back.starts_with(&format!("{bridge}/oauth-callback?")), "GHL sends the person somewhere else");

    let page = http.get(back).header(COOKIE, cookie).send().await?;
    let status = page.status();
    let page = page.text().await?;
    ensure!(status == 200 && page.contains(&format!("<h1>{title}</h1>")), "the callback answered {status}");
    Ok(())
}

fn header(headers: &HeaderMap, name: &HeaderName) -> anyhow::Result<String> {
    let value = headers.get(name).with_context(|| format!("the answer has no {name}"))?;
    Ok(value.to_str().with_context(|| format!("{name} can't be read"))?.to_owned())
}
