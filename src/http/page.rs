//! Pages for people: readable on a phone, every value escaped (maud does), nothing from outside.
//!
//! White-label rule of the marketplace: they never name the CRM, but say "your CRM".

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = "body{font:17px/1.5 system-ui,sans-serif;margin:0;background:#f5f6f8;color:#1c2430}\
main{max-width:34rem;margin:0 auto;padding:2rem 1.25rem}\
h1{font-size:1.5rem;line-height:1.25}code{background:#e7eaf0;padding:.1rem .3rem;border-radius:.25rem;word-break:break-all}\
a.button,button{display:inline-block;border:0;font:inherit;cursor:pointer;background:#0b5cd5;color:#fff;text-decoration:none;padding:.75rem 1.25rem;border-radius:.5rem}\
input{font:inherit;padding:.5rem;max-width:100%;box-sizing:border-box}h2{margin-top:2.5rem}h3{font-size:1rem}\
ol li{margin:.4rem 0}.muted{color:#5a6575;font-size:.9rem}\
@media(prefers-color-scheme:dark){body{background:#14181f;color:#e6e9ef}code{background:#262d38}.muted{color:#9aa5b5}}";

/// A whole page.
pub(super) fn page(status: StatusCode, title: &str, content: Markup) -> Response {
    whole(status, title, content, "'none'")
}

/// A page with a form that is posted back to it.
pub(super) fn form_page(status: StatusCode, title: &str, content: Markup) -> Response {
    whole(status, title, content, "'self'")
}

fn whole(status: StatusCode, title: &str, content: Markup, forms: &str) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { h1 { (title) } (content) } }
        }
    };
    let mut response = (status, axum::response::Html(markup.into_string())).into_response();
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action {forms}; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The way back to the beginning; relative, since the public address may have a path of its own.
pub(super) fn again() -> Markup {
    html! { p { a.button href="install" { "Connect again" } } }
}

/// What to click after connecting.
pub(super) fn next_steps() -> Markup {
    html! {
        p { "One step is left, in your CRM:" }
        ol {
            li { "Open " strong { "Settings" } " of the sub-account." }
            li { "Choose " strong { "Phone Numbers" } ", then " strong { "Advanced Settings" } "." }
            li { "Open " strong { "SMS Provider" } "." }
            li { "Choose " strong { "Cast SMS" } " and press " strong { "Save" } "." }
        }
    }
}
