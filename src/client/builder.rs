//! The one place that builds an HTTP client, and the one rule for joining paths to a base URL.
//!
//! Owns the transport settings of the Cast contract, which the GHL client shares. Invariant: nothing below the worker
//! sends a request twice. Must not import a particular client.

use std::time::Duration;

use url::Url;

/// A call's total time (cast contract): what is not answered by then is unknown.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Sent with every request.
pub const USER_AGENT: &str = concat!("cast-ghl-provider/", env!("CARGO_PKG_VERSION"));

/// Time limits of the HTTP client; the default is production, tests inject shorter ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpSettings {
    /// Name resolution, TCP and TLS together; what fails within it provably sent nothing.
    pub connect_timeout: Duration,
    /// From the start of a call to the last byte of its answer.
    pub timeout: Duration,
    /// How long an unused connection is kept: shorter than any server's own limit, since a request written into a
    /// connection that is just being closed has an unknown outcome.
    pub pool_idle_timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), timeout: TIMEOUT, pool_idle_timeout: Duration::from_secs(5) }
    }
}

/// The HTTP client could not be set up; in practice the machine has no CA certificates.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client could not be set up (are CA certificates installed?)")]
pub struct BuildError(#[source] reqwest::Error);

/// Builds the HTTP client that both services share.
///
/// - TLS is rustls on aws-lc-rs with the system's roots (`SSL_CERT_FILE` is honoured).
/// - `retry::never()`: reqwest's default repeats protocol NACKs, and the worker is the one retry layer. What stays is
///   hyper's hand-over of a request to a fresh connection when the idle one closed before a single byte was written.
/// - HTTP/1.1 only: a connection carries one request at a time, so its end says something about that request alone.
/// - No redirects: a POST that is redirected may have been acted on. The 3xx is shown to the caller.
/// - No proxy from the environment: the documented variables are the whole configuration, and a stray `HTTP_PROXY`
///   would hand keys to a third party and answer 502 in the gateway's name, which reads as an SMS in doubt.
///
/// # Errors
/// [`BuildError`] when TLS cannot be set up.
pub fn http_client(settings: &HttpSettings) -> Result<reqwest::Client, BuildError> {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .tls_backend_rustls()
        .http1_only()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.timeout)
        .pool_idle_timeout(settings.pool_idle_timeout)
        .build()
        .map_err(BuildError)
}

/// A base URL reduced to what a path may be appended to: no query, no fragment, and no user name or password, which
/// would be printed with it (both services take their credentials in headers).
pub(super) fn base(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot carry credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Appends `path` (`/a/{id}/b`) to `base`, keeping the base's own path, which `Url::join` drops. `{id}` is replaced by
/// `id`, percent-encoded as one segment. A base that cannot have a path is returned as it is; sending to it fails.
pub(super) fn join(base: &Url, path: &str, id: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(
            path.split('/')
                .filter(|segment| !segment.is_empty())
                .map(|segment| if segment == "{id}" { id } else { segment }),
        );
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    #[test]
    fn the_defaults_are_the_limits_of_the_contract() {
        let settings = HttpSettings::default();
        assert_eq!(settings.connect_timeout, Duration::from_secs(5));
        assert_eq!(settings.timeout, Duration::from_secs(30));
        assert_eq!(settings.pool_idle_timeout, Duration::from_secs(5));
        assert!(http_client(&settings).is_ok());
    }

    #[test]
    fn joining_keeps_the_path_of_the_base_with_and_without_its_slash() {
        for (given, joined) in [
            ("https://a.test", "https://a.test/api/sms/send"),
            ("https://a.test/", "https://a.test/api/sms/send"),
            ("https://a.test:8443/v1", "https://a.test:8443/v1/api/sms/send"),
            ("https://a.test/v1/", "https://a.test/v1/api/sms/send"),
            ("https://a.test/x/y?z=1#f", "https://a.test/x/y/api/sms/send"),
            ("https://me:pw@a.test/v1", "https://a.test/v1/api/sms/send"),
        ] {
            assert_eq!(join(&base(url(given)), "/api/sms/send", "").as_str(), joined);
        }
    }

    #[test]
    fn an_id_is_one_encoded_segment() {
        let base = base(url("https://a.test/v1"));
        assert_eq!(
            join(&base, "/m/{id}/status", "a/b?c#d%2F é").as_str(),
            "https://a.test/v1/m/a%2Fb%3Fc%23d%252F%20%C3%A9/status"
        );
    }

    #[test]
    fn a_base_that_cannot_have_a_path_is_left_alone() {
        assert_eq!(join(&base(url("mailto:a@b.test")), "/x", "").as_str(), "mailto:a@b.test");
    }

    proptest! {
        #[test]
        fn no_id_adds_or_removes_a_segment_but_the_dots(id in "\\PC{1,20}") {
            prop_assume!(id != "." && id != "..");
            let joined = join(&base(url("https://a.test/v1/")), "/m/{id}/status", &id);
            let segments: Vec<_> = joined.path_segments().expect("a path").collect();
            prop_assert_eq!(segments.len(), 4, "{}", joined);
            prop_assert_eq!((segments[0], segments[1], segments[3]), ("v1", "m", "status"));
        }
    }
}
