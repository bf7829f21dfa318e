//! Webhooks signed outside this process tree's library: by the `openssl` command, and by `cast-ghl sign`.

use std::path::{Path, PathBuf};
use std::process::Command;

use cast_ghl_provider::signature::Scheme;
use cast_ghl_provider::signature::sign::SigningKey;

use super::child::{run, vars};
use super::serving::{Serving, Spot};
use crate::support::world::word;
use crate::{Cases, cases};

pub fn cases() -> Cases<Spot> {
    cases![what_the_sign_command_prints_is_accepted_and_fits_no_other_body]
}

/// Cases that need the `openssl` command.
pub fn openssl_cases() -> Cases<Spot> {
    cases![what_openssl_signs_is_accepted_under_each_scheme_and_one_changed_byte_is_refused]
}

/// Why the cases of [`openssl_cases`] can't run here.
pub fn openssl_missing() -> Option<String> {
    let version = Command::new("openssl").arg("version").output();
    let version = version.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    match version {
        Ok(version) if version.starts_with("OpenSSL 3") || version.starts_with("OpenSSL 4") => None,
        Ok(version) => Some(format!("signs with OpenSSL 3 or later, and here is {}", version.trim())),
        Err(_) => Some("there is no openssl command on the PATH".to_owned()),
    }
}

async fn what_openssl_signs_is_accepted_under_each_scheme_and_one_changed_byte_is_refused(spot: Spot) {
    let dir = made(&spot);
    let keys: Vec<Key> = [
        (Scheme::Ed25519, ["-algorithm", "ED25519", "", ""]),
        (Scheme::RsaPkcs1Sha256, ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        (Scheme::EcdsaP256Sha256, ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ]
    .map(|(scheme, how)| Key::generate(&dir, scheme, &how))
    .into();
    let trusted: String = keys.iter().map(|key| key.public.as_str()).collect();
    let extra = [("GHL_WEBHOOK_PUBLIC_KEY", trusted.as_str()), ("GHL_WEBHOOK_TRUST_PUBLISHED_KEYS", "false")];
    let serving = Serving::connected(&spot, &extra).await;

    let webhook = serving.webhook("signed outside");
    serving.ghl.register_message(&webhook.location_id, &webhook.message_id);
    let mut words = Vec::new();
    for key in &keys {
        let signature = key.sign(&webhook.body);
        let headers = [(key.scheme.header(), signature.as_str())];
        let answer = serving.ghl.post_webhook(webhook.body.clone(), &headers).await;
        assert_eq!(answer.status, Some(200), "{}: {}", key.scheme, answer.body);
        words.push(word(&answer));
        for at in [0, webhook.body.len() / 2, webhook.body.len() - 1] {
            let mut changed = webhook.body.clone();
            changed[at] ^= 1;
            let answer = serving.ghl.post_webhook(changed, &headers).await;
            assert_eq!(answer.status, Some(401), "{}, byte {at}: {}", key.scheme, answer.body);
        }
    }
    assert_eq!(words, ["accepted", "duplicate", "duplicate"], "the same bytes are the same message");
    assert_eq!(serving.taken(1).await, ["signed outside"]);
    serving.end();
}

async fn what_the_sign_command_prints_is_accepted_and_fits_no_other_body(spot: Spot) {
    let dir = made(&spot);
    let key = SigningKey::generate(Scheme::EcdsaP256Sha256).expect("a key");
    let trusted = [("GHL_WEBHOOK_PUBLIC_KEY", key.public_pem())];
    let serving = Serving::connected(&spot, &trusted).await;
    let webhook = serving.webhook("signed by the command");
    serving.ghl.register_message(&webhook.location_id, &webhook.message_id);
    std::fs::write(dir.join("key.pem"), key.private_pem()).expect("a file");
    std::fs::write(dir.join("body.json"), &webhook.body).expect("a file");
    let signed = run(&["sign", "--key", "key.pem", "body.json"], &[], &dir).await;
    assert_eq!(signed.code, Some(0), "{}", signed.err);
    let (header, value) = signed.out.trim().split_once(": ").expect("a header");
    let other = serving.webhook("another body").body;
    assert_eq!(serving.ghl.post_webhook(other, &[(header, value)]).await.status, Some(401));
    let answer = serving.ghl.post_webhook(webhook.body.clone(), &[(header, value)]).await;
    assert_eq!(answer.status, Some(200), "{}", answer.body);
    assert_eq!(serving.taken(1).await, ["signed by the command"]);
    serving.end();
    let wrong = run(&["sign", "--key", "body.json", "body.json"], &vars(&[]), &dir).await;
    assert_eq!(wrong.code, Some(1));
    assert!(!wrong.err.contains("signed by the command"), "{}", wrong.err);
}

fn made(spot: &Spot) -> PathBuf {
    std::fs::create_dir_all(&spot.dir).expect("a directory");
    spot.dir.clone()
}

/// A key pair of openssl's making.
struct Key {
    scheme: Scheme,
    private: PathBuf,
    public: String,
}

impl Key {
    fn generate(dir: &Path, scheme: Scheme, how: &[&str]) -> Self {
        let private = dir.join(format!("{scheme}.pem"));
        let how = how.iter().filter(|arg| !arg.is_empty());
        openssl(Command::new("openssl").arg("genpkey").args(how).arg("-out").arg(&private));
        let public = openssl(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private));
        Self { scheme, private, public: String::from_utf8(public).expect("PEM") }
    }

    /// The value of the scheme's header.
    fn sign(&self, body: &[u8]) -> String {
        let (text, signature) = (self.private.with_extension("body"), self.private.with_extension("sig"));
        std::fs::write(&text, body).expect("a file");
        let mut command = Command::new("openssl");
        match self.scheme {
            Scheme::Ed25519 => command.args(["pkeyutl", "-sign", "-rawin", "-inkey"]).arg(&self.private).arg("-in"),
            Scheme::RsaPkcs1Sha256 | Scheme::EcdsaP256Sha256 => {
                command.args(["dgst", "-sha256", "-sign"]).arg(&self.private)
            }
        };
        std::fs::write(&signature, openssl(command.arg(&text))).expect("a file");
        let encoded = openssl(Command::new("openssl").args(["base64", "-A", "-in"]).arg(&signature));
        String::from_utf8(encoded).expect("base64").trim().to_owned()
    }
}

fn openssl(command: &mut Command) -> Vec<u8> {
    let done = command.output().expect("openssl can be started");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}
